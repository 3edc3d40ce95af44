//! A process in a container that runs already: the caller's side of hyrun-init's `join`.

use std::ffi::{CStr, CString, OsString, c_void};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{self, c_char, c_int};
use pyo3::prelude::*;

use crate::application::{self, Application, flag};
use crate::attend::wait;
use crate::channel;
use crate::launcher::launcher;
use crate::plan::{Invalid, absolute, string};
use crate::report::{self, JOINED, Report};
use crate::spawn::{Error, Spawned, number, pointers, reap, vfork};
use crate::stack::Stack;
use crate::sys;

/// How long joining may take. Who lives in there can stop a process that has joined.
const PATIENCE: Duration = Duration::from_secs(10);

/// A process to be. What the fields mean is written in `_core.pyi`.
#[pyclass(frozen, module = "hyrun._core")]
pub struct Join {
    target: RawFd,
    argv: Vec<OsString>,
    env: Vec<OsString>,
    cwd: OsString,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    capabilities: u64,
    no_new_privileges: bool,
    seccomp: bool,
    stdin: RawFd,
    stdout: RawFd,
    stderr: RawFd,
    pub(crate) die_with_parent: bool,
    tty: bool,
    rows: u16,
    columns: u16,
    cgroups: Vec<RawFd>,
}

#[pymethods]
impl Join {
    #[new]
    #[pyo3(signature = (*, target, argv, env=Vec::new(), cwd=OsString::from("/"), uid=0, gid=0, groups=Vec::new(),
                        capabilities=0, no_new_privileges=true, seccomp=true, stdin=0, stdout=1, stderr=2,
                        die_with_parent=true, tty=false, rows=0, columns=0, cgroups=Vec::new()))]
    #[allow(clippy::too_many_arguments, reason = "keyword-only: the fields of one struct")]
    fn new(
        target: RawFd,
        argv: Vec<OsString>,
        env: Vec<OsString>,
        cwd: OsString,
        uid: u32,
        gid: u32,
        groups: Vec<u32>,
        capabilities: u64,
        no_new_privileges: bool,
        seccomp: bool,
        stdin: RawFd,
        stdout: RawFd,
        stderr: RawFd,
        die_with_parent: bool,
        tty: bool,
        rows: u16,
        columns: u16,
        cgroups: Vec<RawFd>,
    ) -> Self {
        Self {
            target,
            argv,
            env,
            cwd,
            uid,
            gid,
            groups,
            capabilities,
            no_new_privileges,
            seccomp,
            stdin,
            stdout,
            stderr,
            die_with_parent,
            tty,
            rows,
            columns,
            cgroups,
        }
    }
}

/// Everything that one join needs, checked.
pub struct Plan {
    arguments: Vec<CString>,
    environment: Vec<CString>,
    /// The application's argv[0] is the argument with this index.
    command: usize,
    stdio: [RawFd; 3],
    target: RawFd,
    cgroups: Vec<RawFd>,
    terminal: Option<(OwnedFd, OwnedFd)>,
}

/// A process that has joined, and the master of its terminal.
pub type Joined = (Spawned, Option<OwnedFd>);

