//! A person, or a pipe, at a container that has a monitor or a terminal: carry bytes both ways, follow the window's
//! size, forward signals, watch for the keys that detach. One thread, one poll(2).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag};
use nix::libc::{self, c_int};

use crate::attend::{PATIENCE, forwarded_signals, take_signals, wait};
use crate::sys::{self, Result};
use crate::terminal::{self, Raw};

/// Messages of the monitor (rust/init/clients.rs has the other side).
mod message {
    pub const INPUT: u8 = 0;
    pub const RESIZE: u8 = 1;
    pub const END_OF_INPUT: u8 = 2;
    pub const DETACH: u8 = 3;
    pub const STDOUT: u8 = 1;
    pub const STDERR: u8 = 2;
    pub const EXITED: u8 = 3;
}

/// A message's bytes at most, to and from the monitor.
const INPUT_MAX: usize = 4096;
const OUTPUT_MAX: usize = 64 * 1024;

/// What is on the other side.
pub enum Peer {
    /// The monitor's socket.
    Monitor(OwnedFd),
    /// The master of a terminal whose process is this one's child.
    Master(OwnedFd),
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The container, or the process, has ended; with its status if the monitor said it.
    Exited(Option<i32>),
    /// The keys were typed.
    Detached,
    /// The other side has gone without a word.
    Lost,
    /// A signal that was not to be forwarded.
    Signal(c_int),
}

/// What the caller wants.
pub struct Wishes {
    /// Where input comes from; None for nowhere.
    pub stdin: Option<OwnedFd>,
    /// Where output goes.
    pub stdout: OwnedFd,
    /// See `stdout`.
    pub stderr: OwnedFd,
    /// Switch the terminal on stdin to raw mode, and follow its size.
    pub tty: bool,
    /// The keys that detach; empty for none.
    pub keys: Vec<u8>,
    /// Who gets the signals that come here; None: they end the session.
    pub forward: Option<OwnedFd>,
    /// After three requests to end it, end it.
    pub insist: bool,
}

struct Session<'a> {
    peer: &'a Peer,
    wishes: &'a Wishes,
    raw: Option<Raw>,
    keys: Keys<'a>,
    /// Read and not sent yet.
    input: Vec<u8>,
    input_ended: bool,
    /// The end of the input has been passed on.
    end_sent: bool,
    requests: u32,
}

/// Carry on until it ends. `block_signals` must have been called in this thread. `process`: readable when the process
/// behind a master has ended.
pub fn run(peer: &Peer, wishes: &Wishes, process: Option<BorrowedFd<'_>>) -> Result<End> {
    let signals = forwarded_signals()?;
    if let Peer::Master(master) = peer {
        // Nobody else has this description of it: the container holds the other side.
        nix::fcntl::fcntl(master, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))?;
    }
    let stdin = wishes.stdin.as_ref().map(AsFd::as_fd);
    let raw = stdin.filter(|_| wishes.tty).map(Raw::new).transpose()?;
    let mut session = Session {
        peer,
        wishes,
        raw,
        keys: Keys::new(&wishes.keys),
        input: Vec::with_capacity(INPUT_MAX),
        input_ended: stdin.is_none(),
        end_sent: false,
        requests: 0,
    };
    session.resize();
    loop {
        let has_input = !session.input.is_empty();
        let poll = |fd: RawFd, events| libc::pollfd { fd, events, revents: 0 };
        let peer_events = libc::POLLIN | if has_input { libc::POLLOUT } else { 0 };
        let reads = !has_input && !session.input_ended;
        let mut polls = [
            poll(signals.as_raw_fd(), libc::POLLIN),
            poll(session.peer.fd(), peer_events),
            poll(stdin.filter(|_| reads).map_or(-1, |fd| fd.as_raw_fd()), libc::POLLIN),
            poll(process.map_or(-1, |fd| fd.as_raw_fd()), libc::POLLIN),
        ];
        wait(&mut polls, None)?;
        let [signal, peer, input, process_end] = polls.map(|poll| poll.revents);
        if signal != 0
            && let Some(end) = session.take_signals(signals.as_fd())
        {
            return Ok(end);
        }
        if peer & libc::POLLOUT != 0 {
            session.send_input()?;
        }
        if peer & (libc::POLLIN | libc::POLLHUP | libc::POLLERR) != 0
            && let Some(end) = session.take_output(process.is_some())?
        {
            return Ok(end);
        }
        if input != 0
            && let Some(end) = session.read_input()?
        {
            return Ok(end);
        }
        if process_end != 0 {
            session.drain()?;
            return Ok(End::Exited(None));
        }
    }
}

