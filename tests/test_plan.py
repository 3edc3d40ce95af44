"""Spec → Plan: the order of the steps, and what cannot be planned."""

from pathlib import Path
from typing import Any

import pytest

from hyrun import _core
from hyrun.errors import InvalidArgument

TYPICAL = [
    "start a new session",
    "bring up lo",
    "open /srv/inner with its submounts",
    "open /home with its submounts",
    "open /dev/null",
    "make / private",
    "overlay /layers/top:/layers/base below /c/upper",
    "mount proc -> proc",
    "mount sysfs -> sys",
    "mount tmpfs -> dev",
    "mknod /dev/null c 1:3",
    "mknod /dev/zero c 1:5",
    "mknod /dev/full c 1:7",
    "mknod /dev/random c 1:8",
    "mknod /dev/urandom c 1:9",
    "mknod /dev/tty c 5:0",
    "symlink /dev/ptmx -> pts/ptmx",
    "symlink /dev/console -> pts/0",
    "symlink /dev/fd -> /proc/self/fd",
    "symlink /dev/stdin -> /proc/self/fd/0",
    "symlink /dev/stdout -> /proc/self/fd/1",
    "symlink /dev/stderr -> /proc/self/fd/2",
    "symlink /dev/core -> /proc/kcore",
    "open the container's /dev/null",
    "mkdir /dev/pts",
    "mount devpts -> dev/pts",
    "mkdir /dev/shm",
    "mount tmpfs -> dev/shm",
    "mkdir /dev/mqueue",
    "mount mqueue -> dev/mqueue",
    "bind /home -> /test",
    "mount tmpfs -> /cache",
    "bind /srv/inner -> /test/inner",
    "mount tmpfs for the container's files",
    "file /etc/hosts",
    "make /work",
    "mask /proc/kcore",
    "make /proc/sys read-only",
    "make the root read-only",
    "hostname box",
    "pivot_root",
    "cwd /work",
    "stdio 0, 1, 2",
    "execute hyrun-init",
]


def spec(**options: Any) -> _core.Spec:
    rootfs = _core.Overlay(lowerdirs=["/layers/top", "/layers/base"], upperdir="/c/upper", workdir="/c/work")
    return _core.Spec(**({"rootfs": rootfs, "argv": ["true"]} | options))


def overlay(**options: Any) -> dict[str, Any]:
    return {"rootfs": _core.Overlay(**({"lowerdirs": ["/l"], "upperdir": "/u", "workdir": "/w"} | options))}


def bind(**options: Any) -> dict[str, Any]:
    return {"mounts": [_core.Bind(**({"source": "/s", "target": "/t"} | options))]}


def test_the_steps_of_a_typical_container_have_this_order() -> None:
    typical = spec(
        cwd="/work",
        hostname="box",
        mounts=[
            _core.Bind(source="/srv/inner", target="/test/inner"),
            _core.Bind(source="/home", target="/test"),
            _core.Tmpfs(target="/cache"),
        ],
        files=[_core.File(target="/etc/hosts", content=b"")],
        masked_paths=["/proc/kcore"],
        readonly_paths=["/proc/sys"],
        read_only=True,
    )
    assert _core.plan(typical) == TYPICAL


def test_the_hosts_network_needs_no_loopback() -> None:
    assert "bring up lo" not in _core.plan(spec(network="host"))


def test_no_hostname_leaves_the_name_as_it_is() -> None:
    assert not [step for step in _core.plan(spec(hostname="")) if step.startswith("hostname")]


@pytest.mark.parametrize(
    ("target", "missing"),
    [
        ("/dev", "mount devpts -> dev/pts"),
        ("/sys", "mount sysfs -> sys"),
        ("/dev/shm", "mount tmpfs -> dev/shm"),
        ("/dev/pts", "mount devpts -> dev/pts"),
        ("/dev/mqueue", "mount mqueue -> dev/mqueue"),
    ],
)
def test_a_users_mount_replaces_the_kernel_file_system_there(target: str, missing: str) -> None:
    steps = _core.plan(spec(**bind(target=target)))
    assert missing not in steps
    assert f"bind /s -> {target}" in steps


def test_a_file_where_the_user_mounts_is_skipped() -> None:
    files = [_core.File(target="/etc/hosts", content=b"")]
    steps = _core.plan(spec(**bind(target="/etc/hosts"), files=files))
    assert [step for step in steps if "/etc/hosts" in step] == ["bind /s -> /etc/hosts"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"argv": []}, "no command: argv is empty"),
        ({"hostname": "h" * 65}, f"hostname {'h' * 65}: more than 64 bytes"),
        ({"network": "bridge"}, 'network "bridge": choose none or host'),
        ({"cwd": "work"}, 'cwd "work": must be absolute'),
        ({"cwd": ""}, 'cwd "": must be absolute'),
        ({"masked_paths": ["proc"]}, 'masked path "proc": must be absolute'),
        ({"readonly_paths": ["proc"]}, 'read-only path "proc": must be absolute'),
        ({"argv": ["a\0b"]}, 'argv "a\\0b": contains a NUL byte'),
        ({"env": ["A=\0"]}, 'env "A=\\0": contains a NUL byte'),
        ({"cwd": "/a\0"}, 'cwd "/a\\0": contains a NUL byte'),
        ({"hostname": "a\0"}, 'hostname "a\\0": contains a NUL byte'),
        ({"groups": range(1025)}, "1025 supplementary groups: at most 1024"),
        (overlay(lowerdirs=[]), "rootfs: no lowerdirs"),
        (overlay(lowerdirs=["l"]), 'lowerdir "l": must be absolute'),
        (overlay(upperdir="u"), 'upperdir "u": must be absolute'),
        (overlay(workdir="w"), 'workdir "w": must be absolute'),
        (overlay(lowerdirs=["/\0"]), 'lowerdir "/\\0": contains a NUL byte'),
        (bind(source="s"), 'source of a mount "s": must be absolute'),
        (bind(target="t"), 'target of a mount "t": must be absolute'),
        (bind(target="/\0"), 'target of a mount "/\\0": contains a NUL byte'),
        (bind(propagation="loud"), 'propagation "loud": choose [r]private, [r]slave or [r]shared'),
        ({"mounts": [_core.Tmpfs(target="t")]}, 'target of a mount "t": must be absolute'),
        ({"mounts": [_core.Tmpfs(target="/t", options=["a\0"])]}, 'tmpfs option "a\\0": contains a NUL byte'),
        ({"files": [_core.File(target="f", content=b"")]}, 'target of a file "f": must be absolute'),
    ],
)
def test_a_spec_that_means_nothing_is_refused(options: dict[str, Any], message: str) -> None:
    for function in (_core.plan, _core.spawn):
        with pytest.raises(InvalidArgument) as caught:
            function(spec(**options))
        assert str(caught.value) == message


@pytest.mark.parametrize("number", [-1, 1 << 32])
@pytest.mark.parametrize("name", ["uid", "gid"])
def test_ids_outside_32_bits_are_refused(name: str, number: int) -> None:
    with pytest.raises(OverflowError):
        spec(**{name: number})


def test_paths_that_are_no_unicode_are_kept() -> None:
    path = Path("/srv") / b"\xff".decode(errors="surrogateescape")
    assert _core.Bind(source=str(path), target="/t").source == str(path)
