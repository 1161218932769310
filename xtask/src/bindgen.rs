//! Builds the modules for JavaScript hosts: the npm package's, with SIMD and without, and the Worker's.

use std::path::Path;

use anyhow::Result;

use crate::module::Module;
use crate::toolchain::WasmToolchain;

const BROWSER_SIMD: Module = Module {
    package: "selvedge-browser",
    directory: "simd",
    rustflags: &["-Ctarget-feature=+simd128"],
    features: &["--enable-simd"],
};

const BROWSER_PLAIN: Module = Module {
    package: "selvedge-browser",
    directory: "plain",
    rustflags: &["-Cllvm-args=-inline-threshold=40"],
    features: &[],
};

const WORKER: Module = Module { package: "selvedge-worker", ..BROWSER_SIMD };

/// Builds into `target/browser/{simd,plain}`.
pub(crate) fn browser(workspace: &Path, toolchain: &WasmToolchain) -> Result<()> {
    let output = workspace.join("target/browser");
    BROWSER_SIMD.bind(workspace, toolchain, "web", &output.join("simd"))?;
    BROWSER_PLAIN.bind(workspace, toolchain, "web", &output.join("plain"))
}

/// Builds into `target/worker`.
pub(crate) fn worker(workspace: &Path, toolchain: &WasmToolchain) -> Result<()> {
    WORKER.bind(workspace, toolchain, "web", &workspace.join("target/worker"))
}
