//! fork(2) in another thread, while a spawn is under way: its child would hold a copy of the report pipe's write end,
//! and the spawn would wait for that child's end. So every fork of the process closes such copies, in the child.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use nix::libc;

use crate::sys;

/// More spawns than this at once are not protected, and work all the same.
const SLOTS: usize = 256;
const FREE: i32 = -1;
const TAKEN: i32 = -2;

/// A descriptor and the inode of its pipe: by the time of the fork, the number may be somebody else's.
struct Slot {
    fd: AtomicI32,
    inode: AtomicU64,
}

static WRITERS: [Slot; SLOTS] = [const { Slot { fd: AtomicI32::new(FREE), inode: AtomicU64::new(0) } }; SLOTS];

/// As long as it lives, forked children close the descriptor.
pub struct InFlight(Option<&'static Slot>);

/// Name a descriptor that no forked child may keep.
pub fn close_in_forked_children(fd: BorrowedFd<'_>) -> InFlight {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: the handler obeys signal-safety(7): it reads atomics, asks for inodes and closes.
        unsafe { libc::pthread_atfork(None, None, Some(close_all)) };
    });
    let Ok(status) = sys::stat(fd) else { return InFlight(None) };
    let claim = |slot: &&Slot| slot.fd.compare_exchange(FREE, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    let slot = WRITERS.iter().find(claim);
    if let Some(slot) = slot {
        slot.inode.store(status.st_ino, Ordering::Release);
        slot.fd.store(fd.as_raw_fd(), Ordering::Release);
    }
    InFlight(slot)
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(slot) = self.0 {
            slot.fd.store(FREE, Ordering::Release);
        }
    }
}

/// Runs in the child of a fork, where the threads that were spawning do not exist.
unsafe extern "C" fn close_all() {
    for slot in &WRITERS {
        let fd = slot.fd.swap(FREE, Ordering::AcqRel);
        if fd < 0 {
            continue;
        }
        // SAFETY: only asked for its status, which fails for a number that is not open.
        let status = sys::stat(unsafe { BorrowedFd::borrow_raw(fd) });
        if status.is_ok_and(|status| status.st_ino == slot.inode.load(Ordering::Acquire)) {
            // SAFETY: the child's copy of a pipe that nobody here uses.
            unsafe { libc::close(fd) };
        }
    }
}
