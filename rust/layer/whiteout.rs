//! OCI whiteouts, told by name. Source: OCI image-spec, layer.md, "Whiteouts".

/// What an entry's path means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// A file of the layer.
    File,
    /// `.wh.NAME`: NAME of the layers below is gone.
    Whiteout(&'a [u8]),
    /// `.wh..wh..opq`: everything of the layers below is gone from this directory.
    Opaque,
    /// aufs's own bookkeeping (`.wh..wh.plnk`), which old images carry along.
    Aufs,
}

pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";
const AUFS: &[u8] = b".wh..wh.";
pub(super) const PREFIX: &[u8] = b".wh.";

/// Tell a whiteout from a file.
pub(super) fn meaning<'a>(components: &[&'a [u8]]) -> Result<Meaning<'a>, &'static str> {
    let Some((last, parents)) = components.split_last() else {
        return Ok(Meaning::File);
    };
    for parent in parents {
        if is_aufs(parent) {
            return Ok(Meaning::Aufs);
        }
        if parent.starts_with(PREFIX) {
            return Err("a whiteout is not a directory");
        }
    }
    if *last == OPAQUE {
        return Ok(Meaning::Opaque);
    }
    if is_aufs(last) {
        return Ok(Meaning::Aufs);
    }
    match last.strip_prefix(PREFIX) {
        None => Ok(Meaning::File),
        Some(b"" | b"." | b".." | b".wh.") => Err("a whiteout must name a file"),
        Some(name) => Ok(Meaning::Whiteout(name)),
    }
}

fn is_aufs(name: &[u8]) -> bool {
    name.len() > AUFS.len() && name.starts_with(AUFS) && name != OPAQUE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let of = |path: &'static str| {
            let parts: Vec<&[u8]> = path.split('/').map(str::as_bytes).collect();
            meaning(&parts)
        };
        assert_eq!(of("a/b"), Ok(Meaning::File));
        assert_eq!(of("a/.wh"), Ok(Meaning::File));
        assert_eq!(of("a/x.wh.b"), Ok(Meaning::File));
        assert_eq!(of("a/.wh.b"), Ok(Meaning::Whiteout(b"b")));
        assert_eq!(of("a/.wh....b"), Ok(Meaning::Whiteout(b"...b")));
        assert_eq!(of("a/.wh..b"), Ok(Meaning::Whiteout(b".b")));
        assert_eq!(of(".wh..wh..opq"), Ok(Meaning::Opaque));
        assert_eq!(of("a/.wh..wh.plnk"), Ok(Meaning::Aufs));
        assert_eq!(of(".wh..wh.plnk/1.2"), Ok(Meaning::Aufs));
        for bad in [".wh.", ".wh..", ".wh...", ".wh..wh.", ".wh.a/b", ".wh..wh..opq/b", "x/.wh./b"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
