//! Find the command as docker does and become it.

use crate::sys;
use crate::{Failure, Step};

const PATH_MAX: usize = 4096;

/// A command with a slash is a path; any other is looked for along the container's own PATH, where an empty
/// element means nothing (and not the current directory). Returns why no candidate could be executed.
///
/// # Safety
/// Both arrays end with NULL; `argv` has at least one element.
pub unsafe fn exec(argv: *const *const u8, envp: *const *const u8) -> Failure {
    // SAFETY: argv has an element, and the kernel NUL-terminates it.
    let (command, name) = unsafe { (*argv, sys::bytes(*argv)) };
    if name.contains(&b'/') {
        // SAFETY: as promised by the caller.
        return unsafe { try_exec(command, argv, envp) };
    }
    let mut result = (Step::Exec, sys::ENOENT);
    if name.is_empty() {
        return result;
    }
    // SAFETY: as promised by the caller.
    let path = unsafe { path_of(envp) };
    let mut candidate = [0u8; PATH_MAX];
    for directory in path.split(|&byte| byte == b':').filter(|directory| !directory.is_empty()) {
        if join(&mut candidate, directory, name).is_none() {
            result = (Step::Exec, sys::ENAMETOOLONG);
            continue;
        }
        // SAFETY: join ends it with a NUL.
        let failure = unsafe { try_exec(candidate.as_ptr(), argv, envp) };
        match failure {
            (Step::Exec, sys::ENOENT | sys::ENOTDIR) => {}
            // Not executable here; there may be another one further on (execvp(3)).
            (Step::Exec, sys::EACCES) => result = failure,
            other => return other,
        }
    }
    result
}

/// # Safety
/// As `execve`.
unsafe fn try_exec(path: *const u8, argv: *const *const u8, envp: *const *const u8) -> Failure {
    // SAFETY: as promised by the caller.
    let errno = unsafe { sys::execve(path, argv, envp) };
    // SAFETY: as promised by the caller.
    if errno == sys::ENOENT && unsafe { sys::exists(path) } {
        return (Step::Interpreter, errno);
    }
    (Step::Exec, errno)
}

/// # Safety
/// `envp` ends with NULL.
unsafe fn path_of(envp: *const *const u8) -> &'static [u8] {
    let mut variable = envp;
    // SAFETY: the loop stops at the NULL.
    unsafe {
        while !(*variable).is_null() {
            if let Some(path) = sys::bytes(*variable).strip_prefix(b"PATH=") {
                return path;
            }
            variable = variable.add(1);
        }
    }
    b""
}

/// Write `directory/name` and a NUL into `buffer`.
fn join(buffer: &mut [u8; PATH_MAX], directory: &[u8], name: &[u8]) -> Option<()> {
    let end = directory.len() + 1 + name.len();
    if end >= PATH_MAX {
        return None;
    }
    let bytes = directory.iter().chain(b"/").chain(name).chain(b"\0");
    for (slot, &byte) in buffer.iter_mut().zip(bytes) {
        *slot = byte;
    }
    Some(())
}
