"""`hyrun import`: one layer and a new configuration from the tar of a root file system."""

import json
import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime, timezone

from hyrun import _core, events
from hyrun.changes import apply
from hyrun.errors import InvalidArgument, NotSupported
from hyrun.image_store import new_reference, publish, publishing, sweep_now, tag
from hyrun.layers import add
from hyrun.platforms import machine
from hyrun.progress import Progress
from hyrun.staging import staging
from hyrun.store import Store

from .opening import is_seekable, open_input, plain


def import_rootfs(
    store: Store,
    source: str,
    reference: str | None,
    *,
    changes: Sequence[str] = (),
    message: str | None = None,
    progress: Progress | None = None,
) -> str:
    """Make an image of the tar of a root file system, or of standard input (``-``); return its id.

    Plain, gzip and zstd are read as streams, xz and bzip2 from files only.

    ``changes`` are Dockerfile instructions as `docker import --change` takes them. The source is the one part of
    ``progress``. Raises InvalidArgument,
    NotFound, NotSupported (a URL) and StorageError.
    """
    if source.startswith(("http://", "https://")):
        raise NotSupported(f"import {source}: no download here: curl -fL {source} | hyrun import -")
    shown = progress or Progress()
    config = apply({}, changes)
    name = None if reference is None else new_reference(reference)
    sweep_now(store)
    with ExitStack() as stack:
        with publishing(store):
            directory = stack.enter_context(staging(store))
        fd = open_input(source)
        stack.callback(lambda: os.close(fd))
        if is_seekable(fd):
            fd = plain(fd, directory, shown)
            os.lseek(fd, 0, os.SEEK_SET)
        try:
            with publishing(store):
                # As a stream, from where the descriptor stands: a pipe is as good as a file.
                meter = _core.Meter()
                name_shown = "stdin" if source == "-" else os.path.basename(source)
                shown.item(name_shown, "Importing", _left(fd))
                shown.follow(name_shown, meter)
                layer = add(store, fd, meter=meter)
                created = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                document: dict[str, object] = {
                    "architecture": machine(),
                    "config": config,
                    "created": created,
                    "history": [{"created": created, "comment": message or f"Imported from {source}"}],
                    "os": "linux",
                    "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.diff_id}"]},
                }
                image_id = publish(store, encode(document), [layer])
                if name is not None:
                    tag(store, name, image_id)
                    events.of_image(store, "tag", image_id, name.familiar(), config.get("Labels"))
                events.of_image(
                    store, "import", image_id, image_id if name is None else name.familiar(), config.get("Labels")
                )
                return image_id
        except BaseException:
            sweep_now(store)
            raise


def _left(fd: int) -> int | None:
    """Return the bytes from where a descriptor stands to the end; None for what is no file."""
    status = os.fstat(fd)
    return status.st_size - os.lseek(fd, 0, os.SEEK_CUR) if stat.S_ISREG(status.st_mode) else None


def encode(document: dict[str, object]) -> bytes:
    """Return a new image configuration as bytes, whose digest is the image's id."""
    try:
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidArgument("a change or a message is not UTF-8: it cannot stand in an image") from None
