//! hyrun's extension: the PyO3 surface only. What each item means is written in `python/hyrun/_core.pyi`.

mod attend;
mod child;
mod error;
mod fork;
mod fs;
mod json;
mod launcher;
mod layer;
mod mount;
mod plan;
mod process;
mod report;
mod root;
mod spawn;
mod spec;
mod step;
mod sys;
mod tree;
mod view;

use std::ffi::OsString;
use std::os::fd::{BorrowedFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use pyo3::prelude::*;

#[cfg(fuzzing)]
pub use layer::fuzzing;

/// The module.
#[pymodule]
mod _core {
    use super::*;

    #[pymodule_export]
    use crate::json::{format_json, parse_json};
    #[pymodule_export]
    use crate::layer::python::{Cancellation, Unpacked, unpack_layer};
    #[pymodule_export]
    use crate::process::Process;
    #[pymodule_export]
    use crate::spec::{Bind, File, Overlay, Spec, Tmpfs};

    #[pymodule_export]
    use crate::tree::python::{copy_tree, remove_tree, sync_file_system};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    /// Create the container and return once the application has been exec'ed.
    #[pyfunction]
    fn spawn(py: Python<'_>, spec: &Spec) -> PyResult<Process> {
        let plan = crate::plan::Plan::new(spec).map_err(|invalid| error::invalid(py, invalid))?;
        let plan = Arc::new(plan);
        let result = py.detach(|| {
            if spec.die_with_parent {
                crate::spawn::lasting::spawn_from_lasting_thread(&plan)
            } else {
                crate::spawn::spawn(&plan)
            }
        });
        result.map(Process::from).map_err(|failure| error::spawn_error(py, failure, &plan))
    }

    /// Block the signals that `attend` forwards, in the calling thread.
    #[pyfunction]
    fn block_signals() -> PyResult<()> {
        crate::attend::block_signals().map_err(|errno| error::os_error(errno, None))
    }

    /// Forward signals, carry bytes, wait. The descriptors of the relays become this function's.
    #[pyfunction]
    #[pyo3(signature = (process, *, timeout=None, input=None, outputs=Vec::new()))]
    fn attend(
        py: Python<'_>,
        process: &Process,
        timeout: Option<f64>,
        input: Option<(i32, i32)>,
        outputs: Vec<(i32, i32)>,
    ) -> PyResult<Option<i32>> {
        process.attend(py, timeout, input, outputs)
    }

    /// Return the steps that `spawn` would take, in order, as sentences.
    #[pyfunction]
    fn plan(py: Python<'_>, spec: &Spec) -> PyResult<Vec<String>> {
        crate::plan::Plan::new(spec).map(|plan| plan.describe()).map_err(|invalid| error::invalid(py, invalid))
    }

    /// Open the merged, read-only view of some layers; it is mounted nowhere.
    #[pyfunction]
    fn open_root(py: Python<'_>, lowerdirs: Vec<OsString>) -> PyResult<i32> {
        let paths = lowerdirs
            .iter()
            .map(|path| std::ffi::CString::new(path.as_bytes()).map_err(PyErr::from))
            .collect::<PyResult<Vec<_>>>()?;
        let opened = py.detach(|| view::open_merged(&paths));
        opened.map(IntoRawFd::into_raw_fd).map_err(|errno| error::os_error(errno, lowerdirs.first()))
    }

    /// openat2(2) with RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS.
    #[pyfunction]
    fn open_in_root(py: Python<'_>, root: i32, path: OsString, flags: i32) -> PyResult<i32> {
        let name = std::ffi::CString::new(path.as_bytes())?;
        let opened = py.detach(|| {
            // SAFETY: the caller's descriptor, open for the duration of this call.
            view::open_in_root(unsafe { BorrowedFd::borrow_raw(root) }, &name, flags)
        });
        opened.map(IntoRawFd::into_raw_fd).map_err(|errno| error::os_error(errno, Some(&path)))
    }
}
