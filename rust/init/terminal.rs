//! A pseudo-terminal of the container's own devpts (pts(4)): its slave becomes the controlling terminal and the standard
//! streams, its master goes out of the container over a socket.

use crate::{Failure, Step, socket, sys};

const TIOCSCTTY: usize = 0x540e;
const TIOCSWINSZ: usize = 0x5414;
const TIOCSPTLCK: usize = 0x4004_5431;
const TIOCGPTPEER: usize = 0x5441;
const DEVPTS: i64 = 0x1cd1;

/// Open a terminal of that size for the user `uid`. This process leads a session that has none.
///
/// The slave comes from the master by descriptor, never by its name, which others could have swapped meanwhile
/// (CVE-2025-52565).
pub fn open(out: i32, rows: u16, columns: u16, uid: u32) -> Result<(), Failure> {
    let steps = || -> Result<(), i32> {
        let flags = sys::O_RDWR | sys::O_NOCTTY | sys::O_NOFOLLOW | sys::O_CLOEXEC;
        let master = sys::open_at(sys::AT_FDCWD, b"/dev/pts/ptmx\0", flags, 0)?;
        if !is_device(master, 5, 2)? || sys::file_system(master)? != DEVPTS {
            return Err(sys::ENODEV);
        }
        let unlock = 0i32;
        sys::ioctl(master, TIOCSPTLCK, &raw const unlock as usize)?;
        let slave = sys::ioctl(master, TIOCGPTPEER, sys::O_RDWR | sys::O_NOCTTY | sys::O_CLOEXEC)? as i32;
        let size = [rows, columns, 0, 0];
        if rows != 0 && columns != 0 {
            sys::ioctl(master, TIOCSWINSZ, size.as_ptr() as usize)?;
        }
        sys::change_owner(slave, uid)?;
        socket::send_descriptor(out, master)?;
        sys::ioctl(slave, TIOCSCTTY, 0)?;
        for number in 0..3 {
            sys::duplicate_onto(slave, number)?;
        }
        sys::close(slave);
        sys::close(master);
        sys::close(out);
        Ok(())
    };
    steps().map_err(|errno| (Step::Terminal, errno))
}

/// Make this process's group the one that the terminal's keys go to: tcsetpgrp(3).
pub fn take_foreground(pid: i32) {
    const TIOCSPGRP: usize = 0x5410;
    // Without a terminal there is nothing to take.
    let _ = sys::ioctl(0, TIOCSPGRP, &raw const pid as usize);
}

/// Whether a descriptor is that character device.
pub fn is_device(fd: i32, major: u32, minor: u32) -> Result<bool, i32> {
    const S_IFMT: u16 = 0o170_000;
    const S_IFCHR: u16 = 0o020_000;
    let (mode, found_major, found_minor) = sys::status(fd)?;
    Ok(mode & S_IFMT == S_IFCHR && (found_major, found_minor) == (major, minor))
}
