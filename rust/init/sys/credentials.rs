//! What this process may do, and gives away.

use super::{check, syscall};
use crate::number;

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
