"""Layers, unpacked from real archives onto a real file system. Source: OCI image-spec, layer.md."""

import contextlib
import gzip
import os
import random
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from hyrun import _core
from hyrun.errors import StorageError
from support.tars import (
    END,
    Spec,
    archive,
    digest,
    directory,
    entry,
    hard_link,
    header,
    listing,
    padded,
    pax,
    symlink,
    zstd,
)

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("HYRUN_MUST_WORK"), reason="owners and devices need root"
)


class Layers:
    """Unpacks archives into fresh directories beside a canary tree."""

    def __init__(self, base: Path, threads: bool) -> None:
        self.base = base
        self.threads = threads
        self.canary = base / "canary"
        (self.canary / "sub").mkdir(parents=True)
        (self.canary / "file").write_text("untouched")
        (self.canary / "sub" / "setuid").write_text("untouched")
        (self.canary / "sub" / "setuid").chmod(0o4755)
        (self.canary / "link").symlink_to("file")
        self.count = 0
        self.before = self.outside()

    def outside(self) -> dict[str, tuple[object, ...]]:
        return listing(self.canary)

    def fresh(self) -> Path:
        self.count += 1
        target = self.base / f"layer{self.count}"
        target.mkdir(mode=0o700)
        return target

    def unpack(self, data: bytes, target: Path | None = None) -> Path:
        target = target or self.fresh()
        self.read(data, target)
        return target

    def read(self, data: bytes, target: Path) -> _core.Unpacked:
        with open(self.base / "archive", "wb+") as file:
            file.write(data)
            file.flush()
            if not self.threads:
                return _core.unpack_layer(file.fileno(), str(target), offset=0)
            # A stream has threads whatever its length.
            file.seek(0)
            return _core.unpack_layer(file.fileno(), str(target))

    def refuse(self, data: bytes, match: str = "^layer") -> Path:
        target = self.fresh()
        with pytest.raises(StorageError, match=match):
            self.read(data, target)
        return target


@pytest.fixture(params=["one thread", "several"])
def layers(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Layers]:
    layers = Layers(tmp_path, request.param == "several")
    yield layers
    assert layers.outside() == layers.before
    assert {path.name for path in tmp_path.iterdir()} - {f"layer{n + 1}" for n in range(layers.count)} <= {
        "canary",
        "archive",
        "corpus",
        "gnu",
        "hyrun-run",
    }


