//! System calls that a container does not get: those that reach what no namespace divides (keys, kernel modules, clocks,
//! BPF), those that make namespaces and mounts (a new user namespace has every capability in it, and with that the
//! host's cgroup tree), and two that type into a terminal (seccomp(2), Documentation/userspace-api/seccomp_filter.rst).
//!
//! The refusals are a search tree: at the installation the kernel follows the filter once for each system call number
//! there is, and remembers those that are always allowed. With a list that took as long as mounting the overlay.
//!
//! Programs for another ABI of the same machine (32-bit, x32) get ENOSYS: their numbers differ.

use crate::sys::{self, ENOSYS};
use crate::{Failure, Step};

#[cfg(target_arch = "x86_64")]
mod machine {
    pub const ARCHITECTURE: u32 = 0xc000_003e;
    pub const CLONE: u32 = 56;
    pub const UNSHARE: u32 = 272;
    pub const SOCKET: u32 = 41;
    pub const IOCTL: u32 = 16;
    pub const CLONE3: u32 = 435;
    /// acct, add_key, adjtimex, bpf, clock_adjtime, clock_settime, delete_module, finit_module, init_module, ioperm,
    /// iopl, kexec_file_load, kexec_load, keyctl, mount, open_by_handle_at, perf_event_open, pivot_root, quotactl,
    /// reboot, request_key, setns, settimeofday, swapoff, swapon, syslog, umount2, userfaultfd, vhangup.
    pub const REFUSED: [u32; 29] = [
        163, 248, 159, 321, 305, 227, 176, 313, 175, 173, 172, 320, 246, 250, 165, 304, 298, 155, 179, 169, 249, 308,
        164, 168, 167, 103, 166, 323, 153,
    ];
}

#[cfg(target_arch = "aarch64")]
mod machine {
    pub const ARCHITECTURE: u32 = 0xc000_00b7;
    pub const CLONE: u32 = 220;
    pub const UNSHARE: u32 = 97;
    pub const SOCKET: u32 = 198;
    pub const IOCTL: u32 = 29;
    pub const CLONE3: u32 = 435;
    /// As above, without ioperm and iopl, which are x86's.
    pub const REFUSED: [u32; 27] = [
        89, 217, 171, 280, 266, 112, 106, 273, 105, 294, 104, 219, 40, 265, 241, 41, 60, 142, 218, 268, 170, 225, 224,
        116, 39, 282, 58,
    ];
}

/// What is refused whatever its arguments are, in ascending order.
const ALL_REFUSED: [u32; machine::REFUSED.len() + REFUSED_EVERYWHERE.len()] = {
    let mut all = [0; machine::REFUSED.len() + REFUSED_EVERYWHERE.len()];
    let mut length = 0;
    while length < all.len() {
        let split = machine::REFUSED.len();
        let number = if length < split { machine::REFUSED[length] } else { REFUSED_EVERYWHERE[length - split] };
        let mut place = length;
        while place > 0 && all[place - 1] > number {
            all[place] = all[place - 1];
            place -= 1;
        }
        all[place] = number;
        length += 1;
    }
    all
};

/// The same number everywhere: io_uring_setup, io_uring_enter, io_uring_register, open_tree, move_mount, fsopen,
/// fsconfig, fsmount, fspick, mount_setattr, quotactl_fd, open_tree_attr.
const REFUSED_EVERYWHERE: [u32; 12] = [425, 426, 427, 428, 429, 430, 431, 432, 433, 442, 443, 467];

const CLONE_NEWTIME: u32 = 0x80;
/// All CLONE_NEW* but NEWTIME, whose bit is part of the exit signal for clone(2).
const CLONE_NEW: u32 = 0x7e02_0000;
const AF_ALG: u32 = 38;
const AF_VSOCK: u32 = 40;
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;
const EPERM: i32 = 1;
const EAFNOSUPPORT: i32 = 97;
/// Numbers from here on are x32's.
const X32: u32 = 0x4000_0000;

const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const NOT_LESS: u16 = 0x35;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;

