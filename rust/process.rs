//! Pid 1 of a container, held by a pidfd.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use pyo3::exceptions::{PyChildProcessError, PyOSError, PyOverflowError};
use pyo3::prelude::*;

use crate::attend::{self, End, Relay};
use crate::spawn::Spawned;
use crate::sys;

/// A signal that arrives just before poll(2) does not interrupt it; so look at least this often.
const SLICE: Duration = Duration::from_millis(250);

/// Pid 1 of a container: the handle never means another process, however long it is kept.
#[pyclass(frozen, module = "hyrun._core")]
pub struct Process {
    pid: i32,
    pidfd: OwnedFd,
    status: Mutex<Option<i32>>,
}

impl From<Spawned> for Process {
    fn from(spawned: Spawned) -> Self {
        Self { pid: spawned.pid, pidfd: spawned.pidfd, status: Mutex::new(None) }
    }
}

#[pymethods]
impl Process {
    /// In the caller's pid namespace. Only for display: signals go through the pidfd.
    #[getter]
    fn pid(&self) -> i32 {
        self.pid
    }

    /// The descriptor: readable when the process has ended (pidfd_open(2)). It stays the object's.
    #[getter]
    fn pidfd(&self) -> i32 {
        self.pidfd.as_raw_fd()
    }

    /// The exit status if it is known already: negative for a signal.
    #[getter]
    fn returncode(&self) -> Option<i32> {
        *self.status()
    }

    /// Wait for the end, at most `timeout` seconds. Python's signal handlers run meanwhile.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<i32>> {
        let limit = deadline(timeout)?;
        loop {
            if let Some(status) = self.reap()? {
                return Ok(Some(status));
            }
            let left = limit.map_or(SLICE, |limit| limit.saturating_duration_since(Instant::now()).min(SLICE));
            if left.is_zero() {
                return Ok(None);
            }
            py.detach(|| self.poll(left));
            py.check_signals()?;
        }
    }

    /// Send a signal through the pidfd; ProcessLookupError when the process has ended.
    fn kill(&self, signal: i32) -> PyResult<()> {
        if self.reap()?.is_some() {
            return Err(PyOSError::new_err((Errno::ESRCH as i32, Errno::ESRCH.desc())));
        }
        sys::send_signal(self.pidfd.as_fd(), signal).map_err(|errno| PyOSError::new_err((errno as i32, errno.desc())))
    }

    fn __repr__(&self) -> String {
        self.status().map_or_else(
            || format!("<hyrun.Process pid={} running>", self.pid),
            |status| format!("<hyrun.Process pid={} returncode={status}>", self.pid),
        )
    }
}

impl Process {
    /// Python's handlers for the signals that came during the start; if one raises, nobody will know of this process,
    /// and it ends.
    pub fn unless_interrupted(&self, py: Python<'_>) -> PyResult<()> {
        py.check_signals().inspect_err(|_| {
            let _ = sys::send_signal(self.pidfd.as_fd(), libc::SIGKILL);
            py.detach(|| crate::spawn::reap(self.pidfd.as_fd()));
        })
    }

    fn status(&self) -> std::sync::MutexGuard<'_, Option<i32>> {
        self.status.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// See `attend::attend`; None when the time was over.
    pub fn attend(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        input: Option<(i32, i32)>,
        outputs: Vec<(i32, i32)>,
    ) -> PyResult<Option<i32>> {
        let limit = deadline(timeout)?;
        let relay = |(source, target): (i32, i32)| {
            // SAFETY: the caller gives these descriptors away.
            unsafe { Relay::new(OwnedFd::from_raw_fd(source), OwnedFd::from_raw_fd(target)) }
        };
        let end = py.detach(|| {
            let input = input.map(relay).transpose()?;
            let outputs = outputs.into_iter().map(relay).collect::<sys::Result<_>>()?;
            attend::attend(self.pidfd.as_fd(), limit, input, outputs)
        });
        match end {
            Ok(End::Ended) => self.reap(),
            Ok(End::TimedOut) => Ok(None),
            Err(errno) => Err(PyOSError::new_err((errno as i32, errno.desc()))),
        }
    }

    /// Readable when it has ended.
    pub fn descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn poll(&self, timeout: Duration) {
        let mut poll = libc::pollfd { fd: self.pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: timeout.subsec_nanos() as libc::c_long,
        };
        // SAFETY: one pollfd and a timespec. Whatever it says, the caller looks for itself.
        unsafe { libc::ppoll(&raw mut poll, 1, &raw const timeout, std::ptr::null()) };
    }

    /// Take the exit status if the process has ended. Only through the pidfd: a `waitpid(-1)` of the caller's
    /// program waits for other children.
    fn reap(&self) -> PyResult<Option<i32>> {
        let mut status = self.status();
        if status.is_some() {
            return Ok(*status);
        }
        // SAFETY: an all-zero siginfo is a valid value, and the kernel fills it.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let id = self.pidfd.as_raw_fd() as libc::id_t;
        // SAFETY: info is valid memory for a siginfo.
        let result = unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED | libc::WNOHANG) };
        if result < 0 {
            return Err(match Errno::last() {
                Errno::ECHILD => PyChildProcessError::new_err(
                    "the exit status is lost: something else in this process waits for all children, or SIGCHLD is ignored",
                ),
                errno => PyOSError::new_err((errno as i32, errno.desc())),
            });
        }
        // SAFETY: waitid has filled the fields of a SIGCHLD.
        let (pid, value) = unsafe { (info.si_pid(), info.si_status()) };
        if pid != 0 {
            *status = Some(if info.si_code == libc::CLD_EXITED { value } else { -value });
        }
        Ok(*status)
    }
}

/// The moment that is `timeout` seconds from now; None for never.
fn deadline(timeout: Option<f64>) -> PyResult<Option<Instant>> {
    let Some(seconds) = timeout else {
        return Ok(None);
    };
    let duration = Duration::try_from_secs_f64(seconds.max(0.0))
        .map_err(|_| PyOverflowError::new_err(format!("timeout {seconds}: not a time")))?;
    Ok(Instant::now().checked_add(duration))
}

impl Drop for Process {
    fn drop(&mut self) {
        // Whoever forgot to wait must not leave a zombie that has ended already.
        let _ = self.reap();
    }
}
