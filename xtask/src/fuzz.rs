//! Fuzzing: each target of `fuzz/` for a while, with libFuzzer under the address sanitizer.
//!
//! The sanitizer is the one thing here that stable Rust does not offer; `RUSTC_BOOTSTRAP` lifts that for this build
//! alone, so no second toolchain is needed. What a crash leaves in `fuzz/artifacts` becomes an ordinary test.

use std::path::Path;

use anyhow::{Result, bail};

use crate::process;
use crate::say;
use crate::tools::CARGO_FUZZ;

/// No honest input needs this much: above it, the allocation is the finding.
const MEMORY_MIB: u32 = 512;

/// No honest input takes this long to judge, even under the sanitizer.
const SECONDS_PER_INPUT: u32 = 5;

/// Runs `target`, or every target when `None`, for `seconds` each.
pub(crate) fn run(workspace: &Path, target: Option<&str>, seconds: u64) -> Result<()> {
    let list = process::capture(CARGO_FUZZ.command(workspace)?.arg("list"), "fuzz/Cargo.toml names the targets")?;
    let targets: Vec<&str> = list.lines().filter(|name| target.is_none_or(|wanted| wanted == *name)).collect();
    if targets.is_empty() {
        bail!("there is no fuzz target of that name\nhint: one of {}", list.replace('\n', ", "));
    }
    let mut seed = process::cargo();
    seed.current_dir(workspace).args(["run", "--quiet", "--manifest-path", "fuzz/Cargo.toml", "--example", "seed"]);
    process::run(&mut seed, "the samples of fuzz/src/sample.rs must be valid")?;
    for name in targets {
        say::note(format_args!("fuzzing {name} for {seconds} s"));
        let mut fuzz = CARGO_FUZZ.command(workspace)?;
        fuzz.env("RUSTC_BOOTSTRAP", "1").args(["run", name, "--"]);
        fuzz.arg(format!("-max_total_time={seconds}"));
        fuzz.arg(format!("-rss_limit_mb={MEMORY_MIB}")).arg(format!("-timeout={SECONDS_PER_INPUT}"));
        let hint = format!("the input is in fuzz/artifacts/{name}; make it a test before fixing it");
        process::run(&mut fuzz, &hint)?;
    }
    Ok(())
}
