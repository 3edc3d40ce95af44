"""``-v``, and all mounts of a container together: what is accepted, what it means, and what a refusal says."""

import subprocess
import sys

import pytest
from hypothesis import example, given

from hyrun.errors import InvalidArgument, NotSupported, StorageError
from hyrun.volumespec import Mount, check_name, merge, parse_mount, parse_tmpfs
from support.specs import CWD, TEXTS, volume

ANONYMOUS = [
    ("/home", "/home"),
    ("/with space", "/with space"),
    ("/a/b/../c//d/.", "/a/c/d"),
    ("/t/", "/t"),
    ("/sys/fs", "/sys/fs"),
    ("/procs", "/procs"),
]


@pytest.mark.parametrize(("text", "target"), ANONYMOUS)
def test_a_lone_destination_is_an_anonymous_volume(text: str, target: str) -> None:
    assert volume(text) == Mount(type="volume", source=None, target=target)


BINDS = [
    ("/home:/home", "/home", "/home"),
    ("/home:/something/else", "/home", "/something/else"),
    ("/home:/with space", "/home", "/with space"),
    ("/:/host", "/", "/host"),
    ("//a//b/../c/:/t", "/a/c", "/t"),
    (".:/t", CWD, "/t"),
    ("./:/t", CWD, "/t"),
    ("./a:/t", f"{CWD}/a", "/t"),
    ("..:/t", "/work", "/t"),
    ("../x:/t", "/work/x", "/t"),
    (".hidden:/t", f"{CWD}/.hidden", "/t"),
    ("./x:/a/../b", f"{CWD}/x", "/b"),
    ("/rw:/ro", "/rw", "/ro"),
]


@pytest.mark.parametrize(("text", "source", "target"), BINDS)
def test_a_source_with_a_slash_or_dot_first_is_a_host_path(text: str, source: str, target: str) -> None:
    assert volume(text) == Mount(type="bind", source=source, target=target, create_source=True)


@pytest.mark.parametrize("name", ["ab", "data", "A.b_c-1", "0a", "ro", "x" * 240])
def test_any_other_source_is_a_named_volume(name: str) -> None:
    assert volume(f"{name}:/t") == Mount(type="volume", source=name, target="/t")


BIND_MODES = [
    ("rw", False, "rprivate"),
    ("ro", True, "rprivate"),
    ("z", False, "rprivate"),
    ("Z", False, "rprivate"),
    ("cached", False, "rprivate"),
    ("delegated", False, "rprivate"),
    ("consistent", False, "rprivate"),
    *[(word, False, word) for word in ("private", "rprivate", "shared", "rshared", "slave", "rslave")],
    ("ro,shared", True, "shared"),
    ("ro,z,rshared", True, "rshared"),
    ("slave,Z,ro", True, "slave"),
    ("Z,rw,cached,rslave", False, "rslave"),
]


@pytest.mark.parametrize(("mode", "read_only", "propagation"), BIND_MODES)
def test_the_mode_of_a_bind(mode: str, read_only: bool, propagation: str) -> None:
    assert volume(f"/a:/t:{mode}") == Mount(
        type="bind",
        source="/a",
        target="/t",
        mode=mode,
        read_only=read_only,
        propagation=propagation,
        create_source=True,
    )


@pytest.mark.parametrize(
    ("mode", "read_only", "nocopy"),
    [
        ("ro", True, False),
        ("rw", False, False),
        ("nocopy", False, True),
        ("ro,nocopy,z", True, True),
        ("consistent", False, False),
    ],
)
def test_the_mode_of_a_volume(mode: str, read_only: bool, nocopy: bool) -> None:
    assert volume(f"nv:/t:{mode}") == Mount(
        type="volume", source="nv", target="/t", mode=mode, read_only=read_only, nocopy=nocopy
    )


