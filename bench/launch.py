"""Start a program the cheapest way there is, check everything it did, and say how long it took."""

import os
import time
from collections.abc import Mapping


class Failed(Exception):
    """A run that does not count, and why."""


class Sink:
    """Two memory files in the place of stdout and stderr: nobody has to read them while the clock runs."""

    def __init__(self) -> None:
        self.out = os.memfd_create("stdout")
        self.err = os.memfd_create("stderr")

    def take(self) -> tuple[str, str]:
        """Return what was written since the last time."""
        texts = []
        for descriptor in (self.out, self.err):
            size = os.fstat(descriptor).st_size
            texts.append(os.pread(descriptor, size, 0).decode(errors="replace") if size else "")
            if size:
                os.ftruncate(descriptor, 0)
                os.lseek(descriptor, 0, os.SEEK_SET)
        return texts[0], texts[1]

    def check(self, status: int, expected: str) -> None:
        """Raise Failed unless the exit status is 0 and stdout exactly what was expected."""
        out, err = self.take()
        if status:
            said = (err.strip() or out.strip() or "nothing was said").splitlines()[-1]
            raise Failed(f"{said[:160]} (rc {status})")
        if out.strip() != expected:
            raise Failed(f"printed {out[:60]!r} instead of {expected!r} (rc 0)")


def spawn(argv: list[str], environment: Mapping[str, str], sink: Sink, expected: str = "") -> float:
    """Run a program to its end and return the seconds from before posix_spawn(3) to after waitpid(2).

    glibc's posix_spawn is clone(CLONE_VM|CLONE_VFORK) and exec, so the size of this process does not count. No
    descriptor is closed one by one: Python's are all close-on-exec.
    """
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, sink.out, 1),
        (os.POSIX_SPAWN_DUP2, sink.err, 2),
    ]
    begin = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, environment, file_actions=actions)
    _, status = os.waitpid(pid, 0)
    end = time.perf_counter()
    sink.check(os.waitstatus_to_exitcode(status), expected)
    return end - begin
