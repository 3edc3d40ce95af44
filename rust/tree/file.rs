//! The content of one regular file: shared blocks where the file system can, else its data without its holes.
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::uio::{pread, pwrite};
use nix::unistd::{Whence, ftruncate, lseek};

use crate::fs::{clone_file, copy_range};

/// Bytes that one system call is asked to copy.
const STEP: usize = 1 << 30;
const BUFFER: usize = 256 << 10;

/// Copies contents, remembering what this pair of file systems cannot do.
pub(crate) struct Copier {
    can_clone: bool,
    can_copy_range: bool,
    buffer: Vec<u8>,
}

impl Copier {
    pub(crate) fn new() -> Self {
        Self { can_clone: true, can_copy_range: true, buffer: Vec::new() }
    }

    /// Copy `length` bytes of an open file into an empty one.
    pub(crate) fn copy(&mut self, source: BorrowedFd<'_>, target: BorrowedFd<'_>, length: i64) -> nix::Result<()> {
        if length == 0 {
            return Ok(());
        }
        if self.can_clone {
            match clone_file(source, target) {
                Ok(()) => return Ok(()),
                Err(Errno::EOPNOTSUPP | Errno::EXDEV | Errno::ENOTTY | Errno::EINVAL | Errno::ENOSYS) => {
                    self.can_clone = false;
                }
                Err(errno) => return Err(errno),
            }
        }
        let mut position = 0;
        while position < length {
            let start = match lseek(source, position, Whence::SeekData) {
                Ok(start) => start,
                // Nothing but a hole until the end.
                Err(Errno::ENXIO) => break,
                // A file system without holes.
                Err(Errno::EINVAL | Errno::EOPNOTSUPP) => position,
                Err(errno) => return Err(errno),
            };
            let end = match lseek(source, start, Whence::SeekHole) {
                Ok(end) => end.min(length),
                Err(Errno::EINVAL | Errno::EOPNOTSUPP) => length,
                Err(errno) => return Err(errno),
            };
            self.copy_range(source, target, start, end)?;
            position = end.max(position + 1);
        }
        ftruncate(target.as_fd(), length)
    }

    fn copy_range(&mut self, source: BorrowedFd<'_>, target: BorrowedFd<'_>, start: i64, end: i64) -> nix::Result<()> {
        let mut position = start;
        while position < end {
            let left = usize::try_from(end - position).unwrap_or(STEP);
            let count = if self.can_copy_range {
                match copy_range(source, target, position, left.min(STEP)) {
                    // Some file systems say so instead of an error (copy_file_range(2), BUGS).
                    Ok(0) => self.copy_step(source, target, position, left)?,
                    Ok(count) => count,
                    Err(Errno::EXDEV | Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EPERM) => {
                        self.can_copy_range = false;
                        continue;
                    }
                    Err(Errno::EINTR) => continue,
                    Err(errno) => return Err(errno),
                }
            } else {
                self.copy_step(source, target, position, left)?
            };
            if count == 0 {
                // The file became shorter while it was copied.
                break;
            }
            position += i64::try_from(count).map_err(|_| Errno::EOVERFLOW)?;
        }
        Ok(())
    }

    fn copy_step(
        &mut self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        at: i64,
        left: usize,
    ) -> nix::Result<usize> {
        self.buffer.resize(BUFFER, 0);
        let count = pread(source, &mut self.buffer[..left.min(BUFFER)], at)?;
        let mut done = 0;
        while done < count {
            let position = at + i64::try_from(done).map_err(|_| Errno::EOVERFLOW)?;
            done += pwrite(target, &self.buffer[done..count], position)?;
        }
        Ok(count)
    }
}
