"""What an empty volume gets from the image."""

import os
from pathlib import Path

import pytest

from e2e.command import Hyrun

MTIME = 1_234_567_890


@pytest.fixture
def data(hyrun: Hyrun) -> Path:
    """The data of a volume that was filled from /data of the image."""
    hyrun("run", "--rm", "-v", "named:/data", "filled", "true")
    return hyrun.root / "volumes/named/_data"


def test_content_is_copied(data: Path) -> None:
    assert (data / "file").read_text() == "from the image\n"
    assert (data / "sub/deep").read_text() == "deep\n"
    assert sorted(path.name for path in data.iterdir()) == ["file", "hard", "soft", "sub"]


def test_owner_and_mode_are_kept(data: Path) -> None:
    for path, mode in (
        (data, 0o42750),
        (data / "file", 0o104640),
        (data / "sub", 0o40700),
        (data / "sub/deep", 0o100600),
    ):
        status = path.stat()
        assert (oct(status.st_mode), status.st_uid, status.st_gid) == (oct(mode), 1000, 50)
    assert os.lstat(data / "soft").st_uid == 1000


def test_symlinks_are_kept(data: Path) -> None:
    assert os.readlink(data / "soft") == "file"


def test_hard_links_are_kept(data: Path) -> None:
    assert (data / "file").samefile(data / "hard")


def test_extended_attributes_are_kept(data: Path) -> None:
    assert os.getxattr(data / "file", "user.colour") == b"blue"


def test_times_are_kept(data: Path) -> None:
    assert {int(os.lstat(path).st_mtime) for path in (data / "file", data / "soft", data / "sub")} == {MTIME}


def test_anonymous_volume_of_the_image_is_filled(hyrun: Hyrun) -> None:
    assert hyrun.sh("cat /data/file", image="filled") == "from the image"


def test_mount_option_fills_as_well(hyrun: Hyrun) -> None:
    assert hyrun.sh("cat /data/file", "--mount", "src=other,dst=/data", image="filled") == "from the image"


@pytest.mark.parametrize("flag", [("-v", "named:/data:nocopy"), ("--mount", "src=named,dst=/data,volume-nocopy")])
def test_nocopy_leaves_the_volume_empty(hyrun: Hyrun, flag: tuple[str, str]) -> None:
    assert hyrun.sh("ls /data", *flag, image="filled") == ""


def test_read_only_volume_is_filled_too(hyrun: Hyrun) -> None:
    assert hyrun.sh("cat /data/file", "-v", "named:/data:ro", image="filled") == "from the image"


def test_volume_with_content_stays_as_it_is(hyrun: Hyrun) -> None:
    hyrun.sh("touch /n/own", "-v", "named:/n")
    assert hyrun.sh("ls /data", "-v", "named:/data", image="filled") == "own"


def test_what_was_deleted_does_not_come_back_while_something_is_left(hyrun: Hyrun, data: Path) -> None:
    assert hyrun.sh("rm -r /data/sub; ls /data", "-v", "named:/data", image="filled") == "file\nhard\nsoft"
    assert hyrun.sh("ls /data", "-v", "named:/data", image="filled") == "file\nhard\nsoft"


def test_bind_is_never_filled(hyrun: Hyrun) -> None:
    assert hyrun.sh("ls /data", "-v", "./empty:/data", image="filled") == ""


def test_tmpfs_is_never_filled(hyrun: Hyrun) -> None:
    assert hyrun.sh("ls /data", "--tmpfs", "/data", image="filled") == ""


def test_empty_directory_of_the_image_gives_owner_and_mode(hyrun: Hyrun) -> None:
    assert hyrun.sh("stat -c '%a %u %g' /empty", "-v", "named:/empty", image="filled") == "1711 1000 50"


def test_volume_where_the_image_has_nothing_belongs_to_root(hyrun: Hyrun) -> None:
    assert hyrun.sh("stat -c '%a %u %g' /none", "-v", "named:/none", image="filled") == "755 0 0"


def test_volume_over_an_existing_file_is_refused(hyrun: Hyrun) -> None:
    before = hyrun.tree()
    for flag in ("/etc/passwd", "named:/etc/passwd"):
        assert "existing file" in hyrun.refused("run", "-v", flag, "busybox", "true")
    assert hyrun.tree() == before


def test_two_containers_at_once_fill_a_volume_once(hyrun: Hyrun) -> None:
    arguments = ("run", "--rm", "-v", "named:/data", "filled", "sh", "-c", "ls /data; cat /data/file")
    started = [hyrun.start(*arguments) for _ in range(6)]
    outputs = {process.communicate(timeout=30) for process in started}
    assert outputs == {("file\nhard\nsoft\nsub\nfrom the image\n", "")}
