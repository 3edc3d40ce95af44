//! Signals of this process.

use super::{check, syscall};
use crate::number;

pub fn default_signal(signal: usize) -> Result<usize, i32> {
    // struct sigaction of the kernel: handler, flags, restorer (x86 only), mask.
    let action = [0usize; 4];
    // SAFETY: zeroes mean SIG_DFL, no flags, an empty mask.
    check(unsafe { syscall(number::RT_SIGACTION, signal, action.as_ptr() as usize, 0, 8, 0) })
}

pub fn unblock_signals() -> Result<usize, i32> {
    const SIG_SETMASK: usize = 2;
    let mask = 0u64;
    // SAFETY: a mask of 8 bytes.
    check(unsafe { syscall(number::RT_SIGPROCMASK, SIG_SETMASK, &raw const mask as usize, 0, 8, 0) })
}

/// rt_sigtimedwait(2) for any signal, for ever: its number.
pub fn next_signal() -> i32 {
    let all = u64::MAX;
    // SAFETY: a mask of 8 bytes; no siginfo is wanted and no timeout given.
    let signal = unsafe { syscall(number::RT_SIGTIMEDWAIT, &raw const all as usize, 0, 0, 8, 0) };
    i32::try_from(signal).unwrap_or(0)
}

/// signalfd4(2): readable when one of `mask` is pending.
pub fn signal_descriptor(mask: u64) -> Result<i32, i32> {
    const SFD_NONBLOCK_CLOEXEC: usize = 0o2_004_000;
    // SAFETY: a mask of 8 bytes.
    let fd =
        check(unsafe { syscall(number::SIGNALFD4, usize::MAX, &raw const mask as usize, 8, SFD_NONBLOCK_CLOEXEC, 0) })?;
    Ok(fd as i32)
}
