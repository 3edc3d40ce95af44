//! Entries of a layer become files below one directory descriptor.
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{FileStat, Mode, SFlag, makedev, mkdirat, mknodat, umask};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use super::entry::{Entry, Kind};
use super::error::{Error, Result, quoted, refused};
use super::input::{Origin, Raw};
use super::memory::Memory;
use super::meter::Meter;
use super::parents::{Directory, Missing, Parents, link};
use super::reader::Reader;
use super::recipe::Writer;
use super::source::{Source, Totals};
use super::whiteout::{Meaning, meaning};
use super::{content, limits, node, path, pipeline};
use crate::fs::{DIRECTORY, Failure, file_type, is_whiteout, stat_at};
use crate::tree;

/// What is done beside unpacking.
pub(super) struct Wishes<'a> {
    /// A directory for what it takes to write the same tar again.
    pub(super) recipe: Option<&'a Path>,
    /// No entry may take the place of an earlier one, but a directory that of a directory.
    pub(super) unique: bool,
    /// The disk begins to write what is there of a large layer at once.
    pub(super) flush: bool,
    /// Counts the stored bytes that have been read.
    pub(super) meter: Option<&'a Meter>,
}

/// Unpack the layer that `source` holds into the empty directory `target`; returns its totals and its entries.
///
/// `interrupted` is asked now and then while a large layer is unpacked; once it says yes, this ends with an error.
pub(super) fn unpack(
    source: BorrowedFd<'_>,
    origin: Origin,
    target: &Path,
    wishes: &Wishes<'_>,
    interrupted: impl FnMut() -> bool,
) -> Result<(Totals, u64)> {
    let root = open(target, DIRECTORY, Mode::empty()).map_err(Failure::at(target))?;
    if !tree::is_empty(root.as_fd()).map_err(Failure::at(target))? {
        return Err(Failure::at(target)(Errno::ENOTEMPTY).into());
    }
    let recipe = match wishes.recipe {
        Some(path) => Some(Writer::new(open(path, DIRECTORY, Mode::empty()).map_err(Failure::at(path))?)?),
        None => None,
    };
    let raw = Raw::new(source, origin).metered(wishes.meter);
    if raw.length().is_some_and(|length| length <= limits::SMALL) {
        return write(Source::here(raw)?, recipe, root, target, wishes.unique);
    }
    let flush = wishes.flush.then(|| root.try_clone()).transpose();
    let flush =
        flush.map_err(|error| Failure::at(target)(Errno::from_raw(error.raw_os_error().unwrap_or_default())))?;
    let unique = wishes.unique;
    let write = |source: Source<'_>| {
        // This thread alone creates files with the modes that are asked for. Where it may not (a sandbox), each
        // file whose mode the umask cuts costs one more call.
        let _ = unshare(CloneFlags::CLONE_FS).map(|()| umask(Mode::empty()));
        write(source, recipe, root, target, unique)
    };
    pipeline::run(raw, flush, write, interrupted)
}

fn write(
    source: Source<'_>,
    recipe: Option<Writer>,
    root: OwnedFd,
    target: &Path,
    unique: bool,
) -> Result<(Totals, u64)> {
    let mut reader = Reader::new(source.recorded(recipe));
    let mut layer = Layer { parents: Parents::new(root, target.to_owned()), memory: Memory::default(), unique };
    while let Some(entry) = reader.next()? {
        layer.apply(&entry, &mut reader)?;
    }
    let entries = reader.entries();
    // The rest of the stream first: a layer that is damaged at its end needs no times.
    let totals = reader.finish()?;
    layer.memory.set_times(&layer.parents)?;
    Ok((totals, entries))
}

/// A layer being unpacked.
struct Layer {
    parents: Parents,
    memory: Memory,
    unique: bool,
}

impl Layer {
    fn apply(&mut self, entry: &Entry, reader: &mut Reader<'_>) -> Result<()> {
        let why = |why| refused(&entry.name, why);
        let components = path::components(&entry.name).map_err(why)?;
        let meaning = meaning(&components).map_err(why)?;
        let Some((last, parents)) = components.split_last() else {
            return self.apply_root(entry);
        };
        if meaning == Meaning::Aufs {
            return Ok(());
        }
        if meaning != Meaning::File && !is_marker(&entry.kind) {
            return Err(why("a whiteout is an empty regular file"));
        }
        let directory = self.parents.open(parents, true).map_err(|missing| explain(&entry.name, missing))?;
        match meaning {
            Meaning::File => self.create(&directory, last, entry, reader),
            Meaning::Whiteout(name) => self.white_out(&directory, name),
            Meaning::Opaque => {
                Ok(node::set_opaque(directory.fd.as_fd()).map_err(self.parents.failure(&directory.path))?)
            }
            Meaning::Aufs => Ok(()),
        }
    }

