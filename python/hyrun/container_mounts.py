"""The mounts of one container: where they come from, what has to be made for them, and what goes again.

Imported by `containers` for a container that has any.
"""

from __future__ import annotations

import os

from . import spec, volumes, volumespec
from .errors import HyrunError, InvalidArgument
from .store import Store, new_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import _core
    from .images import Image
    from .options import Options
    from .volumespec import Mount


class Mounts:
    """All mounts of a container, parents before what lies below them.

    ``anonymous`` are the names of its anonymous volumes, which go with it when it was made with --rm.
    """

    __slots__ = ("_directories", "_mounts", "_named", "_store", "anonymous")

    def __init__(self, store: Store, options: Options, image: Image) -> None:
        """Plan them; nothing on the disk changes. Raises InvalidArgument."""
        self.anonymous: list[str] = []
        self._store = store
        # What was made on the way and goes again if the container does not come to be.
        self._directories: list[str] = []
        self._named: list[str] = []
        self._mounts = volumespec.merge(
            options.volumes, options.mounts, options.tmpfs, image.config.get("Volumes") or (), image=options.image
        )
        for mount in self._mounts:
            if mount.type == "bind":
                _check_source(mount)
            elif mount.type == "volume" and mount.source is None:
                mount.source = new_id()
                self.anonymous.append(mount.source)

    def planned(self) -> list[_core.Bind | _core.Tmpfs]:
        """Return them for the Spec."""
        return [
            spec.mount(mount, self._path(mount) if mount.type == "volume" else mount.source or "")
            for mount in self._mounts
        ]

    def record(self) -> dict[str, Any]:
        """Return what the container's record says of them."""
        record: dict[str, Any] = {
            "Volumes": {mount.target: {} for mount in self._mounts if mount.source in self.anonymous},
            "Anonymous": self.anonymous,
            "Mounts": [mount.inspect(mountpoint=self._path(mount)) for mount in self._mounts if mount.listed],
            "Tmpfs": {mount.target: mount.mode for mount in self._mounts if not mount.listed},
        }
        given = [mount.api for mount in self._mounts if mount.api is not None]
        if given:
            record["HostMounts"] = given
        return record

    def make(self, layers: list[str]) -> None:
        """Make what they need, and fill new volumes from the image's layers. The container's record is written."""
        for mount in self._mounts:
            if mount.type == "bind" and mount.create_source:
                _make_directories(mount.source or "", self._directories)
            elif mount.type == "volume":
                self._make_volume(mount, layers)

    def undo(self) -> None:
        """Remove what `make` brought about but the anonymous volumes: those go with the container."""
        for directory in reversed(self._directories):
            try:
                os.rmdir(directory)
            except OSError:
                break
        for name in self._named:
            try:
                # Only without content: another container may have used it meanwhile, and written to it.
                volumes.remove(self._store, name, only_empty=True)
            except HyrunError:
                pass

    def _make_volume(self, mount: Mount, layers: list[str]) -> None:
        assert mount.source is not None
        anonymous = mount.source in self.anonymous
        if not anonymous and not volumes.exists(self._store, mount.source):
            self._named.append(mount.source)
        data = volumes.reference(self._store, mount.source, labels=mount.volume_labels, anonymous=anonymous)
        if not mount.nocopy:
            volumes.fill(data, layers, mount.target, sync=not anonymous)

    def _path(self, mount: Mount) -> str:
        """Return the host path of a volume's data; "" for other types."""
        return volumes.data_path(self._store, mount.source or "") if mount.type == "volume" else ""


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
