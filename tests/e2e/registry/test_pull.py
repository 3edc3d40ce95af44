"""`hyrun pull`, and `run` of an image that is not here, with a real registry."""

import gzip
import json
import os
import subprocess
import threading
import urllib.request
from pathlib import Path

import pytest

from e2e.command import COMMAND, Hyrun, Template, until
from e2e.registries import Content, layer_digests, of_platforms
from support import images
from support.faults import Answer, Faults, Request, Rule, header, replace, status
from support.registry import Registry


def test_the_image_comes_and_runs(hyrun: Hyrun, box: str, plain: Registry, content: Content) -> None:
    result = hyrun("pull", box)
    digest = plain.digest("team/box:1")
    assert result.stdout.splitlines() == [f"Digest: {digest}", f"Status: Downloaded newer image for {box}", box]
    lines = result.stderr.splitlines()
    assert lines[0] == "1: Pulling from team/box"
    base, *others = layer_digests(content)
    assert f"{base[7:19]}: Already exists" in lines
    for layer in others:
        of_layer = [line.partition(": ")[2] for line in lines if line.startswith(layer[7:19])]
        assert of_layer == ["Pulling fs layer", "Verifying Checksum", "Download complete", "Pull complete"]
    assert hyrun.out("run", "--rm", box, "cat", "/data/word") == "hello"
    (shown,) = json.loads(hyrun.out("image", "inspect", box))
    assert shown["Id"] == content.image_id
    assert shown["RepoDigests"] == [f"{plain.host}/team/box@{digest}"]


def test_a_second_pull_finds_it_up_to_date_and_asks_for_no_layer(hyrun: Hyrun, faults: Faults) -> None:
    name = f"{faults.host}/team/box:1"
    hyrun("pull", name)
    before = len(faults.asked("GET .*/blobs/"))
    assert f"Status: Image is up to date for {name}" in hyrun.lines("image", "pull", name)
    assert len(faults.asked("GET .*/blobs/")) == before == 3


def test_a_layer_that_is_here_is_not_downloaded(hyrun: Hyrun, faults: Faults, plain: Registry, tmp_path: Path) -> None:
    base = hyrun.cwd.parent / "rootfs.tar"
    images.busybox_rootfs_tar(base)
    more = images.tar_bytes([("more", b"more\n")])
    # The store has the base from a docker archive, uncompressed: what is shared goes by the diff id.
    images.oci_layout(tmp_path / "layout", [base.read_bytes(), more], {}, ["more:1"], compression="zstd")
    plain.put(tmp_path / "layout", "team/more:1")
    lines = hyrun("pull", f"{faults.host}/team/more:1").stderr.splitlines()
    assert sum(line.endswith(": Already exists") for line in lines) == 1
    assert len(faults.asked("GET .*/blobs/")) == 2
    assert hyrun.out("run", "--rm", f"{faults.host}/team/more:1", "cat", "/more") == "more"


def test_quiet_prints_the_name_only(hyrun: Hyrun, box: str) -> None:
    result = hyrun("pull", "-q", box)
    assert (result.stdout, result.stderr) == (f"{box}\n", "")


def test_progress_for_programs_is_one_object_a_line(hyrun: Hyrun, box: str) -> None:
    lines = [json.loads(line) for line in hyrun("pull", "--progress", "json", box).stderr.splitlines()]
    assert lines[0] == {"status": "1: Pulling from team/box"}
    assert {"Pulling fs layer", "Downloading", "Extracting", "Pull complete"} <= {line["status"] for line in lines}
    assert "one of auto, tty, plain, json" in hyrun.refused("pull", "--progress", "loud", box, code=1)


def test_of_an_index_the_platform_of_this_machine_is_taken(hyrun: Hyrun, plain: Registry, tmp_path: Path) -> None:
    layout = of_platforms(tmp_path)
    plain.put(layout, "team/many:1")
    name = f"{plain.host}/team/many:1"
    hyrun("pull", name)
    assert hyrun.out("run", "--rm", name, "cat", "/arch") == images.ARCHITECTURE
    # The digest of the index is what people write down: with it the image is found again.
    digest = hyrun.lines("pull", name)[0].removeprefix("Digest: ")
    pinned = f"{plain.host}/team/many@{digest}"
    hyrun("pull", pinned)
    assert hyrun.out("run", "--rm", "--pull", "never", pinned, "cat", "/arch") == images.ARCHITECTURE