    /// The layer's root is there; an entry can only describe it.
    fn apply_root(&mut self, entry: &Entry) -> Result<()> {
        if !matches!(entry.kind, Kind::Directory) {
            return Err(refused(&entry.name, "the layer's root can only be a directory"));
        }
        let root = self.parents.root();
        node::clear_xattrs(root).and_then(|()| node::describe(root, entry)).map_err(self.parents.failure(b""))?;
        self.memory.remember(Vec::new(), entry)
    }

    fn create(&mut self, directory: &Rc<Directory>, name: &[u8], entry: &Entry, reader: &mut Reader<'_>) -> Result<()> {
        let fd = directory.fd.as_fd();
        let place = c_string(name)?;
        let name = place.as_c_str();
        let mode = node::creation_mode(entry);
        let node = |kind: SFlag, device: u64| mknodat(fd, name, kind, mode, device);
        match &entry.kind {
            Kind::Directory => return self.create_directory(directory, &place, entry, reader),
            Kind::HardLink(source) => return self.create_link(directory, &place, entry, source, reader),
            Kind::File { sparse, .. } => {
                let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                let file: OwnedFd = self.replacing(directory, &place, reader, || openat(fd, name, flags, mode))?;
                let path = directory.child(name.to_bytes());
                content::write(reader, &file, sparse.as_ref(), &path, self.parents.failure(&path))?;
                return node::describe(file.as_fd(), entry)
                    .and_then(|()| node::set_times(file.as_fd(), entry.mtime))
                    .map_err(|errno| self.metadata_failure(&path, entry, errno));
            }
            Kind::Symlink(target) => {
                let target = c_string(target)?;
                self.replacing(directory, &place, reader, || symlinkat(target.as_c_str(), fd, name))?;
            }
            Kind::Character(major, minor) => {
                self.replacing(directory, &place, reader, || node(SFlag::S_IFCHR, makedev(*major, *minor)))?;
            }
            Kind::Block(major, minor) => {
                self.replacing(directory, &place, reader, || node(SFlag::S_IFBLK, makedev(*major, *minor)))?;
            }
            Kind::Fifo => self.replacing(directory, &place, reader, || node(SFlag::S_IFIFO, 0))?,
        }
        node::describe_name(fd, name, entry, matches!(entry.kind, Kind::Symlink(_)))
            .map_err(|errno| self.metadata_failure(&directory.child(name.to_bytes()), entry, errno))
    }

    /// An existing directory is kept with its content and described anew.
    fn create_directory(
        &mut self,
        directory: &Rc<Directory>,
        place: &CString,
        entry: &Entry,
        reader: &mut Reader<'_>,
    ) -> Result<()> {
        let fd = directory.fd.as_fd();
        let path = directory.child(place.as_bytes());
        // Its owner has to get in, whatever the layer says in the end.
        let make = || mkdirat(fd, place.as_c_str(), node::creation_mode(entry) | Mode::S_IRWXU);
        let (mut opaque, mut existing) = (false, false);
        match make() {
            Ok(()) => {}
            Err(Errno::EEXIST) => {
                let stat = stat_at(fd, place).map_err(self.parents.failure(&path))?;
                existing = file_type(&stat) == SFlag::S_IFDIR;
                if !existing {
                    self.clear(directory, place, &stat, reader)?;
                    opaque = self.memory.take_hidden(&path);
                    make().map_err(self.parents.failure(&path))?;
                }
            }
            Err(errno) => return Err(self.parents.failure(&path)(errno).into()),
        }
        let opened = openat(fd, place.as_c_str(), DIRECTORY, Mode::empty()).map_err(self.parents.failure(&path))?;
        let child = opened.as_fd();
        if existing {
            node::clear_xattrs(child).map_err(self.parents.failure(&path))?;
        }
        if opaque {
            node::set_opaque(child).map_err(self.parents.failure(&path))?;
        }
        node::describe(child, entry).map_err(|errno| self.metadata_failure(&path, entry, errno))?;
        // What is in it mostly comes next.
        self.parents.remember(Directory { fd: opened, path: path.clone() });
        self.memory.remember(path, entry)
    }

