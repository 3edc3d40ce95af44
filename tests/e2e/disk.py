"""A file system of its own for a store: a loop device or a tmpfs in a private mount namespace."""

import os
import subprocess
from pathlib import Path
from typing import Any

from e2e.command import COMMAND, PATIENCE

#: ext4's "as if the power failed": _IOR('X', 125, __u32), flag EXT4_GOING_FLAGS_NOLOGFLUSH (kernel, fs/ext4/ext4.h).
_CUT = (
    "import fcntl, os, struct, sys\nfcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))\n"
)


class Disk:
    """A mounted disk that only commands of `run` see; as a context manager it goes at the end."""

    def __init__(self, top: Path, kind: str, megabytes: int) -> None:
        self.top = top
        self.kind = kind
        self.mountpoint = top / "disk"
        self.image = top / "disk.img"
        self.megabytes = megabytes
        self.environment = {
            **os.environ,
            "HYRUN_ROOT": str(self.mountpoint / "root"),
            "HYRUN_RUN": str(top / "disk-run"),
            "HYRUN_SYNC": "on",
        }

    def __enter__(self) -> "Disk":
        self.mountpoint.mkdir()
        (self.top / "disk-run").mkdir(mode=0o700)
        # It lives as long as its standard input is open, and the mounts as long as it.
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        self._holder.stdout.read(1)
        try:
            if self.kind == "ext4":
                with self.image.open("wb") as file:
                    file.truncate(self.megabytes << 20)
                # No blocks for root alone: it has to meet the full disk.
                subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(self.image)], check=True)
            self.mount()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.stdout.close()
        self._holder.wait(PATIENCE)

    def mount(self) -> None:
        if self.kind == "ext4":
            self.run("mount", "-o", "loop", self.image, self.mountpoint, check=True)
        else:
            self.run("mount", "-t", "tmpfs", "-o", f"size={self.megabytes}m", "tmpfs", self.mountpoint, check=True)

    def unmount(self) -> None:
        self.run("umount", self.mountpoint, check=True)

    def cut_the_power(self) -> None:
        """Forget everything that is not on the disk, as a power cut does, and come back after a reboot."""
        self.run(COMMAND[0], "-c", _CUT, self.mountpoint, check=True)
        self.unmount()
        # The directory for run-time state is a tmpfs.
        for path in (self.top / "disk-run").iterdir():
            path.unlink()
        self.mount()

    def wrapped(self, *arguments: object) -> list[str]:
        """Return a command line that runs in the mount namespace of the disk."""
        return ["nsenter", "-t", str(self._holder.pid), "-m", *map(str, arguments)]

    def run(self, *arguments: object, check: bool = False, **others: Any) -> subprocess.CompletedProcess[str]:
        """Run a command where the disk is mounted."""
        result = subprocess.run(
            self.wrapped(*arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=60,
            check=False,
            **others,
        )
        assert not check or result.returncode == 0, f"{arguments}: {result.stdout}\n{result.stderr}"
        assert "Traceback" not in result.stderr, result.stderr
        return result

    def stored(self, pattern: str) -> list[str]:
        """Return the paths in the store that match a shell's pattern: outside of the namespace there is none."""
        return self.run("sh", "-c", f"ls -d {self.mountpoint}/root/{pattern}").stdout.split()

    def hyrun(self, *arguments: object, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run `hyrun` on the store of the disk; it must end with ``code`` (None: whatever it is)."""
        result = self.run(*COMMAND, *arguments)
        assert code is None or result.returncode == code, f"{arguments}: {result.stdout}\n{result.stderr}"
        return result
