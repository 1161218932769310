//! The npm workspace at the top level: development tools of the SDK, the page and the tests in JavaScript hosts.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process;

/// Where Debian and its kin put a Chromium that tests can drive.
const CHROMIUM: [&str; 3] = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/// Brings `node_modules` to what `package-lock.json` says; nothing happens when it is there already. Install scripts do
/// not run: the packages need none, and a script would be code that the lock's hashes do not cover.
pub(crate) fn install(workspace: &Path) -> Result<()> {
    let lock = fs::read(workspace.join("package-lock.json")).context("cannot read package-lock.json")?;
    let installed = workspace.join("node_modules/.selvedge-lock");
    if fs::read(&installed).is_ok_and(|last| last == lock) {
        return Ok(());
    }
    process::quiet(
        Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(workspace),
        "installing node_modules",
        "check that the npm registry can be reached (`npm ping`), then run the task again",
    )?;
    fs::write(&installed, lock).with_context(|| format!("cannot write {}", installed.display()))
}

/// Builds the npm package into `www/sdk/dist`; the modules are there already.
pub(crate) fn package(workspace: &Path) -> Result<()> {
    process::quiet(
        Command::new("node").current_dir(workspace).arg("www/sdk/build.mjs"),
        "building the npm package",
        "read the message of esbuild or of the TypeScript compiler",
    )
}

/// `node` with `arguments` in the workspace, knowing where the browser is.
pub(crate) fn node<S: AsRef<OsStr>>(workspace: &Path, arguments: impl IntoIterator<Item = S>) -> Result<Command> {
    let mut command = Command::new("node");
    command.current_dir(workspace).env("CHROMIUM", chromium()?).args(arguments);
    Ok(command)
}

/// Runs the tests (`*.test.mjs`) of a directory. The command line of this build makes what they need.
pub(crate) fn test(workspace: &Path, directory: &str) -> Result<()> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let files = fs::read_dir(workspace.join(directory)).with_context(|| format!("cannot list {directory}"))?;
    let mut tests: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
    tests.retain(|path| path.to_string_lossy().ends_with(".test.mjs"));
    tests.sort_unstable();
    if tests.is_empty() {
        bail!("{directory} has no test");
    }
    let mut node = node(workspace, ["--test", "--test-reporter=spec"])?;
    node.args(tests).env("SELVEDGE", target.join("debug/selvedge"));
    process::quiet(&mut node, directory, "run `node --test` on the file that failed")
}

/// The browser of the tests: `$CHROMIUM`, the system's, or on a Debian machine with the right to, one that is installed
/// now.
pub(crate) fn chromium() -> Result<PathBuf> {
    if let Some(path) = find_chromium() {
        return Ok(path);
    }
    let by_hand = "install Chromium (Debian: apt-get install chromium) or set CHROMIUM to the path of one";
    for arguments in [&["update"][..], &["install", "--yes", "--no-install-recommends", "chromium"]] {
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
        process::quiet(&mut apt, "installing Chromium with apt-get", by_hand)?;
    }
    match find_chromium() {
        Some(path) => Ok(path),
        None => bail!("apt-get installed no Chromium in {}\nhint: {by_hand}", CHROMIUM.join(", ")),
    }
}

fn find_chromium() -> Option<PathBuf> {
    let chosen = std::env::var_os("CHROMIUM").filter(|value| !value.is_empty()).map(PathBuf::from);
    chosen.into_iter().chain(CHROMIUM.map(PathBuf::from)).find(|path| path.exists())
}
