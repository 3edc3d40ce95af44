//! Entries become files below one directory. Nothing that exists is written through or followed: a name that is taken
//! by anything but a directory is removed first, and what is made is described by its descriptor.
use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, open, openat, openat2};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstat, futimens, mkdirat, mknodat,
    utimensat,
};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat, write};

use super::entry::{Content, Entry, Error, Kind, Result, Sink, as_path, at, io_at};
use super::is_kernel_interface;
use crate::fs::{DIRECTORY, XattrTarget, file_type, open_beneath, stat_at, time};
use crate::tree::{Copier, Identity, identity};

/// Times of directories are set at the end, for what is made in them changes them; beyond so many bytes of names they
/// are not.
const REMEMBERED: usize = 64 << 20;
/// How often a name that is always taken again is freed.
const TRIES: usize = 16;
const SET_ID: u32 = 0o6000;
const BUFFER: usize = 256 << 10;

/// Who owns what is made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Owner {
    /// Who owns the source; setuid, setgid and file capabilities, which mean that owner, stay as well.
    Kept,
    /// This user and group.
    Of(u32, u32),
}

/// Makes files.
pub(super) struct Extract<'fd> {
    root: BorrowedFd<'fd>,
    owner: Owner,
    /// The directory that was used last, and its path.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// The target and what was made in it: a source may contain them.
    own: HashSet<Identity>,
    directories: Vec<(Vec<u8>, (i64, i64))>,
    remembered: usize,
    copier: Copier,
    buffer: Vec<u8>,
}

impl<'fd> Extract<'fd> {
    pub(super) fn new(root: BorrowedFd<'fd>, owner: Owner) -> Result<Self> {
        if is_kernel_interface(root).map_err(at(b""))? {
            return Err(at(b"")(Errno::EOPNOTSUPP));
        }
        let own = HashSet::from([identity(root).map_err(at(b""))?]);
        Ok(Self {
            root,
            owner,
            parent: None,
            own,
            directories: Vec::new(),
            remembered: 0,
            copier: Copier::new(),
            buffer: Vec::new(),
        })
    }

