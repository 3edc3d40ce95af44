//! Rust's failures as Python's exceptions. The classes live in `hyrun.errors`, where users import them from.

use pyo3::prelude::*;

use crate::join;
use crate::plan::{Invalid, Plan};
use crate::report::{Failure, Report};
use crate::spawn;

/// `hyrun.errors.SpawnError` for a spawn that failed.
pub fn spawn_error(py: Python<'_>, error: spawn::Error, plan: &Plan) -> PyErr {
    failed(py, error, |report| report.explain(plan))
}

/// `hyrun.errors.SpawnError` for a process that could not join a container.
pub fn join_error(py: Python<'_>, error: spawn::Error, plan: &join::Plan) -> PyErr {
    failed(py, error, |report| report.explain_init(plan.command(), plan.path()))
}

fn failed(py: Python<'_>, error: spawn::Error, explain: impl FnOnce(Report) -> Failure) -> PyErr {
    let failure = match error {
        spawn::Error::Child(report) => explain(report),
        spawn::Error::Parent(call, error) => {
            let advice = match error.raw_os_error() {
                Some(nix::libc::EPERM) => " (hyrun needs root: try again with sudo)",
                Some(nix::libc::ETIMEDOUT) => {
                    " (something in the container holds it up: hyrun top shows what runs there)"
                }
                Some(nix::libc::ENOSPC) => " (too many namespaces: see /proc/sys/user/max_*_namespaces)",
                _ => "",
            };
            Failure {
                step: call,
                message: format!("{call}: {}{advice}", cause(&error)),
                errno: error.raw_os_error().unwrap_or(0),
                filename: None,
                exit_code: 125,
            }
        }
    };
    let arguments = (failure.errno, failure.message, failure.filename, failure.step, failure.exit_code);
    raise(py, "SpawnError", arguments)
}

/// `hyrun.errors.InvalidArgument` for a spec that cannot be planned.
pub fn invalid(py: Python<'_>, error: Invalid) -> PyErr {
    raise(py, "InvalidArgument", (error.0,))
}

/// One of the classes of `hyrun.errors`, imported only now: a successful start never needs it.
pub fn raise<'py, A>(py: Python<'py>, class: &str, arguments: A) -> PyErr
where
    A: pyo3::call::PyCallArgs<'py>,
{
    let make = || py.import("hyrun.errors")?.getattr(class)?.call1(arguments);
    match make() {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

/// The kernel's words, without Rust's "(os error 2)".
fn cause(error: &std::io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |errno| nix::errno::Errno::from_raw(errno).desc().to_owned())
}

/// OSError with its errno, so that Python picks the subclass, and the path.
pub fn os_error(errno: nix::errno::Errno, path: Option<&std::ffi::OsString>) -> PyErr {
    pyo3::exceptions::PyOSError::new_err((errno as i32, errno.desc(), path.cloned()))
}
