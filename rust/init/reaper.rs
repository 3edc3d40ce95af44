//! `--init`: this program stays as pid 1, the application is its child. It forwards signals and reaps orphans, which
//! the kernel hands to pid 1 (wait(2), pid_namespaces(7)).

use crate::{Failure, Step, credentials, exec, report, sys, terminal};

const SIGCHLD: i32 = 17;

/// Start the application as a child and wait for it. Returns only when it could not be started.
///
/// # Safety
/// `command` and `envp` end with NULL.
pub unsafe fn exec_below(to: i32, has_terminal: bool, command: *const *const u8, envp: *const *const u8) -> Failure {
    // All signals are blocked here, and stay so in pid 1: it takes them one by one.
    let child = match sys::fork(0) {
        Ok(0) => {
            // A group of its own, so that the terminal's keys reach it and not this program.
            let _ = sys::new_process_group();
            if has_terminal {
                terminal::take_foreground(sys::own_pid());
            }
            let (step, errno) = match credentials::reset_signals() {
                // SAFETY: as promised by the caller.
                Ok(()) => unsafe { exec::exec(command, envp) },
                Err(failure) => failure,
            };
            report(to, step, errno);
            sys::exit(125)
        }
        Ok(child) => child,
        Err(errno) => return (Step::Fork, errno),
    };
    // Its end means that the application has been exec'ed: only the child may hold it.
    sys::close(to);
    loop {
        match sys::next_signal() {
            SIGCHLD => {
                while let Some((pid, status)) = sys::reap() {
                    if pid == child {
                        // With this process everything inside ends.
                        sys::exit(if status & 0x7f == 0 { status >> 8 & 0xff } else { 128 + (status & 0x7f) });
                    }
                }
            }
            signal if signal > 0 => sys::kill(child, signal),
            _ => {}
        }
    }
}
