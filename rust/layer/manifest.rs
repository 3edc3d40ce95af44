//! The manifest of an unpacked layer: what the unpacker made of it, so that damage to its directory can be found.
//!
//! ```text
//! hyrun layer manifest 1 <bytes of the plain tar>
//! <kind> <mode> <uid>:<gid> <mtime> <content> <xattrs> <path>        one line for each name, sorted by path
//! end <lines> <XXH3-128 of everything before>
//! ```
//!
//! The digests are XXH3 with 128 bits and not SHA-256: the diff id has been checked when the layer was unpacked,
//! and who can change the directory can change this file, so what is left to find is accident, and for that a
//! digest of ten times the speed is as good.
use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;

use nix::errno::Errno;
use nix::fcntl::open;
use nix::sys::stat::Mode;
use nix::unistd::{fsync, syncfs};
use xxhash_rust::xxh3::Xxh3;

use super::error::{Error, Result};
use super::meter::Meter;
use crate::fs::{DIRECTORY, Failure};
use crate::tree::entry::{Entry, escaped};
use crate::tree::inventory::{self, Contents};

const TITLE: &str = "hyrun layer manifest 1";
/// Differences that are listed; the rest is counted.
const LISTED: usize = 1000;

/// What is beside the tree in a layer's directory and has a check of its own, or none: the manifest itself, figures, the
/// bytes as a registry gave them.
const BESIDE: [&[u8]; 3] = [b"manifest", b"layer.json", b"blob"];

/// What the fields of a line are called when they differ, in their order.
const FIELDS: [&str; 6] = ["type", "mode", "owner", "time", "content", "extended attributes"];

/// What became of a comparison.
#[derive(Debug, Default)]
pub(super) struct Verified {
    /// Bytes of the plain tar, as they were written down.
    pub(super) size: u64,
    /// Names in the manifest.
    pub(super) entries: u64,
    /// How many names differ, and the first of them: path and what is wrong with it.
    pub(super) count: usize,
    pub(super) differences: Vec<(Vec<u8>, String)>,
}

/// Write the manifest of the layer's directory `tree` into the new file `path`; returns the number of names.
///
/// With `sync`, everything on that file system and then the manifest is on the disk when this returns: the disk
/// writes while the processor reads what is still in memory.
pub(super) fn write(tree: &Path, path: &Path, size: u64, sync: bool) -> Result<u64> {
    let root = open(tree, DIRECTORY, Mode::empty()).map_err(Failure::at(tree))?;
    let (entries, synced) = thread::scope(|scope| {
        let writing = sync.then(|| scope.spawn(|| syncfs(&root)));
        let entries = inventory::take(root.as_fd(), Contents::Digested, &BESIDE, None);
        (entries, writing.map_or(Ok(()), |thread| thread.join().unwrap_or(Err(Errno::EIO))))
    });
    synced.map_err(Failure::at(tree))?;
    let entries = entries.map_err(|failure| Failure::at(tree)(failure.errno))?;
    if let Some((entry, errno)) = entries.iter().find_map(|entry| entry.failure.map(|errno| (entry, errno))) {
        return Err(Failure::at(tree.join(entry.shown()))(errno).into());
    }
    let failure = |error: &std::io::Error| {
        Error::System(Failure::at(path)(Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32))))
    };
    let file = File::create_new(path).map_err(|error| failure(&error))?;
    write_lines(&file, &entries, size).map_err(|error| failure(&error))?;
    if sync {
        file.sync_all().map_err(|error| failure(&error))?;
        let parent = path.parent().unwrap_or(path);
        open(parent, DIRECTORY, Mode::empty()).and_then(fsync).map_err(Failure::at(parent))?;
    }
    Ok(entries.len() as u64)
}

fn write_lines(file: &File, entries: &[Entry], size: u64) -> std::io::Result<()> {
    let mut output = BufWriter::with_capacity(256 << 10, file);
    let mut hasher = Xxh3::new();
    let mut put = |text: &str| {
        hasher.update(text.as_bytes());
        output.write_all(text.as_bytes())
    };
    put(&format!("{TITLE} {size}\n"))?;
    for entry in entries {
        put(&line(entry))?;
        put("\n")?;
    }
    let digest = hasher.digest128();
    writeln!(output, "end {} {digest:032x}", entries.len())?;
    output.flush()
}

/// One name as a line, without its end.
fn line(entry: &Entry) -> String {
    let path = word_of(&entry.path);
    if entry.kind == 'h' {
        // Everything else is said of its first name.
        return format!("h - - - {} - {path}", entry.content);
    }
    // The manifest itself comes into the directory after it was read.
    let (seconds, nanoseconds) = if entry.path.is_empty() { (0, 0) } else { entry.mtime };
    format!(
        "{} {:o} {}:{} {seconds}.{nanoseconds:09} {} {} {path}",
        entry.kind, entry.mode, entry.owner.0, entry.owner.1, entry.content, entry.xattrs
    )
}

