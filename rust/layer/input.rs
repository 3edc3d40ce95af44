//! The layer's bytes as they are stored: a window of a file or a stream, hashed while they are read.
use std::io::{self, BufRead, Read};
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;
use nix::sys::uio::pread;
use nix::unistd::read;
use sha2::{Digest, Sha256};

use super::chunk::{Chunk, Inlet, Message};
use super::meter::Meter;

/// Bytes that tell a compression.
pub(super) const MAGIC: usize = 4;

/// Where the bytes come from.
pub(super) enum Origin {
    /// pread(2) from `offset`, until `end` or the end of the file.
    Window { offset: u64, end: Option<u64> },
    /// read(2) until the end: a pipe, a socket, a file at its position.
    Stream,
}

/// What the stored bytes were, once all of them are read.
#[derive(Clone)]
pub(super) struct Stored {
    pub(super) digest: String,
    pub(super) size: u64,
}

/// The descriptor itself.
pub(super) struct Raw<'fd> {
    fd: BorrowedFd<'fd>,
    origin: Origin,
    hasher: Sha256,
    size: u64,
    /// A stream is not waited for any longer once the other end of this pipe is closed.
    stop: Option<BorrowedFd<'fd>>,
    meter: Option<&'fd Meter>,
}

impl<'fd> Raw<'fd> {
    pub(super) fn new(fd: BorrowedFd<'fd>, origin: Origin) -> Self {
        Self { fd, origin, hasher: Sha256::new(), size: 0, stop: None, meter: None }
    }

    /// Stop waiting for a stream when the other end of the pipe `stop` is closed.
    pub(super) fn stopped_by(self, stop: BorrowedFd<'fd>) -> Self {
        Self { stop: Some(stop), ..self }
    }

    /// Tell how much has been read.
    pub(super) fn metered(self, meter: Option<&'fd Meter>) -> Self {
        Self { meter, ..self }
    }

    /// How many bytes there are, at most; None where nobody knows.
    pub(super) fn length(&self) -> Option<u64> {
        let Origin::Window { offset, end } = self.origin else {
            return None;
        };
        match end {
            Some(end) => Some(end - offset),
            None => fstat(self.fd).ok().and_then(|stat| u64::try_from(stat.st_size).ok()?.checked_sub(offset)),
        }
    }

    /// Fill a buffer: less than all of it only at the end, or while a stream has nothing more to say. Never less
    /// than the bytes that tell a compression.
    pub(super) fn fill(&mut self, chunk: &mut Chunk) -> Result<(), Errno> {
        chunk.filled = 0;
        while chunk.filled < chunk.bytes.len() {
            let patient = chunk.filled < MAGIC;
            match self.wait(patient) {
                Ok(true) => {}
                Ok(false) => break,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno),
            }
            match self.read(&mut chunk.bytes[chunk.filled..]) {
                Ok(0) => break,
                Ok(count) => chunk.filled += count,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        self.hasher.update(chunk.ready());
        self.size += chunk.filled as u64;
        if let Some(meter) = self.meter {
            meter.add(chunk.filled);
        }
        Ok(())
    }

    pub(super) fn stored(&self) -> Stored {
        Stored { digest: digest_of(&self.hasher), size: self.size }
    }

    /// Wait until a stream has something; false when it has not and nobody wants to wait. ECANCELED once it is
    /// stopped.
    fn wait(&self, patient: bool) -> Result<bool, Errno> {
        let (Origin::Stream, Some(stop)) = (&self.origin, self.stop) else {
            return Ok(true);
        };
        let mut both = [PollFd::new(self.fd, PollFlags::POLLIN), PollFd::new(stop, PollFlags::empty())];
        poll(&mut both, if patient { PollTimeout::NONE } else { PollTimeout::ZERO })?;
        match both.map(|one| one.any().unwrap_or(true)) {
            [_, true] => Err(Errno::ECANCELED),
            [ready, _] => Ok(ready),
        }
    }

    fn read(&mut self, room: &mut [u8]) -> Result<usize, Errno> {
        match &mut self.origin {
            Origin::Stream => read(self.fd, room),
            Origin::Window { offset, end } => {
                let left = end.map_or(u64::MAX, |end| end - *offset);
                let length = room.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let position = i64::try_from(*offset).map_err(|_| Errno::EOVERFLOW)?;
                let count = pread(self.fd, &mut room[..length], position)?;
                *offset += count as u64;
                Ok(count)
            }
        }
    }
}

enum Feed<'fd> {
    Here(Raw<'fd>),
    /// Another thread reads ahead.
    Ahead(Inlet<Result<Stored, Errno>>),
}

/// The stored bytes for a decoder. [`BufRead`], so that it takes exactly what it needs.
pub(super) struct Input<'fd> {
    feed: Feed<'fd>,
    chunk: Chunk,
    start: usize,
    size: u64,
    stored: Option<Stored>,
    failure: Option<Errno>,
}

