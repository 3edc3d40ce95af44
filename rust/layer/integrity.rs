//! `write_manifest` and `verify_manifest` for Python.
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use pyo3::prelude::*;

use super::error::Error;
use super::manifest;
use super::meter::Meter;
use super::python::storage_error;
use crate::tree::python::os_error;

/// What `verify_manifest` found. Documented in `_core.pyi`.
#[pyclass(frozen, get_all, module = "hyrun._core")]
#[derive(Debug)]
pub struct Verified {
    /// Bytes of the plain tar, as the manifest has them.
    size: u64,
    /// Names in the manifest.
    entries: u64,
    /// How many names differ.
    count: usize,
    /// The first thousand of them: path below the layer, and what is wrong with it.
    differences: Vec<(OsString, String)>,
}

/// Write down what is in the directory of a layer. Documented in `_core.pyi`.
///
/// # Errors
///
/// OSError when the tree cannot be read or the manifest not be written.
#[pyfunction]
#[pyo3(signature = (directory, path, *, size, sync))]
pub fn write_manifest(py: Python<'_>, directory: PathBuf, path: PathBuf, size: u64, sync: bool) -> PyResult<u64> {
    py.detach(|| manifest::write(&directory, &path, size, sync)).map_err(|error| raised(py, error))
}

/// Compare the directory of a layer with its manifest. Documented in `_core.pyi`.
///
/// # Errors
///
/// `hyrun.errors.StorageError` for a manifest that is damaged itself; OSError when one of the two is missing.
#[pyfunction]
#[pyo3(signature = (directory, path, *, contents=true, meter=None))]
pub fn verify_manifest(
    py: Python<'_>,
    directory: PathBuf,
    path: PathBuf,
    contents: bool,
    meter: Option<Py<Meter>>,
) -> PyResult<Verified> {
    let meter = meter.as_ref().map(Py::get);
    let found =
        py.detach(|| manifest::verify(&directory, &path, contents, meter)).map_err(|error| raised(py, error))?;
    let differences = found.differences.into_iter().map(|(path, what)| (OsString::from_vec(path), what));
    Ok(Verified { size: found.size, entries: found.entries, count: found.count, differences: differences.collect() })
}

fn raised(py: Python<'_>, error: Error) -> PyErr {
    match error {
        Error::System(failure) => os_error(&failure),
        Error::Refused(sentence) => storage_error(py, sentence),
    }
}
