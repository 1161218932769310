//! Python packages in directories of their own, in the cache: nothing is installed into the machine's Python.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::{cache, process};

/// Installs pinned packages and what they need, unless they are there; returns the directory for `PYTHONPATH`.
pub(crate) fn packages(key: &str, what: &str, packages: &[&str]) -> Result<PathBuf> {
    cache::entry(key, what, |directory| {
        let mut install = pip(&["install", "--target"], directory);
        process::quiet(install.args(packages), &format!("installing {what}"), "is PyPI reachable?")
    })
}

/// Downloads and unpacks a source distribution, unless it is there; its declared limits on Python are passed over.
pub(crate) fn source(name: &str, version: &str) -> Result<PathBuf> {
    let key = format!("{name}-{version}");
    let entry = cache::entry(&key, &format!("the source of {name} {version} from PyPI"), |directory| {
        let arguments = ["download", "--no-deps", "--no-binary", ":all:", "--ignore-requires-python", "--dest"];
        let mut download = pip(&arguments, directory);
        download.arg(format!("{name}=={version}"));
        process::quiet(&mut download, &format!("downloading {name}"), "is PyPI reachable?")?;
        let mut unpack = Command::new("tar");
        unpack.current_dir(directory).args(["--extract", "--gzip", "--file"]).arg(format!("{key}.tar.gz"));
        process::quiet(&mut unpack, &format!("unpacking {name}"), "is tar there?")
    })?;
    Ok(entry.join(key))
}

fn pip(arguments: &[&str], directory: &Path) -> Command {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--disable-pip-version-check", "--quiet"]).args(arguments).arg(directory);
    pip
}