def test_another_platform_is_taken_when_it_is_asked_for(hyrun: Hyrun, plain: Registry, tmp_path: Path) -> None:
    plain.put(of_platforms(tmp_path), "team/many:2")
    name = f"{plain.host}/team/many:2"
    hyrun("pull", "--platform", "linux/s390x", name)
    assert hyrun.out("image", "inspect", "-f", "{{.Architecture}}", name) == "s390x"
    hyrun("pull", name, env={"DOCKER_DEFAULT_PLATFORM": "linux/arm/v7"})
    assert hyrun.out("image", "inspect", "-f", "{{.Architecture}}{{.Variant}}", name) == "armv7"
    # What is here is of another platform: `run --platform` takes the one that it wants.
    own = f"linux/{images.ARCHITECTURE}"
    assert hyrun.out("run", "--rm", "-q", "--platform", own, name, "cat", "/arch") == images.ARCHITECTURE
    assert "for linux/riscv64: choose another" in hyrun.refused("pull", "--platform", "linux/riscv64", name, code=1)
    assert "only images of linux" in hyrun.refused("pull", "--platform", "windows/amd64", name, code=1)


def test_all_tags(hyrun: Hyrun, faults: Faults, plain: Registry, content: Content) -> None:
    for tag in ("1", "2", "3"):
        plain.put(content.layout, f"team/tags:{tag}")
    # Two a page: the registry has to be asked again.
    repository = f"{faults.host}/team/tags"
    faults.on(
        r"GET /v2/team/tags/tags/list$",
        lambda request, answer: answer._replace(
            body=b'{"name":"team/tags","tags":["1","2"]}',
            headers={"Link": '</v2/team/tags/tags/list?n=2&last=2>; rel="next"', "Content-Type": "application/json"},
        ),
    )
    faults.on("last=2$", status(200, {"Content-Type": "application/json"}, b'{"name":"team/tags","tags":["2","3"]}'))
    assert hyrun.lines("pull", "-aq", repository) == [f"{repository}:{tag}" for tag in ("1", "2", "3")]
    assert "leave one of the two out" in hyrun.refused("pull", "-a", f"{repository}:1", code=1)


def test_docker_manifests_and_zstd_layers_are_read(
    hyrun: Hyrun, plain: Registry, content: Content, tmp_path: Path
) -> None:
    plain.put(content.layout, "team/docker:1", "--format", "v2s2")
    hyrun("pull", f"{plain.host}/team/docker:1")
    assert hyrun.out("run", "--rm", f"{plain.host}/team/docker:1", "cat", "/data/word") == "hello"
    for compression in ("zstd", "none"):
        images.oci_layout(tmp_path / compression, content.layers, {}, ["x:1"], compression=compression)
        plain.put(tmp_path / compression, f"team/{compression}:1")
        hyrun("rmi", "-f", *hyrun.lines("images", "-q", f"{plain.host}/team/*"))
        hyrun("pull", f"{plain.host}/team/{compression}:1")
        assert hyrun.out("run", "--rm", f"{plain.host}/team/{compression}:1", "cat", "/data/word") == "hello"


def test_run_pulls_what_is_missing(hyrun: Hyrun, box: str) -> None:
    result = hyrun("run", "--rm", box, "cat", "/data/word")
    assert result.stdout == "hello\n"
    assert result.stderr.startswith(f"Unable to find image '{box}' locally\n1: Pulling from team/box\n")
    assert f"Status: Downloaded newer image for {box}\n" in result.stderr
    assert hyrun("run", "--rm", box, "true").stderr == ""


def test_run_pull_policies(hyrun: Hyrun, faults: Faults) -> None:
    name = f"{faults.host}/team/box:1"
    assert "no image" in hyrun.refused("run", "--pull", "never", name, "true")
    assert faults.requests == []
    assert "one of always, missing, never" in hyrun.refused("run", "--pull", "perhaps", name, "true")
    assert hyrun("run", "--rm", "-q", name, "true").stderr == ""
    asked = len(faults.requests)
    hyrun("run", "--rm", name, "true")
    assert len(faults.requests) == asked
    hyrun("run", "--rm", "--pull", "always", name, "true")
    assert len(faults.requests) > asked


def test_a_dry_run_pulls_nothing(hyrun: Hyrun, faults: Faults) -> None:
    assert "no image" in hyrun.refused("run", "--dry-run", f"{faults.host}/team/box:1", "true")
    assert faults.requests == []


def test_an_image_that_cannot_be_pulled_is_one_sentence_with_both_halves(hyrun: Hyrun, plain: Registry) -> None:
    message = hyrun("run", f"{plain.host}/team/nosuch:1", "true", code=125).stderr.splitlines()[-1]
    assert message.startswith(f"hyrun: no image {plain.host}/team/nosuch:1 here, and it cannot be pulled: registry ")
    blocked = hyrun.refused("run", "nosuch", "true")
    assert blocked.startswith(
        "hyrun: no image nosuch:latest here, and it cannot be pulled: registry docker.io is blocked by "
    )


