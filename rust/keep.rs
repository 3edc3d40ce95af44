//! Containers that outlive their caller: hyrun-init stays as their parent and monitor.
//!
//! Three processes are made, each inside the caller's memory (CLONE_VM|CLONE_VFORK) while all before it sleep: one that
//! ends at once, so that nobody here has to wait for its child; that child, which becomes the monitor; and the monitor's
//! child, the container. The monitor keeps its pid when it execs, so it stays the container's parent.

use std::ffi::{CString, c_void};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;
use nix::libc::{self, c_char, c_int};

use crate::application::flag;
use crate::child::{self, Work};
use crate::launcher::launcher;
use crate::plan::Plan;
use crate::report::{self, CLONE, MONITOR, Report};
use crate::spawn::{Error, number, pointers, reap, vfork};
use crate::stack::Stack;
use crate::sys;

/// What the monitor holds, and what it does at the end. Descriptors are the caller's, -1 for none.
pub struct Keep {
    /// The container's directory; its lock is inherited.
    pub directory: RawFd,
    /// The run directory.
    pub run: RawFd,
    /// The log, opened for appending.
    pub log: RawFd,
    /// The socket that people attach to.
    pub listener: RawFd,
    /// Our ends of the container's pipes.
    pub stdin: RawFd,
    /// See `stdin`.
    pub stdout: RawFd,
    /// See `stdin`.
    pub stderr: RawFd,
    /// The connection of who waits in the foreground.
    pub client: RawFd,
    /// The bits of rust/init/monitor.rs that are not known from the descriptors.
    pub flags: u64,
    /// The monitor's arguments behind the flags, Python's argv at their end.
    pub arguments: Vec<CString>,
    /// Python's environment.
    pub environment: Vec<CString>,
}

const TERMINAL: u64 = 1;
const STDIN: u64 = 2;
const CLIENT: u64 = 4;

/// A kept container.
pub struct Kept {
    /// Pid 1 of the container. Not a child of the caller's.
    pub pid: i32,
    /// Readable when it has ended.
    pub pidfd: OwnedFd,
    /// The monitor.
    pub monitor: i32,
    /// The monitor waits for the byte `g` on it; at its end it gives up.
    pub go: OwnedFd,
}

/// Where rust/init/descriptor.rs expects them.
const FIRST: RawFd = 3;
const COUNT: usize = 11;
const PIDFD: usize = 5;
/// Nothing of the monitor's has a number from here on.
const ABOVE: RawFd = 32;

/// What the three share. It outlives them all in this memory, because the caller sleeps.
struct Nested<'a> {
    work: Work<'a>,
    namespaces: c_int,
    monitor_stack: &'a Stack,
    container_stack: &'a Stack,
    /// From FIRST on, in the order of rust/init/descriptor.rs; -1 for none.
    descriptors: [RawFd; COUNT],
    argv: &'a [*const c_char],
    envp: &'a [*const c_char],
    container: i32,
    monitor: i32,
}

/// Create the container of `plan` with a monitor. Returns once the application has been exec'ed; on an error nothing of
/// either is left. `terminal`: the two ends of the socket, the container's and the monitor's.
pub fn spawn(plan: &Plan, keep: &Keep, terminal: Option<(OwnedFd, OwnedFd)>) -> Result<Kept, Error> {
    let parent = |call: &'static str| move |error: std::io::Error| Error::Parent(call, error);
    let launcher = launcher().map_err(parent("memfd_create"))?;
    let (reader, writer) = report::pipe().map_err(parent("pipe2"))?;
    let (go_reader, go) = report::pipe().map_err(parent("pipe2"))?;
    let in_flight = crate::fork::close_in_forked_children(writer.as_fd());
    let stack = || Stack::new().map_err(parent("mmap"));
    let (first_stack, monitor_stack, container_stack) = (stack()?, stack()?, stack()?);

    let mut arguments = vec![c"hyrun-init".to_owned(), c"exec".to_owned(), number(writer.as_raw_fd())];
    arguments.extend_from_slice(&plan.arguments);
    let container_argv = pointers(&arguments);
    let container_envp = pointers(&plan.environment);
    let flags =
        keep.flags | flag(terminal.is_some(), TERMINAL) | flag(keep.stdin >= 0, STDIN) | flag(keep.client >= 0, CLIENT);
    let mut arguments = vec![c"hyrun-monitor".to_owned(), c"monitor".to_owned()];
    arguments.push(CString::new(flags.to_string()).unwrap_or_default());
    arguments.extend_from_slice(&keep.arguments);
    let argv = pointers(&arguments);
    let envp = pointers(&keep.environment);
    let mut slots: Vec<RawFd> = vec![-1; plan.slots];
    let terminal_end = terminal.as_ref().map_or(-1, |(_, monitors)| monitors.as_raw_fd());
    // With a terminal, input goes to its master.
    let stdin = if terminal.is_some() { -1 } else { keep.stdin };
    let mut nested = Nested {
        work: Work {
            plan,
            slots: &mut slots,
            launcher: launcher.as_fd(),
            argv: &container_argv,
            envp: &container_envp,
            report: writer.as_fd(),
        },
        namespaces: plan.namespaces,
        monitor_stack: &monitor_stack,
        container_stack: &container_stack,
        descriptors: [
            keep.directory,
            keep.run,
            keep.log,
            go_reader.as_raw_fd(),
            keep.listener,
            -1,
            keep.stdout,
            keep.stderr,
            stdin,
            terminal_end,
            keep.client,
        ],
        argv: &argv,
        envp: &envp,
        container: -1,
        monitor: -1,
    };
    let first = vfork(&first_stack, 0, leave, ptr::from_mut(&mut nested).cast::<c_void>())
        .map_err(|errno| Error::Parent("clone", errno.into()))?;
    reap(first.pidfd.as_fd());
    let (pid, monitor) = (nested.container, nested.monitor);

    // Ours must go first, or the pipe would never end.
    drop(writer);
    drop(in_flight);
    drop(terminal);
    match report::read(reader) {
        Ok(None) => {}
        Ok(Some(report)) => return Err(Error::Child(report)),
        Err(error) => return Err(Error::Parent("read", error)),
    }
    // It cannot be another process yet: the monitor does not wait for it before it may go.
    let pidfd = sys::open_process(pid).map_err(|errno| Error::Parent("pidfd_open", errno.into()))?;
    Ok(Kept { pid, pidfd, monitor, go })
}

