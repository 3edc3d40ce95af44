//! What has to be remembered until a layer's end, and not more than that.
use std::collections::HashSet;
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::error::{Result, damaged};
use super::parents::Parents;
use super::{limits, node};
use crate::fs::{DIRECTORY, open_beneath};

/// Bytes of a record beside its path.
const RECORD: usize = 64;

/// Bounded by [`limits::REMEMBERED`].
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Paths that a whiteout of this layer hides below while something else than a directory stands there: should
    /// a directory replace it, it is opaque. Whiteouts count regardless of order (layer.md).
    hidden: HashSet<Vec<u8>>,
    /// Directories' times, set when nothing is written into them any more.
    times: Vec<(Vec<u8>, (i64, i64))>,
    size: usize,
}

impl Memory {
    /// A path whose namesake below stays hidden.
    pub(super) fn hide(&mut self, path: Vec<u8>) -> Result<()> {
        self.charge(path.len())?;
        self.hidden.insert(path);
        Ok(())
    }

    /// Whether a path is hidden below; the directory that asks becomes opaque and says so itself from now on.
    pub(super) fn take_hidden(&mut self, path: &[u8]) -> bool {
        self.hidden.remove(path)
    }

    /// A directory's time.
    pub(super) fn remember(&mut self, path: Vec<u8>, mtime: (i64, i64)) -> Result<()> {
        self.charge(path.len())?;
        self.times.push((path, mtime));
        Ok(())
    }

    /// Set all times. The order does not matter: setting one changes no other.
    pub(super) fn set_times(&self, parents: &Parents) -> Result<()> {
        for (path, mtime) in &self.times {
            let directory = open_beneath(parents.root(), path, DIRECTORY);
            match directory.and_then(|fd| node::set_times(fd.as_fd(), *mtime)) {
                // A later entry put something else there.
                Ok(()) | Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                Err(errno) => return Err(parents.failure(path)(errno).into()),
            }
        }
        Ok(())
    }

    fn charge(&mut self, length: usize) -> Result<()> {
        self.size += length + RECORD;
        if self.size > limits::REMEMBERED {
            return Err(damaged("it has too many directories"));
        }
        Ok(())
    }
}
