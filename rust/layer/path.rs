//! Names of layer entries. Nothing here touches the disk.
use super::limits;
use super::whiteout::PREFIX;

/// The components of an entry's path: leading `/` and `.` dropped. Empty for the layer's root.
pub(super) fn components(path: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    if path.contains(&0) {
        return Err("the name contains a NUL byte");
    }
    if path.len() > limits::PATH {
        return Err("the path is longer than 4095 bytes");
    }
    let mut parts = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err("path leaves the layer"),
            // A whiteout is never made under its own name, which may thus be longer than any file's.
            _ if part.strip_prefix(PREFIX).unwrap_or(part).len() > limits::NAME => {
                return Err("a component is longer than 255 bytes");
            }
            _ => parts.push(part),
        }
    }
    if parts.len() > limits::DEPTH {
        return Err("the path is deeper than 255 directories");
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_and_dots_are_dropped() {
        assert_eq!(components(b"/./a//b/./c/").expect("valid"), [b"a", b"b", b"c"]);
        for root in [&b""[..], b".", b"./", b"/", b"//", b"/./."] {
            assert!(components(root).expect("valid").is_empty());
        }
    }

    #[test]
    fn names_that_leave_or_overflow_are_refused() {
        for bad in [&b".."[..], b"a/..", b"a/../b", b"/../a", b"a\0b"] {
            assert!(components(bad).is_err());
        }
        assert!(components(&[b'x'; 255]).is_ok());
        assert!(components(&[b'x'; 256]).is_err());
        assert!(components(&[&b".wh."[..], &[b'x'; 255]].concat()).is_ok());
        assert!(components(&[&b".wh."[..], &[b'x'; 256]].concat()).is_err());
        assert!(components("a/".repeat(255).as_bytes()).is_ok());
        assert!(components("a/".repeat(256).as_bytes()).is_err());
        assert!(components(&b"ab/".repeat(1366)).is_err());
    }
}
