//! Raw system calls: a function each, of which its man page is the documentation.

mod credentials;
mod descriptors;
mod files;
mod processes;
mod signals;
mod text;

use core::arch::asm;

pub use credentials::*;
pub use descriptors::*;
pub use files::*;
pub use processes::*;
pub use signals::*;
pub use text::*;

pub const ENOENT: i32 = 2;
pub const EINTR: i32 = 4;
pub const EAGAIN: i32 = 11;
pub const EACCES: i32 = 13;
pub const ENODEV: i32 = 19;
pub const ENOTDIR: i32 = 20;
pub const EINVAL: i32 = 22;
pub const ENOSYS: i32 = 38;
pub const ECONNABORTED: i32 = 103;
pub const ECONNRESET: i32 = 104;
pub const ENAMETOOLONG: i32 = 36;

/// # Safety
/// The arguments must be what the system call `n` expects; pointers must be valid for it.
#[cfg(target_arch = "x86_64")]
pub unsafe fn syscall(n: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result: isize;
    // SAFETY: the kernel preserves everything but rax, rcx and r11.
    unsafe {
        asm!("syscall", inlateout("rax") n as isize => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
             in("r8") e, lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// # Safety
/// As above.
#[cfg(target_arch = "aarch64")]
pub unsafe fn syscall(n: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result: isize;
    // SAFETY: the kernel preserves everything but x0.
    unsafe {
        asm!("svc 0", in("x8") n, inlateout("x0") a as isize => result, in("x1") b, in("x2") c, in("x3") d,
             in("x4") e, options(nostack));
    }
    result
}

pub fn check(result: isize) -> Result<usize, i32> {
    if result < 0 { Err(-result as i32) } else { Ok(result as usize) }
}
