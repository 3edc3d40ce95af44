//! The names in one directory, sorted: in little memory, for a directory may hold a million.
use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::sys::stat::Mode;

use crate::fs::DIRECTORY;
use crate::tree::is_dot;

/// Iterates in the order of the bytes.
pub(super) struct Names {
    /// All names, each with its NUL.
    bytes: Vec<u8>,
    starts: Vec<usize>,
    next: usize,
}

impl Names {
    /// Read an open directory.
    pub(super) fn read(directory: BorrowedFd<'_>) -> nix::Result<Self> {
        let mut names = Self { bytes: Vec::new(), starts: Vec::new(), next: 0 };
        let mut dir = Dir::openat(directory, c".", DIRECTORY, Mode::empty())?;
        for item in dir.iter() {
            let item = item?;
            let name = item.file_name().to_bytes_with_nul();
            if !is_dot(item.file_name().to_bytes()) {
                names.starts.push(names.bytes.len());
                names.bytes.extend_from_slice(name);
            }
        }
        let bytes = std::mem::take(&mut names.bytes);
        let name = |start: usize| bytes[start..].split(|byte| *byte == 0).next();
        names.starts.sort_unstable_by(|left, right| name(*left).cmp(&name(*right)));
        names.bytes = bytes;
        Ok(names)
    }

    /// Read a directory that may be gone by now, which is one without names.
    pub(super) fn read_if_there(directory: BorrowedFd<'_>) -> nix::Result<Self> {
        match Self::read(directory) {
            Err(Errno::ENOENT) => Ok(Self { bytes: Vec::new(), starts: Vec::new(), next: 0 }),
            names => names,
        }
    }
}

impl Iterator for Names {
    type Item = CString;

    fn next(&mut self) -> Option<CString> {
        let start = *self.starts.get(self.next)?;
        self.next += 1;
        CStr::from_bytes_until_nul(&self.bytes[start..]).ok().map(CStr::to_owned)
    }
}
