"""`ps`, `rm`, `inspect` and `container`."""

import json
from pathlib import Path

import pytest

from e2e.command import PATIENCE, Hyrun, runs, until


def test_ps_has_dockers_columns(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "busybox", "sh", "-c", "exit 3", code=3)
    header, row = hyrun.lines("ps", "-a")
    assert header.split() == ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    assert row.startswith(hyrun.inspect("one")["Id"][:12])
    assert "busybox" in row
    assert '"sh -c exit 3"' in row.replace("'", "")
    assert "Exited (3)" in row
    assert row.endswith("one")


def test_ps_shows_running_ones_only_unless_all(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "over", "busybox", "true")
    hyrun.sleeper("--name", "running")
    assert hyrun.lines("ps", "--format", "{{.Names}}") == ["running"]
    assert hyrun.lines("ps", "-a", "--format", "{{.Names}}") == ["running", "over"]
    assert hyrun.out("ps", "--format", "{{.Status}}").startswith("Up ")


def test_ps_quiet_prints_short_ids_and_full_ones(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "busybox", "true")
    identifier = hyrun.record("one")["Id"]
    assert hyrun.out("ps", "-aq") == identifier[:12]
    assert hyrun.out("ps", "-aq", "--no-trunc") == identifier


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("name=on", ["one"]),
        ("status=exited", ["two", "one"]),
        ("status=running", []),
        ("exited=3", ["two"]),
        ("label=kind", ["two"]),
        ("label=kind=x", ["two"]),
        ("label=kind=y", []),
        ("volume=named", ["one"]),
        ("volume=/n", ["one"]),
        ("ancestor=busybox", ["two", "one"]),
        ("ancestor=entry", []),
        ("name=^one$", ["one"]),
        ("name=^/tw", ["two"]),
        ("name=^o$", []),
        ("network=none", ["two", "one"]),
        ("network=host", []),
        ("before=two", ["one"]),
        ("since=one", ["two"]),
        ("since=two", []),
    ],
)
def test_ps_filters(hyrun: Hyrun, text: str, names: list[str]) -> None:
    hyrun("run", "--name", "one", "-v", "named:/n", "busybox", "true")
    hyrun("run", "--name", "two", "-l", "kind=x", "busybox", "sh", "-c", "exit 3", code=3)
    assert hyrun.lines("ps", "-a", "--filter", text, "--format", "{{.Names}}") == names


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bad=x", "bad"),
        ("health=healthy", "health"),
        ("status=up", "status=up"),
        ("exited=x", "exited=x"),
        ("before=nosuch", "nosuch"),
    ],
)
def test_ps_refuses_a_filter_that_means_nothing(hyrun: Hyrun, text: str, words: str) -> None:
    assert words in hyrun.refused("ps", "--filter", text, code=1)


def test_ps_filters_by_image_id_and_by_what_is_made_on_top(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "busybox", "true")
    hyrun("run", "--name", "two", "filled", "true")
    image = hyrun.out("images", "-q", "--no-trunc", "busybox")
    form = ("ps", "-a", "--format", "{{.Names}}", "--filter")
    assert hyrun.lines(*form, f"ancestor={image[:20]}") == ["two", "one"]
    assert hyrun.lines(*form, "ancestor=filled") == ["two"]


def test_ps_shows_the_last_ones_whatever_their_state(hyrun: Hyrun) -> None:
    for name in ("one", "two", "three"):
        hyrun("run", "--name", name, "busybox", "true")
    assert hyrun.lines("ps", "-n", "2", "--format", "{{.Names}}") == ["three", "two"]
    assert hyrun.lines("ps", "-l", "--format", "{{.Names}}") == ["three"]
    assert hyrun.lines("ps", "-n", "-1") == hyrun.lines("ps")


def test_ps_shows_how_large_they_are(hyrun: Hyrun) -> None:
    script = "dd if=/dev/zero of=/file bs=1000 count=5 2>/dev/null; ln /file /link"
    hyrun("run", "--name", "one", "busybox", "sh", "-c", script)
    header, row = hyrun.lines("ps", "-as")
    assert header.endswith("SIZE")
    assert "5kB (virtual " in row
    assert hyrun.out("ps", "-a", "--format", "{{.Size}}").startswith("5kB (virtual ")
    seen = hyrun.inspect("one", "-s")
    assert seen["SizeRw"] == 5000
    assert seen["SizeRootFs"] - 5000 == int(hyrun.out("image", "inspect", "-f", "{{.Size}}", "busybox"))
    assert "SizeRw" not in hyrun.inspect("one")


