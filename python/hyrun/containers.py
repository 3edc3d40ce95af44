"""Containers on disk: planned, made, started, finished.

``<root>/containers/<id>/`` holds ``config.json``, the writable layer (``upper``, ``work``) and, once it is known,
``exit.json``. What an owner that died left undone is mended by `container_list.settle`, never by `run`, which looks at
nothing but its own.
"""

from __future__ import annotations

import os
import time

from . import _core, container_directory, container_state, events, images, names, records, spec
from .errors import ImageNotFound, InvalidArgument, NotFound
from .store import Store, new_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .container_mounts import Mounts
    from .images import Image
    from .options import Options
    from .users import Identity


class Container:
    """A container that this process owns: planned, made, started, and ended by ``finish`` or ``remove``."""

    __slots__ = (
        "_descriptor",
        "_image",
        "_layers",
        "_mounts",
        "_options",
        "_started",
        "config",
        "directory",
        "id",
        "name",
        "spec",
        "store",
    )

    def __init__(self, store: Store, options: Options, image: Image, layers: list[str]) -> None:
        self.store = store
        self.id = new_id()
        self.name = ""
        self.directory = store.path("containers", self.id)
        self.config: dict[str, Any] = {}
        self.spec: _core.Spec
        self._options = options
        self._image = image
        self._layers = layers
        self._mounts: Mounts | None = None
        self._descriptor = -1
        self._started = 0

    @property
    def lock(self) -> int:
        """The descriptor that holds the container's lock."""
        return self._descriptor

    def start(self) -> _core.Process:
        """Spawn it and write down who it is. On an error nothing of the container is left."""
        process = None
        try:
            process = _core.spawn(self.spec)
            self._started = time.time_ns()
            container_state.write_state(self.store, self.id, process.pid, self._started)
            self._emit("start")
            self._forget_mark()
        except BaseException:
            if process is not None:
                process.kill(9)
                process.wait()
            self.abandon()
            raise
        return process

    def _forget_mark(self) -> None:
        """Remove what overlayfs leaves so that a volatile mount is not mounted twice: this one never is.

        Now, while the application starts, and not when somebody waits for the end: ext4 takes its time for each.
        """
        if self.spec.rootfs.volatile:
            try:
                _core.remove_tree(f"{self.directory}/work/work/incompat")
            except FileNotFoundError:
                pass  # Linux before 5.10

    def finish(self, status: int | None) -> None:
        """Write down how it ended (None: not known), or remove it when it was made with --rm; let go of it."""
        code = 255 if status is None else status if status >= 0 else 128 - status
        self._emit("die", exitCode=str(code))
        if self._options.remove:
            self.remove()
            self._emit("destroy")
            return
        container_state.write_exit(self.directory, status, self._started)
        _unlink(container_state.state_path(self.store, self.id))
        self.release()

    def _emit(self, action: str, **attributes: str) -> None:
        config = self.config
        events.emit(self.store, action, self.id, self.name, config["ImageName"], config["Labels"], **attributes)

    def remove(self) -> None:
        """Remove it with its anonymous volumes; named ones stay."""
        anonymous = [] if self._mounts is None else self._mounts.anonymous
        container_directory.discard(self.store, self.id, self.name, anonymous)
        self.release()

    def abandon(self) -> None:
        """Remove it as if it had never been: host directories and named volumes that it brought about go too."""
        self.remove()
        if self._mounts is not None:
            self._mounts.undo()

    def release(self) -> None:
        """Let go of it as it is: nobody owns it then, or its monitor does."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _make(self) -> None:
        """Make what the plan says, in this order: directory, name, record, and then what the record refers to."""
        self._descriptor = container_directory.make_locked(self.directory)
        # Only with the lock: a name whose container has no owner is free for the next one.
        self.name = container_directory.claim_name(self.store, self._options.name, self.id)
        container_directory.make_upper(f"{self.directory}/upper", self._layers[0])
        os.mkdir(f"{self.directory}/work", 0o700)
        self.config = _config(self, self._options, self._image)
        # Whoever removes a volume or an image looks for records afterwards: one of the two sees the other.
        # New, and read by nobody who does not hold the lock or has not looked for the whole of it: no rename.
        records.create(f"{self.directory}/config.json", self.config)
        if self._options.rootfs is None and not self._image.present(self.store):
            raise NotFound(f"image {self._options.image} was removed just now: load it again")
        if self._mounts is not None:
            self._mounts.make(self._layers)
        self._emit("create")


def plan(store: Store, options: Options, *, stdio: tuple[int, int, int] = (0, 1, 2)) -> Container:
    """Return a container with its Spec; nothing on the disk has changed but what a pull brings. Raises a HyrunError."""
    spec.check(options)
    image = _image(store, options)
    if options.rootfs is None:
        lowerdirs, own = image.lowerdirs(store), image.own_layers(store)
    else:
        own = [_rootfs(options.rootfs)]
        lowerdirs = [*own, *store.mount_points(own[0])]
    if options.name is not None:
        options.name = names.check(options.name)
    container = Container(store, options, image, own)
    mounts: list[_core.Bind | _core.Tmpfs] = []
    if options.volumes or options.mounts or options.tmpfs or image.config.get("Volumes"):
        from .container_mounts import Mounts

        container._mounts = Mounts(store, options, image)
        mounts = container._mounts.planned()
    user = options.user if options.user is not None else image.config.get("User", "")
    container.spec = spec.build(
        options,
        image,
        identifier=container.id,
        lowerdirs=lowerdirs,
        directory=container.directory,
        mounts=mounts,
        identity=identity_of(user, own, image.id),
        hidden=spec.host_paths(image, options.rootfs, store.root, store.run),
        stdio=stdio,
    )
    return container


def create(store: Store, options: Options, *, stdio: tuple[int, int, int] = (0, 1, 2)) -> Container:
    """Make a container: name, directory, record and volumes; nothing runs yet.

    Raises a HyrunError, and leaves nothing behind then.
    """
    container = plan(store, options, stdio=stdio)
    try:
        container._make()
    except BaseException:
        container.abandon()
        raise
    return container


def _image(store: Store, options: Options) -> Image:
    if options.rootfs is not None:
        return images.Image("", [], images.host_config())
    if options.pull != "always" and options.platform is None:
        try:
            return images.lookup(store, options.image)
        except ImageNotFound:
            if options.pull == "never":
                raise
    from .progress import progress
    from .registry.pulling import ensure

    with progress(quiet=options.quiet) as shown:
        ensure(store, options.image, options.pull, options.platform, shown)
    return images.lookup(store, options.image)


def _rootfs(path: str) -> str:
    path = os.path.abspath(path)
    if not os.path.isdir(path):
        raise InvalidArgument(f"--rootfs {path}: no such directory")
    return path


_identities: dict[tuple[str, str], Identity] = {}


def identity_of(user: str, layers: list[str], image: str = "") -> Identity:
    """Return who ``user`` is by the accounts in the layers; remembered for an image by its id, which says all."""
    known = _identities.get((image, user))
    if known is not None:
        return known
    from .users import read_accounts, resolve

    try:
        root = _core.open_root(layers)
    except FileNotFoundError as error:
        raise container_directory.missing_layer(error.filename) from None
    try:
        passwd, group = read_accounts(root)
    finally:
        os.close(root)
    identity = resolve(user, passwd=passwd, group=group)
    if image.startswith("sha256:") and len(_identities) < 1000:
        _identities[image, user] = identity
    return identity


def _config(container: Container, options: Options, image: Image) -> dict[str, Any]:
    """Return the record: docker's names for what `inspect` will show, and what the other commands need."""
    record = {
        "Id": container.id,
        "Name": container.name,
        "Created": time.time_ns(),
        "Image": image.id,
        "ImageName": options.image or f"rootfs:{options.rootfs}",
        "Layers": container.spec.rootfs.lowerdirs,
        "Argv": container.spec.argv,
        "Entrypoint": [options.entrypoint] if options.entrypoint else image.config.get("Entrypoint"),
        "Cmd": options.args or image.config.get("Cmd"),
        "Env": [*(image.config.get("Env") or ()), *options.env],
        "WorkingDir": container.spec.cwd,
        "User": options.user if options.user is not None else image.config.get("User", ""),
        "Hostname": container.spec.hostname,
        "Labels": {**(image.config.get("Labels") or {}), **options.labels},
        "StopSignal": image.config.get("StopSignal"),
        "ExposedPorts": image.config.get("ExposedPorts"),
        "NetworkMode": options.network,
        "ReadonlyRootfs": options.read_only,
        "AutoRemove": options.remove,
        "OpenStdin": options.interactive,
    }
    if container._mounts is not None:
        record |= container._mounts.record()
    if options.cidfile:
        record["ContainerIDFile"] = options.cidfile
    keeping = options.keeping
    if keeping is not None:
        from .startspec import pack

        record |= {
            "Root": container.store.root,
            "Start": pack(container.spec),
            "Tty": keeping.tty,
            "StdinOnce": keeping.stdin_once,
            "AttachStdout": keeping.attached,
            "AttachStderr": keeping.attached,
            "Init": options.init,
            "RestartPolicy": {"Name": keeping.restart[0], "MaximumRetryCount": keeping.restart[1]},
            "StopTimeout": keeping.stop_timeout,
            "LogConfig": {"max-size": keeping.log_size, "max-file": keeping.log_files},
        }
        if keeping.stop_signal is not None:
            record["StopSignal"] = keeping.stop_signal
    return record


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
