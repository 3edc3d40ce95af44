//! The role `guard`: gives a terminal its settings back when the process that had it in raw mode dies without a word.

use crate::sys;

/// Where the extension puts them (rust/guard.rs).
const TERMINAL: i32 = 3;
const PIPE: i32 = 4;
/// struct termios of the kernel, in bytes.
const SETTINGS: usize = 36;
/// ioctl_tty(2): tcgetattr(3), and tcsetattr(3) with TCSANOW.
const TCGETS: usize = 0x5401;
const TCSETS: usize = 0x5402;

/// First the settings from before and those of raw mode come through the pipe, then one byte when all is well, or its
/// end.
pub fn main() -> Option<i32> {
    sys::close_from(PIPE + 1);
    let (mut before, mut raw, mut now) = ([0; SETTINGS], [0; SETTINGS], [0; SETTINGS]);
    let is_known = read(&mut before) == SETTINGS && read(&mut raw) == SETTINGS;
    let all_is_well = read(&mut [0]) != 0;
    // The terminal may have gone together with that process; and what a shell has set meanwhile is the shell's.
    if is_known
        && !all_is_well
        && sys::ioctl(TERMINAL, TCGETS, now.as_mut_ptr() as usize).is_ok()
        && modes(&now) == modes(&raw)
    {
        let _ = sys::ioctl(TERMINAL, TCSETS, before.as_ptr() as usize);
    }
    Some(0)
}

/// The modes of input, output and the line discipline: what a driver does not change by itself (asm-generic/termbits.h).
fn modes(settings: &[u8; SETTINGS]) -> [&[u8]; 2] {
    [&settings[..8], &settings[12..16]]
}

/// All of it; how many bytes came before the end.
fn read(buffer: &mut [u8]) -> usize {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match sys::read(PIPE, rest) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(sys::EINTR) => {}
            Err(_) => break,
        }
    }
    length
}
