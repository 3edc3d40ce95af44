"""`commit`, `diff` and `export`: containers whose changes become images, lists and tars."""

import os
import subprocess
from pathlib import Path

import pytest

from e2e.command import Hyrun, until

CHANGES = """
echo new > /new; chmod 4711 /new; ln /new /linked
rm /etc/hello; echo more >> /etc/passwd
rm -r /usr; mkdir /usr; touch /usr/fresh
mkdir -p /deep/er; ln -s new /soft; mkfifo /deep/fifo 2>/dev/null || true
"""


def changed(hyrun: Hyrun, *flags: object, name: str = "box", script: str = CHANGES, image: str = "busybox") -> None:
    hyrun("run", "--name", name, *flags, image, "sh", "-c", script)


def layers_of(hyrun: Hyrun, image: str) -> list[str]:
    return hyrun.inspect(image, "--type", "image")["RootFS"]["Layers"]


# diff


def test_diff_lists_what_was_added_changed_and_deleted(hyrun: Hyrun) -> None:
    changed(hyrun, "-v", "/data")
    assert set(hyrun.lines("diff", "box")) - {"A /deep/fifo"} == {
        *("A /data", "A /deep", "A /deep/er", "C /etc", "D /etc/hello", "C /etc/passwd", "A /linked", "A /new"),
        *("A /soft", "C /usr", "D /usr/bin", "A /usr/fresh"),
    }
    assert hyrun.lines("container", "diff", "box") == hyrun.lines("diff", "box")


def test_diff_of_a_container_that_changed_nothing_is_empty(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "box", "busybox", "true")
    assert hyrun.lines("diff", "box") == []


def test_diff_knows_what_replaced_what(hyrun: Hyrun) -> None:
    script = "rm -r /home/app; echo file > /home/app; rm /etc/group; mkdir /etc/group; touch /etc/group/x"
    changed(hyrun, script=script)
    assert hyrun.lines("diff", "box") == ["C /etc", "C /etc/group", "A /etc/group/x", "C /home", "C /home/app"]


def test_diff_of_a_running_container(hyrun: Hyrun) -> None:
    hyrun.ready("run", "--name", "box", "busybox", "sh", "-c", "touch /made; echo ready; exec sleep 600")
    assert hyrun.lines("diff", "box") == ["A /made"]


def test_diff_shows_no_control_characters(hyrun: Hyrun) -> None:
    changed(hyrun, script="touch \"$(printf '/a\\033[2Jb')\"")
    assert hyrun.lines("diff", "box") == ["A /a\\x1b[2Jb"]


def test_diff_of_a_container_on_the_machine_s_own_root(hyrun: Hyrun) -> None:
    changed(hyrun, script="touch /added-by-the-test; echo x >> /etc/hostname2", image="host")
    assert hyrun.lines("diff", "box") == ["A /added-by-the-test", "C /etc", "A /etc/hostname2"]


# commit


def test_the_image_has_the_changes(hyrun: Hyrun) -> None:
    changed(hyrun)
    image = hyrun.out("commit", "box", "mine:1")
    assert image == hyrun.inspect("mine:1", "--type", "image")["Id"]
    assert len(layers_of(hyrun, "mine:1")) == 2
    script = "cat /new /linked; ls /usr; "
    script += "test ! -e /etc/hello; tail -n 1 /etc/passwd; ls -l /new | cut -c 1-10; readlink /soft"
    assert hyrun.sh(script, image="mine:1").split() == ["new", "new", "fresh", "more", "-rws--x--x", "new"]
    assert hyrun.sh("find /linked -links 2", image="mine:1") == "/linked"


def test_the_layer_has_the_digest_of_its_tar(hyrun: Hyrun) -> None:
    changed(hyrun)
    hyrun("commit", "box", "mine")
    hyrun("save", "-o", "mine.tar", "mine")
    (new,) = [item for item in layers_of(hyrun, "mine") if item not in layers_of(hyrun, "busybox")]
    data = subprocess.run(["tar", "-xOf", "mine.tar", f"blobs/sha256/{new[7:]}"], cwd=hyrun.cwd, capture_output=True)
    listed = subprocess.run(["tar", "-tf", "-"], input=data.stdout, capture_output=True, check=True).stdout.split()
    assert b"etc/.wh.hello" in listed
    assert b"usr/.wh..wh..opq" in listed


def test_the_configuration_is_the_container_s_with_the_changes(hyrun: Hyrun) -> None:
    hyrun(
        *(
            "run",
            "--name",
            "box",
            "-e",
            "COLOUR=red",
            "-e",
            "OWN=1",
            "-l",
            "level=2",
            "-w",
            "/tmp",
            "-u",
            "0",
            "-v",
            "/keep",
        ),
        *("entry", "argument"),
    )
    changes = ("-c", 'CMD ["other"]', "-c", "ENV ADDED=$OWN", "-c", "EXPOSE 80")
    hyrun("commit", "-a", "Somebody", "-m", "a message", *changes, "box", "mine")
    shown = hyrun.inspect("mine", "--type", "image")
    config = shown["Config"]
    assert config["Entrypoint"] == ["echo", "entrypoint"]
    assert config["Cmd"] == ["other"]
    assert sorted(config["Env"]) == ["ADDED=1", "COLOUR=red", "OWN=1", "PATH=/bin", "SIZE=small"]
    assert config["Labels"] == {"kind": "entry", "level": "2"}
    assert (config["WorkingDir"], config["User"]) == ("/tmp", "0")
    assert config["Volumes"] == {"/keep": {}}
    assert config["ExposedPorts"] == {"80/tcp": {}}
    assert (shown["Author"], shown["Comment"]) == ("Somebody", "a message")
    assert hyrun.out("run", "--rm", "mine") == "entrypoint other"


