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

#[cfg(test)]
mod tests {
    use selvedge_format::record::Outcome;
    use selvedge_wire::RequestBuilder;

    use super::*;

    fn program() -> ProgramV1 {
        let text = "version = 1\n[fields.item]\nprice = \"number\"\n\
            [[feature]]\nname = \"price\"\nkind = \"number\"\nfield = \"item.price\"\n";
        lower_program(&FeatureSpec::parse("features.toml", text).unwrap()).unwrap()
    }

    const REQUEST: &str = r#"{"time": "2026-11-23T18:30:00Z", "candidates": [{"id": "a", "price": 1.2}, {"id": "b"}]}"#;

    #[test]
    fn a_line_is_a_request_with_gains_or_without() {
        let plain = of_line(REQUEST.as_bytes(), &program()).unwrap();
        let judged = format!(r#"{{"request": {REQUEST}, "gains": [0, 2.5]}}"#);
        let judged = of_line(judged.as_bytes(), &program()).unwrap();
        assert_eq!((plain.gains, judged.gains), (vec![], vec![0.0, 2.5]));
        // A request without an id has that of its text, behind the frame of 16 bytes.
        assert_eq!(plain.bytes[32..], judged.bytes[32..]);
    }

    #[test]
    fn a_line_that_is_no_request_says_why() {
        for (line, part) in [
            ("{", "EOF"),
            (r#"{"gains": [1]}"#, "missing field `request`"),
            (r#"{"request": {}, "gains": [-1]}"#, "a gain is 0 or more"),
            (r#"{"candidates": 3}"#, ""),
        ] {
            let message = of_line(line.as_bytes(), &program()).expect_err(line);
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn what_followed_a_request_is_the_gain_of_its_item_and_a_request_counts_once() {
        let request = |id: u8| RequestBuilder::new([id; 16], 1_000, ["a", "b"]).build();
        let mut log = Vec::new();
        for id in [9, 7, 9] {
            RecordView::Full { request: &request(id), decision: b"not read" }.write(&mut log);
        }
        let unknown = of_log(&log);
        assert!(unknown.iter().all(|request| request.gains.is_empty()), "nobody looked");
        let outcome = Outcome { request_id: [9; 16], time_ms: 2_000, item: key(b"b"), event: 1, id: 0, value: 3.0 };
        RecordView::Outcome(outcome).write(&mut log);
        let known = of_log(&log);
        let gains: Vec<&[f32]> = known.iter().map(|request| request.gains.as_slice()).collect();
        assert_eq!(gains, [[0.0, 1.0], [0.0, 0.0]], "in the order of the log");
        assert_eq!(known[0].bytes, request(9));
    }
}
