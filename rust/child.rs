//! The child, between clone and execve.
//!
//! It shares the caller's memory (CLONE_VM) while the calling thread sleeps (CLONE_VFORK), and other threads of the
//! caller go on running, with any lock of the process in any state. So here, and in everything called from here:
//! system calls on data that the plan has prepared, and nothing else. No allocation, no lock, no formatting, no
//! panic, no libc function that keeps state or changes credentials (signal-safety(7), vfork(2); CPython's child_exec
//! obeys the same rules). Every descriptor made here lives in the child's own table and ends with its execve.
//! User and group ids, capabilities and `dumpable` belong to the shared memory's process: hyrun-init changes them.

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc::{self, c_char};

use crate::mount::{bind, mask, protect};
use crate::plan::Plan;
use crate::report::Report;
use crate::root::{self, Kind};
use crate::step::Step;
use crate::sys::{self, Result, attribute};

/// What the parent prepared. It outlives the child's stay in this memory, because the parent sleeps.
pub struct Work<'a> {
    /// The list.
    pub plan: &'a Plan,
    /// One number per volume's source; the child's own scratch.
    pub slots: &'a mut [RawFd],
    /// hyrun-init, sealed.
    pub launcher: BorrowedFd<'a>,
    /// hyrun-init's argv, ended by NULL.
    pub argv: &'a [*const c_char],
    /// The application's environment, ended by NULL.
    pub envp: &'a [*const c_char],
    /// The write end of the report pipe.
    pub report: BorrowedFd<'a>,
}

/// Work through the list. Returns only to say which step failed; `main` reports it and ends the process.
fn run(work: &mut Work<'_>) -> std::result::Result<Infallible, Report> {
    sys::set_umask(0);
    let mut child = Child::default();
    for (index, step) in work.plan.steps.iter().enumerate() {
        let result = match step {
            Step::NewSession => sys::new_session(),
            Step::LoopbackUp => sys::loopback_up(),
            Step::OpenSource { source, recursive, slot } => {
                sys::clone_tree(None, source, *recursive).and_then(|fd| store(work.slots, *slot, fd))
            }
            Step::OpenNull => child.open_null(),
            Step::PrivatePropagation => sys::mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE, None),
            Step::MountOverlay(overlay) => overlay.mount().map(|fd| child.root = Some(fd)),
            Step::MountKernel { new, target } => child.root().and_then(|root| {
                let point = root::real_directory(root, target)?;
                sys::attach(new.mount()?.as_fd(), point.as_fd())
            }),
            Step::Device { path, major, minor } => {
                child.root().and_then(|root| sys::make_device(root, path, 0o666, *major, *minor))
            }
            Step::Link { path, content } => child.root().and_then(|root| sys::make_symlink(content, root, path)),
            Step::Directory { path } => child.root().and_then(|root| sys::make_directory(root, path, 0o755)),
            Step::MountTmpfs { new, target } => child.root().and_then(|root| {
                let point = root::mount_point(root, target, Kind::Directory)?;
                sys::attach(new.mount()?.as_fd(), point.as_fd())
            }),
            Step::Bind { target, slot, attributes, .. } => child.root().and_then(|root| {
                let source = work.slots.get(*slot).copied().ok_or(Errno::EBADF)?;
                // SAFETY: OpenSource stored this descriptor of the child's, and nothing has closed it.
                let source = unsafe { BorrowedFd::borrow_raw(source) };
                bind(root, source, target, attributes)
            }),
            Step::MountFiles { attach } => child.mount_files(attach),
            Step::File { target, name, content } => child.file(target, name, content),
            Step::MakeCwd { path } => child.make_cwd(path),
            Step::Mask { path } => child.mask(path),
            Step::Protect { path } => child.root().and_then(|root| protect(root, path)),
            Step::ReadOnlyRoot => {
                child.root().and_then(|root| sys::set_mount_attributes(root, attribute::RDONLY, 0, false))
            }
            Step::Hostname { name } => sys::set_hostname(name),
            Step::Pivot => child.pivot(),
            Step::EnterCwd { path } => child.enter_cwd(path),
            Step::OpenOwnNull => child.open_own_null(),
            Step::Stdio { stdin, stdout, stderr } => child.stdio([*stdin, *stdout, *stderr]),
            Step::Hop => Err(hop(work)),
        };
        if let Err(errno) = result {
            return Err(Report { step: index as u32, errno: errno as i32 });
        }
    }
    Err(Report { step: work.plan.steps.len() as u32, errno: Errno::EINVAL as i32 })
}

