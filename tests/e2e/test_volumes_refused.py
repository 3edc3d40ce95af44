"""Mistakes in volumes: one line, exit status 125, and nothing left behind."""

import pytest

from e2e.command import Hyrun

VOLUMES = [
    "/", "named:/", "/a:/", "/a:/..", "/a://", ":/x", "/a:", "/a::ro", ":", "::", "", "/a:/b:ro:z", "/a:/b:ro:z:x",
    "test", "/a:test", "named:test", "a:/t", "A:/t", "1:/t", "/x:ro", "/x:rw", "named:ro", "foo/bar:/t", "~/x:/t",
    "na me:/t", "ünï:/t", ".:", "/a:/b:bad", "/a:/b:ro,rw", "/a:/b:ro,ro", "/a:/b:z,Z", "/a:/b:rshared,rslave",
    "/a:/b:nocopy", "named:/b:rshared", "named:/b:copy", "/a:/b:cached,delegated", "/a:/b:,", "/a:/b:RO", "/a:/proc",
    "/a:/proc/self", "named:/proc/sys", "-x:/t", "n" * 300 + ":/t", "/a:/b:\t", "/a\n:b",
]  # fmt: skip

MOUNTS = [
    "", "type=bind", "type=bind,src=/etc", "type=bind,dst=/t", "type=bind,src=/etc,dst=t", "type=bind,src=/etc,dst=/",
    "type=bind,src=etc,dst=/t", "type=nosuch,src=/etc,dst=/t", "type=bind,src=/etc,dst=/t,foo=bar",
    "type=bind,src=/etc,dst=/t,ro=maybe", "type=bind,src=/etc,dst=/t,volume-nocopy", "type=volume,src=/etc,dst=/t",
    "src=named,dst=/t,bind-propagation=rshared", "type=bind,src=/etc,dst=/t,bind-recursive=x",
    "type=bind,src=/etc,dst=/t,bind-recursive=readonly", "type=bind,src=/etc,dst=/t,bind-nonrecursive",
    "type=bind,src=/etc,dst=/t,bind-propagation=bad", "type=tmpfs,src=x,dst=/t", "type=tmpfs,dst=/t,tmpfs-size=x",
    "type=tmpfs,dst=/t,tmpfs-mode=9", "type=image,src=busybox,dst=/t", "src=named,dst=/t,volume-driver=nfs",
    "src=named,dst=/t,volume-opt=a=b", "src=named,dst=/t,volume-subpath=x", "src=a,dst=/t", 'src="named,dst=/t',
    "type=bind,src=,dst=/t", " type=bind,src=/etc,dst=/t", "src=named,dst=/t,", "type=bind,src=~/x,dst=/t",
]  # fmt: skip

TMPFS = ["", "/", "t", "/t:", "/t:bogus", "/t:size=x", "/t:mode=9", "/t:uid=-1", "/proc", ":size=1m", "/t:mpol=bind"]

TWO = [
    ("/t", "named:/t"), ("named:/t", "other:/t"), ("named:/t", "./x:/t"), ("/t", "/etc:/t/"), ("/a:/t", "/a:/t:ro"),
    ("/a/../t", "named:/t"),
]  # fmt: skip


def _nothing_is_left(hyrun: Hyrun, *flags: str) -> None:
    # What stands before and behind the mistake must not come to be either.
    others = ("-v", "before:/before", "-v", "/anonymous", "-v", "./made:/made")
    tree = hyrun.tree()
    hyrun.refused("run", "--name", "mistake", "--cidfile", "id", *others, *flags, "busybox", "true")
    assert hyrun.tree() == tree
    assert hyrun.mounts() == []
    assert list(hyrun.cwd.iterdir()) == []


@pytest.mark.parametrize("volume", VOLUMES)
def test_volume(hyrun: Hyrun, volume: str) -> None:
    _nothing_is_left(hyrun, f"--volume={volume}")


@pytest.mark.parametrize("mount", MOUNTS)
def test_mount(hyrun: Hyrun, mount: str) -> None:
    _nothing_is_left(hyrun, f"--mount={mount}")


@pytest.mark.parametrize("tmpfs", TMPFS)
def test_tmpfs(hyrun: Hyrun, tmpfs: str) -> None:
    _nothing_is_left(hyrun, f"--tmpfs={tmpfs}")


@pytest.mark.parametrize("volumes", TWO)
def test_two_at_one_place(hyrun: Hyrun, volumes: tuple[str, str]) -> None:
    _nothing_is_left(hyrun, *(word for volume in volumes for word in ("-v", volume)))


def test_the_same_volume_twice_is_one(hyrun: Hyrun) -> None:
    assert hyrun.sh("grep -c ' /t ' /proc/mounts", "-v", "named:/t", "-v", "named:/t") == "1"


def test_message_quotes_the_volume_and_says_what_to_write(hyrun: Hyrun) -> None:
    assert "./a" in hyrun.refused("run", "-v", "a:/t", "busybox", "true")
    assert "$HOME" in hyrun.refused("run", "-v", "~/x:/t", "busybox", "true")
    assert "volume-nocopy" in hyrun.refused("run", "--mount", "dst=/t,volume-nocpy", "busybox", "true")
    assert "duplicate mount point: /t" in hyrun.refused("run", "-v", "/t", "-v", "ab:/t", "busybox", "true")