/// Offsets in struct seccomp_data; the low half of an argument, which is all that these system calls look at.
const NUMBER: u32 = 0;
const MACHINE: u32 = 4;
const ARGUMENT_0: u32 = 16;
const ARGUMENT_1: u32 = 24;

#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

struct Program {
    instructions: [Instruction; LENGTH],
    length: usize,
}

/// More than there are.
const LENGTH: usize = 192;

impl Program {
    fn push(&mut self, code: u16, value: u32, if_true: u8, if_false: u8) {
        if let Some(slot) = self.instructions.get_mut(self.length) {
            *slot = Instruction { code, if_true, if_false, value };
            self.length += 1;
        }
    }

    /// Refuse with `errno` when the test holds.
    fn refuse_if(&mut self, test: u16, value: u32, errno: i32) {
        self.push(test, value, 0, 1);
        self.refuse(errno);
    }

    fn refuse(&mut self, errno: i32) {
        const RETURN_ERRNO: u32 = 0x0005_0000;
        self.push(RETURN, RETURN_ERRNO | errno as u32, 0, 0);
    }

    /// For one system call: refuse it when its argument passes one of the tests, allow it otherwise.
    fn judge(&mut self, number: u32, argument: u32, tests: &[(u16, u32, i32)]) {
        let length = 2 + 2 * tests.len();
        self.push(EQUAL, number, 0, length as u8);
        self.push(LOAD, argument, 0, 0);
        for &(test, value, errno) in tests {
            self.refuse_if(test, value, errno);
        }
        self.push(RETURN, ALLOW, 0, 0);
    }

    /// Refuse these numbers, which ascend, and allow all others.
    fn search(&mut self, numbers: &[u32]) {
        if numbers.len() <= 3 {
            for &number in numbers {
                self.refuse_if(EQUAL, number, EPERM);
            }
            return self.push(RETURN, ALLOW, 0, 0);
        }
        let (less, others) = numbers.split_at(numbers.len() / 2);
        let fork = self.length;
        self.push(NOT_LESS, others[0], 0, 0);
        self.search(less);
        let skipped = self.length - fork - 1;
        if let Some(slot) = self.instructions.get_mut(fork) {
            slot.if_true = skipped as u8;
        }
        self.search(others);
    }
}

/// Install the filter for this process and all that come of it. Needs CAP_SYS_ADMIN or no_new_privs.
pub fn refuse_system_calls() -> Result<(), Failure> {
    let empty = Instruction { code: 0, if_true: 0, if_false: 0, value: 0 };
    let mut program = Program { instructions: [empty; LENGTH], length: 0 };
    program.push(LOAD, MACHINE, 0, 0);
    program.push(EQUAL, machine::ARCHITECTURE, 1, 0);
    program.refuse(ENOSYS);
    program.push(LOAD, NUMBER, 0, 0);
    program.refuse_if(NOT_LESS, X32, ENOSYS);
    // C libraries fall back to clone, whose flags can be looked at.
    program.refuse_if(EQUAL, machine::CLONE3, ENOSYS);
    program.judge(machine::CLONE, ARGUMENT_0, &[(ANY_BIT, CLONE_NEW, EPERM)]);
    program.judge(machine::UNSHARE, ARGUMENT_0, &[(ANY_BIT, CLONE_NEW | CLONE_NEWTIME, EPERM)]);
    let families = [(EQUAL, AF_ALG, EAFNOSUPPORT), (EQUAL, AF_VSOCK, EAFNOSUPPORT)];
    program.judge(machine::SOCKET, ARGUMENT_0, &families);
    let requests = [(EQUAL, TIOCSTI, EPERM), (EQUAL, TIOCLINUX, EPERM)];
    program.judge(machine::IOCTL, ARGUMENT_1, &requests);
    program.search(&ALL_REFUSED);
    sys::install_filter(program.length, program.instructions.as_ptr().cast())
        .map_err(|errno| (Step::Seccomp, errno))?;
    Ok(())
}
