//! One name of a tree, described.
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;

/// One name. All texts are without spaces: [`escaped`].
#[derive(Debug)]
pub(crate) struct Entry {
    /// Below the tree's root, which itself is empty.
    pub(crate) path: Vec<u8>,
    /// `d`, `f`, `l`, `c`, `b`, `p`, `s`; `h` for a further name of a file with several.
    pub(crate) kind: char,
    /// Permissions in octal.
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) mtime: (i64, i64),
    /// A file's length and digest, a link's target, a device's numbers, a further name's first name.
    pub(crate) content: String,
    /// Names and values, sorted; `-` for none.
    pub(crate) xattrs: String,
    /// What cannot change without the kernel noting it: inode and time of change.
    pub(crate) identity: Identity,
    /// Why it could not be read to its end.
    pub(crate) failure: Option<Errno>,
}

/// Device, inode, number of names, time of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) names: u64,
    pub(crate) changed: (i64, i64),
}

impl Entry {
    /// A name of which nothing is known but that it is there.
    pub(super) fn failed(path: Vec<u8>, errno: Errno) -> Self {
        Self {
            path,
            kind: '?',
            mode: 0,
            owner: (0, 0),
            mtime: (0, 0),
            content: "-".to_owned(),
            xattrs: "-".to_owned(),
            identity: Identity { device: 0, inode: 0, names: 1, changed: (0, 0) },
            failure: Some(errno),
        }
    }

    /// Its path, for a system call's refusal.
    pub(crate) fn shown(&self) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(&self.path))
    }
}

/// Bytes as one word: letters, digits and marks as they are, everything else (and `,` and `\`) as `\xNN`.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    use std::fmt::Write;

    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_graphic() && !matches!(byte, b'\\' | b',') {
            text.push(char::from(*byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_has_no_spaces_and_no_two_names_share_one() {
        assert_eq!(escaped(b"etc/motd"), "etc/motd");
        assert_eq!(escaped(b"a b\n\\,\xff"), "a\\x20b\\x0a\\x5c\\x2c\\xff");
        assert_ne!(escaped(b"\\x20"), escaped(b" "));
    }
}
