//! Builds the modules for JavaScript hosts: the npm package's, with SIMD and without, and the Worker's.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::module::{FAST, Module, PLAIN, SIMD, SMALL};
use crate::process;
use crate::toolchain::WasmToolchain;

const BROWSER_SIMD: Module = Module {
    package: "selvedge-browser",
    directory: "simd",
    profile: "wasm",
    rustflags: &SIMD,
    level: FAST,
    features: &["--enable-simd"],
};

const BROWSER_PLAIN: Module = Module {
    package: "selvedge-browser",
    directory: "plain",
    profile: "wasm-plain",
    rustflags: &PLAIN,
    level: SMALL,
    features: &[],
};

const WORKER: Module = Module {
    package: "selvedge-worker",
    directory: "worker",
    profile: "wasm-worker",
    rustflags: &["-Ctarget-feature=+simd128"],
    level: FAST,
    features: &["--enable-simd"],
};

/// Builds into `target/browser/{simd,plain}`.
pub(crate) fn browser(workspace: &Path, toolchain: &WasmToolchain) -> Result<()> {
    for (module, variant) in [(BROWSER_SIMD, "simd"), (BROWSER_PLAIN, "plain")] {
        let output = workspace.join("target/browser").join(variant);
        module.bind(workspace, toolchain, &output, &output.join("selvedge.wasm"))?;
    }
    Ok(())
}

/// Builds into `target/worker`: the entry with its bindings, and the module.
pub(crate) fn worker(workspace: &Path, toolchain: &WasmToolchain) -> Result<()> {
    let output = workspace.join("target/worker");
    fs::create_dir_all(&output).with_context(|| format!("cannot create {}", output.display()))?;
    // Bindings and module ship as the build of the entry leaves them: the one within it, both with shorter names.
    let bindings = workspace.join("target/worker-bindings");
    WORKER.bind(workspace, toolchain, &bindings, &bindings.join("optimised.wasm"))?;
    process::quiet(
        Command::new("node").current_dir(workspace).arg("edge/worker/build.mjs"),
        "building the Worker",
        "read the message of esbuild",
    )
}
