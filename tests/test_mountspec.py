"""``--mount`` and ``--tmpfs``: what is accepted, what it means, and what a refusal says."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hyrun.errors import HyrunError, InvalidArgument, NotSupported
from hyrun.volumespec import Mount, parse_mount, parse_tmpfs
from support.specs import CWD, TEXTS

MOUNT_TOKENS = st.sampled_from(
    [
        *(
            "type=",
            "bind",
            "volume",
            "tmpfs",
            "src=",
            "target=",
            "ro",
            "/a",
            "/t",
            ",",
            '"',
            "=",
            "tmpfs-size=",
        ),
        *(
            "9",
            "m",
            "bind-recursive=",
            "readonly",
            "volume-label=",
            "tmpfs-mode=",
            "1777",
            " ",
            "x",
            "\0",
            "²",
        ),
    ]
)


@given(TEXTS | st.lists(MOUNT_TOKENS, max_size=14).map("".join))
@example("type=tmpfs,target=/t,tmpfs-size=" + "9" * 5000)
@example('"')
def test_any_mount_text_gives_a_mount_or_a_refusal(text: str) -> None:
    try:
        mount = parse_mount(text, cwd=CWD)
    except (InvalidArgument, NotSupported):
        return
    assert mount.target.startswith("/")


@given(TEXTS | st.text().map(lambda text: f"/t:{text}"))
@example("/t:size=" + "9" * 5000)
@example("/t:size=²")
def test_any_tmpfs_text_gives_a_mount_or_a_refusal(text: str) -> None:
    try:
        mount = parse_tmpfs(text)
    except (InvalidArgument, NotSupported):
        return
    assert parse_tmpfs(f"{mount.target}:{mount.mode}" if mount.mode else mount.target) == mount


BIND = "type=bind,source=/a,target=/t"
MOUNTS = [
    ("target=/t", Mount(type="volume", target="/t")),
    ("src=nv,dst=/t", Mount(type="volume", source="nv", target="/t")),
    (
        "type=volume,source=nv,destination=/t/,ro",
        Mount(type="volume", source="nv", target="/t", read_only=True),
    ),
    ("TYPE=Volume,Target=/t", Mount(type="volume", target="/t")),
    ("dst=/t,volume-nocopy", Mount(type="volume", target="/t", nocopy=True)),
    ("dst=/t,volume-nocopy=false", Mount(type="volume", target="/t")),
    ("dst=/t,volume-driver=local", Mount(type="volume", target="/t")),
    (
        "dst=/t,volume-label=a=b=c,volume-label=d",
        Mount(type="volume", target="/t", volume_labels={"a": "b=c", "d": ""}),
    ),
    (BIND, Mount(type="bind", source="/a", target="/t")),
    ("type=bind,src=./x,dst=/t", Mount(type="bind", source=f"{CWD}/x", target="/t")),
    (f"{BIND},readonly=1", Mount(type="bind", source="/a", target="/t", read_only=True)),
    (f"{BIND},readonly=0", Mount(type="bind", source="/a", target="/t")),
    (f"{BIND},consistency=cached", Mount(type="bind", source="/a", target="/t")),
    (f"{BIND},bind-create-src", Mount(type="bind", source="/a", target="/t", create_source=True)),
    (f"{BIND},bind-propagation=RSlave", Mount(type="bind", source="/a", target="/t", propagation="rslave")),
    (f"{BIND},bind-recursive=enabled", Mount(type="bind", source="/a", target="/t")),
    (f"{BIND},bind-recursive=disabled", Mount(type="bind", source="/a", target="/t", recursive=False)),
    (
        f"{BIND},ro,bind-recursive=writable",
        Mount(type="bind", source="/a", target="/t", read_only=True, read_only_recursive=False),
    ),
    (
        f"{BIND},ro,bind-recursive=readonly,bind-propagation=rprivate",
        Mount(type="bind", source="/a", target="/t", read_only=True),
    ),
    ('type=bind,"src=/a,b",dst=/t', Mount(type="bind", source="/a,b", target="/t")),
    ('type=bind,"src=/a""b",dst=/t', Mount(type="bind", source='/a"b', target="/t")),
    ('"type=bind","src=/a:b","dst=/t"', Mount(type="bind", source="/a:b", target="/t")),
]


@pytest.mark.parametrize(("text", "expected"), MOUNTS)
def test_mount(text: str, expected: Mount) -> None:
    assert parse_mount(text, cwd=CWD) == expected


@pytest.mark.parametrize(
    ("extra", "options"),
    [
        ("", []),
        (",tmpfs-size=64m", ["size=67108864"]),
        (",tmpfs-size=1.5g", ["size=1610612736"]),
        (",tmpfs-size=64MiB,tmpfs-mode=1777", ["size=67108864", "mode=1777"]),
        (",tmpfs-size=100b,tmpfs-mode=0700", ["size=100", "mode=700"]),
        (",tmpfs-size=0", []),
    ],
)
def test_mount_of_a_tmpfs(extra: str, options: list[str]) -> None:
    assert parse_mount(f"type=tmpfs,target=/t{extra}") == Mount(
        type="tmpfs", target="/t", options=options, noexec=True, nosuid=True, nodev=True
    )


MOUNT_REFUSED: list[tuple[str, type[HyrunError], str]] = [
    ("", InvalidArgument, "it is empty"),
    ("type=bind,source=/a", InvalidArgument, "target is required"),
    ("type=bind,target=/t", InvalidArgument, "needs a source"),
    ("type=bind,source=a,target=/t", InvalidArgument, "must be absolute"),
    ("type=bind,source=~/a,target=/t", InvalidArgument, "not expanded"),
    ("type=bind,source=/a,target=t", InvalidArgument, "must be absolute"),
    ("type=bind,source=/a,target=/..", InvalidArgument, "can't be '/'"),
    ("type=bind,source=/a,target=/proc/x", InvalidArgument, "inside /proc"),
    ("source=/a,target=/t", InvalidArgument, "add type=bind"),
    ("source=./a,target=/t", InvalidArgument, "add type=bind"),
    ("source=a,target=/t", InvalidArgument, "2 to 240"),
    ("type=tmpfs,source=/a,target=/t", InvalidArgument, "no source"),
    ("type=bnid,target=/t", InvalidArgument, 'unknown type "bnid"'),
    ("tpye=bind,target=/t", InvalidArgument, "did you mean type?"),
    ("qqqqq=1,target=/t", InvalidArgument, "known are type,"),
    ("target", InvalidArgument, "key=value pair"),
    ("target=", InvalidArgument, "is empty"),
    ("target= /t", InvalidArgument, "white space"),
    (" target=/t", InvalidArgument, "white space"),
    ("target=/t,ro=yes", InvalidArgument, "write true or false"),
    ("target=/t,ro=TRUE", InvalidArgument, "write true or false"),
    ('type=bind,src="/a,b",dst=/t', InvalidArgument, "quotes around the whole"),
    ('"type=bind', InvalidArgument, "not closed"),
    ('"type=bind"x,dst=/t', InvalidArgument, "not closed"),
    (f"{BIND},volume-nocopy", InvalidArgument, "cannot mix 'volume-*' options with mount type 'bind'"),
    (f"{BIND},tmpfs-size=1m", InvalidArgument, "cannot mix 'tmpfs-*' options with mount type 'bind'"),
    (
        "target=/t,bind-propagation=rslave",
        InvalidArgument,
        "cannot mix 'bind-*' options with mount type 'volume'",
    ),
    ("type=tmpfs,target=/t,volume-label=a", InvalidArgument, "cannot mix 'volume-*'"),
    (f"{BIND},bind-propagation=all", InvalidArgument, "invalid value for bind-propagation"),
    (f"{BIND},bind-recursive=yes", InvalidArgument, "invalid value for bind-recursive"),
    (f"{BIND},bind-recursive=writable", InvalidArgument, "requires readonly"),
    (f"{BIND},bind-recursive=readonly", InvalidArgument, "requires readonly"),
    (f"{BIND},ro,bind-recursive=readonly", InvalidArgument, "requires bind-propagation=rprivate"),
    (f"{BIND},bind-nonrecursive", InvalidArgument, "bind-recursive=disabled"),
    (f"{BIND},consistency=maybe", InvalidArgument, "invalid value for consistency"),
    ("target=/t,volume-label==x", InvalidArgument, "has no name"),
    ("type=tmpfs,target=/t,tmpfs-size=big", InvalidArgument, "tmpfs-size"),
    ("type=tmpfs,target=/t,tmpfs-size=-1", InvalidArgument, "tmpfs-size"),
    ("type=tmpfs,target=/t,tmpfs-size=99999p", InvalidArgument, "larger than any memory"),
    ("type=tmpfs,target=/t,tmpfs-mode=9", InvalidArgument, "octal"),
    ("type=tmpfs,target=/t,tmpfs-mode=77777", InvalidArgument, "octal"),
    ("target=/t,volume-opt=o=bind", NotSupported, "volume-opt is not supported"),
    ("target=/t,volume-subpath=a", NotSupported, "volume-subpath is not supported"),
    ("target=/t,volume-driver=nfs", NotSupported, "volume driver nfs"),
    ("type=image,src=x,dst=/t", NotSupported, "type image"),
    ("image-subpath=a", NotSupported, "image-subpath"),
    ("type=npipe,target=/t", NotSupported, "type npipe"),
    ("type=cluster,target=/t", NotSupported, "type cluster"),
]


@pytest.mark.parametrize(("text", "kind", "says"), MOUNT_REFUSED)
def test_a_mount_that_is_refused(text: str, kind: type[HyrunError], says: str) -> None:
    with pytest.raises(kind) as caught:
        parse_mount(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("/t", {}),
        ("/t:exec", {"noexec": False}),
        ("/t:suid,dev", {"nosuid": False, "nodev": False}),
        ("/t:ro", {"read_only": True}),
        ("/t:ro,rw", {}),
        (
            "/t:size=64m,mode=1777,uid=1,gid=2,nr_inodes=1k,nr_blocks=5",
            {"options": ["size=64m", "mode=1777", "uid=1", "gid=2", "nr_inodes=1k", "nr_blocks=5"]},
        ),
        ("/t:size=50%", {"options": ["size=50%"]}),
        ("/t:size=1m,size=2m", {"options": ["size=2m"]}),
    ],
)
def test_tmpfs(text: str, fields: dict[str, object]) -> None:
    defaults: dict[str, object] = {"noexec": True, "nosuid": True, "nodev": True, "listed": False}
    expected = {**defaults, "mode": text[3:], **fields}
    assert parse_tmpfs(text) == Mount(type="tmpfs", target="/t", **expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "option",
    [
        "bogus",
        "size",
        "size=",
        "size=x",
        "mode=8",
        "uid=root",
        "uid=4294967295",
        "huge=always",
        "nr_inodes=5%",
        "",
        "RO",
    ],
)
def test_a_tmpfs_option_that_is_refused_is_named(option: str) -> None:
    with pytest.raises(InvalidArgument, match=r"invalid tmpfs option|options after the colon are missing") as caught:
        parse_tmpfs(f"/t:{option}")
    assert not option or f'invalid tmpfs option "{option}"' in str(caught.value)


@pytest.mark.parametrize("text", ["t", "", ":size=1m", "/", "/..", "/proc", "/t\0"])
def test_a_tmpfs_destination_that_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_tmpfs(text)


def test_mpol_is_refused_by_name() -> None:
    with pytest.raises(NotSupported, match="mpol"):
        parse_tmpfs("/t:mpol=bind:0")
