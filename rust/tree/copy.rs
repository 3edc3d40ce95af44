//! Copy a tree with everything that cp -a keeps, and nothing that belongs to overlayfs.
use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{
    FchmodatFlags, FileStat, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstat, futimens, mkdirat, mknodat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, linkat, symlinkat};

use super::file::Copier;
use super::{Identity, OPEN_LEVELS, identity, is_dot, open_parent};
use crate::fs::{
    DIRECTORY, Failure, XattrTarget, file_type, is_overlay_xattr, is_whiteout, open_beneath, stat_at, time,
};

/// Copy the content of `source` into `target`, which is empty, and its metadata onto it.
pub(crate) fn copy(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Failure> {
    let at_top = Failure::at("");
    let reopen = |fd| openat(fd, c".", DIRECTORY, Mode::empty());
    let (from, to) = reopen(source).and_then(|from| Ok((from, reopen(target)?))).map_err(at_top)?;
    let mut walk = Walk { root: target, levels: Vec::new(), copier: Copier::new(), links: HashMap::new() };
    let mut pair = Pair { from, to };
    walk.enter(&pair, CString::default())?;
    while let Some(depth) = walk.levels.len().checked_sub(1) {
        if let Some(name) = walk.levels[depth].pending.pop() {
            let child = pair.make_child(&name).map_err(|errno| walk.failure(&name, errno))?;
            let left = std::mem::replace(&mut pair, child);
            walk.levels[depth].open = (depth < OPEN_LEVELS).then_some(left);
            walk.enter(&pair, name)?;
            continue;
        }
        // Everything is in it: now its times will stay.
        pair.copy_metadata().map_err(|errno| walk.failure(c"", errno))?;
        walk.levels.pop();
        if let Some(above) = walk.levels.last_mut() {
            let reopened = match above.open.take() {
                Some(open) => Ok(open),
                None => pair.parent(above.identities),
            };
            pair = reopened.map_err(|errno| walk.failure(c"", errno))?;
        }
    }
    Ok(())
}

/// A directory and its copy.
struct Pair {
    from: OwnedFd,
    to: OwnedFd,
}

/// A directory on the way from the top to where the walk is.
struct Level {
    /// None when it is deep: it is opened again through `..`.
    open: Option<Pair>,
    identities: (Identity, Identity),
    name: CString,
    /// Directories in it that are still to be copied.
    pending: Vec<CString>,
}

struct Walk<'fd> {
    root: BorrowedFd<'fd>,
    levels: Vec<Level>,
    copier: Copier,
    /// Where the first name of each file with several names is, below the target's root.
    links: HashMap<Identity, Vec<u8>>,
}