    /// A hard link's source is resolved like an entry's own path and must be of this layer.
    fn create_link(
        &mut self,
        directory: &Rc<Directory>,
        place: &CString,
        entry: &Entry,
        source: &[u8],
        reader: &mut Reader<'_>,
    ) -> Result<()> {
        let why = |what: &str| refused(&entry.name, format!("hard link to {}: {what}", quoted(source)));
        let components = path::components(source).map_err(why)?;
        let Some((last, parents)) = components.split_last() else {
            return Err(why("a directory cannot be linked"));
        };
        let from = self.parents.open(parents, false).map_err(|missing| match missing {
            Missing::Why(what) => why(what),
            Missing::System(error) => error,
        })?;
        let name = c_string(last)?;
        let stat = match stat_at(from.fd.as_fd(), &name) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Err(why("it is not in this layer")),
            Err(errno) => return Err(self.parents.failure(&from.child(last))(errno).into()),
        };
        if file_type(&stat) == SFlag::S_IFDIR {
            return Err(why("a directory cannot be linked"));
        }
        if is_whiteout(&stat) {
            return Err(why("it is not in this layer"));
        }
        // Replacing a name by a link to the same file would remove the file first.
        if let Ok(own) = stat_at(directory.fd.as_fd(), place)
            && (own.st_dev, own.st_ino) == (stat.st_dev, stat.st_ino)
            && !self.unique
        {
            return Ok(());
        }
        let path = directory.child(place.as_bytes());
        if from.path.strip_prefix(path.as_slice()).is_some_and(|rest| matches!(rest, [] | [b'/', ..])) {
            return Err(why("the link would replace the directory that holds it"));
        }
        self.replacing(directory, place, reader, || link((&from, &name), (directory, place)))
    }

    /// OCI's whiteout becomes overlayfs's. It hides the layers below only: what this layer has, stays.
    fn white_out(&mut self, directory: &Rc<Directory>, name: &[u8]) -> Result<()> {
        let fd = directory.fd.as_fd();
        let path = directory.child(name);
        let place = c_string(name)?;
        let hide = || match stat_at(fd, &place) {
            Err(Errno::ENOENT) => mknodat(fd, place.as_c_str(), SFlag::S_IFCHR, Mode::empty(), 0).map(|()| false),
            Err(errno) => Err(errno),
            Ok(stat) if file_type(&stat) == SFlag::S_IFDIR => {
                let child = openat(fd, place.as_c_str(), DIRECTORY, Mode::empty())?;
                node::set_opaque(child.as_fd()).map(|()| false)
            }
            Ok(stat) => Ok(!is_whiteout(&stat)),
        };
        if hide().map_err(self.parents.failure(&path))? {
            self.memory.hide(path)?;
        }
        Ok(())
    }

    /// Create a name that is not a directory; what stands there goes first, so nothing is written through it.
    fn replacing<T>(
        &mut self,
        directory: &Rc<Directory>,
        place: &CString,
        reader: &mut Reader<'_>,
        create: impl Fn() -> nix::Result<T>,
    ) -> Result<T> {
        let mut result = create();
        if matches!(result, Err(Errno::EEXIST)) {
            let path = directory.child(place.as_bytes());
            let stat = stat_at(directory.fd.as_fd(), place).map_err(self.parents.failure(&path))?;
            self.clear(directory, place, &stat, reader)?;
            result = create();
        }
        Ok(result.map_err(|errno| self.parents.failure(&directory.child(place.as_bytes()))(errno))?)
    }

    /// Remove what an earlier entry made. What it hid below stays hidden.
    fn clear(
        &mut self,
        directory: &Rc<Directory>,
        place: &CString,
        stat: &FileStat,
        reader: &mut Reader<'_>,
    ) -> Result<()> {
        let fd = directory.fd.as_fd();
        let path = directory.child(place.as_bytes());
        if self.unique {
            return Err(refused(&path, "it appears twice"));
        }
        self.parents.forget();
        if file_type(stat) == SFlag::S_IFDIR {
            let child = openat(fd, place.as_c_str(), DIRECTORY, Mode::empty()).map_err(self.parents.failure(&path))?;
            if node::is_opaque(child.as_fd()) {
                self.memory.hide(path.clone())?;
            }
            drop(child);
            if let Some(recipe) = reader.recipe() {
                return recipe.replace(fd, place, &path);
            }
            return tree::remove_at(fd, place).map_err(|failure| self.parents.failure(&path)(failure.errno).into());
        }
        if is_whiteout(stat) {
            self.memory.hide(path.clone())?;
        }
        if let Some(recipe) = reader.recipe()
            && file_type(stat) == SFlag::S_IFREG
            && stat.st_size > 0
        {
            return recipe.replace(fd, place, &path);
        }
        let removed = unlinkat(fd, place.as_c_str(), UnlinkatFlags::NoRemoveDir);
        Ok(removed.map_err(self.parents.failure(&path))?)
    }

    fn metadata_failure(&self, path: &[u8], entry: &Entry, errno: Errno) -> Error {
        // The kernel checks what file capabilities look like (capabilities(7)).
        if errno == Errno::EINVAL && !entry.xattrs.is_empty() {
            return refused(&entry.name, "an extended attribute has a value that the kernel refuses");
        }
        self.parents.failure(path)(errno).into()
    }
}

/// Whiteouts are empty regular files; layers made on aufs link one to another.
fn is_marker(kind: &Kind) -> bool {
    match kind {
        Kind::File { size, sparse } => *size == 0 && sparse.is_none(),
        Kind::HardLink(source) => {
            source.rsplit(|byte| *byte == b'/').next().is_some_and(|name| name.starts_with(b".wh."))
        }
        _ => false,
    }
}

fn explain(name: &[u8], missing: Missing) -> Error {
    match missing {
        Missing::Why(why) => refused(name, why),
        Missing::System(error) => error,
    }
}

fn c_string(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| refused(bytes, "the name contains a NUL byte"))
}
