"""The store's directories, and the ways in which they are written."""

import json
import math
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyrun import _core, records
from hyrun.errors import StorageError
from hyrun.staging import staging, sweep
from hyrun.store import Store, default_root, default_run, write_atomic


def mode(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_nothing_of_the_store_is_open_to_other_users(store: Store) -> None:
    assert mode(store.root) == 0o700
    for name in ("volumes", "blobs", "layers", "images", "tags", "containers", "names", "tmp", "locks"):
        assert mode(store.path(name)) == 0o700, name


def test_the_umask_does_not_reach_the_skeleton(tmp_path: Path) -> None:
    code = f"import os; os.umask(0o077); from hyrun.store import Store; Store({str(tmp_path / 's')!r}).prepare()"
    subprocess.run([sys.executable, "-c", code], check=True)
    skeleton = tmp_path / "s/skeleton"
    assert {mode(str(path)) for path in skeleton.rglob("*") if path.is_dir()} == {0o755}
    assert {mode(str(path)) for path in skeleton.rglob("*") if path.is_file()} == {0o644}


def test_many_processes_may_make_one_store_at_once(tmp_path: Path) -> None:
    code = f"from hyrun.store import Store; Store({str(tmp_path / 's')!r}).prepare()"
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(6)]
    assert [process.wait() for process in processes] == [0] * 6
    assert sorted(os.listdir(tmp_path / "s/skeleton")) == ["dev", "etc", "proc", "sys"]


def test_a_root_that_cannot_be_made_says_what_to_choose_instead(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Not a directory: choose another with --root or HYRUN_ROOT"):
        Store(str(tmp_path / "file/store")).prepare()


def test_a_run_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    run.chmod(0o755)
    with pytest.raises(StorageError, match="must belong to you with mode 0700"):
        Store(str(tmp_path / "store"), str(run)).prepare()


@pytest.mark.parametrize(
    "names",
    [
        ["file"],
        ["tmp"],
        ["tmp/work/file"],
        ["tmp/sha256/"],
        ["tmp/", "layers/photos/", "images/.k"],
        ["skeleton/page"],
        ["skeleton/page", "tmp/file"],
        ["damaged/photo"],
        ["partial/download"],
        ["blobs/sha256/file"],
    ],
)
def test_a_directory_of_somebody_is_no_store(tmp_path: Path, names: list[str]) -> None:
    root = tmp_path / "home"
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if name.endswith("/") else path.touch()
    before = sorted(root.rglob("*"))
    with pytest.raises(StorageError, match="is not empty, and is no store of hyrun's: choose one of its own"):
        Store(str(root), str(tmp_path / "run")).prepare()
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("names", [[], ["lost+found"], ["blobs", "blobs/sha256", "layers"]])
def test_an_empty_directory_a_new_disk_and_a_store_half_made_become_one(tmp_path: Path, names: list[str]) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for name in names:
        (root / name).mkdir()
    store = Store(str(root), str(tmp_path / "run")).prepare()
    assert os.path.isdir(store.path("containers"))


def test_a_store_that_lost_some_directories_is_still_one(store: Store, tmp_path: Path) -> None:
    shutil.rmtree(store.skeleton)
    for name in ("tmp", "locks", "tags"):
        os.rmdir(store.path(name))
    Path(store.path("layers", "1" * 64)).mkdir()
    Store(store.root, store.run).prepare()
    assert os.path.isdir(store.path("tmp"))
    assert os.path.isdir(store.skeleton)


def test_every_way_to_a_store_has_the_same_run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HYRUN_RUN")
    (tmp_path / "link").symlink_to(tmp_path / "store")
    one, other = Store(str(tmp_path / "store")), Store(str(tmp_path / "link/"))
    assert (one.root, one.run) == (other.root, other.run)


def test_the_store_used_by_default_can_use_what_one_elsewhere_has_made(tmp_path: Path) -> None:
    run = tmp_path / "run"
    Store(str(tmp_path / "other"), str(run / "roots/other")).prepare()
    assert {mode(str(path)) for path in (run, run / "roots", run / "roots/other")} == {0o700}
    Store(str(tmp_path / "store"), str(run)).prepare()


def test_a_file_is_no_run_directory(tmp_path: Path) -> None:
    (tmp_path / "run").touch(mode=0o600)
    for place in ("run", "run/below"):
        with pytest.raises(StorageError, match="choose another with HYRUN_RUN"):
            Store(str(tmp_path / "store"), str(tmp_path / place)).prepare()


def test_stores_at_other_places_have_run_directories_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HYRUN_RUN")
    assert default_run("/a/b") != default_run("/a_b") != default_run("/a%2Fb")
    monkeypatch.setenv("HYRUN_ROOT", "/chosen")
    assert default_root() == "/chosen"


def test_staging_is_gone_afterwards_unless_it_was_renamed_away(store: Store) -> None:
    with staging(store) as path:
        Path(path, "file").write_text("")
        os.rename(path, store.path("layers", "kept"))
    assert os.listdir(store.path("tmp")) == []
    assert os.listdir(store.path("layers")) == ["kept"]


def test_sweep_removes_what_the_dead_left_and_nothing_of_the_living(store: Store) -> None:
    os.makedirs(store.path("tmp", "dead", "below"))
    with staging(store) as path:
        assert sweep(store) == 1
        assert os.listdir(store.path("tmp")) == [os.path.basename(path)]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "record"
    write_atomic(str(path), b"old")
    with pytest.raises(TypeError):
        write_atomic(str(path), "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    write_atomic(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path / "hyrun-run") == []
    assert sorted(os.listdir(tmp_path)) == ["hyrun-run", "record"]


def test_half_a_record_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "record"
    for content in (b"", b'{"a": 1', b"[1]", b"\xff", b"[" * 100_000):
        path.write_bytes(content)
        assert records.read(str(path)) is None
    assert records.read(str(tmp_path / "missing")) is None


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


@given(DOCUMENTS.filter(lambda value: "inf" not in repr(value)))
def test_json_is_what_pythons_json_reads_and_writes(value: Any) -> None:
    text = _core.format_json(value)
    assert json.loads(text) == _core.parse_json(json.dumps(value).encode()) == _core.parse_json(text) == value


def test_json_refuses_what_it_cannot_hold() -> None:
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="NaN"):
            _core.format_json(value)
    with pytest.raises(TypeError, match="set"):
        _core.format_json({"a": {1}})
    assert set(json.loads(_core.format_json("\udcff"))) == {"\ufffd"}
