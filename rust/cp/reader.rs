//! A tar stream, plain or gzip, as a sequence of entries.
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use tar::{Archive, EntryType, Header};

use super::entry::{Content, Copied, Entry, Error, Kind, Result, Sink, as_path, io_at};

const BUFFER: usize = 256 << 10;

/// Give all entries of an archive to `sink`. Devices are left out; a name that leaves the target is refused.
pub(super) fn read(file: File, sink: &mut dyn Sink) -> Result<Copied> {
    let mut input = BufReader::with_capacity(BUFFER, file);
    let compressed = input.fill_buf().map_err(io_at(b""))?.starts_with(&[0x1f, 0x8b]);
    let copied = if compressed { entries(MultiGzDecoder::new(&mut input), sink) } else { entries(&mut input, sink) }?;
    // Its padding: who writes into a pipe must not be killed by SIGPIPE at the end.
    io::copy(&mut input, &mut io::sink()).map_err(io_at(b""))?;
    Ok(copied)
}

fn entries(input: impl Read, sink: &mut dyn Sink) -> Result<Copied> {
    let mut copied = Copied::default();
    let mut archive = Archive::new(input);
    for item in archive.entries().map_err(damaged)? {
        let mut item = item.map_err(damaged)?;
        let kind = item.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            continue;
        }
        let path = normal(&item.path_bytes())?;
        let link = item.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default();
        let size = item.size();
        let kind = match kind {
            EntryType::Directory => Kind::Directory,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File { size, first: None },
            EntryType::Link => Kind::File { size: 0, first: Some(normal(&link)?) },
            EntryType::Symlink => Kind::Symlink(link),
            EntryType::Fifo => Kind::Fifo,
            EntryType::Char | EntryType::Block => {
                copied.devices.push(path);
                continue;
            }
            other => {
                let byte = other.as_byte().escape_ascii();
                return Err(Error::Archive(format!("{}: an entry of type '{byte}'", as_path(&path).display())));
            }
        };
        // The archive's own root: the target is there already and stays as it is.
        if path.is_empty() {
            continue;
        }
        let entry = described(path, kind, item.header()).map_err(damaged)?;
        match entry.kind {
            Kind::File { first: None, .. } => {
                copied.bytes += size;
                sink.put(&entry, Content::Stream(&mut item))?;
            }
            _ => sink.put(&entry, Content::Nothing)?,
        }
    }
    Ok(copied)
}

fn described(path: Vec<u8>, kind: Kind, header: &Header) -> io::Result<Entry> {
    let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    let ids = id(header.uid()?).zip(id(header.gid()?));
    let (uid, gid) = ids.ok_or_else(|| io::Error::other("a user or group id is out of range"))?;
    let mode = header.mode()? & 0o7777;
    let mtime = i64::try_from(header.mtime()?).unwrap_or(i64::MAX);
    Ok(Entry { path, kind, uid, gid, mode, mtime: (mtime, 0), capability: None })
}

/// A name as a path below the target.
fn normal(name: &[u8]) -> Result<Vec<u8>> {
    let components: Vec<&[u8]> =
        name.split(|byte| *byte == b'/').filter(|component| !matches!(*component, b"" | b".")).collect();
    if components.contains(&&b".."[..]) || name.contains(&0) {
        return Err(Error::Archive(format!("{}: the name leaves the target", as_path(name).display())));
    }
    Ok(components.join(&b'/'))
}

fn damaged(error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(_) => io_at(b"")(error),
        None => Error::Archive(format!("this is no tar archive, or it is damaged: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_below_the_target() {
        let path = |name: &[u8]| normal(name).ok();
        assert_eq!(path(b"./a//b/").as_deref(), Some(&b"a/b"[..]));
        assert_eq!(path(b"/etc/passwd").as_deref(), Some(&b"etc/passwd"[..]));
        assert_eq!(path(b"./").as_deref(), Some(&b""[..]));
        assert_eq!(path(b"a/../b"), None);
        assert_eq!(path(b".."), None);
    }
}
