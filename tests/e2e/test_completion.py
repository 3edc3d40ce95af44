"""What the shell is offered for TAB."""

import os
import subprocess
from pathlib import Path

import pytest

from e2e.command import COMMAND, Hyrun


def offered(hyrun: Hyrun, line: str) -> list[str]:
    """Return what bash is offered at the end of a line."""
    words = line.split(" ")
    environment = {
        "_HYRUN_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    result = subprocess.run(
        COMMAND, env=os.environ | environment, cwd=hyrun.cwd, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stderr == ""
    return result.stdout.split()


def test_containers_volumes_and_images(hyrun: Hyrun) -> None:
    hyrun("run", "--name", "over", "-v", "data:/data", "busybox", "true")
    hyrun.sleeper("--name", "here")
    assert offered(hyrun, "hyrun rm ") == ["here", "over"]
    assert offered(hyrun, "hyrun rm ov") == ["over"]
    assert offered(hyrun, "hyrun stop ") == ["here"]
    identifier = hyrun.record("over")["Id"]
    assert offered(hyrun, f"hyrun logs {identifier[:6]}") == [identifier[:12]]
    assert offered(hyrun, "hyrun volume rm ") == ["data"]
    assert offered(hyrun, "hyrun rmi ") == ["busybox", "entry", "filled"]
    assert offered(hyrun, "hyrun image inspect busybox:") == ["busybox:latest"]
    assert offered(hyrun, "hyrun inspect ") == ["here", "over", "busybox", "entry", "filled", "data"]


def test_store_of_the_line_is_looked_at_and_not_made(hyrun: Hyrun, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert offered(hyrun, f"hyrun --root {missing} rm ") == []
    assert not missing.exists()
    assert offered(hyrun, f"hyrun --root {hyrun.root} rmi bu") == ["busybox"]


@pytest.mark.parametrize("content", ["file", "damaged"])
def test_strange_things_in_the_store_do_no_harm(hyrun: Hyrun, content: str) -> None:
    if content == "file":
        (hyrun.root / "names" / "odd").write_text("")
    else:
        (hyrun.root / "tags" / "%zz bad").write_text("")
        os.symlink("not base64!", hyrun.root / "names" / "odd")
    assert offered(hyrun, "hyrun stop o") == []
    assert offered(hyrun, "hyrun rmi bu") == ["busybox"]


def test_run_and_create_offer_images_and_then_nothing(hyrun: Hyrun) -> None:
    hyrun("volume", "create", "data")
    for command in ("run", "create", "container run"):
        assert offered(hyrun, f"hyrun {command} ") == ["busybox", "entry", "filled", "host"]
        assert offered(hyrun, f"hyrun {command} --rm -e A=b bu") == ["busybox"]
        assert offered(hyrun, f"hyrun {command} ho") == ["host"]
        assert offered(hyrun, f"hyrun {command} busybox ") == []
        assert offered(hyrun, f"hyrun {command} busybox sh bu") == []
        assert offered(hyrun, f"hyrun {command} --rootfs /dir bu") == []
        assert offered(hyrun, f"hyrun {command} -v da") == ["data"]


def test_exec_offers_what_runs_and_then_nothing(hyrun: Hyrun) -> None:
    hyrun("create", "--name", "made", "busybox")
    hyrun.sleeper("--name", "here")
    assert offered(hyrun, "hyrun exec ") == ["here"]
    assert offered(hyrun, "hyrun exec -t h") == ["here"]
    assert offered(hyrun, "hyrun exec here h") == []


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        (("start", "restart", "wait", "rm", "logs", "commit", "diff", "export", "port", "rename"), ["here", "made"]),
        (("stop", "kill", "attach", "top", "stats", "pause", "unpause"), ["here"]),
        (("save", "history", "tag", "rmi", "push", "images", "image diff"), ["busybox", "entry", "filled"]),
        (("volume rm", "volume inspect"), ["data"]),
    ],
)
def test_every_command_offers_what_it_takes(hyrun: Hyrun, commands: tuple[str, ...], expected: list[str]) -> None:
    hyrun("create", "--name", "made", "busybox")
    hyrun("volume", "create", "data")
    hyrun.sleeper("--name", "here")
    assert {command: offered(hyrun, f"hyrun {command} ") for command in commands} == dict.fromkeys(commands, expected)
    assert offered(hyrun, "hyrun cp ") == []
    assert offered(hyrun, "hyrun cp ma") == ["made:"]
    assert offered(hyrun, "hyrun cp made:/file he") == ["here:"]
