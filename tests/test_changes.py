"""`--change`: Dockerfile instructions for a configuration; and the platform of this machine."""

import pytest

from hyrun.changes import apply
from hyrun.errors import InvalidArgument
from hyrun.image_config import Config
from hyrun.platforms import machine, rank, runnable


@pytest.mark.parametrize(
    ("changes", "config"),
    [
        (['CMD ["a", "b c"]'], {"Cmd": ["a", "b c"]}),
        (["CMD a b"], {"Cmd": ["/bin/sh", "-c", "a b"]}),
        (['entrypoint ["x"]'], {"Entrypoint": ["x"]}),
        (["ENV A=1 B='two words'", "ENV A=3"], {"Env": ["A=3", "B=two words"]}),
        (["ENV A the rest of it"], {"Env": ["A=the rest of it"]}),
        (
            ["ENV A=1", "ENV B=$A-${A}-${C:-d}", "ENV C='$A' D=\\$A"],
            {"Env": ["A=1", "B=1-1-d", "C=$A", "D=$A"]},
        ),
        (
            ["EXPOSE 80 53/udp 90-91"],
            {"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "90/tcp": {}, "91/tcp": {}}},
        ),
        (['LABEL a=b "c d"="e f"'], {"Labels": {"a": "b", "c d": "e f"}}),
        (["STOPSIGNAL SIGINT"], {"StopSignal": "SIGINT"}),
        (["USER app:staff"], {"User": "app:staff"}),
        (["VOLUME /a /b", 'VOLUME ["/c d"]'], {"Volumes": {"/a": {}, "/b": {}, "/c d": {}}}),
        (["WORKDIR /a", "WORKDIR b/../c"], {"WorkingDir": "/a/c"}),
    ],
)
def test_changes(changes: list[str], config: Config) -> None:
    assert apply({}, changes) == config


@pytest.mark.parametrize(
    "change",
    [
        "",
        "CMD",
        "RUN ls",
        "ENV A",
        "ENV =x",
        "EXPOSE x",
        "EXPOSE 0",
        "EXPOSE 70000",
        "EXPOSE 9-8",
        "LABEL 'x",
        "USER a b",
        "CMD a\0b",
        'VOLUME [""]',
    ],
)
def test_changes_that_mean_nothing(change: str) -> None:
    with pytest.raises(InvalidArgument, match="change"):
        apply({}, [change])


def test_changes_leave_the_configuration_they_start_from_alone() -> None:
    start: Config = {"Env": ["A=1"], "Labels": {"a": "b"}, "Volumes": {"/a": {}}}
    apply(start, ["ENV B=2", "LABEL c=d", "VOLUME /b"])
    assert start == {"Env": ["A=1"], "Labels": {"a": "b"}, "Volumes": {"/a": {}}}


def test_the_platform_of_this_machine_is_the_best_one() -> None:
    assert rank("linux", machine(), "") == 0
    assert rank("", "", "") == 0
    assert rank("windows", machine(), "") is None
    assert rank("linux", "nonsense", "") is None
    for other in runnable()[1:]:
        assert (rank("linux", other, "") or 0) > (rank("linux", machine(), "v1") or 0)
