//! Raw system calls and the three string functions that this program needs.
// Each function is one system call; its man page is its documentation.

use core::arch::asm;

pub const ENOENT: i32 = 2;
pub const EACCES: i32 = 13;
pub const ENOTDIR: i32 = 20;
pub const EINVAL: i32 = 22;
pub const ENOSYS: i32 = 38;
pub const ENAMETOOLONG: i32 = 36;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const WRITE: usize = 1;
    pub const POLL: usize = 271; // ppoll
    pub const RT_SIGACTION: usize = 13;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const EXECVE: usize = 59;
    pub const FCNTL: usize = 72;
    pub const SETGROUPS: usize = 116;
    pub const SETRESUID: usize = 117;
    pub const SETRESGID: usize = 119;
    pub const CAPSET: usize = 126;
    pub const PRCTL: usize = 157;
    pub const KEYCTL: usize = 250;
    pub const EXIT_GROUP: usize = 231;
    pub const FACCESSAT: usize = 269;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const FCNTL: usize = 25;
    pub const FACCESSAT: usize = 48;
    pub const WRITE: usize = 64;
    pub const POLL: usize = 73; // ppoll
    pub const CAPSET: usize = 91;
    pub const EXIT_GROUP: usize = 94;
    pub const RT_SIGACTION: usize = 134;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const SETRESUID: usize = 147;
    pub const SETRESGID: usize = 149;
    pub const SETGROUPS: usize = 159;
    pub const PRCTL: usize = 167;
    pub const KEYCTL: usize = 219;
    pub const EXECVE: usize = 221;
}

/// # Safety
/// The arguments must be what the system call `n` expects; pointers must be valid for it.
#[cfg(target_arch = "x86_64")]
unsafe fn syscall(n: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
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
unsafe fn syscall(n: usize, a: usize, b: usize, c: usize, d: usize, e: usize) -> isize {
    let result: isize;
    // SAFETY: the kernel preserves everything but x0.
    unsafe {
        asm!("svc 0", in("x8") n, inlateout("x0") a as isize => result, in("x1") b, in("x2") c, in("x3") d,
             in("x4") e, options(nostack));
    }
    result
}

fn check(result: isize) -> Result<usize, i32> {
    if result < 0 { Err(-result as i32) } else { Ok(result as usize) }
}

pub fn exit(status: i32) -> ! {
    loop {
        // SAFETY: exit_group takes an integer.
        unsafe { syscall(number::EXIT_GROUP, status as usize, 0, 0, 0, 0) };
    }
}

pub fn write(fd: i32, bytes: &[u8]) {
    // SAFETY: the slice is valid memory. Nobody is left to tell when this fails.
    unsafe { syscall(number::WRITE, fd as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0) };
}

pub fn set_close_on_exec(fd: i32) {
    const F_SETFD: usize = 2;
    const FD_CLOEXEC: usize = 1;
    // SAFETY: integers only.
    unsafe { syscall(number::FCNTL, fd as usize, F_SETFD, FD_CLOEXEC, 0, 0) };
}

pub fn prctl(option: i32, a: usize, b: usize) -> Result<usize, i32> {
    // SAFETY: only options that take integers are used here.
    check(unsafe { syscall(number::PRCTL, option as usize, a, b, 0, 0) })
}

/// keyctl(2), KEYCTL_JOIN_SESSION_KEYRING with no name: a new session keyring.
pub fn new_session_keyring() -> Result<usize, i32> {
    const KEYCTL_JOIN_SESSION_KEYRING: usize = 1;
    // SAFETY: a null name is allowed.
    check(unsafe { syscall(number::KEYCTL, KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0) })
}

/// prctl(2), PR_SET_SECCOMP with SECCOMP_MODE_FILTER and a struct sock_fprog.
pub fn install_filter(length: usize, instructions: *const u8) -> Result<usize, i32> {
    const PR_SET_SECCOMP: usize = 22;
    const SECCOMP_MODE_FILTER: usize = 2;
    let program = [length, instructions as usize];
    // SAFETY: a sock_fprog (length, padding, pointer) over instructions that live longer than the call.
    check(unsafe { syscall(number::PRCTL, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program.as_ptr() as usize, 0, 0) })
}

pub fn setgroups(groups: &[u32]) -> Result<usize, i32> {
    // SAFETY: the slice is valid memory.
    check(unsafe { syscall(number::SETGROUPS, groups.len(), groups.as_ptr() as usize, 0, 0, 0) })
}

pub fn setresgid(gid: u32) -> Result<usize, i32> {
    let gid = gid as usize;
    // SAFETY: integers only.
    check(unsafe { syscall(number::SETRESGID, gid, gid, gid, 0, 0) })
}

pub fn setresuid(uid: u32) -> Result<usize, i32> {
    let uid = uid as usize;
    // SAFETY: integers only.
    check(unsafe { syscall(number::SETRESUID, uid, uid, uid, 0, 0) })
}

/// capset(2) with the two 32-bit halves of effective, permitted and inheritable.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> Result<usize, i32> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let data = [
        effective as u32,
        permitted as u32,
        inheritable as u32,
        (effective >> 32) as u32,
        (permitted >> 32) as u32,
        (inheritable >> 32) as u32,
    ];
    // SAFETY: both arrays have the layout of capget(2) for version 3.
    check(unsafe { syscall(number::CAPSET, header.as_ptr() as usize, data.as_ptr() as usize, 0, 0, 0) })
}

/// Whether the other end of the pipe whose write end is `fd` has been closed.
pub fn reader_is_gone(fd: i32) -> bool {
    const POLLERR: u16 = 8;
    #[repr(C)]
    struct PollFd {
        fd: i32,
        events: u16,
        revents: u16,
    }
    let mut poll = PollFd { fd, events: 0, revents: 0 };
    let timeout = [0i64; 2];
    // SAFETY: one pollfd and a timespec of zero.
    let n = unsafe { syscall(number::POLL, &raw mut poll as usize, 1, timeout.as_ptr() as usize, 0, 8) };
    n > 0 && poll.revents & POLLERR != 0
}

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

/// # Safety
/// `path` is NUL-terminated, `argv` and `envp` are arrays of such, ended by NULL.
pub unsafe fn execve(path: *const u8, argv: *const *const u8, envp: *const *const u8) -> i32 {
    // SAFETY: as promised by the caller.
    let result = unsafe { syscall(number::EXECVE, path as usize, argv as usize, envp as usize, 0, 0) };
    -result as i32
}

/// # Safety
/// `path` is NUL-terminated.
pub unsafe fn exists(path: *const u8) -> bool {
    const AT_FDCWD: isize = -100;
    // SAFETY: as promised by the caller.
    unsafe { syscall(number::FACCESSAT, AT_FDCWD as usize, path as usize, 0, 0, 0) == 0 }
}

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

/// # Safety
/// `text` is NUL-terminated.
pub unsafe fn equal(text: *const u8, other: &[u8]) -> bool {
    // SAFETY: as promised by the caller.
    let text = unsafe { bytes(text) };
    text.len() == other.len() && text.iter().zip(other).all(|(a, b)| a == b)
}

/// # Safety
/// `text` is NUL-terminated.
pub unsafe fn parse(text: *const u8) -> Option<u64> {
    // SAFETY: as promised by the caller.
    digits(unsafe { bytes(text) })
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
