//! The system calls that nix lacks, or wraps in a way that allocates. Each is one call and its man page.
//!
//! Everything here may be called between clone and execve: no allocation, no lock, no panic.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc::{self, c_int, c_long, c_uint, c_void};

/// The result of a system call.
pub type Result<T> = std::result::Result<T, Errno>;

/// openat2(2): how a path is resolved.
pub mod resolve {
    /// Refuse `/proc/<pid>/fd/N` and its like, which lead anywhere.
    pub const NO_MAGICLINKS: u64 = 0x02;
    /// Refuse any symlink.
    pub const NO_SYMLINKS: u64 = 0x04;
    /// Treat the directory as `/`: `..` and absolute symlinks stay below it.
    pub const IN_ROOT: u64 = 0x10;
}

/// mount_setattr(2) and fsmount(2): attributes of a mount.
pub mod attribute {
    /// Read-only.
    pub const RDONLY: u64 = 0x01;
    /// Setuid files have no effect.
    pub const NOSUID: u64 = 0x02;
    /// Device nodes cannot be opened.
    pub const NODEV: u64 = 0x04;
    /// Nothing can be executed.
    pub const NOEXEC: u64 = 0x08;
}

const OPEN_TREE_CLONE: c_uint = 1;
const OPEN_TREE_CLOEXEC: c_uint = libc::O_CLOEXEC as c_uint;
const AT_RECURSIVE: c_uint = 0x8000;
const MOVE_MOUNT_F_EMPTY_PATH: c_uint = 0x04;
const MOVE_MOUNT_T_EMPTY_PATH: c_uint = 0x40;
const FSOPEN_CLOEXEC: c_uint = 1;
const FSMOUNT_CLOEXEC: c_uint = 1;
const FSCONFIG_SET_FLAG: c_uint = 0;
const FSCONFIG_SET_STRING: c_uint = 1;
const FSCONFIG_CMD_CREATE: c_uint = 6;
const EMPTY: &CStr = c"";

fn check(result: c_long) -> Result<c_long> {
    if result < 0 { Err(Errno::last()) } else { Ok(result) }
}

fn descriptor(result: c_long) -> Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

fn unit(result: c_long) -> Result<()> {
    check(result).map(|_| ())
}

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// openat2(2), close-on-exec. Retried while a rename elsewhere makes the kernel give up (EAGAIN).
pub fn open_at(directory: BorrowedFd<'_>, path: &CStr, flags: c_int, mode: u32, resolve: u64) -> Result<OwnedFd> {
    // O_PATH allows no other flags than these, and a mode only goes with O_CREAT.
    let how = OpenHow { flags: (flags | libc::O_CLOEXEC) as u64, mode: u64::from(mode), resolve };
    for _ in 0..128 {
        // SAFETY: path is NUL-terminated, how has the size that is given.
        let result = descriptor(unsafe {
            libc::syscall(libc::SYS_openat2, directory.as_raw_fd(), path.as_ptr(), &raw const how, size_of::<OpenHow>())
        });
        match result {
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            other => return other,
        }
    }
    Err(Errno::EAGAIN)
}

/// open(2) of an absolute path of the host, close-on-exec.
pub fn open(path: &CStr, flags: c_int) -> Result<OwnedFd> {
    // SAFETY: path is NUL-terminated.
    descriptor(c_long::from(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) }))
}

/// open_tree(2) with OPEN_TREE_CLONE: a detached copy of the mount at `path`, with its submounts if `recursive`.
pub fn clone_tree(directory: Option<BorrowedFd<'_>>, path: &CStr, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as c_uint;
    if recursive {
        flags |= AT_RECURSIVE;
    }
    let directory = directory.map_or(libc::AT_FDCWD, |fd| fd.as_raw_fd());
    // SAFETY: path is NUL-terminated.
    descriptor(unsafe { libc::syscall(libc::SYS_open_tree, directory, path.as_ptr(), flags) })
}

/// move_mount(2) of a detached mount onto an open directory or file.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<()> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are empty strings.
    unit(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            EMPTY.as_ptr(),
            target.as_raw_fd(),
            EMPTY.as_ptr(),
            flags,
        )
    })
}

#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// mount_setattr(2) on an open mount: set `attributes` (module `attribute`) and `propagation` (MS_PRIVATE…, 0: as is).
pub fn set_mount_attributes(mount: BorrowedFd<'_>, attributes: u64, propagation: u64, recursive: bool) -> Result<()> {
    let attributes = MountAttributes { set: attributes, clear: 0, propagation, userns_fd: 0 };
    let mut flags = libc::AT_EMPTY_PATH as c_uint;
    if recursive {
        flags |= AT_RECURSIVE;
    }
    // SAFETY: attributes has the size that is given.
    unit(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            EMPTY.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    })
}

