//! The caller's terminal: raw mode while somebody sits inside, and its size (termios(3), ioctl_tty(2)).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

use crate::guard::Guard;
use crate::sys::{self, Result};

/// struct termios of the kernel (asm-generic/termbits.h).
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Settings {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    line: u8,
    characters: [u8; 19],
}

impl Settings {
    fn of(terminal: BorrowedFd<'_>) -> Result<Self> {
        let mut settings = Self::default();
        // SAFETY: settings is valid memory for the kernel's struct.
        if unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TCGETS, &raw mut settings) } < 0 {
            return Err(Errno::last());
        }
        Ok(settings)
    }

    /// These in raw mode, as cfmakeraw of termios(3) says: every byte goes through at once and as it is.
    fn raw(mut self) -> Self {
        use libc::{BRKINT, ICRNL, IGNBRK, IGNCR, INLCR, ISTRIP, IXON, PARMRK};
        use libc::{CS8, CSIZE, ECHO, ECHONL, ICANON, IEXTEN, ISIG, OPOST, PARENB, VMIN, VTIME};
        self.input &= !(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
        self.output &= !OPOST;
        self.local &= !(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
        self.control = self.control & !(CSIZE | PARENB) | CS8;
        self.characters[VMIN] = 1;
        self.characters[VTIME] = 0;
        self
    }

    /// As the kernel has them, for who sets them later.
    pub fn as_bytes(&self) -> &[u8] {
        // SAFETY: a struct of integers, without padding at its end: 36 bytes.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }
}

/// Raw mode until dropped, however that comes about; if this process is killed, the guard ends it.
pub struct Raw {
    terminal: OwnedFd,
    before: Settings,
    _guard: Guard,
}

impl Raw {
    /// Switch the terminal behind `fd` to raw mode.
    pub fn new(fd: BorrowedFd<'_>) -> Result<Self> {
        let terminal = sys::duplicate_above_stdio(fd.as_raw_fd())?;
        let before = Settings::of(terminal.as_fd())?;
        let guard = Guard::new(terminal.as_fd(), &before, &before.raw())?;
        let raw = Self { terminal, before, _guard: guard };
        raw.enter()?;
        Ok(raw)
    }

    /// Raw again, after somebody else has had the terminal.
    pub fn enter(&self) -> Result<()> {
        self.set(&self.before.raw())
    }

    fn set(&self, settings: &Settings) -> Result<()> {
        // From the background, changing the settings would stop this process.
        let _blocked = StopBlocked::new();
        // SAFETY: a struct termios of the kernel.
        if unsafe { libc::ioctl(self.terminal.as_raw_fd(), libc::TCSETS, std::ptr::from_ref(settings)) } < 0 {
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
