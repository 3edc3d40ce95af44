"""A store with images, made once, and a copy of it for each test."""

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.command import COMMAND, Hyrun, Template, until
from support import images

#: The content of /data in the image ``filled``: what copy-up has to keep.
DATA_MTIME = 1_234_567_890


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """A store with `busybox`, `entry` (entrypoint, command, …) and `filled` (a VOLUME with content)."""
    if os.geteuid() != 0:
        pytest.skip("containers need root")
    top = tmp_path_factory.mktemp("template")
    (top / "run").mkdir(mode=0o700)
    rootfs = images.busybox_rootfs_tar(top / "rootfs.tar")
    base = rootfs.read_bytes()
    archive = top / "busybox.tar"
    images.docker_archive(archive, [base], {"Cmd": ["sh"]}, ["busybox:latest"])
    entry = {
        "Entrypoint": ["echo", "entrypoint"],
        "Cmd": ["command"],
        "Env": ["PATH=/bin", "COLOUR=blue", "SIZE=small"],
        "WorkingDir": "/home/app",
        "User": "app",
        "Labels": {"kind": "entry", "level": "1"},
    }
    images.docker_archive(top / "entry.tar", [base], entry, ["entry:latest"])
    images.oci_layout(
        top / "layout", [base, _data_layer()], {"Cmd": ["sh"], "Volumes": {"/data": {}}}, ["filled:latest"]
    )
    layout = images.tar_of(top / "layout", top / "filled.tar")
    environment = os.environ | {"HYRUN_ROOT": str(top / "root"), "HYRUN_RUN": str(top / "run"), "HYRUN_SYNC": "off"}
    for file in (archive, top / "entry.tar", layout):
        subprocess.run([*COMMAND, "load", "-q", "-i", str(file)], env=environment, check=True, capture_output=True)
    return Template(top / "root", rootfs, archive, layout)


@pytest.fixture
def hyrun(template: Template, tmp_path: Path, _no_default_store: None) -> Iterator[Hyrun]:
    """The command line on a fresh copy of the template store; at the end nothing of it is mounted or half done."""
    root = Path(os.environ["HYRUN_ROOT"])
    subprocess.run(["cp", "-a", str(template.root), str(root)], check=True)
    work = tmp_path / "work"
    work.mkdir()
    hyrun = Hyrun(root, Path(os.environ["HYRUN_RUN"]), work)
    try:
        yield hyrun
    finally:
        hyrun.close()
    assert hyrun.mounts() == []
    # What goes in the background may still be on its way out.
    until(lambda: hyrun.left("tmp") == set(), "nothing is half done")


def _data_layer() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:

        def add(name: str, kind: bytes, mode: int, content: bytes = b"", link: str = "", **pax: Any) -> None:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.linkname, member.size = kind, mode, link, len(content)
            member.uid, member.gid, member.mtime = 1000, 50, DATA_MTIME
            member.pax_headers = {f"SCHILY.xattr.user.{key}": value for key, value in pax.items()}
            archive.addfile(member, io.BytesIO(content))

        add("data", tarfile.DIRTYPE, 0o2750)
        add("data/file", tarfile.REGTYPE, 0o4640, b"from the image\n", colour="blue")
        add("data/hard", tarfile.LNKTYPE, 0o4640, link="data/file")
        add("data/soft", tarfile.SYMTYPE, 0o777, link="file")
        add("data/sub", tarfile.DIRTYPE, 0o700)
        add("data/sub/deep", tarfile.REGTYPE, 0o600, b"deep\n")
        add("empty", tarfile.DIRTYPE, 0o1711)
    return buffer.getvalue()
