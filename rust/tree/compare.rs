//! Which names differ between two trees.
use std::cmp::Ordering;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStringExt;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::read;
use pyo3::prelude::*;

use super::entry::Entry;
use super::inventory::{self, Contents};
use super::python::os_error;
use crate::fs::{Failure, open_beneath};

const BUFFER: usize = 256 << 10;

/// Compare two open directories. Documented in `_core.pyi`.
///
/// # Errors
///
/// OSError with the name below the directories that cannot be read.
#[pyfunction]
pub fn compare_trees(py: Python<'_>, old: RawFd, new: RawFd) -> PyResult<Vec<(char, OsString)>> {
    if old < 0 || new < 0 {
        return Err(os_error(&Failure::at("")(Errno::EBADF)));
    }
    // SAFETY: not negative; the caller keeps both descriptors open over the call, as with any os function.
    let (old, new) = unsafe { (BorrowedFd::borrow_raw(old), BorrowedFd::borrow_raw(new)) };
    let found = py.detach(|| compare(old, new)).map_err(|failure| os_error(&failure))?;
    Ok(found.into_iter().map(|(kind, path)| (kind, OsString::from_vec(path))).collect())
}

/// `A` added, `C` changed, `D` removed (docker diff), sorted by path. Times alone are no change: every build of an
/// image sets them anew.
fn compare(old: BorrowedFd<'_>, new: BorrowedFd<'_>) -> Result<Vec<(char, Vec<u8>)>, Failure> {
    let before = inventory::take(old, Contents::Unread, &[], None)?;
    let after = inventory::take(new, Contents::Unread, &[], None)?;
    let failed = before.iter().chain(&after).find_map(|entry| entry.failure.map(|errno| (entry, errno)));
    if let Some((entry, errno)) = failed {
        return Err(Failure::at(entry.shown())(errno));
    }
    let mut found = Vec::new();
    let (mut ones, mut others) = (before.into_iter().peekable(), after.into_iter().peekable());
    loop {
        let order = match (ones.peek(), others.peek()) {
            (None, None) => return Ok(found),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(one), Some(other)) => one.path.cmp(&other.path),
        };
        let one = if order.is_le() { ones.next() } else { None };
        let other = if order.is_ge() { others.next() } else { None };
        match (one, other) {
            (Some(one), Some(other)) => {
                let differ = differ((old, &one), (new, &other)).map_err(|errno| Failure::at(other.shown())(errno))?;
                if differ {
                    found.push(('C', other.path));
                }
            }
            (Some(one), None) => found.push(('D', one.path)),
            (None, Some(other)) => found.push(('A', other.path)),
            (None, None) => {}
        }
    }
}

fn differ((old, one): (BorrowedFd<'_>, &Entry), (new, other): (BorrowedFd<'_>, &Entry)) -> nix::Result<bool> {
    // The same file of a layer that both have: its inode would tell of any change.
    // Not the device: each merged view has one of its own.
    let unchanged = |entry: &Entry| (entry.identity.inode, entry.identity.changed, entry.mtime);
    if one.kind == 'f' && other.kind == 'f' && unchanged(one) == unchanged(other) && one.content == other.content {
        return Ok(false);
    }
    let metadata = |entry: &Entry| (entry.mode, entry.owner);
    let is_file = |entry: &Entry| matches!(entry.kind, 'f' | 'h');
    if metadata(one) != metadata(other) || one.xattrs != other.xattrs || is_file(one) != is_file(other) {
        return Ok(true);
    }
    if !is_file(one) {
        return Ok(one.kind != other.kind || one.content != other.content);
    }
    if one.kind == 'f' && other.kind == 'f' && one.content != other.content {
        return Ok(true);
    }
    contents_differ(old, new, &one.path)
}

fn contents_differ(old: BorrowedFd<'_>, new: BorrowedFd<'_>, path: &[u8]) -> nix::Result<bool> {
    let one = open_beneath(old, path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
    let other = open_beneath(new, path, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
    let (mut left, mut right) = (vec![0; BUFFER], vec![0; BUFFER]);
    loop {
        let count = fill(one.as_fd(), &mut left)?;
        if fill(other.as_fd(), &mut right)? != count || left[..count] != right[..count] {
            return Ok(true);
        }
        if count < BUFFER {
            return Ok(false);
        }
    }
}

/// Read until the buffer is full or the file at its end.
fn fill(file: BorrowedFd<'_>, buffer: &mut [u8]) -> nix::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match read(file, &mut buffer[done..]) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}
