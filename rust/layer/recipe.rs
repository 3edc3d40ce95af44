//! A layer's recipe: what its tar had beside the content of its files, so that the same bytes can be written again.
//!
//! A layer of another program cannot be packed again with the same digest from its files alone: order, padding,
//! owners' names and headers are lost. So the unpacker keeps them, compressed, beside the tree (a hundredth of its
//! size), with a reference for each file's content. The image keeps its id through load, save and push.
//!
//! After the first line come items: `R` length bytes, `F` offset length path (content of a file in the tree), `M` path
//! (what stood at that path was replaced by a later entry; it is `replaced/<n>` now, n counting from 0), `E` the end.
//! Numbers are 64 bits, little endian; a path begins with its length.
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::uio::pread;

use super::error::{Error, Result, damaged};
use super::limits;
use super::output::Output;
use crate::fs::{DIRECTORY, Failure, open_beneath};

const MAGIC: &[u8] = b"hyrun layer recipe 1\n";
const FILE: &CStr = c"recipe";
const REPLACED: &CStr = c"replaced";
/// Raw bytes gathered before they become an item.
const GATHERED: usize = 64 << 10;

/// Writes a recipe while its layer is unpacked.
pub(super) struct Writer {
    directory: OwnedFd,
    encoder: GzEncoder<File>,
    raw: Vec<u8>,
    replaced: Option<OwnedFd>,
    count: u64,
}

impl Writer {
    /// Begin the recipe in a directory that has none.
    pub(super) fn new(directory: OwnedFd) -> Result<Self> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&directory, FILE, flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(named)?;
        let mut encoder = GzBuilder::new().write(File::from(file), Compression::new(1));
        encoder.write_all(MAGIC).map_err(broken)?;
        Ok(Self { directory, encoder, raw: Vec::with_capacity(2 * GATHERED), replaced: None, count: 0 })
    }

    /// Bytes that are nobody's content.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        for part in bytes.chunks(GATHERED) {
            self.raw.extend_from_slice(part);
            if self.raw.len() >= GATHERED {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Bytes that are now in a file of the tree.
    pub(super) fn content(&mut self, path: &[u8], offset: u64, length: u64) -> Result<()> {
        if length == 0 {
            return Ok(());
        }
        self.flush()?;
        self.item(b'F', &[offset, length, path.len() as u64], path)
    }

    /// Take what stands at a path out of the tree, for a later entry wants the name.
    pub(super) fn replace(&mut self, parent: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<()> {
        if self.replaced.is_none() {
            mkdirat(&self.directory, REPLACED, Mode::S_IRWXU).map_err(named)?;
            self.replaced = Some(openat(&self.directory, REPLACED, DIRECTORY, Mode::empty()).map_err(named)?);
        }
        if let Some(replaced) = &self.replaced {
            renameat(parent, name, replaced, self.count.to_string().as_str()).map_err(named)?;
        }
        self.count += 1;
        self.flush()?;
        self.item(b'M', &[path.len() as u64], path)
    }

    /// Write the end.
    pub(super) fn finish(mut self) -> Result<()> {
        self.flush()?;
        self.item(b'E', &[], b"")?;
        self.encoder.finish().map(drop).map_err(broken)
    }

    fn flush(&mut self) -> Result<()> {
        if self.raw.is_empty() {
            return Ok(());
        }
        let raw = std::mem::take(&mut self.raw);
        self.item(b'R', &[raw.len() as u64], &raw)?;
        self.raw = raw;
        self.raw.clear();
        Ok(())
    }

    fn item(&mut self, tag: u8, numbers: &[u64], bytes: &[u8]) -> Result<()> {
        let mut head = vec![tag];
        for number in numbers {
            head.extend_from_slice(&number.to_le_bytes());
        }
        self.encoder.write_all(&head).and_then(|()| self.encoder.write_all(bytes)).map_err(broken)
    }
}

/// One step of the way back.
enum Item {
    Raw(u64),
    Content { offset: u64, length: u64, path: Vec<u8> },
    Replaced(Vec<u8>),
    End,
}

/// Write the tar whose recipe is in the directory `recipe`, and whose files are in `tree`.
pub(super) fn assemble(recipe: BorrowedFd<'_>, tree: BorrowedFd<'_>, output: &mut Output<'_>) -> Result<()> {
    let replaced = match openat(recipe, REPLACED, DIRECTORY, Mode::empty()) {
        Ok(directory) => Some((directory, replacements(recipe)?)),
        Err(Errno::ENOENT) => None,
        Err(errno) => return Err(named(errno)),
    };
    let mut reader = Reader::open(recipe)?;
    let mut position = 0_u64;
    loop {
        match reader.next()? {
            Item::Raw(length) => reader.copy(length, output)?,
            Item::Content { offset, length, path } => {
                let moved = replaced.as_ref().and_then(|(directory, moves)| {
                    moves.iter().enumerate().skip(usize::try_from(position).unwrap_or(usize::MAX)).find_map(
                        |(number, from)| {
                            below(&path, from).map(|rest| (directory, format!("{number}").into_bytes(), rest))
                        },
                    )
                });
                match moved {
                    Some((directory, number, rest)) => {
                        copy_file(directory.as_fd(), &[&number, rest].concat(), offset, length, output)?;
                    }
                    None => copy_file(tree, &path, offset, length, output)?,
                }
            }
            Item::Replaced(_) => position += 1,
            Item::End => return Ok(()),
        }
    }
}

/// The rest of a path behind `from`, if it is that or something below it.
fn below<'a>(path: &'a [u8], from: &[u8]) -> Option<&'a [u8]> {
    path.strip_prefix(from).filter(|rest| rest.first().is_none_or(|byte| *byte == b'/'))
}

