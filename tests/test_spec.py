"""Options and image configuration → Spec: pure."""

import json
import os
from typing import Any

import pytest

from hyrun import _core, spec
from hyrun.errors import InvalidArgument, NotSupported
from hyrun.images import HOST, Image
from hyrun.options import Options
from hyrun.users import Identity
from hyrun.volumespec import parse_mount, parse_tmpfs, parse_volume


def image(**config: Any) -> Image:
    return Image("sha256:" + "0" * 64, [], config)


@pytest.mark.parametrize(
    ("config", "options", "expected"),
    [
        ({"Cmd": ["c"]}, {}, ["c"]),
        ({"Cmd": ["c"]}, {"args": ["a", "b"]}, ["a", "b"]),
        ({"Entrypoint": ["e"], "Cmd": ["c"]}, {}, ["e", "c"]),
        ({"Entrypoint": ["e", "f"], "Cmd": ["c"]}, {"args": ["a"]}, ["e", "f", "a"]),
        ({"Entrypoint": ["e"], "Cmd": ["c"]}, {"entrypoint": "x"}, ["x"]),
        ({"Entrypoint": ["e"], "Cmd": ["c"]}, {"entrypoint": "x", "args": ["a"]}, ["x", "a"]),
        ({"Entrypoint": ["e"], "Cmd": ["c"]}, {"entrypoint": "", "args": ["a"]}, ["a"]),
        ({"Entrypoint": None, "Cmd": None}, {"args": ["a"]}, ["a"]),
        ({"Entrypoint": ["e"]}, {}, ["e"]),
    ],
)
def test_argv_is_put_together_as_docker_does(
    config: dict[str, Any], options: dict[str, Any], expected: list[str]
) -> None:
    assert spec.argv(Options(**options), image(**config)) == expected


@pytest.mark.parametrize(
    ("config", "options"), [({}, {}), ({"Cmd": ["c"]}, {"entrypoint": ""}), ({"Entrypoint": [], "Cmd": []}, {})]
)
def test_no_command_at_all_is_refused(config: dict[str, Any], options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="no command"):
        spec.argv(Options(**options), image(**config))


def environment(config: list[str], given: list[str]) -> dict[str, str]:
    entries = spec.environment([*config, *given], hostname="box", home="/home/x", tty=False)
    return dict(entry.split("=", 1) for entry in entries)


def test_environment_has_path_hostname_and_home() -> None:
    found = environment([], [])
    assert set(found) == {"PATH", "HOSTNAME", "HOME"}
    assert (found["HOSTNAME"], found["HOME"]) == ("box", "/home/x")
    assert "/usr/bin" in found["PATH"].split(":")


def test_environment_of_the_caller_wins_over_the_images_and_that_over_the_defaults() -> None:
    found = environment(["PATH=/image", "A=image", "B=image", "HOME=/image"], ["A=own", "C=x=y", "D="])
    assert (found["PATH"], found["A"], found["B"], found["C"], found["D"]) == ("/image", "own", "image", "x=y", "")
    assert found["HOME"] == "/image"


def test_name_alone_takes_a_variable_away() -> None:
    assert "A" not in environment(["A=image"], ["A"])
    assert "NOSUCH" not in environment([], ["NOSUCH"])


@pytest.mark.parametrize("entry", ["=x", "", "A=x\0y", "\0"])
def test_bad_variable_is_refused(entry: str) -> None:
    with pytest.raises(InvalidArgument):
        environment([], [entry])
    with pytest.raises(InvalidArgument):
        environment([entry], [])


@pytest.mark.parametrize(
    ("given", "of_image", "expected"),
    [(None, None, "/"), (None, "", "/"), (None, "/srv", "/srv"), (None, "srv", "/srv"), ("/x", "/srv", "/x")],
)
def test_working_directory(given: str | None, of_image: str | None, expected: str) -> None:
    assert spec.working_directory(Options(cwd=given), image(WorkingDir=of_image)) == expected


@pytest.mark.parametrize("given", ["x", "", "./x", "../x"])
def test_working_directory_of_the_caller_must_be_absolute(given: str) -> None:
    with pytest.raises(InvalidArgument, match="must be absolute"):
        spec.working_directory(Options(cwd=given), image())


def test_host_name_is_given_or_the_hosts_or_the_beginning_of_the_id() -> None:
    identifier = "0123456789abcdef" * 4
    assert spec.host_name(Options(), identifier) == "0123456789ab"
    assert spec.host_name(Options(hostname="box.example.com"), identifier) == "box.example.com"
    assert spec.host_name(Options(network="host"), identifier) == os.uname().nodename
    assert spec.host_name(Options(network="host", hostname="box"), identifier) == "box"


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a\nb", "ü", "x" * 64, "a\0", "-x", ".x"])
def test_bad_host_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="hostname"):
        spec.host_name(Options(hostname=name), "0" * 64)


