//! One entry of the list that the child works through, and the words for it when it fails.

use std::ffi::{CStr, CString};

use crate::mount::{BindAttributes, New, Overlay};
use nix::errno::Errno;

/// Lower layers that overlayfs takes (kernel, fs/overlayfs/params.h), and how many of them an error lists.
const LOWERDIRS: usize = 500;
const SHOWN: usize = 8;

/// What the child does, in the order of the plan. Everything a step needs is in it.
pub enum Step {
    /// Leave the caller's session: its terminal is not the container's.
    NewSession,
    /// `lo` in the new network namespace.
    LoopbackUp,
    /// Take a copy of a volume's source, while its mount still is a peer of the host's (for `rshared`).
    OpenSource { source: CString, recursive: bool, slot: usize },
    /// Hold the host's `/dev/null`, for masks.
    OpenNull,
    /// From here on nothing that is mounted reaches the host, nor the other way round.
    PrivatePropagation,
    /// The layers become the root.
    MountOverlay(Overlay),
    /// A kernel file system on a real directory of the root.
    MountKernel { new: New, target: CString },
    /// A device node in the container's `/dev`.
    Device { path: CString, major: u32, minor: u32 },
    /// A link in the container's `/dev`.
    Link { path: CString, content: CString },
    /// A directory in the container's `/dev`.
    Directory { path: CString },
    /// A tmpfs that the user asked for.
    MountTmpfs { new: New, target: CString },
    /// A volume: its source onto its mount point.
    Bind { source: CString, target: CString, slot: usize, attributes: BindAttributes },
    /// A small tmpfs outside the root that holds the files below.
    MountFiles { attach: CString },
    /// A file of this container only, bound at its target.
    File { target: CString, name: CString, content: Vec<u8> },
    /// The working directory, made if missing.
    MakeCwd { path: CString },
    /// A path nobody may read.
    Mask { path: CString },
    /// A path nobody may write.
    Protect { path: CString },
    /// The root becomes read-only; what is mounted below stays as it is.
    ReadOnlyRoot,
    /// The name in the new UTS namespace.
    Hostname { name: CString },
    /// The root becomes `/`, and the host's is gone.
    Pivot,
    /// The working directory becomes the process's.
    EnterCwd { path: CString },
    /// Hold the container's `/dev/null`, for standard streams.
    OpenOwnNull,
    /// Descriptors 0, 1 and 2; a negative one means the container's `/dev/null`.
    Stdio { stdin: i32, stdout: i32, stderr: i32 },
    /// Into hyrun-init.
    Hop,
}

