"""docker's table for `cp`: what SRC is, what DST is, and what becomes of it; in both directions."""

import os
from pathlib import Path
from typing import NamedTuple

import pytest

from e2e.command import Hyrun
from hyrun import cp
from hyrun.errors import HyrunError
from hyrun.store import Store

SOURCE = """
mkdir -p S/dir/sub S/clash/there/old; cd S
echo -n F > file; echo -n I > dir/inner; echo -n D > dir/sub/deep
ln -s file link; ln -s dir dirlink; ln -s nowhere dangling
"""
TARGET = """
mkdir -p T/there T/taken T/full/file; cd T
echo -n O > old; echo -n K > there/kept; echo -n X > taken/dir
ln -s old tolink; ln -s there todir; ln -s new gone
"""
TREE = {"inner": "I", "sub": None, "sub/deep": "D"}


def below(name: str) -> dict[str, str | None]:
    return {name: None} | {f"{name}/{path}": content for path, content in TREE.items()}


class Case(NamedTuple):
    """SRC below S, DST below T, and what is new or other below T afterwards, or what the error says."""

    source: str
    target: str
    result: dict[str, str | None] | str
    follow: bool = False


CASES = (
    # A file
    Case("file", "new", {"new": "F"}),
    Case("file", "new/", "no such directory"),
    Case("file", "nodir/new", "no such directory"),
    Case("file", "old", {"old": "F"}),
    Case("file", "old/", "not a directory"),
    Case("file", "old/new", "not a directory"),
    Case("file", "there", {"there/file": "F"}),
    Case("file", "there/", {"there/file": "F"}),
    Case("file", "there/.", {"there/file": "F"}),
    Case("file", "full", "cannot overwrite directory file"),
    Case("file", "tolink", {"old": "F"}),
    Case("file", "todir", {"there/file": "F"}),
    Case("file", "gone", {"new": "F"}),
    Case("file/", "new", "not a directory"),
    Case("file/.", "new", "not a directory"),
    Case("nothing", "new", "no such file or directory"),
    # A directory
    Case("dir", "new", below("new")),
    Case("dir", "new/", below("new")),
    Case("dir/", "new", below("new")),
    Case("dir/.", "new", below("new")),
    Case("dir/.", "new/.", below("new")),
    Case("dir", "nodir/new", "no such directory"),
    Case("dir", "old", "cannot copy a directory"),
    Case("dir/.", "old", "cannot copy a directory"),
    Case("dir", "old/", "not a directory"),
    Case("dir", "there", below("there/dir")),
    Case("dir/", "there/", below("there/dir")),
    Case("dir/.", "there", {f"there/{path}": content for path, content in TREE.items()}),
    Case("dir/../dir", "there", below("there/dir")),
    Case("dir", "taken", "which is no directory, with a directory"),
    Case("clash/.", ".", {"there/old": None}),
    Case("dir", "todir", below("there/dir")),
    Case("dir", "gone", below("new")),
    # A symlink is copied itself, unless -L or a / says otherwise
    Case("link", "new", {"new": "-> file"}),
    Case("link", "old", {"old": "-> file"}),
    Case("link", "there", {"there/link": "-> file"}),
    Case("link", "new", {"new": "F"}, follow=True),
    Case("link", "there", {"there/link": "F"}, follow=True),
    Case("dirlink", "there", {"there/dirlink": "-> dir"}),
    Case("dirlink", "there", below("there/dirlink"), follow=True),
    Case("dirlink/", "there", below("there/dirlink")),
    Case("dirlink/.", "there", {f"there/{path}": content for path, content in TREE.items()}),
    Case("dirlink/inner", "new", {"new": "I"}),
    Case("dangling", "new", {"new": "-> nowhere"}),
    Case("dangling", "new", "no such file or directory", follow=True),
)


@pytest.mark.parametrize("outward", [False, True], ids=["in", "out"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.source} {case.target}{' -L' * case.follow}")
def test_the_table(hyrun: Hyrun, case: Case, outward: bool) -> None:
    scripts = (TARGET, SOURCE) if outward else (SOURCE, TARGET)
    os.system(f"cd {hyrun.cwd}; {scripts[0]}")
    hyrun("run", "--name", "box", "-w", "/", "busybox", "sh", "-c", scripts[1])
    upper = Path(hyrun.record("box")["GraphDriver"]["Data"]["UpperDir"])
    target = (hyrun.cwd if outward else upper) / "T"
    before = listing(target)
    here, there = (f"{hyrun.cwd}/T/", "box:S/") if outward else ("box:T/", f"{hyrun.cwd}/S/")

    def copy() -> None:
        cp.copy(Store(), there + case.source, here + case.target, follow=case.follow)

    if isinstance(case.result, str):
        with pytest.raises(HyrunError, match=case.result):
            copy()
        expected = before
    else:
        copy()
        expected = before | case.result
    assert listing(target) == expected


def listing(top: Path) -> dict[str, str | None]:
    """Every name below a directory: a file's content, a symlink's arrow, None for a directory."""
    found: dict[str, str | None] = {}
    for path in top.rglob("*"):
        name = str(path.relative_to(top))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = None if path.is_dir() else path.read_text()
    return found


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("box:/a", "box:/b", "copying between containers is not supported"),
        ("a", "b", "neither path is in a container"),
        ("a", "nosuch:/b", "no such container"),
        (":/a", "b", "write CONTAINER:PATH"),
        ("", "box:/b", "write CONTAINER:PATH"),
    ],
)
def test_arguments_that_cannot_be_meant(hyrun: Hyrun, source: str, target: str, message: str) -> None:
    hyrun("run", "--name", "box", "busybox", "true")
    assert message in hyrun.refused("cp", source, target, code=1)


@pytest.mark.parametrize("name", ["./a:b", "{}/a:b"])
def test_a_colon_in_a_path_of_this_machine(hyrun: Hyrun, name: str) -> None:
    (hyrun.cwd / "a:b").write_text("colon")
    hyrun("run", "--name", "box", "busybox", "true")
    hyrun("cp", name.format(hyrun.cwd), "box:/c:d")
    hyrun("container", "cp", "box:c:d", ".")
    assert (hyrun.cwd / "c:d").read_text() == "colon"


def test_the_current_directory_is_its_content(hyrun: Hyrun) -> None:
    (hyrun.cwd / "one").write_text("1")
    hyrun("run", "--name", "box", "busybox", "mkdir", "/in")
    hyrun("cp", ".", "box:/in")
    hyrun("cp", "box:/in", "out")
    assert listing(hyrun.cwd / "out") == {"one": "1"}


def test_the_root_is_its_content(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "box", "busybox", "true")
    (hyrun.cwd / "out").mkdir()
    hyrun("cp", "box:/", "out")
    assert (hyrun.cwd / "out/etc/passwd").exists()
