//! Sockets of the unix domain that keep messages apart: how people reach a container's monitor (unix(7)).

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{self, c_int};

use crate::sys::{self, Result};

/// How many may knock before the monitor answers.
const BACKLOG: c_int = 16;

/// Two ends, connected, above the standard streams.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: room for two descriptors.
    let result = unsafe { libc::socketpair(libc::AF_UNIX, KIND, 0, ends.as_mut_ptr()) };
    if result < 0 {
        return Err(Errno::last());
    }
    // SAFETY: the kernel has just made both for us.
    let (one, other) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
    Ok((sys::duplicate_above_stdio(one.as_raw_fd())?, sys::duplicate_above_stdio(other.as_raw_fd())?))
}

/// A socket called `name` in an open directory that others connect to. An old one of that name goes.
pub fn listen(directory: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let old = CString::new(name).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the name is NUL-terminated. Mostly there is none.
    unsafe { libc::unlinkat(directory.as_raw_fd(), old.as_ptr(), 0) };
    let socket = socket()?;
    let (address, length) = address(directory, name)?;
    // SAFETY: an address with its length.
    if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) } < 0
        // SAFETY: integers only.
        || unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) } < 0
    {
        return Err(Errno::last());
    }
    Ok(socket)
}

/// Connect to it.
pub fn connect(directory: BorrowedFd<'_>, name: &str) -> Result<OwnedFd> {
    let socket = socket()?;
    let (address, length) = address(directory, name)?;
    // SAFETY: an address with its length.
    if unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) } < 0 {
        return Err(Errno::last());
    }
    Ok(socket)
}

const KIND: c_int = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;

fn socket() -> Result<OwnedFd> {
    // SAFETY: integers only.
    let fd = unsafe { libc::socket(libc::AF_UNIX, KIND, 0) };
    if fd < 0 {
        return Err(Errno::last());
    }
    // SAFETY: the kernel has just made it for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    sys::duplicate_above_stdio(fd.as_fd().as_raw_fd())
}

/// By way of the directory's descriptor: an address has 108 bytes, a path may have more.
fn address(directory: BorrowedFd<'_>, name: &str) -> Result<(libc::sockaddr_un, libc::socklen_t)> {
    let path = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
    // SAFETY: an all-zero address is a valid value.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    if path.len() >= address.sun_path.len() {
        return Err(Errno::ENAMETOOLONG);
    }
    for (slot, byte) in address.sun_path.iter_mut().zip(path.bytes()) {
        *slot = byte as libc::c_char;
    }
    Ok((address, size_of::<libc::sockaddr_un>() as libc::socklen_t))
}
