"""A store that was copied or moved to another place: what works there, and what is refused."""

import shutil

import pytest

from e2e.command import Hyrun


@pytest.mark.parametrize("moved", [False, True], ids=["copied", "moved"])
def test_a_container_is_not_started_on_the_volumes_of_the_original(hyrun: Hyrun, moved: bool) -> None:
    hyrun("run", "--name", "app", "-v", "data:/d", "busybox", "sh", "-c", "echo line >> /d/file; echo x > /own")
    original = hyrun.root / "volumes/data/_data/file"
    other = hyrun.root.with_name("other")
    if moved:
        original = other / "volumes/data/_data/file"
        hyrun.root.rename(other)
    else:
        shutil.copytree(hyrun.root, other, symlinks=True)
    place = {"HYRUN_ROOT": str(other)}
    for arguments in (["start", "app"], ["restart", "app"], ["cp", "/etc/hostname", "app:/d/file"]):
        message = hyrun.refused(*arguments, code=1, env=place)
        assert f"container app was made in the store {hyrun.root}, and this one is {other}: " in message
    assert original.read_text() == "line\n"
    # What it wrote is not lost, and everything else works.
    hyrun("commit", "app", "kept", env=place)
    assert hyrun.out("run", "--rm", "-v", "data:/d", "kept", "cat", "/own", "/d/file", env=place) == "x\nline"
    hyrun("rm", "app", env=place)
    hyrun("volume", "rm", "data", env=place)
    if moved:
        other.rename(hyrun.root)
