//! From an entry's path to the directory it goes into, never leaving the layer's root.
//!
//! Symlinks among the parents are those of this layer and are resolved inside the root, as containerd does: an
//! image may have `lib -> usr/lib` and then `lib/x`. The last component is never resolved here.
//! Source: openat2(2); OCI image-spec, layer.md.
use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fchmod, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};

use super::error::Error;
use super::{limits, node};
use crate::fs::{DIRECTORY, Failure, file_type, is_whiteout, open_beneath, stat_at};

/// An open directory of the layer.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) fd: OwnedFd,
    /// Its path below the root, free of symlinks.
    pub(super) path: Vec<u8>,
}

impl Directory {
    /// The path of a name in here.
    pub(super) fn child(&self, name: &[u8]) -> Vec<u8> {
        match self.path.as_slice() {
            b"" => name.to_vec(),
            path => [path, b"/", name].concat(),
        }
    }
}

/// Why a path has no directory: a sentence's end, or the system's refusal.
pub(super) enum Missing {
    Why(&'static str),
    System(Error),
}

impl From<Failure> for Missing {
    fn from(failure: Failure) -> Self {
        Self::System(failure.into())
    }
}

/// How many directories stay open; archives go directory by directory, down and up again.
const OPEN: usize = 16;

/// Resolves parents and remembers the latest ones.
pub(super) struct Parents {
    root: OwnedFd,
    target: PathBuf,
    /// Paths as they were asked for and where they led, the latest last.
    latest: Vec<(Vec<u8>, Rc<Directory>)>,
}

impl Parents {
    pub(super) fn new(root: OwnedFd, target: PathBuf) -> Self {
        Self { root, target, latest: Vec::with_capacity(OPEN + 1) }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The failure of a call on a path below the root.
    pub(super) fn failure(&self, path: &[u8]) -> impl FnOnce(Errno) -> Failure {
        let path = self.target.join(OsStr::from_bytes(path));
        move |errno| Failure { errno, path }
    }

    /// Forget what is remembered: something was removed, so paths may lead elsewhere now.
    pub(super) fn forget(&mut self) {
        self.latest.clear();
    }

    /// Open the directory at these components; with `create`, make what is missing.
    pub(super) fn open(&mut self, components: &[&[u8]], create: bool) -> std::result::Result<Rc<Directory>, Missing> {
        let path = components.join(&b'/');
        if let Some(at) = self.latest.iter().rposition(|(known, _)| *known == path) {
            let found = self.latest.remove(at);
            let directory = Rc::clone(&found.1);
            self.latest.push(found);
            return Ok(directory);
        }
        let directory = match open_beneath(self.root(), &path, DIRECTORY) {
            Ok(fd) => Directory { fd, path: path.clone() },
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => self.walk(components, create)?,
            Err(errno) => return Err(self.failure(&path)(errno).into()),
        };
        Ok(self.keep(path, directory))
    }

    /// A directory that was just opened by its own path.
    pub(super) fn remember(&mut self, directory: Directory) {
        self.keep(directory.path.clone(), directory);
    }

    fn keep(&mut self, path: Vec<u8>, directory: Directory) -> Rc<Directory> {
        let directory = Rc::new(directory);
        self.latest.push((path, Rc::clone(&directory)));
        if self.latest.len() > OPEN {
            self.latest.remove(0);
        }
        directory
    }

    /// Step by step: resolve symlinks inside the root, make missing directories.
    ///
    /// Nobody else writes below the root meanwhile: it is a private staging directory. Still each step is one
    /// openat(2) of one name without following.
    fn walk(&self, components: &[&[u8]], create: bool) -> std::result::Result<Directory, Missing> {
        let mut todo: Vec<Vec<u8>> = components.iter().rev().map(|part| part.to_vec()).collect();
        let mut done: Vec<Vec<u8>> = Vec::new();
        let mut fd = self.reopen(&done)?;
        let mut symlinks = 0;
        while let Some(part) = todo.pop() {
            match part.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    done.pop();
                    fd = self.reopen(&done)?;
                    continue;
                }
                _ => {}
            }
            let name = CString::new(part.clone()).map_err(|_| Missing::Why("the name contains a NUL byte"))?;
            match openat(&fd, name.as_c_str(), DIRECTORY, Mode::empty()) {
                Ok(child) => fd = child,
                Err(Errno::ENOENT) if create => fd = self.make(&fd, &name, &done)?,
                Err(Errno::ENOTDIR | Errno::ELOOP) => {
                    let stat = stat_at(fd.as_fd(), &name).map_err(self.failure(&below(&done, &part)))?;
                    if file_type(&stat) == SFlag::S_IFLNK {
                        symlinks += 1;
                        if symlinks > limits::SYMLINKS {
                            return Err(Missing::Why("too many symlinks on the way"));
                        }
                        let target = readlinkat(&fd, name.as_c_str()).map_err(self.failure(&below(&done, &part)))?;
                        if target.as_bytes().first() == Some(&b'/') {
                            done.clear();
                            fd = self.reopen(&done)?;
                        }
                        todo.extend(target.as_bytes().rsplit(|byte| *byte == b'/').map(<[u8]>::to_vec));
                        continue;
                    }
                    if !(create && is_whiteout(&stat)) {
                        return Err(Missing::Why("a parent is not a directory"));
                    }
                    // Whited out below, made anew here: what is below must not shine through.
                    unlinkat(&fd, name.as_c_str(), UnlinkatFlags::NoRemoveDir)
                        .map_err(self.failure(&below(&done, &part)))?;
                    fd = self.make(&fd, &name, &done)?;
                    node::set_opaque(fd.as_fd()).map_err(self.failure(&below(&done, &part)))?;
                }
                Err(Errno::ENOENT) => return Err(Missing::Why("it is not in this layer")),
                Err(errno) => return Err(self.failure(&below(&done, &part))(errno).into()),
            }
            done.push(part);
            if done.len() > limits::DEPTH || done.iter().map(|part| part.len() + 1).sum::<usize>() > limits::PATH {
                return Err(Missing::Why("the path is too long once its symlinks are resolved"));
            }
        }
        Ok(Directory { fd, path: done.join(&b'/') })
    }

