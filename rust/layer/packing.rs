//! `pack_layer`, `assemble_layer` and `tree_changes` for Python.
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::errno::Errno;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::encoder::Compression;
use super::meter::Meter;
use super::output::Output;
use super::pack::{self, Counts, Form};
use super::python::{os_failure, raised};
use super::source::Totals;
use super::{changes, error, recipe};
use crate::fs::Failure;
use crate::tree::python::os_error;
use crate::{sys, view};

/// What was written: digests are `sha256:<hex>`, sizes are bytes.
#[pyclass(frozen, get_all, module = "hyrun._core")]
#[derive(Debug)]
pub struct Packed {
    /// Digest of the plain tar (OCI image-spec, config.md, "Layer DiffID").
    diff_id: String,
    /// Digest of the bytes as they were written.
    digest: String,
    /// Bytes of the plain tar.
    size: u64,
    /// Bytes as they were written.
    compressed_size: u64,
    /// Entries of the archive; 0 when it was assembled.
    entries: u64,
    /// Sockets that were left out.
    sockets: u64,
    /// Extended attributes that were left out, because no archive can hold their names.
    attributes: u64,
}

impl Packed {
    fn new(totals: Totals, counts: &Counts) -> Self {
        Self {
            diff_id: totals.diff_id,
            digest: totals.digest,
            size: totals.size,
            compressed_size: totals.compressed_size,
            entries: counts.entries,
            sockets: counts.sockets,
            attributes: counts.attributes,
        }
    }
}

#[pymethods]
impl Packed {
    fn __repr__(&self) -> String {
        format!(
            "Packed(diff_id='{}', digest='{}', size={}, compressed_size={}, entries={}, sockets={}, attributes={})",
            self.diff_id, self.digest, self.size, self.compressed_size, self.entries, self.sockets, self.attributes
        )
    }
}

/// Pack a tree into a layer tar. Documented in `_core.pyi`.
///
/// # Errors
///
/// `hyrun.errors.StorageError` for what no layer can hold; OSError when the disk refuses.
#[pyfunction]
#[pyo3(signature = (tree, target, *, compression="none", whiteouts=true, meter=None))]
pub fn pack_layer(
    py: Python<'_>,
    tree: RawFd,
    target: RawFd,
    compression: &str,
    whiteouts: bool,
    meter: Option<Py<Meter>>,
) -> PyResult<Packed> {
    let meter = meter.as_ref().map(Py::get);
    let compression = compression_of(compression)?;
    let (tree, target) = (borrowed(&tree)?, borrowed(&target)?);
    let form = if whiteouts { Form::Layer } else { Form::Root };
    let outcome = py.detach(|| {
        let mut output = Output::new(target, compression)?.metered(meter);
        let counts = pack::pack(tree, form, &mut output)?;
        Ok((output.finish()?, counts))
    });
    let (totals, counts) = outcome.map_err(|error: error::Error| raised(py, error))?;
    Ok(Packed::new(totals, &counts))
}

/// Write the tar that a layer was unpacked from. Documented in `_core.pyi`.
///
/// # Errors
///
/// `hyrun.errors.StorageError` when recipe and tree do not fit together; OSError when the disk refuses.
#[pyfunction]
#[pyo3(signature = (recipe, tree, target, *, compression="none", meter=None))]
pub fn assemble_layer(
    py: Python<'_>,
    recipe: RawFd,
    tree: RawFd,
    target: RawFd,
    compression: &str,
    meter: Option<Py<Meter>>,
) -> PyResult<Packed> {
    let meter = meter.as_ref().map(Py::get);
    let compression = compression_of(compression)?;
    let (recipe, tree, target) = (borrowed(&recipe)?, borrowed(&tree)?, borrowed(&target)?);
    let outcome = py.detach(|| {
        let mut output = Output::new(target, compression)?.metered(meter);
        recipe::assemble(recipe, tree, &mut output)?;
        output.finish()
    });
    let totals = outcome.map_err(|error| raised(py, error))?;
    Ok(Packed::new(totals, &Counts::default()))
}

/// List what a writable layer changes. Documented in `_core.pyi`.
///
/// # Errors
///
/// OSError with the path that it is about.
#[pyfunction]
pub fn tree_changes(py: Python<'_>, upper: RawFd, lowerdirs: Vec<OsString>) -> PyResult<Vec<(char, OsString)>> {
    let upper = borrowed(&upper)?;
    let paths = lowerdirs.iter().map(|path| CString::new(path.as_bytes()));
    let paths = paths.collect::<Result<Vec<_>, _>>().map_err(|_| PyValueError::new_err("a path with a NUL byte"))?;
    let found = py.detach(|| {
        let lower = open_below(&paths).map_err(Failure::at(lowerdirs.first().cloned().unwrap_or_default()))?;
        changes::changes(upper, lower.as_fd())
    });
    let found = found.map_err(|failure| os_error(&failure))?;
    Ok(found.into_iter().map(|(kind, path)| (kind, OsString::from_vec(path))).collect())
}

/// The merged view; of one layer alone a copy without what is mounted below it, for a container does not see that.
fn open_below(paths: &[CString]) -> nix::Result<OwnedFd> {
    match paths {
        [only] => sys::clone_tree(None, only, false),
        _ => view::open_merged(paths),
    }
}

fn compression_of(word: &str) -> PyResult<Compression> {
    match word {
        "none" => Ok(Compression::None),
        "gzip" => Ok(Compression::Gzip),
        "zstd" => Ok(Compression::Zstd),
        _ => Err(PyValueError::new_err(format!("compression {word:?}: there are none, gzip and zstd"))),
    }
}

fn borrowed(fd: &RawFd) -> PyResult<BorrowedFd<'_>> {
    if *fd < 0 {
        return Err(os_failure(Errno::EBADF));
    }
    // SAFETY: not negative; the caller keeps the descriptor open over the call, as with any os function.
    Ok(unsafe { BorrowedFd::borrow_raw(*fd) })
}
