//! The layer's bytes as they are stored: a window of a file or a stream, hashed while they are read.
use std::io::{self, BufRead, Read};
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::sys::uio::pread;
use nix::unistd::read;
use sha2::{Digest, Sha256};

/// Bytes asked of the kernel at once.
const CHUNK: usize = 256 << 10;

/// Where the bytes come from.
pub(super) enum Origin {
    /// pread(2) from `offset`, until `end` or the end of the file.
    Window { offset: u64, end: Option<u64> },
    /// read(2) until the end: a pipe, a socket, a file at its position.
    Stream,
}

/// The stored bytes and their digest. [`BufRead`], so that decoders take exactly what they need.
pub(super) struct Input<'fd> {
    fd: BorrowedFd<'fd>,
    origin: Origin,
    buffer: Box<[u8]>,
    start: usize,
    filled: usize,
    hasher: Sha256,
    size: u64,
    failure: Option<Errno>,
}

impl<'fd> Input<'fd> {
    pub(super) fn new(fd: BorrowedFd<'fd>, origin: Origin) -> Self {
        Self {
            fd,
            origin,
            buffer: vec![0; CHUNK].into_boxed_slice(),
            start: 0,
            filled: 0,
            hasher: Sha256::new(),
            size: 0,
            failure: None,
        }
    }

    /// Bytes read from the descriptor so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The digest of the bytes read so far.
    pub(super) fn digest(&self) -> String {
        digest_of(&self.hasher)
    }

    /// The system call that failed, if one did: decoders wrap errors beyond recognition.
    pub(super) fn failure(&self) -> Option<Errno> {
        self.failure
    }

    /// The first bytes, without taking them: as many as asked for unless the input is shorter.
    pub(super) fn peek(&mut self, length: usize) -> io::Result<&[u8]> {
        while self.filled - self.start < length && self.more()? > 0 {}
        let end = self.filled.min(self.start + length);
        Ok(&self.buffer[self.start..end])
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

    /// Read behind what is buffered; 0 at the end.
    fn more(&mut self) -> io::Result<usize> {
        if self.start == self.filled {
            self.start = 0;
            self.filled = 0;
        } else if self.filled == self.buffer.len() {
            self.buffer.copy_within(self.start.., 0);
            self.filled -= self.start;
            self.start = 0;
        }
        let room = &mut self.buffer[self.filled..];
        let count = loop {
            let outcome = match &self.origin {
                Origin::Stream => read(self.fd, room),
                Origin::Window { offset, end } => {
                    let left = end.map_or(u64::MAX, |end| end - offset);
                    let length = room.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let offset = i64::try_from(*offset).map_err(|_| Errno::EOVERFLOW);
                    offset.and_then(|offset| pread(self.fd, &mut room[..length], offset))
                }
            };
            match outcome {
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    self.failure = Some(errno);
                    return Err(errno.into());
                }
                Ok(count) => break count,
            }
        };
        if let Origin::Window { offset, .. } = &mut self.origin {
            *offset += count as u64;
        }
        self.hasher.update(&room[..count]);
        self.size += count as u64;
        self.filled += count;
        Ok(count)
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
        if self.start == self.filled {
            self.more()?;
        }
        Ok(&self.buffer[self.start..self.filled])
    }

    fn consume(&mut self, amount: usize) {
        self.start = (self.start + amount).min(self.filled);
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
