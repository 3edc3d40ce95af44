"""Everything hyrun raises on purpose. One root, one exit code per cause."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .process_errors import CalledProcessError as CalledProcessError
    from .process_errors import TimeoutExpired as TimeoutExpired


class HyrunError(Exception):
    """Root of all errors of hyrun. ``str()`` is one sentence for the person at the terminal."""

    #: Exit status of ``hyrun run`` for this cause; other commands exit with 1 (docker's convention).
    exit_code = 125


class InvalidArgument(HyrunError, ValueError):
    """Something the caller wrote cannot mean anything: a volume, a reference, a user, a flag."""


class NotSupported(HyrunError):
    """Docker has it, hyrun does not (yet): refused by name, never ignored."""


class NotFound(HyrunError, LookupError):
    """No image, container or volume of that name."""


class ImageNotFound(NotFound):
    """No image of that name here; a registry may have it, and `run` asks one."""


class RegistryError(HyrunError):
    """A registry refused, failed or could not be reached; ``status`` is the HTTP status, None without an answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Conflict(HyrunError):
    """The name is taken."""


class InUse(HyrunError):
    """The object is referenced by another one, which the message names."""


class StorageError(HyrunError):
    """An archive, a layer or a record is damaged, hostile or over a limit."""


class SpawnError(HyrunError, OSError):
    """A step between clone and execve failed; the container does not exist.

    ``step`` is the step's name (``"bind"``, ``"overlay"``, ``"exec"``), ``errno`` and ``filename`` are
    OSError's. The exit code follows docker and POSIX sh: 127 when the command was not found, 126 when it
    was found and could not be executed, 125 for everything else.
    """

    def __init__(self, errno: int, message: str, filename: str | None, step: str, exit_code: int = 125) -> None:
        OSError.__init__(self, errno, message, filename)
        self.message = message
        self.step = step
        self.exit_code = exit_code

    def __str__(self) -> str:
        return self.message


def __getattr__(name: str) -> object:
    # subprocess costs 20 ms to import: only those who name these two classes pay for it.
    if name not in ("CalledProcessError", "TimeoutExpired"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import process_errors

    return getattr(process_errors, name)
