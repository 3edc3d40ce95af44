"""Layer archives, unpacked beside something that nobody may touch."""

from pathlib import Path

import pytest

from hyrun import _core
from hyrun.errors import StorageError

from .tars import listing


class Layers:
    """Unpacks archives into fresh directories beside a canary tree."""

    def __init__(self, base: Path, threads: bool) -> None:
        self.base = base
        self.threads = threads
        self.canary = base / "canary"
        (self.canary / "sub").mkdir(parents=True)
        (self.canary / "file").write_text("untouched")
        (self.canary / "sub" / "setuid").write_text("untouched")
        (self.canary / "sub" / "setuid").chmod(0o4755)
        (self.canary / "link").symlink_to("file")
        self.count = 0
        self.before = self.outside()

    def outside(self) -> dict[str, tuple[object, ...]]:
        return listing(self.canary)

    def fresh(self) -> Path:
        self.count += 1
        target = self.base / f"layer{self.count}"
        target.mkdir(mode=0o700)
        return target

    def unpack(self, data: bytes, target: Path | None = None) -> Path:
        target = target or self.fresh()
        self.read(data, target)
        return target

    def read(self, data: bytes, target: Path) -> _core.Unpacked:
        with open(self.base / "archive", "wb+") as file:
            file.write(data)
            file.flush()
            if not self.threads:
                return _core.unpack_layer(file.fileno(), str(target), offset=0)
            # A stream has threads whatever its length.
            file.seek(0)
            return _core.unpack_layer(file.fileno(), str(target))

    def refuse(self, data: bytes, match: str = "^layer") -> Path:
        target = self.fresh()
        with pytest.raises(StorageError, match=match):
            self.read(data, target)
        return target
