//! Raw system calls and the three string functions that this program needs.
// Each function is one system call; its man page is its documentation.

use core::arch::asm;

use crate::number;

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

/// struct pollfd of poll(2).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Poll {
    pub fd: i32,
    pub events: u16,
    pub revents: u16,
}

pub const POLLIN: u16 = 1;
pub const POLLOUT: u16 = 4;
pub const POLLERR: u16 = 8;
pub const POLLHUP: u16 = 16;

impl Poll {
    /// A negative descriptor is not looked at.
    pub fn new(fd: i32, events: u16) -> Self {
        Self { fd, events, revents: 0 }
    }
}

/// ppoll(2); a negative time waits for ever. How many are ready; 0 also when a signal came.
pub fn poll(polls: &mut [Poll], milliseconds: i64) -> usize {
    let time = [milliseconds / 1000, milliseconds % 1000 * 1_000_000];
    let timeout = if milliseconds < 0 { 0 } else { time.as_ptr() as usize };
    // SAFETY: an array of pollfd with its length, and a timespec or null.
    let n = unsafe { syscall(number::POLL, polls.as_mut_ptr() as usize, polls.len(), timeout, 0, 8) };
    usize::try_from(n).unwrap_or(0)
}

/// Whether the other end of the pipe whose write end is `fd` has been closed.
pub fn reader_is_gone(fd: i32) -> bool {
    let mut polls = [Poll::new(fd, 0)];
    poll(&mut polls, 0) > 0 && polls[0].revents & POLLERR != 0
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

/// read(2).
pub fn read(fd: i32, buffer: &mut [u8]) -> Result<usize, i32> {
    // SAFETY: the buffer is valid memory.
    check(unsafe { syscall(number::READ, fd as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0) })
}

/// write(2), one call.
pub fn write_some(fd: i32, bytes: &[u8]) -> Result<usize, i32> {
    // SAFETY: the slice is valid memory.
    check(unsafe { syscall(number::WRITE, fd as usize, bytes.as_ptr() as usize, bytes.len(), 0, 0) })
}

pub fn close(fd: i32) {
    if fd >= 0 {
        // SAFETY: an integer.
        unsafe { syscall(number::CLOSE, fd as usize, 0, 0, 0, 0) };
    }
}

/// close_range(2), from `first` on.
pub fn close_from(first: i32) {
    // SAFETY: integers only.
    unsafe { syscall(number::CLOSE_RANGE, first as usize, u32::MAX as usize, 0, 0, 0) };
}

/// dup3(2): `number` becomes a copy of `fd` that stays open through exec. They must differ.
pub fn duplicate_onto(fd: i32, number: i32) -> Result<usize, i32> {
    // SAFETY: integers only.
    check(unsafe { syscall(number::DUP3, fd as usize, number as usize, 0, 0, 0) })
}

/// fcntl(2), F_SETFL: `fd` never blocks.
pub fn set_nonblocking(fd: i32) {
    const F_GETFL: usize = 3;
    const F_SETFL: usize = 4;
    const O_NONBLOCK: usize = 0o4000;
    // SAFETY: integers only.
    unsafe {
        let flags = syscall(number::FCNTL, fd as usize, F_GETFL, 0, 0, 0);
        if let Ok(flags) = usize::try_from(flags) {
            syscall(number::FCNTL, fd as usize, F_SETFL, flags | O_NONBLOCK, 0, 0);
        }
    }
}

/// fcntl(2), F_GETPIPE_SZ: how many bytes a pipe holds.
pub fn pipe_size(fd: i32) -> Result<usize, i32> {
    const F_GETPIPE_SZ: usize = 1032;
    // SAFETY: integers only.
    check(unsafe { syscall(number::FCNTL, fd as usize, F_GETPIPE_SZ, 0, 0, 0) })
}

pub const AT_FDCWD: i32 = -100;
pub const O_RDWR: usize = 0o2;
pub const O_WRONLY: usize = 0o1;
pub const O_CREAT: usize = 0o100;
pub const O_NOCTTY: usize = 0o400;
pub const O_TRUNC: usize = 0o1000;
pub const O_APPEND: usize = 0o2000;
#[cfg(target_arch = "x86_64")]
pub const O_NOFOLLOW: usize = 0o400_000;
#[cfg(target_arch = "aarch64")]
pub const O_NOFOLLOW: usize = 0o100_000;
pub const O_CLOEXEC: usize = 0o2_000_000;

/// openat(2). `path` ends with a NUL.
pub fn open_at(directory: i32, path: &[u8], flags: usize, mode: usize) -> Result<i32, i32> {
    if path.last() != Some(&0) {
        return Err(EINVAL);
    }
    // SAFETY: path has just been seen to end with a NUL.
    let fd = check(unsafe { syscall(number::OPENAT, directory as usize, path.as_ptr() as usize, flags, mode, 0) })?;
    Ok(fd as i32)
}

/// renameat2(2) without flags, within a directory. Both names end with a NUL.
pub fn rename_at(directory: i32, from: &[u8], to: &[u8]) -> Result<usize, i32> {
    if from.last() != Some(&0) || to.last() != Some(&0) {
        return Err(EINVAL);
    }
    let directory = directory as usize;
    // SAFETY: both names have just been seen to end with a NUL.
    check(unsafe { syscall(number::RENAMEAT2, directory, from.as_ptr() as usize, directory, to.as_ptr() as usize, 0) })
}

/// unlinkat(2) of a file. `name` ends with a NUL.
pub fn unlink_at(directory: i32, name: &[u8]) {
    if name.last() == Some(&0) {
        // SAFETY: the name has just been seen to end with a NUL. What is not there need not go.
        unsafe { syscall(number::UNLINKAT, directory as usize, name.as_ptr() as usize, 0, 0, 0) };
    }
}

/// faccessat(2): whether there is such a name. `name` ends with a NUL.
pub fn exists_at(directory: i32, name: &[u8]) -> bool {
    if name.last() != Some(&0) {
        return false;
    }
    // SAFETY: the name has just been seen to end with a NUL.
    unsafe { syscall(number::FACCESSAT, directory as usize, name.as_ptr() as usize, 0, 0, 0) == 0 }
}

/// chdir(2). `path` ends with a NUL.
///
/// # Safety
/// `path` is NUL-terminated.
pub unsafe fn change_directory(path: *const u8) -> Result<usize, i32> {
    // SAFETY: as promised by the caller.
    check(unsafe { syscall(number::CHDIR, path as usize, 0, 0, 0, 0) })
}

/// getcwd(2): whether the working directory is below the root; the kernel says `(unreachable)` otherwise.
pub fn working_directory_is_inside() -> bool {
    let mut buffer = [0u8; 4096];
    // SAFETY: the buffer is valid memory.
    let n = unsafe { syscall(number::GETCWD, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0) };
    n > 0 && buffer[0] == b'/'
}

/// statx(2) of an open file, as an array of its 32-bit words.
fn statx(fd: i32) -> Result<[u32; 64], i32> {
    const AT_EMPTY_PATH: usize = 0x1000;
    const STATX_BASIC_STATS: usize = 0x7ff;
    let mut buffer = [0u32; 64];
    // SAFETY: struct statx has 256 bytes, the path is empty.
    check(unsafe {
        let path = c"".as_ptr() as usize;
        syscall(number::STATX, fd as usize, path, AT_EMPTY_PATH, STATX_BASIC_STATS, buffer.as_mut_ptr() as usize)
    })?;
    Ok(buffer)
}

/// What a descriptor is: file type and permissions, and the device's major and minor number.
pub fn status(fd: i32) -> Result<(u16, u32, u32), i32> {
    // stx_mode is at byte 28, stx_rdev_major and _minor at 128 and 132; stx_size, below, at 40.
    statx(fd).map(|buffer| (buffer[7] as u16, buffer[32], buffer[33]))
}

/// How long a file is, in bytes; 0 when it is not known.
pub fn size(fd: i32) -> u64 {
    statx(fd).map_or(0, |buffer| u64::from(buffer[10]) | u64::from(buffer[11]) << 32)
}

/// fstatfs(2): the magic number of the file system.
pub fn file_system(fd: i32) -> Result<i64, i32> {
    let mut buffer = [0i64; 16];
    // SAFETY: struct statfs has 120 bytes and begins with its type.
    check(unsafe { syscall(number::FSTATFS, fd as usize, buffer.as_mut_ptr() as usize, 0, 0, 0) })?;
    Ok(buffer[0])
}

/// fchown(2) of the owner alone.
pub fn change_owner(fd: i32, uid: u32) -> Result<usize, i32> {
    // SAFETY: integers only.
    check(unsafe { syscall(number::FCHOWN, fd as usize, uid as usize, u32::MAX as usize, 0, 0) })
}

/// ioctl(2) with an integer.
pub fn ioctl(fd: i32, request: usize, argument: usize) -> Result<usize, i32> {
    // SAFETY: callers pass what the request wants.
    check(unsafe { syscall(number::IOCTL, fd as usize, request, argument, 0, 0) })
}

/// setsid(2).
pub fn new_session() -> Result<usize, i32> {
    // SAFETY: no arguments.
    check(unsafe { syscall(number::SETSID, 0, 0, 0, 0, 0) })
}

/// setpgid(2) of this process: a group of its own.
pub fn new_process_group() -> Result<usize, i32> {
    // SAFETY: integers only.
    check(unsafe { syscall(number::SETPGID, 0, 0, 0, 0, 0) })
}

/// setns(2).
pub fn join(fd: i32, namespaces: usize) -> Result<usize, i32> {
    // SAFETY: integers only.
    check(unsafe { syscall(number::SETNS, fd as usize, namespaces, 0, 0, 0) })
}

pub const CLONE_PARENT: usize = 0x8000;

/// clone(2) as fork(2) is, with memory of its own: 0 in the child, its pid in the parent.
pub fn fork(flags: usize) -> Result<i32, i32> {
    const SIGCHLD: usize = 17;
    // SAFETY: without CLONE_VM the child goes on with a copy of this stack.
    let pid = check(unsafe { syscall(number::CLONE, flags | SIGCHLD, 0, 0, 0, 0) })?;
    Ok(pid as i32)
}

/// getpid(2).
pub fn own_pid() -> i32 {
    // SAFETY: no arguments; it cannot fail.
    unsafe { syscall(number::GETPID, 0, 0, 0, 0, 0) as i32 }
}

/// kill(2).
pub fn kill(pid: i32, signal: i32) {
    // SAFETY: integers only. It may have ended just now.
    unsafe { syscall(number::KILL, pid as usize, signal as usize, 0, 0, 0) };
}

/// pidfd_send_signal(2).
pub fn signal_descriptor_target(pidfd: i32, signal: i32) {
    // SAFETY: no siginfo is given. It may have ended just now.
    unsafe { syscall(number::PIDFD_SEND_SIGNAL, pidfd as usize, signal as usize, 0, 0, 0) };
}

/// wait4(2) for any child, without waiting: its pid and wait status.
pub fn reap() -> Option<(i32, i32)> {
    const WNOHANG: usize = 1;
    let mut status = 0i32;
    // SAFETY: the status is valid memory.
    let pid = unsafe { syscall(number::WAIT4, usize::MAX, &raw mut status as usize, WNOHANG, 0, 0) };
    if pid > 0 { Some((pid as i32, status)) } else { None }
}

/// waitid(2) for the end of the child behind a pidfd: its exit status, negative for a signal.
pub fn wait(pidfd: i32) -> Result<i32, i32> {
    const P_PIDFD: usize = 3;
    const WEXITED: usize = 4;
    const CLD_EXITED: i32 = 1;
    let mut info = [0i32; 32];
    loop {
        // SAFETY: siginfo_t has 128 bytes.
        let result =
            check(unsafe { syscall(number::WAITID, P_PIDFD, pidfd as usize, info.as_mut_ptr() as usize, WEXITED, 0) });
        match result {
            Err(EINTR) => {}
            Err(errno) => return Err(errno),
            // si_code is the third int, si_status the sixth after si_pid and si_uid (sigaction(2)).
            Ok(_) => return Ok(if info[2] == CLD_EXITED { info[6] } else { -info[6] }),
        }
    }
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

/// accept4(2): a connection that never blocks.
pub fn accept(listener: i32) -> Result<i32, i32> {
    const SOCK_NONBLOCK_CLOEXEC: usize = 0o2_004_000;
    // SAFETY: no address is wanted.
    Ok(check(unsafe { syscall(number::ACCEPT4, listener as usize, 0, 0, SOCK_NONBLOCK_CLOEXEC, 0) })? as i32)
}

/// clock_gettime(2), CLOCK_REALTIME: seconds and nanoseconds.
pub fn now() -> (i64, i64) {
    let mut time = [0i64; 2];
    // SAFETY: a timespec.
    unsafe { syscall(number::CLOCK_GETTIME, 0, time.as_mut_ptr() as usize, 0, 0, 0) };
    (time[0], time[1])
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
