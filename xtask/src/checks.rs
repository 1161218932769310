//! The whole test command, step by step: what CI runs and what a contributor runs before a commit.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::gates::{Gates, Source, read_figures};
use crate::say::Steps;
use crate::{conformance, guest, npm, obp, process, rules, setup, size};

/// proptest's variable for the seed of all property tests.
const PROPERTY_SEED: &str = "PROPTEST_RNG_SEED";

/// Sets up, builds the guest, and checks everything; stops at the first step that fails.
pub(crate) fn run(workspace: &Path, steps: &mut Steps) -> Result<()> {
    let toolchain = steps.step("setup", setup::run_for_checks)?;
    let figures = steps.step("guest", || guest::build(workspace, &toolchain))?;
    steps.step("gates", || Gates::read(workspace)?.check(Source::Guest, &figures))?;
    steps.step("rules", || rules::check(workspace))?;
    steps.step("format", || {
        process::run(&mut cargo(workspace, &["fmt", "--all", "--check"]), "run `cargo fmt --all`")
    })?;
    steps.step("clippy", || {
        let clippy = ["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"];
        process::run(&mut cargo(workspace, &clippy), "fix the warnings above")?;
        // What `cargo xtask coverage` runs, and nothing else builds.
        let coverage = ["-p", "selvedge-compile", "--features", "coverage", "--example", "coverage"];
        let coverage = [&clippy[..1], &coverage[..], &clippy[3..]].concat();
        process::run(&mut cargo(workspace, &coverage), "fix the warnings above")
    })?;
    steps.step("tests", || {
        let hint = "read the first failure above";
        let mut tests = if process::ask(process::cargo().args(["nextest", "--version"])).is_some() {
            cargo(workspace, &["nextest", "run", "--workspace", "--no-fail-fast"])
        } else {
            cargo(workspace, &["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"])
        };
        // The same samples for every run of a commit: what breaks then is what changed. Other seeds are tried by hand.
        if std::env::var_os(PROPERTY_SEED).is_none() {
            tests.env(PROPERTY_SEED, "1");
        }
        process::run(&mut tests, hint)
    })?;
    steps.step("doc-tests", || {
        process::run(&mut cargo(workspace, &["test", "--workspace", "--doc"]), "read the first failure above")
    })?;
    steps.step("off-policy estimators", || obp::run(workspace))?;
    steps.step("demo, quick", || quick_demo(workspace))?;
    crate::web(workspace, &toolchain, steps)?;
    steps.step("sizes", || Gates::read(workspace)?.check(Source::Size, &size::run(workspace, None)?))?;
    steps.step("conformance", || conformance::run(workspace, None))?;
    steps.step("worker in workerd", || npm::test(workspace, "edge/worker/tests"))?;
    steps.step("npm package in Node and Chromium", || npm::test(workspace, "www/sdk/test"))?;
    steps.step("storefront page in Chromium", || npm::test(workspace, "www/demo/test"))?;
    steps.step("guides", || npm::test(workspace, "docs/guide/test"))
}

/// The whole chain on a few made-up households; its figures are the same every time, and those of bytes and fuel have
/// limits.
fn quick_demo(workspace: &Path) -> Result<()> {
    let output = workspace.join("target/demo");
    let figures = output.join("quick.json");
    // Built with the rest of the workspace, as the tests were: alone, its dependencies would be built again with fewer
    // features.
    process::run(&mut cargo(workspace, &["build", "--quiet", "--workspace", "--bins"]), "read the message above")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let mut demo = Command::new(target.join("debug/selvedge"));
    demo.args(["--quiet", "demo", "--quick"]);
    demo.arg("--guest").arg(guest::module(workspace));
    demo.arg("--report").arg(output.join("quick.html")).arg("--json").arg(&figures);
    process::run(&mut demo, "read the message above")?;
    Gates::read(workspace)?.check(Source::QuickDemo, &read_figures(&figures)?)
}

fn cargo(workspace: &Path, arguments: &[&str]) -> Command {
    let mut command = process::cargo();
    command.current_dir(workspace).args(arguments);
    command
}
