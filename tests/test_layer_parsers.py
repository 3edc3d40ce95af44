"""Layers beside GNU tar and bsdtar: the same archives, written by them and read by all three. See docs/layers.md."""

import os
import random
import shutil
import stat
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from hyrun import _core
from hyrun.errors import StorageError
from support.tars import END, directory, entry, hard_link, header, listing, padded, pax, symlink
from support.tars import archive as written

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0 and not os.environ.get("HYRUN_MUST_WORK"), reason="owners need root"),
    pytest.mark.skipif(shutil.which("bsdtar") is None, reason="needs bsdtar (Debian: libarchive-tools)"),
]

GNU = ["tar", "-xpf", "-", "--numeric-owner", "--xattrs", "--xattrs-include=*"]
BSD = ["bsdtar", "-xpf", "-", "--numeric-owner"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A tree with every kind of file, long names and odd bytes; its times are whole seconds (ustar has no others)."""
    top = tmp_path / "corpus"
    long = top / "deep" / ("d" * 90) / ("e" * 90)
    long.mkdir(parents=True)
    (long / ("f" * 80)).write_bytes(b"long name")
    (top / "file").write_bytes(random.Random(1).randbytes(70_001))
    (top / "empty").touch()
    os.chown(top / "file", 1234, 56_789)
    (top / "file").chmod(0o640)
    (top / "setuid").write_bytes(b"x")
    os.chown(top / "setuid", 5, 6)
    (top / "setuid").chmod(0o6755)
    os.link(top / "file", top / "hard")
    (top / "soft").symlink_to("/etc/passwd")
    (top / "sticky").mkdir()
    (top / "sticky").chmod(0o1777)
    os.mkfifo(top / "fifo")
    (top / "fifo").chmod(0o620)
    os.mknod(top / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(top / "loop", stat.S_IFBLK | 0o660, os.makedev(7, 3))
    (top / "na\u00efve\n").write_bytes(b"odd name")
    for number, path in enumerate([top, *sorted(top.rglob("*"))]):
        os.utime(path, (number * 1_000_003, number * 1_000_003), follow_symlinks=False)
    return top


class Read(NamedTuple):
    """What became of an archive: its tree, or None when it was refused or complained about."""

    hyrun: dict[str, tuple[object, ...]] | None
    gnu: dict[str, tuple[object, ...]] | None
    bsd: dict[str, tuple[object, ...]] | None


def _read(base: Path, data: bytes) -> Read:
    trees: list[dict[str, tuple[object, ...]] | None] = []
    for name, command in (("hyrun", None), ("gnu", GNU), ("bsd", BSD)):
        target = base / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(mode=0o755)
        os.utime(target, (0, 0))
        if command is None:
            (base / "archive").write_bytes(data)
            with open(base / "archive", "rb") as file:
                try:
                    _core.unpack_layer(file.fileno(), str(target), offset=0)
                    worked = True
                except StorageError:
                    worked = False
        else:
            done = subprocess.run([*command, "-C", target], input=data, capture_output=True, check=False)
            worked = done.returncode == 0
        # The time of the root and of directories without an entry is that of the run.
        trees.append({path: facts for path, facts in listing(target).items() if path != "."} if worked else None)
    return Read(*trees)


def _without_times(tree: dict[str, tuple[object, ...]] | None) -> object:
    return tree and {path: [fact for at, fact in enumerate(facts) if at != 4] for path, facts in tree.items()}


@pytest.mark.parametrize(
    "command",
    [
        ["tar", "--format=gnu"],
        ["tar", "--format=oldgnu"],
        ["tar", "--format=posix"],
        ["tar", "--format=posix", "--sort=name", "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"],
        ["bsdtar", "--format=pax"],
        ["bsdtar", "--format=gnutar"],
    ],
    ids=" ".join,
)
def test_what_both_write_is_read_alike_by_all_three(tmp_path: Path, corpus: Path, command: list[str]) -> None:
    made = subprocess.run([*command, "-C", corpus, "-cf", "-", "."], capture_output=True, check=True).stdout
    read = _read(tmp_path, made)
    assert read.hyrun is not None
    assert read.hyrun == {path: facts for path, facts in listing(corpus).items() if path != "."}
    assert read.bsd == read.hyrun
    # bsdtar writes a directory's file long after it; GNU tar has set the directory's time by then.
    assert read.gnu == read.hyrun or _without_times(read.gnu) == _without_times(read.hyrun)


@pytest.mark.parametrize("form", ["ustar", "v7"])
def test_old_forms_that_both_write_are_read_alike(tmp_path: Path, corpus: Path, form: str) -> None:
    """Only what the form can say: short names, and for v7 no devices."""
    shutil.rmtree(corpus / "deep")
    if form == "v7":
        for name in ("fifo", "null", "loop"):
            (corpus / name).unlink()
    for writer in ("tar", "bsdtar"):
        made = subprocess.run(
            [writer, f"--format={form}", "-C", corpus, "-cf", "-", "."], capture_output=True, check=True
        )
        read = _read(tmp_path, made.stdout)
        assert read.hyrun is not None
        assert read.gnu == read.hyrun
        assert read.bsd == read.hyrun


def test_xattrs_that_both_write_are_read_alike(tmp_path: Path) -> None:
    top = tmp_path / "corpus"
    top.mkdir()
    (top / "file").write_bytes(b"x")
    os.setxattr(top / "file", "user.note", b"two\nlines\0and a NUL")
    os.setxattr(top / "file", "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0))
    os.utime(top / "file", (5, 5))
    for command in (
        ["tar", "--format=posix", "--xattrs", "--xattrs-include=*"],
        ["bsdtar", "--format=pax", "--xattrs"],
    ):
        made = subprocess.run([*command, "-C", top, "-cf", "-", "file"], capture_output=True, check=True).stdout
        read = _read(tmp_path, made)
        assert read.hyrun == {path: facts for path, facts in listing(top).items() if path != "."}
        assert read.gnu == read.hyrun


def test_sparse_files_are_read_alike_or_refused(tmp_path: Path) -> None:
    top = tmp_path / "corpus"
    top.mkdir()
    with open(top / "sparse", "wb") as file:
        for number in range(12):
            file.seek(number * 1_000_000)
            file.write(b"data" * 1000)
        file.truncate(20_000_000)
    os.utime(top / "sparse", (5, 5))

    def made(*flags: str) -> Read:
        command = ["tar", *flags, "--sparse", "-C", str(top), "-cf", "-", "sparse"]
        return _read(tmp_path, subprocess.run(command, capture_output=True, check=True).stdout)

    read = made("--format=gnu")
    assert read.hyrun is not None
    assert read.gnu == read.bsd == read.hyrun
    assert (tmp_path / "hyrun/sparse").stat().st_blocks < 2000
    # The image specification discourages them, and a reader that does not know the form makes another file of it.
    for version in ("0.0", "0.1", "1.0"):
        assert made("--format=posix", f"--sparse-version={version}").hyrun is None


# Archives that no writer makes by accident. What all three read alike must be read; the rest is in docs/layers.md.


def _file(name: bytes, content: bytes = b"", **fields: bytes) -> bytes:
    return header(name, size=b"%011o\0" % len(content), **fields) + padded(content)


ALIKE = {
    "the last of two files": _file(b"a", b"one") + _file(b"a", b"two!"),
    "a file replaces a symlink": written(symlink("a", "b"), entry("b", b"b"), entry("a", b"a")),
    "a symlink replaces a file": written(entry("a", b"a"), symlink("a", "b")),
    "a directory twice": written(directory("d", uid=5), entry("d/x"), directory("d", uid=6)),
    "a hard link": written(entry("a", b"content"), hard_link("b", "a"), hard_link("c", "b")),
    "a hard link with a leading ./": written(entry("./a", b"content"), hard_link("./b", "./a")),
    "a file without an end of archive": _file(b"a", b"content"),
    "blanks in numbers": _file(b"a", b"x", mode=b"   644 \0", uid=b"     5 \0"),
    "numbers without a terminator": _file(b"a", b"x", mode=b"00000644", uid=b"00000007"),
    "base 256": _file(b"a", b"x", uid=b"\x80\0\0\0\0\0\x12\x34"),
    "an old directory": header(b"d/", kind=b"\0", magic=bytes(8)) + _file(b"d/x", b"x"),
    "a contiguous file": _file(b"a", b"x", kind=b"7"),
    "a PAX path": pax((b"path", b"other")) + _file(b"a", b"x"),
    "a PAX size as the header has it": pax((b"size", b"1")) + _file(b"a", b"x"),
    "a PAX comment": pax((b"comment", b"hello")) + _file(b"a", b"x"),
    "a global comment": pax((b"comment", b"hello"), kind=b"g") + _file(b"a", b"x"),
    "a GNU long name": header(b"././@LongLink", kind=b"L", size=b"%011o\0" % 151, magic=b"ustar  \0")
    + padded(b"n" * 150 + b"\0")
    + _file(b"n" * 100, b"x", magic=b"ustar  \0"),
    "star's prefix": _file(b"name", b"x", prefix=b"some/prefix"),
    "names with // and /./": _file(b"a//b/./c", b"x"),
}  # fmt: skip


@pytest.mark.parametrize("what", ALIKE)
def test_these_are_read_alike(tmp_path: Path, what: str) -> None:
    data = ALIKE[what] if "without an end" in what else ALIKE[what] + END
    read = _read(tmp_path, data)
    assert read.hyrun is not None
    # A directory that has no entry of its own has the time of the run.
    assert _without_times(read.gnu) == _without_times(read.hyrun)
    assert _without_times(read.bsd) == _without_times(read.hyrun)


#: Refused here: what readers make different things of, what leads outside, and what no layer needs.
REFUSED = {
    "a PAX size that is not the header's": pax((b"size", b"3")) + _file(b"a", b"x" * 600),
    "a global size": pax((b"size", b"3"), kind=b"g") + _file(b"a", b"x" * 600),
    "a global path": pax((b"path", b"b"), kind=b"g") + _file(b"a", b"x"),
    "a directory with a size": header(b"d/", kind=b"5", size=b"00000001000\0") + _file(b"d/x", b"x"),
    "a symlink with a size": header(b"l", kind=b"2", link=b"t", size=b"00000001000\0") + _file(b"x", b"x"),
    "a name that is a directory's": _file(b"a/", b"content"),
    "an unknown type": _file(b"a", b"x", kind=b"Z"),
    "an entry behind a block of zeros": _file(b"a", b"x") + bytes(512) + _file(b"b", b"x"),
    "a PAX path and another GNU name": pax((b"path", b"one"))
    + header(b"././@LongLink", kind=b"L", size=b"00000000004\0", magic=b"ustar  \0")
    + padded(b"two\0")
    + _file(b"three", b"x"),
    "two PAX headers": pax((b"path", b"one")) + pax((b"path", b"two")) + _file(b"a", b"x"),
    "a PAX header at the end": _file(b"a", b"x") + pax((b"path", b"one")),
    "a negative size": header(b"a", size=b"\xff" * 12),
    "..": _file(b"d/../../outside", b"x"),
    "a hard link outwards": written(hard_link("a", "../outside")),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_these_are_refused(tmp_path: Path, what: str) -> None:
    read = _read(tmp_path, REFUSED[what] + END)
    assert read.hyrun is None
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize(
    "what",
    [
        "a PAX size that is not the header's",
        "a global size",
        "a global path",
        "a name that is a directory's",
        "two PAX headers",
        "a PAX header at the end",
    ],
)
def test_of_these_the_other_two_make_different_trees(tmp_path: Path, what: str) -> None:
    """The reason why they are refused, checked."""
    read = _read(tmp_path, REFUSED[what] + END)
    assert read.gnu != read.bsd
