//! The bytes of a file, written straight from the decoder's buffer.
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::uio::pwrite;
use nix::unistd::{ftruncate, write as write_fd};

use super::error::Result;
use super::reader::Reader;
use super::sparse::Sparse;
use crate::fs::Failure;

/// Write the current entry's content; holes of a sparse file stay holes.
pub(super) fn write(
    reader: &mut Reader<'_>,
    file: &OwnedFd,
    sparse: Option<&Sparse>,
    failure: impl FnOnce(Errno) -> Failure,
) -> Result<()> {
    let Some(sparse) = sparse else {
        return write_all(reader, u64::MAX, |bytes, _| write_fd(file, bytes), failure);
    };
    let mut failure = Some(failure);
    let mut named = |errno| failure.take().map_or_else(|| Failure::at("")(errno), |failure| failure(errno));
    for (offset, length) in &sparse.extents {
        let at = |bytes: &[u8], done: u64| {
            let position = i64::try_from(offset + done).map_err(|_| Errno::EFBIG)?;
            pwrite(file, bytes, position)
        };
        write_all(reader, *length, at, &mut named)?;
    }
    let length = i64::try_from(sparse.length).map_err(|_| Errno::EFBIG);
    Ok(length.and_then(|length| ftruncate(file, length)).map_err(named)?)
}

/// Write up to `length` bytes of content, each call with the count of those before.
fn write_all(
    reader: &mut Reader<'_>,
    length: u64,
    write: impl Fn(&[u8], u64) -> nix::Result<usize>,
    failure: impl FnOnce(Errno) -> Failure,
) -> Result<()> {
    let mut done = 0;
    while done < length {
        let ready = reader.content()?;
        let take = usize::try_from(length - done).map_or(ready.len(), |left| left.min(ready.len()));
        if take == 0 {
            break;
        }
        match write(&ready[..take], done) {
            Ok(count) => {
                reader.consume(count);
                done += count as u64;
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(failure(errno).into()),
        }
    }
    Ok(())
}