    fn reopen(&self, done: &[Vec<u8>]) -> std::result::Result<OwnedFd, Missing> {
        let path = done.join(&b'/');
        Ok(open_beneath(self.root(), &path, DIRECTORY).map_err(self.failure(&path))?)
    }

    /// A directory that the layer has no entry for, or not yet: root's, 0755.
    fn make(&self, parent: &OwnedFd, name: &CString, done: &[Vec<u8>]) -> std::result::Result<OwnedFd, Missing> {
        let make = || -> nix::Result<OwnedFd> {
            mkdirat(parent, name.as_c_str(), Mode::S_IRWXU)?;
            let fd = openat(parent, name.as_c_str(), DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
            // A parent with the setgid bit would pass its group on.
            fchown(&fd, Some(Uid::effective()), Some(Gid::effective()))?;
            fchmod(&fd, Mode::from_bits_truncate(0o755))?;
            Ok(fd)
        };
        let path = below(done, name.as_bytes());
        Ok(make().map_err(self.failure(&path))?)
    }
}

fn below(done: &[Vec<u8>], name: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> = done.iter().map(Vec::as_slice).chain([name]).collect();
    parts.join(&b'/')
}

/// linkat(2) without following: the source's last component is the link itself.
pub(super) fn link(source: (&Directory, &CString), target: (&Directory, &CString)) -> nix::Result<()> {
    nix::unistd::linkat(&source.0.fd, source.1.as_c_str(), &target.0.fd, target.1.as_c_str(), AtFlags::empty())
}