def test_ps_formats(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "-v", "named:/n", "-l", "a=1", "busybox", "true")
    found = json.loads(hyrun.out("ps", "-a", "--format", "json"))
    assert (found["Names"], found["State"], found["Mounts"], found["LocalVolumes"]) == ("one", "exited", "named", "1")
    assert hyrun.lines("ps", "-a", "--format", 'table {{.Names}}\t{{.Label "a"}}')[1].split() == ["one", "1"]


def test_ps_of_an_empty_store_prints_the_header_only(hyrun: Hyrun) -> None:
    assert len(hyrun.lines("ps", "-a")) == 1
    assert hyrun.lines("ps", "-aq") == []


def test_container_ls_is_ps(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "busybox", "true")
    form = ("-a", "--format", "{{.ID}} {{.Names}} {{.State}}")
    assert hyrun.out("container", "ls", *form) == hyrun.out("ps", *form)


def test_rm_prints_the_word_and_leaves_nothing(hyrun: Hyrun) -> None:
    before = hyrun.tree()
    hyrun("run", "--name", "one", "busybox", "touch", "/x")
    assert hyrun.out("rm", "one") == "one"
    assert hyrun.tree() == before


def test_rm_of_a_layer_with_odd_files_works(hyrun: Hyrun) -> None:
    script = "mkdir -p /a/b && mknod /a/b/p p && chmod 0 /a/b /a && rm -r /etc/passwd /home && mkdir /home"
    hyrun("run", "--name", "one", "busybox", "sh", "-c", script)
    hyrun("rm", "one")
    assert hyrun.left("containers") == set()


def test_rm_of_a_running_container_is_refused_without_force(hyrun: Hyrun) -> None:
    process = hyrun.sleeper("--name", "one")
    assert "rm -f one" in hyrun.refused("rm", "one", code=1)
    assert process.poll() is None


@pytest.mark.parametrize("flags", [(), ("--rm",)])
def test_rm_force_kills(hyrun: Hyrun, flags: tuple[str, ...]) -> None:
    before = hyrun.tree()
    process = hyrun.sleeper("--name", "one", *flags)
    pid = hyrun.record("one")["State"]["Pid"]
    hyrun("rm", "-f", "one")
    assert process.wait(PATIENCE) == 137
    until(lambda: not runs(pid), "the container is dead")
    assert hyrun.tree() == before
    assert process.stderr is not None
    assert process.stderr.read() == ""


def test_rm_of_a_missing_container_fails_but_with_force(hyrun: Hyrun) -> None:
    assert "nosuch" in hyrun.refused("rm", "nosuch", code=1)
    assert "name is empty" in hyrun.refused("rm", "", code=1)
    hyrun("rm", "-f", "nosuch")


def test_rm_goes_on_after_a_mistake(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "busybox", "true")
    hyrun("rm", "nosuch", "one", code=1)
    assert hyrun.left("containers") == set()


def test_inspect_finds_by_name_id_and_beginning(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "busybox", "true")
    identifier = hyrun.inspect("one")["Id"]
    assert len(identifier) == 64
    for word in (identifier, identifier[:12], identifier[:3]):
        assert hyrun.inspect(word)["Name"] == "/one"


def test_beginning_of_several_ids_is_ambiguous(hyrun: Hyrun) -> None:
    # One of sixteen digits comes twice at the latest with seventeen containers; records are enough here.
    for number in range(2):
        hyrun("run", "--name", f"c{number}", "busybox", "true")
    one, other = hyrun.left("containers")
    twin = one[:20] + other[20:]
    (hyrun.root / "containers" / other).rename(hyrun.root / "containers" / twin)
    message = hyrun.refused("rm", one[:10], code=1)
    assert "ambiguous" in message
    assert one[:12] in message


def test_inspect_has_dockers_fields(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "-h", "box", "-e", "A=1", "busybox", "sh", "-c", "exit 3", code=3)
    seen = hyrun.inspect("one")
    assert (seen["Path"], seen["Args"]) == ("sh", ["-c", "exit 3"])
    assert (seen["State"]["Status"], seen["State"]["ExitCode"], seen["State"]["Running"]) == ("exited", 3, False)
    assert seen["State"]["StartedAt"] <= seen["State"]["FinishedAt"]
    assert (seen["Config"]["Hostname"], seen["Config"]["Image"]) == ("box", "busybox")
    assert "A=1" in seen["Config"]["Env"]
    assert seen["Image"] == hyrun.lines("images", "-q", "--no-trunc", "busybox")[0]
    assert Path(seen["GraphDriver"]["Data"]["UpperDir"]).is_dir()


