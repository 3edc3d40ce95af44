//! One thread for each stage of a large layer: read and hash, decode, hash again, write.
//!
//! On two cores decoding takes one; reading, hashing and writing share the other. Each stage hands whole buffers
//! on ([`super::chunk`]) and ends when its neighbour has ended, whatever the reason.
use std::io::BufRead;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, Scope, ScopedJoinHandle, scope};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, syncfs};
use sha2::{Digest, Sha256};

use super::chunk::{Chunk, Message, Outlet, pipe};
use super::decoder::{Decoder, check_limits};
use super::error::{Error, Result};
use super::input::{Input, Raw, Stored, digest_of};
use super::source::{Source, Totals, stopped};
use crate::fs::Failure;

/// Buffers between two threads. They even out a file system that stops now and then (for its journal): 16 plain ones cost
/// a tenth of the speed, 128 gain nothing more. They are the memory that a layer takes, whatever its size.
const STORED: usize = 4;
const PLAIN: usize = 64;
/// How often somebody is asked whether to go on.
const TICK: Duration = Duration::from_millis(50);

/// How often what was written so far is sent to the disk.
const FLUSH: Duration = Duration::from_millis(500);

/// Read and decode `raw` in threads while `write` takes what they make, in a thread as well.
///
/// `interrupted` is asked now and then, in this thread; once it says yes, everything ends early. With `flush`, a
/// descriptor of the target's file system, the disk writes at the same time, so that a sync at the end is short.
pub(super) fn run<T: Send>(
    raw: Raw<'_>,
    flush: Option<OwnedFd>,
    write: impl FnOnce(Source<'_>) -> Result<T> + Send,
    mut interrupted: impl FnMut() -> bool,
) -> Result<T> {
    let stop = AtomicBool::new(false);
    // A thread that waits for a stream is woken by closing this pipe.
    let (waiting, waking) = pipe2(OFlag::O_CLOEXEC).map_err(Failure::at(""))?;
    scope(|threads| {
        let mut waking = Some(waking);
        let flushing = flush.map(|fd| Flushing::start(threads, fd)).transpose()?;
        let raw = raw.stopped_by(waiting.as_fd());
        let (stored, stored_in) = pipe(STORED);
        let (plain, plain_in) = pipe(PLAIN);
        let (done, outcome) = channel();
        let stop = &stop;
        start(threads, "read", move || read_ahead(raw, &stored))?;
        start(threads, "decode", move || decode(threads, Input::ahead(stored_in), &plain))?;
        start(threads, "write", move || {
            // Whoever waits below is still there: a scope ends last.
            let _ = done.send(write(Source::ahead(plain_in, stop)));
        })?;
        loop {
            match outcome.recv_timeout(TICK) {
                Ok(result) => {
                    drop(waking.take());
                    // The stages end with errors of their own then.
                    let result = if stop.load(Ordering::Relaxed) { result.map_err(|_| stopped()) } else { result };
                    let flushed = flushing.map_or(Ok(()), Flushing::end);
                    return result.and_then(|value| flushed.map(|()| value));
                }
                Err(RecvTimeoutError::Timeout) => {
                    if interrupted() {
                        stop.store(true, Ordering::Relaxed);
                        drop(waking.take());
                    }
                }
                // The writer panicked, which the scope passes on.
                Err(RecvTimeoutError::Disconnected) => return Err(stopped()),
            }
        }
    })
}

fn start<'scope, T: Send + 'scope>(
    threads: &'scope Scope<'scope, '_>,
    name: &str,
    stage: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    let started = Builder::new().name(format!("hyrun-{name}")).spawn_scoped(threads, stage);
    started.map_err(|error| {
        Error::System(Failure::at("a thread")(error.raw_os_error().map_or(Errno::EAGAIN, Errno::from_raw)))
    })
}

/// The thread that calls syncfs(2) now and then.
struct Flushing<'scope> {
    over: Sender<()>,
    thread: ScopedJoinHandle<'scope, nix::Result<()>>,
}

impl<'scope> Flushing<'scope> {
    fn start(threads: &'scope Scope<'scope, '_>, fd: OwnedFd) -> Result<Self> {
        let (over, waiting) = channel();
        let thread = start(threads, "flush", move || {
            while waiting.recv_timeout(FLUSH) == Err(RecvTimeoutError::Timeout) {
                syncfs(&fd)?;
            }
            Ok(())
        })?;
        Ok(Self { over, thread })
    }

