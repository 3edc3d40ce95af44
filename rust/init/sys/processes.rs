//! This process, its children and others.

use super::{EINTR, check, syscall};
use crate::number;

pub fn exit(status: i32) -> ! {
    loop {
        // SAFETY: exit_group takes an integer.
        unsafe { syscall(number::EXIT_GROUP, status as usize, 0, 0, 0, 0) };
    }
}

pub fn prctl(option: i32, a: usize, b: usize) -> Result<usize, i32> {
    // SAFETY: only options that take integers are used here.
    check(unsafe { syscall(number::PRCTL, option as usize, a, b, 0, 0) })
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
