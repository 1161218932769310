//! Operator coverage: ONNX's own node tests and a few published models, through import, lowering and engine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::say::Steps;
use crate::{process, python};

/// The node tests are files of the package; nothing of it runs, so what it needs is not installed.
const TESTS: [&str; 2] = ["--no-deps", "onnx==1.19.0"];
/// What makes inputs for published models, and answers them.
const PEERS: [&str; 3] = ["numpy==2.2.6", "onnx==1.19.0", "onnxruntime==1.32.0"];
/// Packages that have models in them, with the name of their directory.
const MODELS: [(&str, &str); 4] = [
    ("magika-1.0.3", "magika==1.0.3"),
    ("rapidocr-3.10.0", "rapidocr==3.10.0"),
    ("rapidocr_onnxruntime-1.4.4", "rapidocr-onnxruntime==1.4.4"),
    ("silero_vad-6.2.3", "silero-vad==6.2.3"),
];
/// The page that is written.
const PAGE: &str = "docs/reference/onnx-coverage.md";

/// Runs every test and every model, and writes the page.
pub(crate) fn run(workspace: &Path, json: Option<&Path>, steps: &mut Steps) -> Result<()> {
    let tests = steps.step("node tests", || python::packages("onnx-1.19.0", "onnx 1.19.0 from PyPI", &TESTS))?;
    let cases = steps.step("published models", || published(workspace))?;
    steps.step("coverage", || {
        let mut coverage = process::cargo();
        coverage.current_dir(workspace).args(["run", "--quiet", "--package", "selvedge-compile"]);
        coverage.args(["--features", "coverage", "--example", "coverage", "--"]);
        coverage.arg(tests.join("onnx/backend/test/data/node")).arg("--models").arg(cases).args(["--page", PAGE]);
        if let Some(json) = json {
            coverage.arg("--json").arg(json);
        }
        process::run(&mut coverage, "what is wrong or crashes is named above")
    })
}

/// Cases made of the models in the packages.
fn published(workspace: &Path) -> Result<PathBuf> {
    let peers = python::packages("onnxruntime-1.32.0", "onnxruntime 1.32.0 from PyPI", &PEERS)?;
    let cases = workspace.join("target/coverage");
    let mut make = Command::new("python3");
    make.env("PYTHONPATH", peers).arg(workspace.join("models/compile/tests/onnx/published.py")).arg(&cases);
    for (name, package) in MODELS {
        make.arg(python::packages(name, &format!("{package} from PyPI"), &["--no-deps", package])?);
    }
    process::quiet(&mut make, "asking onnxruntime about published models", "read the message above")?;
    Ok(cases)
}
