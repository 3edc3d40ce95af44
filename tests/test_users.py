"""--user and USER against the image's accounts."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hyrun import users
from hyrun.errors import InvalidArgument, StorageError
from hyrun.users import MAX_FILE, Identity, read_accounts, resolve

PASSWD = b"""root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
web:x:1000:1001:Web,,,:/srv/web:/bin/sh
web:x:0:0:a second web:/root:/bin/sh
bare:x:1500:1500
nohome:x:1600:1600:::/bin/sh
toor:x:0:7::/toor:/bin/sh
"""
GROUP = b"""root:x:0:root
daemon:x:1:
www:x:33:web,other
adm:x:4:other,web
www2:x:33:web
staff:x:50:nobody
"""


def who(
    text: str,
    passwd: bytes | None = PASSWD,
    group: bytes | None = GROUP,
    extra: tuple[str, ...] = (),
) -> Identity:
    return resolve(text, passwd=passwd, group=group, extra_groups=extra)


@pytest.mark.parametrize(
    ("text", "uid", "gid", "groups", "home", "name"),
    [
        ("", 0, 0, [0], "/root", "root"),
        ("root", 0, 0, [0], "/root", "root"),
        ("0", 0, 0, [0], "/root", "root"),
        ("000", 0, 0, [0], "/root", "root"),
        ("web", 1000, 1001, [1001, 33, 4], "/srv/web", "web"),
        ("1000", 1000, 1001, [1001, 33, 4], "/srv/web", "web"),
        ("01000", 1000, 1001, [1001, 33, 4], "/srv/web", "web"),
        ("web:", 1000, 1001, [1001, 33, 4], "/srv/web", "web"),
        ("web:staff", 1000, 50, [50], "/srv/web", "web"),
        ("web:0", 1000, 0, [0], "/srv/web", "web"),
        ("1000:4242", 1000, 4242, [4242], "/srv/web", "web"),
        ("4242:4243", 4242, 4243, [4243], "/", ""),
        ("4242:adm", 4242, 4, [4], "/", ""),
        ("4242", 4242, 0, [0], "/", ""),
        ("1", 1, 1, [1], "/usr/sbin", "daemon"),
        ("bare", 1500, 1500, [1500], "/", "bare"),
        ("nohome", 1600, 1600, [1600], "/", "nohome"),
        ("toor", 0, 7, [7], "/toor", "toor"),
        ("2147483647:2147483647", 2147483647, 2147483647, [2147483647], "/", ""),
    ],
)
def test_finds_who_is_meant(text: str, uid: int, gid: int, groups: list[int], home: str, name: str) -> None:
    found = who(text)
    assert (found.uid, found.gid, found.groups, found.home, found.name) == (uid, gid, groups, home, name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo", "^unable to find user foo: no matching entries in passwd file"),
        ("foo:0", "^unable to find user foo"),
        ("web:foo", "^unable to find group foo: no matching entries in group file"),
        ("2147483648", "range 0-2147483647"),
        ("4294967295", "range 0-2147483647"),
        ("4294967296", "range 0-2147483647"),
        ("4294967297", "range 0-2147483647"),
        ("18446744073709551616", "range 0-2147483647"),
        ("9" * 5000, "range 0-2147483647"),
        ("1:4294967296", "range 0-2147483647"),
        ("-1", "unable to find user -1"),
        ("+1", "unable to find user"),
        ("-0", "unable to find user"),
        ("+0", "unable to find user"),
        (" 0", "unable to find user"),
        ("0 ", "unable to find user"),
        ("0\n", "unable to find user"),
        ("0x0", "unable to find user"),
        ("0.0", "unable to find user"),
        ("1_0", "unable to find user"),
        ("٠", "unable to find user"),
        ("０", "unable to find user"),
        ("²", "unable to find user"),
        ("Root", "unable to find user"),
        ("root\0", "unable to find user"),
        ("ro\ud800ot", "unable to find user"),
        ("\x1b[2J", "unable to find user"),
        ("1: 0", "unable to find group"),
        ("1:+0", "unable to find group"),
        (":", "cannot be read"),
        (":0", "cannot be read"),
        (":1000", "cannot be read"),
        ("0:0:0", "cannot be read"),
        ("web::", "cannot be read"),
    ],
)
def test_refuses_what_means_nobody(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message) as caught:
        who(text)
    assert str(caught.value).isprintable()


def test_digits_are_an_id_whatever_the_accounts_call_themselves() -> None:
    found = who("1", passwd=b"1:x:0:0:evil:/root:/bin/sh\n", group=b"1:x:0:1\n")
    assert (found.uid, found.gid, found.groups) == (1, 0, [0])
    assert who("5:1", passwd=b"", group=b"1:x:0:\n").gid == 1


@pytest.mark.parametrize(
    "line",
    [
        b"web",
        b"web:x",
        b"web:x:1000",
        b"web:x::0",
        b"web:x:0:",
        b"web:x:zero:0:::",
        b"web:x:-1:0:::",
        b"web:x:+1:0:::",
        b"web:x: 0:0:::",
        b"web:x:4294967296:0:::",
        b"web:x:2147483648:0:::",
        b"web:x:" + b"9" * 5000 + b":0:::",
        b"web:x:0:4294967296:::",
        b"web:x:\xd9\xa0:0:::",
        b"web\0:x:0:0:::",
        b"web:x:0:0::\0:",
        b"#web:x:0:0:::",
        b" web:x:0:0:::",
        b"+web:x:0:0:::",
        b":x:0:0:::",
        b"\xff\xfe:x:0:0:::",
    ],
)
def test_a_damaged_line_is_no_entry(line: bytes) -> None:
    assert who("web", passwd=line + b"\n" + b"web:x:7:8::/web:\n").uid == 7
    with pytest.raises(InvalidArgument, match="unable to find user web"):
        who("web", passwd=line)


def test_a_commented_line_is_no_entry() -> None:
    found = who("7", passwd=b"#web:x:7:8::/web:\n", group=b"#a:x:9:#web\n")
    assert (found.uid, found.gid, found.home, found.name) == (7, 0, "/", "")


def test_a_damaged_group_line_is_no_entry() -> None:
    group = b"www:x::web\nwww:x:-1:web\nwww:x:4294967296:web\nwww:x:0\nwww\0:x:0:web\n:x:0:web\nwww:x:33:web"
    assert who("1:www", group=group).gid == 33
    assert who("web", group=group).groups == [1001, 33]


def test_windows_line_ends_are_taken_off() -> None:
    found = who("web", passwd=b"web:x:7:8::/web\r\n", group=b"a:x:9:x,web\r\nb:x:10:web\r\n")
    assert (found.uid, found.gid, found.groups, found.home) == (7, 8, [8, 9, 10], "/web")


def test_names_of_any_bytes_are_found() -> None:
    passwd = b"\xff\xfe:x:7:8::/\xff:\nm\xc3\xbcller:x:9:9::/m:\n"
    found = who(os.fsdecode(b"\xff\xfe"), passwd=passwd)
    assert (found.uid, os.fsencode(found.home), os.fsencode(found.name)) == (7, b"/\xff", b"\xff\xfe")
    assert who("müller", passwd=passwd).uid == 9


def test_an_image_without_accounts_knows_numbers_only() -> None:
    found = who("", passwd=None, group=None)
    assert (found.uid, found.gid, found.groups, found.home, found.name) == (0, 0, [0], "/", "")
    assert who("5:6", passwd=None, group=None).gid == 6
    with pytest.raises(InvalidArgument, match="unable to find user root"):
        who("root", passwd=None, group=None)
    with pytest.raises(InvalidArgument, match="unable to find group root"):
        who("5:root", passwd=None, group=None)


def test_extra_groups_come_on_top_of_either_form() -> None:
    assert who("web", extra=("staff", "4242", "adm")).groups == [1001, 33, 4, 50, 4242]
    assert who("web:0", extra=("staff",)).groups == [0, 50]
    with pytest.raises(InvalidArgument, match="unable to find group nope"):
        who("web", extra=("nope",))
    with pytest.raises(InvalidArgument, match="range"):
        who("web", extra=("4294967296",))


def test_files_over_the_limit_are_refused_and_at_the_limit_are_read() -> None:
    line = b"web:x:7:8:::\n"
    assert who("web", passwd=line + b"#" * (MAX_FILE - len(line))).uid == 7
    with pytest.raises(StorageError, match="/etc/passwd is larger than 1048576"):
        who("web", passwd=line + b"#" * (MAX_FILE + 1 - len(line)))
    with pytest.raises(StorageError, match="/etc/group is larger"):
        who("web", group=b"\n" * (MAX_FILE + 1))


def test_more_groups_than_the_kernel_takes_are_refused() -> None:
    group = b"".join(b"g:x:%d:web\n" % number for number in range(users.MAX_GROUPS + 1))
    with pytest.raises(StorageError, match="more than 65536 groups"):
        who("web", group=group)


_ODD = st.text(st.sampled_from("0123456789+-_ \t\n\r\0:xeE.,#/rotwb٠０²−\ud800\u200b"), max_size=14)
_NUMBER = st.integers(-(2**70), 2**70).map(str)


@settings(max_examples=10_000, deadline=None)
@given(_ODD | _NUMBER | st.text(max_size=20) | st.builds("{}:{}".format, _ODD | _NUMBER, _ODD | _NUMBER))
@example("4294967296")
@example("00")
def test_only_what_means_root_is_root(text: str) -> None:
    try:
        found = who(text)
    except InvalidArgument:
        return
    name = text.partition(":")[0]
    zero = bool(name) and set(name) <= {"0"}
    # A passwd entry with uid 0 that comes first: "web" has a second one that must never be met.
    assert (found.uid == 0) == (text == "" or zero or name in ("root", "toor"))
    assert 0 <= found.uid <= users.MAX_ID
    assert 0 <= found.gid <= users.MAX_ID
    assert all(0 <= number <= users.MAX_ID for number in found.groups)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.lists(st.binary(max_size=8), max_size=30).map(b":".join), st.integers(1, 99))
def test_no_passwd_file_makes_a_number_another(passwd: bytes, uid: int) -> None:
    found = who(str(uid), passwd=passwd + b"\n%d:x:0:0:::" % uid, group=passwd)
    assert found.uid == uid


# The files themselves, in a real directory tree.


@pytest.fixture
def root(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    path = tmp_path / "rootfs"
    (path / "etc").mkdir(parents=True)
    (path / "etc/group").write_bytes(GROUP)
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    before = os.listdir("/proc/self/fd")
    yield path, descriptor
    assert os.listdir("/proc/self/fd") == before
    os.close(descriptor)


def test_reads_both_files(root: tuple[Path, int]) -> None:
    path, descriptor = root
    (path / "etc/passwd").write_bytes(PASSWD)
    assert read_accounts(descriptor) == (PASSWD, GROUP)


def test_files_that_are_not_there_are_none(root: tuple[Path, int]) -> None:
    path, descriptor = root
    assert read_accounts(descriptor) == (None, GROUP)
    (path / "etc/group").unlink()
    (path / "etc").rmdir()
    assert read_accounts(descriptor) == (None, None)
    (path / "etc").write_bytes(b"a file")
    assert read_accounts(descriptor) == (None, None)


def test_a_link_stays_below_the_root(root: tuple[Path, int], tmp_path: Path) -> None:
    path, descriptor = root
    (tmp_path / "outside").write_bytes(b"evil:x:0:0:::\n")
    (path / "inside").write_bytes(PASSWD)
    passwd = path / "etc/passwd"
    for target in ("/inside", "../inside", "../../../../../inside"):
        passwd.symlink_to(target)
        assert read_accounts(descriptor)[0] == PASSWD
        passwd.unlink()
    for target in (str(tmp_path / "outside"), "../../outside", "/proc/self/root/etc/passwd"):
        passwd.symlink_to(target)
        assert read_accounts(descriptor)[0] is None
        passwd.unlink()


def test_etc_itself_may_be_a_link_and_stays_below_the_root(root: tuple[Path, int], tmp_path: Path) -> None:
    path, descriptor = root
    (path / "etc").rename(path / "real")
    (path / "etc").symlink_to("/real")
    assert read_accounts(descriptor) == (None, GROUP)
    (path / "etc").unlink()
    (tmp_path / "passwd").write_bytes(b"evil:x:0:0:::\n")
    (path / "etc").symlink_to(tmp_path)
    assert read_accounts(descriptor) == (None, None)


def test_a_loop_of_links_is_refused(root: tuple[Path, int]) -> None:
    path, descriptor = root
    (path / "etc/passwd").symlink_to("passwd")
    with pytest.raises(StorageError, match="/etc/passwd cannot be opened: Too many"):
        read_accounts(descriptor)


@pytest.mark.parametrize("shape", ["fifo", "directory", "socket", "device"])
def test_anything_but_a_regular_file_is_refused_at_once(root: tuple[Path, int], shape: str) -> None:
    import socket
    import stat

    path, descriptor = root
    passwd = path / "etc/passwd"
    if shape == "fifo":
        os.mkfifo(passwd)
    elif shape == "directory":
        passwd.mkdir()
    elif shape == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(passwd))
    else:
        try:
            os.mknod(passwd, stat.S_IFCHR | 0o666, os.makedev(1, 5))
        except PermissionError:
            if os.environ.get("HYRUN_MUST_WORK"):
                raise
            pytest.skip("no privilege for mknod")
    with pytest.raises(StorageError, match=r"/etc/passwd (is not a regular file|cannot be opened)"):
        read_accounts(descriptor)


def test_a_file_over_the_limit_is_refused_and_at_the_limit_is_read(root: tuple[Path, int]) -> None:
    path, descriptor = root
    passwd = path / "etc/passwd"
    passwd.write_bytes(b"#" * MAX_FILE)
    passwd_read, _ = read_accounts(descriptor)
    assert passwd_read is not None
    assert len(passwd_read) == MAX_FILE
    # Sparse: a terabyte that would not fit into memory.
    os.truncate(passwd, 1 << 40)
    with pytest.raises(StorageError, match="/etc/passwd is larger than 1048576 bytes"):
        read_accounts(descriptor)
    os.truncate(passwd, MAX_FILE + 1)
    with pytest.raises(StorageError, match="larger"):
        read_accounts(descriptor)


def test_the_hot_path_imports_nothing_heavy() -> None:
    import subprocess
    import sys

    heavy = {"re", "typing", "contextlib", "dataclasses", "enum", "pathlib", "json", "collections"}
    code = (
        "import sys; before = set(sys.modules)\n"
        "import hyrun.users, hyrun.references, hyrun.names\n"
        "hyrun.references.parse('a:1'); hyrun.names.generate()\n"
        "hyrun.users.resolve('1', passwd=b'', group=b'')\n"
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())
