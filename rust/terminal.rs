//! The caller's terminal: raw mode while somebody sits inside, and its size (termios(3), ioctl_tty(2)).

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

use crate::sys::{self, Result};

/// Raw mode until dropped, however that comes about.
pub struct Raw {
    terminal: OwnedFd,
    before: libc::termios,
}

impl Raw {
    /// Switch the terminal behind `fd` to raw mode.
    pub fn new(fd: BorrowedFd<'_>) -> Result<Self> {
        let terminal = sys::duplicate_above_stdio(fd.as_raw_fd())?;
        // SAFETY: an all-zero termios is a valid value, and the kernel fills it.
        let mut before: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: before is valid memory for a termios.
        if unsafe { libc::tcgetattr(terminal.as_raw_fd(), &raw mut before) } < 0 {
            return Err(Errno::last());
        }
        let raw = Self { terminal, before };
        raw.enter()?;
        Ok(raw)
    }

    /// Raw again, after somebody else has had the terminal.
    pub fn enter(&self) -> Result<()> {
        let mut settings = self.before;
        // SAFETY: a termios.
        unsafe { libc::cfmakeraw(&raw mut settings) };
        self.set(&settings)
    }

    fn set(&self, settings: &libc::termios) -> Result<()> {
        // From the background, changing the settings would stop this process.
        let _blocked = StopBlocked::new();
        // SAFETY: a termios.
        if unsafe { libc::tcsetattr(self.terminal.as_raw_fd(), libc::TCSANOW, settings) } < 0 {
            return Err(Errno::last());
        }
        Ok(())
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may have gone.
        let _ = self.set(&self.before);
    }
}

/// SIGTTOU blocked in this thread until dropped.
struct StopBlocked {
    before: libc::sigset_t,
}

impl StopBlocked {
    fn new() -> Self {
        // SAFETY: all-zero sets are valid memory; the functions make them sets.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, libc::SIGTTOU);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut before);
            Self { before }
        }
    }
}

impl Drop for StopBlocked {
    fn drop(&mut self) {
        // SAFETY: the mask that was there before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}

/// Rows and columns of a terminal; None when `fd` is none.
pub fn size(fd: BorrowedFd<'_>) -> Option<(u16, u16)> {
    // SAFETY: an all-zero winsize is a valid value, and the kernel fills it.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: size is valid memory for a winsize.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    if result < 0 { None } else { Some((size.ws_row, size.ws_col)) }
}

/// Set the size of a terminal by its master: SIGWINCH for who is inside.
pub fn set_size(master: BorrowedFd<'_>, (rows, columns): (u16, u16)) {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: a winsize. A terminal that has gone needs no size.
    unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
}
