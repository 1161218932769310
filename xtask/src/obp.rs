//! Open Bandit Pipeline, whose estimators and sample logs ours are compared with.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{process, python};

/// What its estimators import, pinned.
const PACKAGES: [&str; 3] = ["numpy==2.2.6", "pandas==2.2.3", "scikit-learn==1.6.1"];

/// Has Open Bandit Pipeline make its estimates, and compares ours.
pub(crate) fn run(workspace: &Path) -> Result<()> {
    let source = python::source("obp", "0.5.7")?;
    let packages = python::packages("scikit-learn-1.6.1", "numpy, pandas and scikit-learn from PyPI", &PACKAGES)?;
    let estimates = workspace.join("target/obp.json");
    let mut reference = Command::new("python3");
    reference.env("PYTHONPATH", packages).arg(workspace.join("models/train/tests/obp/reference.py"));
    process::run(reference.arg(source).arg(&estimates), "read the message above")?;
    let mut compare = process::cargo();
    compare.current_dir(workspace).env("SELVEDGE_OBP", estimates);
    compare.args(["test", "--quiet", "--package", "selvedge-train", "--test", "obp", "--", "--ignored", "--nocapture"]);
    process::run(&mut compare, "the first estimate that differs is named above")
}
