//! Holes of files: found when one is read, made when one is written.
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::sys::uio::pread;
use nix::unistd::{Whence, lseek};

/// Zeros shorter than this are written: a hole costs an extent and two system calls.
pub(super) const SHORTEST: usize = 32 << 10;
/// Holes begin and end at blocks.
const BLOCK: usize = 4096;

/// Reads a file without reading its holes.
pub(super) struct Holes<'fd> {
    file: BorrowedFd<'fd>,
    size: u64,
    sparse: bool,
    /// Where the next byte is read, and where the next hole begins.
    position: u64,
    end: u64,
}

impl<'fd> Holes<'fd> {
    /// `sparse`: whether to ask for holes at all.
    pub(super) fn new(file: BorrowedFd<'fd>, size: u64, sparse: bool) -> Self {
        Self { file, size, sparse, position: 0, end: 0 }
    }

    /// The lengths of the next hole and of the data behind it; None at the end.
    pub(super) fn next(&mut self) -> nix::Result<Option<(u64, u64)>> {
        let before = self.end;
        if before >= self.size {
            return Ok(None);
        }
        let start = if self.sparse { self.seek(before, Whence::SeekData, before)? } else { before };
        self.end =
            if self.sparse && start < self.size { self.seek(start, Whence::SeekHole, self.size)? } else { self.size };
        self.position = start;
        Ok(Some((start - before, self.end - start)))
    }

    /// Read the next bytes of the data.
    pub(super) fn read(&mut self, into: &mut [u8]) -> nix::Result<usize> {
        let count = pread(self.file, into, offset(self.position)?)?;
        self.position += count as u64;
        Ok(count)
    }

    fn seek(&self, from: u64, whence: Whence, otherwise: u64) -> nix::Result<u64> {
        match lseek(self.file, offset(from)?, whence) {
            Ok(found) => Ok(u64::try_from(found).unwrap_or(self.size).clamp(from, self.size)),
            // Nothing but a hole until the end.
            Err(Errno::ENXIO) => Ok(self.size),
            // A file system without holes.
            Err(Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(otherwise),
            Err(errno) => Err(errno),
        }
    }
}

fn offset(position: u64) -> nix::Result<i64> {
    i64::try_from(position).map_err(|_| Errno::EFBIG)
}

/// How many bytes at the beginning are to be written, and how many zeros behind them can be left out; `position` is
/// where they come in the file.
pub(super) fn split(bytes: &[u8], position: u64) -> (usize, usize) {
    // Up to the first border of a block, then block by block.
    let first = usize::try_from(position.next_multiple_of(BLOCK as u64) - position).unwrap_or(0).min(bytes.len());
    let mut run = 0;
    let mut at = first;
    for block in bytes[first..].chunks_exact(BLOCK) {
        if is_zero(block) {
            run += BLOCK;
        } else if run >= SHORTEST {
            break;
        } else {
            run = 0;
        }
        at += BLOCK;
    }
    if run < SHORTEST { (bytes.len(), 0) } else { (at - run, run) }
}

fn is_zero(block: &[u8]) -> bool {
    // In large steps, so that the compiler compares many bytes at once; most blocks end at the first.
    block.chunks(64).all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_runs_of_whole_blocks_become_holes() {
        let mut bytes = vec![0; 100 << 10];
        assert_eq!(split(&bytes, 0), (0, 100 << 10));
        assert_eq!(split(&bytes, 1), (4095, 96 << 10));
        assert_eq!(split(&bytes[..SHORTEST - 1], 0), (SHORTEST - 1, 0));
        bytes[5000] = 1;
        assert_eq!(split(&bytes, 0), (8192, (100 << 10) - 8192));
        bytes[50_000] = 1;
        assert_eq!(split(&bytes, 0), (8192, 40_960));
        bytes[20_000] = 1;
        assert_eq!(split(&bytes, 0), (53_248, 49_152));
        assert_eq!(split(&[1; 4096], 0), (4096, 0));
    }
}