def opaque(path: Path) -> bool:
    try:
        return os.getxattr(path, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False


def whiteout(path: Path) -> bool:
    info = path.lstat()
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


# What an archive becomes


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


# Duplicates and links


def test_the_last_of_two_entries_wins(layers: Layers) -> None:
    target = layers.unpack(
        archive(
            entry("a", b"first, longer"),
            entry("a", b"second"),
            symlink("b", "a"),
            entry("b", b"file"),
            directory("c"),
            entry("c/d", b"x"),
            entry("c", b"file"),
            entry("d", b"x"),
            directory("d"),
            entry("d/e", b"y"),
        )
    )
    assert (target / "a").read_bytes() == b"second"
    assert (target / "b").read_bytes() == b"file"
    assert not (target / "b").is_symlink()
    assert (target / "c").read_bytes() == b"file"
    assert (target / "d/e").read_bytes() == b"y"


def test_a_second_entry_for_a_directory_keeps_its_content_and_replaces_its_metadata(layers: Layers) -> None:
    target = layers.unpack(
        pax((b"SCHILY.xattr.user.old", b"1"))
        + header(b"a", kind=b"5", mode=b"0000777\0")
        + header(b"a/b")
        + pax((b"SCHILY.xattr.user.new", b"2"))
        + header(b"a", kind=b"5", mode=b"0000700\0", uid=b"0000003\0")
        + END
    )
    assert (target / "a/b").exists()
    assert stat.S_IMODE((target / "a").stat().st_mode) == 0o700
    assert (target / "a").stat().st_uid == 3
    assert os.listxattr(target / "a") == ["user.new"]


def test_a_new_entry_is_not_written_through_a_hard_link(layers: Layers) -> None:
    target = layers.unpack(
        archive(entry("a", b"first", mode=0o644), hard_link("b", "a"), entry("b", b"second", mode=0o600))
    )
    assert (target / "a").read_bytes() == b"first"
    assert stat.S_IMODE((target / "a").stat().st_mode) == 0o644
    assert (target / "b").read_bytes() == b"second"


def test_a_hard_link_is_one_file_with_its_source(layers: Layers) -> None:
    target = layers.unpack(
        archive(entry("dir/a", b"x"), hard_link("b", "/dir/a"), symlink("s", "nowhere"), hard_link("t", "./s"))
    )
    assert (target / "dir/a").samefile(target / "b")
    assert (target / "t").is_symlink()


def test_a_hard_link_to_itself_or_again_changes_nothing(layers: Layers) -> None:
    target = layers.unpack(archive(entry("a", b"x"), hard_link("a", "a"), hard_link("b", "a"), hard_link("b", "a")))
    assert (target / "a").read_bytes() == b"x"
    assert (target / "a").stat().st_nlink == 2


@pytest.mark.parametrize("source", ["missing", "dir", ".", "../canary/file", "gone", "dir/../a", "a/b"])
def test_a_hard_link_needs_a_file_of_the_same_layer(layers: Layers, source: str) -> None:
    layers.refuse(archive(entry("a"), directory("dir"), entry(".wh.gone"), hard_link("b", source)), "hard link")


def test_a_hard_link_may_not_replace_the_directory_that_holds_its_source(layers: Layers) -> None:
    layers.refuse(archive(entry("a/b", b"x"), hard_link("a", "a/b")), "replace")


def test_hard_links_resolve_their_source_inside_the_layer(layers: Layers) -> None:
    outward = str(layers.canary)
    layers.refuse(archive(symlink("out", outward), hard_link("b", "out/file")), "not in this layer")
    target = layers.unpack(archive(symlink("out", outward), hard_link("b", "out")))
    assert (target / "b").is_symlink()


# Symlinks among the parents


def test_parents_that_are_symlinks_are_resolved_inside_the_layer(layers: Layers) -> None:
    target = layers.unpack(
        archive(
            directory("usr/lib"),
            symlink("lib", "usr/lib"),
            entry("lib/x", b"1"),
            symlink("abs", "/usr/lib"),
            entry("abs/y", b"2"),
            symlink("up", "../../usr/./lib/../lib"),
            entry("up/z", b"3"),
        )
    )
    assert sorted(path.name for path in (target / "usr/lib").iterdir()) == ["x", "y", "z"]
    assert (target / "lib").is_symlink()


def test_a_dangling_parent_is_made_where_the_symlink_points(layers: Layers) -> None:
    target = layers.unpack(archive(symlink("lib", "usr/lib"), entry("lib/a/x", b"1")))
    assert (target / "usr/lib/a/x").read_bytes() == b"1"


def test_a_parent_is_looked_up_again_after_it_was_replaced(layers: Layers) -> None:
    target = layers.unpack(
        archive(
            directory("one"),
            directory("two"),
            symlink("s", "one"),
            entry("s/a"),
            symlink("s", "two"),
            entry("s/b"),
        )
    )
    assert (target / "one/a").exists()
    assert (target / "two/b").exists()


@pytest.mark.parametrize(
    "hop",
    ["{canary}", "../canary", "../../../../../../..{canary}", "/proc/self/cwd", "/proc/self/root{canary}"],
)
@pytest.mark.parametrize(
    "victim",
    [
        lambda hop: [symlink("s", hop), entry("s/file", b"evil")],
        lambda hop: [symlink("s", hop + "/file"), entry("s", b"evil")],
        lambda hop: [symlink("s", hop + "/new"), entry("s", b"evil")],
        lambda hop: [symlink("s", hop), directory("s", uid=7), entry("s/file", b"evil")],
        lambda hop: [symlink("s", hop), entry("s/.wh.file")],
        lambda hop: [symlink("s", hop), entry("s/.wh..wh..opq")],
        lambda hop: [symlink("a", "b"), symlink("b", hop), entry("a/file", b"evil"), entry("a/.wh.sub")],
        lambda hop: [symlink("s", hop + "/file"), hard_link("t", "s"), entry("t", b"evil")],
        lambda hop: [
            symlink("s", hop + "/sub/setuid"),
            entry("s", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        ],
    ],
)
def test_nothing_outside_is_touched_through_a_symlink(
    layers: Layers, hop: str, victim: Callable[[str], list[Spec]]
) -> None:
    with contextlib.suppress(StorageError):
        layers.unpack(archive(*victim(hop.format(canary=layers.canary))))


def test_a_loop_of_symlinks_is_refused(layers: Layers) -> None:
    layers.refuse(archive(symlink("a", "b"), symlink("b", "a"), entry("a/x")), "too many symlinks")


def test_a_file_is_no_parent(layers: Layers) -> None:
    layers.refuse(archive(entry("a"), entry("a/b")), "not a directory")


# Names and headers that are refused


def test_the_sentence_names_the_entry_and_the_reason(layers: Layers) -> None:
    target = layers.fresh()
    with pytest.raises(StorageError) as caught:
        layers.read(header(b"a/../\x1b[2Jb") + END, target)
    assert str(caught.value) == r'layer entry "a/../\x1b[2Jb": path leaves the layer'


@pytest.mark.parametrize(
    "name", ["..", "../x", "a/../b", "/..", "a/b/../../../x", "x" * 256, "a/" * 300 + "x", "ab/" * 1400 + "x"]
)
def test_names_that_leave_or_overflow_are_refused(layers: Layers, name: str) -> None:
    layers.refuse(archive(entry(name)), "layer entry")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(header(b"a", uid=b"\x80\0\0\0\xff\xff\xff\xff"), id="uid of nobody changed"),
        pytest.param(header(b"a", gid=b"\x80\0\0\1\0\0\0\0"), id="gid too large"),
        pytest.param(header(b"a", uid=b"\xff" * 8), id="negative uid"),
        pytest.param(header(b"a", size=b"\xff" * 12), id="negative size"),
        pytest.param(header(b"a", size=b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7), id="huge size"),
        pytest.param(header(b"a", size=b"-0000000001\0"), id="signed octal size"),
        pytest.param(header(b"a", size=b"0x0000000ff\0"), id="hexadecimal size"),
        pytest.param(header(b"a", kind=b"3"), id="whiteout device"),
        pytest.param(header(b"a", kind=b"3", major=b"0010000\0", minor=b"4000000\0"), id="device cut to 0:0"),
        pytest.param(header(b"a", kind=b"Z"), id="unknown type"),
        pytest.param(header(b"a", kind=b"M"), id="multi volume"),
        pytest.param(header(b"a", kind=b"2"), id="symlink to nothing"),
        pytest.param(header(b"a", kind=b"5", size=b"00000001000\0") + bytes(512), id="directory with a size"),
        pytest.param(header(b"a/"), id="regular file with a slash"),
        pytest.param(pax((b"size", b"512")) + header(b"a") + bytes(512), id="PAX size that disagrees"),
        pytest.param(pax((b"size", b"0")) + header(b"a", size=b"00000001000\0") + bytes(512), id="PAX size"),
        pytest.param(pax((b"size", b"-1")) + header(b"a"), id="negative PAX size"),
        pytest.param(pax((b"uid", b"4294967295")) + header(b"a"), id="PAX uid of -1"),
        pytest.param(pax((b"uid", b"x")) + header(b"a"), id="PAX uid without digits"),
        pytest.param(pax((b"path", b"a\0b")) + header(b"a"), id="NUL in a name"),
        pytest.param(pax((b"path", b"../a")) + header(b"a"), id="PAX name that leaves"),
        pytest.param(pax((b"path", b"b")) + pax((b"path", b"c")) + header(b"a"), id="two PAX headers"),
        pytest.param(pax((b"path", b"b")), id="PAX header for nothing"),
        pytest.param(header(b"x", kind=b"x", size=b"00000000005\0") + padded(b"9 a=b"), id="PAX record cut"),
        pytest.param(header(b"x", kind=b"x", size=b"77777777777\0"), id="PAX header of 8 GiB"),
        pytest.param(header(b"x", kind=b"L", size=b"77777777777\0"), id="long name of 8 GiB"),
        pytest.param(header(b"x", kind=b"g", size=b"\x80" + b"\x7f" * 11), id="huge global header"),
        pytest.param(pax((b"SCHILY.xattr.security.capability", b"junk")) + header(b"a"), id="bad capability"),
        pytest.param(pax((b"SCHILY.xattr.user.a", b"x" * 70000)) + header(b"a"), id="huge xattr"),
        pytest.param(b"\0" * 512 + header(b"a"), id="entry behind a lone block of zeros"),
        pytest.param(header(b"a")[:-1] + b"x", id="wrong checksum"),
        pytest.param(b"#!/bin/sh\n" * 200, id="no archive at all"),
        pytest.param(header(b"a", size=b"00000001000\0") + bytes(100), id="content cut off"),
        pytest.param(header(b"a", size=b"00000000001\0") + b"x", id="padding cut off"),
        pytest.param(header(b"a")[:300], id="header cut off"),
    ],
)  # fmt: skip
def test_a_hostile_or_damaged_archive_is_refused(layers: Layers, data: bytes) -> None:
    layers.refuse(data if data.endswith((b"x", b"\n")) or len(data) % 512 else data + END)


