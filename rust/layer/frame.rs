//! One zstd frame as bytes, so that a decoder gets exactly that one (RFC 8878, section 3.1.1).
use std::io::{self, BufRead, Read};

use super::input::Input;

/// The longest frame header: magic, descriptor, window, dictionary id, content size.
const HEADER: usize = 4 + 1 + 1 + 4 + 8;

/// What comes behind the bytes that are handed out now.
enum Next {
    Block,
    Checksum,
    End,
}

/// Hands out the bytes of the current frame.
pub(super) struct Frame<'fd> {
    pub(super) input: Input<'fd>,
    /// Bytes that had to be read to know how many follow.
    head: [u8; HEADER],
    start: usize,
    filled: usize,
    /// Bytes that follow and need not be looked at.
    left: u64,
    next: Next,
    checksum: bool,
}

impl<'fd> Frame<'fd> {
    pub(super) fn new(input: Input<'fd>) -> Self {
        Self { input, head: [0; HEADER], start: 0, filled: 0, left: 0, next: Next::End, checksum: false }
    }

    /// Read a frame's header; its window in bytes, or None for a skippable frame, which is behind us then.
    pub(super) fn begin(&mut self) -> io::Result<Option<u64>> {
        self.take(0, 5)?;
        if matches!(self.head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]) {
            self.take(5, 8)?;
            let length = u64::from(u32::from_le_bytes([self.head[4], self.head[5], self.head[6], self.head[7]]));
            if io::copy(&mut (&mut self.input).take(length), &mut io::sink())? < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            return Ok(None);
        }
        if self.head[..4] != [0x28, 0xb5, 0x2f, 0xfd] {
            return Err(io::Error::other("something else follows the compressed data"));
        }
        let descriptor = self.head[4];
        let single = descriptor & 0x20 != 0;
        self.checksum = descriptor & 0x04 != 0;
        let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
        let content = if single { [1, 2, 4, 8] } else { [0, 2, 4, 8] }[usize::from(descriptor >> 6)];
        let size_at = 5 + usize::from(!single) + dictionary;
        self.take(5, size_at + content)?;
        self.start = 0;
        self.filled = size_at + content;
        self.next = Next::Block;
        if single {
            let mut size = [0; 8];
            size[..content].copy_from_slice(&self.head[size_at..self.filled]);
            // Two bytes begin to count at 256.
            return Ok(Some(u64::from_le_bytes(size) + if content == 2 { 256 } else { 0 }));
        }
        let base = 1_u64 << (10 + (self.head[5] >> 3));
        Ok(Some(base + base / 8 * u64::from(self.head[5] & 7)))
    }

    /// Check that a decoder took the whole frame.
    pub(super) fn end(&self) -> io::Result<()> {
        match self.next {
            Next::End if self.left == 0 && self.start == self.filled => Ok(()),
            _ => Err(io::Error::other("a frame ends early")),
        }
    }

    fn take(&mut self, from: usize, to: usize) -> io::Result<()> {
        self.input.read_exact(&mut self.head[from..to])
    }
}

impl Read for Frame<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.start < self.filled {
                let count = into.len().min(self.filled - self.start);
                into[..count].copy_from_slice(&self.head[self.start..self.start + count]);
                self.start += count;
                return Ok(count);
            }
            if self.left > 0 {
                let ready = self.input.fill_buf()?;
                let count = into.len().min(ready.len()).min(usize::try_from(self.left).unwrap_or(usize::MAX));
                into[..count].copy_from_slice(&ready[..count]);
                self.input.consume(count);
                self.left -= count as u64;
                return Ok(count);
            }
            match self.next {
                Next::Block => {
                    self.take(0, 3)?;
                    (self.start, self.filled) = (0, 3);
                    let header = u32::from_le_bytes([self.head[0], self.head[1], self.head[2], 0]);
                    // A run of one byte is stored as that byte.
                    self.left = if header >> 1 & 3 == 1 { 1 } else { u64::from(header >> 3) };
                    if header & 1 != 0 {
                        self.next = if self.checksum { Next::Checksum } else { Next::End };
                    }
                }
                Next::Checksum => {
                    self.left = 4;
                    self.next = Next::End;
                }
                Next::End => return Ok(0),
            }
        }
    }
}