EMPTY, RELATIVE, ROOT, MODE = (
    "empty section",
    "must be absolute",
    "destination can't be '/'",
    "invalid mode: ",
)
REFUSED = [
    *[(text, EMPTY) for text in ("", ":", "::", ":::", ":/x", "/tmp:", "tmp:", ":test:", "/a:/b:", "/a::ro")],
    *[(text, EMPTY) for text in ("/tmp:::", ":/tmp::", ":ro", ":shared")],
    ("/a:/b:ro:z", "too many colons"),
    ("a:b:c:d:e", "too many colons"),
    *[(text, RELATIVE) for text in ("test", "./", "../", ".", "..", "~", "-", "ro")],
    *[(text, RELATIVE) for text in ("/path:path", "nv:path", "/path:./x", "/a:b:ro", "/a:rwz")],
    *[(text, ROOT) for text in ("/", "//", "/..", "/.", "/a/..", "/a:/", "nv:/", "/a:/..", "/a://", "/:/../")],
    *[(text, "inside /proc") for text in ("/proc", "/a:/proc", "/a:/proc/sys", "nv://proc/", "/x/../proc/1")],
    *[(text, "is a mode") for text in ("/x:ro", "/x:rw", "/rw:rw", "nv:ro", "/x:nocopy", "/x:ro,z", "nv:rshared")],
    ("/a:/b:bad", f"{MODE}bad"),
    ("/a:/b:rwz", f"{MODE}rwz"),
    ("/a:/b:copy", f"{MODE}copy"),
    ("/a:/b:RO", f"{MODE}RO"),
    ("/a:/b:,", f"{MODE},"),
    ("/a:/b:ro,", f"{MODE}ro,"),
    ("/a:/b:ro,ro", f"{MODE}ro,ro"),
    ("/a:/b:ro,rw", f"{MODE}ro,rw"),
    ("/a:/b:z,Z", f"{MODE}z,Z"),
    ("/a:/b:slave,rslave", f"{MODE}slave,rslave"),
    ("/a:/b:ro,rshared,rslave", f"{MODE}ro,rshared,rslave"),
    ("/a:/b:cached,consistent", f"{MODE}cached,consistent"),
    ("nv:/b:nocopy,nocopy", f"{MODE}nocopy,nocopy"),
    ("nv:/b:bad", f"{MODE}bad"),
    ("nv:/t:shared", "for host directories"),
    ("nv:/t:ro,rprivate", "for host directories"),
    ("/a:/t:nocopy", "for volumes"),
    ("a:/t", "Windows drive"),
    ("a:/t:ro", "./a for a directory"),
    ("1:/t", "at least 2 characters"),
    ("foo/bar:/t", "./foo/bar"),
    ("~:/t", "not expanded"),
    ("~/x:/t", "not expanded"),
    ("~me/x:/t", "not expanded"),
    ("_a:/t", "letter or digit first"),
    ("-ab:/t", "letter or digit first"),
    ("a b:/t", "may only have"),
    ("äö:/t", "may only have"),
    ("x" * 241 + ":/t", "2 to 240"),
    ("/a\0b:/t", "NUL"),
    ("/t\0", "NUL"),
]


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_a_refusal_quotes_the_text_and_says_why(text: str, says: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        volume(text)
    message = str(caught.value)
    assert says in message
    assert message.startswith(f'volume "{text}": ' if text.isprintable() else 'volume "')
    assert message.isprintable()


@pytest.mark.parametrize("name", ["", "a", ".", "..", "a/b", "../x", "a\n", "aa\n", "ä1", ".ab", "x" * 241])
def test_a_name_that_could_leave_its_directory_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument):
        check_name(name)


def written(mount: Mount) -> str:
    return ":".join(part for part in (mount.source, mount.target, mount.mode) if part)


@given(TEXTS)
@example("\ud800:/t")
def test_any_volume_text_gives_a_mount_or_a_refusal(text: str) -> None:
    try:
        mount = volume(text)
    except (InvalidArgument, NotSupported):
        return
    assert mount.target.startswith("/")
    assert not {"", ".", ".."} & set(mount.target[1:].split("/"))
    assert mount.type == "volume" or (mount.source or "").startswith("/")
    assert volume(written(mount)) == mount


