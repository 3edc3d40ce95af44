//! Paths below the container's root. All of them are hostile: an image may hold any symlink, and another container may
//! swap directories while we look. So every path is resolved by openat2(2) below a descriptor, and what comes out is a
//! descriptor, never a name.
//!
//! Runs between clone and execve: no allocation.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

use crate::sys::{self, Result, resolve};

const PATH_MAX: usize = libc::PATH_MAX as usize;
/// As many links as path_resolution(7) allows in one path.
const MAX_LINKS: usize = 40;
const IN_ROOT: u64 = resolve::IN_ROOT | resolve::NO_MAGICLINKS;

/// What a mount point has to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory, made with mode 0755.
    Directory,
    /// Anything else; made as an empty file with mode 0644.
    File,
}

/// Open what `path` means inside `root`, without making anything.
pub fn open(root: BorrowedFd<'_>, path: &CStr, flags: i32) -> Result<OwnedFd> {
    sys::open_at(root, path, flags, 0, IN_ROOT)
}

/// Open a directory of the root for a kernel file system (`proc`, `sys`, `dev`), made if missing. It must be a real
/// one: through a symlink the container would choose where its masks and device nodes go (CVE-2026-41579).
pub fn real_directory(root: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let open = || sys::open_at(root, name, flags, 0, IN_ROOT | resolve::NO_SYMLINKS);
    match open() {
        Err(Errno::ENOENT) => {
            sys::make_directory(root, name, 0o755)?;
            open()
        }
        result => result,
    }
}

/// Open the mount point `target`, making what is missing of it. Symlinks, also dangling ones, lead to where they
/// lead inside the root.
pub fn mount_point(root: BorrowedFd<'_>, target: &CStr, kind: Kind) -> Result<OwnedFd> {
    let mut path = Path::new(target.to_bytes())?;
    for _ in 0..MAX_LINKS {
        match open(root, path.as_c_str(), libc::O_PATH) {
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
            Ok(fd) => return suitable(root, fd, kind),
        }
        make(root, &mut path, kind)?;
    }
    Err(Errno::ELOOP)
}

/// A mount point of the wrong kind, the root itself, or something in a procfs is none.
fn suitable(root: BorrowedFd<'_>, fd: OwnedFd, kind: Kind) -> Result<OwnedFd> {
    const PROC_SUPER_MAGIC: i64 = 0x9fa0;
    let status = sys::stat(fd.as_fd())?;
    let is_directory = status.st_mode & libc::S_IFMT == libc::S_IFDIR;
    if is_directory != (kind == Kind::Directory) {
        return Err(Errno::ENOTDIR);
    }
    let top = sys::stat(root)?;
    if (status.st_dev, status.st_ino) == (top.st_dev, top.st_ino) {
        return Err(Errno::EBUSY);
    }
    if sys::file_system_magic(fd.as_fd())? == PROC_SUPER_MAGIC {
        return Err(Errno::EPERM);
    }
    Ok(fd)
}

/// Make the components of `path` that are missing. Where a dangling symlink is in the way, replace it in `path` by
/// its content and return: the caller starts over.
fn make(root: BorrowedFd<'_>, path: &mut Path, kind: Kind) -> Result<()> {
    let mut parent = open(root, c".", libc::O_PATH | libc::O_DIRECTORY)?;
    let mut start = 0;
    while let Some((begin, end)) = path.component(start) {
        let last = path.component(end).is_none();
        let directory = !last || kind == Kind::Directory;
        let separator = path.cut(end);
        let made = match open(root, path.as_c_str(), libc::O_PATH) {
            Err(Errno::ENOENT) if directory => sys::make_directory(parent.as_fd(), path.tail(begin), 0o755),
            Err(Errno::ENOENT) => make_file(parent.as_fd(), path.tail(begin)),
            Err(errno) => Err(errno),
            Ok(_) => Ok(()),
        };
        match made {
            Ok(()) => {}
            Err(Errno::EEXIST) => return path.replace_link(parent.as_fd(), begin, end, separator),
            Err(errno) => return Err(errno),
        }
        if !last {
            parent = open(root, path.as_c_str(), libc::O_PATH | libc::O_DIRECTORY)?;
        }
        path.restore(end, separator);
        start = end;
    }
    Ok(())
}

fn make_file(parent: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_NOFOLLOW;
    sys::open_at(parent, name, flags, 0o644, resolve::NO_SYMLINKS).map(drop)
}

/// A NUL-terminated path on the stack.
struct Path {
    bytes: [u8; PATH_MAX],
}

impl Path {
    fn new(text: &[u8]) -> Result<Self> {
        let mut path = Self { bytes: [0; PATH_MAX] };
        path.write(0, text)?;
        Ok(path)
    }

    fn as_c_str(&self) -> &CStr {
        self.tail(0)
    }

    /// What stands from `start` on.
    fn tail(&self, start: usize) -> &CStr {
        self.bytes.get(start..).and_then(|bytes| CStr::from_bytes_until_nul(bytes).ok()).unwrap_or(c"")
    }

    /// Write `text` and a NUL at `start`; the position behind the text.
    fn write(&mut self, start: usize, text: &[u8]) -> Result<usize> {
        let end = start + text.len();
        let slot = self.bytes.get_mut(start..=end).ok_or(Errno::ENAMETOOLONG)?;
        for (to, &from) in slot.iter_mut().zip(text.iter().chain(b"\0")) {
            *to = from;
        }
        Ok(end)
    }

    /// The next component at or behind `start`: where it begins and ends.
    fn component(&self, start: usize) -> Option<(usize, usize)> {
        let rest = self.tail(start).to_bytes();
        let begin = start + rest.iter().position(|&byte| byte != b'/')?;
        let name = self.tail(begin).to_bytes();
        let length = name.iter().position(|&byte| byte == b'/').unwrap_or(name.len());
        Some((begin, begin + length))
    }

    /// End the path at `end`; the byte that stood there.
    fn cut(&mut self, end: usize) -> u8 {
        self.bytes.get_mut(end).map_or(0, |slot| std::mem::replace(slot, 0))
    }

    fn restore(&mut self, end: usize, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(end) {
            *slot = byte;
        }
    }

    /// Replace the component at `begin..end`, a symlink in `parent`, by what it says. `separator` is the byte that
    /// was cut at `end`.
    fn replace_link(&mut self, parent: BorrowedFd<'_>, begin: usize, end: usize, separator: u8) -> Result<()> {
        let mut content = [0u8; PATH_MAX];
        let length = match sys::read_link(parent, self.tail(begin), &mut content) {
            // Not a link: somebody else has just made it. The caller looks again.
            Err(Errno::EINVAL) => {
                self.restore(end, separator);
                return Ok(());
            }
            result => result?,
        };
        let content = content.get(..length).ok_or(Errno::ENAMETOOLONG)?;
        let rest = if separator == 0 { Self::new(b"")? } else { Self::new(self.tail(end + 1).to_bytes())? };
        let start = if content.first() == Some(&b'/') { 0 } else { begin };
        let mut end = self.write(start, content)?;
        if separator != 0 {
            end = self.write(end, b"/")?;
            self.write(end, rest.as_c_str().to_bytes())?;
        }
        Ok(())
    }
}
