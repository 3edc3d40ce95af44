"""Processes of other people's making, held by a pidfd: the handle never means another process.

A process is written down as pid, start time and boot id; only all three together say which one it is (proc(5)).
"""

from __future__ import annotations

import os

from . import container_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

#: PIDFD_GET_INFO of linux/pidfd.h: _IOWR(0xFF, 11, struct pidfd_info), whose first version has 64 bytes.
_GET_INFO: Final = 0xC040FF0B
_INFO_BYTES: Final = 64
_INFO_EXIT: Final = 1 << 3


def open_container(state: dict[str, Any]) -> int | None:
    """Return a pidfd of the pid 1 that a state file describes; None when that process is gone."""
    return _open(state, state.get("pid"), state.get("start"))


def open_monitor(state: dict[str, Any]) -> int | None:
    """Return a pidfd of the monitor that a state file names; None when it is gone, or there is none."""
    return _open(state, state.get("monitor"), state.get("monitor_start"))


def _open(state: dict[str, Any], pid: object, start: object) -> int | None:
    if not isinstance(pid, int) or pid <= 0 or state.get("boot") != container_state.boot_id():
        return None
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    # The start time is read after the pidfd is held: were it another process, it would differ.
    if container_state.start_time(pid) != start:
        os.close(descriptor)
        return None
    return descriptor


def send(descriptor: int, number: int) -> bool:
    """Send a signal (pidfd_send_signal(2)); return whether there was still somebody to get it."""
    import signal

    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    return True


def ended(descriptor: int, seconds: float | None = 0) -> bool:
    """Tell whether a process has ended, waiting for that at most ``seconds`` (None: for ever)."""
    import select

    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def exit_status(descriptor: int) -> int | None:
    """Return how a process ended that somebody else has waited for: negative for a signal.

    None when it is still there, and before Linux 6.15, which does not tell. Source: linux/pidfd.h.
    """
    import fcntl
    import struct

    buffer = bytearray(_INFO_BYTES)
    struct.pack_into("=Q", buffer, 0, _INFO_EXIT)
    try:
        fcntl.ioctl(descriptor, _GET_INFO, buffer)
    except OSError:
        return None
    (mask,) = struct.unpack_from("=Q", buffer, 0)
    (status,) = struct.unpack_from("=i", buffer, _INFO_BYTES - 4)
    return os.waitstatus_to_exitcode(status) if mask & _INFO_EXIT else None
