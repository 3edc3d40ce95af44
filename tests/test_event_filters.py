"""`events --filter`, by table."""

from typing import Any

import pytest

from hyrun import filters
from hyrun.event_filters import FILTERS, matches
from hyrun.event_log import Event

ID = "4f" * 32


def event(kind: str, action: str, id: str, **attributes: str) -> Event:
    found: dict[str, Any] = {"Type": kind, "Action": action, "scope": "local", "timeNano": 1}
    return Event(found | {"Actor": {"ID": id, "Attributes": attributes}})


STARTED = event("container", "start", ID, name="web", image="registry.test:5000/tools/app:1", job="ci", empty="")
EXEC = event("container", "exec_create: sh -c x", ID, name="web", image="busybox")
PULLED = event("image", "pull", "busybox:1", name="busybox:1")
MOUNTED = event("volume", "mount", "data", driver="local", container=ID)


@pytest.mark.parametrize(
    ("found", "texts", "expected"),
    [
        (STARTED, [], True),
        (STARTED, ["event=start"], True),
        (STARTED, ["event=die"], False),
        (STARTED, ["event=die", "event=start"], True),
        (STARTED, ["event=start", "type=image"], False),
        (STARTED, ["type=container"], True),
        (STARTED, ["scope=local"], True),
        (STARTED, ["scope=swarm"], False),
        (STARTED, [f"container={ID}"], True),
        (STARTED, ["container=4f4f"], True),
        (STARTED, ["container=web"], True),
        (STARTED, ["container=we"], True),
        (STARTED, ["container=eb"], False),
        (STARTED, ["image=registry.test:5000/tools/app:1"], True),
        (STARTED, ["image=registry.test:5000/tools/app"], True),
        (STARTED, ["image=app"], False),
        (STARTED, ["label=job"], True),
        (STARTED, ["label=job=ci"], True),
        (STARTED, ["label=job=x"], False),
        (STARTED, ["label=job", "label=nosuch"], False),
        (STARTED, ["label=empty"], True),
        (STARTED, ["volume=data"], False),
        (EXEC, ["event=exec_create"], True),
        (EXEC, ["event=exec_create: sh -c x"], True),
        (EXEC, ["event=exec_start"], False),
        (EXEC, ["image=busybox"], True),
        (PULLED, ["image=busybox"], True),
        (PULLED, ["image=busybox:1"], True),
        (PULLED, ["image=busybox:2"], False),
        (PULLED, ["container=busybox"], False),
        (MOUNTED, ["volume=data"], True),
        (MOUNTED, ["volume=da"], True),
        (MOUNTED, [f"container={ID}"], False),
    ],
)
def test_filters(found: Event, texts: list[str], expected: bool) -> None:
    assert matches(found, filters.parse(texts, FILTERS)) is expected
