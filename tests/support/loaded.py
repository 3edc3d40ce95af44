"""Two images that share a layer, in a store."""

import json
import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from hyrun.archives.loading import load
from hyrun.cli.images import register
from hyrun.store import Store
from support.images import docker_archive, tar_bytes

BASE = tar_bytes([("base", b"")])
TOP = tar_bytes([("top", b"")])
OTHER = tar_bytes([("other", b"")])


@pytest.fixture
def loaded(store: Store, tmp_path: Path) -> dict[str, str]:
    """Two images that share a layer: ids by name."""
    ids = {
        "one:1": docker_archive(tmp_path / "1.tar", [BASE, TOP], {"Labels": {"a": "b"}}, ["one:1"]),
        "two:latest": docker_archive(tmp_path / "2.tar", [BASE, OTHER], {"Cmd": ["ls"]}, ["two"]),
    }
    load(store, str(tmp_path / "1.tar"))
    load(store, str(tmp_path / "2.tar"))
    return ids


def layers(store: Store) -> set[str]:
    return {f"sha256:{name}" for name in os.listdir(store.path("layers"))}


def container(store: Store, image: str, name: str = "web") -> None:
    directory = Path(store.path("containers", "c" * 64))
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"Image": image, "Name": name}))


def run_command(*arguments: str, data: bytes | None = None) -> Result:
    """Run a command of images in this process."""
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, arguments, input=data)
