//! Writes the samples into the corpus, so that a fuzzer starts from valid bytes. `cargo xtask fuzz` runs it first.

use std::fs;
use std::path::Path;

use selvedge_fuzz::{engine, sample};

fn main() -> std::io::Result<()> {
    let state = sample::user_state();
    let request = sample::request(&state);
    let decision = engine().decide(&request).to_vec();
    let samples = [
        ("bundle", sample::bundle()),
        ("shared_state", sample::shared_state()),
        ("user_state", state),
        ("request", request),
        ("decision", decision),
    ];
    for (target, bytes) in samples {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        fs::create_dir_all(&corpus)?;
        fs::write(corpus.join("sample"), bytes)?;
    }
    Ok(())
}
