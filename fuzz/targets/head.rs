//! Heads of channels: what is read can be written, to the byte, and is signed as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_format::head::HeadView;

fuzz_target!(|data: &[u8]| {
    let Ok(view) = HeadView::parse(data) else { return };
    let unsigned = view.head.unsigned(view.key).expect("what was read can be written");
    assert_eq!(unsigned.message(), view.message());
    assert_eq!(unsigned.sign(&view.signature), data, "one head has one encoding");
});
