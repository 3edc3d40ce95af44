//! Looking into an image from the host, without the host's mount table changing.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::thread;

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, unshare};

use crate::mount;
use crate::plan::kernel_version;
use crate::sys::{self, FileSystem, Result, attribute};

const DIRECTORY: i32 = libc::O_PATH | libc::O_DIRECTORY;

/// The merged, read-only view of some layers, topmost first, as a descriptor of its root.
pub fn open_merged(lowerdirs: &[CString]) -> Result<OwnedFd> {
    match lowerdirs {
        [] => Err(Errno::EINVAL),
        // Overlayfs wants two layers; one alone needs no merging.
        [only] => sys::open(only, libc::O_RDONLY | libc::O_DIRECTORY),
        [others @ .., lowest] if mount::holds(lowest, &lowerdirs[0]) => {
            in_own_namespace(others, &lowerdirs[0], Some(lowest))
        }
        _ if kernel_version() >= (6, 5) => detached(lowerdirs),
        [first, ..] => in_own_namespace(lowerdirs, first, None),
    }
}

fn open_all(lowerdirs: &[CString]) -> Result<Vec<OwnedFd>> {
    lowerdirs.iter().map(|path| sys::open(path, DIRECTORY)).collect()
}

fn link(layer: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", layer.as_raw_fd())
}

/// fsmount(2) without move_mount(2).
fn detached(lowerdirs: &[CString]) -> Result<OwnedFd> {
    let overlay = FileSystem::open(c"overlay")?;
    for layer in &open_all(lowerdirs)? {
        let path = CString::new(link(layer)).map_err(|_| Errno::EINVAL)?;
        overlay.set(c"lowerdir+", Some(&path))?;
    }
    overlay.set(c"redirect_dir", Some(c"nofollow"))?;
    overlay.mount(attribute::RDONLY | attribute::NODEV | attribute::NOSUID)
}

/// Before 6.5, fsconfig(2) takes 255 bytes of layers. So mount(2) in the mount namespace of a thread that ends at
/// once: the mount goes with it, and lives on behind the descriptor alone. `lowest`, one that holds others, can be
/// mounted in no other way.
fn in_own_namespace(lowerdirs: &[CString], target: &CStr, lowest: Option<&CString>) -> Result<OwnedFd> {
    let mount = || {
        unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)?;
        sys::mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE, None)?;
        let mut layers = open_all(lowerdirs)?;
        let place = sys::open(target, DIRECTORY)?;
        if let Some(lowest) = lowest {
            layers.push(mount::wrap(lowest, place.as_fd())?);
        }
        let paths: Vec<String> = layers.iter().map(link).collect();
        let options = format!("lowerdir={},redirect_dir=nofollow", paths.join(":"));
        let options = CString::new(options).map_err(|_| Errno::EINVAL)?;
        let flags = libc::MS_RDONLY | libc::MS_NODEV | libc::MS_NOSUID;
        sys::mount(Some(c"overlay"), target, Some(c"overlay"), flags, Some(&options))?;
        let root = sys::open(target, libc::O_RDONLY | libc::O_DIRECTORY)?;
        // A mount that has lost its namespace hides nothing; detached here, it is not waited for either.
        for _ in 0..if lowest.is_some() { 3 } else { 1 } {
            sys::detach(target)?;
        }
        sys::stat(root.as_fd())?;
        Ok(root)
    };
    thread::scope(|scope| scope.spawn(mount).join().unwrap_or(Err(Errno::EFAULT)))
}

/// Open what `path` means below `root`, as openat2(2) with RESOLVE_IN_ROOT would. Opening a device may do something to
/// the host (a watchdog starts), so what is neither a file nor a directory is opened with O_PATH and nothing more.
pub fn open_in_root(root: BorrowedFd<'_>, path: &CStr, flags: i32) -> Result<OwnedFd> {
    let found = crate::root::open(root, path, libc::O_PATH | flags & libc::O_DIRECTORY)?;
    let kind = sys::stat(found.as_fd())?.st_mode & libc::S_IFMT;
    if flags & libc::O_PATH != 0 || !matches!(kind, libc::S_IFREG | libc::S_IFDIR) {
        return Ok(found);
    }
    let again = CString::new(link(&found)).map_err(|_| Errno::EINVAL)?;
    sys::open(&again, flags & !libc::O_NOFOLLOW)
}
