//! Has the program's relocations packed where the C library can read them so.
//!
//! A position-independent program has thousands of pointers to itself, each a record of 24 bytes that is read into
//! memory at every start. Packed (`DT_RELR`), they take a fiftieth. glibc reads that from 2.36 on, and an earlier one
//! does not start a program that needs it: so it is done where the machine that builds has such a one. A program that
//! is built on an older system runs there and on later ones, and is somewhat larger.

use std::{env, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    let is_own = variable("HOST") == variable("TARGET");
    let is_glibc =
        variable("CARGO_CFG_TARGET_OS") == "linux" && variable("CARGO_CFG_TARGET_ENV") == "gnu";
    if is_own && is_glibc && glibc().is_some_and(|version| version >= (2, 36)) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Returns the version of this machine's C library, if it is glibc.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