/// The first child: makes the monitor, which is nobody's child then but pid 1's.
extern "C" fn leave(nested: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes a Nested, which nobody else touches while it sleeps.
    let shared = unsafe { &mut *nested.cast::<Nested<'_>>() };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: as in `vfork`: this process sleeps until the monitor has exec'ed or ended. Signals are blocked.
    shared.monitor = unsafe { libc::clone(monitor, shared.monitor_stack.top(), flags, nested) };
    if shared.monitor < 0 {
        fail(shared, CLONE, Errno::last());
    }
    // SAFETY: ends the process at once: no atexit handler and no destructor of the caller's runs.
    unsafe { libc::_exit(0) }
}

/// The second: makes the container and becomes the monitor.
extern "C" fn monitor(nested: *mut c_void) -> c_int {
    // SAFETY: as in `leave`, which sleeps now.
    let nested = unsafe { &mut *nested.cast::<Nested<'_>>() };
    // A session of its own: what is done to the caller's terminal is not for it. It leads no group yet.
    let _ = sys::new_session();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | nested.namespaces | libc::SIGCHLD;
    let mut pidfd: c_int = -1;
    let work = ptr::from_mut(&mut nested.work).cast::<c_void>();
    // SAFETY: as in `vfork`.
    nested.container = unsafe { libc::clone(child::main, nested.container_stack.top(), flags, work, &raw mut pidfd) };
    if nested.container < 0 {
        fail(nested, CLONE, Errno::last());
    } else {
        nested.descriptors[PIDFD] = pidfd;
        let errno = become_monitor(nested);
        fail(nested, MONITOR, errno);
        // SAFETY: the descriptor that clone has made in this process's table.
        let pidfd = unsafe { BorrowedFd::borrow_raw(pidfd) };
        let _ = sys::send_signal(pidfd, libc::SIGKILL);
        reap(pidfd);
    }
    // SAFETY: as in `leave`.
    unsafe { libc::_exit(125) }
}

fn fail(nested: &Nested<'_>, step: u32, errno: Errno) {
    let report = Report { step, errno: errno as i32 };
    // There is nobody else to tell.
    let _ = sys::write_all(nested.work.report, &report.encode());
}

/// Everything goes to its number, by way of numbers that none of them has, and the rest closes. Returns only the error.
fn become_monitor(nested: &mut Nested<'_>) -> Errno {
    match place(nested) {
        Ok(launcher) => {
            sys::set_umask(0o077);
            // SAFETY: `spawn` built both arrays of C strings and ended them with NULL.
            unsafe { sys::exec_descriptor(launcher.as_fd(), nested.argv.as_ptr(), nested.envp.as_ptr()) }
        }
        Err(errno) => errno,
    }
}

/// Returns hyrun-init's descriptor.
fn place(nested: &mut Nested<'_>) -> sys::Result<OwnedFd> {
    let report = sys::duplicate_above(nested.work.report.as_raw_fd(), ABOVE)?.into_raw_fd();
    // SAFETY: this process's own copy, open until it execs.
    nested.work.report = unsafe { BorrowedFd::borrow_raw(report) };
    let launcher = sys::duplicate_above(nested.work.launcher.as_raw_fd(), ABOVE)?;
    for fd in nested.descriptors.iter_mut().filter(|fd| **fd >= 0) {
        *fd = sys::duplicate_above(*fd, ABOVE)?.into_raw_fd();
    }
    let null = sys::duplicate_above(sys::open(c"/dev/null", libc::O_RDWR)?.as_raw_fd(), ABOVE)?;
    for number in 0..FIRST {
        sys::duplicate_onto(null.as_fd(), number)?;
    }
    for (number, fd) in (FIRST..).zip(nested.descriptors) {
        if fd < 0 {
            sys::close(number);
        } else {
            // SAFETY: duplicated above, open.
            sys::duplicate_onto(unsafe { BorrowedFd::borrow_raw(fd) }, number)?;
        }
    }
    sys::close_on_exec_from((FIRST + COUNT as RawFd) as libc::c_uint)?;
    // It must not keep a file system busy.
    sys::change_directory(sys::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?.as_fd())?;
    Ok(launcher)
}
