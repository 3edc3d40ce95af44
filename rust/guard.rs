//! Who gives a terminal its settings back when this process is killed in raw mode: hyrun-init in a process of its own.
//!
//! Nothing here survives SIGKILL, but a pipe's end closes. The guard waits for that, in a session of its own and with
//! all signals blocked, so that what is sent to this process's group or terminal does not meet it.

use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use nix::errno::Errno;
use nix::libc::{self, c_char, c_int};

use crate::fork::{InFlight, close_in_forked_children};
use crate::launcher::launcher;
use crate::report;
use crate::spawn::{Spawned, pointers, reap, vfork};
use crate::stack::Stack;
use crate::sys::{self, Result};
use crate::terminal::Settings;

/// Where rust/init/guard.rs expects them.
const TERMINAL: c_int = 3;
const PIPE: c_int = 4;
const END: c_int = 5;

/// A process that watches over a terminal until this is dropped.
pub struct Guard {
    process: Spawned,
    writer: OwnedFd,
    /// Open here too, so that a write never meets a pipe without a reader.
    _reader: OwnedFd,
    /// A forked child would keep the pipe from ending.
    _in_flight: InFlight,
}

struct Work<'a> {
    terminal: BorrowedFd<'a>,
    reader: BorrowedFd<'a>,
    launcher: BorrowedFd<'a>,
    argv: &'a [*const c_char],
    envp: &'a [*const c_char],
}

impl Guard {
    /// Start the guard of a terminal that has the settings `before` now, and will have `raw`.
    pub fn new(terminal: BorrowedFd<'_>, before: &Settings, raw: &Settings) -> Result<Self> {
        let errno = |error: std::io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        let launcher = launcher().map_err(errno)?;
        let (reader, writer) = report::pipe().map_err(errno)?;
        let in_flight = close_in_forked_children(writer.as_fd());
        let stack = Stack::new().map_err(errno)?;
        let arguments = [c"hyrun-guard".to_owned(), c"guard".to_owned()];
        let (argv, envp) = (pointers(&arguments), pointers(&[]));
        let mut work = Work { terminal, reader: reader.as_fd(), launcher: launcher.as_fd(), argv: &argv, envp: &envp };
        let process = vfork(&stack, 0, become_guard, ptr::from_mut(&mut work).cast::<c_void>())?;
        let guard = Self { process, writer, _reader: reader, _in_flight: in_flight };
        // A pipe holds that much at once.
        sys::write_all(guard.writer.as_fd(), before.as_bytes())?;
        sys::write_all(guard.writer.as_fd(), raw.as_bytes())?;
        Ok(guard)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // It is not needed any more. When it has been killed, nobody reads this.
        let _ = sys::write_all(self.writer.as_fd(), b"x");
        reap(self.process.pidfd.as_fd());
    }
}

/// The child, in the caller's memory: the rules are those of child.rs.
extern "C" fn become_guard(work: *mut c_void) -> c_int {
    // SAFETY: `Guard::new` passes a Work, which nobody else touches while it sleeps.
    let work = unsafe { &*work.cast::<Work<'_>>() };
    if let Ok(launcher) = place(work) {
        // SAFETY: `Guard::new` built both arrays of C strings and ended them with NULL.
        let _ = unsafe { sys::exec_descriptor(launcher.as_fd(), work.argv.as_ptr(), work.envp.as_ptr()) };
    }
    // SAFETY: ends the process at once: no atexit handler and no destructor of the caller's runs.
    unsafe { libc::_exit(125) }
}

/// Both descriptors to their numbers, by way of numbers that neither has. Returns hyrun-init's.
fn place(work: &Work<'_>) -> Result<OwnedFd> {
    sys::new_session()?;
    let above = |fd: BorrowedFd<'_>| sys::duplicate_above(fd.as_raw_fd(), END);
    let (launcher, terminal, reader) = (above(work.launcher)?, above(work.terminal)?, above(work.reader)?);
    sys::duplicate_onto(terminal.as_fd(), TERMINAL)?;
    sys::duplicate_onto(reader.as_fd(), PIPE)?;
    for number in 0..TERMINAL {
        sys::close(number);
    }
    sys::close_on_exec_from(END as libc::c_uint)?;
    sys::change_directory(sys::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?.as_fd())?;
    Ok(launcher)
}
