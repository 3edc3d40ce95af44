//! What the command line does while a foreground container runs: forward signals, carry bytes between a terminal and
//! the container's pipes, and wait. One thread, one poll(2).
//!
//! Signals are blocked before the container is spawned and read from a signalfd(2) afterwards, so none is lost in
//! between and no handler ever runs.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag};
use nix::libc::{self, c_int};

use crate::sys::{self, Result};

/// After this many SIGINT and SIGTERM nobody listens inside; the next thing the person at the terminal gets is an end.
pub const PATIENCE: u32 = 3;
/// How much is carried at once.
const PIECE: usize = 64 * 1024;
/// Small enough that a write to a terminal that poll(2) says is writable does not block.
const SMALL: usize = 4096;

/// Left alone: what cannot be caught, what is about a fault or the child of this process itself, and job control
/// (Ctrl-Z stops the caller, as any other program).
const NOT_FORWARDED: [c_int; 14] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGCHLD,
    libc::SIGPIPE,
    libc::SIGURG,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
];

fn forwarded() -> libc::sigset_t {
    // SAFETY: an all-zero set is valid memory, and sigfillset makes it a set.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut set);
        for signal in NOT_FORWARDED {
            libc::sigdelset(&raw mut set, signal);
        }
        set
    }
}

/// Block the signals that `attend` forwards, in the calling thread. They wait until then.
pub fn block_signals() -> Result<()> {
    let set = forwarded();
    // SAFETY: a valid set; the old mask is not wanted.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => Ok(()),
        errno => Err(Errno::from_raw(errno)),
    }
}

/// Bytes on their way from one descriptor to another.
pub struct Relay {
    source: Option<OwnedFd>,
    target: Option<OwnedFd>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// How much may be written at once without blocking.
    write_at_once: usize,
}

impl Relay {
    /// From `source` to `target`, both closed when the source ends.
    ///
    /// A pipe among them is ours alone and becomes non-blocking; of anything else the caller holds other copies, for
    /// which it has to stay as it is.
    pub fn new(source: OwnedFd, target: OwnedFd) -> Result<Self> {
        let kind = |fd: &OwnedFd| Ok(sys::stat(fd.as_fd())?.st_mode & libc::S_IFMT);
        for fd in [&source, &target] {
            if kind(fd)? == libc::S_IFIFO {
                nix::fcntl::fcntl(fd.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK | access_mode(fd)?))?;
            }
        }
        let write_at_once = if kind(&target)? == libc::S_IFCHR { SMALL } else { PIECE };
        let (source, target) = (Some(source), Some(target));
        Ok(Self { source, target, buffer: vec![0; PIECE], start: 0, end: 0, write_at_once })
    }

    fn pending(&self) -> bool {
        self.start < self.end
    }

    /// What to wait for: room while there is something to write, something to read otherwise.
    fn poll(&self) -> libc::pollfd {
        let (fd, events) = if self.pending() { (&self.target, libc::POLLOUT) } else { (&self.source, libc::POLLIN) };
        libc::pollfd { fd: fd.as_ref().map_or(-1, AsRawFd::as_raw_fd), events, revents: 0 }
    }

    /// One read or one write.
    fn advance(&mut self) {
        let (Some(source), Some(target)) = (&self.source, &self.target) else {
            return;
        };
        if self.pending() {
            let end = self.end.min(self.start + self.write_at_once);
            let rest = self.buffer.get(self.start..end).unwrap_or(&[]);
            // SAFETY: the slice is valid memory.
            let n = unsafe { libc::write(target.as_raw_fd(), rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(n) {
                Ok(n) => self.start += n,
                Err(_) if matches!(Errno::last(), Errno::EINTR | Errno::EAGAIN) => {}
                // The reader has gone. What is left is read on and thrown away, or the writer would block for ever.
                Err(_) => self.start = self.end,
            }
            return;
        }
        // SAFETY: the buffer is valid memory.
        let n = unsafe { libc::read(source.as_raw_fd(), self.buffer.as_mut_ptr().cast(), self.buffer.len()) };
        match usize::try_from(n) {
            Ok(0) => self.close(),
            Ok(n) => (self.start, self.end) = (0, n),
            Err(_) if matches!(Errno::last(), Errno::EINTR | Errno::EAGAIN) => {}
            Err(_) => self.close(),
        }
    }

    fn close(&mut self) {
        self.source = None;
        self.target = None;
    }

    fn is_open(&self) -> bool {
        self.source.is_some()
    }
}

/// How it went.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The process has ended and can be reaped.
    Ended,
    /// The time was over first.
    TimedOut,
}

