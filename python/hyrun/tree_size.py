"""The files of a directory tree, for sums over their sizes."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def files(top: str) -> Iterator[os.stat_result]:
    """Yield what stat(2) says of each file below a directory that is no directory itself; a hard link comes once.

    What is removed meanwhile, or has a path too long to name, is left out.
    """
    seen: set[tuple[int, int]] = set()
    pending = [top]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                    continue
            except OSError:
                continue
            if status.st_nlink > 1:
                if (key := (status.st_dev, status.st_ino)) in seen:
                    continue
                seen.add(key)
            yield status


def length(top: str) -> int:
    """Return the bytes that the files hold, holes counted in (docker's SizeRw)."""
    return sum(status.st_size for status in files(top))


def disk_usage(top: str) -> int:
    """Return the bytes that the files take on disk (du(1)): holes are free."""
    return sum(status.st_blocks * 512 for status in files(top))
