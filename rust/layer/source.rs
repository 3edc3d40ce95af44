//! The plain tar stream of a layer, decoded here or by other threads.
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use super::chunk::{Chunk, Inlet, Message};
use super::decoder::{Decoder, check_limits};
use super::error::{Result, damaged};
use super::input::{Input, Raw, Stored, digest_of};
use super::limits;
use super::recipe::Writer;

/// What was read when everything was read.
pub(super) struct Totals {
    pub(super) diff_id: String,
    pub(super) digest: String,
    pub(super) size: u64,
    pub(super) compressed_size: u64,
}

impl Totals {
    /// `diff_id` is None where the plain stream is the stored one.
    pub(super) fn new(stored: Stored, diff_id: Option<String>, size: u64) -> Self {
        let diff_id = diff_id.unwrap_or_else(|| stored.digest.clone());
        Self { diff_id, digest: stored.digest, size, compressed_size: stored.size }
    }
}

enum Feed<'a> {
    Here(Box<Here<'a>>),
    Ahead(Inlet<Result<Totals>>, &'a AtomicBool),
}

/// The plain tar stream.
pub(super) struct Source<'a> {
    feed: Feed<'a>,
    chunk: Chunk,
    start: usize,
    /// Plain bytes that came so far.
    size: u64,
    totals: Option<Totals>,
    /// Gets to know every byte, as it is or as the content of a file.
    recipe: Option<Writer>,
}

impl<'a> Source<'a> {
    /// Read and decode in this thread.
    pub(super) fn here(raw: Raw<'a>) -> Result<Self> {
        let decoder = Decoder::new(Input::here(raw))?;
        let here = Here { decoder, hasher: Sha256::new(), size: 0 };
        Ok(Self::new(Feed::Here(Box::new(here)), Chunk::new()))
    }

    /// Let other threads read and decode; it ends early when `stop` is set.
    pub(super) fn ahead(inlet: Inlet<Result<Totals>>, stop: &'a AtomicBool) -> Self {
        Self::new(Feed::Ahead(inlet, stop), Chunk { bytes: Box::default(), filled: 0 })
    }

    fn new(feed: Feed<'a>, chunk: Chunk) -> Self {
        Self { feed, chunk, start: 0, size: 0, totals: None, recipe: None }
    }

    /// Write down in a recipe what is taken from here.
    pub(super) fn recorded(self, recipe: Option<Writer>) -> Self {
        Self { recipe, ..self }
    }

    /// Position of the next byte in the plain tar.
    pub(super) fn position(&self) -> u64 {
        self.size - (self.chunk.filled - self.start) as u64
    }

    /// The next bytes, without taking them; empty at the end.
    pub(super) fn peek(&mut self) -> Result<&[u8]> {
        if self.start == self.chunk.filled && self.totals.is_none() {
            self.fill()?;
        }
        Ok(&self.chunk.ready()[self.start..])
    }

    /// Take bytes that are nobody's content.
    pub(super) fn consume(&mut self, amount: usize) -> Result<()> {
        let end = (self.start + amount).min(self.chunk.filled);
        if let Some(recipe) = &mut self.recipe {
            recipe.raw(&self.chunk.bytes[self.start..end])?;
        }
        self.start = end;
        Ok(())
    }

    /// Take bytes that go to a file, which [`Self::recipe`] is to be told of.
    pub(super) fn take(&mut self, amount: usize) {
        self.start = (self.start + amount).min(self.chunk.filled);
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
        let end = self.position();
        loop {
            let count = self.peek()?.len();
            if count == 0 {
                break;
            }
            self.consume(count)?;
            if self.position() - end > limits::TRAILING {
                return Err(damaged("more than 64 MiB follow the end of the archive"));
            }
        }
        if let Some(recipe) = self.recipe.take() {
            recipe.finish()?;
        }
        self.totals.ok_or_else(stopped)
    }

    fn fill(&mut self) -> Result<()> {
        self.start = 0;
        match &mut self.feed {
            Feed::Here(here) => {
                self.chunk.filled = 0;
                self.chunk.filled = here.fill(&mut self.chunk.bytes)?;
                if self.chunk.filled == 0 {
                    self.totals = Some(here.totals()?);
                }
            }
            Feed::Ahead(inlet, stop) => {
                let used = std::mem::replace(&mut self.chunk, Chunk { bytes: Box::default(), filled: 0 });
                if !used.bytes.is_empty() {
                    // The decoder ends before its last buffers come back.
                    let _ = inlet.spare.send(used);
                }
                if stop.load(Ordering::Relaxed) {
                    return Err(stopped());
                }
                match inlet.full.recv() {
                    Ok(Message::Bytes(chunk)) => self.chunk = chunk,
                    Ok(Message::End(totals)) => self.totals = Some(totals?),
                    Err(_) => return Err(stopped()),
                }
            }
        }
        self.size += self.chunk.filled as u64;
        Ok(())
    }
}

/// The one sentence that nobody reads: who stopped it knows why.
pub(super) fn stopped() -> super::error::Error {
    damaged("unpacking was stopped")
}

/// Decoding and hashing without another thread.
struct Here<'a> {
    decoder: Decoder<'a>,
    hasher: Sha256,
    size: u64,
}

impl Here<'_> {
    fn fill(&mut self, into: &mut [u8]) -> Result<usize> {
        let count = self.decoder.fill(into)?;
        if !self.is_plain() {
            self.hasher.update(&into[..count]);
        }
        self.size += count as u64;
        check_limits(self.size, self.decoder.taken())?;
        Ok(count)
    }

    fn totals(&mut self) -> Result<Totals> {
        // One hash serves both when the plain stream is the stored one.
        let diff_id = (!self.is_plain()).then(|| digest_of(&self.hasher));
        Ok(Totals::new(self.decoder.stored()?, diff_id, self.size))
    }

    fn is_plain(&self) -> bool {
        matches!(self.decoder, Decoder::Plain(_))
    }
}
