//! The stack of a child that shares its memory with the caller.

use std::ffi::c_void;
use std::{io, ptr};

use nix::libc;

/// The child's stack, with a page below that catches an overflow.
pub struct Stack {
    base: *mut c_void,
}

impl Stack {
    const SIZE: usize = 128 * 1024;
    const GUARD: usize = 64 * 1024; // at least one page, whatever its size

    /// Map one.
    pub fn new() -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
        let length = Self::SIZE + Self::GUARD;
        // SAFETY: a fresh mapping, wherever the kernel likes.
        let base = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_NONE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Self { base };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: inside the mapping above.
        if unsafe { libc::mprotect(base.byte_add(Self::GUARD), Self::SIZE, protection) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stack)
    }

    /// Where it begins: stacks grow down on every machine this runs on. The mapping's end is aligned to a page.
    pub fn top(&self) -> *mut c_void {
        // SAFETY: one past the end of the mapping.
        unsafe { self.base.byte_add(Self::SIZE + Self::GUARD) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and the child that used it has left.
        unsafe { libc::munmap(self.base, Self::SIZE + Self::GUARD) };
    }
}