def test_overlay_s_own_attributes_are_dropped(layers: Layers) -> None:
    names = [
        b"trusted.overlay.opaque",
        b"trusted.overlay.redirect",
        b"user.overlay.opaque",
        b"user.overlay.whiteout",
    ]
    names += [b"trusted.other", b"system.nfs4_acl", b"user.kept"]
    records = pax(*((b"SCHILY.xattr." + name, b"y") for name in names))
    target = layers.unpack(records + header(b"a", kind=b"5") + records + header(b"b") + END)
    assert os.listxattr(target / "a") == ["user.kept"]
    assert os.listxattr(target / "b") == ["user.kept"]


def acl(*entries: tuple[int, int, int]) -> bytes:
    """An ACL as the kernel keeps it (linux/posix_acl_xattr.h): tag, permissions, id."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


#: rwx for the owner and user 1000, r-x for the group, nothing for others.
ACL = acl((1, 7, 0xFFFFFFFF), (2, 7, 1000), (4, 5, 0xFFFFFFFF), (0x10, 7, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF))


def test_acls_are_kept_and_not_inherited_by_what_the_layer_has_below(layers: Layers) -> None:
    default = pax((b"SCHILY.xattr.system.posix_acl_default", ACL))
    access = pax((b"SCHILY.xattr.system.posix_acl_access", ACL))
    target = layers.unpack(
        default + header(b"a", kind=b"5") + header(b"a/b", kind=b"5") + access + header(b"c", mode=b"0000770\0") + END
    )
    assert os.getxattr(target / "a", "system.posix_acl_default") == ACL
    assert os.listxattr(target / "a/b") == []
    assert os.getxattr(target / "c", "system.posix_acl_access") == ACL


def test_the_mode_is_the_header_s_whatever_an_acl_says(layers: Layers) -> None:
    access = pax((b"SCHILY.xattr.system.posix_acl_access", ACL))
    target = layers.unpack(
        access
        + header(b"file", mode=b"0000600\0")
        + access
        + header(b"directory", kind=b"5", mode=b"0000700\0")
        + access
        + header(b"fifo", kind=b"6", mode=b"0000640\0")
        + END
    )
    modes = {path.name: path.stat().st_mode & 0o7777 for path in target.iterdir()}
    assert modes == {"file": 0o600, "directory": 0o700, "fifo": 0o640}


def test_a_directory_described_again_has_the_acls_of_its_last_entry(layers: Layers) -> None:
    both = pax((b"SCHILY.xattr.system.posix_acl_default", ACL), (b"SCHILY.xattr.system.posix_acl_access", ACL))
    target = layers.unpack(both + header(b"a", kind=b"5") + header(b"a", kind=b"5") + END)
    assert os.listxattr(target / "a") == []


def test_a_malformed_acl_is_refused(layers: Layers) -> None:
    for name in (b"access", b"default"):
        layers.refuse(pax((b"SCHILY.xattr.system.posix_acl_" + name, b"y")) + header(b"a", kind=b"5") + END)


def test_long_runs_of_zeros_take_no_room(layers: Layers) -> None:
    content = b"x" + bytes(3 << 20) + b"y" + bytes(1 << 20)
    target = layers.unpack(archive(entry("a", content), entry("b", bytes(5000))))
    assert (target / "a").read_bytes() == content
    assert (target / "a").stat().st_blocks < 1000
    assert (target / "b").read_bytes() == bytes(5000)


# Whiteouts


def test_a_whiteout_becomes_overlayfs_s_device(layers: Layers) -> None:
    target = layers.unpack(archive(directory("a"), entry("a/.wh.b"), entry("c/.wh.d"), entry(".wh.e")))
    assert whiteout(target / "a/b")
    assert whiteout(target / "c/d")
    assert whiteout(target / "e")
    assert not any(path.name.startswith(".wh.") for path in target.rglob("*"))


def test_an_opaque_marker_becomes_overlayfs_s_attribute(layers: Layers) -> None:
    target = layers.unpack(archive(entry("a/.wh..wh..opq"), entry("a/b"), directory("c"), entry("c/.wh..wh..opq")))
    assert opaque(target / "a")
    assert opaque(target / "c")
    assert [path.name for path in (target / "a").iterdir()] == ["b"]


@pytest.mark.parametrize("late", [False, True])
def test_whiteout_of_a_directory_in_the_same_layer_makes_it_opaque(layers: Layers, late: bool) -> None:
    members = [directory("a", uid=7), entry("a/b", b"kept")]
    marker = [entry(".wh.a")]
    target = layers.unpack(archive(*(members + marker if late else marker + members)))
    assert opaque(target / "a")
    assert (target / "a").stat().st_uid == 7
    assert (target / "a/b").read_bytes() == b"kept"


@pytest.mark.parametrize("late", [False, True])
def test_whiteout_of_a_file_in_the_same_layer_leaves_the_file(layers: Layers, late: bool) -> None:
    members = [entry("a", b"kept"), entry(".wh.a")]
    target = layers.unpack(archive(*(members if late else reversed(members))))
    assert (target / "a").read_bytes() == b"kept"


def test_an_entry_below_a_whiteout_makes_it_an_opaque_directory(layers: Layers) -> None:
    target = layers.unpack(archive(entry(".wh.a"), entry("a/b/c"), entry(".wh.d"), entry("d/.wh.e")))
    assert opaque(target / "a")
    assert not opaque(target / "a/b")
    assert (target / "a/b/c").exists()
    assert opaque(target / "d")
    assert whiteout(target / "d/e")


@pytest.mark.parametrize(
    "members",
    [
        [entry(".wh.a"), entry("a"), directory("a")],
        [entry("a"), entry(".wh.a"), directory("a")],
        [directory("a"), entry(".wh.a"), symlink("a", "b"), directory("a")],
        [directory("a"), entry("a/.wh..wh..opq"), entry("a"), directory("a")],
    ],
)
def test_what_a_whiteout_hides_stays_hidden_whatever_replaces_it(layers: Layers, members: list[Spec]) -> None:
    assert opaque(layers.unpack(archive(*members)) / "a")


def test_a_directory_that_no_whiteout_names_is_not_opaque(layers: Layers) -> None:
    target = layers.unpack(archive(entry("a"), directory("a"), directory("b"), entry(".wh.c")))
    assert not opaque(target / "a")
    assert not opaque(target / "b")


@pytest.mark.parametrize("where", ["", "dir/"])
@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", ".wh..wh.", ".wh.x/y", ".wh..wh..opq/y", ".wh./x"])
def test_a_malformed_whiteout_is_refused(layers: Layers, where: str, name: str) -> None:
    target = layers.refuse(archive(directory("dir"), entry(where + name)), "whiteout")
    assert target.is_dir()
    assert not opaque(target)


@pytest.mark.parametrize("name", [".wh.a", ".wh..wh..opq"])
@pytest.mark.parametrize("kind", [b"2", b"5", b"6", b"3"])
def test_a_whiteout_is_an_empty_file(layers: Layers, name: str, kind: bytes) -> None:
    fields = {"link": b"x" if kind == b"2" else b"", "minor": b"0000003\0"}
    layers.refuse(header(name.encode(), kind=kind, **fields) + END, "whiteout")
    layers.refuse(archive(entry(name, b"content")), "whiteout")


def test_whiteouts_that_aufs_linked_together_are_read(layers: Layers) -> None:
    target = layers.unpack(archive(entry(".wh.a"), hard_link("d/.wh.b", ".wh.a")))
    assert whiteout(target / "a")
    assert whiteout(target / "d/b")


def test_aufs_s_bookkeeping_is_left_out(layers: Layers) -> None:
    target = layers.unpack(
        archive(directory(".wh..wh.plnk"), entry(".wh..wh.plnk/1.2", b"x"), entry(".wh..wh.aufs"), entry("a"))
    )
    assert [path.name for path in target.iterdir()] == ["a"]


def test_the_kernel_hides_what_the_layer_hides(layers: Layers, tmp_path: Path) -> None:
    lower = layers.unpack(archive(entry("gone"), entry("dir/old"), entry("kept/old"), entry("again/old")))
    upper = layers.unpack(
        archive(
            entry(".wh.gone"),
            entry("dir/.wh..wh..opq"),
            entry("dir/new"),
            entry(".wh.again"),
            entry("again/new"),
        )
    )
    merged = layers.fresh()
    mount = ["mount", "-t", "overlay", "-o", f"ro,lowerdir={upper}:{lower}", "overlay", merged]
    script = '"$@" && cd "$0" && find . -type f'
    result = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, str(merged), *map(str, mount)], capture_output=True, text=True
    )
    if result.returncode and not os.environ.get("HYRUN_MUST_WORK"):
        pytest.skip(result.stderr)
    assert sorted(result.stdout.split()) == ["./again/new", "./dir/new", "./kept/old"]


# Streams and digests


@pytest.mark.parametrize("form", ["plain", "gzip", "zstd"])
def test_both_digests_are_over_everything(layers: Layers, form: str) -> None:
    plain = archive(entry("a", os.urandom(300_000))) + b"trailing" * 100_000
    stored = {"plain": lambda: plain, "gzip": lambda: gzip.compress(plain), "zstd": lambda: zstd(plain)}[form]()
    read = layers.read(stored, layers.fresh())
    assert read.diff_id == digest(plain)
    assert read.digest == digest(stored)
    assert (read.size, read.compressed_size, read.entries) == (len(plain), len(stored), 1)


def test_a_window_of_a_file_is_read_and_its_position_left(layers: Layers, tmp_path: Path) -> None:
    data = gzip.compress(archive(entry("a", b"x")))
    with open(tmp_path / "archive", "wb+") as file:
        file.write(b"before" + data + b"behind")
        file.flush()
        file.seek(3)
        target = layers.fresh()
        read = _core.unpack_layer(file.fileno(), str(target), offset=6, length=len(data))
        assert file.tell() == 3
    assert read.digest == digest(data)
    assert (target / "a").exists()


def test_a_pipe_is_read_to_its_end(layers: Layers) -> None:
    data = archive(entry("a", os.urandom(1 << 20))) + bytes(1 << 20)
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb") as pipe:
            pipe.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert _core.unpack_layer(reading, str(layers.fresh())).digest == digest(data)
    finally:
        os.close(reading)
        thread.join()


@pytest.mark.parametrize(
    "options",
    [
        ["-1"],
        ["-3", "--no-check"],
        ["-9", "--long=25"],
        ["-12", "--long=26"],
        ["-19"],
        ["--ultra", "-22", "--long=27"],
        ["--fast=5"],
        ["-3", "--zstd=wlog=10"],
    ],
    ids=" ".join,
)
def test_every_level_and_window_of_zstd_is_decoded(layers: Layers, options: list[str]) -> None:
    """Both decoders: windows above 32 MiB are the other one's. The content is long enough to fill many blocks."""
    source = random.Random(3)
    words = [source.randbytes(source.randrange(1, 60)) for _ in range(400)]
    content = b"".join(source.choices(words, k=60_000)) + source.randbytes(300_000) + bytes(500_000)
    data = archive(entry("a", content), entry("b", b"end"))
    packed = zstd(data, *options)
    read = layers.read(packed, target := layers.fresh())
    assert (read.diff_id, read.digest) == (digest(data), digest(packed))
    assert (target / "a").read_bytes() == content


