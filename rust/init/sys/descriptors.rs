//! Open descriptors: bytes through them, waiting for them, their numbers.

use super::{check, syscall};
use crate::number;

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

/// ioctl(2) with an integer.
pub fn ioctl(fd: i32, request: usize, argument: usize) -> Result<usize, i32> {
    // SAFETY: callers pass what the request wants.
    check(unsafe { syscall(number::IOCTL, fd as usize, request, argument, 0, 0) })
}

/// accept4(2): a connection that never blocks.
pub fn accept(listener: i32) -> Result<i32, i32> {
    const SOCK_NONBLOCK_CLOEXEC: usize = 0o2_004_000;
    // SAFETY: no address is wanted.
    Ok(check(unsafe { syscall(number::ACCEPT4, listener as usize, 0, 0, SOCK_NONBLOCK_CLOEXEC, 0) })? as i32)
}
