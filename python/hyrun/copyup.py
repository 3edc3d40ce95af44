"""Copy-up: an empty volume gets what the image has at its mount point, with owner, mode and all metadata.

Two directories beside ``_data`` say how far it is, so that a kill -9 or a power cut leaves nothing half
filled:

- ``fill.partial``: the copy is being made. ``_data`` is untouched; the next use throws it away and begins
again. - ``fill``: the copy is whole and its entries are moved to ``_data`` one by one. The next use moves
the rest.

Nothing in ``_data`` is ever replaced: another container may have mounted the empty volume and written to it.
"""

from __future__ import annotations

import os
from errno import EEXIST, ENOTEMPTY
from fcntl import LOCK_EX, flock

from .errors import InvalidArgument, StorageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def fill(data: str, lowerdirs: Sequence[str], target: str, *, sync: bool = True) -> bool:
    """Fill the volume whose data is at ``data`` from ``target`` in the image; tell whether it did anything.

    A volume that has content stays as it is; so does one whose image has nothing at ``target``. An empty
    directory of the image still gives its owner, mode and xattrs. Symlinks on the way to ``target`` stay
    inside the image. ``lowerdirs`` are the image's layers, topmost first. ``sync=False`` is for a volume that
    may be lost in a power cut. InvalidArgument when the image has a file there, StorageError when it fails.
    Source: Docker, at container creation.
    """
    ready = f"{os.path.dirname(data)}/fill"
    descriptor = -1
    try:
        if not _empty(data) and not os.path.lexists(ready):
            return False
        descriptor = os.open(os.path.dirname(data), _OPEN | os.O_NOFOLLOW)
        flock(descriptor, LOCK_EX)
        # Looked at again, because another container may just have done it.
        if not os.path.lexists(ready) and not (_empty(data) and _copy(data, lowerdirs, target, sync=sync)):
            return False
        if os.path.lexists(ready):
            _move(ready, data)
        return True
    except OSError as error:
        name = os.path.basename(os.path.dirname(data))
        raise StorageError(
            f"copy {target} of the image into volume {name}: {error.strerror}: make room or add :nocopy"
        ) from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _empty(path: str) -> bool:
    with os.scandir(path) as entries:
        return next(entries, None) is None


def _copy(data: str, lowerdirs: Sequence[str], target: str, *, sync: bool) -> bool:
    """Make ``fill``, or do all at once when there is only metadata; return False without a directory."""
    from ._core import copy_tree, open_in_root, open_root, remove_tree, sync_file_system

    if not lowerdirs:
        return False
    volume = os.path.dirname(data)
    partial = f"{volume}/fill.partial"
    root = open_root(lowerdirs)
    source = copy = -1
    try:
        try:
            source = open_in_root(root, target, _OPEN)
        except FileNotFoundError:
            return False
        except NotADirectoryError:
            raise InvalidArgument(
                f"cannot mount volume over existing file {target}: mount it at a directory of the image"
            ) from None
        if not os.listdir(source):
            copy = os.open(data, _OPEN | os.O_NOFOLLOW)
            copy_tree(source, copy)
            return True
        if os.path.lexists(partial):
            remove_tree(partial)
        os.mkdir(partial, 0o700)
        try:
            copy = os.open(partial, _OPEN | os.O_NOFOLLOW)
            copy_tree(source, copy)
            if sync:
                sync_file_system(partial)
            os.rename(partial, f"{volume}/fill")
        except BaseException:
            remove_tree(partial)
            raise
    finally:
        # The root stays open until now: what hangs below a mount that is mounted nowhere goes with it.
        for descriptor in (source, copy, root):
            if descriptor >= 0:
                os.close(descriptor)
    return True


def _move(ready: str, data: str) -> None:
    """Move the entries of a whole copy into the data, then the directory's own owner, mode and xattrs."""
    from ._core import copy_tree, remove_tree

    source = os.open(ready, _OPEN | os.O_NOFOLLOW)
    target = os.open(data, _OPEN | os.O_NOFOLLOW)
    try:
        for entry in list(os.scandir(source)):
            name = entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
                else:
                    # Not rename, which would replace a file that a container has written meanwhile.
                    os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
            except NotADirectoryError:
                pass
            except OSError as error:
                if error.errno not in (EEXIST, ENOTEMPTY):
                    raise
            try:
                remove_tree(f"{ready}/{name}")
            except FileNotFoundError:  # it was renamed
                pass
        copy_tree(source, target)  # nothing but the metadata is left
        os.rmdir(ready)
    finally:
        os.close(source)
        os.close(target)
