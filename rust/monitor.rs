//! What Python says of a kept container's monitor. What the fields mean is written in `_core.pyi`.

use std::ffi::{CString, OsString};
use std::os::fd::RawFd;

use pyo3::prelude::*;

use crate::application::flag;
use crate::keep::Keep;
use crate::plan::{Invalid, Result, string};

// rust/init/monitor.rs and rust/init/ending.rs have the same numbers.
const STDIN_ONCE: u64 = 8;
const LIFELINE: u64 = 16;
const REMOVE: u64 = 32;

/// A monitor to be.
#[pyclass(frozen, module = "hyrun._core")]
pub struct Monitor {
    directory: RawFd,
    run: RawFd,
    log: RawFd,
    listener: RawFd,
    stdin: RawFd,
    stdout: RawFd,
    stderr: RawFd,
    client: RawFd,
    stdin_once: bool,
    lifeline: bool,
    remove: bool,
    restart: String,
    retries: u64,
    delay: u64,
    max_size: u64,
    max_files: u64,
    exit: OsString,
    die: OsString,
    state: OsString,
    socket: OsString,
    python: Vec<OsString>,
    env: Vec<OsString>,
}

#[pymethods]
impl Monitor {
    #[new]
    #[pyo3(signature = (*, directory, run, log, listener, exit, die, state, socket, python, env,
                        stdin=-1, stdout=-1, stderr=-1, client=-1, stdin_once=false, lifeline=false, remove=false,
                        restart="no".to_owned(), retries=0, delay=0, max_size=0, max_files=1))]
    #[allow(clippy::too_many_arguments, reason = "keyword-only: the fields of one struct")]
    fn new(
        directory: RawFd,
        run: RawFd,
        log: RawFd,
        listener: RawFd,
        exit: OsString,
        die: OsString,
        state: OsString,
        socket: OsString,
        python: Vec<OsString>,
        env: Vec<OsString>,
        stdin: RawFd,
        stdout: RawFd,
        stderr: RawFd,
        client: RawFd,
        stdin_once: bool,
        lifeline: bool,
        remove: bool,
        restart: String,
        retries: u64,
        delay: u64,
        max_size: u64,
        max_files: u64,
    ) -> Self {
        Self {
            directory,
            run,
            log,
            listener,
            stdin,
            stdout,
            stderr,
            client,
            stdin_once,
            lifeline,
            remove,
            restart,
            retries,
            delay,
            max_size,
            max_files,
            exit,
            die,
            state,
            socket,
            python,
            env,
        }
    }
}

impl Monitor {
    /// Check it and lay it out.
    pub fn plan(&self) -> Result<Keep> {
        let restart = match self.restart.as_str() {
            "no" => "0",
            "always" | "unless-stopped" => "1",
            "on-failure" => "2",
            other => {
                return Err(Invalid(format!("restart {other:?}: choose no, on-failure, always or unless-stopped")));
            }
        };
        let mut arguments = vec![string("restart", &OsString::from(restart))?];
        for number in [self.retries, self.delay, self.max_size, self.max_files] {
            arguments.push(CString::new(number.to_string()).unwrap_or_default());
        }
        for text in [&self.exit, &self.die, &self.state, &self.socket].into_iter().chain(&self.python) {
            arguments.push(string("monitor", text)?);
        }
        Ok(Keep {
            directory: self.directory,
            run: self.run,
            log: self.log,
            listener: self.listener,
            stdin: self.stdin,
            stdout: self.stdout,
            stderr: self.stderr,
            client: self.client,
            flags: flag(self.stdin_once, STDIN_ONCE) | flag(self.lifeline, LIFELINE) | flag(self.remove, REMOVE),
            arguments,
            environment: self.env.iter().map(|entry| string("env", entry)).collect::<Result<_>>()?,
        })
    }
}
