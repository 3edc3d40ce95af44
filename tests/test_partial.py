"""Interrupted downloads: who may take them away, and when."""

import os
from fcntl import LOCK_EX, flock

import pytest

from hyrun.claims import claim
from hyrun.registry.partial import MAX_AGE, interrupted, prune, remove_old
from hyrun.staging import staging
from hyrun.store import Store

NAME = "a" * 64


@pytest.fixture
def path(store: Store) -> str:
    """A download of 5 bytes that nobody goes on with."""
    found = store.path("partial", NAME)
    os.mkdir(os.path.dirname(found))
    with open(found, "wb") as file:
        file.write(b"12345")
    return found


def test_prune_takes_what_nobody_goes_on_with(store: Store, path: str) -> None:
    assert [(name, size) for name, size, _ in interrupted(store)] == [(NAME, 5)]
    assert remove_old(store) == 0
    assert prune(store, lambda age: age > 1000) == 0
    assert os.path.exists(path)
    assert prune(store) == 5
    assert not os.path.exists(path)
    assert list(interrupted(store)) == []
    assert prune(store) == 0


def test_one_that_is_going_on_stays(store: Store, path: str) -> None:
    os.utime(path, (0, 0))
    descriptor = os.open(path, os.O_RDWR)
    try:
        flock(descriptor, LOCK_EX)
        assert list(interrupted(store)) == []
        assert (prune(store), remove_old(store)) == (0, 0)
        assert os.path.exists(path)
    finally:
        os.close(descriptor)
    ((_, _, age),) = interrupted(store)
    assert age > MAX_AGE
    assert remove_old(store) == 5


def test_all_stay_while_somebody_pulls(store: Store, path: str) -> None:
    with staging(store) as directory:
        claim(directory, ["b" * 64])
        assert list(interrupted(store)) == []
        assert prune(store) == 0
        assert os.path.exists(path)
    assert prune(store) == 5


def test_a_store_that_never_pulled_has_none(store: Store) -> None:
    assert list(interrupted(store)) == []
    assert (prune(store), remove_old(store)) == (0, 0)
