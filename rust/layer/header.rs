//! Headers of the layers that are written here: ustar, with a PAX header before it for what ustar cannot hold.
//!
//! One way to write each thing, so that a tree packed twice has one digest: no names of owners, no access times,
//! records in a fixed order. Source: pax(1p), "ustar Interchange Format" and "pax Extended Header".
use std::ffi::CString;

use tar::EntryType;

use super::error::{Result, refused};
use super::limits;

pub(super) const BLOCK: usize = 512;

/// What the octal fields of eight and of twelve bytes hold.
const SEVEN_DIGITS: u64 = 0o7_777_777;
const ELEVEN_DIGITS: u64 = 0o77_777_777_777;
const NAME: usize = 100;

/// One entry, as it is to be written.
#[derive(Debug)]
pub(super) struct Header<'a> {
    /// Below the root, without a slash at the beginning; a directory's ends with one.
    pub(super) path: &'a [u8],
    pub(super) kind: EntryType,
    /// Target of a symlink or a hard link.
    pub(super) link: &'a [u8],
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    /// Seconds and nanoseconds after them.
    pub(super) mtime: (i64, i64),
    /// Major and minor.
    pub(super) device: (u64, u64),
    /// Sorted by name.
    pub(super) xattrs: &'a [(CString, Vec<u8>)],
}

impl<'a> Header<'a> {
    /// An empty file of root's and of 1970, which is what markers are.
    pub(super) fn marker(path: &'a [u8]) -> Self {
        Self {
            path,
            kind: EntryType::Regular,
            link: b"",
            mode: 0o600,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: (0, 0),
            device: (0, 0),
            xattrs: &[],
        }
    }

    /// All blocks that stand before the content.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        if self.path.len() > limits::PATH {
            return Err(refused(self.path, "the path is longer than 4095 bytes: no program unpacks that"));
        }
        let records = self.records();
        let mut blocks = Vec::with_capacity(BLOCK);
        if !records.is_empty() {
            if records.len() as u64 > limits::EXTENSION {
                return Err(refused(self.path, "its extended attributes are larger than 1 MiB: no program reads that"));
            }
            let header = Self { size: records.len() as u64, kind: EntryType::XHeader, ..Self::marker(b"@PaxHeader") };
            blocks.extend_from_slice(&header.block());
            blocks.extend_from_slice(&records);
            blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
        }
        blocks.extend_from_slice(&self.block());
        Ok(blocks)
    }

    /// The records for what does not fit into the block.
    fn records(&self) -> Vec<u8> {
        let mut records = Vec::new();
        let (long_path, long_link) = (!fits(self.path), !fits(self.link));
        let binary = |text, long| long && std::str::from_utf8(text).is_err();
        if binary(self.path, long_path) || binary(self.link, long_link) {
            push(&mut records, b"hdrcharset", b"BINARY");
        }
        if long_path {
            push(&mut records, b"path", self.path);
        }
        if long_link {
            push(&mut records, b"linkpath", self.link);
        }
        for (key, value, limit) in [
            (&b"size"[..], self.size, ELEVEN_DIGITS),
            (b"uid", u64::from(self.uid), SEVEN_DIGITS),
            (b"gid", u64::from(self.gid), SEVEN_DIGITS),
        ] {
            if value > limit {
                push(&mut records, key, value.to_string().as_bytes());
            }
        }
        if self.mtime.1 != 0 || u64::try_from(self.mtime.0).map_or(true, |seconds| seconds > ELEVEN_DIGITS) {
            push(&mut records, b"mtime", time(self.mtime).as_bytes());
        }
        for (key, value) in self.xattrs {
            push(&mut records, &[b"SCHILY.xattr.", key.to_bytes()].concat(), value);
        }
        records
    }

    fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        copy_name(&mut block[..100], self.path);
        octal(&mut block[100..108], u64::from(self.mode));
        octal(&mut block[108..116], within(u64::from(self.uid), SEVEN_DIGITS));
        octal(&mut block[116..124], within(u64::from(self.gid), SEVEN_DIGITS));
        octal(&mut block[124..136], within(self.size, ELEVEN_DIGITS));
        octal(&mut block[136..148], within(u64::try_from(self.mtime.0).unwrap_or(0), ELEVEN_DIGITS));
        block[148..156].fill(b' ');
        block[156] = self.kind.as_byte();
        copy_name(&mut block[157..257], self.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[329..337], self.device.0);
        octal(&mut block[337..345], self.device.1);
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        octal(&mut block[148..155], sum);
        block
    }
}

