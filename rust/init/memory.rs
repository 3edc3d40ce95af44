//! The symbols that the compiler expects from a libc, and the one that core's unwind tables name.
// Volatile accesses, or the compiler makes a loop a call of the very function it stands in.

/// # Safety
/// As memset(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(target: *mut u8, byte: i32, length: usize) -> *mut u8 {
    for index in 0..length {
        // SAFETY: as promised by the caller.
        unsafe { target.add(index).write_volatile(byte as u8) };
    }
    target
}

/// # Safety
/// As memcpy(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(target: *mut u8, source: *const u8, length: usize) -> *mut u8 {
    // The monitor carries everything that a container writes: as fast as the machine copies.
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as promised by the caller; the direction flag is clear (System V ABI).
    unsafe {
        core::arch::asm!("rep movsb", inout("rcx") length => _, inout("rdi") target => _, inout("rsi") source => _,
             options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    for index in 0..length {
        // SAFETY: as promised by the caller.
        unsafe { target.add(index).write_volatile(*source.add(index)) };
    }
    target
}

/// # Safety
/// As memcmp(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, length: usize) -> i32 {
    for index in 0..length {
        // SAFETY: as promised by the caller.
        let (a, b) = unsafe { (one.add(index).read_volatile(), other.add(index).read_volatile()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

/// # Safety
/// As bcmp(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, length: usize) -> i32 {
    // SAFETY: as promised by the caller.
    unsafe { memcmp(one, other, length) }
}

/// Never called: panics abort. core's object files refer to it all the same.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
