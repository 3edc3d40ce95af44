//! Numbers of tar headers and PAX records. Source: pax(1p), "ustar Interchange Format"; GNU tar, "Basic Tar Format".

/// A header field: octal digits, or base-256 when the first bit is set. Blank means 0. None when it is neither.
pub(super) fn field(bytes: &[u8]) -> Option<i64> {
    if bytes.first()? & 0x80 != 0 {
        return base_256(bytes);
    }
    let end = bytes.iter().skip_while(|byte| **byte == 0).position(|byte| *byte == 0);
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
    let digits = &bytes[start..end.map_or(bytes.len(), |length| start + length)];
    digits.trim_ascii().iter().try_fold(0_i64, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    })
}

/// Two's complement, big endian, the first bit being the mark and the second one the sign.
fn base_256(bytes: &[u8]) -> Option<i64> {
    let invert = if bytes[0] & 0x40 != 0 { 0xff } else { 0 };
    let mut value = 0_i64;
    for (index, byte) in bytes.iter().enumerate() {
        let mut byte = byte ^ invert;
        if index == 0 {
            byte &= 0x7f;
        }
        value = value.checked_mul(256)?.checked_add(i64::from(byte))?;
    }
    Some(if invert == 0 { value } else { !value })
}

/// A decimal number of a PAX record: digits only.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A PAX time, `[-]seconds[.fraction]`, as seconds and nanoseconds below one second after them.
pub(super) fn time(text: &[u8]) -> Option<(i64, i64)> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let dot = text.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = dot.map_or((text, &b""[..]), |dot| (&text[..dot], &text[dot + 1..]));
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    // Digits beyond the ninth are below a nanosecond: cut off, as GNU tar does.
    let nanoseconds =
        (0..9).fold(0_i64, |value, index| value * 10 + i64::from(fraction.get(index).map_or(0, |digit| digit - b'0')));
    Some(match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_fields_may_be_padded_by_spaces_and_nuls_and_blank() {
        assert_eq!(field(b"0000644\0"), Some(0o644));
        assert_eq!(field(b"   644 \0"), Some(0o644));
        assert_eq!(field(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(field(b"        "), Some(0));
        assert_eq!(field(b"777777777777"), Some(0o777_777_777_777));
        assert_eq!(field(b"-644\0\0\0\0"), None);
        assert_eq!(field(b"0x1f\0\0\0\0"), None);
        assert_eq!(field(b"64 4\0\0\0\0"), None);
    }

    #[test]
    fn base_256_fields_are_signed_and_bounded() {
        let mut bytes = [0_u8; 12];
        bytes[0] = 0x80;
        bytes[7] = 2;
        assert_eq!(field(&bytes), Some(2 << 32));
        assert_eq!(field(&[0xff; 12]), Some(-1));
        bytes[1] = 1;
        assert_eq!(field(&bytes), None);
    }

    #[test]
    fn pax_times_before_the_epoch_round_towards_the_past() {
        assert_eq!(time(b"1.5"), Some((1, 500_000_000)));
        assert_eq!(time(b"-1.5"), Some((-2, 500_000_000)));
        assert_eq!(time(b"-3"), Some((-3, 0)));
        assert_eq!(time(b"1.0000000019"), Some((1, 1)));
        for bad in [&b""[..], b"1.x", b"--1", b"1e9", b"99999999999999999999", b"+1", b".5"] {
            assert_eq!(time(bad), None);
        }
    }
}
