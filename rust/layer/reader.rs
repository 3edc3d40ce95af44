//! The tar stream of a layer as a sequence of entries.
//!
//! Headers are laid out by the `tar` crate; the sequence is read here, because extension headers have to be
//! bounded before they are read into memory, and because two readers of one archive must never see different
//! files: what GNU tar, Go and Python read differently is refused.
use tar::{EntryType, GnuExtSparseHeader, Header};

use super::entry::{Entry, Extensions, Kind, cut};
use super::error::{Result, damaged};
use super::limits;
use super::number::field;
use super::pax::{Pax, check_global};
use super::recipe::Writer;
use super::source::{Source, Totals};
use super::sparse::Sparse;

const BLOCK: u64 = 512;

/// Reads entries one after another, and each one's content after it.
pub(super) struct Reader<'fd> {
    source: Source<'fd>,
    /// Bytes of the current entry's content that nobody has taken, and the padding behind them.
    left: u64,
    padding: u64,
    entries: u64,
    /// Sum of all files' lengths.
    total: u64,
}

impl<'fd> Reader<'fd> {
    pub(super) fn new(source: Source<'fd>) -> Self {
        Self { source, left: 0, padding: 0, entries: 0, total: 0 }
    }

    /// Entries seen so far.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// The next entry; None at the end of the archive.
    ///
    /// That is two blocks of zeros, or the end of the stream at a block's border, which GNU tar and docker accept
    /// as well. What follows the two blocks is hashed and otherwise ignored.
    pub(super) fn next(&mut self) -> Result<Option<Entry>> {
        self.skip_content()?;
        let mut extensions = Extensions::default();
        loop {
            let position = self.source.position();
            let Some(header) = self.read_header()? else {
                if !extensions.is_empty() {
                    return Err(damaged("the archive ends where an entry was announced"));
                }
                return Ok(None);
            };
            check_sum(&header, position)?;
            match header.entry_type() {
                EntryType::GNULongName => {
                    let name = cut(&self.read_extension(&header)?).to_vec();
                    announce(&mut extensions.long_name, name)?;
                }
                EntryType::GNULongLink => {
                    let name = cut(&self.read_extension(&header)?).to_vec();
                    announce(&mut extensions.long_link, name)?;
                }
                EntryType::XHeader => {
                    let pax = Pax::parse(&self.read_extension(&header)?)?;
                    announce(&mut extensions.pax, pax)?;
                }
                EntryType::XGlobalHeader => check_global(&self.read_extension(&header)?)?,
                _ => return self.begin(&header, extensions).map(Some),
            }
        }
    }

