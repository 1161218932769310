//! `cargo xtask bench compare`: other runtimes are installed, models made, ours compiled, and all of them measured in turn.
//!
//! What is measured and how is `benches/compare`; here is where everything comes from. A runtime that cannot be installed is
//! left out with the reason, and the others are measured all the same.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::module::{FAST, Module};
use crate::say::Steps;
use crate::toolchain::{TARGET, WasmToolchain};
use crate::{cache, guest, npm, process, python, say};

/// A runtime from a registry of packages.
struct Peer {
    /// The name that `benches/compare` knows it by.
    name: &'static str,
    version: &'static str,
    /// What the package manager is asked for.
    packages: &'static [&'static str],
}

const fn peer(name: &'static str, version: &'static str, packages: &'static [&'static str]) -> Peer {
    Peer { name, version, packages }
}

/// From npm.
const NPM: [Peer; 4] = [
    peer("onnxruntime-web", "1.30.0", &["onnxruntime-web@1.30.0"]),
    peer("onnxruntime-node", "1.30.0", &["onnxruntime-node@1.30.0"]),
    peer("ydf-inference", "0.0.4", &["ydf-inference@0.0.4"]),
    peer("tfjs-wasm", "4.22.0", &["@tensorflow/tfjs@4.22.0", "@tensorflow/tfjs-backend-wasm@4.22.0"]),
];

/// What all of the following import, once.
const PYTHON: Peer = peer(
    "numpy",
    "2.2.6",
    &[
        "numpy==2.2.6",
        "scipy==1.15.3",
        "pandas==2.2.3",
        "onnx==1.19.0",
        "protobuf==6.32.0",
        "packaging==25.0",
        "flatbuffers==25.2.10",
        "sympy==1.13.3",
        "coloredlogs==15.0.1",
        "absl-py==2.3.1",
    ],
);

/// From PyPI, each without what it shares with others. Of llvmlite, lleaves needs one that still has LLVM's old pass manager.
const PYPI: [Peer; 6] = [
    peer("onnxruntime", "1.30.0", &["onnxruntime==1.30.0"]),
    peer("lightgbm", "4.6.0", &["lightgbm==4.6.0"]),
    peer("xgboost", "3.2.0", &["xgboost==3.2.0"]),
    peer("catboost", "1.2.10", &["catboost==1.2.10"]),
    peer("lleaves", "1.3.0", &["lleaves==1.3.0", "llvmlite==0.43.0"]),
    peer("ydf", "0.16.1", &["ydf==0.16.1"]),
];

/// The version in `benches/compare/tract/Cargo.toml`.
const TRACT: &str = "0.23.9";

/// How our bundle of a workload is compiled: the workload, and the trained model. A sample beside it is given as well.
const BUNDLES: [(&str, &str); 6] = [
    ("mlp", "model.onnx"),
    ("mlp-int8", "model.onnx"),
    ("mlp-shared", "model.onnx"),
    ("din", "model.onnx"),
    ("lgb100", "model.txt"),
    ("lgb500", "model.txt"),
];

/// Where models, inputs and requests are.
const WORKLOADS: &str = "target/compare";

/// Installs, makes and measures. `arguments` are those of `selvedge-bench-compare run`.
pub(crate) fn run(
    workspace: &Path,
    toolchain: &WasmToolchain,
    arguments: &[OsString],
    steps: &mut Steps,
) -> Result<()> {
    steps.step("guest", || guest::build(workspace, toolchain))?;
    let (found, shared) = steps.step("runtimes", || runtimes(workspace, toolchain))?;
    let (program, selvedge) = steps.step("programs", || programs(workspace))?;
    steps.step("models", || models(workspace, &selvedge, &program, &found, &shared))?;
    steps.step("compare", || {
        let installed = workspace.join(WORKLOADS).join("installed.json");
        let text = json!({ "peers": found, "python": shared }).to_string();
        fs::write(&installed, text).with_context(|| format!("cannot write {}", installed.display()))?;
        let mut compare = Command::new(program);
        compare.current_dir(workspace).args(["run", WORKLOADS, "--engines", "benches/compare/engines", "--installed"]);
        compare.arg(installed);
        // A few short rounds make no figures for a page.
        if !arguments.iter().any(|argument| argument == "--quick") {
            compare.args(["--page", "docs/benchmarks"]);
        }
        process::run(compare.args(arguments), "read the message above")
    })
}

