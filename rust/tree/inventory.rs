//! What is in a tree: every name with its metadata and, if wanted, a digest of its content.
//!
//! Several threads share the work, a directory or some of its names at a time. Nothing is followed, nothing is
//! changed, not even the times of access.
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::panic::resume_unwind;
use std::thread::{self, Builder};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, major, minor};
use nix::unistd::read;
use xxhash_rust::xxh3::Xxh3;

use super::entry::{Entry, Identity, escaped};
use super::is_dot;
use super::queue::{Queue, Work};
use crate::fs::{DIRECTORY, Failure, XattrTarget, file_type, is_overlay_xattr, is_whiteout, open_beneath, stat_at};
use crate::layer::meter::Meter;

/// Names of one directory that are one piece of work.
const CHUNK: usize = 256;
/// Bytes read at once.
const BUFFER: usize = 256 << 10;
/// More threads than this only wait for the disk.
const MAX_THREADS: usize = 8;
/// Given by the host and changed by it (restorecon(8)): not a part of what was unpacked.
const RELABELLED: &[u8] = b"security.selinux";

/// What is wanted of a tree.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contents {
    /// Everything as it is on the disk, contents read and digested: XXH3, 128 bits.
    Digested,
    /// The same, but of files their lengths alone: nothing is read.
    Measured,
    /// Only the lengths of files, and nothing that overlayfs keeps for itself (whiteouts, its attributes).
    Unread,
}

/// All names of the tree whose root is open, sorted by path; without those of `skipped` in the root itself.
///
/// What cannot be read is in the list with its `failure`; only a root that cannot be read is an error. `meter` counts the
/// bytes of files that are digested.
pub(crate) fn take(
    root: BorrowedFd<'_>,
    contents: Contents,
    skipped: &[&[u8]],
    meter: Option<&Meter>,
) -> Result<Vec<Entry>, Failure> {
    let queue = Queue::new(Work::Directory(Vec::new()));
    let threads = thread::available_parallelism().map_or(1, |count| count.get().min(MAX_THREADS));
    let worker = || Worker::new(root, &queue, contents, skipped, meter);
    let mut entries = thread::scope(|scope| {
        // A thread that cannot be had is not missed: the others do its work.
        let start = |_| Builder::new().spawn_scoped(scope, || worker().run()).ok();
        let workers: Vec<_> = (1..threads).filter_map(start).collect();
        let mut entries = worker().run();
        for worker in workers {
            entries.extend(worker.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        entries
    });
    entries.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    if let Some(failure) = entries.first().filter(|first| first.path.is_empty()).and_then(|first| first.failure) {
        return Err(Failure::at("")(failure));
    }
    name_links(&mut entries);
    Ok(entries)
}

/// Of the names of one file, all but the first say so, and nothing more: the rest is the first one's.
fn name_links(entries: &mut [Entry]) {
    let mut first: HashMap<(u64, u64), String> = HashMap::new();
    for entry in entries.iter_mut().filter(|entry| entry.kind != 'd' && entry.identity.names > 1) {
        let key = (entry.identity.device, entry.identity.inode);
        if let Some(path) = first.get(&key) {
            entry.content.clone_from(path);
            entry.kind = 'h';
        } else {
            first.insert(key, escaped(&entry.path));
        }
    }
}

enum Found {
    Entry(Entry),
    Directory,
    Nothing,
}

struct Worker<'a> {
    root: BorrowedFd<'a>,
    queue: &'a Queue,
    contents: Contents,
    skipped: &'a [&'a [u8]],
    meter: Option<&'a Meter>,
    buffer: Vec<u8>,
    entries: Vec<Entry>,
}

