//! Remove a tree. Like rm -rf, but it neither recurses nor crosses into a mount.
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmod, fchmodat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{Identity, OPEN_LEVELS, identity, is_dot, open_parent};
use crate::fs::{DIRECTORY, Failure, file_type, open_child, stat_at};

/// Remove a file or directory tree at a path whose parents are trusted; ENOENT when it is not there.
pub(crate) fn remove(path: &Path) -> Result<(), Failure> {
    let Some(Component::Normal(name)) = path.components().next_back() else {
        return Err(Failure::at(path)(Errno::EINVAL));
    };
    let name = CString::new(name.as_bytes()).map_err(|_| Failure::at(path)(Errno::EINVAL))?;
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let fd = open(parent, flags, Mode::empty()).map_err(Failure::at(path))?;
    remove_at(fd.as_fd(), &name).map_err(|failure| Failure { errno: failure.errno, path: parent.join(failure.path) })
}

/// Names read from a directory at once: few passes over a large one, and little memory for each level.
const BATCH: usize = 16_384;

/// How often a directory is read again that others fill.
const ROUNDS: u32 = 100;

/// A directory on the way from the tree's top to where the walk is.
struct Level {
    /// None when it is deep: it is opened again through `..`.
    open: Option<OwnedFd>,
    identity: Identity,
    /// Its name in the level above.
    name: CString,
    /// Directories in it that were not empty.
    pending: Vec<CString>,
    /// Its names have been read, and all but the pending ones removed: it should be empty after those.
    is_read: bool,
    /// How often it was not empty after that.
    rounds: u32,
}

/// Remove a name in a directory, and everything below. The failure's path begins with `name`.
pub(crate) fn remove_at(parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Failure> {
    let top = |errno| failure_at(&[], name, errno);
    match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR | Errno::EPERM) if is_directory(parent, name).map_err(top)? => {}
        result => return result.map_err(top),
    }
    let (mut current, level) = enter(parent, name).map_err(top)?;
    let mut levels = vec![level];
    while let Some(depth) = levels.len().checked_sub(1) {
        if let Some(name) = levels[depth].pending.pop() {
            let entered = enter(current.as_fd(), &name).map_err(|errno| failure_at(&levels, &name, errno));
            let (child, level) = entered?;
            let left = std::mem::replace(&mut current, child);
            levels[depth].open = (depth < OPEN_LEVELS).then_some(left);
            levels.push(level);
            continue;
        }
        if !levels[depth].is_read {
            let batch = names(current.as_fd()).map_err(|errno| failure_at(&levels, c"", errno))?;
            levels[depth].is_read = batch.len() < BATCH;
            for name in batch {
                if !remove_name(current.as_fd(), &name).map_err(|errno| failure_at(&levels, &name, errno))? {
                    levels[depth].pending.push(name);
                }
            }
            continue;
        }
        let Some(mut ended) = levels.pop() else { break };
        let above = match levels.last_mut() {
            None => None,
            Some(above) => Some(match above.open.take() {
                Some(fd) => Ok(fd),
                None => open_parent(current.as_fd(), above.identity),
            }),
        };
        let failure = |errno| failure_at(&levels, &ended.name, errno);
        let above = above.transpose().map_err(failure)?;
        let holder = above.as_ref().map_or(parent, AsFd::as_fd);
        match unlinkat(holder, ended.name.as_c_str(), UnlinkatFlags::RemoveDir) {
            // Somebody has put something into it meanwhile. Not for ever, nor where the disk contradicts itself.
            Err(Errno::ENOTEMPTY | Errno::EEXIST) if ended.rounds < ROUNDS => {
                ended.rounds += 1;
                ended.is_read = false;
                if let Some(level) = levels.last_mut() {
                    level.open = above;
                }
                levels.push(ended);
            }
            result => {
                result.map_err(failure)?;
                if let Some(above) = above {
                    current = above;
                }
            }
        }
    }
    Ok(())
}

/// Some names of a directory; fewer than `BATCH` when these are all.
fn names(dir: BorrowedFd<'_>) -> nix::Result<Vec<CString>> {
    let mut dir = Dir::openat(dir, c".", DIRECTORY, Mode::empty())?;
    let names = dir.iter().map(|item| item.map(|item| item.file_name().to_owned()));
    names.filter(|name| !name.as_ref().is_ok_and(|name| is_dot(name.to_bytes()))).take(BATCH).collect()
}

/// Remove a file or an empty directory; false when it is a directory with content.
fn remove_name(dir: BorrowedFd<'_>, name: &CStr) -> nix::Result<bool> {
    let remove = || match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR | Errno::EPERM) if is_directory(dir, name)? => {
            match unlinkat(dir, name, UnlinkatFlags::RemoveDir) {
                Err(Errno::ENOTEMPTY | Errno::EEXIST) => Ok(false),
                result => result.map(|()| true),
            }
        }
        // Somebody else was faster: it is gone, which is what was asked for.
        Err(Errno::ENOENT) => Ok(true),
        result => result.map(|()| true),
    };
    match remove() {
        // A directory that its owner may not write to; root never comes here.
        Err(Errno::EACCES) => {
            fchmod(dir, Mode::S_IRWXU)?;
            remove()
        }
        result => result,
    }
}

/// Open a directory to remove its content: never a mount point, and one without permissions is given some.
fn enter(parent: BorrowedFd<'_>, name: &CStr) -> nix::Result<(OwnedFd, Level)> {
    let fd: OwnedFd = match open_child(parent, name) {
        Err(Errno::EACCES) => {
            fchmodat(parent, name, Mode::S_IRWXU, FchmodatFlags::NoFollowSymlink)?;
            open_child(parent, name)?
        }
        result => result?,
    };
    let identity = identity(fd.as_fd())?;
    Ok((fd, Level { open: None, identity, name: name.to_owned(), pending: Vec::new(), is_read: false, rounds: 0 }))
}

fn is_directory(dir: BorrowedFd<'_>, name: &CStr) -> nix::Result<bool> {
    stat_at(dir, name).map(|stat| file_type(&stat) == SFlag::S_IFDIR)
}

fn failure_at(levels: &[Level], name: &CStr, errno: Errno) -> Failure {
    let names = levels.iter().map(|level| level.name.as_c_str()).chain([name]);
    let path: PathBuf = names.map(|name| std::ffi::OsStr::from_bytes(name.to_bytes())).collect();
    Failure { errno, path }
}
