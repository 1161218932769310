//! Tools from crates.io, built from source into the cache, pinned.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::{cache, process};

/// A program at a fixed version.
pub(crate) struct Tool {
    package: &'static str,
    binary: &'static str,
    version: &'static str,
    /// Whether the package carries a lock file of its own.
    locked: bool,
}

/// Runs libFuzzer targets.
pub(crate) const CARGO_FUZZ: Tool =
    Tool { package: "cargo-fuzz", binary: "cargo-fuzz", version: "0.13.2", locked: true };

/// Checks licences, sources and banned crates.
pub(crate) const CARGO_DENY: Tool =
    Tool { package: "cargo-deny", binary: "cargo-deny", version: "0.20.2", locked: true };

/// Writes the JavaScript of modules for JavaScript hosts; of the same version as the library in Cargo.toml.
pub(crate) const WASM_BINDGEN: Tool =
    Tool { package: "wasm-bindgen-cli", binary: "wasm-bindgen", version: "0.2.130", locked: false };

impl Tool {
    /// Path of the binary, built when missing.
    pub(crate) fn find_or_install(&self) -> Result<PathBuf> {
        let Self { package, binary, version, locked } = self;
        let what = format!("{package} {version}, built from source");
        let entry = cache::entry(&format!("{package}-{version}"), &what, |root| {
            let mut cargo = process::cargo();
            cargo.args(["install", package, "--version", version, "--root"]).arg(root);
            if *locked {
                cargo.arg("--locked");
            }
            process::quiet(
                &mut cargo,
                &format!("building {package} {version}"),
                "check that crates.io can be reached, then run the task again",
            )
        })?;
        Ok(entry.join("bin").join(binary))
    }

    /// The cargo subcommand that this tool is, as cargo would call it, from `directory`.
    pub(crate) fn command(&self, directory: &Path) -> Result<Command> {
        let mut command = Command::new(self.find_or_install()?);
        command.current_dir(directory).arg(self.binary.trim_start_matches("cargo-"));
        Ok(command)
    }
}
