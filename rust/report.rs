//! Eight bytes on a pipe: which step failed, and its errno. The end of the pipe without them means that the
//! application has been exec'ed.

use nix::errno::Errno;

use crate::plan::Plan;
use crate::step::text;

/// hyrun-init's steps have numbers from here on (rust/init/main.rs, `Step`); below are indexes into the plan.
const INIT: u32 = 0x8000;
const EXEC: u32 = INIT + 10;
const INTERPRETER: u32 = INIT + 11;

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
        if self.step >= INIT {
            return self.explain_init(plan);
        }
        let errno = Errno::from_raw(self.errno);
        let Some(step) = plan.steps.get(self.step as usize) else {
            return self.failure("spawn", format!("step {}: {}", self.step, errno.desc()), None, 125);
        };
        let mut message = format!("{}: {}", step.describe(), errno.desc());
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

    fn explain_init(self, plan: &Plan) -> Failure {
        let errno = Errno::from_raw(self.errno);
        let command = plan.command().map(|command| text(command).into_owned()).unwrap_or_default();
        if self.step == INTERPRETER {
            let message = format!("exec {command}: the interpreter or loader that it names is not in the image");
            return self.failure("exec", message, Some(command), 126);
        }
        if self.step == EXEC {
            let missing = matches!(errno, Errno::ENOENT | Errno::ENOTDIR);
            let message = if missing && !command.contains('/') {
                format!("exec {command}: not found in the container's PATH ({})", plan.path().unwrap_or_default())
            } else {
                format!("exec {command}: {}", errno.desc())
            };
            return self.failure("exec", message, Some(command), if missing { 127 } else { 126 });
        }
        const NAMES: [&str; 10] = [
            "make a session keyring",
            "install the seccomp filter",
            "drop capabilities from the bounding set",
            "set the supplementary groups",
            "set the group id",
            "set the user id",
            "set the capabilities",
            "set no_new_privs",
            "set the parent-death signal",
            "reset the signals",
        ];
        let name = NAMES.get((self.step - INIT) as usize).copied().unwrap_or("start the application");
        self.failure("credentials", format!("{name}: {}", errno.desc()), None, 125)
    }

    fn failure(self, step: &'static str, message: String, filename: Option<String>, exit_code: i32) -> Failure {
        Failure { step, message, errno: self.errno, filename, exit_code }
    }
}
