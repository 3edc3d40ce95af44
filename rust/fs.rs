//! File system calls by directory descriptor, for the trees that hyrun unpacks, copies and removes.
//!
//! Everything takes a directory descriptor and a single name (or a path that must stay below it), so that no
//! symlink planted by an image is ever followed on the host.
use std::ffi::{CStr, CString, OsStr, c_void};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::libc;
use nix::sys::stat::{FileStat, SFlag, fstatat};
use nix::sys::time::TimeSpec;

/// A system call's refusal with the file it was about; becomes Python's OSError.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) errno: Errno,
    pub(crate) path: PathBuf,
}

impl Failure {
    /// Name the file of a refusal: `call(..).map_err(Failure::at(path))`.
    pub(crate) fn at(path: impl AsRef<Path>) -> impl FnOnce(Errno) -> Self {
        move |errno| Self { errno, path: path.as_ref().to_owned() }
    }
}

/// The flags of every directory that is opened for reading: never through a symlink.
pub(crate) const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// openat2(2) takes paths shorter than PATH_MAX; longer ones are opened piece by piece.
const PIECE: usize = 4000;

/// Open `path` below `root` without any symlink on the way: openat2(2), RESOLVE_BENEATH.
pub(crate) fn open_beneath(root: BorrowedFd<'_>, path: &[u8], flags: OFlag) -> Result<OwnedFd, Errno> {
    let how = |flags| {
        OpenHow::new()
            .flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS)
    };
    let mut rest = path;
    let mut base: Option<OwnedFd> = None;
    while rest.len() > PIECE {
        let Some(cut) = rest[..PIECE].iter().rposition(|byte| *byte == b'/') else {
            return Err(Errno::ENAMETOOLONG);
        };
        let piece = OsStr::from_bytes(&rest[..cut]);
        let at = base.as_ref().map_or(root, |fd| fd.as_fd());
        base = Some(openat2(at, piece, how(OFlag::O_PATH | OFlag::O_DIRECTORY))?);
        rest = &rest[cut + 1..];
    }
    let at = base.as_ref().map_or(root, |fd| fd.as_fd());
    let rest: &[u8] = if rest.is_empty() { b"." } else { rest };
    openat2(at, OsStr::from_bytes(rest), how(flags))
}

/// Open a child directory, but no mount point: openat2(2), RESOLVE_NO_XDEV sees bind mounts as well.
pub(crate) fn open_child(parent: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(DIRECTORY)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV);
    openat2(parent, name, how)
}

