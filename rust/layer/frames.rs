//! A zstd stream of independent frames, encoded by several threads: the same bytes whatever their number.
//!
//! Each frame knows nothing of the one before it and carries its length and its checksum; a stream is frames one after
//! another (RFC 8878, section 3.1). `zrip-encode` is in Rust throughout and forbids `unsafe`, as the decoder does.
//! docs/layers.md has the figures that speak for it, for its level and for the size of a frame.
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::error::{Error, Result};
use super::limits;
use super::output::Drain;
use super::pool::Pool;

/// The encoder's densest.
const LEVEL: i32 = 4;
/// Begins a frame that readers skip (RFC 8878, section 3.1.2); four bytes of length follow.
const SKIPPABLE: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];

struct Encoded {
    data: Vec<u8>,
    frame: Vec<u8>,
}

/// A stream being written.
pub(super) struct Zstd {
    pool: Pool<Vec<u8>, Encoded>,
}

impl Zstd {
    /// Plain bytes of a frame.
    pub(super) const PIECE: usize = 4 << 20;

    pub(super) fn new(threads: usize) -> Result<Self> {
        Ok(Self { pool: Pool::new("zstd", threads, encode)? })
    }

    /// Take a full buffer; returns one to fill next.
    pub(super) fn compress(&mut self, data: Vec<u8>, drain: &mut Drain<'_>) -> Result<Vec<u8>> {
        let length = data.len();
        self.pool.submit(data)?;
        match self.pool.surplus()? {
            Some(done) => drain.write(&done.frame).map(|()| done.data),
            None => Ok(vec![0; length]),
        }
    }

    /// Take the rest and write everything.
    pub(super) fn finish(mut self, rest: Vec<u8>, drain: &mut Drain<'_>) -> Result<()> {
        self.pool.submit(rest)?;
        while let Some(done) = self.pool.next()? {
            drain.write(&done.frame)?;
        }
        Ok(())
    }
}

fn encode(data: Vec<u8>) -> Result<Encoded> {
    // Nothing is kept from frame to frame: a frame's bytes depend on its content alone.
    let frame = catch_unwind(AssertUnwindSafe(|| zrip_encode::compress(&data, LEVEL).ok())).ok().flatten();
    match frame.filter(|frame| holds(frame, &data)) {
        Some(frame) => Ok(Encoded { frame: padded(frame, data.len()), data }),
        None => Err(Error::Refused(
            "the zstd encoder has made a frame that does not decode to what it was given: use gzip".to_owned(),
        )),
    }
}

/// Zeros become 28,000 times shorter, which a reader takes for a bomb: lengthen such a frame by one that is skipped.
fn padded(mut frame: Vec<u8>, plain: usize) -> Vec<u8> {
    let missing = (plain / limits::WRITTEN).saturating_sub(frame.len());
    if missing > 0 {
        frame.extend_from_slice(&SKIPPABLE);
        // A frame's four hundredth: far from 2^32.
        frame.extend_from_slice(&u32::try_from(missing).unwrap_or(u32::MAX).to_le_bytes());
        frame.resize(frame.len() + missing, 0);
    }
    frame
}

/// Whether a frame decodes to that content. The decoder takes a quarter of the encoder's time, and what is written here
/// may be the only copy soon: nobody should find out when it is read.
fn holds(frame: &[u8], content: &[u8]) -> bool {
    let decoded = catch_unwind(|| zrip_decode::decompress_with_limit(frame, content.len()));
    matches!(decoded, Ok(Ok(decoded)) if decoded == content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_holds_something_else_is_noticed() {
        let encoded = encode(b"a layer's bytes".repeat(1000)).unwrap();
        assert!(holds(&encoded.frame, &encoded.data));
        assert!(!holds(&encoded.frame, &encoded.data[1..]));
        assert!(!holds(&encoded.frame, &[0; 15_000]));
        assert!(!holds(&encoded.frame[..encoded.frame.len() - 5], &encoded.data));
        assert!(!holds(b"no frame", &encoded.data));
    }

    #[test]
    fn zeros_are_padded_up_to_what_a_reader_believes() {
        let encoded = encode(vec![0; Zstd::PIECE]).unwrap();
        assert!(encoded.frame.len() >= Zstd::PIECE / limits::WRITTEN);
        assert!(limits::RATIOS.iter().all(|(_, ratio)| *ratio > limits::WRITTEN as u64));
        let text: Vec<u8> = (0_u32..9999).flat_map(u32::to_le_bytes).collect();
        assert!(!encode(text).unwrap().frame.windows(4).any(|word| word == SKIPPABLE));
    }

    #[test]
    fn nothing_is_an_empty_frame() {
        let encoded = encode(Vec::new()).unwrap();
        assert!(!encoded.frame.is_empty());
    }
}
