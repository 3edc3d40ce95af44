"""Fixtures for every test."""

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hyrun.cli import context
from hyrun.store import Store
from support.layers import Layers
from support.leaks import Snapshot, left_since
from support.rootfs import Box, unpack_rootfs

MUST_WORK = os.environ.get("HYRUN_MUST_WORK") == "1"
# Whoever starts the tests in the background of a script has SIGINT ignored, and so would everything that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """With HYRUN_MUST_WORK=1 a skip is a failure: it would hide that nothing was tested."""
    if MUST_WORK and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and HYRUN_MUST_WORK=1: {report.longrepr}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whoever asks for every point of the fault tests has the time for them."""
    if "HYRUN_FAULT_POINTS" in os.environ:
        for item in items:
            item.add_marker(pytest.mark.timeout(0), append=False)


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Say what a test has found, for the summary: how many points were tried, and that nothing was lost."""
    return partial(record_property, "told")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what passing tests have told."""
    lines = [
        f"{report.nodeid}: {text}"
        for report in terminalreporter.stats.get("passed", ())
        for name, text in report.user_properties
        if name == "told"
    ]
    if lines:
        terminalreporter.section("what was tried")
        for line in sorted(lines):
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def _leaks() -> Iterator[None]:
    """Every test leaves mounts, descriptors, children, namespaces, cgroups and /tmp as they were."""
    before = Snapshot.take()
    yield
    left = left_since(before)
    assert not left, "\n".join(left)


@pytest.fixture(scope="session")
def _no_hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration with which nobody asks docker.io for an image that is missing."""
    path = tmp_path_factory.mktemp("configuration") / "registries.toml"
    path.write_text('[registry."docker.io"]\nblocked = true\n')
    return path


@pytest.fixture(autouse=True)
def _no_default_store(tmp_path: Path, _no_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test meets the store of the person who runs it: children inherit these as well."""
    run = tmp_path / "hyrun-run"
    run.mkdir(mode=0o700)
    monkeypatch.setenv("HYRUN_ROOT", str(tmp_path / "hyrun-root"))
    monkeypatch.setenv("HYRUN_RUN", str(run))
    # Nor a registry that is not its own, nor the person's credentials.
    monkeypatch.setenv("HYRUN_CONFIG", str(_no_hub))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(_no_hub.parent / "config"))
    monkeypatch.setenv("DOCKER_CONFIG", str(_no_hub.parent / "docker"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(_no_hub.parent / "no-auth.json"))
    # No test pulls the plug; waiting for the disk would be most of their time.
    monkeypatch.setenv("HYRUN_SYNC", "off")
    # What a command that ran in this process was given is nothing to the next one.
    for name in ("root", "debug", "exit_with_cause"):
        monkeypatch.setattr(context.current, name, getattr(context.Context, name))


@pytest.fixture
def store(_no_default_store: None) -> Iterator[Store]:
    """A fresh store, and nothing of it left in staging at the end."""
    store = Store().prepare()
    yield store
    left = list(Path(store.path("tmp")).iterdir())
    assert not left, f"left in staging: {left}"


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system with a shell and the usual commands; never written."""
    if os.geteuid() != 0:
        pytest.skip("containers need root")
    return unpack_rootfs(tmp_path_factory.mktemp("rootfs"))


@pytest.fixture
def box(rootfs: Path, tmp_path: Path) -> Box:
    """Containers on that root file system."""
    return Box(rootfs, tmp_path)


@pytest.fixture(params=["one thread", "several"])
def layers(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Layers]:
    """Each test of a layer runs without threads, as for a small one, and with those that a large one has."""
    layers = Layers(tmp_path, request.param == "several")
    yield layers
    assert layers.outside() == layers.before
    assert {path.name for path in tmp_path.iterdir()} - {f"layer{n + 1}" for n in range(layers.count)} <= {
        "canary",
        "archive",
        "corpus",
        "gnu",
        "hyrun-run",
    }
