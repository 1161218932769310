//! Writes the samples and the golden files into the corpus, so that a fuzzer starts from valid bytes, and what once broke
//! a parser, so that it stays close. `cargo xtask fuzz` runs it first.

use std::fs;
use std::path::{Path, PathBuf};

use selvedge_format::record::RecordView;
use selvedge_fuzz::{engine, offer, sample};

fn main() -> std::io::Result<()> {
    let state = sample::user_state();
    let request = sample::request(&state);
    let decision = engine().decide(&request).to_vec();
    let mut record = Vec::new();
    RecordView::Full { request: &request, decision: &decision }.write(&mut record);
    let samples = [
        ("bundle", sample::bundle()),
        ("shared_state", sample::shared_state()),
        ("user_state", state),
        ("request", request),
        ("decision", decision),
        ("record", record),
        ("head", sample::head()),
        ("delta", sample::delta()),
        ("token", offer::claims()),
        ("cart", offer::cart()),
    ];
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../edge/format/tests");
    for (target, bytes) in samples {
        let corpus = corpus(target)?;
        fs::write(corpus.join("sample"), bytes)?;
        for version in fs::read_dir(tests.join("golden"))? {
            let version = version?;
            // The format's first content, and what came to it later: `bundle.bin`, `bundle-offers.bin`.
            for golden in fs::read_dir(version.path())? {
                let golden = golden?.file_name().to_string_lossy().into_owned();
                let stem = golden.strip_suffix(".bin").unwrap_or(&golden);
                if stem == target || stem.strip_prefix(target).is_some_and(|what| what.starts_with('-')) {
                    let seed = format!("{}-{stem}", version.file_name().to_string_lossy());
                    fs::copy(version.path().join(&golden), corpus.join(seed))?;
                }
            }
        }
        for regression in fs::read_dir(tests.join("regressions"))? {
            let regression = regression?;
            fs::copy(regression.path(), corpus.join(regression.file_name()))?;
        }
    }
    seed_models()
}

/// Small models of every library, as their importers are tested with.
fn seed_models() -> std::io::Result<()> {
    let corpus = corpus("import")?;
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/compile/fixtures");
    for entry in fs::read_dir(fixtures)? {
        let path = entry?.path();
        let is_model = path.extension().is_some_and(|suffix| suffix != "cases" && suffix != "py");
        if let Some(name) = path.file_name().filter(|_| is_model) {
            fs::copy(&path, corpus.join(name))?;
        }
    }
    Ok(())
}

fn corpus(target: &str) -> std::io::Result<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&corpus)?;
    Ok(corpus)
}
