"""`cp`: owners and modes, tar streams, containers in every state, volumes, what is refused."""

import io
import os
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from e2e.command import COMMAND, Hyrun, until
from hyrun import container_directory, container_list, containers, cp
from hyrun.options import Options
from hyrun.store import Store
from hyrun.volumespec import parse_volume

#: Somebody else than root.
USER = 1234


def upper(hyrun: Hyrun, name: str = "box") -> Path:
    return Path(hyrun.record(name)["GraphDriver"]["Data"]["UpperDir"])


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


def to_stdout(hyrun: Hyrun, *arguments: str) -> bytes:
    command = [*COMMAND, "cp", *arguments, "-"]
    return subprocess.run(command, cwd=hyrun.cwd, check=True, capture_output=True, timeout=60).stdout


def from_stdin(hyrun: Hyrun, data: bytes, target: str, *flags: str) -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, "cp", *flags, "-", target]
    return subprocess.run(command, cwd=hyrun.cwd, input=data, check=False, capture_output=True, timeout=60)


def tar(*names: tarfile.TarInfo, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for member in names:
            member.size = len(member.name) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(member.name.encode()))
    return buffer.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode, member.uid, member.gid, member.mtime = kind, link, mode, USER, 5, 1000
    return member


# Owners, modes, times


def test_what_goes_in_belongs_to_root_and_keeps_mode_and_time(hyrun: Hyrun) -> None:
    source = hyrun.cwd / "dir"
    source.mkdir()
    (source / "file").write_text("text")
    for path, mode in ((source / "file", 0o4751), (source, 0o750)):
        os.chown(path, USER, 5)
        path.chmod(mode)
        os.utime(path, (1000, 1000))
    hyrun("run", "--name", "box", "busybox", "true")
    hyrun("cp", "dir", "box:/plain")
    hyrun("cp", "-a", "dir", "box:/kept")
    for name, owner, mode in (("plain", (0, 0), 0o751), ("kept", (USER, 5), 0o4751)):
        top = (upper(hyrun) / name).stat()
        file = (upper(hyrun) / name / "file").stat()
        assert ((top.st_uid, top.st_gid), stat.S_IMODE(top.st_mode), top.st_mtime) == (owner, 0o750, 1000)
        assert ((file.st_uid, file.st_gid), stat.S_IMODE(file.st_mode), file.st_mtime) == (owner, mode, 1000)


def test_what_comes_out_belongs_to_the_caller_and_is_nobodys_setuid_program(hyrun: Hyrun) -> None:
    script = f"echo > f; ln -s f l; chown -h {USER}:5 f l; chmod 6755 f; cp f root; chown 0:0 root; chmod 4755 root"
    hyrun("run", "--name", "box", "-w", "/d", "busybox", "sh", "-c", script)
    hyrun("cp", "box:/d", "plain")
    hyrun("cp", "-a", "box:/d", "kept")
    for name, owner, modes in (("plain", os.geteuid(), (0o755, 0o755)), ("kept", USER, (0o6755, 0o4755))):
        top = hyrun.cwd / name
        assert (top / "f").stat().st_uid == owner
        assert (top / "l").lstat().st_uid == owner
        assert tuple(stat.S_IMODE((top / file).stat().st_mode) for file in ("f", "root")) == modes


def test_file_capabilities_only_with_archive(hyrun: Hyrun) -> None:
    # cap_net_raw, permitted and effective (linux/capability.h, version 2).
    value = bytes.fromhex("0100000200200000000000000000000000000000")
    (hyrun.cwd / "ping").write_text("")
    os.setxattr(hyrun.cwd / "ping", "security.capability", value)
    hyrun("run", "--name", "box", "busybox", "true")
    hyrun("cp", "ping", "box:/plain")
    hyrun("cp", "-a", "ping", "box:/kept")
    assert "security.capability" not in os.listxattr(upper(hyrun) / "plain")
    assert os.getxattr(upper(hyrun) / "kept", "security.capability") == value


def test_a_directory_that_exists_keeps_its_owner_and_mode(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "box", "busybox", "sh", "-c", "mkdir -m 777 /out; touch /out/f")
    (hyrun.cwd / "home").mkdir(mode=0o700)
    hyrun("cp", "-a", "box:/out/.", "home")
    assert stat.S_IMODE((hyrun.cwd / "home").stat().st_mode) == 0o700
    assert (hyrun.cwd / "home/f").exists()


