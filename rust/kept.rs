//! A kept container that has just been started, as Python holds it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

use crate::keep;
use crate::sys;

/// Its monitor waits for `go_on`. Whoever loses this before has given the container up: the monitor ends it.
#[pyclass(frozen, module = "hyrun._core")]
pub struct Kept {
    pid: i32,
    monitor: i32,
    pidfd: OwnedFd,
    go: Mutex<Option<OwnedFd>>,
}

impl From<keep::Kept> for Kept {
    fn from(kept: keep::Kept) -> Self {
        Self { pid: kept.pid, monitor: kept.monitor, pidfd: kept.pidfd, go: Mutex::new(Some(kept.go)) }
    }
}

#[pymethods]
impl Kept {
    /// Pid 1 of the container, in the caller's pid namespace.
    #[getter]
    fn pid(&self) -> i32 {
        self.pid
    }

    /// The pid of the monitor.
    #[getter]
    fn monitor(&self) -> i32 {
        self.monitor
    }

    /// Readable when pid 1 has ended. It stays the object's.
    #[getter]
    fn pidfd(&self) -> i32 {
        self.pidfd.as_raw_fd()
    }

    /// Tell the monitor that it is written down who runs here.
    fn go_on(&self) -> PyResult<()> {
        let go = self.go.lock().unwrap_or_else(PoisonError::into_inner).take();
        go.map_or(Ok(()), |go| sys::write_all(go.as_fd(), b"g"))
            .map_err(|errno| PyOSError::new_err((errno as i32, errno.desc())))
    }
}
