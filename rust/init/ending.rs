//! The end of a kept container: what is written down, and whether Python has something to do then.

use crate::arguments::Arguments;
use crate::clients::Clients;
use crate::{credentials, descriptor, sys, template};

/// Python removes it at the end.
const REMOVE: u64 = 32;
const STOPPED: &[u8] = b"stopped\0";
const EXIT: &[u8] = b"exit.json\0";
/// The longest exit.json, in bytes.
const RECORD: usize = 256;

/// `FLAGS RESTART RETRIES DELAY MAX_SIZE MAX_FILES EXIT DIE STATE SOCKET ENDED…`.
pub struct Settings {
    pub flags: u64,
    restart: u64,
    /// How many are left of `on-failure:n`.
    retries: u64,
    /// Milliseconds before the next start.
    delay: u64,
    pub max_size: u64,
    pub max_files: u64,
    /// Templates of exit.json and of the event.
    exit: &'static [u8],
    die: &'static [u8],
    /// Names in the run directory, each with its NUL.
    state: &'static [u8],
    socket: &'static [u8],
}

mod restart {
    pub const ALWAYS: u64 = 1;
    pub const ON_FAILURE: u64 = 2;
}

impl Settings {
    pub fn read(arguments: &mut Arguments) -> Option<Self> {
        Some(Self {
            flags: arguments.number()?,
            restart: arguments.number()?,
            retries: arguments.number()?,
            delay: arguments.number()?,
            max_size: arguments.number()?,
            max_files: arguments.number()?,
            exit: arguments.bytes()?,
            die: arguments.bytes()?,
            state: arguments.with_nul()?,
            socket: arguments.with_nul()?,
        })
    }

    /// The order of events at the end. Whoever is attached is told when all that they can then look at says so.
    ///
    /// # Safety
    /// What is left of the arguments (Python's argv) and `envp` end with NULL.
    pub unsafe fn finish(&self, status: i32, clients: &mut Clients, python: Arguments, envp: *const *const u8) {
        self.write_down(status);
        sys::close(descriptor::LISTENER);
        sys::unlink_at(descriptor::RUN, self.socket);
        let is_removed = self.flags & REMOVE != 0;
        if !is_removed && !self.will_restart(status) {
            self.let_go();
            clients.say_exited(status);
            return;
        }
        clients.say_exited(status);
        let mut task: &[u8] = b"remove\0";
        if !is_removed {
            sys::poll(&mut [], i64::try_from(self.delay).unwrap_or(i64::MAX));
            // Asked again: somebody may have stopped it meanwhile.
            if !self.will_restart(status) {
                return self.let_go();
            }
            task = b"restart\0";
        }
        // SAFETY: as promised by the caller.
        unsafe { become_python(python, task, envp) };
    }

    /// Nobody owns the container any more: from here on it may be started again.
    fn let_go(&self) {
        sys::unlink_at(descriptor::RUN, self.state);
        sys::close(descriptor::DIRECTORY);
    }

    /// exit.json, and the event.
    fn write_down(&self, status: i32) {
        let text = template::fill::<RECORD>(self.exit, status);
        if text.whole && !replace(text.as_bytes()) {
            overwrite(text.as_bytes());
        }
        let event = template::fill::<8192>(self.die, status);
        // Opened only now: the file of that name is another one each time it has been full.
        let flags = sys::O_WRONLY | sys::O_CREAT | sys::O_APPEND | sys::O_CLOEXEC | sys::O_NOFOLLOW;
        if let Ok(fd) = sys::open_at(descriptor::RUN, b"events.log\0", flags, 0o600)
            && event.whole
        {
            let _ = sys::write_some(fd, event.as_bytes());
        }
    }

    fn will_restart(&self, status: i32) -> bool {
        let wanted = match self.restart {
            restart::ALWAYS => true,
            restart::ON_FAILURE => status != 0 && self.retries > 0,
            _ => false,
        };
        wanted && !sys::exists_at(descriptor::DIRECTORY, STOPPED)
    }
}

/// exit.json by a rename: whole or not at all. Whether it was.
fn replace(text: &[u8]) -> bool {
    let name: &[u8] = b".exit.json\0";
    let flags = sys::O_WRONLY | sys::O_CREAT | sys::O_TRUNC | sys::O_CLOEXEC | sys::O_NOFOLLOW;
    let Ok(fd) = sys::open_at(descriptor::DIRECTORY, name, flags, 0o600) else { return false };
    let written = sys::write_some(fd, text);
    sys::close(fd);
    if written == Ok(text.len()) {
        return sys::rename_at(descriptor::DIRECTORY, name, EXIT).is_ok();
    }
    sys::unlink_at(descriptor::DIRECTORY, name);
    false
}

/// On a full disk: the file from the start, which says that the end is unknown, has room for the truth. Who reads it while
/// the lock is held takes a torn one for "not over yet".
fn overwrite(text: &[u8]) {
    let Ok(fd) = sys::open_at(descriptor::DIRECTORY, EXIT, sys::O_WRONLY | sys::O_CLOEXEC | sys::O_NOFOLLOW, 0) else {
        return;
    };
    let mut padded = [b' '; RECORD];
    if let Some(start) = padded.get_mut(..text.len()) {
        start.copy_from_slice(text);
    }
    // A file system that has no room even for that leaves it unknown.
    let _ = sys::write_some(fd, &padded);
    sys::close(fd);
}

/// The rest of the arguments is Python's argv, to which the task is added. Descriptor 3 goes along.
///
/// # Safety
/// Both end with NULL.
unsafe fn become_python(mut arguments: Arguments, task: &[u8], envp: *const *const u8) {
    let mut argv = [core::ptr::null::<u8>(); 32];
    let mut count = 0;
    while let (Some(argument), Some(slot)) = (arguments.pointer(), argv.get_mut(count)) {
        *slot = argument;
        count += 1;
    }
    match argv.get_mut(count..count + 2) {
        Some([last, _null]) if count > 0 => *last = task.as_ptr(),
        _ => return,
    }
    sys::close_from(descriptor::DIRECTORY + 1);
    if credentials::reset_signals().is_ok() {
        // SAFETY: argv ends with a null pointer, envp as promised by the caller.
        unsafe { sys::execve(argv[0], argv.as_ptr(), envp) };
    }
}
