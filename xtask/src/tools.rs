//! Cargo's own tools that only some tasks need, built from crates.io into the cache, pinned.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::{cache, process};

/// A cargo subcommand at a fixed version.
pub(crate) struct Tool {
    /// Package and binary name.
    name: &'static str,
    version: &'static str,
}

/// Runs libFuzzer targets.
pub(crate) const CARGO_FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2" };

/// Checks licences, sources and banned crates.
pub(crate) const CARGO_DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };

impl Tool {
    /// Path of the binary, built when missing.
    pub(crate) fn find_or_install(&self) -> Result<PathBuf> {
        let Self { name, version } = self;
        let entry =
            cache::entry(&format!("{name}-{version}"), &format!("{name} {version}, built from source"), |root| {
                process::quiet(
                    process::cargo().args(["install", name, "--version", version, "--locked", "--root"]).arg(root),
                    &format!("building {name} {version}"),
                    "check that crates.io can be reached, then run the task again",
                )
            })?;
        Ok(entry.join("bin").join(name))
    }

    /// The tool as cargo would call it, from `directory`.
    pub(crate) fn command(&self, directory: &Path) -> Result<Command> {
        let mut command = Command::new(self.find_or_install()?);
        command.current_dir(directory).arg(self.name.trim_start_matches("cargo-"));
        Ok(command)
    }
}