/// Whether a name can stand in the block itself: ustar is for ASCII.
fn fits(name: &[u8]) -> bool {
    name.len() <= NAME && name.is_ascii()
}

/// What stands in the block when a record says the truth: a short name is enough for those who do not know PAX.
fn copy_name(field: &mut [u8], name: &[u8]) {
    for (slot, byte) in field.iter_mut().zip(name.iter().filter(|byte| byte.is_ascii())) {
        *slot = *byte;
    }
}

fn within(value: u64, limit: u64) -> u64 {
    if value <= limit { value } else { 0 }
}

/// Zero-padded digits and a NUL.
fn octal(field: &mut [u8], mut value: u64) {
    let digits = field.len() - 1;
    for slot in field[..digits].iter_mut().rev() {
        *slot = b'0' + (value & 7) as u8;
        value >>= 3;
    }
    field[digits] = 0;
}

/// `length key=value\n`, where the length counts its own digits.
fn push(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + digits(length) {
        length = rest + digits(length);
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.to_string().len()
}

/// `[-]seconds[.fraction]`, without zeros at the end.
fn time((seconds, nanoseconds): (i64, i64)) -> String {
    let (sign, whole, fraction) = match (seconds < 0, nanoseconds) {
        (false, _) | (true, 0) => (if seconds < 0 { "-" } else { "" }, seconds.unsigned_abs(), nanoseconds),
        // The kernel counts nanoseconds upwards, the text counts away from 1970.
        (true, _) => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds),
    };
    if fraction == 0 {
        return format!("{sign}{whole}");
    }
    format!("{sign}{whole}.{fraction:09}").trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::number;
    use super::*;

    #[test]
    fn times_are_read_back_as_they_were() {
        for mtime in [(0, 0), (1, 5), (1, 500_000_000), (-1, 0), (-1, 500_000_000), (-2, 1), (-3, 999_999_999)] {
            assert_eq!(number::time(time(mtime).as_bytes()), Some(mtime), "{mtime:?}");
        }
        assert_eq!(time((-2, 500_000_000)), "-1.5");
    }

    #[test]
    fn a_record_counts_its_own_digits() {
        for size in [0, 1, 90, 92, 93, 94, 95, 990, 992, 993, 994] {
            let mut records = Vec::new();
            push(&mut records, b"k", &vec![b'x'; size]);
            let text = String::from_utf8(records).expect("ascii");
            assert_eq!(text.split(' ').next().map(str::parse), Some(Ok(text.len())), "{size}");
        }
    }

    #[test]
    fn what_fits_has_no_record() {
        let plain = Header { uid: 0o7_777_777, size: 0o77_777_777_777, ..Header::marker(b"a/b") };
        assert_eq!(plain.encode().expect("valid").len(), BLOCK);
        for (long, record) in [
            (Header { uid: 0o10_000_000, ..Header::marker(b"a") }, "15 uid=2097152\n"),
            (Header { size: 1 << 33, ..Header::marker(b"a") }, "19 size=8589934592\n"),
            (Header { mtime: (-1, 0), ..Header::marker(b"a") }, "12 mtime=-1\n"),
            (Header::marker("ä".as_bytes()), "11 path=ä\n"),
        ] {
            let blocks = long.encode().expect("valid");
            assert_eq!(blocks.len(), 3 * BLOCK);
            assert!(String::from_utf8_lossy(&blocks).contains(record), "{record}");
        }
        let binary = Header::marker(b"\xff").encode().expect("valid");
        assert!(binary.windows(17).any(|window| window == b"hdrcharset=BINARY"));
    }
}
