//! One entry of a layer: a tar header with its extensions, checked.
use std::ffi::CString;

use tar::{EntryType, Header};

use super::error::{Result, refused};
use super::limits;
use super::number::field;
use super::pax::Pax;
use super::sparse::Sparse;

/// A file, directory, link or node that a layer describes.
#[derive(Debug)]
pub(super) struct Entry {
    /// As it stands in the archive.
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Permission bits with setuid, setgid and sticky.
    pub(super) mode: u32,
    /// Seconds and nanoseconds.
    pub(super) mtime: (i64, i64),
    pub(super) xattrs: Vec<(CString, Vec<u8>)>,
}

/// What an entry creates.
#[derive(Debug)]
pub(super) enum Kind {
    File { size: u64, sparse: Option<Sparse> },
    HardLink(Vec<u8>),
    Symlink(Vec<u8>),
    Directory,
    Character(u64, u64),
    Block(u64, u64),
    Fifo,
}

/// The extensions that came before a header.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    pub(super) pax: Option<Pax>,
    pub(super) long_name: Option<Vec<u8>>,
    pub(super) long_link: Option<Vec<u8>>,
}

impl Extensions {
    pub(super) fn is_empty(&self) -> bool {
        self.pax.is_none() && self.long_name.is_none() && self.long_link.is_none()
    }
}

/// Where two ways to say the same thing may not say different things.
fn one_of(pax: Option<Vec<u8>>, gnu: Option<Vec<u8>>, own: Vec<u8>) -> Result<Vec<u8>> {
    match (pax, gnu) {
        (Some(pax), Some(gnu)) if pax != gnu => Err(refused(&pax, "its GNU long name is another one")),
        (Some(name), _) | (None, Some(name)) => Ok(name),
        (None, None) => Ok(own),
    }
}

impl Entry {
    /// Put a header and its extensions together. `sparse` was read behind a GNU sparse header.
    pub(super) fn new(header: &Header, extensions: Extensions, sparse: Option<Sparse>) -> Result<Self> {
        let pax = extensions.pax.unwrap_or_default();
        let old = header.as_old();
        let name = one_of(pax.path, extensions.long_name, own_name(header))?;
        let link = one_of(pax.link_path, extensions.long_link, cut(&old.linkname).to_vec())?;
        let wrong = |what: &str| refused(&name, format!("{what} is out of range"));

        let number = |bytes: &[u8], what: &str| field(bytes).ok_or_else(|| wrong(what));
        let id = |pax: Option<u64>, bytes: &[u8], what: &str| {
            let value = match pax {
                Some(value) => value,
                None => u64::try_from(number(bytes, what)?).map_err(|_| wrong(what))?,
            };
            // The last id means "leave it" to chown(2).
            u32::try_from(value).ok().filter(|id| *id != u32::MAX).ok_or_else(|| wrong(what))
        };
        let uid = id(pax.uid, &old.uid, "uid")?;
        let gid = id(pax.gid, &old.gid, "gid")?;
        let mode = u32::try_from(number(&old.mode, "mode")? & 0o7777).map_err(|_| wrong("mode"))?;
        let mtime = match pax.mtime {
            Some(mtime) => mtime,
            None => (number(&old.mtime, "mtime")?, 0),
        };
        let size = u64::try_from(number(&old.size, "size")?).map_err(|_| wrong("size"))?;
        let size = agreed_size(&name, size, pax.size)?;
        if size > limits::SIZE {
            return Err(wrong("size"));
        }
        let kind = kind_of(header, &name, link, size, sparse)?;
        Ok(Self { name, kind, uid, gid, mode, mtime, xattrs: pax.xattrs })
    }
}

