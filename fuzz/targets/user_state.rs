//! User states: whatever is read can be written, and merging it with itself changes nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_engine::state::UserState;

fuzz_target!(|data: &[u8]| {
    let Ok(state) = UserState::decode(data) else { return };
    let encoded = state.encode();
    let again = UserState::decode(&encoded).expect("what was written can be read");
    assert_eq!(again.encode(), encoded, "one state has one encoding");
    let mut merged = again.clone();
    merged.merge(&again).expect("no new device comes in");
    assert_eq!(merged.encode(), encoded, "merging is idempotent");
});