def test_data_of_mounts_is_never_in_the_image(hyrun: Hyrun) -> None:
    source = hyrun.cwd / "source"
    source.mkdir()
    (source / "secret").write_text("secret")
    (hyrun.cwd / "file").write_text("secret")
    mounts = ("-v", f"{source}:/bound", "-v", f"{hyrun.cwd}/file:/one", "-v", "named:/named", "-v", "/anon")
    changed(hyrun, *mounts, "--tmpfs", "/tmpfs", script="for d in bound named anon tmpfs; do echo secret > /$d/x; done")
    result = hyrun("commit", "box", "mine")
    assert result.stderr.startswith("hyrun: not in the image, because it was mounted: /bound (")
    assert all(f"{target} (" in result.stderr for target in ("/one", "/named", "/anon", "/tmpfs"))
    listed = hyrun.sh("stat -c '%n %a %F %s' /bound /one /named /tmpfs; ls -A /bound /named /tmpfs", image="mine")
    assert listed.splitlines()[:4] == [
        *("/bound 755 directory 4096", "/one 644 regular empty file 0"),
        *("/named 755 directory 4096", "/tmpfs 755 directory 4096"),
    ]
    assert subprocess.run(["grep", "-r", "secret", hyrun.root / "layers"], capture_output=True).stdout == b""


def test_a_commit_of_a_commit_has_three_layers(hyrun: Hyrun) -> None:
    changed(hyrun)
    hyrun("commit", "box", "one")
    changed(hyrun, name="second", image="one", script="rm /new; touch /other")
    hyrun("commit", "second", "two")
    assert layers_of(hyrun, "two")[:2] == layers_of(hyrun, "one")
    assert hyrun.sh("test ! -e /new; ls /linked /other", image="two") == "/linked\n/other"


def test_a_running_container_is_committed_as_it_is(hyrun: Hyrun) -> None:
    hyrun.ready("run", "--name", "box", "busybox", "sh", "-c", "echo x > /made; echo ready; exec sleep 600")
    hyrun("commit", "box", "mine")
    assert hyrun.sh("cat /made", image="mine") == "x"
    assert hyrun.out("ps", "-q") != ""


def test_without_a_name_only_the_id_leads_to_it(hyrun: Hyrun) -> None:
    changed(hyrun)
    image = hyrun.out("commit", "box")
    assert hyrun.out("run", "--rm", image, "cat", "/new") == "new"
    assert "<none>" in hyrun.out("images")


def test_owners_xattrs_and_times_are_the_container_s(hyrun: Hyrun) -> None:
    changed(hyrun, script="touch -d @1000000000 /old; chown 1000:50 /old; touch -d @5 /home; chmod 700 /")
    upper = hyrun.root / "containers" / hyrun.record("box")["Id"] / "upper"
    os.setxattr(upper / "old", "user.colour", b"blue")
    os.utime(upper / "old", ns=(0, 1_000_000_000_123_456_789))
    hyrun("commit", "box", "mine")
    layer = Path(hyrun.inspect("mine", "--type", "image")["GraphDriver"]["Data"]["UpperDir"])
    info = (layer / "old").stat()
    assert (info.st_uid, info.st_gid, info.st_mtime_ns) == (1000, 50, 1_000_000_000_123_456_789)
    assert os.getxattr(layer / "old", "user.colour") == b"blue"
    assert hyrun.sh("stat -c '%a %Y' / /home", image="mine").splitlines()[0].startswith("700")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nosuch",), "no such container"),
        (("box", "UPPER"), "must be lowercase"),
        (("box", "host"), "reserved"),
        (("-c", "FROM x", "box"), "FROM"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_changes_nothing(
    hyrun: Hyrun, arguments: tuple[str, ...], words: str
) -> None:
    changed(hyrun)
    before = hyrun.tree()
    assert words in hyrun.refused("commit", *arguments, code=1)
    assert {path for path in hyrun.tree() ^ before if "/locks/" not in path} == set()


def test_a_name_that_no_layer_can_hold_is_refused_and_leaves_no_layer(hyrun: Hyrun) -> None:
    changed(hyrun, script="touch /a /z; mkdir /m; touch /m/.wh.x")
    before = hyrun.left("layers")
    assert "m/.wh.x" in hyrun.refused("commit", "box", "mine", code=1)
    assert hyrun.left("layers") == before


@pytest.mark.parametrize(("flags", "stands_still"), [((), True), (("--pause=false",), False), (("-p",), True)])
def test_a_running_container_stands_still_meanwhile(hyrun: Hyrun, flags: tuple[str, ...], stands_still: bool) -> None:
    # Two files that are always the same: if it goes on, the image may have them at different times.
    script = """head -c 40000000 /dev/zero > /big; i=0
        while :; do i=$((i+1)); for f in aaa zzz; do echo $i > /t; mv /t /$f; done; done"""
    hyrun("run", "-d", "--name", "busy", "busybox", "sh", "-c", script)
    upper = Path(hyrun.out("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", "busy"))
    until(lambda: (upper / "zzz").exists(), "it is busy")
    hyrun("commit", *flags, "busy", "mine")
    assert hyrun.record("busy")["State"]["Status"] == "running"
    one, other = hyrun.out("run", "--rm", "mine", "sh", "-c", "cat /aaa /zzz").split()
    assert (int(one) - int(other) in (0, 1)) == stands_still
    hyrun("rm", "-f", "busy")
