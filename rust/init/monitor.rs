//! The role `monitor`: the parent of a container that nobody waits for.
//!
//! It holds the container's lock, so a free lock says that it is gone; writes the log; serves who is attached; and
//! writes down how the container ended. What comes then (removal, the next start of a restart policy) is Python's:
//! this program becomes it, with the lock still held.

use crate::arguments::Arguments;
use crate::clients::{self, Clients, Said};
use crate::ending::Settings;
use crate::log::Log;
use crate::sys::{self, Poll};
use crate::{descriptor, socket};

const TERMINAL: u64 = 1;
const STDIN: u64 = 2;
const CLIENT: u64 = 4;
/// Standard input ends with that of the first client.
const STDIN_ONCE: u64 = 8;
/// The container goes with the client in the foreground.
const LIFELINE: u64 = 16;

const CHUNK: usize = 16 * 1024;
const MESSAGE: usize = 4096;
/// No terminal holds more, in bytes.
const TERMINAL_HOLDS: usize = 256 * 1024;
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
const SIGNALS: u64 = 1 << (SIGTERM - 1);

/// # Safety
/// The arguments and `envp` end with NULL.
pub unsafe fn main(mut arguments: Arguments, envp: *const *const u8) -> Option<i32> {
    let settings = Settings::read(&mut arguments)?;
    sys::close_from(descriptor::END);
    let mut go = [0];
    let said = sys::read(descriptor::GO, &mut go);
    sys::close(descriptor::GO);
    // Without that byte nobody knows of this container: the caller gave up, or was killed.
    if said != Ok(1) || go[0] != b'g' {
        sys::signal_descriptor_target(descriptor::PIDFD, SIGKILL);
        let _ = sys::wait(descriptor::PIDFD);
        return Some(0);
    }
    let mut monitor = Monitor::new(&settings);
    let status = monitor.run();
    // SAFETY: the rest of the arguments and envp end with NULL.
    unsafe { settings.finish(status, &mut monitor.clients, arguments, envp) };
    Some(0)
}

/// The loop's state. All that is big is in here, and none of it grows.
struct Monitor {
    log: Log,
    clients: Clients,
    is_terminal: bool,
    flags: u64,
    stdin: i32,
    /// The container's output, and its streams' numbers for clients.
    outputs: [i32; 2],
    chunk: [u8; CHUNK],
    chunk_length: usize,
    chunk_kind: u8,
    message: [u8; MESSAGE + 1],
    /// What of the message is still to be written to standard input.
    input: (usize, usize),
    input_ends: bool,
    /// Nobody has the terminal open at the moment: look again in a while.
    is_hung_up: bool,
    /// Nobody can be let in at the moment: the same.
    is_deaf: bool,
}

impl Monitor {
    fn new(settings: &Settings) -> Self {
        let flags = settings.flags;
        let is_terminal = flags & TERMINAL != 0;
        let master = if is_terminal { socket::receive_descriptor(descriptor::TERMINAL) } else { -1 };
        let outputs = if is_terminal { [master, -1] } else { [descriptor::STDOUT, descriptor::STDERR] };
        let stdin = match (flags & STDIN != 0, is_terminal) {
            (true, true) => master,
            (true, false) => descriptor::STDIN,
            _ => -1,
        };
        for fd in [outputs[0], outputs[1], stdin] {
            if fd >= 0 {
                sys::set_nonblocking(fd);
            }
        }
        Self {
            log: Log::new(descriptor::LOG, descriptor::DIRECTORY, settings.max_size, settings.max_files),
            clients: Clients::new(if flags & CLIENT != 0 { descriptor::CLIENT } else { -1 }),
            is_terminal,
            flags,
            stdin,
            outputs,
            chunk: [0; CHUNK],
            chunk_length: 0,
            chunk_kind: clients::STDOUT,
            message: [0; MESSAGE + 1],
            input: (0, 0),
            input_ends: false,
            is_hung_up: false,
            is_deaf: false,
        }
    }

    /// Until the container has ended and its output is through: its exit status.
    fn run(&mut self) -> i32 {
        let signals = sys::signal_descriptor(SIGNALS).unwrap_or(-1);
        loop {
            let is_owed = self.clients.owed();
            let has_input = self.input.0 < self.input.1;
            let output = |fd: i32| Poll::new(if is_owed || self.is_hung_up { -1 } else { fd }, sys::POLLIN);
            let mut polls = [Poll::new(-1, 0); 6 + clients::MAX];
            polls[0] = Poll::new(descriptor::PIDFD, sys::POLLIN);
            polls[1] = Poll::new(signals, sys::POLLIN);
            polls[2] = Poll::new(if self.is_deaf { -1 } else { descriptor::LISTENER }, sys::POLLIN);
            polls[3] = output(self.outputs[0]);
            polls[4] = output(self.outputs[1]);
            polls[5] = Poll::new(if has_input { self.stdin } else { -1 }, sys::POLLOUT);
            polls[6..].copy_from_slice(&self.clients.polls(!has_input));
            // Not more than are there: the kernel takes no more than this process may have open.
            let used = polls.iter().rposition(|poll| poll.fd >= 0).map_or(0, |last| last + 1);
            sys::poll(polls.get_mut(..used).unwrap_or(&mut []), if self.is_hung_up || self.is_deaf { 100 } else { -1 });
            (self.is_hung_up, self.is_deaf) = (false, false);
            let ready = |index: usize| polls.get(index).is_some_and(|poll| poll.revents != 0);
            if ready(0) {
                break;
            }
            if ready(1) {
                self.take_signals(signals);
            }
            if ready(2) {
                self.is_deaf = !self.clients.accept(descriptor::LISTENER);
            }
            if ready(5) {
                self.feed();
            }
            if is_owed {
                self.clients.send_again(self.chunk_kind, self.chunk.get(..self.chunk_length).unwrap_or(&[]));
            } else {
                for index in [0, 1] {
                    if ready(3 + index) && !self.clients.owed() {
                        self.carry(index);
                    }
                }
            }
            for place in 0..clients::MAX {
                let revents = polls[6 + place].revents;
                let has_gone = revents & (sys::POLLHUP | sys::POLLERR) != 0;
                if has_gone || revents & sys::POLLIN != 0 {
                    self.listen(place, has_gone);
                }
            }
        }
        // It cannot fail: this process is the parent, and waits only here.
        let status = sys::wait(descriptor::PIDFD).unwrap_or(-SIGKILL);
        self.drain();
        status
    }

