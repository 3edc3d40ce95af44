//! Builds hyrun-init, the launcher that the extension embeds, with the compiler that builds the extension.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let source = Path::new("rust/init");
    println!("cargo:rerun-if-changed={}", source.display());
    println!("cargo:rerun-if-changed=rust/build.rs");

    let output = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("hyrun-init");
    let compiler = env::var_os("RUSTC").expect("cargo sets RUSTC");
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let mut command = Command::new(compiler);
    command
        .args(["--edition", "2024", "--crate-type", "bin", "--crate-name", "hyrun_init"])
        .args(["--target", &target])
        .args(["-C", "opt-level=s", "-C", "panic=abort", "-C", "strip=symbols", "-C", "relocation-model=static"])
        .args(["-C", "codegen-units=1", "-C", "force-unwind-tables=no", "-C", "target-feature=+crt-static"])
        .args(["-D", "warnings", "-D", "unsafe_op_in_unsafe_fn"])
        .arg("-o")
        .arg(&output)
        .arg(source.join("main.rs"));
    for argument in ["-nostartfiles", "-nostdlib", "-static", "-Wl,--build-id=none,-z,noexecstack,-z,norelro"] {
        command.arg("-C").arg(format!("link-arg={argument}"));
    }
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        command.arg("-C").arg(format!("linker={}", linker.to_string_lossy()));
    }
    let status = command.status().expect("the Rust compiler runs");
    assert!(status.success(), "hyrun-init did not compile: {status}");
}
