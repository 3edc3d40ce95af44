"""Whether a bind can have the propagation that was asked for: docker refuses it where the source has no peer."""

from __future__ import annotations

import os

from .errors import InvalidArgument


def check_peer(source: str, propagation: str) -> None:
    """Raise InvalidArgument unless the mount that holds ``source`` is shared (or a slave, for ``slave``).

    Source: proc_pid_mountinfo(5), the optional fields; moby's checks of RootfsPropagation.
    """
    path = os.path.realpath(source)
    mount, fields = "", ""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, _ = line.partition(" - ")
            words = before.split(" ")
            point = words[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
            # The last of several at one place is the one on top.
            if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(mount):
                mount, fields = point, " ".join(words[6:])
    shared = "shared:" in fields
    if "shared" in propagation and not shared:
        raise InvalidArgument(
            f"path {source} is mounted on {mount} but it is not a shared mount: mount --make-shared {mount} first"
        )
    if "slave" in propagation and not shared and "master:" not in fields:
        raise InvalidArgument(
            f"path {source} is mounted on {mount} but it is not a shared or slave mount: "
            f"mount --make-shared {mount} first"
        )