def test_inspect_of_a_foreground_container_has_dockers_types(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "-v", "named:/n:ro", "-v", "/anonymous", "-v", "./host:/h", "busybox", "true")
    seen = hyrun.inspect("one")
    assert sorted(seen["HostConfig"]["Binds"]) == sorted([f"{hyrun.cwd}/host:/h", "named:/n:ro"])
    assert seen["HostConfig"]["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
    assert seen["HostConfig"]["LogConfig"] == {"Type": "local", "Config": {"max-file": "1"}}
    log = str(hyrun.root / "containers" / seen["Id"] / "container.log")
    assert (seen["LogPath"], seen["RestartCount"], seen["HostConfig"]["Init"]) == (log, 0, False)
    names = ("AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce")
    assert [seen["Config"][name] for name in names] == [False, True, True, False, False, False]
    state = seen["State"]
    assert [state[name] for name in ("Paused", "Restarting", "OOMKilled", "Dead", "Error")] == [False] * 4 + [""]
    assert seen["NetworkSettings"]["Networks"]["none"]["IPAddress"] == ""
    assert hyrun.out("inspect", "-f", "{{.NetworkSettings.IPAddress}}|{{.State.Running}}", "one") == "|false"


def test_rename(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "busybox", "true")
    hyrun("run", "--name", "other", "busybox", "true")
    assert hyrun("rename", "one", "two").stdout == ""
    assert hyrun.lines("ps", "-a", "--format", "{{.Names}}") == ["other", "two"]
    assert "in use" in hyrun.refused("rename", "two", "other", code=1)
    assert "already" in hyrun.refused("container", "rename", "two", "two", code=1)
    hyrun("run", "--rm", "--name", "one", "busybox", "true")


def test_rename_of_a_running_container_that_is_removed_at_its_end(hyrun: Hyrun) -> None:
    before = hyrun.tree()
    process = hyrun.sleeper("--name", "one", "--rm")
    hyrun("rename", "one", "two")
    hyrun("kill", "two")
    assert process.wait(PATIENCE) == 137
    assert {path for path in hyrun.tree() - before if "/locks/" not in path} == set()


def test_port_has_nothing_to_list(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "busybox", "true")
    assert hyrun("port", "one").stdout == ""
    assert "80/tcp" in hyrun.refused("port", "one", "80", code=1)
    assert "53/udp" in hyrun.refused("container", "port", "one", "53/udp", code=1)
    assert "99999" in hyrun.refused("port", "one", "99999", code=1)
    assert "nosuch" in hyrun.refused("port", "nosuch", code=1)


def test_prune_removes_what_does_not_run(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "-l", "keep=me", "-v", "/data", "busybox", "true")
    hyrun("run", "--name", "two", "busybox", "sh", "-c", "exit 1", code=1)
    process = hyrun.sleeper("--name", "three")
    ids = {name: hyrun.record(name)["Id"] for name in ("one", "two", "three")}
    assert "--force" in hyrun("container", "prune").stderr
    assert hyrun.lines("container", "prune", "-f", "--filter", "until=10m") == ["Total reclaimed space: 0B"]
    assert hyrun.lines("container", "prune", "-f", "--filter", "label!=keep") == [
        "Deleted Containers:",
        ids["two"],
        "",
        "Total reclaimed space: 0B",
    ]
    assert ids["one"] in hyrun.lines("container", "prune", "-f")
    assert hyrun.left("containers") == {ids["three"]}
    assert len(hyrun.left("volumes")) == 1
    assert process.poll() is None


def test_inspect_of_a_running_container_has_its_pid(hyrun: Hyrun) -> None:
    hyrun.sleeper("--name", "one")
    seen = hyrun.inspect("one")
    assert seen["State"]["Running"] is True
    assert Path(f"/proc/{seen['State']['Pid']}/comm").read_text() == "sleep\n"


def test_inspect_takes_the_container_before_the_image_and_the_volume(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "busybox", "-v", "busybox:/b", "busybox", "true")
    assert hyrun.inspect("busybox")["Name"] == "/busybox"
    assert hyrun.inspect("busybox", "--type", "image")["RepoTags"] == ["busybox:latest"]
    assert hyrun.inspect("busybox", "--type", "volume")["Mountpoint"].endswith("/volumes/busybox/_data")
    assert hyrun.inspect("busybox", "--type=container")["Name"] == "/busybox"


def test_inspect_finds_images_and_volumes(hyrun: Hyrun) -> None:
    hyrun("volume", "create", "data")
    assert hyrun.inspect("entry")["Config"]["User"] == "app"
    assert hyrun.inspect("data")["Name"] == "data"


def test_inspect_formats(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "-v", "named:/n", "busybox", "true")
    assert hyrun.out("inspect", "-f", "{{.State.Status}} {{len .Mounts}}", "one") == "exited 1"
    each = "{{range .Mounts}}{{.Name}}:{{.Destination}}{{end}}"
    assert hyrun.out("container", "inspect", "--format", each, "one") == "named:/n"


def test_inspect_prints_what_it_found_and_fails(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "busybox", "true")
    result = hyrun("inspect", "nosuch", "one", code=1)
    assert len(json.loads(result.stdout)) == 1
    assert "nosuch" in result.stderr


@pytest.mark.parametrize("arguments", [("--type", "network", "x"), ("--type", "image", "nosuch")])
def test_inspect_of_another_type_fails(hyrun: Hyrun, arguments: tuple[str, ...]) -> None:
    process = hyrun.start("inspect", *arguments)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode in (1, 125)
    assert errors


@pytest.mark.parametrize("word", ["..", ".", "", "/", "../volumes", "a/../b"])
def test_words_that_are_paths_find_nothing(hyrun: Hyrun, word: str) -> None:
    before = hyrun.tree()
    hyrun("rm", "-f", "--", word)
    hyrun("inspect", "--", word, code=1)
    assert hyrun.tree() == before


def test_a_name_may_have_a_slash_before_it(hyrun: Hyrun) -> None:
    # As `inspect` shows it.
    hyrun("run", "--name", "/one", "busybox", "true")
    assert hyrun.out("inspect", "-f", "{{.Name}}", "/one") == "/one"
    hyrun("rename", "/one", "/two")
    assert hyrun.lines("ps", "-a", "--format", "{{.Names}}") == ["two"]
    assert "no such container: //two" in hyrun.refused("rm", "//two", code=1)
    hyrun("rm", "/two")


@pytest.mark.parametrize(
    ("command", "whole", "cut"),
    [
        (["echo", "a b", "c"], "\"echo 'a b' c\"", "\"echo 'a b' c\""),
        (["echo", 'say "x"'], '"echo \'say \\"x\\"\'"', '"echo \'say \\"x\\"\'"'),
        (["echo", "\033]0;x\a"], '"echo \\x1b]0;x\\a"', '"echo \\x1b]0;x\\a"'),
        (["echo", "x" * 30], f'"echo {"x" * 30}"', f'"echo {"x" * 14}…"'),
    ],
)
def test_ps_quotes_the_command_as_go_does(hyrun: Hyrun, command: list[str], whole: str, cut: str) -> None:
    hyrun("run", "busybox", *command)
    assert hyrun.out("ps", "-a", "--no-trunc", "--format", "{{.Command}}") == whole
    assert hyrun.out("ps", "-a", "--format", "{{.Command}}") == cut


def test_inspect_shows_mounts_where_docker_does(hyrun: Hyrun) -> None:
    mounts = (
        f"type=bind,src={hyrun.cwd},dst=/b,ro,bind-propagation=rprivate",
        "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700",
        "type=volume,src=named,dst=/n,volume-nocopy",
        "dst=/anonymous",
    )
    flags = [word for mount in mounts for word in ("--mount", mount)]
    hyrun("run", "--name", "one", *flags, "-v", "other:/o:ro", "--cidfile", "id", "busybox", "true")
    shown = hyrun.inspect("one")["HostConfig"]
    assert shown["Binds"] == ["other:/o:ro"]
    assert sorted(shown["Mounts"], key=lambda mount: mount["Target"]) == [
        {"Type": "volume", "Target": "/anonymous"},
        {
            "Type": "bind",
            "Source": str(hyrun.cwd),
            "Target": "/b",
            "ReadOnly": True,
            "BindOptions": {"Propagation": "rprivate"},
        },
        {"Type": "volume", "Source": "named", "Target": "/n", "VolumeOptions": {"NoCopy": True}},
        {"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o700}},
    ]
    assert shown["ContainerIDFile"] == "id"


def test_what_scripts_ask_of_docker_is_there(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "one", "busybox", "true")
    template = (
        "{{if .State.Health}}healthy{{end}}{{.Config.Labels.nosuch}} {{json .Config.Healthcheck}} {{.HostsPath}}"
        "{{.ResolvConfPath}}{{json .HostConfig.VolumesFrom}} {{.HostConfig.Memory}} {{json .HostConfig.CapAdd}}"
    )
    assert hyrun.out("inspect", "-f", template, "one") == "<no value> null null 0 null"
