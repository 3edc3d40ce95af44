//! What goes from one side to the other.
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::path::Path;

use nix::errno::Errno;

use crate::fs::Failure;
use crate::tree::Identity;

/// One name with its metadata.
#[derive(Debug)]
pub(super) struct Entry {
    /// Below the target, components joined by single slashes; none of them is `.` or `..`.
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Permission bits with setuid, setgid and sticky.
    pub(super) mode: u32,
    /// Seconds and nanoseconds.
    pub(super) mtime: (i64, i64),
    /// The value of `security.capability`.
    pub(super) capability: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Directory,
    /// Bytes, and where an earlier name of the same file is.
    File {
        size: u64,
        first: Option<Vec<u8>>,
    },
    Symlink(Vec<u8>),
    Fifo,
}

/// The bytes of a regular file.
pub(super) enum Content<'a> {
    /// Not a file, or a link to an earlier one in an archive.
    Nothing,
    /// An open file.
    Open(BorrowedFd<'a>),
    /// The next bytes of a stream.
    Stream(&'a mut dyn Read),
}

/// Where entries go, a directory before what is in it.
pub(super) trait Sink {
    /// Take one entry.
    fn put(&mut self, entry: &Entry, content: Content<'_>) -> Result<()>;

    /// Whether this directory is the copy itself, which must not be copied into itself.
    fn is_own(&self, _directory: Identity) -> bool {
        false
    }
}

/// Why it could not be copied.
#[derive(Debug)]
pub(super) enum Error {
    /// A system call failed; the path is below the source or the target.
    System(Failure),
    /// The archive is damaged or wants something that is refused: a sentence.
    Archive(String),
}

pub(super) type Result<T> = std::result::Result<T, Error>;

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::System(failure)
    }
}

/// Name the file that an errno is about.
pub(super) fn at(path: &[u8]) -> impl FnOnce(Errno) -> Error + '_ {
    move |errno| Error::System(Failure { errno, path: as_path(path).to_owned() })
}

/// As `at`, for std's errors; those without an errno come from a decoder.
pub(super) fn io_at(path: &[u8]) -> impl FnOnce(io::Error) -> Error + '_ {
    move |error| match error.raw_os_error() {
        Some(errno) => at(path)(Errno::from_raw(errno)),
        None => Error::Archive(error.to_string()),
    }
}

pub(super) fn as_path(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// What was copied.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// Bytes of files.
    pub(super) bytes: u64,
    /// Paths of devices, which are left out.
    pub(super) devices: Vec<Vec<u8>>,
}
