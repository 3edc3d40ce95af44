//! The argument vector: what the extension has decided, as numbers and strings.

use crate::sys;

/// What stands behind the role, from left to right.
#[derive(Clone, Copy)]
pub struct Arguments {
    next: *const *const u8,
    left: usize,
}

impl Arguments {
    /// # Safety
    /// `argv` holds `argc` NUL-terminated strings and ends with NULL; all live as long as the process.
    pub unsafe fn new(argc: usize, argv: *const *const u8) -> Self {
        Self { next: argv, left: argc }
    }

    /// The next one as a C string.
    pub fn pointer(&mut self) -> Option<*const u8> {
        self.left = self.left.checked_sub(1)?;
        // SAFETY: one was left.
        unsafe {
            let text = *self.next;
            self.next = self.next.add(1);
            Some(text)
        }
    }

    pub fn bytes(&mut self) -> Option<&'static [u8]> {
        // SAFETY: arguments are NUL-terminated and live as long as the process.
        self.pointer().map(|text| unsafe { sys::bytes(text) })
    }

    /// The next one with its NUL, as a name for a system call.
    pub fn with_nul(&mut self) -> Option<&'static [u8]> {
        // SAFETY: arguments are NUL-terminated and live as long as the process.
        self.pointer().map(|text| unsafe { core::slice::from_raw_parts(text, sys::length(text) + 1) })
    }

    pub fn number(&mut self) -> Option<u64> {
        sys::digits(self.bytes()?)
    }

    pub fn descriptor(&mut self) -> Option<i32> {
        i32::try_from(self.number()?).ok()
    }

    pub fn id(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    /// All that are left, as execve(2) wants them; None when there is none.
    pub fn rest(self) -> Option<*const *const u8> {
        if self.left > 0 { Some(self.next) } else { None }
    }
}
