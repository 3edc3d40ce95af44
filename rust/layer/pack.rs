//! A tree becomes a layer tar: one pass, by descriptors, the same bytes for the same tree.
//!
//! The tree may be a running container's writable layer: what vanishes on the way is left out, a file that shrinks
//! is filled up with zeros, one that grows is cut. Holes are written as zeros, because the image specification
//! discourages sparse files and not all programs read them; the unpacker makes them holes again.
use std::collections::HashMap;
use std::ffi::{CStr, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use tar::EntryType;

use super::attributes::Attributes;
use super::error::{Error, Result, refused};
use super::header::{BLOCK, Header};
use super::holes::Holes;
use super::names::Names;
use super::output::Output;
use super::whiteout;
use crate::fs::{DIRECTORY, Failure, XattrTarget, file_type, is_whiteout, open_child, stat_at};
use crate::tree::{Identity, OPEN_LEVELS, identity, open_parent};

/// What a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A layer as overlayfs has it: device 0:0 and `opaque` mean what they mean there.
    Layer,
    /// A whole root file system: every name is a file's.
    Root,
}

/// What was packed, and what no archive can hold.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) entries: u64,
    pub(super) sockets: u64,
    /// Attributes whose name contains `=`, where a PAX record's key would end.
    pub(super) attributes: u64,
}

/// A directory on the way from the root to where the walk is.
struct Level {
    /// None when it is deep: it is opened again through `..`.
    open: Option<OwnedFd>,
    identity: Identity,
    names: Names,
    /// Length of its path, with the slash at the end.
    path: usize,
}

/// The archive being written.
struct Tar<'a, 'fd> {
    output: &'a mut Output<'fd>,
    entries: u64,
}

impl Tar<'_, '_> {
    fn write(&mut self, header: &Header<'_>) -> Result<()> {
        self.entries += 1;
        self.output.write(&header.encode()?)
    }
}

struct Packer<'a, 'fd> {
    form: Form,
    tar: Tar<'a, 'fd>,
    levels: Vec<Level>,
    /// Where the walk is, below the root.
    path: Vec<u8>,
    /// The first name of each file with several, and how many more there can be.
    links: HashMap<Identity, (Vec<u8>, u64)>,
    counts: Counts,
}

/// Pack everything below `root`, and `root` itself as `./`.
pub(super) fn pack(root: BorrowedFd<'_>, form: Form, output: &mut Output<'_>) -> Result<Counts> {
    let mut here = openat(root, c".", DIRECTORY, Mode::empty()).map_err(Failure::at(""))?;
    let counts = Counts::default();
    let mut packer = Packer {
        form,
        tar: Tar { output, entries: 0 },
        levels: Vec::new(),
        path: Vec::new(),
        links: HashMap::new(),
        counts,
    };
    packer.enter(here.as_fd())?;
    while let Some(depth) = packer.levels.len().checked_sub(1) {
        let level = &mut packer.levels[depth];
        packer.path.truncate(level.path);
        if let Some(name) = level.names.next() {
            packer.path.extend_from_slice(name.as_bytes());
            if let Some(child) = packer.add(here.as_fd(), &name)? {
                let left = std::mem::replace(&mut here, child);
                packer.levels[depth].open = (depth < OPEN_LEVELS).then_some(left);
                packer.enter(here.as_fd())?;
            }
            continue;
        }
        packer.levels.pop();
        if let Some(above) = packer.levels.last_mut() {
            here = match above.open.take() {
                Some(open) => open,
                None => open_parent(here.as_fd(), above.identity).map_err(packer.failure())?,
            };
        }
    }
    packer.tar.output.zeros(2 * BLOCK as u64)?;
    packer.counts.entries = packer.tar.entries;
    Ok(packer.counts)
}

impl Packer<'_, '_> {
    /// A directory's own entry, and its names to come.
    fn enter(&mut self, directory: BorrowedFd<'_>) -> Result<()> {
        let stat = fstat(directory).map_err(self.failure())?;
        let attributes = self.attributes(&XattrTarget::Open(directory))?;
        self.path.extend_from_slice(if self.levels.is_empty() { b"./" } else { b"/" });
        self.tar.write(&Header {
            kind: EntryType::Directory,
            xattrs: &attributes.kept,
            ..described(&self.path, &stat)
        })?;
        if self.levels.is_empty() {
            self.path.clear();
        }
        if self.form == Form::Layer && attributes.opaque {
            let marker = [self.path.as_slice(), whiteout::OPAQUE].concat();
            self.tar.write(&Header::marker(&marker))?;
        }
        let names = Names::read_if_there(directory).map_err(self.failure())?;
        let identity = identity(directory).map_err(self.failure())?;
        self.levels.push(Level { open: None, identity, names, path: self.path.len() });
        Ok(())
    }

    /// Write one name; a directory is opened instead.
    fn add(&mut self, directory: BorrowedFd<'_>, name: &CStr) -> Result<Option<OwnedFd>> {
        match self.try_add(directory, name) {
            // It was there when the directory was read.
            Err(Error::System(failure)) if failure.errno == Errno::ENOENT => Ok(None),
            result => result,
        }
    }

