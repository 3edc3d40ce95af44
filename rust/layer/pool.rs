//! Threads that compress the pieces of one stream, which come back in their order: the bytes do not depend on how many
//! threads there are, and there are never more pieces in memory than threads and two.
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::errno::Errno;

use super::error::Result;
use super::output::failed;

/// More threads than this wait for the disk.
const MAX_THREADS: usize = 4;

/// A piece, and where what became of it goes.
type Job<P, D> = (P, SyncSender<Result<D>>);

/// The pieces under way: `P` goes in, `D` comes out.
pub(super) struct Pool<P, D> {
    jobs: Sender<Job<P, D>>,
    pending: VecDeque<Receiver<Result<D>>>,
    /// Pieces under way: with more, memory grows and nothing gets faster.
    depth: usize,
}

/// As many threads as there are processors for this process, within reason.
pub(super) fn threads() -> usize {
    thread::available_parallelism().map_or(1, |count| count.get().min(MAX_THREADS))
}

impl<P: Send + 'static, D: Send + 'static> Pool<P, D> {
    /// Start `threads` threads that do `work`; they end when the pool is dropped.
    pub(super) fn new(name: &str, threads: usize, work: fn(P) -> Result<D>) -> Result<Self> {
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || serve(&queue, work))
                .map_err(|error| failed(error.raw_os_error().map_or(Errno::EAGAIN, Errno::from_raw)))?;
        }
        Ok(Self { jobs, pending: VecDeque::new(), depth: threads + 1 })
    }

    /// Hand in the next piece.
    pub(super) fn submit(&mut self, piece: P) -> Result<()> {
        let (reply, answer) = sync_channel(1);
        self.jobs.send((piece, reply)).map_err(|_| failed(Errno::EIO))?;
        self.pending.push_back(answer);
        Ok(())
    }

    /// The earliest piece that was not returned yet, once as many are under way as there may be.
    pub(super) fn surplus(&mut self) -> Result<Option<D>> {
        if self.pending.len() <= self.depth { Ok(None) } else { self.next() }
    }

    /// The earliest piece that was not returned yet; None when there is none.
    pub(super) fn next(&mut self) -> Result<Option<D>> {
        let Some(answer) = self.pending.pop_front() else {
            return Ok(None);
        };
        // Without an answer its thread has died.
        answer.recv().map_err(|_| failed(Errno::EIO))?.map(Some)
    }
}

/// One thread: until the stream is finished or given up.
fn serve<P, D>(queue: &Mutex<Receiver<Job<P, D>>>, work: fn(P) -> Result<D>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((piece, reply)) = next else {
            return;
        };
        // Nobody listens any more when the other side has given up.
        let _ = reply.send(work(piece));
    }
}