/// Where each runtime is, or why not, and where Python finds what several import.
type Found = (BTreeMap<&'static str, Value>, Vec<PathBuf>);

fn runtimes(workspace: &Path, toolchain: &WasmToolchain) -> Result<Found> {
    let mut found = BTreeMap::new();
    let mut note = |name, version: &str, place: Result<PathBuf>| {
        let entry = match place {
            Ok(path) => json!({ "at": { "path": path, "version": version } }),
            Err(error) => {
                // What failed, and the last thing it said.
                let reason = format!("{error:#}");
                let last = reason.lines().next_back().unwrap_or_default().trim_start_matches([' ', '|']);
                let reason = format!("{}: {last}", reason.lines().next().unwrap_or_default());
                say::note(format_args!("without {name}: {reason}"));
                json!({ "missing": format!("it could not be installed: {reason}") })
            }
        };
        found.insert(name, entry);
    };
    for peer in NPM {
        note(peer.name, peer.version, from_npm(&peer));
    }
    let shared: Vec<PathBuf> = from_pypi(&PYTHON, &[]).into_iter().collect();
    for peer in PYPI {
        note(peer.name, peer.version, from_pypi(&peer, &["--no-deps"]));
    }
    let ours = env!("CARGO_PKG_VERSION");
    note("guest", ours, Ok(guest::module(workspace)));
    note("guest-named", ours, guest::named(workspace, toolchain));
    note("chromium", ours, npm::install(workspace).and_then(|()| npm::chromium()));
    note("workerd", ours, npm::install(workspace).map(|()| workspace.join("node_modules/workerd")));
    note("tract-wasm", TRACT, tract(workspace, toolchain));
    Ok((found, shared))
}

fn key(peer: &Peer) -> (String, String) {
    (format!("compare-{}-{}", peer.name, peer.version), format!("{} {}", peer.name, peer.version))
}

/// A folder with `node_modules`. Install scripts do not run: one of them would fetch libraries for graphics cards.
fn from_npm(peer: &Peer) -> Result<PathBuf> {
    let (key, what) = key(peer);
    cache::entry(&key, &format!("{what} from npm"), |directory| {
        let mut install = Command::new("npm");
        install.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"]).arg(directory);
        process::quiet(install.args(peer.packages), &format!("installing {what}"), "can the npm registry be reached?")
    })
}

fn from_pypi(peer: &Peer, options: &[&str]) -> Result<PathBuf> {
    let (key, what) = key(peer);
    let packages: Vec<&str> = options.iter().chain(peer.packages).copied().collect();
    python::packages(&key, &format!("{what} from PyPI"), &packages)
}

/// tract as a module: compiled with SIMD, bound and optimised as ours is.
fn tract(workspace: &Path, toolchain: &WasmToolchain) -> Result<PathBuf> {
    let module = Module {
        package: "selvedge-bench-tract",
        directory: "tract",
        profile: "release",
        rustflags: &["-Ctarget-feature=+simd128"],
        level: FAST,
        features: &["--enable-simd"],
    };
    let target = workspace.join("target/wasm").join(module.directory);
    let mut cargo = process::cargo();
    toolchain.apply(&mut cargo);
    cargo
        .current_dir(workspace.join("benches/compare/tract"))
        .args(["build", "--release", "--locked", "--target", TARGET, "--target-dir"])
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", module.rustflags.join("\x1f"));
    process::quiet(&mut cargo, "building tract for WebAssembly", "read the compiler's message")?;
    let compiled = target.join(TARGET).join("release/selvedge_bench_tract.wasm");
    let output = workspace.join(WORKLOADS).join("tract");
    fs::create_dir_all(&output).with_context(|| format!("cannot create {}", output.display()))?;
    module.bind_compiled(&compiled, &output, &output.join("tract.wasm"))?;
    Ok(output)
}

/// The program that measures, optimised, and the command line, which compiles bundles and may be slow.
fn programs(workspace: &Path) -> Result<(PathBuf, PathBuf)> {
    let build = |arguments: &[&str]| {
        let mut cargo = process::cargo();
        cargo.current_dir(workspace).arg("build").args(arguments);
        process::run(&mut cargo, "read the message above")
    };
    build(&["--release", "--package", "selvedge-bench-compare"])?;
    build(&["--package", "selvedge-cli", "--bin", "selvedge"])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    Ok((target.join("release/selvedge-bench-compare"), target.join("debug/selvedge")))
}

/// Models, inputs and expected scores, unless the same script with the same libraries made them; then our bundles and requests.
fn models(
    workspace: &Path,
    selvedge: &Path,
    program: &Path,
    found: &BTreeMap<&'static str, Value>,
    shared: &[PathBuf],
) -> Result<()> {
    let (script, output) = (workspace.join("benches/compare/prepare.py"), workspace.join(WORKLOADS));
    fs::create_dir_all(&output).with_context(|| format!("cannot create {}", output.display()))?;
    let libraries = PYPI.iter().filter_map(|peer| found[peer.name]["at"]["path"].as_str()).map(PathBuf::from);
    let path: Vec<PathBuf> = shared.iter().cloned().chain(libraries).collect();
    let (stamp, stamped) = (stamp(&script, &path)?, output.join("models.stamp"));
    if fs::read_to_string(&stamped).is_ok_and(|last| last == stamp) {
        say::note("models and inputs are there");
    } else {
        let path = std::env::join_paths(&path).context("a path of the cache has a colon in it")?;
        let mut prepare = Command::new("python3");
        prepare.env("PYTHONPATH", path).arg(script).arg(&output);
        process::quiet(&mut prepare, "training and exporting models", "prepare.py needs numpy and onnx")?;
        fs::write(&stamped, stamp).with_context(|| format!("cannot write {}", stamped.display()))?;
    }
    for (workload, trained) in BUNDLES {
        let folder = output.join(workload);
        if folder.join("workload.json").exists() {
            bundle(selvedge, &folder, trained)?;
        }
    }
    process::run(Command::new(program).arg("requests").arg(&output), "read the message above")
}

/// Our bundle of a workload; where the compiler refuses the model, what it says.
fn bundle(selvedge: &Path, folder: &Path, trained: &str) -> Result<()> {
    let (bundle, refused) = (folder.join("bundle.svb"), folder.join("bundle.refused"));
    for old in [&bundle, &refused] {
        if old.exists() {
            fs::remove_file(old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
    }
    let mut compile = Command::new(selvedge);
    compile.arg("compile").arg("--model").arg(folder.join("model.toml")).arg("--trained").arg(folder.join(trained));
    let sample = folder.join("sample.jsonl");
    if sample.exists() {
        compile.arg("--sample").arg(sample);
    }
    let compile = compile.arg("--out").arg(&bundle).output().context("cannot start the compiler")?;
    if !compile.status.success() {
        let said = String::from_utf8_lossy(&compile.stderr);
        let reason = said.lines().next().unwrap_or("it says nothing").trim_start_matches("error: ");
        say::note(format_args!("no bundle of {}: {reason}", folder.display()));
        fs::write(&refused, reason).with_context(|| format!("cannot write {}", refused.display()))?;
    }
    Ok(())
}

/// Which script was run with what.
fn stamp(script: &Path, libraries: &[PathBuf]) -> Result<String> {
    let bytes = fs::read(script).with_context(|| format!("cannot read {}", script.display()))?;
    let hash: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{hash} {libraries:?}"))
}