    /// A disk's error is told once to each descriptor, so it has to be passed on.
    fn end(self) -> Result<()> {
        drop(self.over);
        let outcome = self.thread.join().unwrap_or(Err(Errno::EIO));
        Ok(outcome.map_err(Failure::at(""))?)
    }
}

/// The first stage: read and hash the stored bytes.
fn read_ahead(mut raw: Raw<'_>, outlet: &Outlet<std::result::Result<Stored, Errno>>) {
    while let Ok(mut chunk) = outlet.spare.recv() {
        let message = match raw.fill(&mut chunk) {
            Ok(()) if chunk.filled > 0 => Message::Bytes(chunk),
            Ok(()) => Message::End(Ok(raw.stored())),
            Err(errno) => Message::End(Err(errno)),
        };
        let last = matches!(message, Message::End(_));
        if outlet.full.send(message).is_err() || last {
            return;
        }
    }
}

/// The second stage: decode.
fn decode<'scope>(threads: &'scope Scope<'scope, '_>, input: Input<'_>, outlet: &Outlet<Result<Totals>>) {
    // The writer may have ended already, with an error of its own; then nobody wants these ones.
    match Decoder::new(input) {
        Err(error) => {
            let _ = outlet.full.send(Message::End(Err(error)));
        }
        Ok(Decoder::Plain(input)) => {
            if let Some(outcome) = forward(*input, outlet).transpose() {
                let _ = outlet.full.send(Message::End(outcome));
            }
        }
        Ok(mut decoder) => {
            let (full, hashed) = channel();
            let to = outlet.full.clone();
            if let Err(error) = start(threads, "hash", move || hash(&hashed, &to)) {
                let _ = outlet.full.send(Message::End(Err(error)));
            } else if let Some(outcome) = decode_all(&mut decoder, &full, &outlet.spare).transpose() {
                let _ = full.send(Message::End(outcome));
            }
        }
    }
}

/// Hand the stored bytes on as they are; None when nobody wants them any more.
fn forward(mut input: Input<'_>, outlet: &Outlet<Result<Totals>>) -> Result<Option<Totals>> {
    let mut size = 0;
    loop {
        let count = match input.fill_buf() {
            Ok(ready) => ready.len(),
            Err(error) => {
                let errno = input.failure().or(error.raw_os_error().map(Errno::from_raw)).unwrap_or(Errno::EIO);
                return Err(Failure::at("")(errno).into());
            }
        };
        if count == 0 {
            return Ok(input.stored().map(|stored| Totals::new(stored, None, size)));
        }
        size += count as u64;
        check_limits(size, size)?;
        let Ok(spare) = outlet.spare.recv() else {
            return Ok(None);
        };
        let chunk = input.exchange(Chunk { filled: 0, ..spare });
        if outlet.full.send(Message::Bytes(chunk)).is_err() {
            return Ok(None);
        }
    }
}

/// What was stored, and the bytes of its plain form.
type Decoded = (Stored, u64);

/// Decode everything; None when nobody wants it any more.
fn decode_all(
    decoder: &mut Decoder<'_>,
    full: &Sender<Message<Result<Decoded>>>,
    spare: &Receiver<Chunk>,
) -> Result<Option<Decoded>> {
    let mut size = 0;
    while let Ok(mut chunk) = spare.recv() {
        chunk.filled = decoder.fill(&mut chunk.bytes)?;
        if chunk.filled == 0 {
            return decoder.stored().map(|stored| Some((stored, size)));
        }
        size += chunk.filled as u64;
        check_limits(size, decoder.taken())?;
        if full.send(Message::Bytes(chunk)).is_err() {
            return Ok(None);
        }
    }
    Ok(None)
}

/// The third stage: hash the plain bytes and hand them on. Errors keep their place behind the bytes before them.
fn hash(inlet: &Receiver<Message<Result<Decoded>>>, outlet: &Sender<Message<Result<Totals>>>) {
    let mut hasher = Sha256::new();
    while let Ok(message) = inlet.recv() {
        let message = match message {
            Message::Bytes(chunk) => {
                hasher.update(chunk.ready());
                Message::Bytes(chunk)
            }
            Message::End(outcome) => {
                Message::End(outcome.map(|(stored, size)| Totals::new(stored, Some(digest_of(&hasher)), size)))
            }
        };
        if outlet.send(message).is_err() {
            return;
        }
    }
}