def test_hard_links_stay_one_file_and_holes_stay_holes(hyrun: Hyrun) -> None:
    source = hyrun.cwd / "dir"
    (source / "sub").mkdir(parents=True)
    (source / "one").write_text("text")
    os.link(source / "one", source / "sub/two")
    with (source / "sparse").open("wb") as file:
        file.truncate(1 << 30)
        file.write(b"begin")
    hyrun("run", "--name", "box", "busybox", "true")
    hyrun("cp", "dir", "box:/dir")
    copy = upper(hyrun) / "dir"
    assert (copy / "one").stat().st_ino == (copy / "sub/two").stat().st_ino
    assert (copy / "sparse").stat().st_size == 1 << 30
    assert (copy / "sparse").stat().st_blocks * 512 < 1 << 20
    hyrun("cp", "box:/dir", "out")
    assert (hyrun.cwd / "out/one").stat().st_ino == (hyrun.cwd / "out/sub/two").stat().st_ino
    assert (hyrun.cwd / "out/sparse").stat().st_blocks * 512 < 1 << 20


def test_names_that_are_no_text(hyrun: Hyrun) -> None:
    name = b"\xff\n\x1b[2J"
    os.close(os.open(os.fsencode(hyrun.cwd) + b"/" + name, os.O_CREAT | os.O_WRONLY))
    hyrun("run", "--name", "box", "busybox", "true")
    hyrun("cp", ".", "box:/in")
    hyrun("cp", "box:/in", "out")
    assert os.listdir(os.fsencode(hyrun.cwd / "out")) == [name]


# Devices, fifos


def test_a_fifo_is_copied_and_not_opened_and_devices_are_left_out(hyrun: Hyrun) -> None:
    os.mkdir(hyrun.cwd / "d")
    os.mkfifo(hyrun.cwd / "d/fifo", 0o640)
    os.mknod(hyrun.cwd / "d/disk", stat.S_IFBLK | 0o666, os.makedev(7, 200))
    (hyrun.cwd / "d/file").write_text("")
    hyrun("run", "--name", "box", "busybox", "true")
    result = hyrun("cp", "d", "box:/d")
    assert result.stderr == "hyrun: left out d/disk: devices are not copied\n"
    assert {path.name: stat.filemode(path.stat().st_mode) for path in (upper(hyrun) / "d").iterdir()} == {
        "fifo": "prw-r-----",
        "file": "-rw-r--r--",
    }
    assert set(members(to_stdout(hyrun, "box:/d"))) == {"d", "d/fifo", "d/file"}
    assert "is a device" in hyrun.refused("cp", "d/disk", "box:/x", code=1)


# Tar streams


def test_out_as_a_tar(hyrun: Hyrun) -> None:
    long = "n" * 150
    script = f"mkdir sub; echo -n text > sub/f; ln sub/f h; ln -s {long} l; echo > {long}; chown {USER}:5 sub/f"
    hyrun("run", "--name", "box", "-w", "/d", "busybox", "sh", "-c", script)
    data = to_stdout(hyrun, "box:/d")
    found = members(data)
    assert set(found) == {"d", "d/sub", "d/sub/f", "d/h", "d/l", f"d/{long}"}
    assert found["d/l"].linkname == long
    assert {found["d/h"].type, found["d/sub/f"].type} == {tarfile.REGTYPE, tarfile.LNKTYPE}
    assert (found["d/sub/f"].uid, found["d/sub/f"].gid) == (USER, 5)
    listed = subprocess.run(["tar", "t"], input=data, capture_output=True, check=True).stdout.decode().split()
    assert {name.rstrip("/") for name in listed} == set(found)
    assert set(members(to_stdout(hyrun, "box:/d/."))) == {"sub", "sub/f", "h", "l", long}
    assert set(members(to_stdout(hyrun, "box:/d/h"))) == {"h"}


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_in_from_a_tar_keeps_its_owners(hyrun: Hyrun, mode: str) -> None:
    hyrun("run", "--name", "box", "busybox", "mkdir", "/d")
    names = ("/abs", "./sub/deep", "sub/" + "n" * 150)
    data = tar(
        *map(entry, names), entry("hard", tarfile.LNKTYPE, "abs"), entry("soft", tarfile.SYMTYPE, "x"), mode=mode
    )
    assert from_stdin(hyrun, data, "box:/d").returncode == 0
    top = upper(hyrun) / "d"
    assert (top / "abs").read_text() == "/abs"
    assert (top / "sub/deep").stat().st_uid == USER
    assert (top / "abs").stat().st_ino == (top / "hard").stat().st_ino
    assert os.readlink(top / "soft") == "x"
    assert len(os.listdir(top / "sub")) == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tar(entry("../../out")), "leaves the target"),
        (tar(entry("a/../../out")), "leaves the target"),
        (tar(entry("link", tarfile.SYMTYPE, "/etc"), entry("link/out")), "link"),
        (tar(entry("hard", tarfile.LNKTYPE, "../../etc/passwd")), "leaves the target"),
        (b"no tar at all" * 100, "no tar archive"),
        (tar(entry("n" * 90))[:700], "damaged"),
        (b"", ""),
    ],
)
def test_a_tar_cannot_leave_its_target(hyrun: Hyrun, data: bytes, message: str) -> None:
    hyrun("run", "--name", "box", "busybox", "mkdir", "/d")
    result = from_stdin(hyrun, data, "box:/d")
    assert result.returncode == (1 if message else 0), result.stderr
    assert message in result.stderr.decode()
    assert "out" not in {path.name for path in upper(hyrun).rglob("*")}