    /// Set the times that come last.
    pub(super) fn finish(self) -> Result<()> {
        for (path, mtime) in self.directories.iter().rev() {
            match open_beneath(self.root, path, DIRECTORY) {
                // Moved or removed by who owns it: then its times are theirs as well.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                directory => {
                    let time = time(mtime.0, mtime.1);
                    directory.and_then(|directory| futimens(directory, &time, &time)).map_err(at(path))?;
                }
            }
        }
        Ok(())
    }

    /// Open the directory of `path`, made if it is missing: an archive need not have entries for directories.
    fn open_parent(&mut self, path: &[u8]) -> Result<OwnedFd> {
        if let Some((last, fd)) = &self.parent
            && last == path
        {
            return fd.try_clone().map_err(io_at(path));
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let found = match open_beneath(self.root, path, flags) {
            Err(Errno::ENOENT) => {
                self.make_parents(path)?;
                open_beneath(self.root, path, flags)
            }
            found => found,
        };
        let fd = found.map_err(at(path))?;
        if is_kernel_interface(fd.as_fd()).map_err(at(path))? {
            return Err(at(path)(Errno::EOPNOTSUPP));
        }
        self.parent = Some((path.to_vec(), fd.try_clone().map_err(io_at(path))?));
        Ok(fd)
    }

    fn make_parents(&mut self, path: &[u8]) -> Result<()> {
        let mut directory = open_beneath(self.root, b"", DIRECTORY).map_err(at(path))?;
        for name in path.split(|byte| *byte == b'/') {
            let name = c_string(name)?;
            match mkdirat(&directory, name.as_c_str(), Mode::S_IRWXU) {
                Err(Errno::EEXIST) => {
                    directory = openat(&directory, name.as_c_str(), DIRECTORY, Mode::empty()).map_err(at(path))?
                }
                made => {
                    made.map_err(at(path))?;
                    directory = openat(&directory, name.as_c_str(), DIRECTORY, Mode::empty()).map_err(at(path))?;
                    if let Owner::Of(uid, gid) = self.owner {
                        fchown(&directory, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(at(path))?;
                    }
                    fchmod(&directory, Mode::from_bits_truncate(0o755)).map_err(at(path))?;
                }
            }
        }
        Ok(())
    }

    fn directory(&mut self, parent: BorrowedFd<'_>, name: &CStr, entry: &Entry) -> Result<()> {
        match mkdirat(parent, name, Mode::S_IRWXU) {
            Ok(()) => {}
            Err(Errno::EEXIST) => {
                let stat = stat_at(parent, name).map_err(at(&entry.path))?;
                // One that exists stays as it is: the source must not decide who may enter what was there before.
                return match file_type(&stat) {
                    SFlag::S_IFDIR => Ok(()),
                    _ => Err(at(&entry.path)(Errno::ENOTDIR)),
                };
            }
            Err(errno) => return Err(at(&entry.path)(errno)),
        }
        let fd = openat(parent, name, DIRECTORY, Mode::empty()).map_err(at(&entry.path))?;
        self.describe(fd.as_fd(), entry, entry.mode).map_err(at(&entry.path))?;
        if !entry.path.contains(&b'/') {
            self.own.insert(identity(fd.as_fd()).map_err(at(&entry.path))?);
        }
        self.remembered += entry.path.len() + size_of::<(Vec<u8>, (i64, i64))>();
        if self.remembered <= REMEMBERED {
            self.directories.push((entry.path.clone(), entry.mtime));
        }
        Ok(())
    }

    fn file(&mut self, parent: BorrowedFd<'_>, name: &CStr, entry: &Entry, content: Content<'_>) -> Result<()> {
        let Kind::File { size, first } = &entry.kind else { return Ok(()) };
        if let Some(first) = first
            && self.link(parent, name, first, matches!(content, Content::Nothing)).map_err(at(&entry.path))?
        {
            return Ok(());
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let made = replacing(parent, name, || openat(parent, name, flags, Mode::S_IRUSR | Mode::S_IWUSR));
        let (file, is_new) = match made {
            // A file that is mounted (`-v /srv/file:/etc/file`) has no other name to be replaced by.
            Err(Errno::EBUSY) => (open_mounted(parent, name).map_err(at(&entry.path))?, false),
            made => (made.map_err(at(&entry.path))?, true),
        };
        match content {
            Content::Nothing => {}
            Content::Open(source) => {
                let size = i64::try_from(*size).map_err(|_| at(&entry.path)(Errno::EFBIG))?;
                self.copier.copy(source, file.as_fd(), size).map_err(at(&entry.path))?;
            }
            Content::Stream(stream) => self.write(stream, &file).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => Error::Archive("the archive is cut off".to_owned()),
                _ => io_at(&entry.path)(error),
            })?,
        }
        if !is_new {
            return Ok(());
        }
        let describe = || {
            self.describe(file.as_fd(), entry, entry.mode & !SET_ID)?;
            let time = time(entry.mtime.0, entry.mtime.1);
            futimens(&file, &time, &time)
        };
        describe().map_err(at(&entry.path))
    }

    fn write(&mut self, stream: &mut dyn Read, file: &OwnedFd) -> io::Result<()> {
        self.buffer.resize(BUFFER, 0);
        loop {
            let count = stream.read(&mut self.buffer)?;
            if count == 0 {
                return Ok(());
            }
            let mut done = 0;
            while done < count {
                done += write(file, &self.buffer[done..count])?;
            }
        }
    }

    /// Link to an earlier name; false when these file systems cannot, and there is content to copy.
    fn link(&self, parent: BorrowedFd<'_>, name: &CStr, first: &[u8], must: bool) -> nix::Result<bool> {
        let (directory, last) = split(first);
        let from = open_beneath(self.root, directory, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        let last = OsStr::from_bytes(last);
        match replacing(parent, name, || linkat(&from, last, parent, name, AtFlags::empty())) {
            Ok(()) => Ok(true),
            Err(Errno::EXDEV | Errno::EPERM | Errno::EMLINK | Errno::ENOENT | Errno::EBUSY) if !must => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// A symlink or fifo: made by its name, then held and looked at before it is given away.
    fn node(&self, parent: BorrowedFd<'_>, name: &CStr, entry: &Entry) -> nix::Result<()> {
        let kind = match &entry.kind {
            Kind::Symlink(target) => {
                let target = CString::new(target.as_slice()).map_err(|_| Errno::EINVAL)?;
                replacing(parent, name, || symlinkat(target.as_c_str(), parent, name))?;
                SFlag::S_IFLNK
            }
            _ => {
                replacing(parent, name, || mknodat(parent, name, SFlag::S_IFIFO, Mode::S_IRUSR | Mode::S_IWUSR, 0))?;
                SFlag::S_IFIFO
            }
        };
        let fd = openat(parent, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
        let stat = fstat(&fd)?;
        if file_type(&stat) != kind || stat.st_nlink != 1 {
            return Err(Errno::ESTALE);
        }
        let (uid, gid) = self.owner_of(entry);
        fchownat(&fd, c"", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)?;
        if kind == SFlag::S_IFIFO {
            chmod_open(fd.as_fd(), &stat, entry.mode & 0o777)?;
        }
        let time = time(entry.mtime.0, entry.mtime.1);
        utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)
    }

    /// Owner, capabilities and mode: chown(2) clears setuid and capabilities, so it comes first. `mode` is for what
    /// gets another owner: setuid and setgid of a program mean the old one.
    fn describe(&self, fd: BorrowedFd<'_>, entry: &Entry, mode: u32) -> nix::Result<()> {
        let (uid, gid) = self.owner_of(entry);
        fchown(fd, Some(uid), Some(gid))?;
        if matches!(self.owner, Owner::Of(..)) {
            return fchmod(fd, Mode::from_bits_truncate(mode));
        }
        if let Some(value) = &entry.capability {
            match XattrTarget::Open(fd).set(c"security.capability", value) {
                Ok(()) | Err(Errno::EOPNOTSUPP) => {}
                Err(errno) => return Err(errno),
            }
        }
        fchmod(fd, Mode::from_bits_truncate(entry.mode))
    }

    fn owner_of(&self, entry: &Entry) -> (Uid, Gid) {
        let (uid, gid) = match self.owner {
            Owner::Kept => (entry.uid, entry.gid),
            Owner::Of(uid, gid) => (uid, gid),
        };
        (Uid::from_raw(uid), Gid::from_raw(gid))
    }
}

impl Sink for Extract<'_> {
    fn put(&mut self, entry: &Entry, content: Content<'_>) -> Result<()> {
        let (directory, name) = split(&entry.path);
        let name = c_string(name)?;
        let parent = self.open_parent(directory)?;
        match &entry.kind {
            Kind::Directory => self.directory(parent.as_fd(), &name, entry),
            Kind::File { .. } => self.file(parent.as_fd(), &name, entry, content),
            Kind::Symlink(_) | Kind::Fifo => self.node(parent.as_fd(), &name, entry).map_err(at(&entry.path)),
        }
    }

    fn is_own(&self, directory: Identity) -> bool {
        self.own.contains(&directory)
    }
}

/// Make a name that is not a directory; what stands there is removed, but no directory (EISDIR).
fn replacing<T>(parent: BorrowedFd<'_>, name: &CStr, make: impl Fn() -> nix::Result<T>) -> nix::Result<T> {
    for _ in 0..TRIES {
        match make() {
            Err(Errno::EEXIST) => {}
            made => return made,
        }
        // unlink(2) would unmount it for the container: only in the caller's own mount namespace is it refused.
        if is_mount_point(parent, name)? {
            return Err(Errno::EBUSY);
        }
        match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Err(Errno::EEXIST)
}

/// openat2(2), RESOLVE_NO_XDEV.
fn is_mount_point(parent: BorrowedFd<'_>, name: &CStr) -> nix::Result<bool> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV);
    match openat2(parent, name, how) {
        Ok(_) | Err(Errno::ENOENT) => Ok(false),
        Err(Errno::EXDEV) => Ok(true),
        Err(errno) => Err(errno),
    }
}

/// Open a regular file that is a mount point, to be written anew.
fn open_mounted(parent: BorrowedFd<'_>, name: &CStr) -> nix::Result<OwnedFd> {
    let fd = openat(parent, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    if file_type(&fstat(&fd)?) != SFlag::S_IFREG || is_kernel_interface(fd.as_fd())? {
        return Err(Errno::EBUSY);
    }
    open(link(fd.as_fd()).as_str(), OFlag::O_WRONLY | OFlag::O_TRUNC | OFlag::O_CLOEXEC, Mode::empty())
}

/// chmod(2) of what is open with O_PATH, which fchmod(2) does not take.
fn chmod_open(fd: BorrowedFd<'_>, stat: &FileStat, mode: u32) -> nix::Result<()> {
    if stat.st_mode & 0o7777 == mode {
        return Ok(());
    }
    fchmodat(AT_FDCWD, link(fd).as_str(), Mode::from_bits_truncate(mode), FchmodatFlags::FollowSymlink)
}

fn link(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// A path's directory, empty for the target itself, and its last name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    path.iter().rposition(|byte| *byte == b'/').map_or((b"", path), |cut| (&path[..cut], &path[cut + 1..]))
}

fn c_string(name: &[u8]) -> Result<CString> {
    CString::new(name).map_err(|_| Error::Archive(format!("{}: a NUL byte in a name", as_path(name).display())))
}
