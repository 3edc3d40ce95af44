//! What a container changed: its writable layer beside the layers below it, as `docker diff` tells it.
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::openat;
use nix::sys::stat::{FileStat, Mode, SFlag};

use super::attributes::Attributes;
use super::names::Names;
use crate::fs::{DIRECTORY, Failure, XattrTarget, file_type, is_whiteout, open_child, stat_at};
use crate::tree::{Identity, OPEN_LEVELS, identity, open_parent};

/// Added, changed or deleted; the path begins with a slash.
pub(super) type Change = (char, Vec<u8>);

/// A directory of the writable layer, and what is in its place below.
struct Pair {
    upper: OwnedFd,
    lower: Option<OwnedFd>,
}

struct Level {
    /// None when it is deep: it is opened again through `..`.
    upper: Option<OwnedFd>,
    /// The same; but one whose child has no counterpart stays open, for there is nothing to come back from.
    lower: Option<OwnedFd>,
    identities: (Identity, Option<Identity>),
    names: Names,
    /// What is below is not merged with this, so what is missing here is gone.
    hides: bool,
    path: usize,
}

struct Walk {
    levels: Vec<Level>,
    path: Vec<u8>,
    changes: Vec<Change>,
}

/// List the changes, sorted by path. Both are roots; nothing in either is followed.
pub(super) fn changes(upper: BorrowedFd<'_>, lower: BorrowedFd<'_>) -> Result<Vec<Change>, Failure> {
    let mut walk = Walk { levels: Vec::new(), path: Vec::new(), changes: Vec::new() };
    let reopen = |fd| openat(fd, c".", DIRECTORY, Mode::empty());
    let pair = reopen(upper).and_then(|upper| Ok(Pair { upper, lower: Some(reopen(lower)?) }));
    let mut here = pair.map_err(Failure::at("/"))?;
    walk.enter(&here, false)?;
    while let Some(depth) = walk.levels.len().checked_sub(1) {
        let level = &mut walk.levels[depth];
        walk.path.truncate(level.path);
        let hides = level.hides;
        if let Some(name) = level.names.next() {
            walk.path.push(b'/');
            walk.path.extend_from_slice(name.as_bytes());
            if let Some(child) = walk.look(&here, &name)? {
                let left = std::mem::replace(&mut here, child);
                let level = &mut walk.levels[depth];
                level.upper = (depth < OPEN_LEVELS).then_some(left.upper);
                level.lower = left.lower.filter(|_| depth < OPEN_LEVELS || here.lower.is_none());
                walk.enter(&here, hides)?;
            }
            continue;
        }
        walk.levels.pop();
        if let Some(above) = walk.levels.last_mut() {
            let up = here.parent(above);
            here = up.map_err(walk.failure())?;
        }
    }
    walk.changes.sort_unstable_by(|left, right| left.1.split(slash).cmp(right.1.split(slash)));
    Ok(walk.changes)
}

fn slash(byte: &u8) -> bool {
    *byte == b'/'
}

impl Pair {
    fn parent(&self, above: &mut Level) -> nix::Result<Self> {
        let upper = match above.upper.take() {
            Some(open) => open,
            None => open_parent(self.upper.as_fd(), above.identities.0)?,
        };
        let lower = match (above.lower.take(), &self.lower, above.identities.1) {
            (None, Some(child), Some(expected)) => Some(open_parent(child.as_fd(), expected)?),
            (open, _, _) => open,
        };
        Ok(Self { upper, lower })
    }
}

impl Walk {
    fn enter(&mut self, pair: &Pair, hidden: bool) -> Result<(), Failure> {
        let attributes = Attributes::read(&XattrTarget::Open(pair.upper.as_fd())).map_err(self.failure())?;
        let hides = hidden || attributes.opaque;
        if let Some(lower) = &pair.lower
            && hides
        {
            self.find_gone(pair.upper.as_fd(), lower.as_fd())?;
        }
        let upper = identity(pair.upper.as_fd()).map_err(self.failure())?;
        let lower = pair.lower.as_ref().map(|lower| identity(lower.as_fd())).transpose().map_err(self.failure())?;
        let names = Names::read_if_there(pair.upper.as_fd()).map_err(self.failure())?;
        self.levels.push(Level {
            upper: None,
            lower: None,
            identities: (upper, lower),
            names,
            hides,
            path: self.path.len(),
        });
        Ok(())
    }

    /// Names below that nothing stands for here any more.
    fn find_gone(&mut self, upper: BorrowedFd<'_>, lower: BorrowedFd<'_>) -> Result<(), Failure> {
        for name in Names::read(lower).map_err(self.failure())? {
            if self.stat(upper, &name)?.is_none() {
                self.changes.push(('D', [self.path.as_slice(), b"/", name.as_bytes()].concat()));
            }
        }
        Ok(())
    }

    /// Write down what a name is; a directory is opened, with its counterpart.
    fn look(&mut self, pair: &Pair, name: &CStr) -> Result<Option<Pair>, Failure> {
        let Some(stat) = self.stat(pair.upper.as_fd(), name)? else {
            return Ok(None);
        };
        let below = match &pair.lower {
            // A layer that stands alone is looked at as it is, with its own whiteouts.
            Some(lower) => self.stat(lower.as_fd(), name)?.filter(|below| !is_whiteout(below)),
            None => None,
        };
        if self.is_gone(pair, name, &stat)? {
            // Nothing is gone that was not there.
            if below.is_some() {
                self.changes.push(('D', self.path.clone()));
            }
            return Ok(None);
        }
        self.changes.push((if below.is_some() { 'C' } else { 'A' }, self.path.clone()));
        if file_type(&stat) != SFlag::S_IFDIR {
            return Ok(None);
        }
        let upper = open_child(pair.upper.as_fd(), name).map_err(self.failure())?;
        let is_directory = below.is_some_and(|below| file_type(&below) == SFlag::S_IFDIR);
        let lower = match (&pair.lower, is_directory) {
            (Some(lower), true) => Some(open_child(lower.as_fd(), name).map_err(self.failure())?),
            _ => None,
        };
        Ok(Some(Pair { upper, lower }))
    }

    fn is_gone(&self, pair: &Pair, name: &CStr, stat: &FileStat) -> Result<bool, Failure> {
        if is_whiteout(stat) {
            return Ok(true);
        }
        if file_type(stat) != SFlag::S_IFREG || stat.st_size != 0 {
            return Ok(false);
        }
        let attributes = Attributes::read(&XattrTarget::Name(pair.upper.as_fd(), name));
        Ok(attributes.map_err(self.failure())?.whiteout)
    }

    fn stat(&self, directory: BorrowedFd<'_>, name: &CStr) -> Result<Option<FileStat>, Failure> {
        match stat_at(directory, name) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.failure()(errno)),
        }
    }

    fn failure(&self) -> impl FnOnce(Errno) -> Failure + use<> {
        let path = PathBuf::from(OsStr::from_bytes(&self.path));
        move |errno| Failure { errno, path }
    }
}
