//! `cargo xtask page`: the storefront of `www/demo`, built and served on this machine.
//!
//! What the shop knows is written by `selvedge demo --storefront` and kept: the same command line of the same build writes
//! the same files, so they are not written again. The page itself is built each time; that takes a second or two. The page's
//! server starts a host for the coupons, with the same command line, and ends it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::say::Steps;
use crate::toolchain::WasmToolchain;
use crate::{process, say};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where it listens on 127.0.0.1; 0 is any free port
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Show made-up households instead of fetching the Complete Journey
    #[arg(long)]
    offline: bool,
    /// Show a few made-up households with a small model: seconds
    #[arg(long)]
    quick: bool,
    /// Write the shop's files again, even if this build wrote them before
    #[arg(long)]
    refresh: bool,
}

/// Builds the page and serves it until it is ended.
pub(crate) fn run(workspace: &Path, toolchain: &WasmToolchain, arguments: &Arguments, steps: &mut Steps) -> Result<()> {
    crate::package(workspace, toolchain, steps)?;
    let output = workspace.join("target/page");
    let (data, site) = (output.join("data"), output.join("site"));
    let selvedge = steps.step("command line", || command_line(workspace))?;
    steps.step("shop", || export(workspace, &selvedge, &data, arguments))?;
    steps.step("page", || {
        let mut build = Command::new("node");
        build.current_dir(workspace).arg("www/demo/build.mjs").args([&data, &site]);
        process::quiet(&mut build, "building the page", "read the message of esbuild or of the TypeScript compiler")
    })?;
    let mut serve = Command::new("node");
    serve.current_dir(workspace).arg("www/demo/serve.mjs").arg(&site).arg(arguments.port.to_string()).arg(selvedge);
    process::run(&mut serve, "choose another port with --port")
}

/// Builds the command line as for tests: that takes less than a release build, and the export is a minute at most.
fn command_line(workspace: &Path) -> Result<PathBuf> {
    let mut cargo = process::cargo();
    cargo.current_dir(workspace).args(["build", "--package", "selvedge-cli", "--bin", "selvedge"]);
    process::run(&mut cargo, "read the message above")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    Ok(target.join("debug/selvedge"))
}

/// Writes the shop's files, unless they are there already.
fn export(workspace: &Path, selvedge: &Path, data: &Path, arguments: &Arguments) -> Result<()> {
    let options = options(arguments);
    let (stamp, stamped) = (stamp(selvedge, &options)?, data.with_extension("stamp"));
    if !arguments.refresh && fs::read_to_string(&stamped).is_ok_and(|last| last == stamp) {
        say::note("the shop's files are there; --refresh writes them again");
        return Ok(());
    }
    // Half of an export must not pass for one.
    for removed in [fs::remove_file(&stamped), fs::remove_dir_all(data)] {
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove what was in {}", data.display()));
            }
            _ => {}
        }
    }
    process::run(
        Command::new(selvedge).current_dir(workspace).args(["demo", "--storefront"]).arg(data).args(options),
        "read the message above",
    )?;
    fs::write(&stamped, stamp).with_context(|| format!("cannot write {}", stamped.display()))
}

fn options(arguments: &Arguments) -> Vec<OsString> {
    let asked = [(arguments.offline, "--offline"), (arguments.quick, "--quick")];
    asked.into_iter().filter(|(is_asked, _)| *is_asked).map(|(_, option)| option.into()).collect()
}

/// Which build was asked for what: the recipe is in the binary.
fn stamp(binary: &Path, options: &[OsString]) -> Result<String> {
    let bytes = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{hash} {options:?}"))
}