impl Walk<'_> {
    /// Copy everything in a directory but its directories, which become pending.
    fn enter(&mut self, pair: &Pair, name: CString) -> Result<(), Failure> {
        let identities = identity(pair.from.as_fd()).and_then(|from| Ok((from, identity(pair.to.as_fd())?)));
        let identities = identities.map_err(|errno| self.failure(&name, errno))?;
        self.levels.push(Level { open: None, identities, name, pending: Vec::new() });
        let mut pending = Vec::new();
        let mut dir =
            Dir::openat(&pair.from, c".", DIRECTORY, Mode::empty()).map_err(|errno| self.failure(c"", errno))?;
        for item in dir.iter() {
            let name = item.map_err(|errno| self.failure(c"", errno))?.file_name().to_owned();
            if is_dot(name.to_bytes()) {
                continue;
            }
            if self.copy_name(pair, &name).map_err(|errno| self.failure(&name, errno))? {
                pending.push(name);
            }
        }
        if let Some(level) = self.levels.last_mut() {
            level.pending = pending;
        }
        Ok(())
    }

    /// Copy one name unless it is a directory: true then.
    fn copy_name(&mut self, pair: &Pair, name: &CStr) -> nix::Result<bool> {
        let stat = stat_at(pair.from.as_fd(), name)?;
        let kind = file_type(&stat);
        if kind == SFlag::S_IFDIR {
            return Ok(true);
        }
        if is_whiteout(&stat) || self.link(pair, name, &stat)? {
            return Ok(false);
        }
        match kind {
            SFlag::S_IFREG => return self.copy_file(pair, name).map(|()| false),
            SFlag::S_IFLNK => {
                let target = readlinkat(&pair.from, name)?;
                symlinkat(target.as_os_str(), &pair.to, name)?;
            }
            _ => mknodat(&pair.to, name, kind, Mode::S_IRUSR | Mode::S_IWUSR, stat.st_rdev)?,
        }
        fchownat(&pair.to, name, owner(&stat), group(&stat), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        copy_xattrs(&XattrTarget::Name(pair.from.as_fd(), name), &XattrTarget::Name(pair.to.as_fd(), name))?;
        if kind != SFlag::S_IFLNK {
            fchmodat(&pair.to, name, mode(&stat), FchmodatFlags::NoFollowSymlink)?;
        }
        let (atime, mtime) = times(&stat);
        utimensat(&pair.to, name, &atime, &mtime, UtimensatFlags::NoFollowSymlink).map(|()| false)
    }

    /// Link a further name of a file that was copied already; false when this is its first name.
    fn link(&mut self, pair: &Pair, name: &CStr, stat: &FileStat) -> nix::Result<bool> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let key = (stat.st_dev, stat.st_ino);
        let Some(first) = self.links.get(&key) else {
            let path = self.path(name);
            self.links.insert(key, path);
            return Ok(false);
        };
        let cut = first.iter().rposition(|byte| *byte == b'/');
        let (parent, last) = cut.map_or((&b""[..], first.as_slice()), |cut| (&first[..cut], &first[cut + 1..]));
        let parent = open_beneath(self.root, parent, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        linkat(&parent, OsStr::from_bytes(last), &pair.to, name, AtFlags::empty()).map(|()| true)
    }

    fn copy_file(&mut self, pair: &Pair, name: &CStr) -> nix::Result<()> {
        // O_NONBLOCK: should a fifo have taken the name meanwhile, this must not wait for its writer.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let from = openat(&pair.from, name, flags, Mode::empty())?;
        let stat = fstat(&from)?;
        if file_type(&stat) != SFlag::S_IFREG {
            return Err(Errno::ESTALE);
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let to = openat(&pair.to, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        self.copier.copy(from.as_fd(), to.as_fd(), stat.st_size)?;
        copy_metadata(from.as_fd(), to.as_fd(), &stat)
    }

    /// The path of a name in the current directory, below the root.
    fn path(&self, name: &CStr) -> Vec<u8> {
        let names = self.levels.iter().map(|level| level.name.as_bytes()).chain([name.to_bytes()]);
        names.filter(|name| !name.is_empty()).collect::<Vec<_>>().join(&b'/')
    }

    fn failure(&self, name: &CStr, errno: Errno) -> Failure {
        Failure { errno, path: PathBuf::from(OsStr::from_bytes(&self.path(name))) }
    }
}

impl Pair {
    fn make_child(&self, name: &CStr) -> nix::Result<Self> {
        let from = openat(&self.from, name, DIRECTORY, Mode::empty())?;
        mkdirat(&self.to, name, Mode::S_IRWXU)?;
        let to = openat(&self.to, name, DIRECTORY, Mode::empty())?;
        Ok(Self { from, to })
    }

    fn parent(&self, expected: (Identity, Identity)) -> nix::Result<Self> {
        let from = open_parent(self.from.as_fd(), expected.0)?;
        let to = open_parent(self.to.as_fd(), expected.1)?;
        Ok(Self { from, to })
    }

    fn copy_metadata(&self) -> nix::Result<()> {
        copy_metadata(self.from.as_fd(), self.to.as_fd(), &fstat(&self.from)?)
    }
}

/// Owner, xattrs, mode, times: chown(2) clears setuid and capabilities, so it comes first.
fn copy_metadata(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &FileStat) -> nix::Result<()> {
    fchown(to, owner(stat), group(stat))?;
    copy_xattrs(&XattrTarget::Open(from), &XattrTarget::Open(to))?;
    fchmod(to, mode(stat))?;
    let (atime, mtime) = times(stat);
    futimens(to, &atime, &mtime)
}

fn copy_xattrs(from: &XattrTarget<'_>, to: &XattrTarget<'_>) -> nix::Result<()> {
    let keys = match from.list() {
        Err(Errno::EOPNOTSUPP) => return Ok(()),
        keys => keys?,
    };
    for key in keys.iter().filter(|key| !is_overlay_xattr(key.to_bytes())) {
        let value = match from.get(key) {
            // Removed meanwhile, or a name that is listed and has no value (some security modules).
            Err(Errno::ENODATA | Errno::EOPNOTSUPP) => continue,
            value => value?,
        };
        match to.set(key, &value) {
            // The target's file system has no such attributes: the file is kept without, as docker does.
            Ok(()) | Err(Errno::EOPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn owner(stat: &FileStat) -> Option<Uid> {
    Some(Uid::from_raw(stat.st_uid))
}

fn group(stat: &FileStat) -> Option<Gid> {
    Some(Gid::from_raw(stat.st_gid))
}

fn mode(stat: &FileStat) -> Mode {
    Mode::from_bits_truncate(stat.st_mode & 0o7777)
}

fn times(stat: &FileStat) -> (TimeSpec, TimeSpec) {
    (time(stat.st_atime, stat.st_atime_nsec), time(stat.st_mtime, stat.st_mtime_nsec))
}
