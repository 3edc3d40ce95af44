//! Where the extension puts the monitor's descriptors (rust/keep.rs); what is not there is closed.

/// The container's directory, with its lock.
pub const DIRECTORY: i32 = 3;
/// The run directory.
pub const RUN: i32 = 4;
pub const LOG: i32 = 5;
/// One byte when the caller has written down who runs here: go, or give up.
pub const GO: i32 = 6;
pub const LISTENER: i32 = 7;
pub const PIDFD: i32 = 8;
pub const STDOUT: i32 = 9;
pub const STDERR: i32 = 10;
pub const STDIN: i32 = 11;
/// Where the terminal's master comes out.
pub const TERMINAL: i32 = 12;
/// Who waits in the foreground.
pub const CLIENT: i32 = 13;
pub const END: i32 = 14;