/// The child's first and only function, on a stack of its own.
pub extern "C" fn main(work: *mut libc::c_void) -> libc::c_int {
    // SAFETY: spawn passes a Work, which nobody else touches while the parent sleeps.
    let work = unsafe { &mut *work.cast::<Work<'_>>() };
    let Err(report) = run(work);
    // The parent reads what has arrived; there is nobody else to tell.
    let _ = sys::write_all(work.report, &report.encode());
    // SAFETY: ends the process at once: no atexit handler and no destructor of the caller's runs.
    unsafe { libc::_exit(125) }
}

/// What the steps hand on to each other.
#[derive(Default)]
struct Child {
    root: Option<OwnedFd>,
    null: Option<OwnedFd>,
    own_null: Option<OwnedFd>,
    empty: Option<OwnedFd>,
    files: Option<OwnedFd>,
}

impl Child {
    fn root(&self) -> Result<BorrowedFd<'_>> {
        self.root.as_ref().map(AsFd::as_fd).ok_or(Errno::EBADF)
    }

    /// The real one: an image's `/dev/null` could be anything (CVE-2025-31133).
    fn open_null(&mut self) -> Result<()> {
        let null = sys::open(c"/dev/null", libc::O_PATH | libc::O_NOFOLLOW)?;
        if !is_null(null.as_fd())? {
            return Err(Errno::ENODEV);
        }
        self.null = Some(null);
        Ok(())
    }

    /// The one in the container's `/dev`, before any volume could stand in its place.
    fn open_own_null(&mut self) -> Result<()> {
        let null = root::open(self.root()?, c"dev/null", libc::O_RDWR)?;
        if !is_null(null.as_fd())? {
            return Err(Errno::ENODEV);
        }
        self.own_null = Some(null);
        Ok(())
    }

    /// By way of copies above 2, because a source may be the target of another. The host's `/dev/null` does not go
    /// in: root inside could change the mode of the host's device through the descriptor.
    fn stdio(&self, sources: [RawFd; 3]) -> Result<()> {
        let null = self.own_null.as_ref().ok_or(Errno::EBADF)?;
        let [a, b, c] = sources.map(|source| {
            if source < 0 {
                return sys::duplicate_above_stdio(null.as_raw_fd());
            }
            let copy = sys::duplicate_above_stdio(source)?;
            if is_null(copy.as_fd())? { sys::duplicate_above_stdio(null.as_raw_fd()) } else { Ok(copy) }
        });
        for (number, source) in [a?, b?, c?].into_iter().enumerate() {
            sys::duplicate_onto(source.as_fd(), number as RawFd)?;
        }
        Ok(())
    }

    fn mask(&mut self, path: &std::ffi::CStr) -> Result<()> {
        let root = self.root.as_ref().ok_or(Errno::EBADF)?;
        let null = self.null.as_ref().ok_or(Errno::EBADF)?;
        mask(root.as_fd(), path, null.as_fd(), &mut self.empty)
    }

    /// Outside the root, in the old tree: it goes away with that, and its files stay where they are bound.
    fn mount_files(&mut self, attach: &std::ffi::CStr) -> Result<()> {
        let tmpfs = sys::FileSystem::open(c"tmpfs")?;
        tmpfs.set(c"mode", Some(c"755"))?;
        tmpfs.set(c"size", Some(c"1m"))?;
        let tmpfs = tmpfs.mount(attribute::NOSUID | attribute::NODEV | attribute::NOEXEC)?;
        let point = sys::open(attach, libc::O_PATH | libc::O_DIRECTORY)?;
        sys::attach(tmpfs.as_fd(), point.as_fd())?;
        self.files = Some(tmpfs);
        Ok(())
    }

    fn file(&self, target: &std::ffi::CStr, name: &std::ffi::CStr, content: &[u8]) -> Result<()> {
        let files = self.files.as_ref().ok_or(Errno::EBADF)?;
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
        let file = sys::open_at(files.as_fd(), name, flags, 0o644, 0)?;
        sys::write_all(file.as_fd(), content)?;
        let copy = sys::clone_tree(Some(files.as_fd()), name, false)?;
        let point = root::mount_point(self.root()?, target, Kind::File)?;
        sys::attach(copy.as_fd(), point.as_fd())
    }

    fn make_cwd(&self, path: &std::ffi::CStr) -> Result<()> {
        let root = self.root()?;
        match root::open(root, path, libc::O_PATH | libc::O_DIRECTORY) {
            Err(Errno::ENOENT) => root::mount_point(root, path, Kind::Directory).map(drop),
            result => result.map(drop),
        }
    }

    /// pivot_root(2) puts the old root on top of the new one; detaching it there leaves the new one alone, and needs
    /// no directory inside the image.
    fn pivot(&mut self) -> Result<()> {
        let old = sys::open(c"/", libc::O_PATH | libc::O_DIRECTORY)?;
        sys::change_directory(self.root()?)?;
        sys::pivot_here()?;
        sys::change_directory(old.as_fd())?;
        sys::detach(c".")?;
        sys::change_directory(self.root()?)
    }

    fn enter_cwd(&self, path: &std::ffi::CStr) -> Result<()> {
        let directory = root::open(self.root()?, path, libc::O_PATH | libc::O_DIRECTORY)?;
        sys::change_directory(directory.as_fd())
    }
}

/// Only the number stays: the slot is in the parent's memory, where it must not become an owner.
fn store(slots: &mut [RawFd], slot: usize, fd: OwnedFd) -> Result<()> {
    let place = slots.get_mut(slot).ok_or(Errno::EBADF)?;
    *place = fd.into_raw_fd();
    Ok(())
}

fn is_null(fd: BorrowedFd<'_>) -> Result<bool> {
    let status = sys::stat(fd)?;
    Ok(status.st_mode & libc::S_IFMT == libc::S_IFCHR && status.st_rdev == libc::makedev(1, 3))
}

/// The last hop. Everything but stdio and the report pipe closes with it: a leaked descriptor of a host directory is
/// a way out (CVE-2024-21626).
fn hop(work: &Work<'_>) -> Errno {
    let close = || {
        sys::close_on_exec_from(3)?;
        if let Some(terminal) = work.plan.terminal {
            // SAFETY: a descriptor that the parent holds open while this child lives here.
            sys::keep_through_exec(unsafe { BorrowedFd::borrow_raw(terminal) })?;
        }
        sys::keep_through_exec(work.report)
    };
    if let Err(errno) = close() {
        return errno;
    }
    sys::set_umask(0o022);
    // SAFETY: spawn built both arrays of C strings and ended them with NULL.
    unsafe { sys::exec_descriptor(work.launcher, work.argv.as_ptr(), work.envp.as_ptr()) }
}