def test_devices_of_a_tar_are_left_out(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "box", "busybox", "mkdir", "/d")
    result = from_stdin(hyrun, tar(entry("disk", tarfile.BLKTYPE), entry("file")), "box:/d")
    assert result.stderr == b"hyrun: left out disk: devices are not copied\n"
    assert os.listdir(upper(hyrun) / "d") == ["file"]


@pytest.mark.parametrize("target", ["box:/etc/hello", "box:/missing"])
def test_a_tar_wants_a_directory(hyrun: Hyrun, target: str) -> None:
    hyrun("run", "--name", "box", "busybox", "true")
    result = from_stdin(hyrun, tar(entry("file")), target)
    assert result.returncode == 1
    assert result.stderr.startswith(b"hyrun: ")


def test_a_reader_that_goes_away_ends_it_quietly(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "box", "busybox", "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=4")
    process = hyrun.start("cp", "box:/big", "-")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(20) == 141
    assert process.stderr.read() == ""


# States


def test_a_running_container_is_seen_with_everything_mounted_in_it(hyrun: Hyrun) -> None:
    (hyrun.cwd / "bound").mkdir()
    (hyrun.cwd / "bound/file").write_text("bound")
    hyrun.sleeper("--name", "box", "-v", "./bound:/b", "-v", "named:/n", "--tmpfs", "/t")
    for target in ("b", "n", "t", "plain"):
        hyrun("cp", "bound/file", f"box:/{target}" + ("/new" if target != "plain" else ""))
    assert (hyrun.cwd / "bound/new").read_text() == "bound"
    assert (hyrun.root / "volumes/named/_data/new").read_text() == "bound"
    assert (upper(hyrun) / "plain").read_text() == "bound"
    assert not (upper(hyrun) / "t/new").exists()
    for target in ("b/new", "n/new", "t/new", "plain"):
        assert to_stdout(hyrun, f"box:/{target}").count(b"bound") == 1


def test_a_stopped_container_is_seen_with_its_volumes_and_can_run_no_worse_afterwards(hyrun: Hyrun) -> None:
    (hyrun.cwd / "bound").mkdir()
    hyrun("run", "--name", "box", "-v", "./bound:/b/deep", "-v", "named:/b", "busybox", "true")
    (hyrun.cwd / "file").write_text("text")
    hyrun("cp", "file", "box:/b/deep/new")
    hyrun("cp", "file", "box:/b")
    assert (hyrun.cwd / "bound/new").read_text() == "text"
    assert (hyrun.root / "volumes/named/_data/file").read_text() == "text"
    assert set(members(to_stdout(hyrun, "box:/b"))) == {"b", "b/deep", "b/deep/new", "b/file"}
    assert not (upper(hyrun) / "b/file").exists()
    hyrun("rm", "-v", "box")


@pytest.fixture
def created(hyrun: Hyrun) -> str:
    """A container that has never run: no mount point of a volume has been made."""
    store = Store()
    options = Options(image="busybox", args=["true"], name="box", volumes=[parse_volume("named:/new/place", cwd="/")])
    containers.create(store, options).release()
    return "box"


def test_a_container_that_has_never_run(hyrun: Hyrun, created: str) -> None:
    (hyrun.cwd / "file").write_text("text")
    assert "new/place" in members(to_stdout(hyrun, f"{created}:/new"))
    hyrun("cp", "file", f"{created}:/new/place")
    assert (hyrun.root / "volumes/named/_data/file").read_text() == "text"


