//! The parent's side: clone the child with its namespaces, let it work, read its report.

use std::ffi::{CString, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;
use nix::libc::{self, c_char, c_int};

use crate::child::{self, Work};
use crate::launcher::launcher;
use crate::plan::Plan;
use crate::report::{self, Report};
use crate::signals::SignalsBlocked;
use crate::stack::Stack;
use crate::sys;

/// A container's pid 1, as its parent holds it.
pub struct Spawned {
    /// In the caller's pid namespace.
    pub pid: i32,
    /// Readable when the process has ended.
    pub pidfd: OwnedFd,
}

/// Why there is no container.
pub enum Error {
    /// The caller's own resources ran out, or the kernel refused to clone: what was called, and the error.
    Parent(&'static str, io::Error),
    /// A step of the child failed.
    Child(Report),
}

/// Create the container of `plan`. Returns once the application has been exec'ed.
///
/// The calling thread sleeps until the child has left its memory; all others go on. On an error the child has been
/// reaped, and its namespaces, with every mount in them, are gone.
pub fn spawn(plan: &Plan) -> Result<Spawned, Error> {
    let parent = |call: &'static str| move |error: io::Error| Error::Parent(call, error);
    let launcher = launcher().map_err(parent("memfd_create"))?;
    let (reader, writer) = report::pipe().map_err(parent("pipe2"))?;
    let in_flight = crate::fork::close_in_forked_children(writer.as_fd());
    let stack = Stack::new().map_err(parent("mmap"))?;

    let mut arguments = vec![c"hyrun-init".to_owned(), c"exec".to_owned(), number(writer.as_raw_fd())];
    arguments.extend_from_slice(&plan.arguments);
    let argv = pointers(&arguments);
    let envp = pointers(&plan.environment);
    let mut slots: Vec<RawFd> = vec![-1; plan.slots];
    let mut work =
        Work { plan, slots: &mut slots, launcher: launcher.as_fd(), argv: &argv, envp: &envp, report: writer.as_fd() };
    let spawned = clone(&stack, plan.namespaces, &mut work).map_err(|errno| Error::Parent("clone", errno.into()))?;

    // Ours must go first, or the pipe would never end.
    drop(writer);
    drop(in_flight);
    match report::read(reader) {
        Ok(None) => Ok(spawned),
        Ok(Some(report)) => {
            reap(spawned.pidfd.as_fd());
            Err(Error::Child(report))
        }
        Err(error) => {
            let _ = sys::send_signal(spawned.pidfd.as_fd(), libc::SIGKILL);
            reap(spawned.pidfd.as_fd());
            Err(Error::Parent("read", error))
        }
    }
}

fn clone(stack: &Stack, namespaces: c_int, work: &mut Work<'_>) -> sys::Result<Spawned> {
    vfork(stack, namespaces, child::main, ptr::from_mut(work).cast())
}

/// Start a child in this process's memory, on a stack of its own, and sleep until it has exec'ed or ended.
///
/// `main` obeys the rules of child.rs.
pub fn vfork(
    stack: &Stack,
    namespaces: c_int,
    main: extern "C" fn(*mut c_void) -> c_int,
    argument: *mut c_void,
) -> sys::Result<Spawned> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | namespaces | libc::SIGCHLD;
    let mut pidfd: c_int = -1;
    // No handler of the caller may run in the child: it would write to memory that is not its own. The mask stays
    // blocked through the hop; hyrun-init empties it when the dispositions are reset.
    let blocked = SignalsBlocked::new();
    // SAFETY: `main` obeys the rules for a child in shared memory; stack and argument outlive its stay, because
    // CLONE_VFORK suspends this thread until the child has exec'ed or ended.
    let pid = unsafe { libc::clone(main, stack.top(), flags, argument, &raw mut pidfd) };
    let result = if pid < 0 { Err(Errno::last()) } else { Ok(pid) };
    drop(blocked);
    let pid = result?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(Spawned { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
}

/// Wait for a child that is about to end.
pub fn reap(pidfd: BorrowedFd<'_>) {
    loop {
        // SAFETY: an all-zero siginfo is a valid value, and the kernel fills it.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let id = pidfd.as_raw_fd() as libc::id_t;
        // SAFETY: info is valid memory for a siginfo.
        let result = unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED) };
        if result == 0 || Errno::last() != Errno::EINTR {
            return;
        }
    }
}

/// A descriptor as an argument.
pub fn number(fd: RawFd) -> CString {
    CString::new(fd.to_string()).unwrap_or_default()
}

/// The array that execve(2) wants: one pointer per string, then NULL.
pub fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}
