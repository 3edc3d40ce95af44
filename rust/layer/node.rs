//! Metadata of what was unpacked, always in the order owner, xattrs, mode, times: chown(2) clears setuid and file
//! capabilities, and everything before the times changes them.
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmod, fchmodat, futimens, utimensat};
use nix::unistd::{Gid, Uid, fchown, fchownat};

use super::entry::Entry;
use crate::fs::{XattrTarget, is_overlay_xattr, remove_xattr, time};

/// Marks a directory that hides what is below it (kernel, filesystems/overlayfs.rst, "whiteouts and opaque
/// directories").
const OPAQUE: &CStr = c"trusted.overlay.opaque";

/// What is made in a directory inherits this (acl(5)), so it comes when nothing is made there any more.
pub(super) const DEFAULT_ACL: &CStr = c"system.posix_acl_default";

/// Make a directory opaque.
pub(super) fn set_opaque(directory: BorrowedFd<'_>) -> nix::Result<()> {
    XattrTarget::Open(directory).set(OPAQUE, b"y")
}

/// Whether a directory is opaque.
pub(super) fn is_opaque(directory: BorrowedFd<'_>) -> bool {
    XattrTarget::Open(directory).get(OPAQUE).is_ok_and(|value| value == b"y")
}

/// Owner, xattrs and mode of an open file or directory; its times come last, when nothing else will change them.
pub(super) fn describe(fd: BorrowedFd<'_>, entry: &Entry) -> nix::Result<()> {
    fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    for (key, value) in entry.xattrs.iter().filter(|(key, _)| key.as_c_str() != DEFAULT_ACL) {
        unless_unsupported(XattrTarget::Open(fd).set(key, value))?;
    }
    fchmod(fd, Mode::from_bits_truncate(entry.mode))
}

/// Give a directory its default ACL, or take it away.
pub(super) fn set_default_acl(directory: BorrowedFd<'_>, acl: Option<&[u8]>) -> nix::Result<()> {
    unless_unsupported(match acl {
        Some(acl) => XattrTarget::Open(directory).set(DEFAULT_ACL, acl),
        None => remove_xattr(directory, DEFAULT_ACL).or_else(|errno| match errno {
            Errno::ENODATA => Ok(()),
            errno => Err(errno),
        }),
    })
}

/// Access and modification time of an open file or directory.
pub(super) fn set_times(fd: BorrowedFd<'_>, mtime: (i64, i64)) -> nix::Result<()> {
    let time = time(mtime.0, mtime.1);
    futimens(fd, &time, &time)
}

/// All metadata of a name that is not opened: a symlink, a device, a fifo.
pub(super) fn describe_name(dir: BorrowedFd<'_>, name: &CStr, entry: &Entry, symlink: bool) -> nix::Result<()> {
    let owner = Some(Uid::from_raw(entry.uid));
    let group = Some(Gid::from_raw(entry.gid));
    fchownat(dir, name, owner, group, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    for (key, value) in &entry.xattrs {
        // Only files and directories have user attributes (xattr(7)); some archivers write them for symlinks too.
        let acl = key.to_bytes().starts_with(b"system.");
        if !key.to_bytes().starts_with(b"user.") && !(acl && (symlink || key.as_c_str() == DEFAULT_ACL)) {
            unless_unsupported(XattrTarget::Name(dir, name).set(key, value))?;
        }
    }
    if !symlink {
        fchmodat(dir, name, Mode::from_bits_truncate(entry.mode), FchmodatFlags::NoFollowSymlink)?;
    }
    let time = time(entry.mtime.0, entry.mtime.1);
    utimensat(dir, name, &time, &time, UtimensatFlags::NoFollowSymlink)
}

/// Take an existing directory's attributes away before a later entry describes it anew.
pub(super) fn clear_xattrs(directory: BorrowedFd<'_>) -> nix::Result<()> {
    for key in XattrTarget::Open(directory.as_fd()).list().or_else(unsupported_is(Vec::new()))? {
        let bytes = key.to_bytes();
        let ours =
            [&b"user."[..], b"security.", b"system.posix_acl_access"].iter().any(|start| bytes.starts_with(start));
        if ours && !is_overlay_xattr(bytes) {
            remove_xattr(directory, &key)?;
        }
    }
    Ok(())
}

/// File systems without attributes keep the file without them, as docker and containerd do.
fn unless_unsupported(result: nix::Result<()>) -> nix::Result<()> {
    result.or_else(unsupported_is(()))
}

fn unsupported_is<T>(value: T) -> impl FnOnce(Errno) -> nix::Result<T> {
    move |errno| {
        if errno == Errno::EOPNOTSUPP { Ok(value) } else { Err(errno) }
    }
}
