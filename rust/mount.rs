//! Mounts inside the container's root, each by descriptor. Runs between clone and execve: no allocation.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;

use crate::root::{self, Kind};
use crate::sys::{self, FileSystem, Result, attribute};

/// The layers of a root file system. Overlayfs gets them as `/proc/self/fd/N`: any path works then, however long and
/// whatever it contains, and the container's mount table does not show where the host keeps its layers.
pub struct Overlay {
    /// Topmost first.
    pub lowerdirs: Vec<CString>,
    /// The writable layer; while the container is set up, also the place where the root is attached.
    pub upperdir: CString,
    /// Overlayfs's own directory.
    pub workdir: CString,
    /// No sync at unmount.
    pub volatile: bool,
    /// Whether the kernel takes `lowerdir+` (6.5); older ones get one option string.
    pub append: bool,
}

const DIRECTORY: i32 = libc::O_PATH | libc::O_DIRECTORY;
/// Neither redirects nor metadata-only copies: both make a writable layer that no other tool understands, and a layer
/// that claims to have them could expose files of other layers.
const OPTIONS: [(&CStr, &CStr); 3] = [(c"redirect_dir", c"nofollow"), (c"metacopy", c"off"), (c"index", c"off")];

impl Overlay {
    /// Mount it on its own upperdir and return the root.
    pub fn mount(&self) -> Result<OwnedFd> {
        let upper = sys::open(&self.upperdir, DIRECTORY)?;
        let work = sys::open(&self.workdir, DIRECTORY)?;
        match self.lowerdirs.split_last() {
            // Not found out by trying: a failed attempt leaves its mark in the workdir of a volatile overlay.
            Some((lowest, others @ [top, ..])) if holds(lowest, top) => {
                let lowest = wrap(lowest, upper.as_fd())?;
                self.mount_layers(&upper, &work, others, Some(lowest.as_fd()))
            }
            _ => self.mount_layers(&upper, &work, &self.lowerdirs, None),
        }
    }

    /// `lowest` comes below `lowerdirs`.
    fn mount_layers(
        &self,
        upper: &OwnedFd,
        work: &OwnedFd,
        lowerdirs: &[CString],
        lowest: Option<BorrowedFd<'_>>,
    ) -> Result<OwnedFd> {
        if !self.append {
            return self.mount_by_string(upper, work, lowerdirs, lowest);
        }
        let mount = self.mount_by_layer(upper.as_fd(), work.as_fd(), lowerdirs, lowest)?;
        sys::attach(mount.as_fd(), upper.as_fd())?;
        Ok(mount)
    }

    fn mount_by_layer(
        &self,
        upper: BorrowedFd<'_>,
        work: BorrowedFd<'_>,
        lowerdirs: &[CString],
        lowest: Option<BorrowedFd<'_>>,
    ) -> Result<OwnedFd> {
        let overlay = FileSystem::open(c"overlay")?;
        for lowerdir in lowerdirs {
            let lower = sys::open(lowerdir, DIRECTORY)?;
            overlay.set(c"lowerdir+", Some(Text::descriptor(lower.as_fd()).as_c_str()))?;
        }
        if let Some(lowest) = lowest {
            overlay.set(c"lowerdir+", Some(Text::descriptor(lowest).as_c_str()))?;
        }
        overlay.set(c"upperdir", Some(Text::descriptor(upper).as_c_str()))?;
        overlay.set(c"workdir", Some(Text::descriptor(work).as_c_str()))?;
        for (key, value) in OPTIONS {
            overlay.set(key, Some(value))?;
        }
        if self.volatile {
            overlay.set(c"volatile", None)?;
        }
        // Device nodes of an image stay closed: /dev is ours, and nothing else needs one.
        overlay.mount(attribute::NODEV)
    }

