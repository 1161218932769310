//! Bundles: whatever loads can decide.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_fuzz::{decide, engine, sample, sealed};

fuzz_target!(|data: &[u8]| {
    let mut engine = engine();
    if engine.load(sealed(data)).is_ok() {
        decide(&mut engine, &sample::request(&sample::user_state()));
    }
});
