//! The symbols that the compiler expects from a libc, and the one that core's unwind tables name.

/// # Safety
/// As memset(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(target: *mut u8, byte: i32, length: usize) -> *mut u8 {
    for index in 0..length {
        // SAFETY: as promised by the caller. Volatile, or the loop becomes a call of itself.
        unsafe { target.add(index).write_volatile(byte as u8) };
    }
    target
}

/// # Safety
/// As memcpy(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(target: *mut u8, source: *const u8, length: usize) -> *mut u8 {
    for index in 0..length {
        // SAFETY: as promised by the caller. Volatile, or the loop becomes a call of itself.
        unsafe { target.add(index).write_volatile(*source.add(index)) };
    }
    target
}

/// Never called: panics abort. core's object files refer to it all the same.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
