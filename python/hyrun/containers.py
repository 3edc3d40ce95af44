"""Containers on disk: made, started, finished, removed.

``<root>/containers/<id>/`` holds ``config.json``, the writable layer (``upper``, ``work``) and, once it is known,
``exit.json``. ``<root>/names/<name>`` is a symlink to the id: making it is the claim. Whoever runs a container holds
the ``flock`` of its directory, so a free lock says that nobody does, whatever the files say: the kernel drops it with
the process. What such an owner left undone is mended by `containers_list.settle`, never by `run`, which looks at
nothing but its own.
"""

from __future__ import annotations

import binascii
import os
import time
from fcntl import LOCK_EX, LOCK_NB, flock

from . import _core, events, images, names, records, spec, volumes, volumespec
from .errors import Conflict, HyrunError, ImageNotFound, InUse, InvalidArgument, NotFound, StorageError
from .store import Store, new_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .images import Image
    from .options import Options
    from .users import Identity
    from .volumespec import Mount


class Container:
    """A container that this process owns: planned, made, started, and ended by ``finish`` or ``remove``."""

    __slots__ = (
        "_anonymous",
        "_descriptor",
        "_directories",
        "_image",
        "_layers",
        "_mounts",
        "_options",
        "_started",
        "_volumes",
        "config",
        "directory",
        "id",
        "name",
        "spec",
        "store",
    )

    def __init__(self, store: Store, options: Options, image: Image, mounts: list[Mount], layers: list[str]) -> None:
        self.store = store
        self.id = new_id()
        self.name = ""
        self.directory = store.path("containers", self.id)
        self.config: dict[str, Any] = {}
        self.spec: _core.Spec
        self._options = options
        self._image = image
        self._layers = layers
        self._mounts = mounts
        self._anonymous: list[str] = []
        self._descriptor = -1
        self._started = 0
        # What was made on the way and goes again if the container does not come to be.
        self._directories: list[str] = []
        self._volumes: list[str] = []

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
            write_state(self.store, self.id, process.pid, self._started)
            self._emit("start")
        except BaseException:
            if process is not None:
                process.kill(9)
                process.wait()
            self.abandon()
            raise
        return process

    def finish(self, status: int | None) -> None:
        """Write down how it ended (None: not known), or remove it when it was made with --rm; let go of it."""
        code = 255 if status is None else status if status >= 0 else 128 - status
        self._emit("die", exitCode=str(code))
        if self._options.remove:
            self.remove()
            self._emit("destroy")
            return
        write_exit(self.directory, status, self._started)
        _unlink(state_path(self.store, self.id))
        self.release()

    def _emit(self, action: str, **attributes: str) -> None:
        config = self.config
        events.emit(self.store, action, self.id, self.name, config["ImageName"], config["Labels"], **attributes)

    def remove(self) -> None:
        """Remove it with its anonymous volumes; named ones stay."""
        discard(self.store, self.id, self.name, self._anonymous)
        self.release()

    def abandon(self) -> None:
        """Remove it as if it had never been: host directories and named volumes that it brought about go too."""
        self.remove()
        for directory in reversed(self._directories):
            try:
                os.rmdir(directory)
            except OSError:
                break
        for name in self._volumes:
            try:
                # Only without content: another container may have used it meanwhile, and written to it.
                volumes.remove(self.store, name, only_empty=True)
            except HyrunError:
                pass

    def release(self) -> None:
        """Let go of it as it is: nobody owns it then, or its monitor does."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _make(self) -> None:
        """Make what the plan says, in this order: directory, name, record, and then what the record refers to."""
        self._descriptor = _make_locked(self.directory)
        # Only with the lock: a name whose container has no owner is free for the next one.
        self.name = _claim(self.store, self._options.name, self.id)
        _make_upper(f"{self.directory}/upper", self._layers[0])
        os.mkdir(f"{self.directory}/work", 0o700)
        self.config = _config(self, self._options, self._image, self._mounts)
        # Whoever removes a volume or an image looks for records afterwards: one of the two sees the other.
        # New, and read by nobody who does not hold the lock or has not looked for the whole of it: no rename.
        records.create(f"{self.directory}/config.json", self.config)
        if self._options.rootfs is None and not self._image.present(self.store):
            raise NotFound(f"image {self._options.image} was removed just now: load it again")
        for mount in self._mounts:
            self._make_source(mount)
        self._emit("create")

    def _make_source(self, mount: Mount) -> None:
        if mount.type == "tmpfs":
            return
        assert mount.source is not None
        if mount.type == "bind":
            if mount.create_source:
                _make_directories(mount.source, self._directories)
            return
        anonymous = mount.source in self._anonymous
        if not anonymous and not volumes.exists(self.store, mount.source):
            self._volumes.append(mount.source)
        data = volumes.reference(self.store, mount.source, labels=mount.volume_labels, anonymous=anonymous)
        if not mount.nocopy:
            volumes.fill(data, self._layers, mount.target, sync=not anonymous)


def plan(store: Store, options: Options, *, stdio: tuple[int, int, int] = (0, 1, 2)) -> Container:
    """Return a container with its Spec; nothing on the disk has changed but what a pull brings. Raises a HyrunError."""
    spec.check(options)
    image = _image(store, options)
    if options.rootfs is None:
        lowerdirs, own = image.lowerdirs(store), image.own_layers(store)
    else:
        lowerdirs = own = [_rootfs(options.rootfs)]
    mounts = volumespec.merge(
        options.volumes, options.mounts, options.tmpfs, image.config.get("Volumes") or (), image=options.image
    )
    if options.name is not None:
        names.check(options.name)
    container = Container(store, options, image, mounts, own)
    planned = []
    for mount in mounts:
        source = mount.source or ""
        if mount.type == "bind":
            _check_source(mount)
        elif mount.type == "volume":
            if mount.source is None:
                mount.source = new_id()
                container._anonymous.append(mount.source)
            source = volumes.data_path(store, mount.source)
        planned.append(spec.mount(mount, source))
    user = options.user if options.user is not None else image.config.get("User", "")
    container.spec = spec.build(
        options,
        image,
        identifier=container.id,
        lowerdirs=lowerdirs,
        directory=container.directory,
        mounts=planned,
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


def _make_upper(path: str, top: str) -> None:
    """Make the writable layer's directory: its owner and mode are those of the container's ``/``, so the image's."""
    os.mkdir(path, 0o700)
    try:
        status = os.stat(top)
    except FileNotFoundError:
        raise _missing(top) from None  # the image may have been removed at this moment
    if status.st_uid or status.st_gid:
        os.chown(path, status.st_uid, status.st_gid)
    os.chmod(path, status.st_mode & 0o7777)  # and not what the caller's umask left of it