/// A file system being configured: fsopen(2).
pub struct FileSystem(OwnedFd);

impl FileSystem {
    /// Start with a type, for instance `c"tmpfs"`, which is also what the mount table will call its source.
    pub fn open(kind: &CStr) -> Result<Self> {
        // SAFETY: kind is NUL-terminated.
        let fd = descriptor(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
        let file_system = Self(fd);
        file_system.set(c"source", Some(kind))?;
        Ok(file_system)
    }

    /// Set `key` to `value`, or as a flag without one. The kernel takes values of up to 255 bytes.
    pub fn set(&self, key: &CStr, value: Option<&CStr>) -> Result<()> {
        let command = if value.is_some() { FSCONFIG_SET_STRING } else { FSCONFIG_SET_FLAG };
        let value = value.map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: key is NUL-terminated, value too or null as the command wants it.
        unit(unsafe { libc::syscall(libc::SYS_fsconfig, self.0.as_raw_fd(), command, key.as_ptr(), value, 0) })
    }

    /// Create the superblock and return it as a detached mount: fsmount(2). No mount table shows it.
    pub fn mount(self, attributes: u64) -> Result<OwnedFd> {
        let null = std::ptr::null::<c_void>();
        // SAFETY: this command takes no key and no value.
        unit(unsafe { libc::syscall(libc::SYS_fsconfig, self.0.as_raw_fd(), FSCONFIG_CMD_CREATE, null, null, 0) })?;
        // SAFETY: integers only.
        descriptor(unsafe {
            libc::syscall(libc::SYS_fsmount, self.0.as_raw_fd(), FSMOUNT_CLOEXEC, attributes as c_uint)
        })
    }
}

/// mount(2), for the two uses that the calls above do not cover.
pub fn mount(source: Option<&CStr>, target: &CStr, kind: Option<&CStr>, flags: u64, data: Option<&CStr>) -> Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: all strings are NUL-terminated or null.
    unit(c_long::from(unsafe {
        libc::mount(pointer(source), target.as_ptr(), pointer(kind), flags, pointer(data).cast())
    }))
}

/// pivot_root(".", ".") with the current directory on the new root; the old one is then stacked on top of it.
pub fn pivot_here() -> Result<()> {
    // SAFETY: both paths are NUL-terminated.
    unit(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })
}

/// umount2(2) with MNT_DETACH.
pub fn detach(path: &CStr) -> Result<()> {
    // SAFETY: path is NUL-terminated.
    unit(c_long::from(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) }))
}

/// fchdir(2).
pub fn change_directory(directory: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: an open descriptor.
    unit(c_long::from(unsafe { libc::fchdir(directory.as_raw_fd()) }))
}

/// mkdirat(2).
pub fn make_directory(parent: BorrowedFd<'_>, name: &CStr, mode: u32) -> Result<()> {
    // SAFETY: name is NUL-terminated.
    unit(c_long::from(unsafe { libc::mkdirat(parent.as_raw_fd(), name.as_ptr(), mode) }))
}

/// mknodat(2) of a character device.
pub fn make_device(parent: BorrowedFd<'_>, name: &CStr, mode: u32, major: u32, minor: u32) -> Result<()> {
    let device = libc::makedev(major, minor);
    // SAFETY: name is NUL-terminated.
    unit(c_long::from(unsafe { libc::mknodat(parent.as_raw_fd(), name.as_ptr(), libc::S_IFCHR | mode, device) }))
}

/// symlinkat(2).
pub fn make_symlink(content: &CStr, parent: BorrowedFd<'_>, name: &CStr) -> Result<()> {
    // SAFETY: both strings are NUL-terminated.
    unit(c_long::from(unsafe { libc::symlinkat(content.as_ptr(), parent.as_raw_fd(), name.as_ptr()) }))
}

/// readlinkat(2) into `buffer`; the number of bytes.
pub fn read_link(parent: BorrowedFd<'_>, name: &CStr, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: name is NUL-terminated, the buffer has the length that is given.
    let n = unsafe { libc::readlinkat(parent.as_raw_fd(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    check(n as c_long).map(|n| n as usize)
}

/// fstat(2).
pub fn stat(fd: BorrowedFd<'_>) -> Result<libc::stat> {
    // SAFETY: an all-zero stat is a valid value, and the kernel fills it.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: status is valid memory for a stat.
    unit(c_long::from(unsafe { libc::fstat(fd.as_raw_fd(), &raw mut status) }))?;
    Ok(status)
}

/// fstatfs(2): the magic number of the file system.
pub fn file_system_magic(fd: BorrowedFd<'_>) -> Result<i64> {
    // SAFETY: an all-zero statfs is a valid value, and the kernel fills it.
    let mut status: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: status is valid memory for a statfs.
    unit(c_long::from(unsafe { libc::fstatfs(fd.as_raw_fd(), &raw mut status) }))?;
    #[allow(clippy::unnecessary_cast, reason = "the field's type differs between C libraries")]
    Ok(status.f_type as i64)
}

/// write(2), all of it.
pub fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        // SAFETY: the slice is valid memory.
        let n = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
        match check(n as c_long) {
            Ok(n) => bytes = bytes.get(n as usize..).unwrap_or(&[]),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// fcntl(2), F_DUPFD_CLOEXEC: a copy that is neither 0, 1 nor 2.
pub fn duplicate_above_stdio(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: integers only.
    descriptor(c_long::from(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) }))
}

/// fcntl(2), F_DUPFD_CLOEXEC: a copy whose number is not below `least`.
pub fn duplicate_above(fd: RawFd, least: RawFd) -> Result<OwnedFd> {
    // SAFETY: integers only.
    descriptor(c_long::from(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least) }))
}

