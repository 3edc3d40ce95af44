"""What registries, people and configurations call URLs and is none: one error line each."""

from pathlib import Path

import pytest

from e2e.command import Hyrun
from support.faults import Faults, Rule, header, status
from support.registry import Registry

_BAD = "http://[::1"


@pytest.mark.parametrize(
    ("pattern", "rule", "expected"),
    [
        ("GET .*/manifests/", status(307, {"Location": _BAD}), "redirects: 'http://[::1' is no URL"),
        ("GET .*/manifests/", status(307, {"Location": "http://x:y/"}), "redirects: 'http://x:y/' is no URL"),
        ("GET .*/manifests/", status(307, {"Location": "mailto:x"}), "is no URL of http or https"),
        ("GET .*/blobs/", status(307, {"Location": _BAD}), "redirects: 'http://[::1' is no URL"),
        (
            "GET .*/manifests/",
            status(401, {"WWW-Authenticate": f'Bearer realm="{_BAD}"'}),
            "names its token server: 'http://[::1' is no URL",
        ),
    ],
)
def test_a_registry_that_answers_with_no_url(
    hyrun: Hyrun, faults: Faults, pattern: str, rule: Rule, expected: str
) -> None:
    faults.on(pattern, rule)
    name = f"{faults.host}/team/box:1"
    assert expected in hyrun.refused("pull", "-q", name, code=1)
    assert expected in hyrun("run", "--rm", "-q", name, "true", code=125).stderr


def test_a_page_of_tags_that_is_nowhere(hyrun: Hyrun, faults: Faults) -> None:
    faults.on("GET .*/tags/list", header("Link", f'<{_BAD}>; rel="next"'))
    message = hyrun.refused("pull", "-aq", f"{faults.host}/team/box", code=1)
    assert message == "hyrun: team/box (its tags): 'http://[::1' is no URL"


def test_an_upload_that_leads_nowhere(hyrun: Hyrun, faults: Faults) -> None:
    name = f"{faults.host}/team/box:1"
    hyrun("pull", "-q", name)
    target = f"{faults.host}/nowhere/box:1"
    hyrun("tag", name, target)
    # One that was not asked for is left to the registry.
    faults.on("POST .*mount=", status(202, {"Location": _BAD}))
    hyrun("push", "-q", target)
    target = f"{faults.host}/nowhere/other:1"
    hyrun("tag", name, target)
    faults.on("POST .*/uploads/", status(202, {"Location": _BAD}))
    message = hyrun.refused("push", "-q", target, code=1)
    assert message.startswith(f"hyrun: registry {faults.host} says where to send blob sha256:")
    assert message.endswith("'http://[::1' is no URL")


def test_what_people_and_configurations_write(hyrun: Hyrun, plain: Registry, tmp_path: Path) -> None:
    assert "is no host[:port]" in hyrun.refused("pull", "[aaaa]:5000/x", code=1)
    assert "is no host[:port]" in hyrun.refused("run", "[aaaa]:5000/x", "true")
    assert "127.0.0.1:99999" in hyrun.refused("pull", "-q", "127.0.0.1:99999/x", code=1)
    assert "write HOST or HOST:PORT" in hyrun.refused("login", "-u", "x", "--password-stdin", "[::1", input="y", code=1)
    configuration = tmp_path / "registries.toml"
    configuration.write_text(f'[registry."{plain.host}"]\nmirrors = ["{_BAD}"]\n')
    name = f"{plain.host}/team/box:1"
    assert "mirrors of" in hyrun.refused("run", "-q", name, "true", env={"HYRUN_CONFIG": str(configuration)})
    message = hyrun.refused("pull", "-q", "registry.test/x", code=1, env={"https_proxy": _BAD, "no_proxy": "[::1"})
    assert message == "hyrun: proxy in the environment: 'http://[::1' is no URL"