    fn try_add(&mut self, directory: BorrowedFd<'_>, name: &CStr) -> Result<Option<OwnedFd>> {
        let stat = stat_at(directory, name).map_err(self.failure())?;
        if self.form == Form::Layer {
            if is_whiteout(&stat) {
                return self.add_whiteout(name).map(|()| None);
            }
            if name.to_bytes().starts_with(whiteout::PREFIX) {
                let why = "in a layer a name that begins with .wh. says that a file is gone: rename it first";
                return Err(refused(&self.path, why));
            }
        }
        let kind = match file_type(&stat) {
            SFlag::S_IFDIR => return Ok(Some(open_child(directory, name).map_err(self.failure())?)),
            SFlag::S_IFREG => return self.add_file(directory, name).map(|()| None),
            SFlag::S_IFLNK => EntryType::Symlink,
            SFlag::S_IFIFO => EntryType::Fifo,
            SFlag::S_IFCHR => EntryType::Char,
            SFlag::S_IFBLK => EntryType::Block,
            _ => {
                // A socket is of no use without the process that listens on it.
                self.counts.sockets += 1;
                return Ok(None);
            }
        };
        if self.add_link(&stat)? {
            return Ok(None);
        }
        let (mut link, mut device) = (OsString::new(), (0, 0));
        if kind == EntryType::Symlink {
            link = readlinkat(directory, name).map_err(self.failure())?;
        } else if kind != EntryType::Fifo {
            device = (u64::from(libc::major(stat.st_rdev)), u64::from(libc::minor(stat.st_rdev)));
        }
        let xattrs = self.attributes(&XattrTarget::Name(directory, name))?.kept;
        let described = described(&self.path, &stat);
        self.tar.write(&Header { kind, link: link.as_bytes(), device, xattrs: &xattrs, ..described })?;
        self.remember(&stat);
        Ok(None)
    }

    fn add_whiteout(&mut self, name: &CStr) -> Result<()> {
        let parent = self.path.len() - name.count_bytes();
        let marker = [&self.path[..parent], whiteout::PREFIX, name.to_bytes()].concat();
        self.tar.write(&Header::marker(&marker))
    }

    fn add_file(&mut self, directory: BorrowedFd<'_>, name: &CStr) -> Result<()> {
        // O_NONBLOCK: should a fifo have taken the name meanwhile, this must not wait for its writer.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = openat(directory, name, flags, Mode::empty()).map_err(self.failure())?;
        let stat = fstat(&file).map_err(self.failure())?;
        if file_type(&stat) != SFlag::S_IFREG {
            // Replaced between the two looks: as if it had vanished.
            return Err(self.failure()(Errno::ENOENT).into());
        }
        let attributes = self.attributes(&XattrTarget::Open(file.as_fd()))?;
        if self.form == Form::Layer && attributes.whiteout && stat.st_size == 0 {
            return self.add_whiteout(name);
        }
        if self.add_link(&stat)? {
            return Ok(());
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        self.tar.write(&Header { size, xattrs: &attributes.kept, ..described(&self.path, &stat) })?;
        self.write_content(&file, &stat, size)?;
        self.remember(&stat);
        Ok(())
    }

    fn write_content(&mut self, file: &OwnedFd, stat: &FileStat, size: u64) -> Result<()> {
        // Blocks of 512 bytes, whatever the file system's own (stat(2)).
        let sparse = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512) < size;
        let mut holes = Holes::new(file.as_fd(), size, sparse);
        while let Some((hole, data)) = holes.next().map_err(self.failure())? {
            self.tar.output.zeros(hole)?;
            let mut left = data;
            while left > 0 {
                let space = self.tar.output.space()?;
                let room = usize::try_from(left).map_or(space.len(), |left| left.min(space.len()));
                match holes.read(&mut space[..room]) {
                    // It has become shorter.
                    Ok(0) => {
                        self.tar.output.zeros(left)?;
                        break;
                    }
                    Ok(count) => {
                        self.tar.output.advance(count);
                        left -= count as u64;
                    }
                    Err(Errno::EINTR) => {}
                    Err(errno) => return Err(self.failure()(errno).into()),
                }
            }
        }
        self.tar.output.zeros(size.next_multiple_of(BLOCK as u64) - size)
    }

    /// Write a further name of a file that was written already; false when this is its first name.
    fn add_link(&mut self, stat: &FileStat) -> Result<bool> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let key = (stat.st_dev, stat.st_ino);
        let Some((first, left)) = self.links.get_mut(&key) else {
            return Ok(false);
        };
        *left -= 1;
        let first = if *left == 0 { self.links.remove(&key).map(|(first, _)| first) } else { Some(first.clone()) };
        let link = first.unwrap_or_default();
        self.tar.write(&Header { kind: EntryType::Link, link: &link, size: 0, ..described(&self.path, stat) })?;
        Ok(true)
    }

    fn remember(&mut self, stat: &FileStat) {
        #[allow(clippy::unnecessary_cast, reason = "the field's type differs between machines")]
        if let Some(more) = (stat.st_nlink as u64).checked_sub(1).filter(|more| *more > 0) {
            self.links.insert((stat.st_dev, stat.st_ino), (self.path.clone(), more));
        }
    }

    fn attributes(&mut self, target: &XattrTarget<'_>) -> Result<Attributes> {
        let attributes = Attributes::read(target).map_err(self.failure())?;
        self.counts.attributes += attributes.unspeakable;
        if self.form == Form::Layer && attributes.elsewhere {
            return Err(refused(&self.path, "its content is in another layer (overlayfs: redirect_dir or metacopy)"));
        }
        Ok(attributes)
    }

    /// The failure of a call on where the walk is.
    fn failure(&self) -> impl FnOnce(Errno) -> Failure + use<> {
        let path = PathBuf::from(OsStr::from_bytes(&self.path));
        move |errno| Failure { errno, path }
    }
}

/// A header with what stat(2) says of owner, mode and time.
fn described<'a>(path: &'a [u8], stat: &FileStat) -> Header<'a> {
    Header {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: (stat.st_mtime, stat.st_mtime_nsec),
        ..Header::marker(path)
    }
}
