//! One gzip member, deflated in pieces by several threads: the same bytes whatever their number.
//!
//! Each piece begins where the one before it ended at a byte's border (a sync flush) and knows its last 32 KiB, so
//! any gunzip reads the whole as one stream. Source: RFC 1951, RFC 1952.
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use flate2::{Compress, Compression as Level, Crc, FlushCompress, Status};
use nix::errno::Errno;

use super::error::Result;
use super::output::{Drain, failed};

/// How far back deflate refers.
const WINDOW: usize = 32 << 10;
const LEVEL: u32 = 3;
/// More threads than this wait for the disk.
const MAX_THREADS: usize = 4;

struct Job {
    data: Vec<u8>,
    /// The end of the data before this.
    window: Vec<u8>,
    last: bool,
    reply: SyncSender<Option<Piece>>,
}

struct Piece {
    data: Vec<u8>,
    deflated: Vec<u8>,
    crc: Crc,
}

/// A member being written.
pub(super) struct Gzip {
    jobs: Sender<Job>,
    pending: VecDeque<Receiver<Option<Piece>>>,
    /// Pieces under way: with more, memory grows and nothing gets faster.
    depth: usize,
    window: Vec<u8>,
    crc: Crc,
}

impl Gzip {
    /// No name and no time: RFC 1952, section 2.3.1; 255 is "operating system unknown".
    pub(super) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

    pub(super) fn new() -> Result<Self> {
        let threads = thread::available_parallelism().map_or(1, |count| count.get().min(MAX_THREADS));
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            thread::Builder::new()
                .name("deflate".to_owned())
                .spawn(move || work(&queue))
                .map_err(|error| failed(error.raw_os_error().map_or(Errno::EAGAIN, Errno::from_raw)))?;
        }
        Ok(Self { jobs, pending: VecDeque::new(), depth: threads + 1, window: Vec::new(), crc: Crc::new() })
    }

    /// Take a full buffer; returns one to fill next.
    pub(super) fn compress(&mut self, data: Vec<u8>, drain: &mut Drain<'_>) -> Result<Vec<u8>> {
        let length = data.len();
        self.submit(data, false)?;
        if self.pending.len() <= self.depth {
            return Ok(vec![0; length]);
        }
        self.collect(drain)
    }

    /// Take the rest and write everything; `size` is the length of the whole.
    pub(super) fn finish(mut self, rest: Vec<u8>, size: u64, drain: &mut Drain<'_>) -> Result<()> {
        self.submit(rest, true)?;
        while !self.pending.is_empty() {
            self.collect(drain)?;
        }
        let mut trailer = self.crc.sum().to_le_bytes().to_vec();
        // Modulo 2^32, as the format has it.
        trailer.extend_from_slice(&size.to_le_bytes()[..4]);
        drain.write(&trailer)
    }

    fn submit(&mut self, data: Vec<u8>, last: bool) -> Result<()> {
        let tail = data[data.len().saturating_sub(WINDOW)..].to_vec();
        let window = std::mem::replace(&mut self.window, tail);
        let (reply, answer) = sync_channel(1);
        self.jobs.send(Job { data, window, last, reply }).map_err(|_| failed(Errno::EIO))?;
        self.pending.push_back(answer);
        Ok(())
    }

    fn collect(&mut self, drain: &mut Drain<'_>) -> Result<Vec<u8>> {
        let answer = self.pending.pop_front().map(|answer| answer.recv());
        let Some(Ok(Some(piece))) = answer else {
            return Err(failed(Errno::EIO));
        };
        self.crc.combine(&piece.crc);
        drain.write(&piece.deflated)?;
        Ok(piece.data)
    }
}

/// One thread: until the member is finished or given up.
fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else {
            return;
        };
        let reply = job.reply.clone();
        // Nobody listens any more when the other side has given up.
        let _ = reply.send(deflate(job));
    }
}

fn deflate(job: Job) -> Option<Piece> {
    let mut compress = Compress::new(Level::new(LEVEL), false);
    if !job.window.is_empty() {
        compress.set_dictionary(&job.window).ok()?;
    }
    let flush = if job.last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut deflated = Vec::with_capacity(job.data.len() / 2 + 1024);
    loop {
        let done = usize::try_from(compress.total_in()).ok()?;
        let status = compress.compress_vec(&job.data[done..], &mut deflated, flush).ok()?;
        let taken = compress.total_in() == job.data.len() as u64;
        // With room left over, a flush is through.
        let finished =
            if job.last { status == Status::StreamEnd } else { taken && deflated.len() < deflated.capacity() };
        if finished {
            let mut crc = Crc::new();
            crc.update(&job.data);
            return Some(Piece { data: job.data, deflated, crc });
        }
        deflated.reserve(deflated.capacity() / 2 + 1024);
    }
}
