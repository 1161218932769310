//! Decisions and logs of decisions, as a host reads them back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_format::decision::DecisionView;
use selvedge_format::record::RecordView;

fuzz_target!(|data: &[u8]| {
    if let Ok(decision) = DecisionView::parse(data) {
        for slot in 0..decision.slots.len() {
            decision.reasons(slot).for_each(drop);
        }
    }
    let mut log = data;
    while let Ok((_, rest)) = RecordView::read(log) {
        log = rest;
    }
});
