//! The peak of the vector unit in Node: what no kernel can be above on this machine, without fused operations.
//!
//! A loop of multiplications and additions over twelve vectors that do not wait for each other: enough to fill the pipelines
//! of today's processors, and, with two factors, no more than their sixteen registers.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::process::{self, Process};

const VECTORS: usize = 12;
const TURNS: usize = 20_000;
/// A multiplication and an addition of each of four lanes.
const FLOPS: usize = VECTORS * TURNS * 8;
const ROUNDS: usize = 15;

/// 10^9 multiplications and additions a second: the best of some rounds, for a peak is not a median.
pub(crate) fn gflops(directory: &Path, scripts: &Path) -> Result<f64> {
    let file = directory.join("peak.wasm");
    let module = wat::parse_str(text()).context("the loop is no module")?;
    std::fs::write(&file, module).with_context(|| format!("cannot write {}", file.display()))?;
    let mut node = process::command("node", &[]);
    node.arg(scripts.join("drive.mjs")).arg("simd-peak").arg(&file);
    let mut process = Process::start(node)?;
    process.time(1, Duration::from_millis(300))?;
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        best = best.min(process.time(1, Duration::from_millis(20))?);
    }
    Ok(FLOPS as f64 / best / 1e3)
}

/// Every vector goes towards 1, so nothing overflows or becomes subnormal.
fn text() -> String {
    let names: Vec<String> = (0..VECTORS).map(|at| format!("$v{at}")).collect();
    let mut text =
        String::from("(module (func (export \"run\") (result f32) (local $turn i32) (local $a v128) (local $b v128)");
    for name in &names {
        let _ = write!(text, " (local {name} v128)");
    }
    text += " (local.set $a (f32x4.splat (f32.const 0.5))) (local.set $b (f32x4.splat (f32.const 0.5)))";
    let _ = write!(text, " (local.set $turn (i32.const {TURNS})) (loop $again");
    for name in &names {
        let _ = write!(
            text,
            " (local.set {name} (f32x4.add (f32x4.mul (local.get {name}) (local.get $a)) (local.get $b)))"
        );
    }
    text += " (br_if $again (local.tee $turn (i32.sub (local.get $turn) (i32.const 1)))))";
    let sum = names
        .iter()
        .skip(1)
        .fold(format!("(local.get {})", names[0]), |sum, name| format!("(f32x4.add {sum} (local.get {name}))"));
    let _ = write!(text, " (f32x4.extract_lane 0 {sum})))");
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_loop_is_a_valid_module() {
        assert!(wat::parse_str(super::text()).is_ok_and(|module| module.starts_with(b"\0asm")));
    }
}
