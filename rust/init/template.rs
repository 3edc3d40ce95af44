//! Records that the extension has prepared, JSON as a rule, with gaps for what is known only at the end.

use crate::sys;

/// Text put together without an allocator; what does not fit any more is left out, and `whole` says so.
pub struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
    pub whole: bool,
}

impl<const N: usize> Text<N> {
    pub fn new() -> Self {
        Self { bytes: [0; N], length: 0, whole: true }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        match self.bytes.get_mut(self.length..self.length + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.length += bytes.len();
            }
            None => self.whole = false,
        }
    }

    pub fn push_number(&mut self, number: i64) {
        let mut digits = [0u8; 20];
        let mut start = digits.len();
        let mut rest = number.unsigned_abs();
        loop {
            start -= 1;
            digits[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            self.push(b"-");
        }
        self.push(&digits[start..]);
    }

    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&[])
    }
}

/// Fill the gaps: `%s` the exit status as wait(2) has it, negative for a signal; `%e` as a shell has it; `%t` the present
/// time in nanoseconds, `%T` in seconds; `%%` a percent sign.
pub fn fill<const N: usize>(template: &[u8], status: i32) -> Text<N> {
    let mut text = Text::new();
    let (seconds, nanoseconds) = sys::now();
    let mut parts = template.split(|&byte| byte == b'%');
    text.push(parts.next().unwrap_or(&[]));
    let mut literal = false;
    for part in parts {
        if literal {
            // What follows a doubled sign is text.
            text.push(part);
            literal = false;
            continue;
        }
        let Some((gap, rest)) = part.split_first() else {
            text.push(b"%");
            literal = true;
            continue;
        };
        match gap {
            b's' => text.push_number(i64::from(status)),
            b'e' => text.push_number(i64::from(if status < 0 { 128 - status } else { status })),
            b't' => text.push_number(seconds * 1_000_000_000 + nanoseconds),
            b'T' => text.push_number(seconds),
            _ => text.whole = false,
        }
        text.push(rest);
    }
    text
}
