//! The bytes of a file, written straight from the decoder's buffer.
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::uio::pwrite;
use nix::unistd::ftruncate;

use super::error::Result;
use super::holes;
use super::reader::Reader;
use super::sparse::Sparse;
use crate::fs::Failure;

/// Write the current entry's content into an empty file at `path` of the layer; holes of a sparse file stay holes, and
/// long runs of zeros become some.
pub(super) fn write(
    reader: &mut Reader<'_>,
    file: &OwnedFd,
    sparse: Option<&Sparse>,
    path: &[u8],
    failure: impl FnOnce(Errno) -> Failure,
) -> Result<()> {
    let mut failure = Some(failure);
    let mut named = |errno| failure.take().map_or_else(|| Failure::at("")(errno), |failure| failure(errno));
    let (length, extents) = match sparse {
        Some(sparse) => (Some(sparse.length), sparse.extents.as_slice()),
        None => (None, &[(0, u64::MAX)][..]),
    };
    let (mut end, mut written) = (0, 0);
    for (offset, length) in extents {
        let count = write_extent(reader, file, *offset, *length, &mut written, &mut named)?;
        if let Some(recipe) = reader.recipe() {
            recipe.content(path, *offset, count)?;
        }
        end = offset + count;
    }
    let length = length.unwrap_or(end);
    if length == written {
        return Ok(());
    }
    // A hole is its end.
    let length = i64::try_from(length).map_err(|_| Errno::EFBIG);
    Ok(length.and_then(|length| ftruncate(file, length)).map_err(named)?)
}

/// Write up to `length` bytes of content from `offset` on; returns how many there were. `written` is where the last
/// bytes end that are no hole.
fn write_extent(
    reader: &mut Reader<'_>,
    file: &OwnedFd,
    offset: u64,
    length: u64,
    written: &mut u64,
    failure: &mut impl FnMut(Errno) -> Failure,
) -> Result<u64> {
    let mut done = 0;
    while done < length {
        let ready = reader.content()?;
        let take = usize::try_from(length - done).map_or(ready.len(), |left| left.min(ready.len()));
        if take == 0 {
            break;
        }
        let (data, zeros) = holes::split(&ready[..take], offset + done);
        let mut count = 0;
        if data > 0 {
            let position = i64::try_from(offset + done).map_err(|_| Errno::EFBIG);
            match position.and_then(|position| pwrite(file, &ready[..data], position)) {
                Ok(amount) => count = amount,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(failure(errno).into()),
            }
        }
        if count > 0 {
            *written = offset + done + count as u64;
        }
        if count == data {
            count += zeros;
        }
        reader.take(count);
        done += count as u64;
    }
    Ok(done)
}
