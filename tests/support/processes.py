"""Processes of a test's own: several at once, and some that are killed on the way."""

import os
import signal
import sys
import traceback
from collections.abc import Callable

#: Audit events of what changes a directory; "test." are those that a test raises itself.
WRITES = ("open", "fcntl.", "os.mkdir", "os.chmod", "os.rename", "os.link", "os.rmdir", "os.remove", "test.")


def forked(work: Callable[[], object]) -> int:
    """Start a process that does ``work`` and ends with 0, or with 1 and a traceback; return its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the child must never return into pytest
            traceback.print_exc()
            os._exit(1)
    return pid


def status_of(pid: int) -> int:
    """Wait for a child; return its exit status, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do ``work`` in a process that is killed (-9) before change number ``step``; False when it had fewer."""

    def doomed() -> None:
        left = step

        def hook(event: str, _: object) -> None:
            nonlocal left
            if event.startswith(WRITES):
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1

        sys.addaudithook(hook)
        work()

    status = status_of(forked(doomed))
    assert status in (0, -signal.SIGKILL)
    return status != 0
