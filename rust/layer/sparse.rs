//! GNU's old sparse files: a map of extents in the header, the extents' bytes behind it.
//! Source: GNU tar manual, "Old GNU Format".
use tar::{GnuSparseHeader, Header};

use super::error::{Result, damaged};
use super::limits;
use super::number::field;

/// A file with holes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sparse {
    /// Length of the file with its holes.
    pub(super) length: u64,
    /// Offset and length of each extent, ascending.
    pub(super) extents: Vec<(u64, u64)>,
}

impl Sparse {
    /// Begin with the map in the header itself; true when more of it follows in blocks of their own.
    pub(super) fn new(header: &Header) -> Result<(Self, bool)> {
        let gnu = header.as_gnu().ok_or_else(|| damaged("a sparse file without a GNU header"))?;
        let length = number(&gnu.realsize)?;
        let mut sparse = Self { length, extents: Vec::new() };
        sparse.extend(&gnu.sparse)?;
        Ok((sparse, gnu.isextended[0] != 0))
    }

    /// Add a part of the map.
    pub(super) fn extend(&mut self, map: &[GnuSparseHeader]) -> Result<()> {
        for item in map.iter().take_while(|item| item.offset[0] != 0 || item.numbytes[0] != 0) {
            if self.extents.len() >= limits::EXTENTS {
                return Err(damaged("a sparse file of more than 65536 extents"));
            }
            self.extents.push((number(&item.offset)?, number(&item.numbytes)?));
        }
        Ok(())
    }

    /// Check the whole map against the file's length and the bytes that follow in the archive.
    pub(super) fn check(&self, stored: u64) -> Result<()> {
        let mut end = 0;
        let mut sum = 0;
        for (offset, length) in &self.extents {
            // Extents begin at blocks of the archive; only the last one may end inside of one.
            let fits = *offset >= end && (*length == 0 || sum % 512 == 0);
            end = offset.saturating_add(*length);
            sum += length;
            if !fits || end > self.length || self.length > limits::SIZE {
                return Err(damaged("the map of a sparse file is wrong"));
            }
        }
        if sum != stored || self.length > limits::SIZE {
            return Err(damaged("the map of a sparse file is wrong"));
        }
        Ok(())
    }
}

fn number(bytes: &[u8]) -> Result<u64> {
    let value = field(bytes).and_then(|value| u64::try_from(value).ok()).filter(|value| *value <= limits::SIZE);
    value.ok_or_else(|| damaged("the map of a sparse file is wrong"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(length: u64, extents: &[(u64, u64)], stored: u64) -> bool {
        Sparse { length, extents: extents.to_vec() }.check(stored).is_ok()
    }

    #[test]
    fn a_map_must_ascend_fill_and_fit() {
        assert!(check(4096, &[(512, 512), (2048, 100), (4096, 0)], 612));
        assert!(check(4096, &[], 0));
        assert!(!check(4096, &[(2048, 512), (512, 512)], 1024));
        assert!(!check(4096, &[(0, 512), (256, 512)], 1024));
        assert!(!check(4096, &[(0, 100), (512, 512)], 612));
        assert!(!check(4096, &[(0, 512)], 1024));
        assert!(!check(100, &[(0, 512)], 512));
        assert!(!check(u64::MAX, &[], 0));
    }
}
