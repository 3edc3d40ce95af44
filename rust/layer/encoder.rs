//! How a layer's bytes are stored on their way out: as they are, as gzip, or as zstd.
use super::deflate::Gzip;
use super::error::Result;
use super::frames::Zstd;
use super::output::Drain;

/// Plain bytes that are hashed and written at once.
const CHUNK: usize = 512 << 10;

/// What there is to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// Takes full buffers, compresses them in other threads, and writes what comes of them in their order.
pub(super) enum Encoder {
    Plain,
    Gzip(Gzip),
    Zstd(Zstd),
}

impl Encoder {
    pub(super) fn new(compression: Compression, threads: usize) -> Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain,
            Compression::Gzip => Self::Gzip(Gzip::new(threads)?),
            Compression::Zstd => Self::Zstd(Zstd::new(threads)?),
        })
    }

    /// Length of the buffers to hand in; of the last one at most.
    pub(super) fn piece(&self) -> usize {
        match self {
            Self::Plain => CHUNK,
            Self::Gzip(_) => Gzip::PIECE,
            Self::Zstd(_) => Zstd::PIECE,
        }
    }

    /// Write what stands before everything else.
    pub(super) fn begin(&self, drain: &mut Drain<'_>) -> Result<()> {
        match self {
            Self::Gzip(_) => drain.write(&Gzip::HEADER),
            Self::Plain | Self::Zstd(_) => Ok(()),
        }
    }

    /// Take a full buffer; returns one to fill next.
    pub(super) fn compress(&mut self, data: Vec<u8>, drain: &mut Drain<'_>) -> Result<Vec<u8>> {
        match self {
            Self::Plain => drain.write(&data).map(|()| data),
            Self::Gzip(gzip) => gzip.compress(data, drain),
            Self::Zstd(zstd) => zstd.compress(data, drain),
        }
    }

    /// Take the rest and write everything; `size` is the length of the whole.
    pub(super) fn finish(self, rest: Vec<u8>, size: u64, drain: &mut Drain<'_>) -> Result<()> {
        match self {
            Self::Plain => drain.write(&rest),
            Self::Gzip(gzip) => gzip.finish(rest, size, drain),
            Self::Zstd(zstd) => zstd.finish(rest, drain),
        }
    }
}