impl<'a> Worker<'a> {
    fn new(
        root: BorrowedFd<'a>,
        queue: &'a Queue,
        contents: Contents,
        skipped: &'a [&'a [u8]],
        meter: Option<&'a Meter>,
    ) -> Self {
        Self { root, queue, contents, skipped, meter, buffer: Vec::new(), entries: Vec::new() }
    }

    fn run(mut self) -> Vec<Entry> {
        while let Some(taken) = self.queue.take() {
            match taken.work {
                Work::Directory(path) => self.directory(&path),
                Work::Names(path, names) => match self.open(&path) {
                    Ok(directory) => self.names(&directory, &path, names),
                    Err(errno) => self.entries.push(Entry::failed(path, errno)),
                },
            }
        }
        self.entries
    }

    fn open(&self, path: &[u8]) -> nix::Result<OwnedFd> {
        quietly(|flags| open_beneath(self.root, path, DIRECTORY | flags))
    }

    /// The directory itself and its names.
    fn directory(&mut self, path: &[u8]) {
        let opened = self.open(path).and_then(|directory| Ok((fstat(&directory)?, directory)));
        let (stat, directory) = match opened {
            Ok(opened) => opened,
            Err(errno) => return self.entries.push(Entry::failed(path.to_vec(), errno)),
        };
        let mut entry = self.described(path, 'd', &stat, &XattrTarget::Open(directory.as_fd()));
        match listed(directory.as_fd()) {
            Ok(mut names) => {
                if path.is_empty() {
                    names.retain(|(name, _)| !self.skipped.contains(&name.as_bytes()));
                }
                while names.len() > CHUNK {
                    let rest = names.split_off(names.len() - CHUNK);
                    self.queue.add([Work::Names(path.to_vec(), rest)]);
                }
                self.names(&directory, path, names);
            }
            Err(errno) => entry.failure = Some(errno),
        }
        self.entries.push(entry);
    }

    fn names(&mut self, directory: &OwnedFd, path: &[u8], names: Vec<(CString, Option<Type>)>) {
        let mut below = Vec::new();
        for (name, kind) in names {
            let child = if path.is_empty() { name.as_bytes().to_vec() } else { [path, name.as_bytes()].join(&b'/') };
            if kind == Some(Type::Directory) {
                below.push(Work::Directory(child));
                continue;
            }
            match self.name(directory.as_fd(), &name, kind, &child) {
                Ok(Found::Entry(entry)) => self.entries.push(entry),
                Ok(Found::Directory) => below.push(Work::Directory(child)),
                Ok(Found::Nothing) => {}
                Err(errno) => self.entries.push(Entry::failed(child, errno)),
            }
        }
        if !below.is_empty() {
            self.queue.add(below);
        }
    }

    /// Describe a name.
    fn name(&mut self, directory: BorrowedFd<'_>, name: &CStr, kind: Option<Type>, path: &[u8]) -> nix::Result<Found> {
        if kind == Some(Type::File) {
            return self.file(directory, name, path).map(Found::Entry);
        }
        let stat = stat_at(directory, name)?;
        let kind = match file_type(&stat) {
            SFlag::S_IFDIR => return Ok(Found::Directory),
            SFlag::S_IFREG => return self.file(directory, name, path).map(Found::Entry),
            SFlag::S_IFLNK => 'l',
            SFlag::S_IFCHR if self.contents == Contents::Unread && is_whiteout(&stat) => return Ok(Found::Nothing),
            SFlag::S_IFCHR => 'c',
            SFlag::S_IFBLK => 'b',
            SFlag::S_IFIFO => 'p',
            _ => 's',
        };
        let mut entry = self.described(path, kind, &stat, &XattrTarget::Name(directory, name));
        match kind {
            'l' => entry.content = escaped(&readlinkat(directory, name)?.into_vec()),
            'c' | 'b' => entry.content = format!("{}:{}", major(stat.st_rdev), minor(stat.st_rdev)),
            _ => {}
        }
        Ok(Found::Entry(entry))
    }

    fn file(&mut self, directory: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> nix::Result<Entry> {
        // O_NONBLOCK: should a fifo have taken the name meanwhile, this must not wait for its writer.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = quietly(|quiet| openat(directory, name, flags | quiet, Mode::empty()))?;
        let stat = fstat(&file)?;
        if file_type(&stat) != SFlag::S_IFREG {
            return Err(Errno::ESTALE);
        }
        let mut entry = self.described(path, 'f', &stat, &XattrTarget::Open(file.as_fd()));
        entry.content = stat.st_size.to_string();
        if self.contents == Contents::Digested {
            match self.digest(file.as_fd(), stat.st_size) {
                Ok(digest) => entry.content = format!("{}:{digest:032x}", stat.st_size),
                Err(errno) => entry.failure = Some(errno),
            }
        }
        Ok(entry)
    }

    fn described(&self, path: &[u8], kind: char, stat: &FileStat, target: &XattrTarget<'_>) -> Entry {
        let (xattrs, failure) = match self.xattrs(target) {
            Ok(text) => (text, None),
            Err(errno) => ("-".to_owned(), Some(errno)),
        };
        Entry {
            path: path.to_vec(),
            kind,
            mode: stat.st_mode & !libc::S_IFMT,
            owner: (stat.st_uid, stat.st_gid),
            mtime: (stat.st_mtime, stat.st_mtime_nsec),
            content: "-".to_owned(),
            xattrs,
            identity: Identity {
                device: stat.st_dev,
                inode: stat.st_ino,
                names: stat.st_nlink,
                changed: (stat.st_ctime, stat.st_ctime_nsec),
            },
            failure,
        }
    }

    fn xattrs(&self, target: &XattrTarget<'_>) -> nix::Result<String> {
        let mut keys = match target.list() {
            Err(Errno::EOPNOTSUPP) => return Ok("-".to_owned()),
            keys => keys?,
        };
        keys.retain(|key| key.to_bytes() != RELABELLED);
        if self.contents == Contents::Unread {
            keys.retain(|key| !is_overlay_xattr(key.to_bytes()));
        }
        keys.sort_unstable();
        let mut pairs = Vec::new();
        for key in &keys {
            let value = match target.get(key) {
                // A name that is listed and has no value (some security modules).
                Err(Errno::ENODATA | Errno::EOPNOTSUPP) => continue,
                value => value?,
            };
            pairs.push(format!("{}={}", escaped(key.to_bytes()), escaped(&value)));
        }
        Ok(if pairs.is_empty() { "-".to_owned() } else { pairs.join(",") })
    }

    fn digest(&mut self, file: BorrowedFd<'_>, length: i64) -> nix::Result<u128> {
        self.buffer.resize(BUFFER, 0);
        let mut hasher = Xxh3::new();
        let mut left = length;
        while left > 0 {
            let count = match read(file, &mut self.buffer) {
                Err(Errno::EINTR) => continue,
                count => count?,
            };
            // Shorter than it was a moment ago: the digest will differ.
            if count == 0 {
                break;
            }
            hasher.update(&self.buffer[..count]);
            if let Some(meter) = self.meter {
                meter.add(count);
            }
            left -= i64::try_from(count).map_err(|_| Errno::EOVERFLOW)?;
        }
        Ok(hasher.digest128())
    }
}

/// Open without touching the time of access, where that is allowed (open(2), O_NOATIME).
fn quietly<T>(open: impl Fn(OFlag) -> nix::Result<T>) -> nix::Result<T> {
    match open(OFlag::O_NOATIME) {
        Err(Errno::EPERM) => open(OFlag::empty()),
        opened => opened,
    }
}

/// Names and kinds in a directory; the kind is None where the file system does not tell.
fn listed(directory: BorrowedFd<'_>) -> nix::Result<Vec<(CString, Option<Type>)>> {
    let mut opened = quietly(|quiet| Dir::openat(directory, c".", DIRECTORY | quiet, Mode::empty()))?;
    let mut names = Vec::new();
    for item in opened.iter() {
        let item = item?;
        if !is_dot(item.file_name().to_bytes()) {
            names.push((item.file_name().to_owned(), item.file_type()));
        }
    }
    Ok(names)
}
