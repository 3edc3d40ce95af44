//! What hyrun-init has to know to become the application: the arguments that both of its ways in begin with
//! (rust/init/application.rs reads them).

use std::ffi::CString;
use std::os::fd::RawFd;

use crate::plan::{Invalid, Result};

/// No setuid file and no file capability has any effect.
pub const NO_NEW_PRIVILEGES: u64 = 1;
/// SIGKILL when the parent ends.
pub const DIE_WITH_PARENT: u64 = 2;
/// Install the seccomp filter.
pub const SECCOMP: u64 = 4;
/// Stay as pid 1 and reap orphans; the application is a child.
pub const REAP: u64 = 8;
/// From this bit on: standard input, output and error are the container's `/dev/null`.
pub const NULL: u64 = 16;

/// How many arguments stand before the application's own, or before those of `join`.
pub const COUNT: usize = 8;
/// As many as hyrun-init has room for.
const MAX_GROUPS: usize = 1024;

/// Who the application will be.
pub struct Application<'a> {
    pub uid: u32,
    pub gid: u32,
    pub groups: &'a [u32],
    pub capabilities: u64,
    pub flags: u64,
    pub terminal: Option<RawFd>,
    pub rows: u16,
    pub columns: u16,
}

/// The bit if it is wanted.
pub fn flag(wanted: bool, bit: u64) -> u64 {
    if wanted { bit } else { 0 }
}

impl Application<'_> {
    /// hyrun-init's arguments behind the report descriptor.
    pub fn arguments(&self) -> Result<Vec<CString>> {
        if self.groups.len() > MAX_GROUPS {
            return Err(Invalid(format!("{} supplementary groups: at most {MAX_GROUPS}", self.groups.len())));
        }
        // For setresuid(2) it means: leave the id as it is, which is root's.
        if [self.uid, self.gid].iter().chain(self.groups).any(|&id| id == u32::MAX) {
            return Err(Invalid(format!("id {} is no user or group (setresuid(2))", u32::MAX)));
        }
        let groups: Vec<String> = self.groups.iter().map(u32::to_string).collect();
        [
            self.uid.to_string(),
            self.gid.to_string(),
            groups.join(","),
            self.capabilities.to_string(),
            self.flags.to_string(),
            self.terminal.unwrap_or(0).to_string(),
            self.rows.to_string(),
            self.columns.to_string(),
        ]
        .into_iter()
        .map(|text| CString::new(text).map_err(|_| Invalid("credentials: a NUL byte".to_owned())))
        .collect()
    }
}

/// The PATH of an environment.
pub fn path(environment: &[CString]) -> Option<String> {
    let entry = environment.iter().find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="))?;
    Some(String::from_utf8_lossy(entry).into_owned())
}