def test_a_mount_whose_source_is_gone_is_named(hyrun: Hyrun) -> None:
    (hyrun.cwd / "bound").mkdir()
    hyrun("run", "--name", "box", "-v", "./bound:/b", "busybox", "true")
    (hyrun.cwd / "bound").rmdir()
    assert "bound -> /b" in hyrun.refused("cp", "box:/etc/hello", ".", code=1)


def test_the_hosts_mount_table_never_changes(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "box", "-v", "named:/n", "busybox", "true")
    before = Path("/proc/self/mountinfo").read_text()
    with cp._root_of(Store(), record_of("box"), writing=True) as root:
        assert Path("/proc/self/mountinfo").read_text() == before
        assert sorted(os.listdir(f"/proc/self/fd/{root}"))[0] == "bin"
    assert Path("/proc/self/mountinfo").read_text() == before


def record_of(name: str) -> container_list.Record:
    return container_list.find(Store(), name)


def test_a_stopped_container_is_locked_meanwhile(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "box", "busybox", "true")
    record = record_of("box")
    with cp._root_of(Store(), record, writing=False):
        assert container_directory.try_lock(record.directory) is None
    lock = container_directory.try_lock(record.directory)
    assert lock is not None
    os.close(lock)


def test_a_container_between_two_starts_is_not_waited_for(hyrun: Hyrun) -> None:
    hyrun("run", "-d", "--restart", "always", "--name", "box", "busybox", "false")
    until(lambda: "Restarting" in hyrun("ps", "-a").stdout, "it has ended")
    try:
        for words in (("cp", "box:/etc/passwd", "-"), ("exec", "box", "true"), ("attach", "box")):
            until(lambda words=words: "box is restarting: wait until it runs" in hyrun(*words, code=None).stderr, "so")
    finally:
        hyrun("rm", "-f", "box")


# Read-only


@pytest.mark.parametrize("running", [True, False])
def test_read_only_roots_and_volumes_refuse_and_their_neighbours_do_not(hyrun: Hyrun, running: bool) -> None:
    (hyrun.cwd / "file").write_text("text")
    flags = ("--name", "box", "--read-only", "-v", "ro:/ro:ro", "-v", "rw:/rw")
    if running:
        hyrun.sleeper(*flags)
    else:
        hyrun("run", *flags, "busybox", "true")
    assert "root file system is marked read-only" in hyrun.refused("cp", "file", "box:/etc/new", code=1)
    assert "volume is marked read-only" in hyrun.refused("cp", "file", "box:/ro", code=1)
    hyrun("cp", "file", "box:/rw")
    assert (hyrun.root / "volumes/rw/_data/file").read_text() == "text"
    assert set(members(to_stdout(hyrun, "box:/ro"))) == {"ro"}


def test_mounts_of_a_running_container_are_not_taken_away(hyrun: Hyrun) -> None:
    (hyrun.cwd / "hosts").write_text("127.0.0.1 new\n")
    hyrun.sleeper("--name", "box", "-v", "named:/etc/dir")
    pid = hyrun.record("box")["State"]["Pid"]
    before = Path(f"/proc/{pid}/mountinfo").read_text()
    hyrun("cp", "hosts", "box:/etc/hosts")
    os.symlink("x", hyrun.cwd / "dir")
    assert "is a mount point" in hyrun.refused("cp", "./.", "box:/etc", code=1)
    assert Path(f"/proc/{pid}/mountinfo").read_text() == before
    assert (Path(f"/proc/{pid}/root") / "etc/hosts").read_text() == "127.0.0.1 new\n"


def test_a_bound_file_is_written_through(hyrun: Hyrun) -> None:
    for name in ("bound", "file"):
        (hyrun.cwd / name).write_text(name)
    inode = (hyrun.cwd / "bound").stat().st_ino
    hyrun.sleeper("--name", "box", "-v", "./bound:/etc/conf")
    hyrun("cp", "file", "box:/etc/conf")
    assert (hyrun.cwd / "bound").read_text() == "file"
    assert (hyrun.cwd / "bound").stat().st_ino == inode


# What it says


def test_it_says_what_it_did_to_a_person_only(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "box", "busybox", "true")
    result = hyrun("cp", "box:/etc/hello", ".")
    assert (result.stdout, result.stderr) == ("", "")
    for flag, said in (([], "Successfully copied 21B to here"), (["-q"], "")):
        ours, theirs = os.openpty()
        process = subprocess.run(
            [*COMMAND, "cp", *flag, "box:/etc/hello", "here"],
            stdout=theirs,
            stderr=subprocess.PIPE,
            cwd=hyrun.cwd,
            text=True,
            check=True,
        )
        os.close(ours)
        os.close(theirs)
        assert process.stderr.strip() == said
