//! The uplift crate against independent implementations, and its benchmark.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{process, python};

/// scikit-uplift itself, whose metrics import nothing of what it declares besides the packages below.
const SKLIFT: [&str; 2] = ["--no-deps", "scikit-uplift==0.5.1"];
/// What its metrics import, pinned.
const PACKAGES: [&str; 3] = ["numpy==2.2.6", "pandas==2.2.3", "scikit-learn==1.6.1"];

/// Has scikit-uplift measure trials and Open Bandit Pipeline value policies over several arms, and compares ours.
pub(crate) fn reference(workspace: &Path) -> Result<()> {
    let sklift = python::packages("scikit-uplift-0.5.1", "scikit-uplift from PyPI", &SKLIFT)?;
    let obp = python::source("obp", "0.5.7")?;
    let packages = python::packages("scikit-learn-1.6.1", "numpy, pandas and scikit-learn from PyPI", &PACKAGES)?;
    let cases = workspace.join("target/uplift.json");
    let mut reference = Command::new("python3");
    reference.env("PYTHONPATH", packages).arg(workspace.join("models/uplift/tests/sklift/reference.py"));
    process::run(reference.arg(sklift).arg(obp).arg(&cases), "read the message above")?;
    let mut compare = process::cargo();
    compare.current_dir(workspace).env("SELVEDGE_UPLIFT", cases);
    compare.args(["test", "--quiet", "--package", "selvedge-uplift", "--test", "sklift", "--", "--ignored"]);
    process::run(&mut compare, "the first measure that differs is named above")
}

/// Runs the benchmark on Hillstrom's trial; it says so when `arguments` name no data.
pub(crate) fn bench(workspace: &Path, arguments: &[OsString]) -> Result<()> {
    let mut bench = process::cargo();
    bench.current_dir(workspace).args(["run", "--release", "--package", "selvedge-uplift", "--example", "hillstrom"]);
    process::run(bench.arg("--").args(arguments), "read the message above")
}
