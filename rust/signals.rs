//! The signal mask of the calling thread, by the system call itself: libc keeps two signals out of its own functions.

use nix::libc;

/// All signals blocked in this thread, also those that libc keeps for itself, until dropped.
pub struct SignalsBlocked {
    old: u64,
}

impl SignalsBlocked {
    /// Block them.
    pub fn new() -> Self {
        Self { old: Self::set(u64::MAX) }
    }

    fn set(mask: u64) -> u64 {
        let mut old = 0u64;
        // SAFETY: both masks have the kernel's size of 8 bytes; with these arguments it cannot fail.
        unsafe {
            libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, &raw mut old, size_of::<u64>())
        };
        old
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        Self::set(self.old);
    }
}
