//! What can be wrong with a layer.
use std::fmt::Write;

use crate::fs::Failure;

/// A layer that was refused, or a disk that refused.
#[derive(Debug)]
pub(crate) enum Error {
    /// The archive is hostile, damaged or over a limit: the whole sentence. Python's StorageError.
    Refused(String),
    /// A system call failed. Python's OSError.
    System(Failure),
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::System(failure)
    }
}

/// A sentence about the archive as a whole.
pub(super) fn damaged(what: impl std::fmt::Display) -> Error {
    Error::Refused(format!("layer: {what}"))
}

/// A sentence about one entry: ``layer entry "a/../b": path leaves the layer``.
pub(super) fn refused(name: &[u8], why: impl std::fmt::Display) -> Error {
    Error::Refused(format!("layer entry {}: {why}", quoted(name)))
}

/// A name as it may be shown on a terminal: escaped, and cut when it is long.
pub(super) fn quoted(name: &[u8]) -> String {
    const SHOWN: usize = 200;
    let mut text = String::from("\"");
    for byte in name.iter().take(SHOWN) {
        // Writing into a String cannot fail.
        let _ = write!(text, "{}", byte.escape_ascii());
    }
    text.push_str(if name.len() > SHOWN { "\"..." } else { "\"" });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_without_control_characters() {
        assert_eq!(quoted(b"a\n\x1b[2J\"\xff"), r#""a\n\x1b[2J\"\xff""#);
        assert!(quoted(&[b'x'; 5000]).len() < 300);
    }
}