/// Forward signals and carry bytes until the process behind `pidfd` has ended and its output is through, or until
/// `deadline`. `block_signals` must have been called in this thread.
pub fn attend(
    pidfd: BorrowedFd<'_>,
    deadline: Option<Instant>,
    mut input: Option<Relay>,
    mut outputs: Vec<Relay>,
) -> Result<End> {
    let signals = forwarded_signals()?;
    let mut interrupts = 0;
    let mut running = true;
    loop {
        if !running && !outputs.iter().any(Relay::is_open) {
            return Ok(End::Ended);
        }
        // Everything inside has ended with its pid 1: what is not in the pipes by now will never come, even if some
        // process out here has inherited a copy of their other end and keeps them open.
        let draining = !running && !outputs.iter().any(Relay::pending);
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if running && left.is_some_and(|left| left.is_zero()) {
            return Ok(End::TimedOut);
        }
        let watch = |fd: RawFd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let alive = |fd: RawFd| watch(if running { fd } else { -1 });
        let mut polls = vec![alive(signals.as_raw_fd()), alive(pidfd.as_raw_fd())];
        polls.push(input.as_ref().filter(|_| running).map_or_else(|| watch(-1), Relay::poll));
        polls.extend(outputs.iter().map(Relay::poll));
        let ready = wait(&mut polls, if draining { Some(Duration::ZERO) } else { left.filter(|_| running) })?;
        if draining && ready == 0 {
            return Ok(End::Ended);
        }
        let mut ready = polls.iter().map(|poll| poll.revents != 0);
        if ready.next() == Some(true) {
            for signal in take_signals(signals.as_fd()) {
                if matches!(signal, libc::SIGINT | libc::SIGTERM) {
                    interrupts += 1;
                }
                let signal = if interrupts >= PATIENCE { libc::SIGKILL } else { signal };
                // It may have ended just now.
                let _ = sys::send_signal(pidfd, signal);
            }
        }
        if ready.next() == Some(true) {
            running = false;
        }
        if ready.next() == Some(true)
            && let Some(relay) = &mut input
        {
            relay.advance();
        }
        for (relay, ready) in outputs.iter_mut().zip(ready) {
            if ready {
                relay.advance();
            }
        }
    }
}

fn access_mode(fd: &OwnedFd) -> Result<OFlag> {
    Ok(OFlag::from_bits_truncate(nix::fcntl::fcntl(fd.as_fd(), FcntlArg::F_GETFL)?) & OFlag::O_ACCMODE)
}

/// A descriptor that the signals which `block_signals` blocks are read from.
pub fn forwarded_signals() -> Result<OwnedFd> {
    let set = forwarded();
    // SAFETY: a valid set; a new descriptor is asked for.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(Errno::last());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Those that are pending.
pub fn take_signals(signals: BorrowedFd<'_>) -> Vec<c_int> {
    let mut taken = Vec::new();
    loop {
        // SAFETY: an all-zero siginfo is valid, and the kernel fills it.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: info is valid memory of that size.
        let n = unsafe { libc::read(signals.as_raw_fd(), (&raw mut info).cast(), size) };
        if n != size as isize {
            return taken;
        }
        taken.push(info.ssi_signo as c_int);
    }
}

/// ppoll(2); how many are ready, 0 also when a signal came.
pub fn wait(polls: &mut [libc::pollfd], timeout: Option<Duration>) -> Result<usize> {
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs() as libc::time_t,
        tv_nsec: timeout.subsec_nanos() as libc::c_long,
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: an array of pollfd with its length, and a timespec or null.
    let n = unsafe { libc::ppoll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, timeout, std::ptr::null()) };
    match usize::try_from(n) {
        Ok(n) => Ok(n),
        Err(_) if Errno::last() == Errno::EINTR => Ok(0),
        Err(_) => Err(Errno::last()),
    }
}
