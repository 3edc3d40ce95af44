//! Eight bytes on a pipe: which step failed, and its errno. The end of the pipe without them means that the
//! application has been exec'ed.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;

use crate::plan::Plan;
use crate::step::text;
use crate::sys;

/// hyrun-init's steps have numbers from here on (rust/init/main.rs, `Step`); below are indexes into the plan.
const INIT: u32 = 0x8000;
const EXEC: u32 = INIT + 10;
const INTERPRETER: u32 = INIT + 11;
const JOIN: u32 = INIT + 16;
const FORK: u32 = INIT + 17;
/// No failure: the pid of the process that has joined a container.
pub const JOINED: u32 = INIT + 19;
/// Steps of the processes around the child: clone(2) of the container's process, of its monitor, and the monitor's exec.
pub const CLONE: u32 = INIT - 1;
pub const MONITOR: u32 = INIT - 2;
/// A process that is about to join cannot exec hyrun-init.
pub const ENTER: u32 = INIT - 3;

/// A failing step and its errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// An index into the plan, or a step of hyrun-init.
    pub step: u32,
    /// What the system call said.
    pub errno: i32,
}

/// A report in words.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// The step's name, for programs.
    pub step: &'static str,
    /// The sentence, for people.
    pub message: String,
    /// What the system call said.
    pub errno: i32,
    /// The path it was about.
    pub filename: Option<String>,
    /// 127: the command was not found; 126: it was found and could not be executed; 125: anything else.
    pub exit_code: i32,
}

impl Report {
    /// As it goes over the pipe.
    pub fn encode(self) -> [u8; 8] {
        let [a, b, c, d] = self.step.to_ne_bytes();
        let [e, f, g, h] = self.errno.to_ne_bytes();
        [a, b, c, d, e, f, g, h]
    }

    /// The reverse of `encode`.
    pub fn decode(bytes: [u8; 8]) -> Self {
        let [a, b, c, d, e, f, g, h] = bytes;
        Self { step: u32::from_ne_bytes([a, b, c, d]), errno: i32::from_ne_bytes([e, f, g, h]) }
    }

    /// Put it into words with the plan it belongs to.
    pub fn explain(self, plan: &Plan) -> Failure {
        let Some(step) = plan.steps.get(self.step as usize) else {
            return self.explain_init(plan.command(), plan.path());
        };
        let errno = Errno::from_raw(self.errno);
        let mut message = format!("{}: {}", step.brief(), errno.desc());
        // The source was opened long before its mount; the person thinks of one mount.
        if let Some(target) = plan.target_of_source(self.step as usize) {
            let source = step.filename().unwrap_or_default();
            message = format!("bind {source} -> {target}: {}", errno.desc());
        }
        if let Some(advice) = step.advice(errno) {
            message = format!("{message} ({advice})");
        }
        self.failure(step.name(), message, step.filename(), 125)
    }

    /// Put a step of hyrun-init into words, with the application's argv[0] and PATH.
    pub fn explain_init(self, command: Option<&CStr>, path: Option<String>) -> Failure {
        let errno = Errno::from_raw(self.errno);
        let command = command.map(|command| text(command).into_owned()).unwrap_or_default();
        match self.step {
            CLONE | MONITOR | ENTER => {
                let call = match self.step {
                    CLONE => "clone",
                    MONITOR => "start the monitor",
                    _ => "prepare the process that enters",
                };
                return self.failure("spawn", format!("{call}: {}", errno.desc()), None, 125);
            }
            INTERPRETER => {
                let message = format!("exec {command}: the interpreter or loader that it names is not in the image");
                return self.failure("exec", message, Some(command), 126);
            }
            EXEC => {
                let missing = matches!(errno, Errno::ENOENT | Errno::ENOTDIR);
                let message = if missing && !command.contains('/') {
                    format!("exec {command}: not found in the container's PATH ({})", path.unwrap_or_default())
                } else {
                    format!("exec {command}: {}", errno.desc())
                };
                return self.failure("exec", message, Some(command), if missing { 127 } else { 126 });
            }
            // A pid namespace whose pid 1 has ended takes no new process: ENOMEM (pid_namespaces(7)).
            JOIN | FORK if matches!(errno, Errno::ESRCH | Errno::ENOMEM) => {
                return self.failure("join", "the container has ended".to_owned(), None, 125);
            }
            _ => {}
        }
        const NAMES: [(&str, &str); 19] = [
            ("credentials", "make a session keyring"),
            ("credentials", "install the seccomp filter"),
            ("credentials", "drop capabilities from the bounding set"),
            ("credentials", "set the supplementary groups"),
            ("credentials", "set the group id"),
            ("credentials", "set the user id"),
            ("credentials", "set the capabilities"),
            ("credentials", "set no_new_privs"),
            ("credentials", "set the parent-death signal"),
            ("credentials", "reset the signals"),
            ("exec", "execute the command"),
            ("exec", "execute the command"),
            ("terminal", "open a terminal of the container's /dev/pts"),
            ("stdio", "open the container's /dev/null"),
            ("join", "protect the process that enters"),
            ("cgroup", "enter the container's cgroups"),
            ("join", "enter the container's namespaces"),
            ("join", "start a process in the container's pid namespace"),
            ("cwd", "enter the working directory"),
        ];
        let (step, what) = NAMES
            .get(self.step.wrapping_sub(INIT) as usize)
            .copied()
            .unwrap_or(("credentials", "start the application"));
        self.failure(step, format!("{what}: {}", errno.desc()), None, 125)
    }

    fn failure(self, step: &'static str, message: String, filename: Option<String>, exit_code: i32) -> Failure {
        Failure { step, message, errno: self.errno, filename, exit_code }
    }
}

/// The pipe: both ends above stdio, closed by exec.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let up = |fd: OwnedFd| {
        if fd.as_raw_fd() > 2 { Ok(fd) } else { sys::duplicate_above_stdio(fd.as_raw_fd()) }
    };
    Ok((up(reader)?, up(writer)?))
}

/// What has been reported until the pipe ended; None for nothing.
pub fn read(reader: OwnedFd) -> io::Result<Option<Report>> {
    let mut bytes = [0u8; 8];
    match File::from(reader).read_exact(&mut bytes) {
        Ok(()) => Ok(Some(Report::decode(bytes))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}
