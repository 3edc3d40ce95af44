//! The parent's side: clone the child with its namespaces, let it work, read its report.

use std::ffi::{CString, c_void};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;
use nix::libc::{self, c_char, c_int};

use crate::child::{self, Work};
use crate::launcher::launcher;
use crate::plan::Plan;
use crate::report::Report;
use crate::sys;

/// A container's pid 1, as its parent holds it.
pub struct Spawned {
    /// In the caller's pid namespace.
    pub pid: i32,
    /// Readable when the process has ended.
    pub pidfd: OwnedFd,
}

/// Why there is no container.
pub enum Error {
    /// The caller's own resources ran out, or the kernel refused to clone: what was called, and the error.
    Parent(&'static str, io::Error),
    /// A step of the child failed.
    Child(Report),
}

/// Create the container of `plan`. Returns once the application has been exec'ed.
///
/// The calling thread sleeps until the child has left its memory; all others go on. On an error the child has been
/// reaped, and its namespaces, with every mount in them, are gone.
pub fn spawn(plan: &Plan) -> Result<Spawned, Error> {
    let parent = |call: &'static str| move |error: io::Error| Error::Parent(call, error);
    let launcher = launcher().map_err(parent("memfd_create"))?;
    let (reader, writer) = report_pipe().map_err(parent("pipe2"))?;
    let in_flight = crate::fork::close_in_forked_children(writer.as_fd());
    let stack = Stack::new().map_err(parent("mmap"))?;

    let mut arguments = vec![c"hyrun-init".to_owned(), c"exec".to_owned(), number(writer.as_raw_fd())];
    arguments.extend_from_slice(&plan.arguments);
    let argv = pointers(&arguments);
    let envp = pointers(&plan.environment);
    let mut slots: Vec<RawFd> = vec![-1; plan.slots];
    let mut work =
        Work { plan, slots: &mut slots, launcher: launcher.as_fd(), argv: &argv, envp: &envp, report: writer.as_fd() };
    let spawned = clone(&stack, plan.namespaces, &mut work).map_err(|errno| Error::Parent("clone", errno.into()))?;

    // Ours must go first, or the pipe would never end.
    drop(writer);
    drop(in_flight);
    match read_report(reader) {
        Ok(None) => Ok(spawned),
        Ok(Some(report)) => {
            reap(&spawned);
            Err(Error::Child(report))
        }
        Err(error) => {
            let _ = sys::send_signal(spawned.pidfd.as_fd(), libc::SIGKILL);
            reap(&spawned);
            Err(Error::Parent("read", error))
        }
    }
}

fn clone(stack: &Stack, namespaces: c_int, work: &mut Work<'_>) -> sys::Result<Spawned> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | namespaces | libc::SIGCHLD;
    let mut pidfd: c_int = -1;
    // No handler of the caller may run in the child: it would write to memory that is not its own. The mask stays
    // blocked through the hop; hyrun-init empties it when the dispositions are reset.
    let blocked = SignalsBlocked::new();
    // SAFETY: `main` obeys the rules for a child in shared memory; stack and work outlive its stay, because
    // CLONE_VFORK suspends this thread until the child has exec'ed or ended.
    let pid =
        unsafe { libc::clone(child::main, stack.top(), flags, ptr::from_mut(work).cast::<c_void>(), &raw mut pidfd) };
    let result = if pid < 0 { Err(Errno::last()) } else { Ok(pid) };
    drop(blocked);
    let pid = result?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(Spawned { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
}

/// Both ends above stdio, closed by exec.
fn report_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    let up = |fd: OwnedFd| {
        if fd.as_raw_fd() > 2 { Ok(fd) } else { sys::duplicate_above_stdio(fd.as_raw_fd()) }
    };
    Ok((up(reader)?, up(writer)?))
}

fn read_report(reader: OwnedFd) -> io::Result<Option<Report>> {
    let mut bytes = [0u8; 8];
    match File::from(reader).read_exact(&mut bytes) {
        Ok(()) => Ok(Some(Report::decode(bytes))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn reap(spawned: &Spawned) {
    loop {
        // SAFETY: an all-zero siginfo is a valid value, and the kernel fills it.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let id = spawned.pidfd.as_raw_fd() as libc::id_t;
        // SAFETY: info is valid memory for a siginfo.
        let result = unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED) };
        if result == 0 || Errno::last() != Errno::EINTR {
            return;
        }
    }
}

fn number(fd: RawFd) -> CString {
    CString::new(fd.to_string()).unwrap_or_default()
}

/// The array that execve(2) wants: one pointer per string, then NULL.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
}

/// The child's stack, with a page below that catches an overflow.
struct Stack {
    base: *mut c_void,
}

impl Stack {
    const SIZE: usize = 128 * 1024;
    const GUARD: usize = 64 * 1024; // at least one page, whatever its size

    fn new() -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
        let length = Self::SIZE + Self::GUARD;
        // SAFETY: a fresh mapping, wherever the kernel likes.
        let base = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_NONE, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Self { base };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: inside the mapping above.
        if unsafe { libc::mprotect(base.byte_add(Self::GUARD), Self::SIZE, protection) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stack)
    }

    /// Stacks grow down on every machine this runs on. The mapping's end is aligned to a page.
    fn top(&self) -> *mut c_void {
        // SAFETY: one past the end of the mapping.
        unsafe { self.base.byte_add(Self::SIZE + Self::GUARD) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and the child that used it has left.
        unsafe { libc::munmap(self.base, Self::SIZE + Self::GUARD) };
    }
}

/// All signals blocked in this thread, also those that libc keeps for itself, until dropped.
struct SignalsBlocked {
    old: u64,
}

impl SignalsBlocked {
    fn new() -> Self {
        Self { old: Self::set(u64::MAX) }
    }

    fn set(mask: u64) -> u64 {
        let mut old = 0u64;
        // SAFETY: both masks have the kernel's size of 8 bytes; with these arguments it cannot fail.
        unsafe {
            libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &raw const mask, &raw mut old, size_of::<u64>())
        };
        old
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        Self::set(self.old);
    }
}

/// Threads that live as long as the process, for spawning containers that must die with it: the parent-death signal
/// comes at the end of the *thread* that made the child (prctl(2)).
pub mod lasting {
    use std::sync::{Arc, Mutex, PoisonError, mpsc};
    use std::{io, thread};