/// Compare the layer's directory `tree` with the manifest at `path`: everything, or all but the bytes in files. A manifest
/// that is damaged itself is refused.
pub(super) fn verify(tree: &Path, path: &Path, contents: bool, meter: Option<&Meter>) -> Result<Verified> {
    let text = fs::read(path)
        .map_err(|error| Failure::at(path)(Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO as i32))))?;
    let manifest =
        Manifest::parse(&text).ok_or_else(|| Error::Refused("the manifest of the layer is damaged".into()))?;
    let root = open(tree, DIRECTORY, Mode::empty()).map_err(Failure::at(tree))?;
    let wanted = if contents { Contents::Digested } else { Contents::Measured };
    let entries =
        inventory::take(root.as_fd(), wanted, &BESIDE, meter).map_err(|failure| Failure::at(tree)(failure.errno))?;
    let mut verified = Verified { size: manifest.size, entries: manifest.lines.len() as u64, ..Verified::default() };
    let mut expected = manifest.lines.iter().peekable();
    for entry in &entries {
        let found = word_of(&entry.path);
        // Sorted by the bytes of the path, which escaping does not keep: so not by the text.
        while let Some(missing) = expected.next_if(|line| path_of(line) < entry.path) {
            verified.add(path_of(missing), "missing".into());
        }
        match expected.next_if(|line| line.rsplit(' ').next() == Some(&found)) {
            None => verified.add(entry.path.clone(), "not a part of the layer".into()),
            Some(expected) => {
                if let Some(errno) = entry.failure {
                    verified.add(entry.path.clone(), format!("cannot be read: {}", errno.desc()));
                    continue;
                }
                let expected = if contents { Cow::Borrowed(*expected) } else { without_digest(expected) };
                if line(entry) != expected {
                    verified.add(entry.path.clone(), explain(&expected, &line(entry)));
                }
            }
        }
    }
    for missing in expected {
        verified.add(path_of(missing), "missing".into());
    }
    Ok(verified)
}

/// A file's line as it is when its content is only measured.
fn without_digest(line: &str) -> Cow<'_, str> {
    if !line.starts_with("f ") {
        return Cow::Borrowed(line);
    }
    let mut fields: Vec<&str> = line.split(' ').collect();
    if let Some(content) = fields.get_mut(4) {
        *content = content.split(':').next().unwrap_or_default();
    }
    Cow::Owned(fields.join(" "))
}

impl Verified {
    fn add(&mut self, path: Vec<u8>, what: String) {
        self.count += 1;
        if self.differences.len() < LISTED {
            self.differences.push((path, what));
        }
    }
}

struct Manifest<'a> {
    size: u64,
    lines: Vec<&'a str>,
}

impl<'a> Manifest<'a> {
    /// None unless the text is whole.
    fn parse(text: &'a [u8]) -> Option<Self> {
        let text = str::from_utf8(text).ok()?.strip_suffix('\n')?;
        let end = text.rfind('\n')? + 1;
        let (body, last) = text.split_at(end);
        let (count, digest) = last.strip_prefix("end ")?.split_once(' ')?;
        let mut hasher = Xxh3::new();
        hasher.update(body.as_bytes());
        if format!("{:032x}", hasher.digest128()) != digest {
            return None;
        }
        let mut lines = body.lines();
        let size = lines.next()?.strip_prefix(TITLE)?.trim().parse().ok()?;
        let lines: Vec<&str> = lines.collect();
        (count.parse() == Ok(lines.len())).then_some(Self { size, lines })
    }
}

/// A path as the last word of its line; the tree's root is `.`.
fn word_of(path: &[u8]) -> String {
    if path.is_empty() { ".".into() } else { escaped(path) }
}

fn path_of(line: &str) -> Vec<u8> {
    match line.rsplit(' ').next() {
        None | Some(".") => Vec::new(),
        Some(word) => unescaped(word),
    }
}

/// The bytes of a word that [`escaped`] made.
fn unescaped(word: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find("\\x") {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let digits = rest.get(at + 2..at + 4).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.extend(digits);
        rest = rest.get(at + 4..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

/// Which fields of two lines differ: ``content (12 bytes instead of 34), mode``.
fn explain(expected: &str, found: &str) -> String {
    let kinds = |line: &str| line.chars().next();
    if kinds(expected) != kinds(found) {
        return "type".into();
    }
    let length = |field: &str| field.split_once(':').map(|(length, _)| length.to_owned());
    let differing = FIELDS.iter().zip(expected.split(' ').zip(found.split(' '))).filter(|(_, (one, two))| one != two);
    let words = differing.map(|(name, (expected, found))| match (length(expected), length(found)) {
        (Some(expected), Some(found)) if *name == "content" && expected != found => {
            format!("content ({found} bytes instead of {expected})")
        }
        _ => (*name).to_owned(),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(lines: &[&str]) -> Vec<u8> {
        let mut text = format!("{TITLE} 7\n");
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        let mut hasher = Xxh3::new();
        hasher.update(text.as_bytes());
        let end = format!("end {} {:032x}\n", lines.len(), hasher.digest128());
        text.push_str(&end);
        text.into_bytes()
    }

    #[test]
    fn a_manifest_with_any_byte_changed_or_missing_is_refused() {
        let whole = manifest(&["d 755 0:0 0.000000000 - - .", "f 644 0:0 0.000000000 3:00 - a"]);
        let parsed = Manifest::parse(&whole).map(|manifest| (manifest.size, manifest.lines.len()));
        assert_eq!(parsed, Some((7, 2)));
        for position in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[position] ^= 1;
            assert!(Manifest::parse(&damaged).is_none(), "byte {position}");
            assert!(Manifest::parse(&whole[..position]).is_none(), "cut at {position}");
        }
    }

    #[test]
    fn words_are_read_as_they_were_written() {
        let bytes: Vec<u8> = (1..=255).collect();
        assert_eq!(unescaped(&escaped(&bytes)), bytes);
        assert_eq!(unescaped("\\x"), b"");
    }

    #[test]
    fn differences_are_named() {
        let one = "f 644 0:0 1.000000000 3:00 - a";
        assert_eq!(explain(one, "f 600 0:5 1.000000000 3:00 user.a=b a"), "mode, owner, extended attributes");
        assert_eq!(explain(one, "f 644 0:0 1.000000000 0:00 - a"), "content (0 bytes instead of 3)");
        assert_eq!(explain(one, "f 644 0:0 2.000000000 3:01 - a"), "time, content");
        assert_eq!(explain(one, "l 777 0:0 1.000000000 x - a"), "type");
    }
}
