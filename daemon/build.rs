//! How the daemon is linked.

use std::process::Command;

/// Since this version the C library takes addresses that are relocated in packed form. A start touches them all: unpacked they
/// are a megabyte and a half of a process that has twenty.
const TAKES_PACKED: (u32, u32) = (2, 36);

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let here = variable("HOST") == variable("TARGET") && variable("TARGET") == "x86_64-unknown-linux-gnu";
    // Its own optimisation has cargo keep its symbols, whatever the profile says.
    if variable("PROFILE") == "release" && variable("CARGO_CFG_TARGET_OS") == "linux" {
        println!("cargo:rustc-link-arg-bins=-Wl,--strip-all");
    }
    if here {
        // Generic code comes out alike for many types; once is enough. Rust's own linker for this target, LLD, takes the option.
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    }
    // A program that is built here runs with a C library as new as this one, the image with this very one.
    if here && glibc().is_some_and(|version| version >= TAKES_PACKED) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The C library's version, as in `glibc 2.36`.
fn glibc() -> Option<(u32, u32)> {
    let told = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(told.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    let minor = minor.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
