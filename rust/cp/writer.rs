//! Entries as a tar stream, in GNU tar's form: names of any length and bytes, sizes and ids of any number.
use std::fs::File;
use std::io::{self, BufWriter, Read};

use tar::{Builder, EntryType, Header};

use super::entry::{Content, Entry, Kind, Result, Sink, io_at};

const NAME: usize = 100;
const BUFFER: usize = 256 << 10;

/// Writes an archive.
pub(super) struct Writer {
    builder: Builder<BufWriter<File>>,
}

impl Writer {
    pub(super) fn new(file: File) -> Self {
        Self { builder: Builder::new(BufWriter::with_capacity(BUFFER, file)) }
    }

    /// Write the end of the archive.
    pub(super) fn finish(self) -> Result<()> {
        let file = self.builder.into_inner().map_err(io_at(b""))?;
        file.into_inner().map(drop).map_err(|error| io_at(b"")(error.into_error()))
    }

    /// An entry that says the name or link target of the next one, when it is too long for the header.
    fn announce(&mut self, kind: EntryType, text: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        put(&mut header.as_old_mut().name, b"././@LongLink");
        header.set_entry_type(kind);
        header.set_size(text.len() as u64 + 1);
        header.set_cksum();
        self.builder.append(&header, text.chain(&b"\0"[..]))
    }

    fn write(&mut self, entry: &Entry, content: Content<'_>) -> io::Result<()> {
        let mut header = Header::new_gnu();
        let mut name = entry.path.clone();
        let (mut size, mut link): (u64, &[u8]) = (0, b"");
        header.set_entry_type(match &entry.kind {
            Kind::Directory => {
                name.push(b'/');
                EntryType::Directory
            }
            Kind::File { first: Some(first), .. } => {
                link = first;
                EntryType::Link
            }
            Kind::File { size: length, first: None } => {
                size = *length;
                EntryType::Regular
            }
            Kind::Symlink(target) => {
                link = target;
                EntryType::Symlink
            }
            Kind::Fifo => EntryType::Fifo,
        });
        for (kind, text) in [(EntryType::GNULongName, name.as_slice()), (EntryType::GNULongLink, link)] {
            if text.len() > NAME {
                self.announce(kind, text)?;
            }
        }
        put(&mut header.as_old_mut().name, &name);
        put(&mut header.as_old_mut().linkname, link);
        header.set_mode(entry.mode);
        header.set_uid(u64::from(entry.uid));
        header.set_gid(u64::from(entry.gid));
        header.set_mtime(entry.mtime.0.try_into().unwrap_or(0));
        header.set_size(size);
        header.set_cksum();
        // A file that becomes shorter or longer while it is read keeps the length that its header says.
        match content {
            Content::Open(fd) if size > 0 => {
                let file = File::from(fd.try_clone_to_owned()?);
                self.builder.append(&header, file.take(size).chain(io::repeat(0)).take(size))
            }
            Content::Stream(stream) => self.builder.append(&header, stream.take(size)),
            _ => self.builder.append(&header, io::empty()),
        }
    }
}

impl Sink for Writer {
    fn put(&mut self, entry: &Entry, content: Content<'_>) -> Result<()> {
        self.write(entry, content).map_err(io_at(&entry.path))
    }
}

/// Fill a field, cut at its length.
fn put(field: &mut [u8], text: &[u8]) {
    for (slot, byte) in field.iter_mut().zip(text) {
        *slot = *byte;
    }
}
