//! The extended attributes of one name: what a layer keeps, and what overlayfs said with them.
//! Source: xattr(7); kernel, filesystems/overlayfs.rst.
use std::ffi::CString;

use nix::errno::Errno;

use crate::fs::{XattrTarget, is_overlay_xattr};

#[derive(Debug, Default)]
pub(super) struct Attributes {
    /// Sorted by name.
    pub(super) kept: Vec<(CString, Vec<u8>)>,
    /// How many have `=` in their name, where a PAX record's key would end.
    pub(super) unspeakable: u64,
    /// A directory that hides what the layers below have in it.
    pub(super) opaque: bool,
    /// An empty file that stands for nothing (Linux 6.7).
    pub(super) whiteout: bool,
    /// The content is not where the name is: redirect_dir or metacopy, which hyrun's own mounts never make.
    pub(super) elsewhere: bool,
}

impl Attributes {
    pub(super) fn read(target: &XattrTarget<'_>) -> nix::Result<Self> {
        let mut keys = match target.list() {
            Err(Errno::EOPNOTSUPP) => return Ok(Self::default()),
            keys => keys?,
        };
        keys.sort_unstable();
        let mut found = Self::default();
        for key in keys {
            let name = key.to_bytes();
            match name {
                b"trusted.overlay.opaque" | b"user.overlay.opaque" => {
                    // `x` says only that whiteouts in it may be files.
                    found.opaque |= target.get(&key).is_ok_and(|value| value == b"y");
                }
                b"trusted.overlay.whiteout" | b"user.overlay.whiteout" => found.whiteout = true,
                b"trusted.overlay.redirect" | b"trusted.overlay.metacopy" => found.elsewhere = true,
                _ if !is_kept(name) => {}
                _ if name.contains(&b'=') => found.unspeakable += 1,
                _ => match target.get(&key) {
                    Ok(value) => found.kept.push((key, value)),
                    // Removed meanwhile, or a name that is listed and has no value.
                    Err(Errno::ENODATA | Errno::EOPNOTSUPP) => {}
                    Err(errno) => return Err(errno),
                },
            }
        }
        Ok(found)
    }
}

/// Not what belongs to overlayfs, to this machine's security modules or to its administrator (`trusted`).
fn is_kept(name: &[u8]) -> bool {
    let known = [&b"security.capability"[..], b"system.posix_acl_access", b"system.posix_acl_default"];
    known.contains(&name) || (name.starts_with(b"user.") && !is_overlay_xattr(name))
}