/// All paths that were replaced, in order.
fn replacements(recipe: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>> {
    let mut reader = Reader::open(recipe)?;
    let (mut found, mut size) = (Vec::new(), 0);
    loop {
        match reader.next()? {
            Item::Raw(length) => reader.skip(length)?,
            Item::Content { .. } => {}
            Item::Replaced(path) => {
                size += path.len() + size_of::<Vec<u8>>();
                if size > limits::REMEMBERED {
                    return Err(wrong());
                }
                found.push(path);
            }
            Item::End => return Ok(found),
        }
    }
}

fn copy_file(root: BorrowedFd<'_>, path: &[u8], offset: u64, length: u64, output: &mut Output<'_>) -> Result<()> {
    let file = open_beneath(root, path, OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY);
    let file = match file {
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => return Err(wrong()),
        file => file.map_err(at(path))?,
    };
    let mut position = offset;
    let end = offset.checked_add(length).ok_or_else(wrong)?;
    while position < end {
        let space = output.space()?;
        let room = usize::try_from(end - position).map_or(space.len(), |left| left.min(space.len()));
        let at_byte = i64::try_from(position).map_err(|_| wrong())?;
        match pread(&file, &mut space[..room], at_byte) {
            Ok(0) => return Err(wrong()),
            Ok(count) => {
                output.advance(count);
                position += count as u64;
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(at(path)(errno)),
        }
    }
    Ok(())
}

struct Reader(BufReader<GzDecoder<BufReader<File>>>);

impl Reader {
    fn open(directory: BorrowedFd<'_>) -> Result<Self> {
        let file = openat(directory, FILE, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty());
        let file = BufReader::with_capacity(GATHERED, File::from(file.map_err(named)?));
        let mut reader = Self(BufReader::with_capacity(GATHERED, GzDecoder::new(file)));
        let mut magic = [0; MAGIC.len()];
        reader.fill(&mut magic)?;
        if magic == MAGIC { Ok(reader) } else { Err(damaged("its recipe is of another version of hyrun")) }
    }

    fn next(&mut self) -> Result<Item> {
        let mut tag = [0];
        self.fill(&mut tag)?;
        Ok(match tag[0] {
            b'R' => Item::Raw(self.number()?),
            b'F' => Item::Content { offset: self.number()?, length: self.number()?, path: self.path()? },
            b'M' => Item::Replaced(self.path()?),
            b'E' => Item::End,
            _ => return Err(wrong()),
        })
    }

    fn copy(&mut self, mut length: u64, output: &mut Output<'_>) -> Result<()> {
        while length > 0 {
            let space = output.space()?;
            let room = usize::try_from(length).map_or(space.len(), |left| left.min(space.len()));
            self.fill(&mut space[..room])?;
            output.advance(room);
            length -= room as u64;
        }
        Ok(())
    }

    fn skip(&mut self, length: u64) -> Result<()> {
        match io::copy(&mut (&mut self.0).take(length), &mut io::sink()) {
            Ok(count) if count == length => Ok(()),
            _ => Err(wrong()),
        }
    }

    fn number(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn path(&mut self) -> Result<Vec<u8>> {
        let length = usize::try_from(self.number()?).ok().filter(|length| *length <= limits::PATH);
        let mut path = vec![0; length.ok_or_else(wrong)?];
        self.fill(&mut path)?;
        Ok(path)
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<()> {
        self.0.read_exact(into).map_err(|_| wrong())
    }
}

fn wrong() -> Error {
    damaged("its recipe does not fit its files: the store is damaged")
}

fn named(errno: Errno) -> Error {
    Failure::at("recipe")(errno).into()
}

fn at(path: &[u8]) -> impl FnOnce(Errno) -> Error {
    let path = PathBuf::from(OsStr::from_bytes(path));
    move |errno| Failure { errno, path }.into()
}

fn broken(error: io::Error) -> Error {
    named(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
}
