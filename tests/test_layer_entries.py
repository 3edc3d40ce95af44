"""Layers: what an archive becomes on a real file system.

Source: OCI image-spec, layer.md.
"""

import os
import shutil
import stat
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from support.layers import Layers
from support.tars import END, archive, directory, entry, header, listing, pax

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("HYRUN_MUST_WORK"), reason="owners and devices need root"
)


def test_a_benign_tree_comes_out_as_gnu_tar_unpacks_it(layers: Layers, tmp_path: Path) -> None:
    corpus, reference = tmp_path / "corpus", tmp_path / "gnu"
    (corpus / "deep" / ("d" * 200) / ("e" * 200)).mkdir(parents=True)
    (corpus / "deep" / ("d" * 200) / ("e" * 200) / ("f" * 200)).write_bytes(b"long name")
    (corpus / "file").write_bytes(os.urandom(700_001))
    (corpus / "file").chmod(0o640)
    os.chown(corpus / "file", 1234, 3_000_000_000)
    os.setxattr(corpus / "file", "user.note", b"two\nlines\0and a NUL")
    (corpus / "setuid").write_bytes(b"x")
    os.chown(corpus / "setuid", 5, 6)
    (corpus / "setuid").chmod(0o6755)
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    os.setxattr(corpus / "setuid", "security.capability", capability)
    os.link(corpus / "file", corpus / "hard")
    (corpus / "soft").symlink_to("/etc/passwd")
    (corpus / "dangling").symlink_to("x" * 300)
    (corpus / "sticky").mkdir(mode=0o755)
    (corpus / "sticky").chmod(0o3777)
    os.mkfifo(corpus / "fifo", 0o620)
    os.mknod(corpus / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(corpus / "loop", stat.S_IFBLK | 0o660, os.makedev(7, 300))
    (corpus / "empty").touch()
    (corpus / "naïve\udcff\n").write_bytes(b"odd name")
    for index, path in enumerate(sorted(corpus.rglob("*"))):
        os.utime(path, ns=(index * 1_000_000_007, index * 1_234_567_891), follow_symlinks=False)
    for form in ("posix", "gnu"):
        flags = [f"--format={form}", *(["--xattrs", "--xattrs-include=*"] if form == "posix" else [])]
        made = subprocess.run(["tar", *flags, "-C", corpus, "-cf", "-", "."], capture_output=True, check=True).stdout
        reference.mkdir()
        extract = ["tar", "-xpf", "-", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", reference]
        subprocess.run(extract, input=made, check=True)
        assert listing(layers.unpack(made)) == listing(reference)
        shutil.rmtree(reference)


def test_v7_and_star_and_ustar_headers_are_read(layers: Layers) -> None:
    target = layers.unpack(
        header(b"v7", magic=b"\0" * 8)
        + header(b"dir/", kind=b"\0", magic=b"\0" * 8)
        + header(b"name", prefix=b"some/prefix")
        + header(b"contiguous", kind=b"7")
        + END
    )
    assert (target / "v7").is_file()
    assert (target / "dir").is_dir()
    assert (target / "some/prefix/name").is_file()
    assert (target / "contiguous").is_file()


def test_base_256_numbers_and_times_before_the_epoch(layers: Layers) -> None:
    uid = b"\x80\0\0\0" + struct.pack(">I", 4_000_000_000)
    target = layers.unpack(header(b"a", uid=uid, mtime=b"\xff" * 11 + b"\xfe") + END)
    assert (target / "a").stat().st_uid == 4_000_000_000
    assert (target / "a").stat().st_mtime == -2


def test_pax_records_override_the_header(layers: Layers) -> None:
    records = [(b"path", b"p" * 150), (b"uid", b"70000"), (b"gid", b"3000000"), (b"mtime", b"12.000000345")]
    target = layers.unpack(pax(*records) + header(b"short") + END)
    info = (target / ("p" * 150)).stat()
    assert (info.st_uid, info.st_gid, info.st_mtime_ns) == (70000, 3000000, 12_000_000_345)


def test_pax_headers_describe_one_entry_only(layers: Layers) -> None:
    target = layers.unpack(pax((b"uid", b"7")) + header(b"a") + header(b"b") + END)
    assert [(target / name).stat().st_uid for name in "ab"] == [7, 0]


def test_setuid_and_capabilities_survive_the_change_of_owner(layers: Layers) -> None:
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    records = pax((b"SCHILY.xattr.security.capability", capability))
    target = layers.unpack(records + header(b"a", mode=b"0006755\0", uid=b"0000017\0") + END)
    assert stat.S_IMODE((target / "a").stat().st_mode) == 0o6755
    assert os.getxattr(target / "a", "security.capability") == capability


def test_the_umask_does_not_matter(layers: Layers) -> None:
    before = os.umask(0o777)
    try:
        target = layers.unpack(
            archive(directory("a"), entry("a/b", mode=0o666), entry("c/d", type=tarfile.FIFOTYPE, mode=0o606))
        )
    finally:
        os.umask(before)
    assert [stat.S_IMODE((target / name).lstat().st_mode) for name in ("a", "a/b", "c", "c/d")] == [
        0o755,
        0o666,
        0o755,
        0o606,
    ]


def test_directories_keep_their_times_although_files_are_made_in_them_later(layers: Layers) -> None:
    target = layers.unpack(
        archive(
            directory(".", mtime=5),
            directory("a", mtime=10),
            entry("a/b"),
            directory("a/c", mtime=20),
            entry("a/c/d"),
        )
    )
    assert [(target / name).stat().st_mtime for name in (".", "a", "a/c")] == [5, 10, 20]


def test_missing_parents_are_root_s_and_0755(layers: Layers) -> None:
    target = layers.unpack(archive(entry("g", type=tarfile.DIRTYPE, mode=0o2777, gid=50), entry("g/x/y", uid=7, gid=7)))
    info = (target / "g/x").stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (0, 0, 0o755)


@pytest.mark.parametrize("root", [".", "./", "/", "//", "/./"])
def test_an_entry_for_the_root_describes_it(layers: Layers, root: str) -> None:
    target = layers.unpack(header(root.encode(), kind=b"5", mode=b"0001751\0", uid=b"0000007\0") + END)
    assert stat.S_IMODE(target.stat().st_mode) == 0o1751
    assert target.stat().st_uid == 7


@pytest.mark.parametrize("root", ["", ".", "./", "/", "//", "/./", "a/.."])
@pytest.mark.parametrize("kind", [b"0", b"1", b"2", b"3", b"4", b"6"])
def test_the_root_is_nothing_but_a_directory(layers: Layers, root: str, kind: bytes) -> None:
    layers.unpack(END)
    fields = {"link": str(layers.canary).encode(), "major": b"0000001\0", "minor": b"0000003\0"}
    target = layers.refuse(header(root.encode(), kind=kind, **fields) + END)
    assert target.is_dir()
    assert not target.is_symlink()
    assert list(target.iterdir()) == []


def test_holes_of_a_gnu_sparse_file_stay_holes(layers: Layers, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    with open(corpus / "sparse", "wb") as file:
        for index in range(40):
            file.seek(index << 20)
            file.write(b"data%d" % index)
        file.truncate(50 << 20)
    tar = ["tar", "--format=gnu", "--sparse", "-C", corpus, "-cf", "-", "sparse"]
    target = layers.unpack(subprocess.run(tar, capture_output=True, check=True).stdout)
    assert (target / "sparse").read_bytes() == (corpus / "sparse").read_bytes()
    assert (target / "sparse").stat().st_blocks * 512 < 2 << 20


def test_pax_sparse_files_are_refused(layers: Layers) -> None:
    layers.refuse(pax((b"GNU.sparse.major", b"1")) + header(b"a") + END, "sparse")


def test_a_global_header_is_ignored_unless_it_renames_everything(layers: Layers) -> None:
    target = layers.unpack(pax((b"comment", b"0123"), (b"uid", b"7"), kind=b"g") + header(b"a") + END)
    assert (target / "a").stat().st_uid == 0
    layers.refuse(pax((b"path", b"b"), kind=b"g") + header(b"a") + END, "global")


def test_long_runs_of_zeros_take_no_room(layers: Layers) -> None:
    content = b"x" + bytes(3 << 20) + b"y" + bytes(1 << 20)
    target = layers.unpack(archive(entry("a", content), entry("b", bytes(5000))))
    assert (target / "a").read_bytes() == content
    assert (target / "a").stat().st_blocks < 1000
    assert (target / "b").read_bytes() == bytes(5000)
