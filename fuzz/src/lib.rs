//! What the fuzz targets share: a way past the checksum, an engine that works, and samples to mutate.

pub mod offer;
pub mod sample;

use selvedge_engine::{Engine, Limits};
use selvedge_format::AlignedBytes;
use selvedge_format::decision::DecisionView;

const LENGTH: usize = 16;
const CHECKSUM: usize = 24;
const CHECKED_FROM: usize = 32;

/// The container that `data` would be if its length and checksum were right.
///
/// Random bytes never satisfy a 64-bit checksum, so without this a fuzzer would test the checksum and nothing behind it.
/// An attacker can compute it as well: it finds damage, not forgery.
#[must_use]
pub fn sealed(data: &[u8]) -> AlignedBytes {
    let mut bytes = AlignedBytes::copy_of(data);
    if data.len() >= CHECKED_FROM {
        let container = bytes.as_mut_slice();
        container[LENGTH..CHECKSUM].copy_from_slice(&(data.len() as u64).to_le_bytes());
        let checksum = xxhash_rust::xxh64::xxh64(&container[CHECKED_FROM..], 0);
        container[CHECKSUM..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
    }
    bytes
}

/// `data` with the checksum of its first record made right, if the record's lengths let it fit.
#[must_use]
pub fn sealed_record(data: &[u8]) -> Vec<u8> {
    const CHECKSUM: usize = 16;
    const CONTENT: usize = 24;
    let mut log = data.to_vec();
    let length =
        |at: usize| -> Option<usize> { Some(u32::from_le_bytes(data.get(at..at + 4)?.try_into().ok()?) as usize) };
    let end = length(8).zip(length(12)).map(|(request, decision)| CONTENT + request + decision);
    if let Some(content) = end.and_then(|end| data.get(CONTENT..end)) {
        let checksum = xxhash_rust::xxh64::xxh64(content, 0);
        log[CHECKSUM..CONTENT].copy_from_slice(&checksum.to_le_bytes());
    }
    log
}

/// An engine with the sample bundle and shared state.
#[must_use]
pub fn engine() -> Engine {
    let mut engine = Engine::new(Limits::default());
    for sample in [sample::bundle(), sample::shared_state()] {
        engine.load(AlignedBytes::copy_of(&sample)).expect("the samples are valid");
    }
    engine
}

/// Decides `request` and checks what must hold of every decision, however the request looks.
pub fn decide(engine: &mut Engine, request: &[u8]) {
    let decision = engine.decide(request);
    let view = DecisionView::parse(decision).expect("a decision is valid by its own reader");
    let mut slots: Vec<u32> = view.slots.iter().collect();
    slots.sort_unstable();
    slots.dedup();
    assert_eq!(slots.len(), view.slots.len(), "no candidate is shown twice");
    if let Some(offer) = view.offer {
        let arm = offer.arms().nth(offer.arm as usize);
        assert!(arm.is_none_or(|arm| arm.masked == 0), "what is offered can be offered");
        assert!(
            offer.drawn != offer.propensity.is_nan(),
            "a preview says nothing of the draw, and a draw how likely it was"
        );
        assert!(offer.propensity.is_nan() || (offer.propensity > 0.0 && offer.propensity <= 1.0));
    }
    let first = decision.to_vec();
    assert_eq!(engine.decide(request), first, "the same request gives the same bytes");
}
