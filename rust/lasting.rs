//! Threads that live as long as the process, for making children that must die with it: the parent-death signal comes
//! at the end of the *thread* that made the child (prctl(2)).

use std::sync::{Mutex, PoisonError, mpsc};
use std::{io, thread};

use nix::unistd::gettid;

use crate::signals::SignalsBlocked;

type Job = Box<dyn FnOnce() + Send>;

struct Worker {
    jobs: mpsc::Sender<Job>,
    /// Threads do not survive fork(2): a worker belongs to the process that made it.
    process: u32,
}

/// Those with nothing to do. At most as many as jobs were ever in flight at once.
static IDLE: Mutex<Vec<Worker>> = Mutex::new(Vec::new());

/// Do `work` in a thread that does not end before the process: this one if it is the main one, or a worker.
pub fn in_lasting_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let process = std::process::id();
    if gettid().as_raw().unsigned_abs() == process {
        return Ok(work());
    }
    let idle = || IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    let worker = loop {
        match idle().pop() {
            None => break Worker::start(process)?,
            Some(worker) if worker.process == process => break worker,
            Some(stranger) => std::mem::forget(stranger),
        }
    };
    let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
    let (reply, answer) = mpsc::sync_channel(1);
    let job = Box::new(move || {
        // Nobody waits for it only if the caller is gone with the whole process.
        let _ = reply.send(work());
    });
    worker.jobs.send(job).map_err(|_| gone())?;
    let result = answer.recv().map_err(|_| gone())?;
    idle().push(worker);
    Ok(result)
}

impl Worker {
    fn start(process: u32) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        // Inherited by the thread: the process's signals are for threads that can be interrupted by them.
        let blocked = SignalsBlocked::new();
        let thread = thread::Builder::new().name("hyrun-spawn".to_owned()).spawn(move || {
            while let Ok(job) = queue.recv() {
                job();
            }
        });
        drop(blocked);
        thread.map(|_| Self { jobs, process })
    }
}
