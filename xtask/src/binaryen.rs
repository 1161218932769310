//! Binaryen's `wasm-opt`, from npm, pinned by version and integrity hash (`xtask/binaryen/package-lock.json`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{cache, process};

const MANIFEST: &str = include_str!("../binaryen/package.json");
const LOCK: &str = include_str!("../binaryen/package-lock.json");

/// As in the manifest; part of the cache key.
pub(crate) const VERSION: &str = "132.0.0";

/// The directory that holds `node_modules/binaryen`, installed when missing.
pub(crate) fn find_or_install() -> Result<PathBuf> {
    cache::entry(&format!("binaryen-{VERSION}"), "wasm-opt (binaryen, from npm)", |directory| {
        let write = |name: &str, text: &str| {
            fs::write(directory.join(name), text)
                .with_context(|| format!("cannot write {name} in {}", directory.display()))
        };
        write("package.json", MANIFEST)?;
        write("package-lock.json", LOCK)?;
        process::quiet(
            Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(directory),
            &format!("installing binaryen {VERSION}"),
            "check that the npm registry can be reached (`npm ping`), then run the task again",
        )
    })
}

/// A call of wasm-opt of the installation in `directory`.
pub(crate) fn wasm_opt(directory: &Path) -> Command {
    let mut command = Command::new("node");
    command.arg(directory.join("node_modules/binaryen/bin/wasm-opt"));
    command
}