impl Plan {
    /// Check a request and lay it out.
    pub fn new(join: &Join) -> Result<Self, Invalid> {
        if join.argv.is_empty() {
            return Err(Invalid("no command: argv is empty".to_owned()));
        }
        let unavailable = |errno: Errno| Invalid(format!("socketpair: {}", errno.desc()));
        let terminal = if join.tty { Some(channel::pair().map_err(unavailable)?) } else { None };
        let mut stdio = [join.stdin, join.stdout, join.stderr];
        let mut null = 0;
        for (index, fd) in stdio.iter_mut().enumerate() {
            // The host's `/dev/null` does not go in: root inside could change the device's mode through it.
            if join.tty || *fd < 0 || is_null(*fd) {
                *fd = -1;
                null |= flag(!join.tty, application::NULL << index);
            }
        }
        let mut arguments = Application {
            uid: join.uid,
            gid: join.gid,
            groups: &join.groups,
            capabilities: join.capabilities,
            flags: flag(join.no_new_privileges, application::NO_NEW_PRIVILEGES)
                | flag(join.die_with_parent, application::DIE_WITH_PARENT)
                | flag(join.seccomp, application::SECCOMP)
                | null,
            terminal: terminal.as_ref().map(|(inner, _)| inner.as_raw_fd()),
            rows: join.rows,
            columns: join.columns,
        }
        .arguments()?;
        let cgroups: Vec<String> = join.cgroups.iter().map(RawFd::to_string).collect();
        arguments.push(number(join.target));
        arguments.push(CString::new(cgroups.join(",")).unwrap_or_default());
        arguments.push(absolute("cwd", &join.cwd)?);
        let command = arguments.len();
        for argument in &join.argv {
            arguments.push(string("argv", argument)?);
        }
        let environment = join.env.iter().map(|entry| string("env", entry)).collect::<Result<_, _>>()?;
        Ok(Self {
            arguments,
            environment,
            command,
            stdio,
            target: join.target,
            cgroups: join.cgroups.clone(),
            terminal,
        })
    }

    /// The application's argv[0].
    pub fn command(&self) -> Option<&CStr> {
        self.arguments.get(self.command).map(CString::as_c_str)
    }

    /// The application's PATH.
    pub fn path(&self) -> Option<String> {
        application::path(&self.environment)
    }
}

/// What the child finds in the caller's memory.
struct Work<'a> {
    plan: &'a Plan,
    launcher: BorrowedFd<'a>,
    argv: &'a [*const c_char],
    envp: &'a [*const c_char],
    report: BorrowedFd<'a>,
}

/// Start the process. Returns once the application has been exec'ed; on an error nothing of it is left.
pub fn join(plan: &mut Plan) -> Result<Joined, Error> {
    let parent = |call: &'static str| move |error: io::Error| Error::Parent(call, error);
    let launcher = launcher().map_err(parent("memfd_create"))?;
    let (reader, writer) = report::pipe().map_err(parent("pipe2"))?;
    let in_flight = crate::fork::close_in_forked_children(writer.as_fd());
    let stack = Stack::new().map_err(parent("mmap"))?;
    let mut arguments = vec![c"hyrun-init".to_owned(), c"join".to_owned(), number(writer.as_raw_fd())];
    arguments.extend_from_slice(&plan.arguments);
    let argv = pointers(&arguments);
    let envp = pointers(&plan.environment);
    let mut work = Work { plan, launcher: launcher.as_fd(), argv: &argv, envp: &envp, report: writer.as_fd() };
    let entered = vfork(&stack, 0, enter, ptr::from_mut(&mut work).cast::<c_void>())
        .map_err(|errno| Error::Parent("clone", errno.into()))?;
    drop(writer);
    drop(in_flight);
    let outer = plan.terminal.take().map(|(_, outer)| outer);
    let result = await_reports(File::from(reader));
    if result.is_err() {
        // It may be held up where it is now.
        let _ = sys::send_signal(entered.pidfd.as_fd(), libc::SIGKILL);
    }
    reap(entered.pidfd.as_fd());
    let spawned = result?;
    let master = outer.map(|outer| sys::receive_descriptor(outer.as_fd())).transpose();
    match master {
        Ok(master) => Ok((spawned, master)),
        Err(errno) => {
            let _ = sys::send_signal(spawned.pidfd.as_fd(), libc::SIGKILL);
            reap(spawned.pidfd.as_fd());
            Err(Error::Parent("recvmsg", errno.into()))
        }
    }
}