def test_memory_does_not_grow_with_the_layer(layers: Layers) -> None:
    """300 MB in a window of 8 MiB: less than 100 MiB with the interpreter."""
    block = random.Random(4).randbytes(3 << 20)
    with open(layers.base / "archive", "wb+") as file:
        packer = subprocess.Popen(["zstd", "-qc", "-3", "--long=23"], stdin=subprocess.PIPE, stdout=file)
        assert packer.stdin is not None
        packer.stdin.write(header(b"a", size=b"%011o\0" % (100 * len(block))))
        for _ in range(100):
            packer.stdin.write(block)
        packer.stdin.write(END)
        packer.stdin.close()
        assert packer.wait() == 0
        file.seek(0)
        program = (
            "import resource, sys; from hyrun import _core; _core.unpack_layer(0, sys.argv[1], offset=0)\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        # A shell between: what replaces a process inherits its peak.
        command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", program, layers.fresh()]
        peak = int(subprocess.run(command, stdin=file, capture_output=True, check=True).stdout)
    assert peak < 100 << 10


def _endless() -> tuple[int, int]:
    """A pipe with the beginning of a large layer, whose writer says nothing more."""
    read, write = os.pipe()
    os.write(write, header(b"a", size=base_256(1 << 30)) + bytes(1000))
    return read, write


def test_a_stalled_stream_can_be_cancelled(layers: Layers) -> None:
    read, write = _endless()
    cancellation = _core.Cancellation()
    timer = threading.Timer(0.1, cancellation.cancel)
    timer.start()
    try:
        with pytest.raises(StorageError, match="stopped"):
            _core.unpack_layer(read, str(layers.fresh()), cancellation=cancellation)
    finally:
        timer.join()
        os.close(read)
        os.close(write)


def test_a_signal_handler_may_end_it(layers: Layers) -> None:
    read, write = _endless()

    def handler(*_: object) -> None:
        raise KeyError("from the handler")

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(KeyError, match="from the handler"):
            _core.unpack_layer(read, str(layers.fresh()))
    finally:
        signal.signal(signal.SIGALRM, before)
        os.close(read)
        os.close(write)


def test_an_error_does_not_wait_for_the_rest_of_a_stream(layers: Layers) -> None:
    read, write = os.pipe()
    os.write(write, header(b"../a") + bytes(512))
    try:
        with pytest.raises(StorageError, match="leaves the layer"):
            _core.unpack_layer(read, str(layers.fresh()))
    finally:
        os.close(read)
        os.close(write)


def test_members_of_gzip_and_frames_of_zstd_are_joined(layers: Layers) -> None:
    data = archive(entry("a", os.urandom(5000)), entry("b", b"x"))
    halves = data[:3000], data[3000:]
    skippable = struct.pack("<II", 0x184D2A53, 5) + b"12345"
    for stored in (
        b"".join(map(gzip.compress, halves)),
        skippable + zstd(halves[0]) + skippable + zstd(halves[1]) + skippable,
        gzip.compress(data) + bytes(700),
    ):
        target = layers.fresh()
        read = layers.read(stored, target)
        assert (read.diff_id, read.digest) == (digest(data), digest(stored))
        assert sorted(path.name for path in target.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("form", ["gzip", "zstd"])
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-1], id="last byte missing"),
        pytest.param(lambda data: data[: len(data) // 2], id="cut in half"),
        pytest.param(lambda data: data[:7], id="header only"),
        pytest.param(lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:], id="flipped near the end"),
        pytest.param(lambda data: data[:-1] + bytes([data[-1] ^ 1]), id="flipped check"),
        pytest.param(lambda data: data + b"garbage", id="garbage behind"),
        pytest.param(lambda data: data + bytes(9) + b"x", id="garbage behind padding"),
    ],
)
def test_a_damaged_stream_is_refused(layers: Layers, form: str, damage: Callable[[bytes], bytes]) -> None:
    plain = archive(entry("a", os.urandom(40_000)))
    layers.refuse(damage(gzip.compress(plain) if form == "gzip" else zstd(plain)), form)