def _missing(layer: str) -> StorageError:
    return StorageError(
        f"layer {layer} is missing: hyrun system check says which images need it, load or pull one again"
    )


def _make_locked(directory: str) -> int:
    """Make a container's directory and return the descriptor that holds its lock."""
    while True:
        os.mkdir(directory, 0o700)
        try:
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        flock(descriptor, LOCK_EX)
        # Between mkdir and flock it looked like what a dead owner left, and another command may have removed it.
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)


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
        raise _missing(error.filename) from None
    try:
        passwd, group = read_accounts(root)
    finally:
        os.close(root)
    identity = resolve(user, passwd=passwd, group=group)
    if image.startswith("sha256:") and len(_identities) < 1000:
        _identities[image, user] = identity
    return identity


def link_of_id(identifier: str) -> str:
    """Return what a name's symlink says: the id in base64, because ext4 keeps up to 59 bytes in the inode itself."""
    return binascii.b2a_base64(bytes.fromhex(identifier), newline=False).decode()


def id_of_link(target: str) -> str:
    """Return the id that a name's symlink says; "" for none."""
    try:
        return binascii.a2b_base64(target.encode()).hex()
    except ValueError:
        return ""


def _claim(store: Store, name: str | None, identifier: str) -> str:
    """Take the name, or a generated one, and return it. symlink(2) makes it for one caller only."""
    target = link_of_id(identifier)
    if name is not None:
        while True:
            try:
                os.symlink(target, store.path("names", name))
                return name
            except FileExistsError:
                from .container_list import free_name

                if not free_name(store, name):
                    holder = id_of_link(os.readlink(store.path("names", name)))
                    raise Conflict(
                        f"the container name {name} is in use by container {holder[:12]}: remove or rename that one"
                    ) from None
    for attempt in range(100):
        generated = names.generate() + (str(attempt) if attempt > 4 else "")
        try:
            os.symlink(target, store.path("names", generated))
            return generated
        except FileExistsError:
            continue
    raise Conflict("no free name was found: choose one with --name")


def _check_source(mount: Mount) -> None:
    assert mount.source is not None
    if not mount.create_source and not os.path.exists(mount.source):
        raise InvalidArgument(f"bind source path does not exist: {mount.source}: make it first, or use -v")
    if mount.propagation not in ("private", "rprivate", ""):
        from .propagation import check_peer

        check_peer(mount.source, mount.propagation)


