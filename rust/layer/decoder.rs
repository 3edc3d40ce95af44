//! A layer's compression, told by its first bytes (RFC 1952, section 2.3.1; RFC 8878, section 3.1).
use std::io::{self, BufRead, Read};

use super::error::{Error, Result, damaged};
use super::gzip::Members;
use super::input::{Input, MAGIC, Stored};
use super::limits;
use super::zstd::Frames;
use crate::fs::Failure;

/// The plain bytes of an input.
pub(super) enum Decoder<'fd> {
    Plain(Box<Input<'fd>>),
    Gzip(Box<Members<'fd>>),
    Zstd(Box<Frames<'fd>>),
}

impl<'fd> Decoder<'fd> {
    pub(super) fn new(mut input: Input<'fd>) -> Result<Self> {
        // The first buffer has these bytes if the input has.
        let first = match input.fill_buf() {
            Ok(ready) => ready.first_chunk::<MAGIC>().copied().unwrap_or_default(),
            Err(error) => return Err(translate(input.failure(), "tar", &error)),
        };
        Ok(match first {
            [0x1f, 0x8b, ..] => Self::Gzip(Box::new(Members::new(input))),
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Self::Zstd(Box::new(Frames::new(input))),
            _ => Self::Plain(Box::new(input)),
        })
    }

    /// Fill a slice; less than all of it only at the end.
    pub(super) fn fill(&mut self, into: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < into.len() {
            let room = &mut into[done..];
            let outcome = match self {
                Self::Plain(input) => input.read(room),
                Self::Gzip(members) => members.read(room),
                Self::Zstd(frames) => frames.read(room),
            };
            match outcome {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) => {
                    let failure = self.ask(|input| input.failure());
                    return Err(translate(failure, self.name(), &error));
                }
            }
        }
        Ok(done)
    }

    /// Stored bytes taken in so far.
    pub(super) fn taken(&mut self) -> u64 {
        self.ask(|input| input.size())
    }

    /// What was stored, once everything is decoded.
    pub(super) fn stored(&mut self) -> Result<Stored> {
        let stored = self.ask(|input| input.stored());
        stored.ok_or_else(|| damaged("the stream was not read to its end"))
    }

    fn ask<T>(&mut self, question: impl FnOnce(&Input<'fd>) -> T) -> T {
        match self {
            Self::Plain(input) => question(input),
            Self::Gzip(members) => question(members.input()),
            Self::Zstd(frames) => frames.ask(question),
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

fn translate(failure: Option<nix::errno::Errno>, format: &str, error: &io::Error) -> Error {
    match failure {
        Some(errno) => Failure::at("")(errno).into(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => damaged(format!("the {format} stream is cut off")),
        None => damaged(format!("the {format} stream is damaged: {error}")),
    }
}

/// Refuse what grows out of proportion.
pub(super) fn check_limits(plain: u64, compressed: u64) -> Result<()> {
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
