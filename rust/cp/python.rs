//! `cp` for Python.
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::errno::Errno;
use nix::libc;
use pyo3::prelude::*;

use super::entry::{Copied, Error, Result as Outcome};
use super::extract::{Extract, Owner};
use super::root::Bound;
use super::writer::Writer;
use super::{reader, root, walk};
use crate::fs::Failure;
use crate::mount;
use crate::plan::kernel_version;
use crate::spec::{Bind, Overlay};
use crate::tree::python::os_error;

type Report = (u64, Vec<OsString>);

/// Copy a tree into a directory. Documented in `_core.pyi`, as all of these.
///
/// # Errors
///
/// OSError with the path below the source or target.
#[pyfunction]
#[pyo3(signature = (source, target, *, name, owner=None))]
pub fn cp_tree(
    py: Python<'_>,
    source: RawFd,
    target: RawFd,
    name: OsString,
    owner: Option<(u32, u32)>,
) -> PyResult<Report> {
    let (source, target) = (borrow(source)?, borrow(target)?);
    finish(py, || {
        let mut sink = Extract::new(target, owner_of(owner))?;
        let copied = walk::walk(source, name.as_bytes(), &mut sink)?;
        sink.finish().map(|()| copied)
    })
}

/// Write a tree as a tar stream.
///
/// # Errors
///
/// OSError.
#[pyfunction]
#[pyo3(signature = (source, stream, *, name))]
pub fn cp_archive(py: Python<'_>, source: RawFd, stream: RawFd, name: OsString) -> PyResult<Report> {
    let (source, stream) = (borrow(source)?, borrow(stream)?);
    finish(py, || {
        let mut sink = Writer::new(file(stream)?);
        let copied = walk::walk(source, name.as_bytes(), &mut sink)?;
        sink.finish().map(|()| copied)
    })
}

/// Unpack a tar stream into a directory.
///
/// # Errors
///
/// `hyrun.errors.StorageError` for an archive that is damaged or refused, OSError.
#[pyfunction]
#[pyo3(signature = (stream, target, *, owner=None))]
pub fn cp_unpack(py: Python<'_>, stream: RawFd, target: RawFd, owner: Option<(u32, u32)>) -> PyResult<Report> {
    let (stream, target) = (borrow(stream)?, borrow(target)?);
    finish(py, || {
        let mut sink = Extract::new(target, owner_of(owner))?;
        let copied = reader::read(file(stream)?, &mut sink)?;
        sink.finish().map(|()| copied)
    })
}

/// Mount the root of a container that does not run, where nobody sees it.
///
/// # Errors
///
/// OSError with the mount point that it is about.
#[pyfunction]
#[pyo3(signature = (rootfs, binds, *, read_only=false))]
pub fn cp_root(py: Python<'_>, rootfs: &Overlay, binds: Vec<Bind>, read_only: bool) -> PyResult<(RawFd, RawFd)> {
    let overlay = mount::Overlay {
        lowerdirs: rootfs.lowerdirs.iter().map(text).collect::<PyResult<_>>()?,
        upperdir: text(&rootfs.upperdir)?,
        workdir: text(&rootfs.workdir)?,
        volatile: false,
        append: kernel_version() >= (6, 5),
    };
    let bound = |bind: &Bind| {
        Ok(Bound {
            source: text(&bind.source)?,
            target: text(&bind.target)?,
            read_only: bind.read_only,
            nodev: bind.nodev,
        })
    };
    let binds = binds.iter().map(bound).collect::<PyResult<Vec<_>>>()?;
    let view = py.detach(|| root::open(&overlay, &binds, read_only)).map_err(|failure| os_error(&failure))?;
    Ok((view.root.into_raw_fd(), view.namespace.into_raw_fd()))
}

/// Open what a path means below a root with O_PATH.
///
/// # Errors
///
/// OSError.
#[pyfunction]
#[pyo3(signature = (root, path, *, follow))]
pub fn cp_open(py: Python<'_>, root: RawFd, path: OsString, follow: bool) -> PyResult<RawFd> {
    let (root, name) = (borrow(root)?, text(&path)?);
    let flags = libc::O_PATH | if follow { 0 } else { libc::O_NOFOLLOW };
    py.detach(|| crate::root::open(root, &name, flags))
        .map(IntoRawFd::into_raw_fd)
        .map_err(|errno| crate::error::os_error(errno, Some(&path)))
}

fn finish(py: Python<'_>, work: impl FnOnce() -> Outcome<Copied> + Send) -> PyResult<Report> {
    match py.detach(work) {
        Ok(copied) => Ok((copied.bytes, copied.devices.into_iter().map(OsString::from_vec).collect())),
        Err(Error::System(failure)) => Err(os_error(&failure)),
        Err(Error::Archive(sentence)) => Err(crate::error::raise(py, "StorageError", (sentence,))),
    }
}

fn owner_of(owner: Option<(u32, u32)>) -> Owner {
    owner.map_or(Owner::Kept, |(uid, gid)| Owner::Of(uid, gid))
}

fn borrow<'fd>(fd: RawFd) -> PyResult<BorrowedFd<'fd>> {
    if fd < 0 {
        return Err(os_error(&Failure::at("")(Errno::EBADF)));
    }
    // SAFETY: not negative; the caller keeps the descriptor open over the call, as with any os function.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// A file of our own, so that the caller's stays open.
fn file(stream: BorrowedFd<'_>) -> Outcome<File> {
    let own: io::Result<OwnedFd> = stream.as_fd().try_clone_to_owned();
    own.map(File::from).map_err(super::entry::io_at(b""))
}

fn text(path: &OsString) -> PyResult<CString> {
    CString::new(path.as_bytes()).map_err(PyErr::from)
}