def _make_directories(path: str, made: list[str]) -> None:
    """Make a missing host directory, as docker's -v does; remember what was made, outermost first."""
    missing: list[str] = []
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    for directory in reversed(missing):
        try:
            os.mkdir(directory)
            made.append(directory)
            os.chmod(directory, 0o755)  # docker's, whatever the caller's umask
        except FileExistsError:
            pass
        except OSError as error:
            raise InvalidArgument(f"volume source {directory} cannot be made: {error.strerror}") from None


def _config(container: Container, options: Options, image: Image, mounts: list[Mount]) -> dict[str, Any]:
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
        "Volumes": {mount.target: {} for mount in mounts if mount.source in container._anonymous},
        "StopSignal": image.config.get("StopSignal"),
        "ExposedPorts": image.config.get("ExposedPorts"),
        "NetworkMode": options.network,
        "ReadonlyRootfs": options.read_only,
        "AutoRemove": options.remove,
        "OpenStdin": options.interactive,
        "Anonymous": container._anonymous,
        "Mounts": [
            mount.inspect(
                mountpoint=volumes.data_path(container.store, mount.source or "") if mount.type == "volume" else ""
            )
            for mount in mounts
            if mount.listed
        ],
        "Tmpfs": {mount.target: mount.mode for mount in mounts if not mount.listed},
    }
    keeping = options.keeping
    if keeping is not None:
        from .startspec import pack

        record |= {
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


def state_path(store: Store, identifier: str) -> str:
    """Return where the run-time state of a container is: on the run directory, which does not outlive a boot."""
    return f"{store.run}/{identifier}.json"


def write_state(store: Store, identifier: str, pid: int, started: int, *, monitor: int = 0) -> None:
    """Write down which process is the container's pid 1: pid, start time and boot id together say that (proc(5)).

    ``monitor`` is the pid of its parent when that is not the process that owns it.
    """
    more = f',"monitor":{monitor},"monitor_start":{start_time(monitor)}' if monitor else ""
    text = f'{{"pid":{pid},"start":{start_time(pid)},"boot":"{boot_id()}","started":{started}{more}}}'
    path = state_path(store, identifier)
    # Another one may be there when a policy starts the container again: replaced whole. Otherwise it is new and on
    # tmpfs, and no reader takes it for more than the lock says.
    target = f"{path}.new" if monitor else path
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
    if monitor:
        os.rename(target, path)


def write_exit(directory: str, status: int | None, started: int) -> None:
    """Write down the exit status as wait(2) has it, negative for a signal; None when nobody knows it."""
    ended = {"status": status, "started": started, "finished": time.time_ns()}
    records.write(f"{directory}/exit.json", ended, sync=False)


def start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot (proc(5), field 22); 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            # The command's name is in parentheses and may hold anything: count from its end.
            return int(file.read(4096).rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


_boot_id = ""


def boot_id() -> str:
    """Return the kernel's id of this boot."""
    global _boot_id
    if not _boot_id:
        with open("/proc/sys/kernel/random/boot_id", "rb", buffering=0) as file:
            _boot_id = file.read().strip().decode()
    return _boot_id


def discard(store: Store, identifier: str, name: str, anonymous: list[str]) -> None:
    """Remove everything of a container that is not running. Its lock must be held, or nobody know it yet."""
    _unlink(state_path(store, identifier))
    directory = store.path("containers", identifier)
    # The record goes last of all that other commands look for: until then they know what is left to do.
    for volume in anonymous:
        try:
            volumes.remove(store, volume, ignore=identifier)
        except (NotFound, InUse):
            pass
    # Gone in one step: should this process be killed, what is left is nobody's, and the next command sweeps it up.
    rubbish = store.path("tmp", identifier)
    try:
        os.rename(directory, rubbish)
    except FileNotFoundError:
        pass
    if name and not _free_name(store, name, identifier):
        # Renamed since its owner has read the name.
        renamed = (records.read(f"{rubbish}/config.json") or {}).get("Name")
        if isinstance(renamed, str) and renamed != name:
            _free_name(store, renamed, identifier)
    try:
        _core.remove_tree(rubbish)
    except FileNotFoundError:
        pass


def _free_name(store: Store, name: str, identifier: str) -> bool:
    """Free a name if it is this container's; return whether it was."""
    link = store.path("names", name)
    try:
        if id_of_link(os.readlink(link)) != identifier:
            return False
        os.unlink(link)
    except FileNotFoundError:
        return False
    return True


def try_lock(directory: str) -> int | None:
    """Return a descriptor that holds a container's lock; None while somebody else owns it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
