//! Where a layer's bytes go: hashed as they are, perhaps compressed, hashed again, written to a descriptor.
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::unistd::write;
use sha2::{Digest, Sha256};

use super::deflate::Gzip;
use super::error::{Error, Result};
use super::input::digest_of;
use super::meter::Meter;
use super::source::Totals;
use crate::fs::Failure;

/// Bytes that are hashed, compressed and written at once.
const CHUNK: usize = 512 << 10;
const ZEROS: [u8; 4096] = [0; 4096];

/// How the bytes are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
}

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
    gzip: Option<Gzip>,
    drain: Drain<'fd>,
    meter: Option<&'fd Meter>,
}

impl<'fd> Output<'fd> {
    pub(super) fn new(target: BorrowedFd<'fd>, compression: Compression) -> Result<Self> {
        let gzip = match compression {
            Compression::None => None,
            Compression::Gzip => Some(Gzip::new()?),
        };
        // One hash serves both when nothing is compressed.
        let hasher = gzip.as_ref().map(|_| Sha256::new());
        let mut drain = Drain { target, hasher, size: 0 };
        if gzip.is_some() {
            drain.write(&Gzip::HEADER)?;
        }
        Ok(Self { buffer: vec![0; CHUNK], filled: 0, hasher: Sha256::new(), size: 0, gzip, drain, meter: None })
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
        match self.gzip {
            Some(gzip) => gzip.finish(rest, self.size, &mut self.drain)?,
            None => self.drain.write(&rest)?,
        }
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
        match &mut self.gzip {
            None => self.drain.write(&self.buffer),
            Some(gzip) => {
                let full = std::mem::take(&mut self.buffer);
                self.buffer = gzip.compress(full, &mut self.drain)?;
                Ok(())
            }
        }
    }
}

/// An error of this side of the machine, not of the layer.
pub(super) fn failed(errno: Errno) -> Error {
    Failure::at("")(errno).into()
}
