//! Metadata of what was unpacked, always in the order owner, xattrs, mode, times: chown(2) clears setuid and file
//! capabilities, and everything before the times changes them.
//!
//! What is right already is left alone: looking costs a tenth of a change, which the file system writes to its journal.
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, UtimensatFlags, fchmod, fchmodat, fstat, futimens, utimensat};
use nix::unistd::{Gid, Uid, fchown, fchownat};

use super::entry::Entry;
use crate::fs::{XattrTarget, is_overlay_xattr, remove_xattr, stat_at, time};

/// Marks a directory that hides what is below it (kernel, filesystems/overlayfs.rst, "whiteouts and opaque
/// directories").
const OPAQUE: &CStr = c"trusted.overlay.opaque";

/// What is made in a directory inherits this (acl(5)), so it comes when nothing is made there any more.
pub(super) const DEFAULT_ACL: &CStr = c"system.posix_acl_default";

/// Sets the permission bits as well (acl(5)).
const ACL: &CStr = c"system.posix_acl_access";

/// Make a directory opaque.
pub(super) fn set_opaque(directory: BorrowedFd<'_>) -> nix::Result<()> {
    XattrTarget::Open(directory).set(OPAQUE, b"y")
}

/// Whether a directory is opaque.
pub(super) fn is_opaque(directory: BorrowedFd<'_>) -> bool {
    XattrTarget::Open(directory).get(OPAQUE).is_ok_and(|value| value == b"y")
}

/// Permission bits to create an entry with. setuid and the like wait for the owner.
pub(super) fn creation_mode(entry: &Entry) -> Mode {
    Mode::from_bits_truncate(entry.mode & 0o777)
}

/// What of an entry is not as it should be, or will not be.
struct Wrong {
    owner: bool,
    mode: bool,
}

impl Wrong {
    fn of(stat: &FileStat, entry: &Entry) -> Self {
        let owner = (stat.st_uid, stat.st_gid) != (entry.uid, entry.gid);
        // A change of owner takes setuid away, an ACL sets what it likes.
        let changes = (owner && entry.mode & 0o7000 != 0) || entry.xattrs.iter().any(|(key, _)| key.as_c_str() == ACL);
        Self { owner, mode: changes || stat.st_mode & 0o7777 != entry.mode }
    }
}

/// Owner, xattrs and mode of an open file or directory; its times come last, when nothing else will change them.
pub(super) fn describe(fd: BorrowedFd<'_>, entry: &Entry) -> nix::Result<()> {
    let wrong = Wrong::of(&fstat(fd)?, entry);
    if wrong.owner {
        fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
    }
    for (key, value) in entry.xattrs.iter().filter(|(key, _)| key.as_c_str() != DEFAULT_ACL) {
        unless_unsupported(XattrTarget::Open(fd).set(key, value))?;
    }
    if wrong.mode {
        fchmod(fd, Mode::from_bits_truncate(entry.mode))?;
    }
    Ok(())
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
    let wrong = Wrong::of(&stat_at(dir, name)?, entry);
    if wrong.owner {
        let (owner, group) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        fchownat(dir, name, Some(owner), Some(group), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    }
    for (key, value) in &entry.xattrs {
        // Only files and directories have user attributes (xattr(7)); some archivers write them for symlinks too.
        let acl = key.to_bytes().starts_with(b"system.");
        if !key.to_bytes().starts_with(b"user.") && !(acl && (symlink || key.as_c_str() == DEFAULT_ACL)) {
            unless_unsupported(XattrTarget::Name(dir, name).set(key, value))?;
        }
    }
    if wrong.mode && !symlink {
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
