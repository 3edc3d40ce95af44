"""What is run: one small root file system with two payloads, and the tar of it that the engines import."""

import shutil
import subprocess
import tarfile
from pathlib import Path

#: Printed by every engine once before it is timed: a peer that fails is fast.
TOKEN = "hyrun-bench-7f3a"

#: The path inside the root, by the payload's name.
PAYLOADS = {"no-libc": "/nolibc/true", "busybox": "/bin/true"}

#: exit_group(0) and nothing else, so that what is left is the engine. A static glibc takes 0.7 ms to start.
_SOURCE = """
void _start(void) {
#if defined(__x86_64__)
    __asm__ volatile("syscall" : : "a"(231L), "D"(0L));
#elif defined(__aarch64__)
    register long number __asm__("x8") = 94, status __asm__("x0") = 0;
    __asm__ volatile("svc 0" : : "r"(number), "r"(status));
#else
#error "no exit_group for this machine"
#endif
    for (;;) {}
}
"""

MOUNT_POINTS = ("dev", "etc", "proc", "sys", "tmp")


class Missing(Exception):
    """What is needed is not on this machine."""


def make_root(directory: Path) -> tuple[Path, list[str], list[str]]:
    """Make the tree; return its path, the payloads that are in it, and why others are not."""
    busybox = shutil.which("busybox")
    if busybox is None or not _is_static(Path(busybox)):
        raise Missing("no static busybox here: install it first (Debian: apt-get install busybox-static)")
    root = directory / "rootfs"
    for name in (*MOUNT_POINTS, "bin", "nolibc"):
        (root / name).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    for name in ("sh", "echo", "true"):
        (root / "bin" / name).symlink_to("busybox")
    why_not = _make_no_libc(root / "nolibc/true", directory / "true.c")
    if why_not is None:
        return root, list(PAYLOADS), []
    return root, ["busybox"], [f"no-libc payload skipped: {why_not}"]


def make_tar(root: Path, path: Path) -> Path:
    """Pack the tree, as `docker import` wants it."""
    with tarfile.open(path, "w") as archive:
        archive.add(root, arcname=".")
    return path


def _make_no_libc(target: Path, source: Path) -> str | None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return "no C compiler"
    source.write_text(_SOURCE)
    command = [compiler, "-Os", "-nostdlib", "-static", "-fno-stack-protector", "-o", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or subprocess.run([target]).returncode:
        return f"the compiler said: {(done.stderr.strip() or 'nothing, but the program fails').splitlines()[-1]}"
    return None


def _is_static(path: Path) -> bool:
    """Tell whether a program asks for no dynamic linker."""
    return b"/ld-linux" not in path.read_bytes() and b"/ld-musl" not in path.read_bytes()
