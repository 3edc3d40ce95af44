//! The work of an inventory, shared by its threads.
use std::ffi::CString;
use std::sync::{Condvar, Mutex, PoisonError};

use nix::dir::Type;

/// A piece of work.
pub(super) enum Work {
    Directory(Vec<u8>),
    Names(Vec<u8>, Vec<(CString, Option<Type>)>),
}

/// Work to be done, and how many threads are at it (and may find more).
pub(super) struct Queue {
    state: Mutex<(Vec<Work>, usize)>,
    changed: Condvar,
}

/// A piece of work that counts as being done until this is dropped.
pub(super) struct Taken<'a> {
    pub(super) work: Work,
    _under_way: UnderWay<'a>,
}

struct UnderWay<'a>(&'a Queue);

impl Queue {
    pub(super) fn new(first: Work) -> Self {
        Self { state: Mutex::new((vec![first], 0)), changed: Condvar::new() }
    }

    /// The next piece; None when everything is done.
    pub(super) fn take(&self) -> Option<Taken<'_>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(work) = state.0.pop() {
                state.1 += 1;
                return Some(Taken { work, _under_way: UnderWay(self) });
            }
            if state.1 == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn add(&self, works: impl IntoIterator<Item = Work>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0.extend(works);
        self.changed.notify_all();
    }
}

impl Drop for UnderWay<'_> {
    /// Also when the thread panics: the others would wait for it for ever.
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).1 -= 1;
        self.0.changed.notify_all();
    }
}
