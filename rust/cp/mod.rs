//! `cp`: files between a container and the host, by descriptor.
//!
//! One side gives entries, the other takes them: [`walk`] (a tree) or [`reader`] (a tar) feed an [`entry::Sink`], which
//! is [`extract`] (a tree) or [`writer`] (a tar). Either tree may belong to a container that moves its directories and
//! swaps symlinks for them meanwhile: nothing is followed, no path is used by name twice, no device and no fifo is
//! opened, and nothing that exists is written through. [`root`] makes the tree of a container that does not run.
mod entry;
mod extract;
pub mod python;
mod reader;
mod root;
mod walk;
mod writer;

use std::os::fd::BorrowedFd;

use crate::sys;

/// proc, sysfs, devpts, cgroup (1 and 2), mqueue, debugfs, tracefs, securityfs, bpf, pstore, efivarfs, configfs,
/// binfmt_misc, selinuxfs, nsfs: what their files say and do depends on who asks (statfs(2), linux/magic.h).
const KERNEL: [i64; 16] = [
    0x9fa0,
    0x6265_6572,
    0x1cd1,
    0x0027_e0eb,
    0x6367_7270,
    0x1980_0202,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xcafe_4a11,
    0x6165_676c,
    0xde5e_81e4,
    0x6265_6570,
    0x4249_4e4d,
    0xf97c_ff8c,
    0x6e73_6673,
];

/// Whether an open file is on a file system that is an interface of the kernel. A container would choose, by a
/// symlink, which of them is read or written with this process's rights.
pub(crate) fn is_kernel_interface(fd: BorrowedFd<'_>) -> nix::Result<bool> {
    // The field is signed on some machines and its magic numbers are 32 bits wide.
    Ok(KERNEL.contains(&(sys::file_system_magic(fd)? & 0xffff_ffff)))
}
