//! Logs of decisions, as replay reads them back: a record that is read can be written, to the byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use selvedge_format::record::RecordView;

fuzz_target!(|data: &[u8]| {
    let data = selvedge_fuzz::sealed_record(data);
    let mut log = data.as_slice();
    while let Ok((record, rest)) = RecordView::read(log) {
        let mut again = Vec::new();
        record.write(&mut again);
        assert_eq!(again, log[..log.len() - rest.len()], "one record has one encoding");
        log = rest;
    }
});