impl<'fd> Input<'fd> {
    /// Read by the thread that decodes.
    pub(super) fn here(raw: Raw<'fd>) -> Self {
        Self::new(Feed::Here(raw), Chunk::new())
    }

    /// Read by another thread.
    pub(super) fn ahead(inlet: Inlet<Result<Stored, Errno>>) -> Self {
        // The first buffer that comes takes the place of this one, which holds nothing.
        Self::new(Feed::Ahead(inlet), Chunk { bytes: Box::default(), filled: 0 })
    }

    fn new(feed: Feed<'fd>, chunk: Chunk) -> Self {
        Self { feed, chunk, start: 0, size: 0, stored: None, failure: None }
    }

    /// Bytes taken in so far: up to a buffer more than what was decoded.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// What was stored, known when the end was met.
    pub(super) fn stored(&self) -> Option<Stored> {
        self.stored.clone()
    }

    /// The system call that failed, if one did: decoders wrap errors beyond recognition.
    pub(super) fn failure(&self) -> Option<Errno> {
        self.failure
    }

    /// The whole current buffer, exchanged for another one.
    pub(super) fn exchange(&mut self, spare: Chunk) -> Chunk {
        self.start = spare.filled;
        std::mem::replace(&mut self.chunk, spare)
    }

    /// Read to the end, which may only be zeros: tapes and some registries pad archives.
    pub(super) fn skip_padding(&mut self) -> io::Result<()> {
        loop {
            let rest = self.fill_buf()?;
            if rest.is_empty() {
                return Ok(());
            }
            if rest.iter().any(|byte| *byte != 0) {
                return Err(io::Error::other("something else follows the compressed data"));
            }
            let count = rest.len();
            self.consume(count);
        }
    }

    fn more(&mut self) -> io::Result<()> {
        self.start = 0;
        let outcome = match &mut self.feed {
            Feed::Here(raw) => {
                let outcome = raw.fill(&mut self.chunk);
                if self.chunk.filled == 0 {
                    self.stored = Some(raw.stored());
                }
                outcome
            }
            Feed::Ahead(inlet) => {
                let empty = Chunk { bytes: Box::default(), filled: 0 };
                let used = std::mem::replace(&mut self.chunk, empty);
                if !used.bytes.is_empty() {
                    // The reader ends before its last buffers come back.
                    let _ = inlet.spare.send(used);
                }
                match inlet.full.recv() {
                    Ok(Message::Bytes(chunk)) => {
                        self.chunk = chunk;
                        Ok(())
                    }
                    Ok(Message::End(outcome)) => outcome.map(|stored| self.stored = Some(stored)),
                    Err(_) => Err(Errno::ECANCELED),
                }
            }
        };
        if let Err(errno) = outcome {
            self.failure = Some(errno);
            self.chunk.filled = 0;
            return Err(errno.into());
        }
        self.size += self.chunk.filled as u64;
        Ok(())
    }
}

/// `sha256:<hex>` of what a hasher has seen.
pub(super) fn digest_of(hasher: &Sha256) -> String {
    use std::fmt::Write;
    let mut text = String::from("sha256:");
    for byte in hasher.clone().finalize() {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

impl BufRead for Input<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.chunk.filled && self.stored.is_none() {
            self.more()?;
        }
        Ok(&self.chunk.ready()[self.start..])
    }

    fn consume(&mut self, amount: usize) {
        self.start = (self.start + amount).min(self.chunk.filled);
    }
}

impl Read for Input<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let ready = self.fill_buf()?;
        let count = ready.len().min(into.len());
        into[..count].copy_from_slice(&ready[..count]);
        self.consume(count);
        Ok(count)
    }
}
