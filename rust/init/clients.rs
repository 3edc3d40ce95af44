//! Who is attached: connections of SOCK_SEQPACKET, one message at a time (unix(7)).
//!
//! A message begins with a byte that says what it is; python/hyrun/attach.py and rust/session.rs speak the same.

use crate::socket;
use crate::sys::{self, Poll};

/// From a client: bytes for standard input; the terminal's new size (rows and columns, two bytes each, native order);
/// the end of the input; the client goes and the container stays.
pub const INPUT: u8 = 0;
pub const RESIZE: u8 = 1;
pub const END_OF_INPUT: u8 = 2;
pub const DETACH: u8 = 3;
/// To a client: what came on a stream; the exit status, four bytes.
pub const STDOUT: u8 = 1;
pub const STDERR: u8 = 2;
pub const EXITED: u8 = 3;

pub const MAX: usize = 16;
/// How long a client that does not read may hold up a container that has ended.
const PATIENCE: i64 = 2000;

#[derive(Clone, Copy)]
struct Client {
    fd: i32,
    /// The chunk that is on its way has not been taken yet.
    owed: bool,
    /// It has closed its end; what it said before is still to be read.
    gone: bool,
}

const NOBODY: Client = Client { fd: -1, owed: false, gone: false };

pub struct Clients {
    clients: [Client; MAX],
    /// The first one's place: the caller who waits in the foreground.
    first: Option<usize>,
}

/// What a client has said.
pub enum Said {
    /// So many bytes of the buffer, from its second byte on.
    Input(usize),
    Resize(u16, u16),
    EndOfInput,
    /// It has gone; true when it was the foreground's and did not say so before.
    Gone(bool),
    Nothing,
}

impl Clients {
    pub fn new(first: i32) -> Self {
        let mut clients = Self { clients: [NOBODY; MAX], first: None };
        if first >= 0 {
            sys::set_nonblocking(first);
            clients.clients[0].fd = first;
            clients.first = Some(0);
        }
        clients
    }

    /// Somebody knocks. False when the door cannot be opened now: there is no free descriptor, or no memory.
    pub fn accept(&mut self, listener: i32) -> bool {
        let fd = match sys::accept(listener) {
            Ok(fd) => fd,
            // Who knocked may have gone again.
            Err(errno) => return matches!(errno, sys::EAGAIN | sys::EINTR | sys::ECONNABORTED),
        };
        match self.clients.iter_mut().find(|client| client.fd < 0) {
            Some(place) => *place = Client { fd, owed: false, gone: false },
            None => sys::close(fd),
        }
        true
    }

    /// Whether a chunk is on its way: nothing else is read from the container until all have it. A client that reads
    /// slowly slows the container down, as a pipe would; nothing piles up here.
    pub fn owed(&self) -> bool {
        self.clients.iter().any(|client| client.owed)
    }

    /// What to wait for, in the order of the places. `listen`: there is room for input.
    pub fn polls(&self, listen: bool) -> [Poll; MAX] {
        self.clients.map(|client| {
            let events = if client.owed { sys::POLLOUT } else { 0 } | if listen { sys::POLLIN } else { 0 };
            Poll::new(if client.gone && !listen { -1 } else { client.fd }, events)
        })
    }

    /// Send a chunk to everybody.
    pub fn send(&mut self, kind: u8, chunk: &[u8]) {
        for client in self.clients.iter_mut().filter(|client| client.fd >= 0) {
            client.owed = true;
            client.deliver(kind, chunk);
        }
    }

    /// Send it again to those who had no room.
    pub fn send_again(&mut self, kind: u8, chunk: &[u8]) {
        for client in self.clients.iter_mut().filter(|client| client.owed) {
            client.deliver(kind, chunk);
        }
    }

    /// Give everybody a chance to take the chunk, for some time: the container has ended.
    pub fn settle(&mut self, kind: u8, chunk: &[u8]) {
        while self.owed() {
            let mut polls = self.polls(false);
            for (poll, client) in polls.iter_mut().zip(&self.clients) {
                if !client.owed {
                    poll.fd = -1;
                }
            }
            if sys::poll(&mut polls, PATIENCE) == 0 {
                for place in 0..MAX {
                    if self.clients[place].owed {
                        self.drop(place);
                    }
                }
                return;
            }
            self.send_again(kind, chunk);
        }
    }

    /// A client has closed its end while there is no room for what it may have said before. Whether it was the
    /// foreground's, and did not say that the container stays: that is looked for now, and its input is lost.
    pub fn note_gone(&mut self, place: usize) -> bool {
        if self.first == Some(place) {
            let mut kind = [0];
            loop {
                match self.receive(place, &mut kind) {
                    Ok(1) if kind[0] == DETACH => {
                        self.drop(place);
                        return false;
                    }
                    Ok(1) => {}
                    _ => return self.drop(place),
                }
            }
        }
        if let Some(client) = self.clients.get_mut(place) {
            client.gone = true;
            client.owed = false;
        }
        false
    }

    /// One message, or its beginning. A client that has left something unread is a reset connection, which is said once
    /// and before what it has sent: that is still to be read.
    fn receive(&self, place: usize, buffer: &mut [u8]) -> Result<usize, i32> {
        let fd = self.clients.get(place).map_or(-1, |client| client.fd);
        match sys::read(fd, buffer) {
            Err(sys::ECONNRESET) => sys::read(fd, buffer),
            result => result,
        }
    }

    /// Take one message of the client at `place` into `buffer`.
    pub fn take(&mut self, place: usize, buffer: &mut [u8]) -> Said {
        match self.receive(place, buffer) {
            Ok(0) => Said::Gone(self.drop(place)),
            Err(sys::EAGAIN | sys::EINTR) => Said::Nothing,
            Err(_) => Said::Gone(self.drop(place)),
            Ok(length) => match (buffer[0], length) {
                (INPUT, 2..) => Said::Input(length - 1),
                (RESIZE, 5) => {
                    Said::Resize(u16::from_ne_bytes([buffer[1], buffer[2]]), u16::from_ne_bytes([buffer[3], buffer[4]]))
                }
                (END_OF_INPUT, _) => Said::EndOfInput,
                (DETACH, _) => {
                    self.drop(place);
                    Said::Gone(false)
                }
                _ => Said::Nothing,
            },
        }
    }

    /// The end: tell everybody.
    pub fn say_exited(&mut self, status: i32) {
        self.send(EXITED, &status.to_ne_bytes());
        self.settle(EXITED, &status.to_ne_bytes());
        for place in 0..MAX {
            self.drop(place);
        }
    }

    /// Whether it was the foreground's.
    fn drop(&mut self, place: usize) -> bool {
        if let Some(client) = self.clients.get_mut(place) {
            sys::close(client.fd);
            *client = NOBODY;
        }
        if self.first == Some(place) {
            self.first = None;
            return true;
        }
        false
    }
}

impl Client {
    /// A client that has gone is found out by poll(2).
    fn deliver(&mut self, kind: u8, chunk: &[u8]) {
        match socket::send(self.fd, &[kind], chunk) {
            Err(sys::EAGAIN | sys::EINTR) => {}
            _ => self.owed = false,
        }
    }
}
