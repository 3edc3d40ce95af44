//! `copy_tree`, `remove_tree` and `sync_file_system` for Python.
use std::ffi::CStr;
use std::os::fd::{BorrowedFd, RawFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::syncfs;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;

use crate::fs::Failure;

/// Copy the content of one open directory into another, with its metadata. Documented in `_core.pyi`.
///
/// # Errors
///
/// OSError with the name below the directories that it is about.
#[pyfunction]
pub fn copy_tree(py: Python<'_>, source: RawFd, target: RawFd) -> PyResult<()> {
    if source < 0 || target < 0 {
        return Err(os_error(&Failure::at("")(Errno::EBADF)));
    }
    // SAFETY: not negative; the caller keeps both descriptors open over the call, as with any os function.
    let (source, target) = unsafe { (BorrowedFd::borrow_raw(source), BorrowedFd::borrow_raw(target)) };
    py.detach(|| super::copy(source, target)).map_err(|failure| os_error(&failure))
}

/// Remove a file or directory tree. Documented in `_core.pyi`.
///
/// # Errors
///
/// FileNotFoundError when it is not there, another OSError when something in it cannot be removed.
#[pyfunction]
pub fn remove_tree(py: Python<'_>, path: PathBuf) -> PyResult<()> {
    py.detach(|| super::remove(&path)).map_err(|failure| os_error(&failure))
}

/// syncfs(2) on the file system that holds `path`. Documented in `_core.pyi`.
///
/// # Errors
///
/// OSError of open(2) or syncfs(2).
#[pyfunction]
pub fn sync_file_system(py: Python<'_>, path: PathBuf) -> PyResult<()> {
    // O_NONBLOCK: opening a fifo must not wait for its writer.
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    py.detach(|| open(&path, flags, Mode::empty()).and_then(syncfs))
        .map_err(|errno| os_error(&Failure::at(&path)(errno)))
}

/// Python picks the subclass (FileNotFoundError) from the number.
pub(crate) fn os_error(failure: &Failure) -> PyErr {
    let errno = failure.errno as i32;
    // SAFETY: strerror returns a C string for every number; it is copied at once, under the interpreter's lock.
    let text = unsafe { CStr::from_ptr(libc::strerror(errno)) }.to_string_lossy().into_owned();
    if failure.path.as_os_str().is_empty() {
        return PyOSError::new_err((errno, text));
    }
    PyOSError::new_err((errno, text, failure.path.clone().into_os_string()))
}
