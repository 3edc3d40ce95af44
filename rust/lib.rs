//! hyrun's extension: the PyO3 surface only. What each item means is written in `python/hyrun/_core.pyi`.

mod application;
mod attend;
mod channel;
mod child;
mod cp;
mod error;
mod fork;
mod fs;
mod guard;
mod join;
mod json;
mod keep;
mod kept;
mod lasting;
mod launcher;
mod layer;
mod monitor;
mod mount;
mod plan;
mod process;
mod report;
mod root;
mod session;
mod signals;
mod spawn;
mod spec;
mod stack;
mod step;
mod sys;
mod terminal;
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
    use crate::cp::python::{cp_archive, cp_open, cp_root, cp_tree, cp_unpack};
    #[pymodule_export]
    use crate::join::Join;
    #[pymodule_export]
    use crate::json::{format_json, parse_json};
    #[pymodule_export]
    use crate::kept::Kept;
    #[pymodule_export]
    use crate::layer::integrity::{Verified, verify_manifest, write_manifest};
    #[pymodule_export]
    use crate::layer::meter::Meter;
    #[pymodule_export]
    use crate::layer::packing::{Packed, assemble_layer, pack_layer, tree_changes};
    #[pymodule_export]
    use crate::layer::python::{Cancellation, Unpacked, unpack_layer};
    #[pymodule_export]
    use crate::monitor::Monitor;
    #[pymodule_export]
    use crate::process::Process;
    #[pymodule_export]
    use crate::spec::{Bind, File, Overlay, Spec, Tmpfs};

    #[pymodule_export]
    use crate::tree::compare::compare_trees;
    #[pymodule_export]
    use crate::tree::python::{copy_tree, remove_tree, sync_file_system};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }

    /// Create the container and return once the application has been exec'ed.
    #[pyfunction]
    fn spawn(py: Python<'_>, spec: &Spec) -> PyResult<Process> {
        if spec.tty {
            let sentence = "a container with a terminal needs a monitor: use spawn_kept".to_owned();
            return Err(error::invalid(py, crate::plan::Invalid(sentence)));
        }
        let plan = crate::plan::Plan::new(spec, None).map_err(|invalid| error::invalid(py, invalid))?;
        let plan = Arc::new(plan);
        let result = py.detach(|| {
            if spec.die_with_parent {
                let shared = Arc::clone(&plan);
                crate::lasting::in_lasting_thread(move || crate::spawn::spawn(&shared))
                    .unwrap_or_else(|error| Err(crate::spawn::Error::Parent("pthread_create", error)))
            } else {
                crate::spawn::spawn(&plan)
            }
        });
        let process = result.map(Process::from).map_err(|failure| error::spawn_error(py, failure, &plan))?;
        process.unless_interrupted(py)?;
        Ok(process)
    }

    /// Create the container with a monitor as its parent.
    #[pyfunction]
    fn spawn_kept(py: Python<'_>, spec: &Spec, monitor: &Monitor) -> PyResult<Kept> {
        let invalid = |invalid| error::invalid(py, invalid);
        let pair = if spec.tty { Some(channel::pair()) } else { None };
        let pair = pair.transpose().map_err(|errno| error::os_error(errno, None))?;
        let inner = pair.as_ref().map(|(inner, _)| std::os::fd::AsRawFd::as_raw_fd(inner));
        let plan = crate::plan::Plan::new(spec, inner).map_err(invalid)?;
        let keep = monitor.plan().map_err(invalid)?;
        let result = py.detach(|| crate::keep::spawn(&plan, &keep, pair));
        let kept = result.map_err(|failure| error::spawn_error(py, failure, &plan))?;
        // Should a handler raise now, the monitor is not told to go on, and ends the container.
        py.check_signals()?;
        Ok(Kept::from(kept))
    }

    /// Start a process in a container that runs: it, and the master of its terminal or -1.
    #[pyfunction]
    fn join(py: Python<'_>, join: &Join) -> PyResult<(Process, i32)> {
        let plan = crate::join::Plan::new(join).map_err(|invalid| error::invalid(py, invalid))?;
        let plan = Arc::new(std::sync::Mutex::new(plan));
        let result = py.detach(|| {
            let shared = Arc::clone(&plan);
            let work = move || {
                let mut plan = shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                crate::join::join(&mut plan)
            };
            if join.die_with_parent {
                crate::lasting::in_lasting_thread(work)
                    .unwrap_or_else(|error| Err(crate::spawn::Error::Parent("pthread_create", error)))
            } else {
                work()
            }
        });
        let plan = plan.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (spawned, master) = result.map_err(|failure| error::join_error(py, failure, &plan))?;
        let process = Process::from(spawned);
        process.unless_interrupted(py)?;
        Ok((process, master.map_or(-1, IntoRawFd::into_raw_fd)))
    }

    /// Sit at a container: carry bytes between the caller's streams and the monitor's socket or a terminal's master,
    /// until it ends. Returns how: ("exited", status or None), ("detached", None), ("lost", None), ("signal", number).
    #[pyfunction]
    #[pyo3(signature = (peer, *, stdin, stdout, stderr, tty=false, keys=Vec::new(), forward=-1, insist=false,
                        process=None))]
    #[allow(clippy::too_many_arguments, reason = "keyword-only but for the first")]
    fn sit(
        py: Python<'_>,
        peer: i32,
        stdin: i32,
        stdout: i32,
        stderr: i32,
        tty: bool,
        keys: Vec<u8>,
        forward: i32,
        insist: bool,
        process: Option<&Process>,
    ) -> PyResult<(&'static str, Option<i32>)> {
        use crate::session::{End, Peer, Wishes};

        let copy = |fd: i32| crate::sys::duplicate_above_stdio(fd).map_err(|errno| error::os_error(errno, None));
        let optional = |fd: i32| if fd < 0 { Ok(None) } else { copy(fd).map(Some) };
        let wishes = Wishes {
            stdin: optional(stdin)?,
            stdout: copy(stdout)?,
            stderr: copy(stderr)?,
            tty,
            keys,
            forward: optional(forward)?,
            insist,
        };
        let peer = if process.is_some() { Peer::Master(copy(peer)?) } else { Peer::Monitor(copy(peer)?) };
        let end = py.detach(|| crate::session::run(&peer, &wishes, process.map(Process::descriptor)));
        Ok(match end.map_err(|errno| error::os_error(errno, None))? {
            End::Exited(status) => ("exited", status),
            End::Detached => ("detached", None),
            End::Lost => ("lost", None),
            End::Signal(number) => ("signal", Some(number)),
        })
    }

    /// Two connected ends of a channel to a monitor.
    #[pyfunction]
    fn channel_pair() -> PyResult<(i32, i32)> {
        let (one, other) = channel::pair().map_err(|errno| error::os_error(errno, None))?;
        Ok((one.into_raw_fd(), other.into_raw_fd()))
    }

    /// Make the socket that people attach to, called `name` in an open directory.
    #[pyfunction]
    fn channel_listen(directory: i32, name: &str) -> PyResult<i32> {
        // SAFETY: the caller's descriptor, open for the duration of this call.
        let listener = channel::listen(unsafe { BorrowedFd::borrow_raw(directory) }, name);
        listener.map(IntoRawFd::into_raw_fd).map_err(|errno| error::os_error(errno, Some(&name.into())))
    }

    /// Connect to such a socket.
    #[pyfunction]
    fn channel_connect(directory: i32, name: &str) -> PyResult<i32> {
        // SAFETY: as above.
        let socket = channel::connect(unsafe { BorrowedFd::borrow_raw(directory) }, name);
        socket.map(IntoRawFd::into_raw_fd).map_err(|errno| error::os_error(errno, Some(&name.into())))
    }

    /// Rows and columns of the terminal behind a descriptor; None when it is none.
    #[pyfunction]
    fn terminal_size(fd: i32) -> Option<(u16, u16)> {
        // SAFETY: only asked for its size, which fails for a number that is not open.
        crate::terminal::size(unsafe { BorrowedFd::borrow_raw(fd) })
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
        crate::plan::Plan::new(spec, None).map(|plan| plan.describe()).map_err(|invalid| error::invalid(py, invalid))
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
