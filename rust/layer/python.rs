//! `unpack_layer` for Python.
use std::os::fd::{BorrowedFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::error::Error;
use super::input::Origin;
use super::meter::Meter;
use super::unpack::{self, Wishes};
use crate::tree::python::os_error;

/// What `unpack_layer` read: digests are `sha256:<hex>`, sizes are bytes.
#[pyclass(frozen, get_all, module = "hyrun._core")]
#[derive(Debug)]
pub struct Unpacked {
    /// Digest of the plain tar (OCI image-spec, config.md, "Layer DiffID").
    diff_id: String,
    /// Digest of the bytes as they were stored.
    digest: String,
    /// Bytes of the plain tar.
    size: u64,
    /// Bytes as they were stored.
    compressed_size: u64,
    /// Entries of the archive, extension headers not counted.
    entries: u64,
}

#[pymethods]
impl Unpacked {
    fn __repr__(&self) -> String {
        format!(
            "Unpacked(diff_id='{}', digest='{}', size={}, compressed_size={}, entries={})",
            self.diff_id, self.digest, self.size, self.compressed_size, self.entries
        )
    }
}

/// Ends calls of `unpack_layer` early. Documented in `_core.pyi`.
#[pyclass(frozen, module = "hyrun._core")]
#[derive(Debug, Default)]
pub struct Cancellation {
    cancelled: AtomicBool,
}

#[pymethods]
impl Cancellation {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    #[getter]
    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// Unpack one layer tar into the empty directory `target`. Documented in `_core.pyi`.
///
/// # Errors
///
/// `hyrun.errors.StorageError` for a hostile, damaged or oversized archive; OSError when the disk refuses; what a
/// signal handler raises.
#[pyfunction]
#[pyo3(signature = (source, target, *, offset=None, length=None, recipe=None, unique=false, flush=false, cancellation=None, meter=None))]
#[allow(clippy::too_many_arguments, reason = "keyword-only but for the first two")]
pub fn unpack_layer(
    py: Python<'_>,
    source: RawFd,
    target: PathBuf,
    offset: Option<u64>,
    length: Option<u64>,
    recipe: Option<PathBuf>,
    unique: bool,
    flush: bool,
    cancellation: Option<Py<Cancellation>>,
    meter: Option<Py<Meter>>,
) -> PyResult<Unpacked> {
    let origin = match (offset, length) {
        (Some(offset), length) => Origin::Window { offset, end: length.map(|length| offset.saturating_add(length)) },
        (None, None) => Origin::Stream,
        (None, Some(_)) => return Err(PyValueError::new_err("length needs an offset")),
    };
    if source < 0 {
        return Err(os_failure(nix::errno::Errno::EBADF));
    }
    // SAFETY: not negative; the caller keeps the descriptor open over the call, as with any os function.
    let source = unsafe { BorrowedFd::borrow_raw(source) };
    let cancellation = cancellation.as_ref().map(Py::get);
    let mut signal = None;
    let interrupted = || {
        if cancellation.is_some_and(Cancellation::cancelled) {
            return true;
        }
        // Handlers of Python run in its main thread only; elsewhere this does nothing.
        signal = Python::attach(|py| py.check_signals()).err();
        signal.is_some()
    };
    let wishes = Wishes { recipe: recipe.as_deref(), unique, flush, meter: meter.as_ref().map(Py::get) };
    let outcome = py.detach(|| unpack::unpack(source, origin, &target, &wishes, interrupted));
    if let Some(error) = signal {
        return Err(error);
    }
    let (totals, entries) = outcome.map_err(|error| raised(py, error))?;
    Ok(Unpacked {
        diff_id: totals.diff_id,
        digest: totals.digest,
        size: totals.size,
        compressed_size: totals.compressed_size,
        entries,
    })
}

/// What went wrong, as Python's exception.
pub(super) fn raised(py: Python<'_>, error: Error) -> PyErr {
    match error {
        Error::System(failure) => os_error(&failure),
        Error::Refused(sentence) => storage_error(py, sentence),
    }
}

/// An errno about no file in particular.
pub(super) fn os_failure(errno: nix::errno::Errno) -> PyErr {
    os_error(&crate::fs::Failure::at("")(errno))
}

/// Looked up when raised: the extension is imported before `hyrun.errors` is.
pub(super) fn storage_error(py: Python<'_>, sentence: String) -> PyErr {
    let raise = || py.import("hyrun.errors")?.getattr("StorageError")?.call1((sentence,));
    raise().map_or_else(|error| error, PyErr::from_value)
}
