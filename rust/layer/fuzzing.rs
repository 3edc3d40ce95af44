//! For `fuzz/`: read any bytes as a layer, and write nothing.
use std::os::fd::AsFd;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::write;

use super::error::Result;
use super::input::{Origin, Raw};
use super::reader::Reader;
use super::source::Source;
use super::{path, whiteout};

/// Read all entries and their content; errors are what is expected of most bytes.
pub fn read_layer(data: &[u8]) {
    let _ = read(data);
}

fn read(data: &[u8]) -> Result<()> {
    let file = memfd_create(c"layer", MFdFlags::MFD_CLOEXEC).expect("a memory file");
    assert_eq!(write(&file, data), Ok(data.len()), "inputs are small");
    let raw = Raw::new(file.as_fd(), Origin::Window { offset: 0, end: Some(data.len() as u64) });
    let mut reader = Reader::new(Source::here(raw)?);
    while let Some(entry) = reader.next()? {
        if let Ok(components) = path::components(&entry.name) {
            assert!(components.iter().all(|part| !matches!(*part, b"" | b"." | b"..")), "a name that leads elsewhere");
            let _ = whiteout::meaning(&components);
        }
        loop {
            let count = reader.content()?.len();
            if count == 0 {
                break;
            }
            reader.take(count);
        }
    }
    reader.finish().map(drop)
}