    use super::{Error, Plan, SignalsBlocked, Spawned, spawn};

    type Reply = mpsc::SyncSender<Result<Spawned, Error>>;

    struct Worker {
        jobs: mpsc::Sender<(Arc<Plan>, Reply)>,
        /// Threads do not survive fork(2): a worker belongs to the process that made it.
        process: u32,
    }

    /// Those with nothing to do. At most as many as spawns were ever in flight at once.
    static IDLE: Mutex<Vec<Worker>> = Mutex::new(Vec::new());

    /// As `spawn`, from a thread that does not end before the process: the main one, or a worker.
    pub fn spawn_from_lasting_thread(plan: &Arc<Plan>) -> Result<Spawned, Error> {
        let process = std::process::id();
        if nix::unistd::gettid().as_raw().unsigned_abs() == process {
            return spawn(plan);
        }
        let idle = || IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        let worker = loop {
            match idle().pop() {
                None => {
                    break Worker::start(process).map_err(|error| Error::Parent("pthread_create", error))?;
                }
                Some(worker) if worker.process == process => break worker,
                Some(stranger) => std::mem::forget(stranger),
            }
        };
        let gone = || Error::Parent("spawning thread", io::Error::from(io::ErrorKind::BrokenPipe));
        let (reply, answer) = mpsc::sync_channel(1);
        worker.jobs.send((Arc::clone(plan), reply)).map_err(|_| gone())?;
        let result = answer.recv().map_err(|_| gone())?;
        idle().push(worker);
        result
    }

    impl Worker {
        fn start(process: u32) -> io::Result<Self> {
            let (jobs, queue) = mpsc::channel::<(Arc<Plan>, Reply)>();
            // Inherited by the thread: the process's signals are for threads that can be interrupted by them.
            let blocked = SignalsBlocked::new();
            let thread = thread::Builder::new().name("hyrun-spawn".to_owned()).spawn(move || {
                while let Ok((plan, reply)) = queue.recv() {
                    // Nobody waits for it only if the caller is gone with the whole process.
                    let _ = reply.send(spawn(&plan));
                }
            });
            drop(blocked);
            thread.map(|_| Self { jobs, process })
        }
    }
}
