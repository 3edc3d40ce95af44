//! hyrun-init: the last program of hyrun that runs before the application.
//!
//! It has no libc and no allocator, lives in a sealed memfd, and is entered by `execveat` from a child that still
//! shared its memory with the calling process. Only here, in memory of its own, may credentials change.
//! An image whose command leads to `/proc/self/exe` finds this program and not the host's Python.
#![no_std]
#![no_main]

mod credentials;
mod exec;
mod memory;
mod seccomp;
mod sys;

use core::panic::PanicInfo;

/// What the argument vector says: `hyrun-init exec REPORT UID GID GROUPS CAPABILITIES FLAGS COMMAND [ARG...]`.
struct Arguments {
    report: i32,
    uid: u32,
    gid: u32,
    groups: *const u8,
    capabilities: u64,
    flags: u64,
    command: *const *const u8,
}

const NO_NEW_PRIVILEGES: u64 = 1;
const DIE_WITH_PARENT: u64 = 2;
const SECCOMP: u64 = 4;

/// The steps of this program, numbered after those of the plan. The list in `rust/report.rs` names them.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Step {
    Keyring = 0x8000,
    Seccomp,
    Bounding,
    Groups,
    Gid,
    Uid,
    Capabilities,
    NoNewPrivileges,
    ParentDeath,
    Signals,
    Exec,
    /// The file is there, and the interpreter or loader it names is not.
    Interpreter,
}

/// A failing step and the errno it failed with.
pub type Failure = (Step, i32);

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {main}",
    "ud2",
    main = sym start,
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x0, sp",
    "bl {main}",
    "brk #0",
    main = sym start,
);

/// Entered by the kernel with the initial stack: argc, argv, NULL, envp, NULL (System V ABI).
unsafe extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: the kernel laid the stack out as the ABI says; the pointers live as long as the process.
    let (argc, argv, envp) = unsafe {
        let argc = *stack;
        let argv = stack.add(1).cast::<*const u8>();
        (argc, argv, argv.add(argc + 1))
    };
    // SAFETY: as above.
    let Some(arguments) = (unsafe { Arguments::read(argc, argv) }) else {
        sys::write(2, b"hyrun-init: started by hyrun only\n");
        sys::exit(125);
    };
    let (step, errno) = run(&arguments, envp);
    let mut record = [0u8; 8];
    record[..4].copy_from_slice(&(step as u32).to_ne_bytes());
    record[4..].copy_from_slice(&errno.to_ne_bytes());
    sys::write(arguments.report, &record);
    sys::exit(125)
}

/// The order of events. Returns only when one of them failed.
fn run(arguments: &Arguments, envp: *const *const u8) -> Failure {
    let steps = || -> Result<core::convert::Infallible, Failure> {
        // From here on the end of the report pipe means that the application has been exec'ed.
        sys::set_close_on_exec(arguments.report);
        credentials::leave_keyring()?;
        if arguments.flags & SECCOMP != 0 {
            seccomp::refuse_system_calls()?;
        }
        credentials::limit_bounding_set(arguments.capabilities)?;
        credentials::become_user(arguments.groups, arguments.gid, arguments.uid)?;
        credentials::set_capabilities(arguments.uid, arguments.capabilities)?;
        if arguments.flags & NO_NEW_PRIVILEGES != 0 {
            credentials::forbid_new_privileges()?;
        }
        if arguments.flags & DIE_WITH_PARENT != 0 {
            // After the credentials: changing them clears the signal (prctl(2)).
            credentials::die_with_parent(arguments.report)?;
        }
        credentials::reset_signals()?;
        // SAFETY: both vectors come from the kernel and end with NULL.
        Err(unsafe { exec::exec(arguments.command, envp) })
    };
    match steps() {
        Err(failure) => failure,
    }
}

impl Arguments {
    /// # Safety
    /// `argv` must hold `argc` NUL-terminated strings.
    unsafe fn read(argc: usize, argv: *const *const u8) -> Option<Self> {
        const COMMAND: usize = 8;
        if argc <= COMMAND {
            return None;
        }
        // SAFETY: index < argc, and each string is NUL-terminated.
        let number = |index: usize| unsafe { sys::parse(*argv.add(index)) };
        // SAFETY: as above.
        unsafe {
            if !sys::equal(*argv.add(1), b"exec") {
                return None;
            }
            Some(Self {
                report: i32::try_from(number(2)?).ok()?,
                uid: u32::try_from(number(3)?).ok()?,
                gid: u32::try_from(number(4)?).ok()?,
                groups: *argv.add(5),
                capabilities: number(6)?,
                flags: number(7)?,
                command: argv.add(COMMAND),
            })
        }
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    sys::exit(125)
}
