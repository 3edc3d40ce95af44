"""Records, configurations, manifests and tags."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from functools import partial
from typing import Any

from hyrun import layers
from hyrun.documents import parse_object
from hyrun.errors import HyrunError, InvalidArgument, NotFound, StorageError
from hyrun.garbage import unlink_missing_ok
from hyrun.image_config import Record, digest_hex, parse_config
from hyrun.image_store import make_record
from hyrun.image_users import users
from hyrun.images import full_name, read_record, read_tag, record_path, tag_path
from hyrun.references import parse
from hyrun.store import Store, write_atomic

from .blobs import damage_of_blob
from .finding import Finding

#: The member of a configuration that `commit` gives an image on top of a directory of this machine.
BASE = "dev.hyrun.base"
_NO_NAME = "is no name of an image"


class Images:
    """The images of a store while it is checked."""

    def __init__(self, store: Store) -> None:
        self.store = store
        #: Records that can be read, by id in hexadecimal.
        self.records: dict[str, Record] = {}
        #: Names by id in hexadecimal.
        self.names: dict[str, list[str]] = {}
        self._users = users(store)

    def shown(self, name: str) -> list[str]:
        """Return how a person calls an image: by its names, or by its id."""
        names = self.names.get(name, [])
        # Each with a digest stands beside a tag, unless there is none.
        return [each for each in names if "@" not in each] or names or [f"sha256:{name[:12]}"]

    def users_of(self, name: str) -> list[str]:
        """Return the names of the containers of an image."""
        return self._users.get(f"sha256:{name}", [])

    def find(self) -> Iterator[Finding]:
        """Yield what is wrong; ``records`` and ``names`` are complete at the end."""
        dangling = list(self._tags())
        yield from self._records()
        yield from self._without_record()
        for finding, image in dangling:
            if image is None or not os.path.exists(record_path(self.store, image)):
                yield finding
        for name, record in self.records.items():
            yield from self._blobs(name, record)

    def _tags(self) -> Iterator[tuple[Finding, str | None]]:
        """Yield the tags that may lead nowhere, with the image (hexadecimal) they are about."""
        for file in sorted(self.store.files("tags")):
            if file.startswith("."):
                continue
            full = full_name(file)
            image: str | None = None
            try:
                shown = parse(full).familiar()
                if tag_path(self.store, parse(full).full()) != self.store.path("tags", file):
                    raise InvalidArgument(full)
                image = read_tag(self.store, full)
                problem = f"means sha256:{(image or '')[:12]}, which is not here"
            except StorageError:
                problem = "is damaged"
            except InvalidArgument:
                shown, problem = file, _NO_NAME
            if image is not None:
                self.names.setdefault(image, []).append(shown)
            advice = "" if problem == _NO_NAME else f"hyrun pull {shown}, or hyrun load it again"
            mend = self._removal(self.store.path("tags", file), image)
            yield Finding("tag-dangling", shown, problem, mend=mend, advice=advice), image

    def _removal(self, path: str, image: str | None) -> Any:
        def remove() -> str | None:
            if not os.path.lexists(path):
                return None
            if image is not None and os.path.exists(record_path(self.store, image)):
                return None
            unlink_missing_ok(path)
            return "name removed"

        return remove

    def _records(self) -> Iterator[Finding]:
        for file in sorted(self.store.files("images")):
            name = file.removesuffix(".json")
            if file.startswith(".") or name == file:
                continue
            try:
                record = read_record(self.store, name)
            except NotFound:
                continue
            except StorageError:
                yield self._damaged(name, "its record cannot be read")
                continue
            rebuilt = self._rebuilt(name)
            if rebuilt is not None and not _agree(record, rebuilt):
                yield self._damaged(name, "its record is not what its configuration says")
            elif not _is_whole(record):
                yield self._damaged(name, "its record is incomplete")
            else:
                self.records[name] = record

    def _damaged(self, name: str, problem: str) -> Finding:
        finding = Finding(
            "image-record", f"sha256:{name}", problem, images=self.shown(name), containers=self.users_of(name)
        )
        if self._rebuilt(name) is None:
            finding.advice = _again(self.shown(name))
            finding.mend = lambda: self._drop(name)
        else:
            finding.mend = lambda: self._rebuild(name)
        return finding

    def _without_record(self) -> Iterator[Finding]:
        """Yield the images that a tag or a container means and that have no record."""
        wanted = {*self.names, *(text[7:] for text in self._users if text.startswith("sha256:"))}
        for name in sorted(wanted):
            if os.path.exists(record_path(self.store, name)):
                continue
            if self._rebuilt(name) is not None:
                yield Finding(
                    "image-missing",
                    f"sha256:{name}",
                    "its record is missing",
                    images=self.shown(name),
                    containers=self.users_of(name),
                    mend=partial(self._rebuild, name),
                )
            elif containers := self.users_of(name):
                yield Finding(
                    "image-missing",
                    f"sha256:{name}",
                    "its record is missing, and a container is made from it",
                    containers=containers,
                    advice=_again(self.names.get(name, [])),
                )

    def _rebuilt(self, name: str) -> Record | None:
        """Return the record that an image should have by its configuration; None when that is not here or damaged."""
        try:
            with open(self.store.path("blobs", "sha256", name), "rb") as file:
                data = file.read()
            if hashlib.sha256(data).hexdigest() != name:
                return None
            checked = parse_config(data)
            # Which directory of this machine is below it, only its record says: no archive may choose one.
            if BASE in parse_object(data, "image configuration"):
                return None
        except (OSError, HyrunError):
            return None
        diff_ids = checked["diff_ids"]
        if any(not layers.present(self.store, diff_id) for diff_id in set(diff_ids)) and not os.path.exists(
            record_path(self.store, name)
        ):
            return None
        topmost = list(dict.fromkeys(reversed(diff_ids)))
        size = sum(layers.find(self.store, diff_id).size for diff_id in diff_ids)
        return make_record(f"sha256:{name}", checked, topmost, size, None)

    def _rebuild(self, name: str) -> str | None:
        record = self._rebuilt(name)
        if record is None:
            return None
        record["digest"] = self._manifest_of(name)
        write_atomic(record_path(self.store, name), json.dumps(record).encode(), sync=layers.syncing())
        self.records[name] = record
        return "record made again from the configuration"

    def _drop(self, name: str) -> str | None:
        unlink_missing_ok(record_path(self.store, name))
        for shown in self.names.get(name, []):
            unlink_missing_ok(tag_path(self.store, parse(shown).full()))
        return "record and names removed"

    def _manifest_of(self, name: str) -> str | None:
        """Return the digest of the manifest whose configuration that is."""
        directory = self.store.path("blobs", "sha256")
        for blob in sorted(self.store.files("blobs/sha256")):
            try:
                with open(os.path.join(directory, blob), "rb") as file:
                    data = file.read(4 << 20)
                if data[:1] != b"{" or json.loads(data)["config"]["digest"] != f"sha256:{name}":
                    continue
                if hashlib.sha256(data).hexdigest() == blob:
                    return f"sha256:{blob}"
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return None

    def _blobs(self, name: str, record: Record) -> Iterator[Finding]:
        for what, digest in (("configuration", record["id"]), ("manifest", record["digest"])):
            if digest is None:
                continue
            path = self.store.path("blobs", "sha256", digest[7:])
            problem = damage_of_blob(path, digest[7:])
            if problem is None:
                continue
            yield Finding(
                "blob-missing" if problem == "missing" else "blob-damaged",
                digest,
                f"the {what} is {problem}",
                images=self.shown(name),
                containers=self.users_of(name),
                mend=None if problem == "missing" else _removed_if_damaged(path, digest[7:]),
                advice=_again(self.shown(name)),
            )


def _removed_if_damaged(path: str, name: str) -> Any:
    def remove() -> str | None:
        if damage_of_blob(path, name) in (None, "missing"):
            return None
        unlink_missing_ok(path)
        return "damaged file removed"

    return remove


def _agree(record: Record, rebuilt: Record) -> bool:
    """Tell whether a record says what the configuration says; size and digest are not in there."""
    return all(record.get(key) == value for key, value in rebuilt.items() if key not in ("size", "digest"))


def _is_whole(record: Record) -> bool:
    """Tell whether a record whose configuration nobody can ask has at least the right shape."""
    try:
        for layer in record["layers"]:
            digest_hex(f"sha256:{layer}", "layer")
        return isinstance(record["config"], dict) and isinstance(record["size"], int) and "digest" in record
    except (StorageError, KeyError, TypeError):
        return False


def _again(names: list[str]) -> str:
    shown = names[0] if names and not names[0].startswith("sha256:") else "IMAGE"
    return f"hyrun load -i ARCHIVE, or hyrun pull {shown}"