@pytest.mark.parametrize("network", ["bridge", "default", "container:x", "slirp4netns", "pasta:x"])
def test_networks_of_others_are_not_supported(network: str) -> None:
    with pytest.raises(NotSupported, match=network):
        spec.check(Options(network=network))


@pytest.mark.parametrize("network", ["", "nosuch", "NONE"])
def test_unknown_networks_are_refused(network: str) -> None:
    with pytest.raises(InvalidArgument, match="none and host"):
        spec.check(Options(network=network))


def files(network: str, hostname: str) -> dict[str, str]:
    return {file.target: file.content.decode() for file in spec.network_files(network, hostname)}


def test_hosts_names_the_container() -> None:
    found = files("none", "box.example.com")
    assert found["/etc/hostname"] == "box.example.com\n"
    assert "127.0.1.1\tbox.example.com box\n" in found["/etc/hosts"]
    assert found["/etc/resolv.conf"] == ""


def test_localhost_as_a_name_is_not_taken_from_the_loopback_address() -> None:
    assert "127.0.1.1" not in files("none", "localhost")["/etc/hosts"]


def test_mounts_become_binds_and_tmpfs() -> None:
    bind = spec.mount(parse_volume("/a:/b:ro,rslave", cwd="/"), "/a")
    assert isinstance(bind, _core.Bind)
    assert (bind.source, bind.target, bind.read_only, bind.propagation, bind.nodev) == (
        *("/a", "/b", True),
        *("rslave", False),
    )
    volume = spec.mount(parse_volume("named:/n", cwd="/"), "/store/named")
    assert isinstance(volume, _core.Bind)
    assert (volume.source, volume.read_only, volume.nodev, volume.propagation) == (
        "/store/named",
        False,
        True,
        "rprivate",
    )
    plain = spec.mount(parse_mount("type=bind,src=/a,dst=/b,bind-recursive=disabled"), "/a")
    assert isinstance(plain, _core.Bind)
    assert plain.recursive is False
    tmpfs = spec.mount(parse_tmpfs("/t:exec,size=1m"), "")
    assert isinstance(tmpfs, _core.Tmpfs)
    assert (tmpfs.target, tmpfs.options, tmpfs.noexec, tmpfs.nosuid, tmpfs.nodev) == (
        "/t",
        ["size=1m"],
        False,
        True,
        True,
    )


def build(**options: Any) -> _core.Spec:
    return spec.build(
        Options(**({"args": ["true"]} | options)),
        image(),
        identifier="0123456789ab" + "0" * 52,
        lowerdirs=["/lower"],
        directory="/store/containers/x",
        mounts=[],
        identity=Identity(1000, 1001, [1001, 50], "/home/app", "app"),
        hidden=["/store"],
        stdio=(3, 4, 5),
    )


def test_spec_is_confined_by_default() -> None:
    found = build()
    assert found.network == "none"
    assert found.no_new_privileges
    assert found.die_with_parent
    assert {"/proc/kcore", "/sys/firmware", "/store"} <= set(found.masked_paths)
    assert "/proc/sys" in found.readonly_paths
    # No capability that reaches beyond the container: sys_admin, sys_ptrace, sys_module, net_admin, mknod.
    assert not found.capabilities & sum(1 << number for number in (21, 19, 16, 12, 27))


def test_spec_carries_what_was_asked_for() -> None:
    found = build(read_only=True, remove=True, hostname="box")
    assert (found.uid, found.gid, found.groups) == (1000, 1001, [1001, 50])
    assert (found.stdin, found.stdout, found.stderr) == (3, 4, 5)
    assert (found.read_only, found.hostname, found.rootfs.volatile) == (True, "box", True)
    assert found.rootfs.upperdir == "/store/containers/x/upper"
    assert build().rootfs.volatile is False


def test_spec_can_be_printed_as_json() -> None:
    found = json.loads(json.dumps(spec.as_dict(build())))
    assert found["argv"] == ["true"]
    assert found["rootfs"]["lowerdirs"] == ["/lower"]
    assert {file["target"] for file in found["files"]} == {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}


def test_only_a_root_that_is_the_hosts_hides_the_store() -> None:
    host = Image(HOST, [], {}, "/")
    assert spec.host_paths(image(), None, "/var/lib/store", "/run/state") == []
    assert spec.host_paths(host, None, "/nosuch/store", "/nosuch/run") == ["/nosuch/store", "/nosuch/run"]
    assert spec.host_paths(image(), "/nosuch", "/nosuch/store", "/elsewhere") == ["/store"]
    assert spec.host_paths(image(), "/nosuch/st", "/nosuch/store", "/elsewhere") == []
