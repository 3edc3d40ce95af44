//! The root of a container that does not run: its layers with its volumes in their places, mounted where nobody sees it.
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::thread;

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, unshare};

use crate::fs::Failure;
use crate::mount::{BindAttributes, Overlay, bind};
use crate::sys::{self, attribute};

/// A volume or a host path, and where it belongs.
pub(super) struct Bound {
    pub(super) source: CString,
    pub(super) target: CString,
    pub(super) read_only: bool,
    pub(super) nodev: bool,
}

/// The root, and the mount namespace that its mounts live in as long as this is open.
pub(super) struct View {
    pub(super) root: OwnedFd,
    pub(super) namespace: OwnedFd,
}

/// Mount it in the namespace of a thread that ends at once: the namespace lives on behind its descriptor alone.
/// `binds` come parents first; a mount point that is missing is made, as `start` would.
pub(super) fn open(overlay: &Overlay, binds: &[Bound], read_only: bool) -> Result<View, Failure> {
    let mount = || mount(overlay, binds, read_only);
    thread::scope(|scope| scope.spawn(mount).join().unwrap_or_else(|_| Err(Failure::at("")(Errno::EFAULT))))
}

fn mount(overlay: &Overlay, binds: &[Bound], read_only: bool) -> Result<View, Failure> {
    let at_root = |errno| Failure::at("/")(errno);
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).map_err(at_root)?;
    sys::mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE, None).map_err(at_root)?;
    let root = if overlay.append { overlay.mount() } else { mount_by_string(overlay) }.map_err(at_root)?;
    for bound in binds {
        let attached = attach(&root, bound);
        attached.map_err(|errno| Failure::at(PathBuf::from(&*bound.target.to_string_lossy()))(errno))?;
    }
    if read_only {
        sys::set_mount_attributes(root.as_fd(), attribute::RDONLY, 0, false).map_err(at_root)?;
    }
    let namespace = sys::open(c"/proc/thread-self/ns/mnt", libc::O_RDONLY).map_err(at_root)?;
    Ok(View { root, namespace })
}

fn attach(root: &OwnedFd, bound: &Bound) -> sys::Result<()> {
    let source = sys::clone_tree(None, &bound.source, true)?;
    let mut attributes = 0;
    if bound.read_only {
        attributes |= attribute::RDONLY;
    }
    if bound.nodev {
        attributes |= attribute::NODEV;
    }
    let attributes =
        BindAttributes { attributes, recursive: true, propagation: libc::MS_PRIVATE, propagation_recursive: true };
    bind(root.as_fd(), source.as_fd(), &bound.target, &attributes)
}

/// Before Linux 6.5. As `Overlay` does it in a child, but without leaving the layers open.
fn mount_by_string(overlay: &Overlay) -> sys::Result<OwnedFd> {
    let directory = |path: &CStr| sys::open(path, libc::O_PATH | libc::O_DIRECTORY);
    let link = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let open = overlay.lowerdirs.iter().map(|path| directory(path)).collect::<sys::Result<Vec<_>>>()?;
    let (upper, work) = (directory(&overlay.upperdir)?, directory(&overlay.workdir)?);
    let layers: Vec<String> = open.iter().map(link).collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={},redirect_dir=nofollow,metacopy=off,index=off",
        layers.join(":"),
        link(&upper),
        link(&work)
    );
    let options = CString::new(options).map_err(|_| Errno::EINVAL)?;
    sys::mount(Some(c"overlay"), &overlay.upperdir, Some(c"overlay"), libc::MS_NODEV, Some(&options))?;
    directory(&overlay.upperdir)
}