impl Peer {
    fn fd(&self) -> RawFd {
        let (Self::Monitor(fd) | Self::Master(fd)) = self;
        fd.as_raw_fd()
    }
}

impl Session<'_> {
    fn resize(&self) {
        let Some(size) = self.raw.as_ref().and(self.wishes.stdin.as_ref()).and_then(|fd| terminal::size(fd.as_fd()))
        else {
            return;
        };
        match self.peer {
            Peer::Master(master) => terminal::set_size(master.as_fd(), size),
            Peer::Monitor(_) => {
                let [a, b] = size.0.to_ne_bytes();
                let [c, d] = size.1.to_ne_bytes();
                // The next change of the size tells it again.
                let _ = self.send(&[message::RESIZE, a, b, c, d]);
            }
        }
    }

    /// write(2) without waiting: a whole message to the monitor, some bytes to a master.
    fn send(&self, bytes: &[u8]) -> Result<usize> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let n = match self.peer {
            // SAFETY: the slice is valid memory.
            Peer::Monitor(fd) => unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) },
            // SAFETY: as above.
            Peer::Master(fd) => unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) },
        };
        usize::try_from(n).map_err(|_| Errno::last())
    }

    fn send_input(&mut self) -> Result<()> {
        let sent = match self.peer {
            Peer::Master(_) => self.send(&self.input),
            Peer::Monitor(_) => {
                let mut message = Vec::with_capacity(1 + self.input.len());
                message.push(message::INPUT);
                message.extend_from_slice(&self.input);
                self.send(&message).map(|_| self.input.len())
            }
        };
        match sent {
            Ok(count) => drop(self.input.drain(..count)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // Gone: what it had to say before is still to be read.
            Err(_) => self.input.clear(),
        }
        if self.input.is_empty() && self.input_ended {
            self.end_input();
        }
        Ok(())
    }

    fn end_input(&mut self) {
        if !self.end_sent && matches!(self.peer, Peer::Monitor(_)) {
            // It fails only when the other side has gone.
            let _ = self.send(&[message::END_OF_INPUT]);
        }
        self.end_sent = true;
    }

    fn read_input(&mut self) -> Result<Option<End>> {
        let Some(stdin) = &self.wishes.stdin else { return Ok(None) };
        let mut buffer = [0u8; INPUT_MAX];
        // SAFETY: the buffer is valid memory.
        let n = unsafe { libc::read(stdin.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        let bytes = match usize::try_from(n) {
            Ok(0) => &[][..],
            Ok(length) => buffer.get(..length).unwrap_or(&[]),
            Err(_) if matches!(Errno::last(), Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(_) => &[],
        };
        if bytes.is_empty() {
            self.input_ended = true;
            self.input.extend(self.keys.rest());
            if self.input.is_empty() {
                self.end_input();
            }
        } else if self.keys.filter(bytes, &mut self.input) {
            if !self.input.is_empty() {
                self.send_input()?;
            }
            if matches!(self.peer, Peer::Monitor(_)) {
                let _ = self.send(&[message::DETACH]);
            }
            return Ok(Some(End::Detached));
        }
        if !self.input.is_empty() {
            self.send_input()?;
        }
        Ok(None)
    }

    /// One message, or one read.
    fn take_output(&self, has_process: bool) -> Result<Option<End>> {
        let mut buffer = [0u8; OUTPUT_MAX];
        // SAFETY: the buffer is valid memory.
        let n = unsafe { libc::read(self.peer.fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        let bytes = match usize::try_from(n) {
            Ok(0) => &[][..],
            Ok(length) => buffer.get(..length).unwrap_or(&[]),
            Err(_) if matches!(Errno::last(), Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Err(_) => &[],
        };
        match (self.peer, bytes.split_first()) {
            (Peer::Monitor(_), None) => return Ok(Some(End::Lost)),
            // Nobody has the terminal open: wait for the process's end, or for somebody who opens it.
            (Peer::Master(_), None) if has_process => std::thread::sleep(std::time::Duration::from_millis(2)),
            (Peer::Master(_), None) => return Ok(Some(End::Lost)),
            (Peer::Master(_), Some(_)) => write(&self.wishes.stdout, bytes),
            (Peer::Monitor(_), Some((&kind, rest))) => match kind {
                message::STDOUT => write(&self.wishes.stdout, rest),
                message::STDERR => write(&self.wishes.stderr, rest),
                message::EXITED => {
                    let status = rest.first_chunk::<4>().map(|bytes| i32::from_ne_bytes(*bytes));
                    return Ok(Some(End::Exited(status)));
                }
                _ => {}
            },
        }
        Ok(None)
    }

    /// What the terminal still holds after its process has ended.
    fn drain(&self) -> Result<()> {
        loop {
            let mut polls = [libc::pollfd { fd: self.peer.fd(), events: libc::POLLIN, revents: 0 }];
            let ready = wait(&mut polls, Some(std::time::Duration::ZERO))?;
            if ready == 0 || polls[0].revents & libc::POLLIN == 0 || self.take_output(false)?.is_some() {
                return Ok(());
            }
        }
    }

    fn take_signals(&mut self, signals: BorrowedFd<'_>) -> Option<End> {
        for signal in take_signals(signals) {
            match signal {
                libc::SIGWINCH => self.resize(),
                libc::SIGCONT => {
                    if let Some(raw) = &self.raw {
                        // The terminal may have gone meanwhile.
                        let _ = raw.enter();
                    }
                    self.resize();
                }
                signal => {
                    if matches!(signal, libc::SIGINT | libc::SIGTERM) {
                        self.requests += 1;
                    }
                    let Some(target) = &self.wishes.forward else {
                        if matches!(signal, libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT) {
                            return Some(End::Signal(signal));
                        }
                        continue;
                    };
                    let gives_up = self.requests >= PATIENCE;
                    if gives_up && !self.wishes.insist {
                        return Some(End::Signal(signal));
                    }
                    // It may have ended just now.
                    let _ = sys::send_signal(target.as_fd(), if gives_up { libc::SIGKILL } else { signal });
                }
            }
        }
        None
    }
}

/// All of it; somebody who has stopped reading misses the rest.
fn write(fd: &OwnedFd, bytes: &[u8]) {
    let _ = sys::write_all(fd.as_fd(), bytes);
}

/// The keys that detach, in a stream of input: what may be their beginning is held back until it is known.
struct Keys<'a> {
    keys: &'a [u8],
    matched: usize,
}

impl<'a> Keys<'a> {
    fn new(keys: &'a [u8]) -> Self {
        Self { keys, matched: 0 }
    }

    /// Append to `output` what is to be passed on; whether the keys were typed.
    fn filter(&mut self, bytes: &[u8], output: &mut Vec<u8>) -> bool {
        if self.keys.is_empty() {
            output.extend_from_slice(bytes);
            return false;
        }
        for &byte in bytes {
            if self.keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return true;
                }
                continue;
            }
            output.extend_from_slice(self.rest());
            if self.keys.first() == Some(&byte) {
                self.matched = 1;
            } else {
                output.push(byte);
            }
        }
        false
    }

    /// What has been held back.
    fn rest(&mut self) -> &'a [u8] {
        let held = self.keys.get(..self.matched).unwrap_or(&[]);
        self.matched = 0;
        held
    }
}

#[cfg(test)]
mod tests {
    use super::Keys;

    fn typed(keys: &[u8], pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut filter = Keys::new(keys);
        let mut output = Vec::new();
        let detached = pieces.iter().any(|piece| filter.filter(piece, &mut output));
        if !detached {
            output.extend_from_slice(filter.rest());
        }
        (output, detached)
    }

    #[test]
    fn keys_detach_wherever_the_reads_divide_them() {
        assert_eq!(typed(b"\x10\x11", &[b"ls\x10\x11"]), (b"ls".to_vec(), true));
        assert_eq!(typed(b"\x10\x11", &[b"ls\x10", b"\x11"]), (b"ls".to_vec(), true));
    }

    #[test]
    fn their_beginning_alone_is_input() {
        assert_eq!(typed(b"\x10\x11", &[b"\x10", b"x"]), (b"\x10x".to_vec(), false));
        assert_eq!(typed(b"\x10\x11", &[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(typed(b"\x10\x11", &[b"\x10"]), (b"\x10".to_vec(), false));
    }

    #[test]
    fn without_keys_everything_is_input() {
        assert_eq!(typed(b"", &[b"\x10\x11"]), (b"\x10\x11".to_vec(), false));
    }
}
