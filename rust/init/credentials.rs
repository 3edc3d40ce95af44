//! Who the application will be. The order matters: see `run` in main.rs.

use crate::sys;
use crate::{Failure, Step};

/// NGROUPS_MAX is 65536; an image that needs more than this many for one user is refused by the plan.
const MAX_GROUPS: usize = 1024;

/// Leave the caller's session keyring: its keys are not the container's (keyrings(7)).
pub fn leave_keyring() -> Result<(), Failure> {
    match sys::new_session_keyring() {
        // A kernel without keys has none to leak.
        Ok(_) | Err(sys::ENOSYS) => Ok(()),
        Err(errno) => Err((Step::Keyring, errno)),
    }
}

/// Drop from the bounding set what is not in `keep`, so that no file capability brings it back (capabilities(7)).
pub fn limit_bounding_set(keep: u64) -> Result<(), Failure> {
    const PR_CAPBSET_DROP: i32 = 24;
    for capability in 0..64usize {
        if keep >> capability & 1 == 1 {
            continue;
        }
        match sys::prctl(PR_CAPBSET_DROP, capability, 0) {
            Ok(_) => {}
            // Beyond the last capability this kernel knows.
            Err(sys::EINVAL) if capability > 0 => break,
            Err(errno) => return Err((Step::Bounding, errno)),
        }
    }
    Ok(())
}

/// Set supplementary groups, then gid, then uid: the other way round the right to do so would be gone.
/// `groups` is a comma-separated list, empty for none.
pub fn become_user(groups: *const u8, gid: u32, uid: u32) -> Result<(), Failure> {
    let mut list = [0u32; MAX_GROUPS];
    let mut count = 0;
    // SAFETY: an argument string, NUL-terminated, as long-lived as the process.
    let text = unsafe { sys::bytes(groups) };
    for word in text.split(|&byte| byte == b',').filter(|word| !word.is_empty()) {
        let group = sys::digits(word).and_then(|n| u32::try_from(n).ok());
        match (group, list.get_mut(count)) {
            (Some(group), Some(slot)) => *slot = group,
            _ => return Err((Step::Groups, sys::EINVAL)),
        }
        count += 1;
    }
    sys::setgroups(list.get(..count).unwrap_or(&[])).map_err(|errno| (Step::Groups, errno))?;
    sys::setresgid(gid).map_err(|errno| (Step::Gid, errno))?;
    sys::setresuid(uid).map_err(|errno| (Step::Uid, errno))?;
    Ok(())
}

/// Root keeps `keep`, others keep nothing; inheritable and ambient are empty for all (CVE-2022-29162).
pub fn set_capabilities(uid: u32, keep: u64) -> Result<(), Failure> {
    const PR_CAP_AMBIENT: i32 = 47;
    const PR_CAP_AMBIENT_CLEAR_ALL: usize = 4;
    let own = if uid == 0 { keep } else { 0 };
    sys::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0).map_err(|errno| (Step::Capabilities, errno))?;
    sys::capset(own, own, 0).map_err(|errno| (Step::Capabilities, errno))?;
    Ok(())
}

/// prctl(2), PR_SET_NO_NEW_PRIVS: setuid files and file capabilities give nothing any more.
pub fn forbid_new_privileges() -> Result<(), Failure> {
    const PR_SET_NO_NEW_PRIVS: i32 = 38;
    sys::prctl(PR_SET_NO_NEW_PRIVS, 1, 0).map_err(|errno| (Step::NoNewPrivileges, errno))?;
    Ok(())
}

/// Ask for SIGKILL at the end of the thread that made this process, and go at once if that has come already:
/// getppid(2) is 0 in a new pid namespace, but a dead parent no longer holds its end of the report pipe.
pub fn die_with_parent(report: i32) -> Result<(), Failure> {
    const PR_SET_PDEATHSIG: i32 = 1;
    const SIGKILL: usize = 9;
    sys::prctl(PR_SET_PDEATHSIG, SIGKILL, 0).map_err(|errno| (Step::ParentDeath, errno))?;
    if sys::reader_is_gone(report) {
        sys::exit(137);
    }
    Ok(())
}

/// Ignored signals stay ignored through exec (Python ignores SIGPIPE and SIGXFSZ), and so does a blocked mask.
pub fn reset_signals() -> Result<(), Failure> {
    const SIGKILL: usize = 9;
    const SIGSTOP: usize = 19;
    for signal in (1..=64).filter(|&signal| signal != SIGKILL && signal != SIGSTOP) {
        sys::default_signal(signal).map_err(|errno| (Step::Signals, errno))?;
    }
    sys::unblock_signals().map_err(|errno| (Step::Signals, errno))?;
    Ok(())
}
