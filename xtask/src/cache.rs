//! Where tools live: outside the checkout, one directory per tool and version.
//!
//! `$XDG_CACHE_HOME/selvedge`, by default `~/.cache/selvedge`. An entry appears by a rename of a finished directory, so
//! an interrupted installation leaves nothing that looks complete, and deleting any entry at any time is safe: the next
//! task makes it anew. A file lock keeps two tasks from building the same entry at once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::say;

/// The cache directory, created when missing.
pub(crate) fn root() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => home()?.join(".cache"),
    };
    let root = base.join("selvedge");
    fs::create_dir_all(&root).with_context(|| {
        format!("cannot create {}\nhint: set XDG_CACHE_HOME to a writable directory", root.display())
    })?;
    Ok(root)
}

/// The entry called `key`; when it is not there yet, says that `what` is being installed there, and `make` fills an
/// empty directory that then becomes the entry.
pub(crate) fn entry(key: &str, what: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let root = root()?;
    let entry = root.join(key);
    if entry.exists() {
        return Ok(entry);
    }
    let lock_path = root.join(format!("{key}.lock"));
    let lock = File::create(&lock_path).with_context(|| format!("cannot create {}", lock_path.display()))?;
    lock.lock().with_context(|| format!("cannot lock {}", lock_path.display()))?;
    // Someone else may have finished it while we waited.
    if !entry.exists() {
        let partial = root.join(format!("{key}.partial"));
        if partial.exists() {
            fs::remove_dir_all(&partial).with_context(|| format!("cannot clear {}", partial.display()))?;
        }
        fs::create_dir_all(&partial).with_context(|| format!("cannot create {}", partial.display()))?;
        say::note(format_args!("installing {what} into {}", entry.display()));
        make(&partial)?;
        fs::rename(&partial, &entry).with_context(|| format!("cannot move {} into place", partial.display()))?;
    }
    let _ = fs::remove_file(&lock_path);
    Ok(entry)
}

/// Where cargo keeps the sources of dependencies: a prefix of paths that must not reach what ships.
pub(crate) fn cargo_home() -> Result<PathBuf> {
    match std::env::var_os("CARGO_HOME").filter(|value| !value.is_empty()) {
        Some(path) => Ok(PathBuf::from(path)),
        None => Ok(home()?.join(".cargo")),
    }
}

fn home() -> Result<PathBuf> {
    std::env::home_dir().context("there is no home directory\nhint: set HOME, or XDG_CACHE_HOME and CARGO_HOME")
}
