//! Messages and descriptors over sockets of the unix domain.

use crate::number;
use crate::sys::{check, syscall};

const MSG_DONTWAIT: usize = 0x40;
const MSG_NOSIGNAL: usize = 0x4000;

/// send(2) of one message, without waiting. sendto(2) has a sixth argument, the address's length: sendmsg(2) instead.
pub fn send(socket: i32, head: &[u8], body: &[u8]) -> Result<usize, i32> {
    let parts = [(head.as_ptr(), head.len()), (body.as_ptr(), body.len())];
    // struct msghdr: name and its length, the parts and how many, control and its length, flags.
    let message = [0usize, 0, parts.as_ptr() as usize, parts.len(), 0, 0, 0];
    let flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    // SAFETY: a msghdr over two iovecs that point to valid memory.
    check(unsafe { syscall(number::SENDMSG, socket as usize, message.as_ptr() as usize, flags, 0, 0) })
}

/// struct cmsghdr with one descriptor: length, SOL_SOCKET, SCM_RIGHTS, the descriptor, padding (unix(7)).
#[repr(C)]
struct Rights {
    length: usize,
    level: i32,
    kind: i32,
    fd: i32,
    padding: i32,
}

const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const RIGHTS_LENGTH: usize = 20;

/// Send a descriptor over a socket, with one byte: unix(7).
pub fn send_descriptor(socket: i32, fd: i32) -> Result<usize, i32> {
    let byte = [0u8];
    let part = [byte.as_ptr() as usize, 1];
    let rights = Rights { length: RIGHTS_LENGTH, level: SOL_SOCKET, kind: SCM_RIGHTS, fd, padding: 0 };
    let message = [0usize, 0, part.as_ptr() as usize, 1, &raw const rights as usize, size_of::<Rights>(), 0];
    // SAFETY: a msghdr over one iovec and one control message.
    check(unsafe { syscall(number::SENDMSG, socket as usize, message.as_ptr() as usize, MSG_NOSIGNAL, 0, 0) })
}

/// Take a descriptor from a socket; -1 when there is none.
pub fn receive_descriptor(socket: i32) -> i32 {
    const MSG_CMSG_CLOEXEC: usize = 0x4000_0000;
    let mut byte = [0u8];
    let part = [byte.as_mut_ptr() as usize, 1];
    let mut rights = Rights { length: 0, level: 0, kind: 0, fd: -1, padding: 0 };
    let mut message = [0usize, 0, part.as_ptr() as usize, 1, &raw mut rights as usize, size_of::<Rights>(), 0];
    // SAFETY: a msghdr over one iovec and room for one control message.
    let n = unsafe { syscall(number::RECVMSG, socket as usize, message.as_mut_ptr() as usize, MSG_CMSG_CLOEXEC, 0, 0) };
    if n > 0 && rights.length == RIGHTS_LENGTH && rights.kind == SCM_RIGHTS { rights.fd } else { -1 }
}