    /// mount(2) takes one page of options: about 200 layers.
    fn mount_by_string(
        &self,
        upper: &OwnedFd,
        work: &OwnedFd,
        lowerdirs: &[CString],
        lowest: Option<BorrowedFd<'_>>,
    ) -> Result<OwnedFd> {
        let mut options = Text::new();
        options.push_lowerdirs(lowerdirs)?;
        if let Some(lowest) = lowest {
            options.push(b":")?;
            options.push_descriptor(lowest)?;
        }
        options.push(b",upperdir=")?;
        options.push_descriptor(upper.as_fd())?;
        options.push(b",workdir=")?;
        options.push_descriptor(work.as_fd())?;
        for (key, value) in OPTIONS {
            options.push(b",")?;
            options.push(key.to_bytes())?;
            options.push(b"=")?;
            options.push(value.to_bytes())?;
        }
        if self.volatile {
            options.push(b",volatile")?;
        }
        sys::mount(Some(c"overlay"), &self.upperdir, Some(c"overlay"), libc::MS_NODEV, Some(options.as_c_str()))?;
        sys::open(&self.upperdir, DIRECTORY)
    }
}

/// Whether the path `inner` is below `outer`, by its letters.
pub fn holds(outer: &CStr, inner: &CStr) -> bool {
    let outer = outer.to_bytes();
    let rest = inner.to_bytes().strip_prefix(outer.strip_suffix(b"/").unwrap_or(outer));
    rest.is_some_and(|rest| rest.starts_with(b"/"))
}

/// Put a layer that holds other layers (the machine's own root, below an image that was committed from it) behind an
/// overlay of its own: overlayfs refuses layers inside of one another (ELOOP), and does not see through another overlay.
/// It is left attached at `place`, which something else is going to cover.
pub fn wrap(layer: &CStr, place: BorrowedFd<'_>) -> Result<OwnedFd> {
    let layer = sys::open(layer, DIRECTORY)?;
    // Without an upper layer overlayfs wants two lower ones.
    let tmpfs = FileSystem::open(c"tmpfs")?;
    tmpfs.set(c"nr_inodes", Some(c"1"))?;
    let empty = tmpfs.mount(attribute::RDONLY)?;
    sys::attach(empty.as_fd(), place)?;
    let mut layers = Text::new();
    layers.push_descriptor(layer.as_fd())?;
    layers.push(b":")?;
    layers.push_descriptor(empty.as_fd())?;
    let overlay = FileSystem::open(c"overlay")?;
    overlay.set(c"lowerdir", Some(layers.as_c_str()))?;
    for (key, value) in OPTIONS {
        overlay.set(key, Some(value))?;
    }
    let wrapped = overlay.mount(attribute::RDONLY | attribute::NODEV)?;
    sys::attach(wrapped.as_fd(), place)?;
    Ok(wrapped)
}

/// A new instance of a file system: its type, its options and the attributes of its mount.
pub struct New {
    /// `tmpfs`, `proc`, …
    pub kind: &'static CStr,
    /// Key and value, or a flag.
    pub options: Vec<(CString, Option<CString>)>,
    /// Module `sys::attribute`.
    pub attributes: u64,
}

impl New {
    /// Make it, attached nowhere.
    pub fn mount(&self) -> Result<OwnedFd> {
        let file_system = FileSystem::open(self.kind)?;
        for (key, value) in &self.options {
            file_system.set(key, value.as_deref())?;
        }
        file_system.mount(self.attributes)
    }
}

/// What a bind mount gets on top of what its source has.
pub struct BindAttributes {
    /// Module `sys::attribute`.
    pub attributes: u64,
    /// Whether they hold for the submounts as well.
    pub recursive: bool,
    /// MS_PRIVATE, MS_SLAVE or MS_SHARED.
    pub propagation: u64,
    /// Whether that holds for the submounts as well.
    pub propagation_recursive: bool,
}

/// Attach the detached copy `source` at `target` inside the root.
pub fn bind(root: BorrowedFd<'_>, source: BorrowedFd<'_>, target: &CStr, attributes: &BindAttributes) -> Result<()> {
    if attributes.attributes != 0 {
        sys::set_mount_attributes(source, attributes.attributes, 0, attributes.recursive)?;
    }
    sys::set_mount_attributes(source, 0, attributes.propagation, attributes.propagation_recursive)?;
    let mode = sys::stat(source)?.st_mode & libc::S_IFMT;
    let kind = if mode == libc::S_IFDIR { Kind::Directory } else { Kind::File };
    let point = root::mount_point(root, target, kind)?;
    sys::attach(source, point.as_fd())
}

