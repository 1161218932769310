//! Benchmarks: the decision in native code by criterion, the faces that live in JavaScript hosts, and other runtimes beside ours.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Result;

use crate::say::Steps;
use crate::toolchain::WasmToolchain;
use crate::{compare, guest, npm, process};

/// The word that stands for the faces where a filter of criterion's may stand.
const FACES: &str = "faces";
/// The word that stands for the host.
const SYNC: &str = "sync";
/// The word that stands for other runtimes beside ours.
const COMPARE: &str = "compare";
/// The word that stands for the comparison of policies, which needs no guest.
pub(crate) const UPLIFT: &str = "uplift";
/// Where `benches/faces/grocer.mjs` reads its world.
const WORLD: &str = "target/faces/world";
/// Size of that world: trees of its model, and the most candidates that are ranked, the engine's limit.
const TREES: &str = "300";
const CANDIDATES: &str = "2000";

/// Runs the benchmarks that `arguments` name.
pub(crate) fn run(
    workspace: &Path,
    toolchain: &WasmToolchain,
    arguments: &[OsString],
    steps: &mut Steps,
) -> Result<()> {
    match arguments.split_first() {
        Some((first, rest)) if first == FACES => faces(workspace, toolchain, rest, steps),
        Some((first, rest)) if first == COMPARE => compare::run(workspace, toolchain, rest, steps),
        Some((first, rest)) if first == SYNC => {
            crate::package(workspace, toolchain, steps)?;
            steps.step("bench sync", || {
                let mut bench = host(workspace);
                bench.args(["bench", "--node", "benches/sync/followers.mjs"]).args(rest);
                process::run(&mut bench, "read the message above")
            })
        }
        _ => {
            steps.step("guest", || guest::build(workspace, toolchain))?;
            steps.step("bench", || {
                let mut cargo = process::cargo();
                cargo.current_dir(workspace).args(["bench", "--package", "selvedge-benches", "--benches", "--"]);
                process::run(cargo.args(arguments), "read the message above")
            })
        }
    }
}

/// The program that breaks and measures the host; arguments are to be added.
pub(crate) fn host(workspace: &Path) -> std::process::Command {
    let mut cargo = process::cargo();
    cargo.current_dir(workspace).args(["run", "--release", "--package", "selvedge-chaos", "--"]);
    cargo
}

/// The Worker in workerd, the package in Chromium and Node.
fn faces(workspace: &Path, toolchain: &WasmToolchain, arguments: &[OsString], steps: &mut Steps) -> Result<()> {
    crate::web(workspace, toolchain, steps)?;
    steps.step("world", || {
        let mut world = process::cargo();
        world.current_dir(workspace).args(["run", "--quiet", "--package", "selvedge-benches", "--example", "world"]);
        process::run(world.args(["--", TREES, CANDIDATES, WORLD]), "read the message above")?;
        // The command line makes the bundles that the faults are about.
        let mut command = process::cargo();
        command.current_dir(workspace).args(["build", "--quiet", "--package", "selvedge-cli"]);
        process::run(&mut command, "read the message above")
    })?;
    steps.step("faces", || {
        let mut node = npm::node(workspace, ["benches/faces/run.mjs"])?;
        process::run(node.args(arguments), "read the message above")
    })
}
