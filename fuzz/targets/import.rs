//! Model files of every library: an error or a model, and a model scores any row without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_compile::{TrainedModel, import};

fuzz_target!(|data: &[u8]| {
    if let Ok(TrainedModel::Trees(trees)) = import(data) {
        for value in [f32::NAN, 0.0, f32::INFINITY] {
            let score = trees.raw_score(&vec![value; trees.features()]);
            assert_eq!(score.to_bits(), trees.raw_score(&vec![value; trees.features()]).to_bits());
        }
    }
});