def test_eight_pulls_at_once_download_each_layer_once(hyrun: Hyrun, faults: Faults, content: Content) -> None:
    name = f"{faults.host}/team/box:1"

    def wait(request: Request, answer: Answer) -> Answer:
        until(lambda: len(faults.asked("GET .*/manifests/")) >= 8, "all of them have begun")
        return answer

    faults.on(f"GET .*/blobs/({'|'.join(layer_digests(content))})", wait)
    processes = [hyrun.start("pull", name) for _ in range(8)]
    for process in processes:
        out, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert out.endswith(f"{name}\n")
    configuration = 8
    assert len(faults.asked("GET .*/blobs/")) <= 2 + configuration
    assert hyrun.left("partial") == set()
    assert hyrun.out("run", "--rm", name, "cat", "/data/word") == "hello"


def test_warnings_of_the_registry_are_shown(hyrun: Hyrun, faults: Faults) -> None:
    faults.on("GET .*/manifests/", header("Warning", '299 - "this image goes away"'))
    lines = hyrun("pull", f"{faults.host}/team/box:1").stderr.splitlines()
    assert f"Warning: registry {faults.host}: this image goes away" in lines


def test_a_mirror_is_asked_first_and_the_registry_when_it_has_nothing(
    hyrun: Hyrun, faults: Faults, plain: Registry, tmp_path: Path
) -> None:
    environment = _mirrored(tmp_path, plain.host, faults.host)
    name = f"{plain.host}/team/box:1"
    hyrun("pull", name, env=environment)
    assert len(faults.asked("GET .*/blobs/")) == 3
    hyrun("rmi", name)
    faults.on(".*", status(404))
    assert "left out" not in hyrun("pull", name, env=environment).stderr
    hyrun("rmi", name)
    faults.on(".*", status(418), first=True)
    assert f"Mirror {faults.host} is left out: registry" in hyrun("pull", name, env=environment).stderr


@pytest.mark.parametrize(
    ("pattern", "rule"),
    [
        ("GET .*/blobs/CONFIG", status(404)),
        ("GET .*/blobs/CONFIG", replace(lambda data: data[:-1] + b" ")),
        ("GET .*/blobs/LAYER", status(404)),
        ("GET .*/blobs/LAYER", replace(lambda data: data[:-1] + bytes([data[-1] ^ 1]))),
    ],
)
def test_an_image_that_a_mirror_has_in_part_comes_from_the_registry(
    hyrun: Hyrun, faults: Faults, plain: Registry, content: Content, tmp_path: Path, pattern: str, rule: Rule
) -> None:
    faults.on(pattern.replace("CONFIG", content.image_id).replace("LAYER", layer_digests(content)[-1]), rule)
    environment = _mirrored(tmp_path, plain.host, faults.host)
    hyrun("pull", f"{plain.host}/team/box:1", env=environment)
    assert hyrun.out("run", "--rm", "--pull", "never", f"{plain.host}/team/box:1", "cat", "/data/word") == "hello"
    assert hyrun.left("partial") == set()


def test_a_mirror_with_another_image_and_not_all_of_it(
    hyrun: Hyrun, faults: Faults, plain: Registry, content: Content, tmp_path: Path
) -> None:
    other = Registry(tmp_path / "mirror")
    mirror = Faults(other.host)
    try:
        layers = [content.layers[0], images.tar_bytes([("old", b"old")])]
        images.oci_layout(tmp_path / "old", layers, {}, ["old:1"])
        other.put(tmp_path / "old", "team/box:1")
        mirror.on(f"GET .*/blobs/{images.sha256(gzip.compress(layers[1], mtime=0))}", status(404))
        name = f"{faults.host}/team/box:1"
        result = hyrun("pull", name, env=_mirrored(tmp_path, faults.host, mirror.host))
        assert f"Digest: {plain.digest('team/box:1')}\n" in result.stdout
        assert hyrun.out("images", "-q", "--no-trunc", name) == content.image_id
    finally:
        mirror.close()
        other.close()


def _mirrored(directory: Path, host: str, mirror: str) -> dict[str, str]:
    configuration = directory / "registries.toml"
    configuration.write_text(f'[registry."{host}"]\nmirrors = ["http://{mirror}"]\n')
    return {"HYRUN_CONFIG": str(configuration)}


def test_a_proxy_is_used_for_what_is_not_this_machine(hyrun: Hyrun, faults: Faults, tmp_path: Path) -> None:
    configuration = tmp_path / "registries.toml"
    configuration.write_text('[registry."registry.test:5000"]\ninsecure = true\n')
    environment = {"HYRUN_CONFIG": str(configuration), "http_proxy": faults.host, "https_proxy": faults.host}
    hyrun("pull", "-q", "registry.test:5000/team/box:1", env=environment)
    assert faults.asked("GET http://registry.test:5000/v2/team/box/manifests/1")
    excepted = environment | {"no_proxy": "test"}
    message = hyrun.refused("pull", "-q", "registry.test:5000/team/box:1", env=excepted, code=1)
    assert (
        message
        == "hyrun: registry registry.test:5000: no such host is known here: check the name, and this machine's network"
    )


