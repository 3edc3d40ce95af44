//! Buffers that travel from one thread to the next and back again.
//!
//! What bounds a pipe is the number of its buffers: a thread that is ahead waits until one comes back. No memory is
//! allocated on the way, and none grows with the layer.
use std::sync::mpsc::{Receiver, Sender, channel};

/// Bytes of one buffer: what is asked of the kernel, decoded, hashed and written at once.
pub(super) const CHUNK: usize = 256 << 10;

/// One buffer and how much of it is filled.
pub(super) struct Chunk {
    pub(super) bytes: Box<[u8]>,
    pub(super) filled: usize,
}

impl Chunk {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; CHUNK].into_boxed_slice(), filled: 0 }
    }

    pub(super) fn ready(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }
}

/// What comes out of a pipe: buffers, and then one last word.
pub(super) enum Message<End> {
    Bytes(Chunk),
    End(End),
}

/// The end where buffers are filled.
pub(super) struct Outlet<End> {
    pub(super) full: Sender<Message<End>>,
    pub(super) spare: Receiver<Chunk>,
}

/// The end where they are used up.
pub(super) struct Inlet<End> {
    pub(super) full: Receiver<Message<End>>,
    pub(super) spare: Sender<Chunk>,
}

/// A pipe of `count` buffers.
pub(super) fn pipe<End>(count: usize) -> (Outlet<End>, Inlet<End>) {
    let (full, full_out) = channel();
    let (spare, spare_out) = channel();
    for _ in 0..count {
        // The receiver is right here.
        let _ = spare.send(Chunk::new());
    }
    (Outlet { full, spare: spare_out }, Inlet { full: full_out, spare })
}
