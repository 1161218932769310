//! Decisions, as a client reads them back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_format::decision::DecisionView;

fuzz_target!(|data: &[u8]| {
    let Ok(decision) = DecisionView::parse(data) else { return };
    for slot in 0..decision.slots.len() {
        decision.reasons(slot).for_each(drop);
    }
    if let Some(offer) = decision.offer {
        assert!(offer.arm == 0 || (offer.arm as usize) < offer.arms().len(), "the arm that is offered is there");
    }
});
