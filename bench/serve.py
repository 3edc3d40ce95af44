"""The small process that starts the peers.

It answers one JSON object a line, and ends when its stdin does. Run inside `unshare -m` with --private it gets a
mount table of its own in which crun and podman work on machines with hybrid cgroups, and in which nothing they leave
in /run and /dev/shm outlives them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from engines import Docker, Podman, Xcrunner
from launch import Failed, Sink, spawn
from payload import TOKEN, Missing
from peers import Bwrap, BwrapHost, Crun, Hyrun, Peer, Runc

UNIFIED = "/sys/fs/cgroup/unified"

PEERS: dict[str, type[Peer]] = {
    "hyrun-shell": Hyrun,
    "bwrap": Bwrap,
    "bwrap-host": BwrapHost,
    "crun": Crun,
    "runc": Runc,
    "podman": Podman,
    "docker": Docker,
    "xcrunner": Xcrunner,
}


def make_private() -> None:
    """Change the mount table, which must be this process's own."""
    if os.readlink("/proc/self/ns/mnt") == os.readlink(f"/proc/{os.getppid()}/ns/mnt"):
        raise SystemExit("serve.py --private: run it in `unshare -m --propagation private`")
    if os.path.ismount(UNIFIED):
        subprocess.run(["umount", UNIFIED], check=True)
    for place in ("/run", "/dev/shm"):
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", place], check=True)


def main() -> None:
    base, root, tar = (Path(argument) for argument in sys.argv[1:4])
    if "--private" in sys.argv:
        make_private()
    sink, ready = Sink(), dict[str, Peer]()

    def answer(kind: str, name: str, words: list[str]) -> dict[str, object]:
        try:
            if kind == "prepare":
                ready[name] = peer = PEERS[name](base, root, tar)
                spawn(peer.command(["/bin/echo", TOKEN]), peer.environment, sink, TOKEN)
                return {"version": peer.version()}
            if kind == "command":
                return {"argv": ready[name].command(words)}
            return {"seconds": spawn(ready[name].command(words), ready[name].environment, sink)}
        except Missing:
            return {"missing": True}
        except (Failed, OSError, subprocess.SubprocessError) as error:
            return {"failed": str(error)}

    try:
        for line in sys.stdin:
            print(json.dumps(answer(*json.loads(line))), flush=True)
    finally:
        for peer in ready.values():
            peer.close()


if __name__ == "__main__":
    main()
