//! Strings that end with a NUL, and numbers in them.

/// # Safety
/// `text` is NUL-terminated.
pub unsafe fn length(text: *const u8) -> usize {
    let mut n = 0;
    // SAFETY: the loop stops at the NUL. Volatile, or the compiler makes it a call of strlen.
    while unsafe { text.add(n).read_volatile() } != 0 {
        n += 1;
    }
    n
}

/// # Safety
/// `text` is NUL-terminated and lives as long as the process.
pub unsafe fn bytes(text: *const u8) -> &'static [u8] {
    // SAFETY: as promised by the caller.
    unsafe { core::slice::from_raw_parts(text, length(text)) }
}

/// A decimal number, digits only.
pub fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |sum, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { sum.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}
