//! A compiler with `std` for `wasm32-unknown-unknown`, by the first way that applies:
//!
//! 1. the active toolchain has it already (`rustup target add wasm32-unknown-unknown` was run once);
//! 2. Debian offers `rustc-web` new enough: its compiler, with std built once from `rust-web-src` into the cache;
//! 3. `rustup target add` adds it; without rustup, a message says what to install.
//!
//! Debian's way comes before rustup's because it needs the package mirror only. Its result is a sysroot directory that
//! nothing outside the cache knows of: a build picks it by setting `RUSTC`, and the user's toolchains stay untouched.

#[cfg(target_os = "linux")]
mod debian;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail, ensure};

use crate::{process, say};

/// The only target of the edge modules.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// The compiler that wasm builds use.
pub(crate) enum WasmToolchain {
    /// The one cargo uses anyway.
    Active,
    /// A sysroot in the cache.
    Cached(PathBuf),
}

impl WasmToolchain {
    /// Finds or installs it.
    pub(crate) fn find_or_install() -> Result<Self> {
        if has_std(&mut active_rustc()) {
            return Ok(Self::Active);
        }
        #[cfg(target_os = "linux")]
        if let Some(sysroot) = debian::sysroot()? {
            return Ok(Self::Cached(sysroot));
        }
        rustup_target_add()?;
        Ok(Self::Active)
    }

    /// Makes `cargo` build with this toolchain.
    pub(crate) fn apply(&self, cargo: &mut Command) {
        if let Self::Cached(sysroot) = self {
            cargo.env("RUSTC", sysroot.join("bin/rustc")).env("RUSTDOC", sysroot.join("bin/rustdoc"));
        }
    }

    /// One line for people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Active => format!("{TARGET}: in the active toolchain"),
            Self::Cached(sysroot) => format!("{TARGET}: {}", sysroot.display()),
        }
    }
}

/// The compiler that cargo would call.
fn active_rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// Whether this compiler has std for wasm.
fn has_std(rustc: &mut Command) -> bool {
    let Some(directory) = process::ask(rustc.args(["--print", "target-libdir", "--target", TARGET])) else {
        return false;
    };
    let Ok(entries) = fs::read_dir(directory) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

fn rustup_target_add() -> Result<()> {
    let by_hand = format!(
        "install rustup (https://rustup.rs) and run `rustup target add {TARGET}`, or install your distribution's std for {TARGET}"
    );
    if process::ask(Command::new("rustup").arg("--version")).is_none() {
        bail!(
            "the Rust toolchain has no std for {TARGET}, and there is neither rustup nor Debian's rustc-web to add it\nhint: {by_hand}"
        );
    }
    say::note(format_args!("rustup target add {TARGET}"));
    process::run(Command::new("rustup").args(["target", "add", TARGET]), &by_hand)?;
    ensure!(
        has_std(&mut active_rustc()),
        "rustup added {TARGET}, yet `rustc` does not see it\nhint: `which rustc` should be rustup's; {by_hand}"
    );
    Ok(())
}