/// close(2) of a number, whatever it is.
pub fn close(fd: RawFd) {
    // SAFETY: only called in a child that is about to exec, where nobody owns descriptors any more.
    unsafe { libc::close(fd) };
}

/// pidfd_open(2).
pub fn open_process(pid: i32) -> Result<OwnedFd> {
    // SAFETY: integers only.
    descriptor(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// dup2(2): the copy stays open through exec.
pub fn duplicate_onto(fd: BorrowedFd<'_>, number: RawFd) -> Result<()> {
    // SAFETY: integers only.
    unit(c_long::from(unsafe { libc::dup2(fd.as_raw_fd(), number) }))
}

/// fcntl(2): let `fd` stay open through exec.
pub fn keep_through_exec(fd: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: integers only.
    unit(c_long::from(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) }))
}

/// close_range(2) with CLOSE_RANGE_CLOEXEC: every descriptor from `first` on is closed by exec.
pub fn close_on_exec_from(first: c_uint) -> Result<()> {
    const CLOSE_RANGE_CLOEXEC: c_uint = 4;
    // SAFETY: integers only.
    unit(unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, CLOSE_RANGE_CLOEXEC) })
}

/// sethostname(2) in the current UTS namespace.
pub fn set_hostname(name: &CStr) -> Result<()> {
    // SAFETY: the length excludes the NUL.
    unit(c_long::from(unsafe { libc::sethostname(name.as_ptr(), name.to_bytes().len()) }))
}

/// setsid(2): no controlling terminal any more.
pub fn new_session() -> Result<()> {
    // SAFETY: no arguments.
    unit(c_long::from(unsafe { libc::setsid() }))
}

/// umask(2). Belongs to this process alone unless it was cloned with CLONE_FS.
pub fn set_umask(mask: u32) {
    // SAFETY: an integer; it cannot fail.
    unsafe { libc::umask(mask as libc::mode_t) };
}

/// Bring `lo` up in the current network namespace: netdevice(7), SIOCSIFFLAGS.
pub fn loopback_up() -> Result<()> {
    // SAFETY: integers only.
    let socket =
        descriptor(c_long::from(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }))?;
    // SAFETY: an all-zero ifreq is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *slot = *byte as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is an ifreq, as this call wants it.
    unit(c_long::from(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) }))
}

/// recvmsg(2): take the one descriptor that was sent over a socket (unix(7), SCM_RIGHTS); ENOMSG when there is none.
pub fn receive_descriptor(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    let mut byte = 0u8;
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // Aligned as a cmsghdr, with room for one descriptor.
    let mut control = [0u64; 4];
    // SAFETY: an all-zero msghdr is a valid value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the message points to memory that lives as long as the call.
    let n = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    check(n as c_long)?;
    // SAFETY: the kernel has filled the control buffer; a header is only read where it says that one is.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if header.is_null() || (*header).cmsg_level != libc::SOL_SOCKET || (*header).cmsg_type != libc::SCM_RIGHTS {
            return Err(Errno::ENOMSG);
        }
        Ok(OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned()))
    }
}

/// execveat(2) of the file behind `fd`. Returns only the error.
///
/// # Safety
/// Both arrays hold NUL-terminated strings and end with NULL.
pub unsafe fn exec_descriptor(
    fd: BorrowedFd<'_>,
    argv: *const *const libc::c_char,
    envp: *const *const libc::c_char,
) -> Errno {
    // SAFETY: as promised by the caller.
    unsafe {
        libc::syscall(libc::SYS_execveat, fd.as_raw_fd(), EMPTY.as_ptr(), argv, envp, libc::AT_EMPTY_PATH);
    }
    Errno::last()
}

/// pidfd_send_signal(2).
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: c_int) -> Result<()> {
    let info = std::ptr::null::<c_void>();
    // SAFETY: no siginfo is given.
    unit(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) })
}