impl Step {
    /// The step's name as `SpawnError.step` says it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NewSession => "session",
            Self::LoopbackUp => "loopback",
            Self::OpenSource { .. } | Self::Bind { .. } => "bind",
            Self::OpenNull | Self::Mask { .. } => "mask",
            Self::PrivatePropagation => "propagation",
            Self::MountOverlay(_) => "overlay",
            Self::MountKernel { .. } | Self::MountTmpfs { .. } => "mount",
            Self::Device { .. } => "device",
            Self::Link { .. } => "link",
            Self::Directory { .. } => "directory",
            Self::MountFiles { .. } | Self::File { .. } => "file",
            Self::MakeCwd { .. } | Self::EnterCwd { .. } => "cwd",
            Self::Protect { .. } => "protect",
            Self::ReadOnlyRoot => "read-only",
            Self::Hostname { .. } => "hostname",
            Self::Pivot => "pivot",
            Self::OpenOwnNull | Self::Stdio { .. } => "stdio",
            Self::Hop => "hop",
        }
    }

    /// The path that `SpawnError.filename` says: the host's for a source, the container's for everything else.
    pub fn filename(&self) -> Option<String> {
        let path = match self {
            Self::OpenSource { source, .. } => source,
            Self::MountOverlay(overlay) => &overlay.upperdir,
            Self::MountKernel { target, .. }
            | Self::MountTmpfs { target, .. }
            | Self::Bind { target, .. }
            | Self::File { target, .. } => target,
            Self::Device { path, .. }
            | Self::Link { path, .. }
            | Self::Directory { path }
            | Self::MakeCwd { path }
            | Self::EnterCwd { path }
            | Self::Mask { path }
            | Self::Protect { path } => path,
            _ => return None,
        };
        Some(text(path).into_owned())
    }

    /// The call as an error says it: a path for each of hundreds of layers helps nobody.
    pub fn brief(&self) -> String {
        match self {
            Self::MountOverlay(overlay) if overlay.lowerdirs.len() > SHOWN => {
                format!("overlay {} layers below {}", overlay.lowerdirs.len(), text(&overlay.upperdir))
            }
            _ => self.describe(),
        }
    }

    /// The call with its arguments.
    pub fn describe(&self) -> String {
        match self {
            Self::NewSession => "start a new session".to_owned(),
            Self::LoopbackUp => "bring up lo".to_owned(),
            Self::OpenSource { source, recursive, .. } => {
                format!("open {}{}", text(source), if *recursive { " with its submounts" } else { "" })
            }
            Self::OpenNull => "open /dev/null".to_owned(),
            Self::OpenOwnNull => "open the container's /dev/null".to_owned(),
            Self::PrivatePropagation => "make / private".to_owned(),
            Self::MountOverlay(overlay) => {
                let lower: Vec<_> = overlay.lowerdirs.iter().map(|path| text(path)).collect();
                format!("overlay {} below {}", lower.join(":"), text(&overlay.upperdir))
            }
            Self::MountKernel { new, target } | Self::MountTmpfs { new, target } => {
                format!("mount {} -> {}", text(new.kind), text(target))
            }
            Self::Device { path, major, minor } => {
                format!("mknod /{} c {major}:{minor}", text(path))
            }
            Self::Link { path, content } => format!("symlink /{} -> {}", text(path), text(content)),
            Self::Directory { path } => format!("mkdir /{}", text(path)),
            Self::Bind { source, target, .. } => {
                format!("bind {} -> {}", text(source), text(target))
            }
            Self::MountFiles { .. } => "mount tmpfs for the container's files".to_owned(),
            Self::File { target, .. } => format!("file {}", text(target)),
            Self::MakeCwd { path } => format!("make {}", text(path)),
            Self::EnterCwd { path } => format!("cwd {}", text(path)),
            Self::Mask { path } => format!("mask {}", text(path)),
            Self::Protect { path } => format!("make {} read-only", text(path)),
            Self::ReadOnlyRoot => "make the root read-only".to_owned(),
            Self::Hostname { name } => format!("hostname {}", text(name)),
            Self::Pivot => "pivot_root".to_owned(),
            Self::Stdio { stdin, stdout, stderr } => format!("stdio {stdin}, {stdout}, {stderr}"),
            Self::Hop => "execute hyrun-init".to_owned(),
        }
    }

    /// What to do about it, where that is known.
    pub fn advice(&self, errno: Errno) -> Option<&'static str> {
        match (self, errno) {
            (Self::Bind { .. } | Self::File { .. } | Self::MountTmpfs { .. }, Errno::ENOTDIR) => {
                Some("a directory goes onto a directory, a file onto a file: check that the source is what you meant")
            }
            (Self::Bind { .. } | Self::MountTmpfs { .. }, Errno::EBUSY) => {
                Some("the mount point is the root itself: choose a directory below it")
            }
            (Self::Bind { .. } | Self::MountTmpfs { .. } | Self::File { .. }, Errno::EPERM) => {
                Some("a mount point may not be inside /proc")
            }
            (Self::Bind { .. } | Self::MakeCwd { .. }, Errno::EROFS) => {
                Some("the mount point is missing in a read-only volume: make it there first")
            }
            (Self::MountKernel { .. }, Errno::ELOOP | Errno::ENOTDIR) => {
                Some("the image must have a real directory there, or nothing")
            }
            (Self::MakeCwd { .. } | Self::EnterCwd { .. }, Errno::ELOOP) => {
                Some("a working directory may not lead through /proc or round in a circle")
            }
            (Self::MountOverlay(_), Errno::ELOOP) => Some("the layers overlap: one is inside another"),
            (Self::MountOverlay(_), Errno::E2BIG) => {
                Some("this kernel takes about 200 layers; from Linux 6.5 on there is no such limit")
            }
            (Self::MountOverlay(overlay), Errno::EINVAL) if overlay.lowerdirs.len() > LOWERDIRS => {
                Some("overlayfs takes 500 layers, one of which is the engine's")
            }
            (Self::MountOverlay(_), Errno::EINVAL) => {
                Some("the store must be on a file system that overlayfs can write to (ext4, xfs, btrfs, tmpfs)")
            }
            (Self::Pivot, Errno::EINVAL) => Some("the caller's / must be a mount point (it is not in a chroot)"),
            _ => None,
        }
    }
}

/// Bytes as a person reads them.
pub fn text(bytes: &CStr) -> std::borrow::Cow<'_, str> {
    bytes.to_string_lossy()
}
