//! Deltas: hostile ones are refused or make no more than was allowed; those of the host make their target.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_format::container::{ContainerBuilder, Kind};
use selvedge_format::delta;
use selvedge_fuzz::sample;

const LIMIT: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let base = sample::bundle();
    if let Ok(target) = delta::apply_unchecked(data, &base, LIMIT) {
        assert!(target.len() <= LIMIT);
    }
    let mut hostile = data.to_vec();
    if let Some(length) = hostile.get_mut(16..24) {
        length.copy_from_slice(&(base.len() as u64).to_le_bytes());
        let _ = delta::apply_unchecked(&hostile, &base, LIMIT);
    }
    let target = ContainerBuilder::new(Kind::Bundle).optional(9, 1, data.to_vec()).build();
    let made = delta::encode(&base, &target).expect("both are containers");
    assert_eq!(delta::apply(&made, &base, target.len()).expect("the host's own delta"), target);
});
