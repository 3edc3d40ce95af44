//! What has to be remembered until a layer's end, and not more than that.
use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;

use super::entry::Entry;
use super::error::{Result, damaged, refused};
use super::node::DEFAULT_ACL;
use super::parents::Parents;
use super::{limits, node};
use crate::fs::{DIRECTORY, open_beneath};

/// Bytes of a record beside its path.
const RECORD: usize = 64;

/// What a directory gets at the end.
#[derive(Debug)]
struct Late {
    path: Vec<u8>,
    mtime: (i64, i64),
    default_acl: Option<Vec<u8>>,
}

/// Bounded by [`limits::REMEMBERED`].
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Paths that a whiteout of this layer hides below while something else than a directory stands there: should
    /// a directory replace it, it is opaque. Whiteouts count regardless of order (layer.md).
    hidden: HashSet<Vec<u8>>,
    /// Directories' times, and the ACLs that what is made in them inherits: set when nothing is written into them any
    /// more.
    late: Vec<Late>,
    /// Whether any directory has an ACL for what is made in it.
    has_acls: bool,
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

    /// A directory's time and default ACL.
    pub(super) fn remember(&mut self, path: Vec<u8>, entry: &Entry) -> Result<()> {
        let acl = entry.xattrs.iter().find(|(key, _)| key.as_c_str() == DEFAULT_ACL).map(|(_, value)| value.clone());
        self.charge(path.len() + acl.as_ref().map_or(0, Vec::len))?;
        self.has_acls |= acl.is_some();
        self.late.push(Late { path, mtime: entry.mtime, default_acl: acl });
        Ok(())
    }

    /// Set all times. The order does not matter: setting one changes no other.
    pub(super) fn set_times(&self, parents: &Parents) -> Result<()> {
        for Late { path, mtime, default_acl: acl } in &self.late {
            let directory = open_beneath(parents.root(), path, DIRECTORY);
            let describe = |fd: OwnedFd| {
                if self.has_acls {
                    node::set_default_acl(fd.as_fd(), acl.as_deref())?;
                }
                node::set_times(fd.as_fd(), *mtime)
            };
            match directory.and_then(describe) {
                // A later entry put something else there.
                Ok(()) | Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                Err(Errno::EINVAL) if acl.is_some() => return Err(refused(path, "its default ACL is malformed")),
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