    /// The next bytes of the current entry's content; empty at its end. Take them with [`Self::take`].
    pub(super) fn content(&mut self) -> Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let ready = self.source.peek()?;
        if ready.is_empty() {
            return Err(cut_off());
        }
        let count = usize::try_from(self.left).map_or(ready.len(), |left| left.min(ready.len()));
        Ok(&ready[..count])
    }

    fn consume(&mut self, amount: usize) -> Result<()> {
        self.left -= amount as u64;
        self.source.consume(amount)
    }

    /// Take content that goes to a file; [`Self::recipe`] is to be told which one.
    pub(super) fn take(&mut self, amount: usize) {
        self.left -= amount as u64;
        self.source.take(amount);
    }

    /// Where it is written down what was taken.
    pub(super) fn recipe(&mut self) -> Option<&mut Writer> {
        self.source.recipe()
    }

    /// Read what follows the archive.
    pub(super) fn finish(self) -> Result<Totals> {
        self.source.finish()
    }

    fn begin(&mut self, header: &Header, extensions: Extensions) -> Result<Entry> {
        let sparse = match header.entry_type() {
            EntryType::GNUSparse => Some(self.read_map(header)?),
            _ => None,
        };
        let entry = Entry::new(header, extensions, sparse)?;
        self.entries += 1;
        if self.entries > limits::ENTRIES {
            return Err(damaged(format!("more than {} entries", limits::ENTRIES)));
        }
        if let Kind::File { size, sparse } = &entry.kind {
            if let Some(sparse) = sparse {
                sparse.check(*size)?;
            }
            self.total += sparse.as_ref().map_or(*size, |sparse| sparse.length);
            if self.total > limits::SIZE {
                return Err(damaged("its files are larger than 1 TiB"));
            }
            self.expect(*size);
        }
        Ok(entry)
    }

    fn expect(&mut self, size: u64) {
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK) - size;
    }

    fn skip_content(&mut self) -> Result<()> {
        self.left += std::mem::take(&mut self.padding);
        loop {
            let count = self.content()?.len();
            if count == 0 {
                return Ok(());
            }
            self.consume(count)?;
        }
    }

    /// One block; false at the end of the stream.
    fn read_block(&mut self, block: &mut [u8; 512]) -> Result<bool> {
        let position = self.source.position();
        match self.source.read_full(block)? {
            0 => Ok(false),
            512 => Ok(true),
            count if position == 0 => Err(unreadable(&block[..count])),
            _ => Err(cut_off()),
        }
    }

    fn read_header(&mut self) -> Result<Option<Header>> {
        let mut header = Header::new_old();
        if !self.read_block(header.as_mut_bytes())? {
            return Ok(None);
        }
        if is_zero(header.as_bytes()) {
            if self.read_block(header.as_mut_bytes())? && !is_zero(header.as_bytes()) {
                return Err(damaged("entries follow a lone block of zeros, which parsers read differently"));
            }
            return Ok(None);
        }
        Ok(Some(header))
    }

    /// The payload of an extension header, which is small or refused.
    fn read_extension(&mut self, header: &Header) -> Result<Vec<u8>> {
        let size = field(&header.as_old().size).and_then(|size| u64::try_from(size).ok());
        let size = size.filter(|size| *size <= limits::EXTENSION);
        let size = size.ok_or_else(|| damaged("a PAX header or long name is larger than 1 MiB"))?;
        self.expect(size);
        let mut data = Vec::new();
        loop {
            let ready = self.content()?;
            let count = ready.len();
            if count == 0 {
                break;
            }
            data.extend_from_slice(ready);
            self.consume(count)?;
        }
        self.skip_content()?;
        Ok(data)
    }

    fn read_map(&mut self, header: &Header) -> Result<Sparse> {
        let (mut sparse, mut more) = Sparse::new(header)?;
        while more {
            let mut block = GnuExtSparseHeader::new();
            if self.source.read_full(block.as_mut_bytes())? < 512 {
                return Err(cut_off());
            }
            sparse.extend(block.sparse())?;
            more = block.isextended[0] != 0;
        }
        Ok(sparse)
    }
}

fn announce<T>(place: &mut Option<T>, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(damaged("two extension headers of one kind describe one entry")),
    }
}

fn cut_off() -> super::error::Error {
    damaged("it is cut off")
}

/// What begins as no tar does.
fn unreadable(start: &[u8]) -> super::error::Error {
    let format = match start {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "xz",
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..] => "bzip2",
        _ if start.len() < 512 => return cut_off(),
        _ => return damaged("this is not a tar archive"),
    };
    damaged(format!(
        "it is compressed by {format}, only gzip and zstd are known here: pass it through {format} -dc first"
    ))
}

fn is_zero(block: &[u8; 512]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// The sum of all bytes, its own field counted as spaces. Historic tars summed signed bytes; both are accepted.
fn check_sum(header: &Header, position: u64) -> Result<()> {
    let bytes = header.as_bytes();
    let spaced =
        || bytes.iter().enumerate().map(|(index, byte)| if (148..156).contains(&index) { b' ' } else { *byte });
    let unsigned: i64 = spaced().map(i64::from).sum();
    let signed: i64 = spaced().map(|byte| i64::from(byte.cast_signed())).sum();
    match field(&header.as_old().cksum) {
        Some(sum) if sum == unsigned || sum == signed => Ok(()),
        _ if position == 0 => Err(unreadable(bytes)),
        _ => Err(damaged(format!("the header at byte {position} has a wrong checksum"))),
    }
}
