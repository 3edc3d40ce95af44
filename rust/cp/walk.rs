//! A tree as a sequence of entries.
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use super::entry::{Content, Copied, Entry, Kind, Result, Sink, at};
use super::is_kernel_interface;
use crate::fs::{DIRECTORY, XattrTarget, file_type};
use crate::tree::{Identity, OPEN_LEVELS, is_dot, open_parent};

/// Devices that are named in the report; there may be any number.
const NAMED: usize = 100;

/// Give what `source` (opened with O_PATH) is to `sink`, under `name`; an empty name stands for what is in a directory,
/// without the directory itself.
pub(super) fn walk(source: BorrowedFd<'_>, name: &[u8], sink: &mut dyn Sink) -> Result<Copied> {
    let mut walk =
        Walk { sink, path: name.to_vec(), levels: Vec::new(), links: HashMap::new(), copied: Copied::default() };
    let stat = fstat(source).map_err(at(name))?;
    if is_kernel_interface(source).map_err(at(name))? {
        return Err(at(name)(Errno::EOPNOTSUPP));
    }
    if file_type(&stat) != SFlag::S_IFDIR {
        walk.leaf(source, &stat)?;
        return Ok(walk.copied);
    }
    let top = openat(source, c".", DIRECTORY, Mode::empty()).map_err(at(name))?;
    walk.run(top)?;
    Ok(walk.copied)
}

/// A directory on the way from the top to where the walk is.
struct Level {
    /// None when it is deep: it is opened again through `..`.
    open: Option<OwnedFd>,
    identity: Identity,
    /// Where the path of this directory ends.
    length: usize,
    /// Directories in it that are still to be entered.
    pending: Vec<CString>,
}

struct Walk<'a> {
    sink: &'a mut dyn Sink,
    /// Of the name that is being looked at.
    path: Vec<u8>,
    levels: Vec<Level>,
    /// Where the first name of each file with several names is.
    links: HashMap<Identity, Vec<u8>>,
    copied: Copied,
}

impl Walk<'_> {
    fn run(&mut self, top: OwnedFd) -> Result<()> {
        let mut directory = top;
        self.enter(directory.as_fd())?;
        while let Some(depth) = self.levels.len().checked_sub(1) {
            let level = &mut self.levels[depth];
            self.path.truncate(level.length);
            if let Some(name) = level.pending.pop() {
                if let Some(child) = self.descend(directory.as_fd(), &name)? {
                    let left = std::mem::replace(&mut directory, child);
                    self.levels[depth].open = (depth < OPEN_LEVELS).then_some(left);
                    self.enter(directory.as_fd())?;
                }
                continue;
            }
            self.levels.pop();
            if let Some(above) = self.levels.last_mut() {
                directory = match above.open.take() {
                    Some(open) => open,
                    None => open_parent(directory.as_fd(), above.identity).map_err(at(&self.path))?,
                };
            }
        }
        Ok(())
    }

    /// Open a directory that was seen in its parent. None when it is gone or something else by now.
    fn descend(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> Result<Option<OwnedFd>> {
        self.push(name);
        match openat(parent, name, DIRECTORY, Mode::empty()) {
            Ok(child) => Ok(Some(child)),
            Err(Errno::ENOENT) => Ok(None),
            Err(Errno::ENOTDIR | Errno::ELOOP) => self.child(parent, name).map(|_| None),
            Err(errno) => Err(at(&self.path)(errno)),
        }
    }

    /// Give the directory, and all in it but its directories, which become pending.
    fn enter(&mut self, directory: BorrowedFd<'_>) -> Result<()> {
        let stat = fstat(directory).map_err(at(&self.path))?;
        let here = (stat.st_dev, stat.st_ino);
        if self.sink.is_own(here) {
            return Err(at(&self.path)(Errno::ELOOP));
        }
        if !self.path.is_empty() {
            let entry = self.entry(Kind::Directory, &stat);
            self.sink.put(&entry, Content::Nothing)?;
        }
        let length = self.path.len();
        self.levels.push(Level { open: None, identity: here, length, pending: Vec::new() });
        // The directory that such a file system hangs on is copied; what is in it belongs to the kernel.
        if is_kernel_interface(directory).map_err(at(&self.path))? {
            return Ok(());
        }
        let mut pending = Vec::new();
        let mut entries = Dir::openat(directory, c".", DIRECTORY, Mode::empty()).map_err(at(&self.path))?;
        for item in entries.iter() {
            let item = item.map_err(at(&self.path))?;
            let name = item.file_name();
            if is_dot(name.to_bytes()) {
                continue;
            }
            self.path.truncate(length);
            self.push(name);
            if self.child(directory, name)? {
                pending.push(name.to_owned());
            }
        }
        if let Some(level) = self.levels.last_mut() {
            level.pending = pending;
        }
        self.path.truncate(length);
        Ok(())
    }

    /// Give one name, which `path` ends with, unless it is a directory: true then. What is gone already is not there.
    fn child(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> Result<bool> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = match openat(parent, name, flags, Mode::empty()) {
            Err(Errno::ENOENT) => return Ok(false),
            fd => fd.map_err(at(&self.path))?,
        };
        let stat = fstat(&fd).map_err(at(&self.path))?;
        if file_type(&stat) == SFlag::S_IFDIR {
            return Ok(true);
        }
        self.leaf(fd.as_fd(), &stat).map(|()| false)
    }

    /// Give what is no directory; `fd` is open with O_PATH, so that nothing happens to a device or a fifo.
    fn leaf(&mut self, fd: BorrowedFd<'_>, stat: &FileStat) -> Result<()> {
        match file_type(stat) {
            SFlag::S_IFREG => self.file(fd, stat),
            SFlag::S_IFLNK => {
                let target = readlinkat(fd, c"").map_err(at(&self.path))?.into_vec();
                self.sink.put(&self.entry(Kind::Symlink(target), stat), Content::Nothing)
            }
            SFlag::S_IFIFO => self.sink.put(&self.entry(Kind::Fifo, stat), Content::Nothing),
            // A socket means nothing without its process (docker leaves it out as well).
            SFlag::S_IFSOCK => Ok(()),
            _ => {
                if self.copied.devices.len() < NAMED {
                    self.copied.devices.push(self.path.clone());
                }
                Ok(())
            }
        }
    }

    fn file(&mut self, fd: BorrowedFd<'_>, stat: &FileStat) -> Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        // The same inode, which was seen to be a regular file: /proc/self/fd leads to what is open, not to a name.
        let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let file = open(link.as_str(), flags, Mode::empty()).map_err(at(&self.path))?;
        let mut first = None;
        if stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            first = self.links.get(&key).cloned();
            if first.is_none() {
                self.links.insert(key, self.path.clone());
            }
        }
        let size = fstat(&file).map_err(at(&self.path))?.st_size.unsigned_abs();
        let mut entry = self.entry(Kind::File { size, first }, stat);
        entry.capability = XattrTarget::Open(file.as_fd()).get(c"security.capability").ok();
        self.copied.bytes += size;
        self.sink.put(&entry, Content::Open(file.as_fd()))
    }

    fn entry(&self, kind: Kind, stat: &FileStat) -> Entry {
        Entry {
            path: self.path.clone(),
            kind,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
            mtime: (stat.st_mtime, stat.st_mtime_nsec),
            capability: None,
        }
    }

    fn push(&mut self, name: &CStr) {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name.to_bytes());
    }
}
