//! One gzip member, deflated in pieces by several threads: the same bytes whatever their number.
//!
//! Each piece begins where the one before it ended at a byte's border (a sync flush) and knows its last 32 KiB, so
//! any gunzip reads the whole as one stream. Source: RFC 1951, RFC 1952.
use flate2::{Compress, Compression as Level, Crc, FlushCompress, Status};
use nix::errno::Errno;

use super::error::Result;
use super::limits;
use super::output::{Drain, failed};
use super::pool::Pool;

/// How far back deflate refers.
const WINDOW: usize = 32 << 10;
const LEVEL: u32 = 3;
/// A stored block of no bytes, at a byte's border (RFC 1951, section 3.2.4).
const NOTHING: [u8; 5] = [0, 0, 0, 0xff, 0xff];

struct Piece {
    data: Vec<u8>,
    /// The end of the data before this.
    window: Vec<u8>,
    last: bool,
}

struct Deflated {
    data: Vec<u8>,
    deflated: Vec<u8>,
    crc: Crc,
}

/// A member being written.
pub(super) struct Gzip {
    pool: Pool<Piece, Deflated>,
    window: Vec<u8>,
    crc: Crc,
}

impl Gzip {
    /// No name and no time: RFC 1952, section 2.3.1; 255 is "operating system unknown".
    pub(super) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    /// Plain bytes of a piece.
    pub(super) const PIECE: usize = 512 << 10;

    pub(super) fn new(threads: usize) -> Result<Self> {
        Ok(Self { pool: Pool::new("deflate", threads, deflate)?, window: Vec::new(), crc: Crc::new() })
    }

    /// Take a full buffer; returns one to fill next.
    pub(super) fn compress(&mut self, data: Vec<u8>, drain: &mut Drain<'_>) -> Result<Vec<u8>> {
        let length = data.len();
        self.submit(data, false)?;
        match self.pool.surplus()? {
            Some(done) => self.put(done, drain),
            None => Ok(vec![0; length]),
        }
    }

    /// Take the rest and write everything; `size` is the length of the whole.
    pub(super) fn finish(mut self, rest: Vec<u8>, size: u64, drain: &mut Drain<'_>) -> Result<()> {
        self.submit(rest, true)?;
        while let Some(done) = self.pool.next()? {
            self.put(done, drain)?;
        }
        let mut trailer = self.crc.sum().to_le_bytes().to_vec();
        // Modulo 2^32, as the format has it.
        trailer.extend_from_slice(&size.to_le_bytes()[..4]);
        drain.write(&trailer)
    }

    fn submit(&mut self, data: Vec<u8>, last: bool) -> Result<()> {
        let tail = data[data.len().saturating_sub(WINDOW)..].to_vec();
        let window = std::mem::replace(&mut self.window, tail);
        self.pool.submit(Piece { data, window, last })
    }

    fn put(&mut self, done: Deflated, drain: &mut Drain<'_>) -> Result<Vec<u8>> {
        self.crc.combine(&done.crc);
        drain.write(&done.deflated)?;
        Ok(done.data)
    }
}

fn deflate(piece: Piece) -> Result<Deflated> {
    deflated(piece).ok_or_else(|| failed(Errno::EIO))
}

fn deflated(piece: Piece) -> Option<Deflated> {
    let mut compress = Compress::new(Level::new(LEVEL), false);
    if !piece.window.is_empty() {
        compress.set_dictionary(&piece.window).ok()?;
    }
    let flush = if piece.last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut deflated = Vec::with_capacity(piece.data.len() / 2 + 1024);
    loop {
        let done = usize::try_from(compress.total_in()).ok()?;
        let status = compress.compress_vec(&piece.data[done..], &mut deflated, flush).ok()?;
        let taken = compress.total_in() == piece.data.len() as u64;
        // With room left over, a flush is through.
        let finished =
            if piece.last { status == Status::StreamEnd } else { taken && deflated.len() < deflated.capacity() };
        if finished {
            let mut crc = Crc::new();
            crc.update(&piece.data);
            if !piece.last {
                pad(&mut deflated, piece.data.len());
            }
            return Some(Deflated { data: piece.data, deflated, crc });
        }
        deflated.reserve(deflated.capacity() / 2 + 1024);
    }
}

/// Zeros become 1,000 times shorter, which a reader takes for a bomb in a large layer: lengthen such a piece.
fn pad(deflated: &mut Vec<u8>, plain: usize) {
    let missing = (plain / limits::WRITTEN).saturating_sub(deflated.len());
    for _ in 0..missing.div_ceil(NOTHING.len()) {
        deflated.extend_from_slice(&NOTHING);
    }
}
