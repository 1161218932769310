//! The conformance corpus on every face; `docs/conformance.md` says what that means.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::{guest, npm, process, say};

const CORPUS: &str = "edge/conformance/corpus/v1.bin";
const TRACE: &str = "target/conformance/trace.bin";

/// What a driver found.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    driver: String,
    cases: u64,
    equal: u64,
}

/// Runs the corpus on every face; the modules are there already.
pub(crate) fn run(workspace: &Path, json: Option<&Path>) -> Result<()> {
    let mut trace = process::cargo();
    trace.current_dir(workspace).args(["run", "--quiet", "--package", "selvedge-conformance", "--", "trace", TRACE]);
    process::run(&mut trace, "read the message above")?;
    let mut wasmtime = process::cargo();
    wasmtime
        .current_dir(workspace)
        .args(["run", "--quiet", "--package", "selvedge-runner", "--example", "conformance", "--", CORPUS])
        .args(guest::modules(workspace));
    let mut reports = reports(&mut wasmtime)?;
    reports.extend(self::reports(&mut npm::node(workspace, ["edge/conformance/drivers/run.mjs", CORPUS, TRACE])?)?);
    for Report { driver, cases, equal } in &reports {
        say::note(format_args!("{driver}: {equal} of {cases} cases equal"));
    }
    if let Some(json) = json {
        let text = serde_json::to_string_pretty(&reports).context("cannot write the reports as JSON")?;
        fs::write(json, text + "\n").with_context(|| format!("cannot write {}", json.display()))?;
    }
    let unequal: Vec<&str> =
        reports.iter().filter(|report| report.equal != report.cases).map(|report| report.driver.as_str()).collect();
    if !unequal.is_empty() {
        bail!("{} decided differently\nhint: the first difference of each is printed above", unequal.join(", "));
    }
    Ok(())
}

/// What a driver prints; it fails where cases differ, and says so in its reports.
fn reports(driver: &mut Command) -> Result<Vec<Report>> {
    let output = driver.stderr(Stdio::inherit()).output().context("cannot start a driver of the corpus")?;
    let reports: Vec<Report> = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("a driver of the corpus ended without a report ({})", output.status))?;
    ensure!(!reports.is_empty(), "a driver of the corpus reported nothing");
    Ok(reports)
}