/// The pid of who has joined and then the end of the pipe; or a failing step, which may come before that pid.
fn await_reports(mut reader: File) -> Result<Spawned, Error> {
    let end = Instant::now() + PATIENCE;
    let mut joined: Option<Spawned> = None;
    let mut failure = None;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            failure.get_or_insert(Error::Parent("join", io::Error::from(Errno::ETIMEDOUT)));
            break;
        }
        let mut polls = [libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
        match wait(&mut polls, Some(left)) {
            // The time is over, or a signal came.
            Ok(0) => continue,
            Ok(_) => {}
            Err(errno) => {
                failure.get_or_insert(Error::Parent("poll", errno.into()));
                break;
            }
        }
        let mut bytes = [0u8; 8];
        match reader.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => {
                failure.get_or_insert(Error::Parent("read", error));
                break;
            }
        }
        let report = Report::decode(bytes);
        if report.step != JOINED {
            failure.get_or_insert(Error::Child(report));
            continue;
        }
        // It is this process's child and has not been waited for: the pid is still its own.
        match sys::open_process(report.errno) {
            Ok(pidfd) => joined = Some(Spawned { pid: report.errno, pidfd }),
            Err(errno) => {
                failure.get_or_insert(Error::Parent("pidfd_open", errno.into()));
            }
        }
    }
    match (joined, failure) {
        (Some(spawned), None) => Ok(spawned),
        (joined, failure) => {
            if let Some(spawned) = joined {
                let _ = sys::send_signal(spawned.pidfd.as_fd(), libc::SIGKILL);
                reap(spawned.pidfd.as_fd());
            }
            // Without a failure it was killed before it could say anything.
            Err(failure.unwrap_or_else(|| Error::Parent("join", io::Error::from(Errno::ESRCH))))
        }
    }
}

/// The child, in the caller's memory: the rules are those of child.rs. It enters nothing hostile before it has memory
/// of its own.
extern "C" fn enter(work: *mut c_void) -> c_int {
    // SAFETY: `join` passes a Work, which nobody else touches while it sleeps.
    let work = unsafe { &*work.cast::<Work<'_>>() };
    let errno = match prepare(work) {
        // SAFETY: `join` built both arrays of C strings and ended them with NULL.
        Ok(()) => unsafe { sys::exec_descriptor(work.launcher, work.argv.as_ptr(), work.envp.as_ptr()) },
        Err(errno) => errno,
    };
    let report = Report { step: report::ENTER, errno: errno as i32 };
    // There is nobody else to tell.
    let _ = sys::write_all(work.report, &report.encode());
    // SAFETY: ends the process at once: no atexit handler and no destructor of the caller's runs.
    unsafe { libc::_exit(125) }
}

fn prepare(work: &Work<'_>) -> sys::Result<()> {
    sys::set_umask(0o022);
    // By way of copies above 2, because a source may be the target of another.
    let copy = |fd: RawFd| {
        if fd < 0 {
            sys::duplicate_above_stdio(sys::open(c"/dev/null", libc::O_RDWR)?.as_raw_fd())
        } else {
            sys::duplicate_above_stdio(fd)
        }
    };
    let [stdin, stdout, stderr] = work.plan.stdio;
    let copies = [copy(stdin)?, copy(stdout)?, copy(stderr)?];
    for (number, fd) in (0..).zip(&copies) {
        sys::duplicate_onto(fd.as_fd(), number)?;
    }
    sys::close_on_exec_from(3)?;
    sys::keep_through_exec(work.report)?;
    let terminal = work.plan.terminal.as_ref().map(|(inner, _)| inner.as_raw_fd());
    for fd in work.plan.cgroups.iter().copied().chain(terminal).chain([work.plan.target]) {
        // SAFETY: the caller holds them open while this child lives here.
        sys::keep_through_exec(unsafe { BorrowedFd::borrow_raw(fd) })?;
    }
    Ok(())
}

fn is_null(fd: RawFd) -> bool {
    // SAFETY: only asked for its status, which fails for a number that is not open.
    let status = sys::stat(unsafe { BorrowedFd::borrow_raw(fd) });
    status.is_ok_and(|status| status.st_mode & libc::S_IFMT == libc::S_IFCHR && status.st_rdev == libc::makedev(1, 3))
}
