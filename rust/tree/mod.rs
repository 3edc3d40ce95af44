//! Whole directory trees, copied and removed by descriptor.
//!
//! Trees come from images and containers, so nothing is followed, nothing recurses, and the number of open
//! descriptors does not grow with the depth.
pub mod compare;
mod copy;
pub(crate) mod entry;
mod file;
pub(crate) mod inventory;
pub mod python;
mod queue;
mod remove;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::openat;
use nix::sys::stat::{Mode, fstat};

use crate::fs::DIRECTORY;

pub(crate) use copy::copy;
pub(crate) use file::Copier;
pub(crate) use remove::{remove, remove_at};

/// Levels whose directories stay open while the walk is below them; deeper ones are opened again through `..`.
pub(crate) const OPEN_LEVELS: usize = 32;

/// Which directory this is, to notice when `..` is not the one that the walk came from.
pub(crate) type Identity = (u64, u64);

pub(crate) fn identity(fd: BorrowedFd<'_>) -> nix::Result<Identity> {
    fstat(fd).map(|stat| (stat.st_dev, stat.st_ino))
}

/// Open the parent of a directory and check that it is the one expected: directories can be moved meanwhile.
pub(crate) fn open_parent(fd: BorrowedFd<'_>, expected: Identity) -> nix::Result<OwnedFd> {
    let parent = openat(fd, c"..", DIRECTORY, Mode::empty())?;
    if identity(parent.as_fd())? == expected { Ok(parent) } else { Err(Errno::ESTALE) }
}

pub(crate) fn is_dot(name: &[u8]) -> bool {
    name == b"." || name == b".."
}

/// Whether a directory has no entries.
pub(crate) fn is_empty(fd: BorrowedFd<'_>) -> nix::Result<bool> {
    let mut dir = Dir::openat(fd, c".", DIRECTORY, Mode::empty())?;
    for item in dir.iter() {
        if !is_dot(item?.file_name().to_bytes()) {
            return Ok(false);
        }
    }
    Ok(true)
}
