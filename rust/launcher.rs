//! hyrun-init in a sealed memfd, made once per process.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Mutex;

use nix::errno::Errno;
use nix::libc;

use crate::sys;

static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hyrun-init"));

/// A descriptor, and what it was when it was made.
struct Cached {
    fd: OwnedFd,
    identity: (u64, u64),
}

static CACHE: Mutex<Option<Cached>> = Mutex::new(None);

/// Return a descriptor of the launcher that the caller owns.
///
/// The cached one is checked first: a program that closes descriptors it does not know may have closed it, and
/// something else may have its number by now.
pub fn launcher() -> io::Result<OwnedFd> {
    let mut cache = CACHE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(cached) = cache.as_ref()
        && identity(&cached.fd).is_ok_and(|identity| identity == cached.identity)
    {
        return Ok(sys::duplicate_above_stdio(cached.fd.as_raw_fd())?);
    }
    let fd = make()?;
    let copy = sys::duplicate_above_stdio(fd.as_raw_fd())?;
    let identity = identity(&fd)?;
    if let Some(stranger) = cache.replace(Cached { fd, identity }) {
        // Its number belongs to somebody else now.
        std::mem::forget(stranger);
    }
    Ok(copy)
}

fn identity(fd: &OwnedFd) -> sys::Result<(u64, u64)> {
    let status = sys::stat(fd.as_fd())?;
    Ok((status.st_dev, status.st_ino))
}

/// memfd_create(2), filled and sealed: nobody, not even root inside a container, can write to it through
/// `/proc/<pid>/exe` (CVE-2019-5736).
fn make() -> io::Result<OwnedFd> {
    const MFD_EXEC: libc::c_uint = 0x10;
    let create = |flags: libc::c_uint| {
        // SAFETY: the name is NUL-terminated.
        let fd = unsafe { libc::memfd_create(c"hyrun-init".as_ptr(), flags) };
        if fd < 0 {
            return Err(Errno::last());
        }
        // SAFETY: the kernel has just made this descriptor for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // Since 6.3 a memfd may have to say that it will be executed (sysctl vm.memfd_noexec); before, it may not.
    let fd = match create(flags | MFD_EXEC) {
        Err(Errno::EINVAL) => create(flags)?,
        result => result?,
    };
    let mut file = File::from(fd);
    file.write_all(PROGRAM)?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: integers only.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file.into())
}
