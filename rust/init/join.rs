//! The role `join`: into a container that runs, and become a process there.
//!
//! Hostile processes live in there. Before it enters, this program makes itself untouchable: without the dumpable flag
//! nobody inside can trace it, read its memory or open its descriptors (ptrace(2), CVE-2016-9962).

use crate::application::Application;
use crate::arguments::Arguments;
use crate::{Failure, Step, report, sys};

/// All that a container has: mount, cgroup, uts, ipc, pid and network.
const NAMESPACES: usize = 0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x2000_0000 | 0x4000_0000;

/// Behind the application's arguments: `TARGET CGROUPS CWD`, a pidfd of the container's pid 1, descriptors of the
/// `cgroup.procs` to write to, and the working directory.
struct Target {
    pidfd: i32,
    cgroups: &'static [u8],
    cwd: *const u8,
}

/// Enter, and let a child go on: the pid namespace is that of children only (setns(2)). The child's parent is the
/// process that waits for the report (CLONE_PARENT).
///
/// # Safety
/// The arguments and `envp` end with NULL.
pub unsafe fn main(mut arguments: Arguments, envp: *const *const u8) -> Option<i32> {
    let application = Application::read(&mut arguments)?;
    let target = Target { pidfd: arguments.descriptor()?, cgroups: arguments.bytes()?, cwd: arguments.pointer()? };
    let command = arguments.rest()?;
    sys::set_close_on_exec(application.report);
    match enter(&target) {
        Ok(0) => {}
        Ok(pid) => {
            report(application.report, Step::Joined, pid);
            return Some(0);
        }
        Err((step, errno)) => {
            report(application.report, step, errno);
            return Some(125);
        }
    }
    // SAFETY: cwd is an argument; command and envp as promised by the caller.
    let (step, errno) = unsafe {
        match settle(&target) {
            Ok(()) => application.become_it(command, envp),
            Err(failure) => failure,
        }
    };
    report(application.report, step, errno);
    Some(125)
}

/// In this order. The pid in the process that stays outside, 0 in the one that goes on inside.
fn enter(target: &Target) -> Result<i32, Failure> {
    const PR_SET_DUMPABLE: i32 = 4;
    sys::prctl(PR_SET_DUMPABLE, 0, 0).map_err(|errno| (Step::Dumpable, errno))?;
    for number in target.cgroups.split(|&byte| byte == b',').filter(|number| !number.is_empty()) {
        let fd = sys::digits(number).and_then(|fd| i32::try_from(fd).ok()).ok_or((Step::Cgroup, sys::EINVAL))?;
        // 0 means: the process that writes (cgroups(7)).
        sys::write_some(fd, b"0\n").map_err(|errno| (Step::Cgroup, errno))?;
        sys::close(fd);
    }
    sys::join(target.pidfd, NAMESPACES).map_err(|errno| (Step::Join, errno))?;
    sys::close(target.pidfd);
    sys::fork(sys::CLONE_PARENT).map_err(|errno| (Step::Fork, errno))
}

/// # Safety
/// `cwd` is NUL-terminated.
unsafe fn settle(target: &Target) -> Result<(), Failure> {
    // Away from the caller's terminal.
    let _ = sys::new_session();
    // SAFETY: as promised by the caller.
    unsafe { sys::change_directory(target.cwd) }.map_err(|errno| (Step::Cwd, errno))?;
    if !sys::working_directory_is_inside() {
        return Err((Step::Cwd, sys::ENOENT));
    }
    Ok(())
}