def test_an_archive_without_its_end_is_whole(layers: Layers) -> None:
    target = layers.unpack(header(b"a"))
    assert (target / "a").exists()
    assert layers.read(b"", layers.fresh()).entries == 0


def test_the_disk_s_refusal_is_an_oserror_with_the_name(layers: Layers) -> None:
    used = layers.unpack(archive(entry("a")))
    with pytest.raises(OSError, match="not empty") as caught:
        layers.unpack(archive(entry("b")), used)
    assert caught.value.filename == str(used)
    with pytest.raises(FileNotFoundError):
        layers.unpack(END, layers.base / "missing")
    directory = os.open(used, os.O_RDONLY)
    try:
        with pytest.raises(IsADirectoryError):
            _core.unpack_layer(directory, str(layers.fresh()))
    finally:
        os.close(directory)


def test_a_target_that_is_a_symlink_is_not_followed(layers: Layers) -> None:
    target = layers.fresh()
    (target / "link").symlink_to(layers.fresh())
    with pytest.raises(NotADirectoryError):
        layers.unpack(archive(entry("a")), target / "link")


# Bombs

BOMB = """
import os, resource, sys
limit = 256 << 20
from hyrun import _core
from hyrun.errors import StorageError
resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
try:
    _core.unpack_layer(0, sys.argv[1], offset=0 if sys.argv[2] == "file" else None)
except StorageError as error:
    print(error)
else:
    sys.exit("unpacked")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
if peak > limit:
    sys.exit(f"{peak >> 20} MiB")
"""