def test_mounts_are_sorted_by_depth_and_else_keep_their_order() -> None:
    merged = merge(
        [volume("/a:/t/sub/x"), volume("/b:/z"), volume("/c:/t")],
        [parse_mount("dst=/t/sub")],
        [parse_tmpfs("/a")],
        ["/z/v"],
    )
    assert [mount.target for mount in merged] == ["/z", "/t", "/a", "/t/sub", "/z/v", "/t/sub/x"]


def test_an_identical_volume_or_tmpfs_counts_once() -> None:
    assert len(merge([volume("/a:/t"), volume("/a/:/t/")], [], [], [])) == 1
    assert len(merge([], [], [parse_tmpfs("/t"), parse_tmpfs("/t")], [])) == 1


@pytest.mark.parametrize(
    ("volumes", "mounts", "tmpfs"),
    [
        (["/a:/t", "/b:/t"], [], []),
        (["/a:/t", "/a:/t:ro"], [], []),
        (["/a:/t"], ["type=bind,src=/a,dst=/t"], []),
        (["/t"], [], ["/t"]),
        ([], ["dst=/t", "dst=/t"], []),
        ([], ["dst=/t"], ["/t"]),
        ([], [], ["/t", "/t:exec"]),
    ],
)
def test_two_things_at_one_mount_point_are_refused(volumes: list[str], mounts: list[str], tmpfs: list[str]) -> None:
    with pytest.raises(InvalidArgument, match="duplicate mount point: /t"):
        merge(map(volume, volumes), map(parse_mount, mounts), map(parse_tmpfs, tmpfs), [])


def test_an_image_volume_yields_to_everything_else() -> None:
    paths = ["/v", "/m", "/t", "/own", "/own/"]
    merged = merge([volume("/a:/v")], [parse_mount("dst=/m,ro")], [parse_tmpfs("/t")], paths, image="img")
    assert [(mount.target, mount.type) for mount in merged] == [
        ("/v", "bind"),
        ("/m", "volume"),
        ("/t", "tmpfs"),
        ("/own", "volume"),
    ]


@pytest.mark.parametrize(
    ("path", "target"), [("data", "/data"), ("/a/../b", "/b"), ("../../etc", "/etc"), ("a:/b", "/a:/b")]
)
def test_an_image_volume_stays_inside_the_root(path: str, target: str) -> None:
    assert merge([], [], [], [path]) == [Mount(type="volume", target=target)]


@pytest.mark.parametrize("path", ["", "/", "..", "/x/..", "/proc", "proc/sys", "/a\0b", None, 3, ["/a"]])
def test_a_hostile_image_volume_is_refused_naming_the_image(path: object) -> None:
    with pytest.raises(StorageError, match=r"^image busybox:evil: VOLUME") as caught:
        merge([], [], [], [path], image="busybox:evil")
    assert str(caught.value).isprintable()


def test_inspect_has_the_fields_of_docker() -> None:
    assert volume("/a:/t:ro").inspect() == {
        "Type": "bind",
        "Source": "/a",
        "Destination": "/t",
        "Mode": "ro",
        "RW": False,
        "Propagation": "rprivate",
    }
    assert volume("nv:/t").inspect(name="nv", mountpoint="/r/nv/_data") == {
        "Type": "volume",
        "Name": "nv",
        "Source": "/r/nv/_data",
        "Destination": "/t",
        "Driver": "local",
        "Mode": "",
        "RW": True,
        "Propagation": "",
    }
    assert parse_mount("type=tmpfs,target=/t").inspect()["Source"] == ""


def test_parsing_a_volume_imports_nothing_slow() -> None:
    program = (
        "import sys; before = set(sys.modules)\n"
        "from hyrun.volumespec import parse_volume\n"
        "parse_volume('/a:/t:ro', cwd='/')\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    result = subprocess.run([sys.executable, "-SIEc", _path() + program], capture_output=True, text=True, check=True)
    slow = {
        "re",
        "typing",
        "contextlib",
        "dataclasses",
        "enum",
        "pathlib",
        "json",
        "collections",
        "csv",
        "difflib",
    }
    assert not slow & set(result.stdout.split())


def _path() -> str:
    import hyrun

    return f"import sys; sys.path.insert(0, {str(hyrun.__path__[0]).removesuffix('/hyrun')!r})\n"
