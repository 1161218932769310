//! Our requests: the inputs of a workload as columns of the request, as a client sends them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use selvedge_engine::{Engine, Limits};
use selvedge_format::AlignedBytes;
use selvedge_format::decision::{DecisionStatus, DecisionView};
use selvedge_format::program::Scope;
use selvedge_wire::{RequestBuilder, Values};

use crate::workload::{self, Workload};
use crate::{read, say};

/// When all requests are made, milliseconds. No model asks for the time.
const TIME_MS: i64 = 1_795_000_000_000;

/// Writes the requests of every workload that is there, and makes sure that the engine decides them.
pub(crate) fn write(directory: &Path) -> Result<()> {
    for name in workload::NAMES {
        let path = directory.join(name);
        if !path.join("workload.json").exists() {
            say(format_args!("no workload {name}"));
            continue;
        }
        let workload = Workload::open(&path)?;
        if workload.refusal().is_none() {
            write_those_of(&workload).with_context(|| format!("workload {name}"))?;
        }
    }
    Ok(())
}

fn write_those_of(workload: &Workload) -> Result<()> {
    let mut engine = Engine::new(Limits::default());
    let bundle = read(&workload.bundle())?;
    engine.load(AlignedBytes::copy_of(&bundle)).context("the engine refuses its bundle")?;
    let width = workload.about.columns.len();
    for &rows in &workload.about.rows {
        let inputs = workload.inputs(rows)?;
        for (set, values) in inputs.chunks_exact(rows * width).enumerate() {
            let request = encode(workload, rows, set, values);
            // A decision that falls back does no work: its time would be no figure.
            let decided = DecisionView::parse(engine.decide(&request)).context("a decision that is none")?;
            ensure!(decided.status == DecisionStatus::Personalized, "{rows} rows: {:?}", decided.status);
            let path = workload.request(rows, set);
            fs::write(&path, request).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

/// One request; `values` are `[row][column]`.
fn encode(workload: &Workload, rows: usize, set: usize, values: &[f32]) -> Vec<u8> {
    let ids: Vec<String> = (0..rows).map(|row| format!("c{row}")).collect();
    let mut identity = [0; 16];
    identity[..8].copy_from_slice(&(set as u64).to_le_bytes());
    let mut request = RequestBuilder::new(identity, TIME_MS, ids.iter().map(String::as_str));
    let width = workload.about.columns.len();
    for (at, name) in workload.about.columns.iter().enumerate() {
        let column: Vec<f32> = values.iter().skip(at).step_by(width).copied().collect();
        request = if at < workload.about.shared {
            request.column(Scope::Context, name, Values::Numbers(&column[..1]))
        } else {
            request.column(Scope::Item, name, Values::Numbers(&column))
        };
    }
    request.build()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use selvedge_format::program::{FieldType, field_id};
    use selvedge_format::request::{RequestLimits, RequestView};

    use super::*;
    use crate::workload::About;

    #[test]
    fn what_is_the_same_in_all_rows_is_sent_once() {
        let about = About {
            name: "shared".into(),
            columns: vec!["of_all".into(), "of_each".into()],
            shared: 1,
            rows: vec![3],
            sets: 1,
            flops: 0,
            tolerance: 0.0,
        };
        let workload = Workload { path: PathBuf::new(), about };
        let request = encode(&workload, 3, 0, &[7.0, 1.0, 7.0, 2.0, 7.0, 3.0]);
        let limits = RequestLimits { bytes: usize::MAX, state_bytes: 0 };
        let view = RequestView::parse(&request, limits).expect("a valid request");
        assert_eq!(view.candidates, 3);
        for (scope, name) in [(Scope::Context, "of_all"), (Scope::Item, "of_each")] {
            let column = view.column(field_id(scope, name), scope, FieldType::Number);
            assert!(column.is_ok_and(|column| column.is_some()), "{name}");
        }
    }
}