@cache
def gzip_of_zeros(size: int) -> bytes:
    """``size`` zeros after a header that claims them, without making them all here."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    chunk = bytes(1 << 20)
    parts = [packer.compress(header(b"a", size=base_256(size)))]
    parts += [packer.compress(chunk) for _ in range(size >> 20)]
    return b"".join([*parts, packer.flush()])


def zstd_frame(window: int, *blocks: bytes) -> bytes:
    """A frame with a window of 2**window bytes and these raw blocks."""
    return struct.pack("<IBB", 0xFD2FB528, 0, (window - 10) << 3) + b"".join(blocks)


def zstd_zeros(count: int) -> bytes:
    """RLE blocks: four bytes each for 128 KiB."""
    block = (131072 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    return block * count + (1 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"


def zstd_raw(data: bytes) -> bytes:
    return (len(data) << 3).to_bytes(3, "little") + data


def base_256(number: int) -> bytes:
    return b"\x80" + number.to_bytes(11, "big")


HUGE = header(b"a", size=base_256(1 << 39))
LONG_PAX = header(b"x", kind=b"x", size=b"77777777777\0")


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param(lambda: gzip_of_zeros(1200 << 20), id="gzip zeros"),
        pytest.param(lambda: zstd_frame(23, zstd_raw(HUGE), zstd_zeros(20_000)), id="zstd zeros"),
        pytest.param(lambda: zstd_frame(27, zstd_raw(HUGE), zstd_zeros(20_000)), id="zstd window of 128 MiB"),
        pytest.param(lambda: zstd_frame(28, zstd_raw(HUGE), zstd_zeros(20_000)), id="zstd window too large"),
        pytest.param(lambda: zstd_frame(41, zstd_raw(HUGE), zstd_zeros(20)), id="zstd window of 2 TiB"),
        pytest.param(lambda: zstd_frame(20, zstd_raw(END), zstd_zeros(20_000)), id="zeros behind the end"),
        pytest.param(lambda: LONG_PAX + bytes(1 << 20), id="PAX of 8 GiB"),
        pytest.param(lambda: header(b"x", kind=b"K", size=b"10000000000\0") + bytes(1 << 20), id="long link"),
        pytest.param(lambda: zstd_frame(20, zstd_raw(LONG_PAX), zstd_zeros(20_000)), id="zipped PAX"),
        pytest.param(lambda: header(b"a", size=base_256(1 << 41)) + bytes(512), id="2 TiB claimed"),
        pytest.param(lambda: b"".join(sparse_header(b"%d" % n) for n in range(3)), id="1.5 TiB of holes"),
        pytest.param(lambda: endless_map(), id="endless sparse map"),
        pytest.param(lambda: zstd_frame(27, wide_mix(), zstd_zeros(20_000)), id="zstd window of 128 MiB, filled"),
        pytest.param(lambda: too_many_directories(), id="directories to remember"),
        pytest.param(lambda: pax((b"SCHILY.xattr.user.a", bytes(65_537))) + header(b"a"), id="huge xattr"),
    ],
)  # fmt: skip
def test_a_bomb_is_refused_in_ten_seconds_and_256_mib(layers: Layers, bomb: Callable[[], bytes]) -> None:
    with open(layers.base / "archive", "wb+") as file:
        file.write(bomb())
        file.seek(0)
        how = "stream" if layers.threads else "file"
        command = [sys.executable, "-c", BOMB, layers.fresh(), how]
        result = subprocess.run(command, stdin=file, capture_output=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, b"")


def wide_mix() -> bytes:
    """Blocks that fill a window with bytes that are not a bomb yet: 600 MB in 300 KB more."""
    run = (131072 << 3 | 1 << 1).to_bytes(3, "little")
    return zstd_raw(HUGE) + zstd_raw(bytes(100_000)) * 3 + b"".join(run + bytes([n % 251]) for n in range(4600))


def too_many_directories() -> bytes:
    """Long names of one directory, each with a time to remember: 69 MB of them."""
    path = "/".join(["d" * 250] * 15)
    return (pax((b"path", path.encode())) + header(b"d", kind=b"5")) * 18_000


@pytest.mark.parametrize("layers", ["several"], indirect=True)
def test_more_than_two_million_entries_are_refused(layers: Layers) -> None:
    """Bookkeeping of aufs, which is read and left out, so that no inode is wasted on it."""
    block = header(b".wh..wh.aufs") * 2048
    read, write = os.pipe()

    def feed() -> None:
        with os.fdopen(write, "wb") as file, contextlib.suppress(BrokenPipeError):
            for _ in range(2_000_000 // 2048 + 1):
                file.write(block)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        with pytest.raises(StorageError, match="more than 2000000 entries"):
            _core.unpack_layer(read, str(layers.fresh()))
    finally:
        os.close(read)
        feeder.join()


def sparse_header(name: bytes) -> bytes:
    """GNU's old sparse form: half a TiB, with one empty extent at the end."""
    offset = base_256(1 << 39)
    map_ = offset + b"00000000000\0" + bytes(24 * 3) + b"\0" + offset
    return header(name, kind=b"S", magic=b"ustar  \0", behind=map_)


