//! Requests: every one of them gets a valid decision.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use selvedge_engine::Engine;
use selvedge_fuzz::{decide, engine};

thread_local! {
    static ENGINE: RefCell<Engine> = RefCell::new(engine());
}

fuzz_target!(|data: &[u8]| {
    ENGINE.with_borrow_mut(|engine| decide(engine, data));
});