/// Hide what is at `path`: a directory below `empty`, anything else below `null`. What is not there needs no hiding.
pub fn mask(root: BorrowedFd<'_>, path: &CStr, null: BorrowedFd<'_>, empty: &mut Option<OwnedFd>) -> Result<()> {
    let target = match root::open(root, path, libc::O_PATH) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        result => result?,
    };
    if sys::stat(target.as_fd())?.st_mode & libc::S_IFMT != libc::S_IFDIR {
        let copy = sys::clone_tree(Some(null), c"", false)?;
        // It is the host's inode: read-only, or root inside could change its mode.
        let attributes = attribute::RDONLY | attribute::NOSUID | attribute::NOEXEC;
        sys::set_mount_attributes(copy.as_fd(), attributes, 0, false)?;
        return sys::attach(copy.as_fd(), target.as_fd());
    }
    // One empty directory serves all: the first mask makes it, the others are copies of that mount.
    if let Some(first) = empty {
        return sys::attach(sys::clone_tree(Some(first.as_fd()), c"", false)?.as_fd(), target.as_fd());
    }
    let tmpfs = FileSystem::open(c"tmpfs")?;
    tmpfs.set(c"size", Some(c"0"))?;
    tmpfs.set(c"nr_inodes", Some(c"1"))?;
    tmpfs.set(c"mode", Some(c"555"))?;
    let attributes = attribute::RDONLY | attribute::NOSUID | attribute::NODEV | attribute::NOEXEC;
    let mount = tmpfs.mount(attributes)?;
    sys::attach(mount.as_fd(), target.as_fd())?;
    *empty = Some(mount);
    Ok(())
}

/// Make `path` read-only by a bind mount onto itself. What is not there needs no protection.
pub fn protect(root: BorrowedFd<'_>, path: &CStr) -> Result<()> {
    let target = match root::open(root, path, libc::O_PATH) {
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
        result => result?,
    };
    let copy = sys::clone_tree(Some(target.as_fd()), c"", true)?;
    sys::set_mount_attributes(copy.as_fd(), attribute::RDONLY, 0, true)?;
    sys::attach(copy.as_fd(), target.as_fd())
}

/// Text put together without an allocator.
struct Text {
    bytes: [u8; 4096],
    length: usize,
}

impl Text {
    fn new() -> Self {
        Self { bytes: [0; 4096], length: 0 }
    }

    /// `/proc/self/fd/N`.
    fn descriptor(fd: BorrowedFd<'_>) -> Self {
        let mut text = Self::new();
        // Always fits.
        let _ = text.push_descriptor(fd);
        text
    }

    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.length + bytes.len();
        // One byte stays for the NUL.
        if end >= self.bytes.len() {
            return Err(Errno::E2BIG);
        }
        for (slot, byte) in self.bytes.iter_mut().skip(self.length).zip(bytes) {
            *slot = *byte;
        }
        self.length = end;
        Ok(())
    }

    fn push_descriptor(&mut self, fd: BorrowedFd<'_>) -> Result<()> {
        self.push(b"/proc/self/fd/")?;
        let number = fd.as_raw_fd().unsigned_abs();
        let mut divisor = 1_000_000_000;
        let mut leading = true;
        while divisor > 0 {
            let digit = (number / divisor % 10) as u8;
            leading = leading && digit == 0 && divisor > 1;
            if !leading {
                self.push(&[b'0' + digit])?;
            }
            divisor /= 10;
        }
        Ok(())
    }

    /// `lowerdir=/proc/self/fd/N:/proc/self/fd/M`.
    fn push_lowerdirs(&mut self, lowerdirs: &[CString]) -> Result<()> {
        for (index, lowerdir) in lowerdirs.iter().enumerate() {
            // Left open on purpose: the text names them until the mount is made, and the process ends with exec.
            let lower = std::mem::ManuallyDrop::new(sys::open(lowerdir, DIRECTORY)?);
            self.push(if index == 0 { b"lowerdir=" } else { b":" })?;
            self.push_descriptor(lower.as_fd())?;
        }
        Ok(())
    }

    fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}
