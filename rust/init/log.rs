//! The container's log: one record a line, `TIME STREAM TAG BYTES`. The tag is `F` for a whole line and `P` for a part of
//! one that goes on in the next record of its stream. hyrun/logs.py reads it.

use crate::clock;
use crate::sys;
use crate::template::Text;

const NAME: &[u8] = b"container.log\0";
/// What will be `container.log` in a moment.
const NEXT: &[u8] = b".container.log\0";
const ROOM: usize = 32 * 1024;
const HEADER: usize = clock::LENGTH + 10;

pub struct Log {
    fd: i32,
    directory: i32,
    size: u64,
    /// Begin a new file beyond this many bytes; 0 for never.
    max_size: u64,
    max_files: u64,
    /// The last write was cut: what follows begins on a line of its own.
    torn: bool,
    buffer: [u8; ROOM],
    used: usize,
}

impl Log {
    /// Go on at the end of the file behind `fd`, in the container's `directory`.
    pub fn new(fd: i32, directory: i32, max_size: u64, max_files: u64) -> Self {
        let size = if max_size == 0 { 0 } else { sys::size(fd) };
        Self { fd, directory, size, max_size, max_files, torn: false, buffer: [0; ROOM], used: 0 }
    }

    /// Write down what has been read of a stream.
    pub fn append(&mut self, stream: &[u8; 6], mut bytes: &[u8]) {
        if self.fd < 0 {
            return;
        }
        let time = clock::timestamp();
        while !bytes.is_empty() {
            let (line, rest, tag) = match bytes.iter().position(|&byte| byte == b'\n') {
                Some(end) => (&bytes[..end], &bytes[end + 1..], b" F "),
                None => (bytes, &[][..], b" P "),
            };
            if self.used + HEADER + line.len() + 1 > ROOM {
                self.flush();
            }
            for part in [&time[..], b" ", stream, tag, line, b"\n"] {
                if let Some(room) = self.buffer.get_mut(self.used..self.used + part.len()) {
                    room.copy_from_slice(part);
                    self.used += part.len();
                }
            }
            bytes = rest;
        }
        self.flush();
    }

    /// A full disk loses what does not fit into the log; the container goes on.
    fn flush(&mut self) {
        if self.max_size > 0 && self.size > 0 && self.size + self.used as u64 > self.max_size {
            self.rotate();
        }
        if self.torn && sys::write_some(self.fd, b"\n").is_ok() {
            self.torn = false;
        }
        let mut rest = self.buffer.get(..self.used).unwrap_or(&[]);
        while !rest.is_empty() && !self.torn {
            match sys::write_some(self.fd, rest) {
                Ok(count) => {
                    self.size += count as u64;
                    rest = rest.get(count..).unwrap_or(&[]);
                }
                Err(sys::EINTR) => {}
                Err(_) => {
                    self.torn = rest.len() < self.used;
                    break;
                }
            }
        }
        self.used = 0;
    }

    /// `container.log` becomes `container.log.1` and so on; the oldest one goes.
    fn rotate(&mut self) {
        let numbered = |number: u64| {
            let mut name = Text::<40>::new();
            name.push(b"container.log.");
            name.push_number(number as i64);
            name.push(b"\0");
            name
        };
        let flags = sys::O_WRONLY | sys::O_APPEND | sys::O_CREAT | sys::O_TRUNC | sys::O_CLOEXEC | sys::O_NOFOLLOW;
        // First the new one: on a full disk there is none, and the others stay what they are.
        let name = if self.max_files > 1 { NEXT } else { NAME };
        let Ok(fd) = sys::open_at(self.directory, name, flags, 0o600) else { return };
        if self.max_files > 1 {
            for number in (1..self.max_files - 1).rev() {
                // Not all of them need be there.
                let _ = sys::rename_at(self.directory, numbered(number).as_bytes(), numbered(number + 1).as_bytes());
            }
            let _ = sys::rename_at(self.directory, NAME, numbered(1).as_bytes());
            let _ = sys::rename_at(self.directory, NEXT, NAME);
        }
        sys::close(self.fd);
        self.fd = fd;
        self.size = 0;
    }
}
