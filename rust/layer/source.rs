//! The plain tar stream of a layer: decompressed, hashed, and watched for bombs.
use std::io::{self, Read};

use sha2::{Digest, Sha256};

use super::error::{Error, Result, damaged};
use super::gzip::Members;
use super::input::{Input, digest_of};
use super::limits;
use super::recipe::Writer;
use super::zstd::Frames;
use crate::fs::Failure;

/// Plain bytes decoded at once; files are written straight from this buffer.
const CHUNK: usize = 256 << 10;

/// The compression, told by the first bytes (RFC 1952, section 2.3.1; RFC 8878, section 3.1).
enum Decoder<'fd> {
    Plain(Input<'fd>),
    Gzip(Box<Members<'fd>>),
    Zstd(Box<Frames<'fd>>),
}

impl<'fd> Decoder<'fd> {
    fn new(mut input: Input<'fd>) -> io::Result<Self> {
        Ok(match input.peek(4)? {
            [0x1f, 0x8b, ..] => Self::Gzip(Box::new(Members::new(input))),
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Self::Zstd(Box::new(Frames::new(input))),
            _ => Self::Plain(input),
        })
    }

    fn input(&mut self) -> &mut Input<'fd> {
        match self {
            Self::Plain(input) => input,
            Self::Gzip(members) => members.input(),
            Self::Zstd(frames) => frames.input(),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Plain(_) => "tar",
            Self::Gzip(_) => "gzip",
            Self::Zstd(_) => "zstd",
        }
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(into),
            Self::Gzip(members) => members.read(into),
            Self::Zstd(frames) => frames.read(into),
        }
    }
}

/// What was read when everything was read.
pub(super) struct Totals {
    pub(super) diff_id: String,
    pub(super) digest: String,
    pub(super) size: u64,
    pub(super) compressed_size: u64,
}

/// The plain tar stream.
pub(super) struct Source<'fd> {
    decoder: Decoder<'fd>,
    buffer: Box<[u8]>,
    start: usize,
    filled: usize,
    hasher: Sha256,
    size: u64,
    /// Gets to know every byte, as it is or as the content of a file.
    recipe: Option<Writer>,
}

impl<'fd> Source<'fd> {
    pub(super) fn new(mut input: Input<'fd>, recipe: Option<Writer>) -> Result<Self> {
        let peeked = input.peek(4).map(drop);
        let failure = input.failure();
        let decoder = peeked.and_then(|()| Decoder::new(input));
        Ok(Self {
            decoder: decoder.map_err(|error| translate(failure, "tar", &error))?,
            buffer: vec![0; CHUNK].into_boxed_slice(),
            start: 0,
            filled: 0,
            hasher: Sha256::new(),
            size: 0,
            recipe,
        })
    }

    /// Position of the next byte in the plain tar.
    pub(super) fn position(&self) -> u64 {
        self.size - (self.filled - self.start) as u64
    }

    /// The next bytes, without taking them; empty at the end.
    pub(super) fn peek(&mut self) -> Result<&[u8]> {
        if self.start == self.filled {
            self.fill()?;
        }
        Ok(&self.buffer[self.start..self.filled])
    }

    pub(super) fn consume(&mut self, amount: usize) -> Result<()> {
        let end = (self.start + amount).min(self.filled);
        if let Some(recipe) = &mut self.recipe {
            recipe.raw(&self.buffer[self.start..end])?;
        }
        self.start = end;
        Ok(())
    }

    /// Take bytes that go to a file, which [`Self::recipe`] is to be told of.
    pub(super) fn take(&mut self, amount: usize) {
        self.start = (self.start + amount).min(self.filled);
    }

    /// Where it is written down what was taken.
    pub(super) fn recipe(&mut self) -> Option<&mut Writer> {
        self.recipe.as_mut()
    }

    /// Fill a slice; returns less than its length only at the end.
    pub(super) fn read_full(&mut self, into: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < into.len() {
            let ready = self.peek()?;
            let count = ready.len().min(into.len() - done);
            if count == 0 {
                break;
            }
            into[done..done + count].copy_from_slice(&ready[..count]);
            self.consume(count)?;
            done += count;
        }
        Ok(done)
    }

    /// Read what is left, so that both digests are over everything.
    pub(super) fn finish(mut self) -> Result<Totals> {
        loop {
            let count = self.peek()?.len();
            if count == 0 {
                break;
            }
            self.consume(count)?;
        }
        if let Some(recipe) = self.recipe.take() {
            recipe.finish()?;
        }
        let plain = matches!(self.decoder, Decoder::Plain(_));
        let input = self.decoder.input();
        let digest = input.digest();
        Ok(Totals {
            // The plain stream is the stored one then: one hash serves both.
            diff_id: if plain { digest.clone() } else { digest_of(&self.hasher) },
            digest,
            size: self.size,
            compressed_size: input.size(),
        })
    }

    fn fill(&mut self) -> Result<()> {
        self.start = 0;
        self.filled = 0;
        let count = match self.decoder.read(&mut self.buffer) {
            Ok(count) => count,
            Err(error) => {
                let failure = self.decoder.input().failure();
                return Err(translate(failure, self.decoder.name(), &error));
            }
        };
        if !matches!(self.decoder, Decoder::Plain(_)) {
            self.hasher.update(&self.buffer[..count]);
        }
        self.filled = count;
        self.size += count as u64;
        let compressed = self.decoder.input().size();
        check_limits(self.size, compressed)
    }
}

fn translate(failure: Option<nix::errno::Errno>, format: &str, error: &io::Error) -> Error {
    match failure {
        Some(errno) => Failure::at("")(errno).into(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => damaged(format!("the {format} stream is cut off")),
        None => damaged(format!("the {format} stream is damaged: {error}")),
    }
}

/// Refuse what grows out of proportion.
fn check_limits(plain: u64, compressed: u64) -> Result<()> {
    if plain > limits::SIZE {
        return Err(damaged("more than 1 TiB when decompressed"));
    }
    for (floor, ratio) in limits::RATIOS {
        if plain > floor && plain / ratio > compressed {
            return Err(damaged(format!(
                "{compressed} bytes decompress to {plain} and more: it looks like a decompression bomb"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_a_bomb_only_above_its_floor() {
        assert!(check_limits(64 << 20, 1).is_ok());
        assert!(check_limits((64 << 20) + 2000, 1).is_err());
        assert!(check_limits(1 << 30, 1 << 20).is_ok());
        assert!(check_limits(2 << 30, 2 << 20).is_err());
        assert!(check_limits(1 << 40, 1 << 40).is_ok());
        assert!(check_limits((1 << 40) + 1, 1 << 40).is_err());
    }
}
