//! Where a layer's bytes go: hashed as they are, perhaps compressed, hashed again, written to a descriptor.
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::unistd::write;
use sha2::{Digest, Sha256};

use super::encoder::{Compression, Encoder};
use super::error::{Error, Result};
use super::input::digest_of;
use super::meter::Meter;
use super::pool;
use super::source::Totals;
use crate::fs::Failure;

const ZEROS: [u8; 4096] = [0; 4096];

/// A descriptor, and the digest and number of the bytes that went to it.
pub(super) struct Drain<'fd> {
    target: BorrowedFd<'fd>,
    hasher: Option<Sha256>,
    size: u64,
}

impl Drain<'_> {
    /// Write all of it.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            match write(self.target, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Failure::at("")(errno).into()),
            }
        }
        Ok(())
    }
}

/// The plain tar stream of a layer, on its way out.
pub(super) struct Output<'fd> {
    buffer: Vec<u8>,
    filled: usize,
    hasher: Sha256,
    size: u64,
    encoder: Encoder,
    drain: Drain<'fd>,
    meter: Option<&'fd Meter>,
}

impl<'fd> Output<'fd> {
    pub(super) fn new(target: BorrowedFd<'fd>, compression: Compression) -> Result<Self> {
        Self::with_threads(target, compression, pool::threads())
    }

    fn with_threads(target: BorrowedFd<'fd>, compression: Compression, threads: usize) -> Result<Self> {
        let encoder = Encoder::new(compression, threads)?;
        // One hash serves both when nothing is compressed.
        let hasher = (compression != Compression::None).then(Sha256::new);
        let mut drain = Drain { target, hasher, size: 0 };
        encoder.begin(&mut drain)?;
        let buffer = vec![0; encoder.piece()];
        Ok(Self { buffer, filled: 0, hasher: Sha256::new(), size: 0, encoder, drain, meter: None })
    }

    /// Tell how much of the plain stream is through.
    pub(super) fn metered(self, meter: Option<&'fd Meter>) -> Self {
        Self { meter, ..self }
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let space = self.space()?;
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            self.advance(count);
            bytes = &bytes[count..];
        }
        Ok(())
    }

    pub(super) fn zeros(&mut self, mut count: u64) -> Result<()> {
        while count > 0 {
            let step = usize::try_from(count).map_or(ZEROS.len(), |count| count.min(ZEROS.len()));
            self.write(&ZEROS[..step])?;
            count -= step as u64;
        }
        Ok(())
    }

    /// Room for the next bytes, never none: a file is read straight into it. Then call [`Self::advance`].
    pub(super) fn space(&mut self) -> Result<&mut [u8]> {
        if self.filled == self.buffer.len() {
            self.flush()?;
        }
        Ok(&mut self.buffer[self.filled..])
    }

    pub(super) fn advance(&mut self, count: usize) {
        self.filled += count;
    }

    /// Write what is left; both digests are over everything then.
    pub(super) fn finish(mut self) -> Result<Totals> {
        let mut rest = std::mem::take(&mut self.buffer);
        rest.truncate(self.filled);
        self.hasher.update(&rest);
        self.size += rest.len() as u64;
        if let Some(meter) = self.meter {
            meter.add(rest.len());
        }
        self.encoder.finish(rest, self.size, &mut self.drain)?;
        let diff_id = digest_of(&self.hasher);
        Ok(Totals {
            digest: self.drain.hasher.as_ref().map_or_else(|| diff_id.clone(), digest_of),
            diff_id,
            size: self.size,
            compressed_size: self.drain.size,
        })
    }

    fn flush(&mut self) -> Result<()> {
        let bytes = &self.buffer[..self.filled];
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        if let Some(meter) = self.meter {
            meter.add(bytes.len());
        }
        self.filled = 0;
        let full = std::mem::take(&mut self.buffer);
        self.buffer = self.encoder.compress(full, &mut self.drain)?;
        Ok(())
    }
}

/// An error of this side of the machine, not of the layer.
pub(super) fn failed(errno: Errno) -> Error {
    Failure::at("")(errno).into()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;
    use crate::layer::decoder::Decoder;
    use crate::layer::input::{Input, Origin, Raw};
    use crate::layer::limits;

    /// Bytes of which some repeat: neither all alike nor all different.
    fn content(size: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut bytes = Vec::with_capacity(size);
        while bytes.len() < size {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let word = state.to_le_bytes();
            let times = 1 + (state >> 28) as usize;
            bytes.extend(word.iter().cycle().take(4 * times));
        }
        bytes.truncate(size);
        bytes
    }

    fn written(content: &[u8], compression: Compression, threads: usize) -> (File, Totals) {
        let file = File::from(memfd_create(c"output", MFdFlags::MFD_CLOEXEC).unwrap());
        let mut output = Output::with_threads(file.as_fd(), compression, threads).unwrap();
        output.write(content).unwrap();
        let totals = output.finish().unwrap();
        (file, totals)
    }

    /// What a file decodes to, of so many bytes at most, and the digest of what is stored.
    fn plain_of(file: &File, most: usize) -> (Vec<u8>, String) {
        let input = Input::here(Raw::new(file.as_fd(), Origin::Window { offset: 0, end: None }));
        let mut decoder = Decoder::new(input).unwrap();
        let mut plain = vec![0; most];
        let count = decoder.fill(&mut plain).unwrap();
        plain.truncate(count);
        (plain, decoder.stored().unwrap().digest)
    }

    #[test]
    fn the_bytes_do_not_depend_on_the_number_of_threads() {
        let content = content((9 << 20) + 5);
        for compression in [Compression::Gzip, Compression::Zstd] {
            let alone = written(&content, compression, 1).1;
            for threads in [2, 5] {
                let totals = written(&content, compression, threads).1;
                assert_eq!(alone.digest, totals.digest, "{compression:?} with {threads} threads");
            }
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for size in [0, 1, 512 << 10, (4 << 20) + 1] {
            let content = content(size);
            for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
                let (file, totals) = written(&content, compression, 2);
                assert_eq!(totals.size, size as u64);
                let (plain, stored) = plain_of(&file, size + 1);
                assert!(plain == content, "{compression:?}, {size} bytes");
                assert_eq!(stored, totals.digest);
            }
        }
    }

    #[test]
    fn zeros_are_not_so_short_that_a_reader_takes_them_for_a_bomb() {
        let zeros = vec![0; 10 << 20];
        for compression in [Compression::Gzip, Compression::Zstd] {
            let (file, totals) = written(&zeros, compression, 2);
            assert!(limits::RATIOS.iter().all(|(_, ratio)| totals.size / ratio < totals.compressed_size));
            assert_eq!(plain_of(&file, zeros.len() + 1).0, zeros);
        }
    }
}
