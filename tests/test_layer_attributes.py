"""Extended attributes: overlayfs's own are dropped, ACLs are kept.

Source: OCI image-spec, layer.md.
"""

import os
import struct

import pytest

from support.layers import Layers
from support.tars import END, header, pax

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("HYRUN_MUST_WORK"), reason="owners and devices need root"
)


def test_overlay_s_own_attributes_are_dropped(layers: Layers) -> None:
    names = [
        b"trusted.overlay.opaque",
        b"trusted.overlay.redirect",
        b"user.overlay.opaque",
        b"user.overlay.whiteout",
    ]
    names += [b"trusted.other", b"system.nfs4_acl", b"user.kept"]
    records = pax(*((b"SCHILY.xattr." + name, b"y") for name in names))
    target = layers.unpack(records + header(b"a", kind=b"5") + records + header(b"b") + END)
    assert os.listxattr(target / "a") == ["user.kept"]
    assert os.listxattr(target / "b") == ["user.kept"]


def acl(*entries: tuple[int, int, int]) -> bytes:
    """An ACL as the kernel keeps it (linux/posix_acl_xattr.h): tag, permissions, id."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


#: rwx for the owner and user 1000, r-x for the group, nothing for others.
ACL = acl((1, 7, 0xFFFFFFFF), (2, 7, 1000), (4, 5, 0xFFFFFFFF), (0x10, 7, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFF))


def test_acls_are_kept_and_not_inherited_by_what_the_layer_has_below(layers: Layers) -> None:
    default = pax((b"SCHILY.xattr.system.posix_acl_default", ACL))
    access = pax((b"SCHILY.xattr.system.posix_acl_access", ACL))
    target = layers.unpack(
        default + header(b"a", kind=b"5") + header(b"a/b", kind=b"5") + access + header(b"c", mode=b"0000770\0") + END
    )
    assert os.getxattr(target / "a", "system.posix_acl_default") == ACL
    assert os.listxattr(target / "a/b") == []
    assert os.getxattr(target / "c", "system.posix_acl_access") == ACL


def test_the_mode_is_the_header_s_whatever_an_acl_says(layers: Layers) -> None:
    access = pax((b"SCHILY.xattr.system.posix_acl_access", ACL))
    target = layers.unpack(
        access
        + header(b"file", mode=b"0000600\0")
        + access
        + header(b"directory", kind=b"5", mode=b"0000700\0")
        + access
        + header(b"fifo", kind=b"6", mode=b"0000640\0")
        + END
    )
    modes = {path.name: path.stat().st_mode & 0o7777 for path in target.iterdir()}
    assert modes == {"file": 0o600, "directory": 0o700, "fifo": 0o640}


def test_a_directory_described_again_has_the_acls_of_its_last_entry(layers: Layers) -> None:
    both = pax((b"SCHILY.xattr.system.posix_acl_default", ACL), (b"SCHILY.xattr.system.posix_acl_access", ACL))
    target = layers.unpack(both + header(b"a", kind=b"5") + header(b"a", kind=b"5") + END)
    assert os.listxattr(target / "a") == []


def test_a_malformed_acl_is_refused(layers: Layers) -> None:
    for name in (b"access", b"default"):
        layers.refuse(pax((b"SCHILY.xattr.system.posix_acl_" + name, b"y")) + header(b"a", kind=b"5") + END)