/// The size that the header and the PAX record agree on. Writers put 0 in the header of a file that is too large
/// for its octal field (8 GiB); any other difference makes parsers see different archives.
fn agreed_size(name: &[u8], header: u64, pax: Option<u64>) -> Result<u64> {
    match pax {
        Some(size) if size != header && !(header == 0 && size >= 1 << 33) => {
            Err(refused(name, format!("the header says {header} bytes, its PAX record {size}")))
        }
        _ => Ok(pax.unwrap_or(header)),
    }
}

fn kind_of(header: &Header, name: &[u8], link: Vec<u8>, size: u64, sparse: Option<Sparse>) -> Result<Kind> {
    let file = || {
        if name.ends_with(b"/") {
            return Err(refused(name, "a regular file's name ends with a slash"));
        }
        Ok(Kind::File { size, sparse })
    };
    let kind = match header.entry_type() {
        // Before POSIX a directory was a file whose name ends with a slash; those have type NUL.
        EntryType::Regular if header.as_old().linkflag[0] == 0 && name.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => return file(),
        // The size of a hard link is its file's; no data follows (GNU tar, Go, Python agree).
        EntryType::Link => return link_target(name, link).map(Kind::HardLink),
        EntryType::Symlink => Kind::Symlink(link_target(name, link)?),
        EntryType::Directory => Kind::Directory,
        EntryType::Fifo => Kind::Fifo,
        kind @ (EntryType::Char | EntryType::Block) => {
            let bytes = header.as_bytes();
            let number = |bytes, limit| {
                field(bytes).and_then(|number| u64::try_from(number).ok()).filter(|number| *number < limit)
            };
            // Twelve and twenty bits, as in the kernel; more would be cut and might name 0:0.
            match (number(&bytes[329..337], 1 << 12), number(&bytes[337..345], 1 << 20)) {
                (Some(0), Some(0)) if kind == EntryType::Char => {
                    return Err(refused(name, "device 0:0 is overlayfs's own whiteout"));
                }
                (Some(major), Some(minor)) if kind == EntryType::Char => Kind::Character(major, minor),
                (Some(major), Some(minor)) => Kind::Block(major, minor),
                _ => return Err(refused(name, "the device number is out of range")),
            }
        }
        kind => {
            let byte = kind.as_byte().escape_ascii();
            return Err(refused(name, format!("entry type '{byte}' is unknown to layers")));
        }
    };
    // Nothing follows these (pax(1p)); who believes the size would see another archive.
    if size != 0 {
        return Err(refused(name, "it has a size but no content"));
    }
    Ok(kind)
}

fn link_target(name: &[u8], link: Vec<u8>) -> Result<Vec<u8>> {
    let why = match link.len() {
        0 => "its link target is empty",
        length if length > limits::PATH => "its link target is longer than 4095 bytes",
        _ if link.contains(&0) => "its link target contains a NUL byte",
        _ => return Ok(link),
    };
    Err(refused(name, why))
}

/// The header's own name, with POSIX's prefix; star's is shorter, for it keeps times behind it.
fn own_name(header: &Header) -> Vec<u8> {
    let bytes = header.as_bytes();
    let name = cut(&bytes[..100]);
    let prefix = match (&bytes[257..263], &bytes[508..512]) {
        (b"ustar\0", b"tar\0") => cut(&bytes[345..476]),
        (b"ustar\0", _) => cut(&bytes[345..500]),
        _ => b"",
    };
    if prefix.is_empty() {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

/// A field up to its NUL.
pub(super) fn cut(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_may_differ_only_where_the_octal_field_is_too_small() {
        assert_eq!(agreed_size(b"a", 5, Some(5)).ok(), Some(5));
        assert_eq!(agreed_size(b"a", 5, None).ok(), Some(5));
        assert_eq!(agreed_size(b"a", 0, Some(1 << 33)).ok(), Some(1 << 33));
        assert!(agreed_size(b"a", 0, Some(1024)).is_err());
        assert!(agreed_size(b"a", 1024, Some(0)).is_err());
        assert!(agreed_size(b"a", 512, Some(1 << 33)).is_err());
    }
}
