//! LightGBM in a directory of its own, in the cache: nothing is installed into the machine's Python.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::{cache, process};

/// What is installed, pinned: figures name the versions that they were measured with.
const PACKAGES: [&str; 2] = ["lightgbm==4.6.0", "numpy==2.2.6"];

/// Installs unless it is there; returns the directory for `PYTHONPATH`.
pub(crate) fn packages() -> Result<PathBuf> {
    cache::entry("lightgbm-4.6.0", "LightGBM 4.6.0 from PyPI", |directory| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]).arg(directory);
        process::quiet(pip.args(PACKAGES), "installing LightGBM", "is PyPI reachable?")
    })
}
