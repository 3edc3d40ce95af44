"""hyrun: a container engine in a Python wheel.

    >>> import hyrun
    >>> hyrun.run("busybox", ["echo", "hello"], capture_output=True, text=True).stdout
    'hello\\n'

Everything is loaded when it is first used: ``import hyrun`` alone costs next to nothing.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._core import __version__ as __version__
    from .container import Container as Container
    from .errors import CalledProcessError as CalledProcessError
    from .errors import Conflict as Conflict
    from .errors import HyrunError as HyrunError
    from .errors import InUse as InUse
    from .errors import InvalidArgument as InvalidArgument
    from .errors import NotFound as NotFound
    from .errors import NotSupported as NotSupported
    from .errors import RegistryError as RegistryError
    from .errors import SpawnError as SpawnError
    from .errors import StorageError as StorageError
    from .errors import TimeoutExpired as TimeoutExpired
    from .popen import Popen as Popen
    from .process import CompletedProcess as CompletedProcess
    from .process import run as run
    from .store import Store as Store
    from .streams import DEVNULL as DEVNULL
    from .streams import PIPE as PIPE
    from .streams import STDOUT as STDOUT

_HOMES = {
    "__version__": "_core",
    **dict.fromkeys(
        (
            "CalledProcessError",
            "Conflict",
            "HyrunError",
            "InUse",
            "InvalidArgument",
            "NotFound",
            "NotSupported",
            "RegistryError",
            "SpawnError",
            "StorageError",
            "TimeoutExpired",
        ),
        "errors",
    ),
    **dict.fromkeys(("CompletedProcess", "run"), "process"),
    **dict.fromkeys(("DEVNULL", "PIPE", "STDOUT"), "streams"),
    "Container": "container",
    "Popen": "popen",
    "Store": "store",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - ruff wants a literal; this is the same list


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
