//! User states: whatever is read can be written, merging it with itself changes nothing, and it can be decided with.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use selvedge_engine::Engine;
use selvedge_engine::state::UserState;
use selvedge_fuzz::{decide, engine, sample};

thread_local! {
    static ENGINE: RefCell<Engine> = RefCell::new(engine());
}

fuzz_target!(|data: &[u8]| {
    ENGINE.with_borrow_mut(|engine| decide(engine, &sample::request(data)));
    let Ok(state) = UserState::decode(data) else { return };
    let encoded = state.encode();
    let again = UserState::decode(&encoded).expect("what was written can be read");
    assert_eq!(again.encode(), encoded, "one state has one encoding");
    let mut merged = again.clone();
    merged.merge(&again).expect("no new device comes in");
    assert_eq!(merged.encode(), encoded, "merging is idempotent");
});
