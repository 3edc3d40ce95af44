//! PAX extended headers: `length key=value\n` records. Source: pax(1p), "pax Extended Header".
//!
//! The `tar` crate's iterator splits at newlines, which binary values (`security.capability`) contain, so the
//! lengths are what counts here.
use std::ffi::CString;

use super::error::{Result, damaged, quoted};
use super::number;
use crate::fs::is_overlay_xattr;

/// The largest value that setxattr(2) takes (XATTR_SIZE_MAX).
const XATTR_SIZE: usize = 65_536;

/// The records of one extended header that matter to a layer.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, i64)>,
    pub(super) xattrs: Vec<(CString, Vec<u8>)>,
}

impl Pax {
    /// Parse a header that describes the next entry.
    pub(super) fn parse(data: &[u8]) -> Result<Self> {
        let mut pax = Self::default();
        for_each_record(data, |key, value| pax.take(key, value))?;
        Ok(pax)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let wrong = || damaged(format!("PAX record {} has the value {}", quoted(key), quoted(value)));
        // An empty value takes a record back; the header's own field counts again (pax(1p)).
        let text = || (!value.is_empty()).then(|| value.to_vec());
        let decimal = || match value {
            b"" => Ok(None),
            _ => number::decimal(value).map(Some).ok_or_else(wrong),
        };
        match key {
            b"path" => self.path = text(),
            b"linkpath" => self.link_path = text(),
            b"size" => self.size = decimal()?,
            b"uid" => self.uid = decimal()?,
            b"gid" => self.gid = decimal()?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(number::time(value).ok_or_else(wrong)?),
            _ if key.starts_with(b"GNU.sparse.") || key == b"SCHILY.realsize" => {
                return Err(damaged(
                    "a sparse file in PAX form, which the image specification discourages and parsers read differently",
                ));
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.take_xattr(name, value)?;
                }
            }
        }
        Ok(())
    }

    /// Keep `user.*`, `security.*` and the ACLs; overlayfs's own, `trusted.*` and the rest of `system.*` are not a
    /// layer's to set.
    fn take_xattr(&mut self, name: &[u8], value: &[u8]) -> Result<()> {
        let wanted = name.starts_with(b"user.")
            || name.starts_with(b"security.")
            || matches!(name, b"system.posix_acl_access" | b"system.posix_acl_default");
        if !wanted || is_overlay_xattr(name) {
            return Ok(());
        }
        let key = CString::new(name).ok().filter(|_| name.len() <= 255 && value.len() <= XATTR_SIZE);
        let key = key.ok_or_else(|| damaged(format!("extended attribute {} is too large", quoted(name))))?;
        self.xattrs.push((key, value.to_vec()));
        Ok(())
    }
}

/// Check a global header, which is otherwise ignored (as docker does): `git archive` puts a comment there, but
/// names and sizes for all entries would make other programs see other files.
pub(super) fn check_global(data: &[u8]) -> Result<()> {
    for_each_record(data, |key, _| match key {
        b"path" | b"linkpath" | b"size" => {
            Err(damaged(format!("a global PAX header sets {}, which parsers read differently", quoted(key))))
        }
        _ => Ok(()),
    })
}

fn for_each_record(mut data: &[u8], mut take: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
    let bad = || damaged("a PAX header is malformed");
    while !data.is_empty() {
        let space = data.iter().take(20).position(|byte| *byte == b' ').ok_or_else(bad)?;
        let length = number::decimal(&data[..space]).ok_or_else(bad)?;
        let length = usize::try_from(length).ok().filter(|length| *length <= data.len() && *length > space + 1);
        let (record, rest) = data.split_at(length.ok_or_else(bad)?);
        let record = record[space + 1..].strip_suffix(b"\n").ok_or_else(bad)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if key.is_empty() {
            return Err(bad());
        }
        take(key, value)?;
        data = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_may_contain_newlines_and_equals_signs() {
        let pax = Pax::parse(b"30 SCHILY.xattr.user.a=x\ny=z\0\n12 path=a=b\n").expect("valid");
        assert_eq!(pax.xattrs, [(c"user.a".to_owned(), b"x\ny=z\0".to_vec())]);
        assert_eq!(pax.path.as_deref(), Some(&b"a=b"[..]));
    }

    #[test]
    fn the_last_record_wins_and_an_empty_one_takes_it_back() {
        assert_eq!(Pax::parse(b"9 uid=12\n8 uid=3\n").expect("valid").uid, Some(3));
        assert_eq!(Pax::parse(b"9 uid=12\n7 uid=\n").expect("valid").uid, None);
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [
            &b"5 a=\n"[..],
            b"x a=b\n",
            b"99 path=a\n",
            b"2 \n",
            b"6 a=bc",
            b"6 abc\n",
            b"5 =b\n",
            b"8 uid=-\n",
            b"\0\0\0",
            b"18446744073709551616 a=b\n",
        ] {
            if bad == b"5 a=\n" {
                assert!(Pax::parse(bad).is_ok());
            } else {
                assert!(Pax::parse(bad).is_err(), "{}", quoted(bad));
            }
        }
    }

    #[test]
    fn overlay_and_trusted_attributes_are_dropped() {
        for name in ["trusted.overlay.opaque", "user.overlay.opaque", "trusted.x", "system.nfs4_acl"] {
            let body = format!(" SCHILY.xattr.{name}=y\n");
            let record = format!("{}{body}", body.len() + 2);
            assert!(Pax::parse(record.as_bytes()).expect("valid").xattrs.is_empty(), "{name}");
        }
    }
}
