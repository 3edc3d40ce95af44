"""`commit`, `diff` and `export`: containers whose changes become images, lists and tars."""

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from e2e.command import COMMAND, Hyrun

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
        (("--pause", "box"), "--pause"),
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


def test_pause_false_is_docker_s_way_to_say_it(hyrun: Hyrun) -> None:
    changed(hyrun)
    assert hyrun.out("commit", "--pause=false", "box").startswith("sha256:")


# This machine's own root below


def test_a_container_on_the_machine_s_own_root_becomes_an_image_of_this_machine(hyrun: Hyrun) -> None:
    changed(hyrun, image="host", script="echo one > /made-by-the-test; rm /etc/passwd")
    hyrun("commit", "box", "one")
    script = "cat /made-by-the-test; ls /etc/passwd 2>&1 | tail -c 10; ls -A $STORE; echo two > /second"
    hyrun("run", "--name", "next", "-u", "0", "-e", f"STORE={hyrun.root}", "one", "sh", "-c", script)
    assert hyrun.lines("diff", "next") == ["A /second"]
    hyrun("commit", "next", "two")
    assert hyrun.sh("cat /made-by-the-test /second; test ! -e /etc/passwd", image="two") == "one\ntwo"
    assert hyrun.out("run", "--rm", "-e", "X=1", "two", "ls", "-A", hyrun.root) == ""
    assert not Path("/made-by-the-test").exists()


@pytest.mark.parametrize("format_", ["docker-archive", "oci"])
def test_an_image_of_this_machine_does_not_leave_it(hyrun: Hyrun, format_: str) -> None:
    changed(hyrun, image="host", script="touch /made-by-the-test")
    hyrun("commit", "box", "mine")
    assert "own root file system" in hyrun.refused("save", "--format", format_, "mine", code=1)
    assert "own root file system" in hyrun.refused("export", "box", code=1)
    assert "cannot be saved" in hyrun.refused("save", "host", code=1)


def test_a_directory_as_root_is_below_the_image_too(hyrun: Hyrun, rootfs: Path) -> None:
    hyrun("run", "--name", "box", "--rootfs", rootfs, "sh", "-c", "echo x > /made")
    hyrun("commit", "-c", 'CMD ["cat", "/made"]', "box", "mine")
    assert hyrun.out("run", "--rm", "mine") == "x"
    assert str(rootfs) in hyrun.refused("save", "mine", code=1)
    assert not (rootfs / "made").exists()


def test_an_archive_cannot_make_an_image_stand_on_this_machine(hyrun: Hyrun) -> None:
    changed(hyrun, image="host", script="touch /made-by-the-test")
    image = hyrun.out("commit", "box")
    config = json.loads((hyrun.root / "blobs/sha256" / image[7:]).read_text())
    assert config["dev.hyrun.base"] == "/"
    layer = hyrun.root / "layers" / config["rootfs"]["diff_ids"][0][7:]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in (
            ("c.json", json.dumps(config).encode()),
            ("l.tar", subprocess.run(_assemble(layer), capture_output=True, check=True).stdout),
            ("manifest.json", b'[{"Config": "c.json", "RepoTags": ["evil:1"], "Layers": ["l.tar"]}]'),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    (hyrun.cwd / "evil.tar").write_bytes(buffer.getvalue())
    hyrun("load", "-i", "evil.tar")
    assert "not found" in hyrun.refused("run", "--rm", "evil:1", "ls", code=127)


def _assemble(layer: Path) -> list[str]:
    script = "import os, sys; from hyrun import _core; d = os.open(sys.argv[1], 0); "
    script += "_core.assemble_layer(d, os.open('diff', 0, dir_fd=d), 1)"
    return [COMMAND[0], "-c", script, str(layer)]


# export


def test_export_is_the_whole_root(hyrun: Hyrun) -> None:
    changed(hyrun, "-v", "/data")
    hyrun("export", "-o", "out.tar", "box")
    with tarfile.open(hyrun.cwd / "out.tar") as archive:
        members = {member.name: member for member in archive}
        content = archive.extractfile("etc/passwd")
        assert content is not None
        assert content.read().endswith(b"more\n")
    assert "etc/hello" not in members
    assert "usr/bin" not in members
    assert members["new"].mode == 0o4711 or members["linked"].mode == 0o4711
    assert members["home/app"].uid == 1000
    assert members["data"].isdir()
    assert not [name for name in members if ".wh." in name]


def test_what_was_exported_is_imported(hyrun: Hyrun) -> None:
    changed(hyrun)
    hyrun("export", "-o", "out.tar", "box")
    hyrun("import", "out.tar", "flat")
    assert hyrun.sh("cat /new; ls /usr", image="flat") == "new\nfresh"


def test_a_running_container_is_exported(hyrun: Hyrun) -> None:
    hyrun.ready("run", "--name", "box", "busybox", "sh", "-c", "echo x > /made; echo ready; exec sleep 600")
    hyrun("export", "-o", "out.tar", "box")
    listed = subprocess.run(["tar", "-tf", "out.tar"], cwd=hyrun.cwd, capture_output=True, check=True)
    assert b"made" in listed.stdout.split()


def test_export_leaves_no_half_file_and_writes_to_no_terminal(hyrun: Hyrun) -> None:
    hyrun.refused("export", "-o", "out.tar", "nosuch", code=1)
    changed(hyrun, image="host", script="true")
    hyrun.refused("export", "-o", "out.tar", "box", code=1)
    assert list(hyrun.cwd.iterdir()) == []
    master, slave = os.openpty()
    try:
        process = hyrun.start("export", "box", stdout=slave)
        errors = process.communicate()[1]
    finally:
        os.close(master)
        os.close(slave)
    assert process.returncode == 1
    assert "terminal" in errors


def test_a_reader_that_goes_away_ends_it_quietly(hyrun: Hyrun) -> None:
    changed(hyrun)
    process = hyrun.start("export", "box")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(20) == 141
    assert process.stderr is not None
    assert process.stderr.read() == ""