/// lstat(2) of a name in a directory.
pub(crate) fn stat_at(parent: BorrowedFd<'_>, name: &CStr) -> Result<FileStat, Errno> {
    fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// The file type bits of a mode.
pub(crate) fn file_type(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Whether this is overlayfs's whiteout, the character device 0:0 (kernel, filesystems/overlayfs.rst).
pub(crate) fn is_whiteout(stat: &FileStat) -> bool {
    file_type(stat) == SFlag::S_IFCHR && stat.st_rdev == 0
}

/// Whether an extended attribute belongs to overlayfs and so never to a layer's or a tree's content.
pub(crate) fn is_overlay_xattr(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// What extended attributes are set on: an open file, or a name that must not be opened (symlinks, devices).
///
/// The kernel has no setxattrat(2) before 6.13, so names go through `/proc/self/fd`, whose last component is
/// not followed by the `l` family of calls (xattr(7)).
pub(crate) enum XattrTarget<'a> {
    Open(BorrowedFd<'a>),
    Name(BorrowedFd<'a>, &'a CStr),
}

impl XattrTarget<'_> {
    fn path(dir: BorrowedFd<'_>, name: &CStr) -> Result<CString, Errno> {
        let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
        path.extend_from_slice(name.to_bytes());
        CString::new(path).map_err(|_| Errno::EINVAL)
    }

    /// fsetxattr(2), lsetxattr(2).
    pub(crate) fn set(&self, key: &CStr, value: &[u8]) -> Result<(), Errno> {
        let data = value.as_ptr().cast::<c_void>();
        let code = match self {
            // SAFETY: the descriptor is borrowed for the call; key is a C string; data points to value.len() bytes.
            Self::Open(fd) => unsafe { libc::fsetxattr(fd.as_raw_fd(), key.as_ptr(), data, value.len(), 0) },
            Self::Name(dir, name) => {
                let path = Self::path(*dir, name)?;
                // SAFETY: path and key are C strings that live over the call; data points to value.len() bytes.
                unsafe { libc::lsetxattr(path.as_ptr(), key.as_ptr(), data, value.len(), 0) }
            }
        };
        Errno::result(code).map(drop)
    }

    /// The names of all attributes: flistxattr(2), llistxattr(2).
    pub(crate) fn list(&self) -> Result<Vec<CString>, Errno> {
        let mut names = vec![0_u8; 1024];
        let length = grow(&mut names, |buffer| match self {
            // SAFETY: the descriptor is borrowed for the call; the buffer is writable for its length.
            Self::Open(fd) => Ok(unsafe { libc::flistxattr(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) }),
            Self::Name(dir, name) => {
                let path = Self::path(*dir, name)?;
                // SAFETY: path is a C string that lives over the call; the buffer is writable for its length.
                Ok(unsafe { libc::llistxattr(path.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) })
            }
        })?;
        names.truncate(length);
        Ok(names
            .split_inclusive(|byte| *byte == 0)
            .filter_map(|name| CStr::from_bytes_with_nul(name).ok().map(CStr::to_owned))
            .collect())
    }

    /// The value of one attribute: fgetxattr(2), lgetxattr(2).
    pub(crate) fn get(&self, key: &CStr) -> Result<Vec<u8>, Errno> {
        let mut value = vec![0_u8; 1024];
        let length = grow(&mut value, |buffer| match self {
            Self::Open(fd) => {
                let data = buffer.as_mut_ptr().cast();
                // SAFETY: the descriptor is borrowed for the call; key is a C string; data is writable for buffer.len().
                Ok(unsafe { libc::fgetxattr(fd.as_raw_fd(), key.as_ptr(), data, buffer.len()) })
            }
            Self::Name(dir, name) => {
                let path = Self::path(*dir, name)?;
                let data = buffer.as_mut_ptr().cast();
                // SAFETY: path and key are C strings that live over the call; data is writable for buffer.len().
                Ok(unsafe { libc::lgetxattr(path.as_ptr(), key.as_ptr(), data, buffer.len()) })
            }
        })?;
        value.truncate(length);
        Ok(value)
    }
}

/// fremovexattr(2).
pub(crate) fn remove_xattr(fd: BorrowedFd<'_>, key: &CStr) -> Result<(), Errno> {
    // SAFETY: the descriptor is borrowed for the call; key is a C string.
    Errno::result(unsafe { libc::fremovexattr(fd.as_raw_fd(), key.as_ptr()) }).map(drop)
}

/// Ask again with a larger buffer while the kernel says ERANGE; 64 KiB is the kernel's own limit (xattr(7)).
fn grow(buffer: &mut Vec<u8>, mut ask: impl FnMut(&mut [u8]) -> Result<isize, Errno>) -> Result<usize, Errno> {
    loop {
        match Errno::result(ask(buffer)?) {
            Ok(length) => return Ok(length.unsigned_abs()),
            Err(Errno::ERANGE) if buffer.len() <= 64 << 10 => buffer.resize(buffer.len() * 4, 0),
            Err(errno) => return Err(errno),
        }
    }
}

/// Share all blocks of `source` with `target`: ioctl_ficlone(2).
pub(crate) fn clone_file(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: FICLONE takes a descriptor as its argument and touches no memory of this process.
    Errno::result(unsafe { libc::ioctl(target.as_raw_fd(), libc::FICLONE, source.as_raw_fd()) }).map(drop)
}

/// Copy at most `length` bytes within the kernel, from one offset to the same one: copy_file_range(2).
pub(crate) fn copy_range(
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    offset: i64,
    length: usize,
) -> Result<usize, Errno> {
    let (mut from, mut to) = (offset, offset);
    let (source, target) = (source.as_raw_fd(), target.as_raw_fd());
    // SAFETY: both descriptors are borrowed and both offsets live over the call.
    let count = unsafe { libc::copy_file_range(source, &raw mut from, target, &raw mut to, length, 0) };
    Errno::result(count).map(isize::unsigned_abs)
}

/// A time for utimensat(2).
pub(crate) fn time(seconds: i64, nanoseconds: i64) -> TimeSpec {
    TimeSpec::new(seconds, nanoseconds)
}