    /// Everything inside has ended with pid 1: what is in the pipes now is all there will be of it. Not more than they
    /// hold, because somebody outside may have been given an end, and write for ever.
    fn drain(&mut self) {
        self.clients.settle(self.chunk_kind, self.chunk.get(..self.chunk_length).unwrap_or(&[]));
        for index in [0, 1] {
            let mut left = sys::pipe_size(self.outputs[index]).unwrap_or(TERMINAL_HOLDS);
            while left > 0 && self.carry(index) {
                left = left.saturating_sub(self.chunk_length);
                self.clients.settle(self.chunk_kind, self.chunk.get(..self.chunk_length).unwrap_or(&[]));
            }
        }
    }

    /// One read of an output: into the log and to everybody. False when there is nothing (more).
    fn carry(&mut self, index: usize) -> bool {
        let Some(output) = self.outputs.get_mut(index).filter(|fd| **fd >= 0) else { return false };
        match sys::read(*output, &mut self.chunk) {
            Ok(0) => {
                sys::close(*output);
                *output = -1;
                false
            }
            Ok(length) => {
                let bytes = self.chunk.get(..length).unwrap_or(&[]);
                self.log.append(if index == 0 { b"stdout" } else { b"stderr" }, bytes);
                self.chunk_kind = if index == 0 { clients::STDOUT } else { clients::STDERR };
                self.chunk_length = length;
                self.clients.send(self.chunk_kind, bytes);
                true
            }
            Err(sys::EAGAIN | sys::EINTR) => false,
            // A terminal that nobody has open says EIO; somebody may open it again.
            Err(_) => {
                self.is_hung_up = true;
                false
            }
        }
    }

    fn listen(&mut self, place: usize, has_gone: bool) {
        let has_room = self.input.0 >= self.input.1;
        if !has_room {
            if has_gone && self.clients.note_gone(place) {
                self.lose_foreground();
            }
            return;
        }
        match self.clients.take(place, &mut self.message) {
            Said::Input(length) if self.stdin >= 0 => {
                self.input = (1, 1 + length);
                self.feed();
            }
            Said::Resize(rows, columns) if self.is_terminal => {
                const TIOCSWINSZ: usize = 0x5414;
                let size = [rows, columns, 0, 0];
                // It raises SIGWINCH inside.
                let _ = sys::ioctl(self.outputs[0], TIOCSWINSZ, size.as_ptr() as usize);
            }
            Said::EndOfInput => self.end_input(),
            Said::Gone(true) => self.lose_foreground(),
            Said::Gone(false) | Said::Input(_) | Said::Resize(..) | Said::Nothing => {}
        }
    }

    /// The caller in the foreground has gone, and did not say that the container stays.
    fn lose_foreground(&mut self) {
        if self.flags & LIFELINE != 0 {
            sys::signal_descriptor_target(descriptor::PIDFD, SIGKILL);
        }
    }

    /// Write to standard input what it takes now.
    fn feed(&mut self) {
        let (start, end) = self.input;
        match sys::write_some(self.stdin, self.message.get(start..end).unwrap_or(&[])) {
            Ok(count) => self.input.0 = start + count,
            Err(sys::EAGAIN | sys::EINTR) => {}
            // It has stopped reading: that is its right.
            Err(_) => self.input = (0, 0),
        }
        if self.input_ends && self.input.0 >= self.input.1 {
            self.end_input();
        }
    }

    fn end_input(&mut self) {
        if self.input.0 < self.input.1 {
            self.input_ends = true;
        } else if self.flags & STDIN_ONCE != 0 && !self.is_terminal {
            sys::close(self.stdin);
            self.stdin = -1;
        }
    }

    /// Whoever asks this process to end means the container.
    fn take_signals(&mut self, signals: i32) {
        let mut info = [0u8; 128];
        while sys::read(signals, &mut info).is_ok_and(|length| length == info.len()) {
            sys::signal_descriptor_target(descriptor::PIDFD, SIGTERM);
        }
    }
}
