"""Where a control group is made: read from what the kernel says of mounts and of a process."""

import os

import pytest

from hyrun import cgroups
from hyrun.errors import NotSupported

V2 = "30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V2_BESIDE = "31 20 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
FREEZER = "32 20 0:28 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer"
CPU = "33 20 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"
BELOW = "34 20 0:26 /slice/box /sys/fs/cgroup rw - cgroup2 cgroup2 rw"
ODD = r"35 20 0:26 / /mnt/with\040space rw shared:1 - cgroup2 cgroup2 rw"


@pytest.mark.parametrize(
    ("mounts", "lines", "home", "expected"),
    [
        (
            [V2],
            ["0::/user.slice/s"],
            "/sys/fs/cgroup/user.slice/s",
            ["/sys/fs/cgroup/user.slice/s/x", "/sys/fs/cgroup/x"],
        ),
        ([V2], ["0::/"], "/sys/fs/cgroup", ["/sys/fs/cgroup/x"]),
        # Outside of the namespace, or of what is mounted: only the top has a name.
        ([V2], ["0::/../other"], "/sys/fs/cgroup", ["/sys/fs/cgroup/x"]),
        ([BELOW], ["0::/slice/other"], "/sys/fs/cgroup", ["/sys/fs/cgroup/x"]),
        ([BELOW], ["0::/slice/boxes"], "/sys/fs/cgroup", ["/sys/fs/cgroup/x"]),
        ([BELOW], ["0::/slice/box/a"], "/sys/fs/cgroup/a", ["/sys/fs/cgroup/a/x", "/sys/fs/cgroup/x"]),
        ([ODD], ["0::/a"], "/mnt/with space/a", ["/mnt/with space/a/x", "/mnt/with space/x"]),
        # v2 is preferred, v1 will do.
        ([FREEZER, CPU, V2_BESIDE], ["6:freezer:/f", "0::/"], "/sys/fs/cgroup/unified", ["/sys/fs/cgroup/unified/x"]),
        (
            [CPU, FREEZER],
            ["1:cpu:/c", "6:freezer:/f"],
            "/sys/fs/cgroup/freezer/f",
            ["/sys/fs/cgroup/freezer/f/x", "/sys/fs/cgroup/freezer/x"],
        ),
    ],
)
def test_places(
    monkeypatch: pytest.MonkeyPatch, mounts: list[str], lines: list[str], home: str, expected: list[str]
) -> None:
    texts = {"/proc/7/cgroup": "\n".join(lines), "/proc/self/mountinfo": "\n".join(mounts) + "\n"}
    monkeypatch.setattr(cgroups, "_read", texts.__getitem__)
    monkeypatch.setattr(os.path, "isdir", lambda path: True)
    found, freezers = cgroups.places(7, "x")
    assert (found, [freezer.directory for freezer in freezers]) == (home, expected)


def test_a_group_that_is_gone_is_replaced_by_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"/proc/7/cgroup": "0::/gone (deleted)", "/proc/self/mountinfo": V2}
    monkeypatch.setattr(cgroups, "_read", texts.__getitem__)
    assert cgroups.places(7, "x")[0] == "/sys/fs/cgroup"


def test_without_any_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"/proc/7/cgroup": "1:cpu:/", "/proc/self/mountinfo": CPU}
    monkeypatch.setattr(cgroups, "_read", texts.__getitem__)
    with pytest.raises(NotSupported, match="mount cgroup2"):
        cgroups.places(7, "x")
