//! The sample of requests that `compile` quantises by: a decision log, or a JSON request per line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use selvedge_compile::{Sample, SampleRequest, lower_program};
use selvedge_format::key;
use selvedge_format::program::ProgramV1;
use selvedge_format::record::{MAGIC, RecordView};
use selvedge_format::request::RequestView;
use selvedge_spec::FeatureSpec;
use selvedge_wire::json;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{CliError, Exit};
use crate::log::{Stretch, stretches};
use crate::{file, show};

const HELP: &str =
    "a sample is a decision log, or a JSON request per line, with gains or without: docs/reference/quantisation.md";

/// A line that says what showing the candidates was worth.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Judged {
    request: Value,
    gains: Vec<f32>,
}

/// Reads a sample, and the shared state in which it was made.
pub(crate) fn read(path: &Path, shared: Option<&Path>, features: &FeatureSpec) -> Result<Sample, CliError> {
    let bytes = file::read(path, file::MAX_BYTES)?;
    let requests = if bytes.starts_with(&MAGIC) {
        of_log(&bytes)
    } else {
        let program = lower_program(features)?;
        let lines = bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
        let read = lines.map(|(at, line)| {
            of_line(line, &program).map_err(|message| {
                CliError::new(Exit::Usage, format_args!("{}:{}: {message}", path.display(), at + 1)).hint(HELP)
            })
        });
        read.collect::<Result<_, _>>()?
    };
    let shared = shared.map(|path| file::read(path, file::MAX_BYTES)).transpose()?;
    Ok(Sample { requests, shared })
}

fn of_line(line: &[u8], program: &ProgramV1) -> Result<SampleRequest, String> {
    let read = |text: &[u8]| json::request(text, program).map_err(|error| error.to_string());
    let value: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    if value.get("gains").is_none() {
        return Ok(SampleRequest { bytes: read(line)?.bytes, gains: Vec::new() });
    }
    let Judged { request, gains } = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if gains.iter().any(|gain| !gain.is_finite() || *gain < 0.0) {
        return Err("a gain is 0 or more".to_owned());
    }
    Ok(SampleRequest { bytes: read(request.to_string().as_bytes())?.bytes, gains })
}

/// Full records, each request once; a candidate gains 1 if anything followed, where the log has outcomes at all.
fn of_log(log: &[u8]) -> Vec<SampleRequest> {
    let (mut outcomes, mut requests) = (BTreeSet::new(), BTreeMap::new());
    for stretch in stretches(log) {
        match stretch {
            Stretch::Record { record: RecordView::Outcome(outcome), .. } => {
                outcomes.insert((outcome.request_id, outcome.item));
            }
            Stretch::Record { at, record: RecordView::Full { request, .. } } => {
                if let Ok(view) = RequestView::parse(request, show::limits()) {
                    requests.entry(view.request_id).or_insert((at, request, view));
                }
            }
            Stretch::Record { record: RecordView::Digest(_), .. } | Stretch::Damage { .. } => {}
        }
    }
    let mut in_order: Vec<_> = requests.into_iter().collect();
    in_order.sort_by_key(|(_, (at, ..))| *at);
    let sampled = in_order.into_iter().map(|(id, (_, bytes, view))| {
        let gain = |at: usize| f32::from(outcomes.contains(&(id, key(view.ids.get(at)))));
        let gains = if outcomes.is_empty() { Vec::new() } else { (0..view.candidates).map(gain).collect() };
        SampleRequest { bytes: bytes.to_vec(), gains }
    });
    sampled.collect()
}
