"""What killed commands left and nobody refers to: it costs room and nothing else. And the store's own directories."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from fcntl import LOCK_EX, LOCK_NB, flock
from functools import partial

from hyrun import garbage
from hyrun.layers import DAMAGED
from hyrun.locks import lock
from hyrun.registry.partial import MAX_AGE, interrupted, remove_old
from hyrun.staging import Trash, sweep
from hyrun.store import SKELETON_DIRECTORIES, SKELETON_FILES, Store
from hyrun.units import size as show_size

from .finding import Finding

#: Directories of the store that hold files and nothing else, and what those are.
_OF_FILES = {"images": "image", "tags": "tag", "blobs/sha256": "blob", "partial": "download", "locks": "lock"}


def find(store: Store) -> Iterator[Finding]:
    """Yield garbage; nobody may be publishing now."""
    marked = garbage.mark(store)
    for directory in ("images", "tags", "blobs/sha256"):
        for name in sorted(store.files(directory)):
            if name.startswith("."):
                yield _orphan("file-unfinished", f"{directory}/{name}", "was never finished")
    yield from _foreign(store)
    if marked is not None:
        layers, blobs = marked
        for name in sorted(set(os.listdir(store.path("layers"))) - layers):
            yield _orphan("layer-orphan", name, "no image and no container refers to it")
        for name in sorted(set(store.files("blobs/sha256")) - blobs):
            if not name.startswith("."):
                yield _orphan("blob-orphan", name, "no image refers to it")
    if os.path.isdir(store.path(DAMAGED)):
        for name in sorted(os.listdir(store.path(DAMAGED))):
            yield _orphan("layer-aside", name, "was set aside because it is damaged")
    yield from _staging(store)
    yield from _locks(store)
    yield from _downloads(store)


def _foreign(store: Store) -> Iterator[Finding]:
    """Yield what hyrun did not make: nothing reads it, and nothing removes it."""
    for directory, kind in _OF_FILES.items():
        if not os.path.isdir(store.path(directory)):
            continue
        files = set(store.files(directory))
        for name in sorted(os.listdir(store.path(directory))):
            is_record = directory != "images" or name.endswith(".json") or name.startswith(".")
            if name not in files or not is_record:
                problem = "is no record" if directory == "images" else "is no file"
                advice = f"look at {store.path(directory, name)}"
                yield Finding(f"{kind}-foreign", name, problem, harmless=True, advice=advice)


def find_structure(store: Store) -> Iterator[Finding]:
    """Yield what is wrong with the directories of the store itself."""
    for name in store.make_directories():
        finding = Finding("store-directory", store.path(name), "was missing, and what was in it is gone")
        # Without it nothing works, the check neither.
        finding.done = "made again, empty"
        yield finding
    mode = stat.S_IMODE(os.stat(store.root).st_mode)
    if mode & 0o077:
        yield Finding(
            "store-mode",
            store.root,
            f"has mode {mode:o}: others can run the setuid files of images",
            mend=partial(_close, store),
        )
    if not _skeleton_is_whole(store):
        yield Finding(
            "store-skeleton",
            store.skeleton,
            "is not as it was made: mount points of containers come from there",
            mend=lambda: _mend_skeleton(store),
        )


def collect(store: Store) -> None:
    """Remove everything that ``find`` finds; hold the locks of images alone."""
    sweep(store)
    with Trash(store) as trash:
        garbage.move_away(store, trash.take)
    for name in os.listdir(store.path("locks")):
        _remove_lock(store, name)
    remove_old(store)


def _orphan(kind: str, name: str, problem: str) -> Finding:
    # Removed all together, by `collect`.
    return Finding(kind, name, problem, harmless=True)


def _staging(store: Store) -> Iterator[Finding]:
    for name in sorted(os.listdir(store.path("tmp"))):
        try:
            descriptor = os.open(store.path("tmp", name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            continue  # somebody is at work
        finally:
            os.close(descriptor)
        yield _orphan("staging-stale", name, "its owner was killed")


def _locks(store: Store) -> Iterator[Finding]:
    layers = set(os.listdir(store.path("layers")))
    for name in sorted(os.listdir(store.path("locks"))):
        if _is_stale(store, name, layers):
            yield _orphan("lock-stale", name, "what it locked is gone")


def _downloads(store: Store) -> Iterator[Finding]:
    for name, size, age in interrupted(store):
        problem = f"{show_size(size)} of it were downloaded, and then the pull was interrupted"
        if age >= MAX_AGE:
            yield _orphan("download-stale", f"sha256:{name}", problem)
        else:
            advice = "pull the image again, which goes on with it, or hyrun system prune"
            yield Finding("download-interrupted", f"sha256:{name}", problem, harmless=True, advice=advice)


def _is_stale(store: Store, name: str, layers: set[str]) -> bool:
    kind, _, locked = name.partition("-")
    if kind == "layer":
        return locked not in layers
    return kind == "name" and not os.path.lexists(store.path("names", locked))


def _remove_lock(store: Store, name: str) -> None:
    kind, _, locked = name.partition("-")
    if not _is_stale(store, name, set(os.listdir(store.path("layers")))):
        return
    try:
        with lock(store, kind, locked, wait=False):
            garbage.unlink_missing_ok(store.path("locks", name))
    except BlockingIOError:
        pass


def _close(store: Store) -> str:
    os.chmod(store.root, 0o700)
    return "mode 700 set"


def _skeleton_is_whole(store: Store) -> bool:
    for directory in ("", *SKELETON_DIRECTORIES):
        prefix = f"{directory}/" if directory else ""
        names = {
            path[len(prefix) :]
            for path in (*SKELETON_DIRECTORIES, *SKELETON_FILES)
            if path.startswith(prefix) and "/" not in path[len(prefix) :]
        }
        path = os.path.join(store.skeleton, directory)
        try:
            if set(os.listdir(path)) != names or stat.S_IMODE(os.lstat(path).st_mode) != 0o755:
                return False
        except OSError:
            return False
    for file in SKELETON_FILES:
        status = os.lstat(os.path.join(store.skeleton, file))
        if not stat.S_ISREG(status.st_mode) or status.st_size or stat.S_IMODE(status.st_mode) != 0o644:
            return False
    return True


def _mend_skeleton(store: Store) -> str | None:
    if _skeleton_is_whole(store):
        return None
    if os.path.lexists(store.skeleton):
        # By rename: running containers have it mounted.
        os.makedirs(store.path(DAMAGED), mode=0o700, exist_ok=True)
        os.rename(store.skeleton, store.path(DAMAGED, f"skeleton.{os.urandom(6).hex()}"))
    store.make_skeleton()
    return "made again"