def endless_map() -> bytes:
    map_ = (b"00000000001\0" + b"00000000000\0") * 4 + b"\1" + b"00000000001\0"
    more = (b"00000000001\0" + b"00000000000\0") * 21 + b"\1" + bytes(7)
    return header(b"a", kind=b"S", magic=b"ustar  \0", behind=map_) + more * 20_000


# Whatever an archive says, nothing outside changes


def hostile(source: random.Random, canary: Path) -> bytes:
    """A random archive of names, links and types that have gone wrong somewhere before."""
    names = [
        "a",
        "b",
        "a/b",
        "a/b/c",
        "./a",
        "/b",
        "..",
        "../canary/file",
        "a/../b",
        ".",
        "/",
        "",
        "a/.",
        "b/x",
    ]
    names += [
        ".wh.a",
        "a/.wh.b",
        "b/.wh..wh..opq",
        ".wh..wh..opq",
        ".wh.",
        ".wh..",
        ".wh...",
        ".wh..wh.plnk/x",
    ]
    names += [
        f"{canary}/file",
        "s",
        "s/file",
        "s/sub/setuid",
        "t/file",
        "s/.wh.file",
        "x" * 256,
        "a/" * 80 + "x",
    ]
    targets = [
        "a",
        "b",
        "a/b",
        "..",
        "../canary",
        "../canary/file",
        str(canary),
        f"{canary}/file",
        "/",
        ".",
        "s",
        "/proc/self/root",
    ]
    kinds = [b"0"] * 5 + [b"2"] * 4 + [b"1"] * 3 + [b"5"] * 3 + [b"3", b"4", b"6", b"7", b"\0", b"S", b"Z"]
    data = b""
    for _ in range(source.randrange(1, 8)):
        name = source.choice(names).encode()
        content = source.choice([b"", b"evil", bytes(600)])
        kind = source.choice(kinds)
        size = len(content) if kind in (b"0", b"7", b"\0") or source.random() < 0.05 else 0
        records = []
        if len(name) > 100:
            records.append((b"path", name))
        if source.random() < 0.1:
            records.append((b"SCHILY.xattr." + source.choice([b"trusted.overlay.redirect", b"user.x"]), b"/"))
        if source.random() < 0.03:
            records.append((source.choice([b"size", b"uid", b"mtime"]), source.choice([b"0", b"-5", b"7", b"9" * 30])))
        if records:
            data += pax(*records)
        data += header(
            name[:100],
            kind=kind,
            size=b"%011o\0" % size,
            mode=b"000%04o\0" % source.randrange(0o10000),
            uid=b"%07o\0" % source.randrange(3),
            link=source.choice(targets).encode()[:100] if kind in b"12" else b"",
            minor=b"000000%d\0" % source.randrange(2),
        )
        data += padded(content[:size])
    if source.random() < 0.1:
        data = data[: source.randrange(len(data) + 1)]
    if source.random() < 0.1 and data:
        position = source.randrange(len(data))
        data = data[:position] + bytes([source.randrange(256)]) + data[position + 1 :]
    return data + source.choice([END, END, b""])


def test_random_hostile_archives_change_nothing_outside(layers: Layers) -> None:
    source = random.Random(20260101)
    unpacked = 0
    for _ in range(int(os.environ.get("HYRUN_HOSTILE_LAYERS", "1000"))):
        data = hostile(source, layers.canary)
        target = layers.fresh()
        with contextlib.suppress(StorageError):
            layers.read(data, target)
            unpacked += 1
        assert layers.outside() == layers.before, data
        assert target.is_dir()
        assert not target.is_symlink()
        for path in target.rglob("*"):
            overlay = [key for key in os.listxattr(path, follow_symlinks=False) if ".overlay." in key]
            assert set(overlay) <= {"trusted.overlay.opaque"}, data
        _core.remove_tree(str(target))
    assert unpacked > 40
