"""The tar of a layer: the bytes that its diff id is the digest of, written again whenever somebody wants them.

The store keeps no archive of a layer. Beside the unpacked tree (``layers/<diff id>/diff``) lies its recipe, all that
the tar had beside the content of the files; ``_core.assemble_layer`` puts both together. So an image that was loaded
keeps its id when it is saved or pushed, whatever program made its layers.
"""

import os

from . import _core
from .errors import InvalidArgument, NotFound, StorageError
from .store import Store

#: How a layer can be compressed on its way out; the names are podman's.
COMPRESSIONS = ("gzip", "zstd")

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def check_compression(name: str) -> str:
    """Return the name of a compression that there is. Raises InvalidArgument."""
    if name not in COMPRESSIONS:
        raise InvalidArgument(f"compression format {name!r}: there are {' and '.join(COMPRESSIONS)}")
    return name


def write(
    store: Store, name: str, target: int, *, compression: str = "none", meter: _core.Meter | None = None
) -> _core.Packed:
    """Write the tar of the layer ``name`` (diff id in hexadecimal) to the descriptor ``target``.

    ``compression`` is ``none``, ``gzip`` or ``zstd``; ``meter`` counts bytes of the plain tar. Returns sizes and
    digests. Raises NotFound; StorageError when the layer is not what it was when it was stored, which is known only
    once everything is written: throw it away then.
    """
    try:
        directory = os.open(store.path("layers", name), _DIRECTORY)
    except FileNotFoundError:
        raise NotFound(f"no layer sha256:{name} here: hyrun load its image again") from None
    tree = -1
    try:
        tree = os.open("diff", _DIRECTORY, dir_fd=directory)
        if _has_recipe(directory):
            packed = _core.assemble_layer(directory, tree, target, compression=compression, meter=meter)
        else:
            # Stored before there were recipes: good if it was packed here.
            packed = _core.pack_layer(tree, target, compression=compression, meter=meter)
    except StorageError as error:
        raise StorageError(f"layer sha256:{name}: {error}: hyrun load its image again") from None
    finally:
        os.close(directory)
        if tree >= 0:
            os.close(tree)
    if packed.diff_id != f"sha256:{name}":
        raise StorageError(
            f"layer sha256:{name}: its tar has the digest {packed.diff_id} now: hyrun load its image again"
        )
    return packed


def _has_recipe(directory: int) -> bool:
    try:
        os.stat("recipe", dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
