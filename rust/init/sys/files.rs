//! Names in directories, and what is behind an open file.

use super::{EINVAL, check, syscall};
use crate::number;

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

/// # Safety
/// `path` is NUL-terminated.
pub unsafe fn exists(path: *const u8) -> bool {
    // SAFETY: as promised by the caller.
    unsafe { syscall(number::FACCESSAT, AT_FDCWD as usize, path as usize, 0, 0, 0) == 0 }
}
