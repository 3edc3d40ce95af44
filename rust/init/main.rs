//! hyrun-init: the last program of hyrun that runs before the application, and the parent of a kept container.
//!
//! It has no libc and no allocator, lives in a sealed memfd, and is entered by `execveat` from a child that still
//! shared its memory with the calling process. Only here, in memory of its own, may credentials change.
//! An image whose command leads to `/proc/self/exe` finds this program and not the host's Python.
//!
//! The role is the first argument: `exec` becomes the application, `join` does so in a container that runs already,
//! `monitor` stays outside as a kept container's parent, and `guard` as a terminal's.
#![no_std]
#![no_main]

mod application;
mod arguments;
mod clients;
mod clock;
mod credentials;
mod descriptor;
mod ending;
mod exec;
mod guard;
mod join;
mod log;
mod memory;
mod monitor;
mod number;
mod reaper;
mod seccomp;
mod socket;
mod sys;
mod template;
mod terminal;

use core::panic::PanicInfo;

use arguments::Arguments;

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
    Terminal,
    Null,
    Dumpable,
    Cgroup,
    Join,
    Fork,
    Cwd,
    /// No failure: the pid of the process that has joined.
    Joined,
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
    let (mut arguments, envp) = unsafe {
        let argc = *stack;
        let argv = stack.add(1).cast::<*const u8>();
        (Arguments::new(argc, argv), argv.add(argc + 1))
    };
    arguments.pointer();
    let role = arguments.bytes();
    // SAFETY: envp ends with NULL, as the rest of the arguments does.
    let done = unsafe {
        match role {
            Some(b"exec") => application::main(arguments, envp),
            Some(b"join") => join::main(arguments, envp),
            Some(b"monitor") => monitor::main(arguments, envp),
            Some(b"guard") => guard::main(),
            _ => None,
        }
    };
    match done {
        Some(status) => sys::exit(status),
        None => {
            sys::write(2, b"hyrun-init: started by hyrun only\n");
            sys::exit(125)
        }
    }
}

/// Tell the process that waits at the other end: a step, and its errno or its result.
pub fn report(fd: i32, step: Step, value: i32) {
    let mut record = [0u8; 8];
    record[..4].copy_from_slice(&(step as u32).to_ne_bytes());
    record[4..].copy_from_slice(&value.to_ne_bytes());
    sys::write(fd, &record);
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    sys::exit(125)
}
