//! Becoming the application: who it will be, its terminal, its signals, execve.

use crate::arguments::Arguments;
use crate::{Failure, Step, credentials, exec, reaper, report, seccomp, sys, terminal};

/// `REPORT UID GID GROUPS CAPABILITIES FLAGS TERMINAL ROWS COLUMNS`, the same for both ways in.
pub struct Application {
    pub report: i32,
    uid: u32,
    gid: u32,
    groups: *const u8,
    capabilities: u64,
    flags: u64,
    /// The socket that the terminal's other side goes out by; 0 for no terminal.
    terminal: i32,
    rows: u16,
    columns: u16,
}

const NO_NEW_PRIVILEGES: u64 = 1;
const DIE_WITH_PARENT: u64 = 2;
const SECCOMP: u64 = 4;
const REAP: u64 = 8;
/// From this bit on: standard input, output and error are the container's `/dev/null`.
const NULL: u64 = 16;

/// The role `exec`: this process is pid 1 already. Returns its exit status when it did not become the application.
///
/// # Safety
/// The arguments and `envp` end with NULL.
pub unsafe fn main(mut arguments: Arguments, envp: *const *const u8) -> Option<i32> {
    let application = Application::read(&mut arguments)?;
    let command = arguments.rest()?;
    // From here on the end of the report pipe means that the application has been exec'ed.
    sys::set_close_on_exec(application.report);
    // SAFETY: as promised by the caller.
    let (step, errno) = unsafe { application.become_it(command, envp) };
    report(application.report, step, errno);
    Some(125)
}

impl Application {
    pub fn read(arguments: &mut Arguments) -> Option<Self> {
        Some(Self {
            report: arguments.descriptor()?,
            uid: arguments.id()?,
            gid: arguments.id()?,
            groups: arguments.pointer()?,
            capabilities: arguments.number()?,
            flags: arguments.number()?,
            terminal: arguments.descriptor()?,
            rows: u16::try_from(arguments.number()?).ok()?,
            columns: u16::try_from(arguments.number()?).ok()?,
        })
    }

    /// The order of events. Returns only when one of them failed.
    ///
    /// # Safety
    /// `command` and `envp` end with NULL.
    pub unsafe fn become_it(&self, command: *const *const u8, envp: *const *const u8) -> Failure {
        match self.prepare() {
            // SAFETY: as promised by the caller.
            Ok(()) if self.flags & REAP != 0 => unsafe {
                reaper::exec_below(self.report, self.terminal != 0, command, envp)
            },
            Ok(()) => match credentials::reset_signals() {
                // SAFETY: as promised by the caller.
                Ok(()) => unsafe { exec::exec(command, envp) },
                Err(failure) => failure,
            },
            Err(failure) => failure,
        }
    }

    fn prepare(&self) -> Result<(), Failure> {
        if self.terminal != 0 {
            // While this is still root: the terminal becomes the user's.
            terminal::open(self.terminal, self.rows, self.columns, self.uid)?;
        }
        for number in (0..3).filter(|number| self.flags & NULL << number != 0) {
            open_null(number)?;
        }
        credentials::leave_keyring()?;
        if self.flags & SECCOMP != 0 {
            seccomp::refuse_system_calls()?;
        }
        credentials::limit_bounding_set(self.capabilities)?;
        credentials::become_user(self.groups, self.gid, self.uid)?;
        credentials::set_capabilities(self.uid, self.capabilities)?;
        if self.flags & NO_NEW_PRIVILEGES != 0 {
            credentials::forbid_new_privileges()?;
        }
        if self.flags & DIE_WITH_PARENT != 0 {
            // After the credentials: changing them clears the signal (prctl(2)).
            credentials::die_with_parent(self.report)?;
        }
        Ok(())
    }
}

/// Put the container's `/dev/null` in place of a standard stream. Somebody in there may have replaced it by something
/// else, which must not be taken for it.
fn open_null(number: i32) -> Result<(), Failure> {
    let failed = |errno| (Step::Null, errno);
    let flags = sys::O_RDWR | sys::O_NOCTTY | sys::O_NOFOLLOW | sys::O_CLOEXEC;
    let fd = sys::open_at(sys::AT_FDCWD, b"/dev/null\0", flags, 0).map_err(failed)?;
    if !terminal::is_device(fd, 1, 3).map_err(failed)? {
        return Err((Step::Null, sys::ENODEV));
    }
    sys::duplicate_onto(fd, number).map_err(failed)?;
    sys::close(fd);
    Ok(())
}
