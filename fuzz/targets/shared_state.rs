//! Shared states: whatever loads can be read at every item and table, and decided with.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_format::shared::SharedState;
use selvedge_fuzz::{decide, engine, sample, sealed};

fuzz_target!(|data: &[u8]| {
    let bytes = sealed(data);
    let Ok(shared) = SharedState::load(bytes.clone()) else { return };
    for (row, key) in shared.item_keys().iter().enumerate() {
        assert_eq!(shared.item_row(*key), Some(row as u32), "an item is found where it is");
    }
    for position in 0..shared.meta().fields.len() {
        let field = shared.field(position).expect("a declared field is there");
        for row in 0..shared.meta().items {
            std::hint::black_box(field.key(row));
        }
    }
    for position in 0..shared.meta().tables.len() {
        shared.table(position).expect("a declared table is there");
    }
    let mut engine = engine();
    if engine.load(bytes).is_ok() {
        decide(&mut engine, &sample::request(&sample::user_state()));
    }
});