def test_layers_are_not_kept_packed_where_the_configuration_says_so(hyrun: Hyrun, box: str, tmp_path: Path) -> None:
    configuration = tmp_path / "registries.toml"
    configuration.write_text("keep-layers = false\n")
    hyrun("pull", box, env={"HYRUN_CONFIG": str(configuration)})
    assert not list((hyrun.root / "layers").glob("*/blob"))
    hyrun("rmi", box)
    hyrun("pull", box)
    assert len(list((hyrun.root / "layers").glob("*/blob"))) == 2  # the base is that of other images


def test_a_sweep_meanwhile_leaves_the_layers_of_a_pull(hyrun: Hyrun, faults: Faults, template: Template) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def wait(request: Request, answer: Answer) -> Answer:
        asked.set()
        assert go_on.wait(20)
        return answer

    # One layer is there, the other one is on its way, while another command sweeps.
    big = max(layer_sizes(faults), key=layer_sizes(faults).__getitem__)
    faults.on(f"GET .*/blobs/{big}", wait)
    process = hyrun.start("pull", f"{faults.host}/team/box:1")
    try:
        assert asked.wait(20)
        hyrun("tag", "busybox", "other")
        hyrun("rmi", "other")
        hyrun("load", "-q", "-i", template.archive)
    finally:
        go_on.set()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert hyrun.out("run", "--rm", f"{faults.host}/team/box:1", "cat", "/data/word") == "hello"


def layer_sizes(faults: Faults) -> dict[str, int]:
    """Return the sizes of the image's layers by digest."""
    request = urllib.request.Request(
        f"http://{faults.host}/v2/team/box/manifests/1",
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
    )
    with urllib.request.urlopen(request) as response:
        manifest = json.load(response)
    return {layer["digest"]: layer["size"] for layer in manifest["layers"]}


def test_in_process_run_pulls_too(hyrun: Hyrun, box: str) -> None:
    import hyrun as library

    done = library.run(box, ["cat", "/data/word"], capture_output=True, text=True)
    assert done.stdout == "hello\n"
    with pytest.raises(library.NotFound, match="no image nosuch:latest here"):
        library.run("nosuch", pull="never")
    with pytest.raises(library.InvalidArgument, match="one of always, missing, never"):
        library.run("nosuch", pull="perhaps")


def test_run_of_an_image_that_is_here_imports_nothing_of_registries(hyrun: Hyrun) -> None:
    script = (
        "import sys, hyrun; hyrun.run('busybox', ['true'])\n"
        "from hyrun.cli import run; run.main(['--rm', 'busybox', 'true'], None)\n"
        "print(*[name for name in sys.modules if 'regist' in name or 'urllib3' in name or 'progress' in name])"
    )
    done = subprocess.run([COMMAND[0], "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_a_pull_mends_a_layer_that_lost_something(hyrun: Hyrun, box: str) -> None:
    hyrun("pull", "-q", box)
    (file,) = (hyrun.root / "layers").glob("*/diff/data/word")
    file.unlink()
    hyrun("pull", "-q", box)
    assert hyrun.out("run", "--rm", box, "cat", "/data/word") == "hello"
    hyrun("image", "prune", "-f")
    assert hyrun("system", "check").stdout == ""


def test_a_repair_unpacks_a_layer_again_from_the_bytes_of_the_registry(hyrun: Hyrun, box: str) -> None:
    hyrun("pull", "-q", box)
    (file,) = (hyrun.root / "layers").glob("*/diff/data/word")
    status = file.stat()
    file.write_text("hallo\n")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "unpacked again from the bytes that the registry gave" in hyrun.out("system", "check", "--repair")
    assert hyrun.out("run", "--rm", box, "cat", "/data/word") == "hello"
    hyrun("image", "prune", "-f")
    assert hyrun("system", "check").stdout == ""
    # Bytes that are damaged as well are of no use.
    (word,) = (hyrun.root / "layers").glob("*/diff/data/word")
    word.write_text("hallo\n")
    blob = word.parents[2] / "blob"
    blob.write_bytes(blob.read_bytes()[:-9] + bytes(9))
    assert "repaired: set aside" in hyrun("system", "check", "--repair", code=1).stdout
    hyrun("pull", "-q", box)
    assert hyrun.out("run", "--rm", box, "cat", "/data/word") == "hello"
