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
