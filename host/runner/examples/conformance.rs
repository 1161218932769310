//! The conformance corpus, natively and in both guest modules under wasmtime.
//!
//! `cargo run -p selvedge-runner --example conformance -- CORPUS GUEST PLAIN_GUEST` prints a JSON list of
//! `{driver, cases, equal}`; the first difference of a driver goes to standard error.

use std::process::ExitCode;

use selvedge_conformance::{Case, Corpus, Outcome, cases, outcome};
use selvedge_runner::{GuestModule, Instance, RunError, RunnerLimits};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<ExitCode, Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [corpus, guest, plain] = arguments.as_slice() else {
        return Err("give the corpus, the guest module, and the one without SIMD".into());
    };
    let corpus = Corpus::decode(&std::fs::read(corpus)?)?;
    let (guest, plain) = (GuestModule::read(guest)?, GuestModule::read(plain)?);
    let reports = [
        run("native", &corpus, |case| Ok(outcome(case)))?,
        run("wasmtime", &corpus, |case| in_guest(&guest, case))?,
        run("wasmtime-plain", &corpus, |case| in_guest(&plain, case))?,
    ];
    let lines: Vec<String> = reports
        .iter()
        .map(|(driver, cases, equal)| format!("  {{\"driver\": \"{driver}\", \"cases\": {cases}, \"equal\": {equal}}}"))
        .collect();
    write_line(&format!("[\n{}\n]", lines.join(",\n")))?;
    let all_equal = reports.iter().all(|(_, cases, equal)| cases == equal);
    Ok(if all_equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs every case and compares what comes out with the corpus; the number of cases, and of equal ones.
fn run(
    driver: &'static str,
    corpus: &Corpus,
    decide: impl Fn(&Case) -> Result<Outcome, Failure>,
) -> Result<(&'static str, usize, usize), Failure> {
    let cases = cases();
    if cases.len() != corpus.cases.len() {
        return Err(format!("the corpus has {} cases, this version makes {}", corpus.cases.len(), cases.len()).into());
    }
    let mut equal = 0;
    for (case, expected) in cases.iter().zip(&corpus.cases) {
        let found = decide(case)?;
        if found.refusal == expected.refusal && found.decision == expected.decision {
            equal += 1;
        } else {
            let text = difference(case, expected.refusal, &expected.decision, &found);
            std::io::Write::write_all(&mut std::io::stderr(), format!("{driver}: {}: {text}\n", case.name).as_bytes())?;
        }
    }
    Ok((driver, cases.len(), equal))
}

/// The first value that differs, on the way from load to decision.
fn difference(case: &Case, refusal: u32, decision: &[u8], found: &Outcome) -> String {
    if found.refusal != refusal {
        return format!("the load ends with error {}, not {refusal}", found.refusal);
    }
    let native = outcome(case);
    let word = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 4).map_or(0, |word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
    };
    let first = |found: &[u8], expected: &[u8]| found.chunks(4).zip(expected.chunks(4)).position(|(a, b)| a != b);
    if let Some(at) = first(&found.features, &native.features).filter(|at| *at >= 2) {
        let candidates = word(&native.features, 0) as usize;
        let (feature, candidate) = ((at - 2) / candidates, (at - 2) % candidates);
        let operation = case.operations.get(feature).map_or("?", String::as_str);
        return format!(
            "candidate {candidate}, feature {feature} ({operation}): {:#010x}, not {:#010x}",
            word(&found.features, 4 * at),
            word(&native.features, 4 * at)
        );
    }
    if let Some(at) = first(&found.scores, &native.scores) {
        let (found, expected) = (word(&found.scores, 4 * at), word(&native.scores, 4 * at));
        return format!("candidate {at}, score (the model): {found:#010x}, not {expected:#010x}");
    }
    let at = first(&found.decision, decision).unwrap_or(found.decision.len().min(decision.len()) / 4);
    let (found, expected) = (word(&found.decision, 4 * at), word(decision, 4 * at));
    format!("the decision at byte {} (slate, after equal scores): {found:#010x}, not {expected:#010x}", 4 * at)
}

fn in_guest(module: &GuestModule, case: &Case) -> Result<Outcome, Failure> {
    let mut instance = Instance::new(module, RunnerLimits::default());
    let mut outcome = Outcome { refusal: 0, decision: Vec::new(), features: Vec::new(), scores: Vec::new() };
    match case.bundle.clone().map(|bundle| instance.load(bundle)) {
        None | Some(Ok(_)) => {}
        Some(Err(RunError::Refused(refusal))) => outcome.refusal = refusal.code().map_or(0, |code| code as u32),
        Some(Err(error)) => return Err(error.into()),
    }
    if let Some(shared) = &case.shared {
        instance.load_shared(shared.clone())?;
    }
    if let Ok(features) = instance.features(&case.request) {
        let header = [features.candidates as u32, features.features as u32];
        outcome.features.extend(header.iter().flat_map(|word| word.to_le_bytes()));
        let columns = (0..features.features).flat_map(|feature| features.column(feature));
        outcome.features.extend(columns.flat_map(|value| value.to_le_bytes()));
    }
    if let Ok(scores) = instance.score(&case.request) {
        outcome.scores.extend(scores.iter().flat_map(|score| score.to_le_bytes()));
    }
    outcome.decision.extend_from_slice(instance.decide(&case.request)?.decision);
    Ok(outcome)
}

fn write_line(text: &str) -> std::io::Result<()> {
    std::io::Write::write_all(&mut std::io::stdout(), format!("{text}\n").as_bytes())
}
