//! Reading a decision log that may be damaged: every whole record comes out, and every gap is named.

use std::ops::Range;

use selvedge_format::DecodeError;
use selvedge_format::record::{MAGIC, RecordView};

/// A stretch of a log.
#[derive(Clone, Debug)]
pub(crate) enum Stretch<'a> {
    /// A record that is whole.
    Record {
        /// Where it begins.
        at: usize,
        /// The record.
        record: RecordView<'a>,
    },
    /// Bytes that are no record.
    Damage {
        /// Where they are.
        range: Range<usize>,
        /// Why they are none.
        error: DecodeError,
    },
}

/// Cuts a log into stretches, in order, end to end. After damage it goes on with the next bytes that are a record: their
/// checksum tells them from bytes that only begin like one.
pub(crate) fn stretches(log: &[u8]) -> Vec<Stretch<'_>> {
    let mut stretches = Vec::new();
    let mut at = 0;
    while at < log.len() {
        match RecordView::read(&log[at..]) {
            Ok((record, rest)) => {
                stretches.push(Stretch::Record { at, record });
                at = log.len() - rest.len();
            }
            Err(error) => {
                let end = next_record(log, at + 1).unwrap_or(log.len());
                stretches.push(Stretch::Damage { range: at..end, error });
                at = end;
            }
        }
    }
    stretches
}

fn next_record(log: &[u8], from: usize) -> Option<usize> {
    let starts = log.windows(MAGIC.len()).enumerate().skip(from).filter(|(_, window)| *window == MAGIC);
    starts.map(|(at, _)| at).find(|at| RecordView::read(&log[*at..]).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(records: u8) -> Vec<u8> {
        let mut log = Vec::new();
        for number in 0..records {
            // A request that looks like the start of a record must not be taken for one.
            RecordView::Full { request: b"SVDR\x01\0\x01\0", decision: &[number; 5] }.write(&mut log);
        }
        log
    }

    fn decisions(log: &[u8]) -> Vec<u8> {
        let records = stretches(log).into_iter().filter_map(|stretch| match stretch {
            Stretch::Record { record: RecordView::Full { decision, .. }, .. } => Some(decision[0]),
            _ => None,
        });
        records.collect()
    }

    #[test]
    fn a_flipped_bit_costs_one_record() {
        let whole = log(3);
        let length = whole.len() / 3;
        for at in length..2 * length {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            assert_eq!(decisions(&damaged), [0, 2], "at {at}");
        }
    }

    #[test]
    fn a_cut_costs_the_record_that_it_runs_through() {
        let whole = log(3);
        for end in 0..=whole.len() {
            let records = end / (whole.len() / 3);
            assert_eq!(decisions(&whole[..end]).len(), records, "cut at {end}");
            let damaged = stretches(&whole[..end]).iter().any(|stretch| matches!(stretch, Stretch::Damage { .. }));
            assert_eq!(damaged, !end.is_multiple_of(whole.len() / 3));
        }
    }

    #[test]
    fn stretches_cover_the_log() {
        let mut damaged = log(4);
        damaged[40] ^= 1;
        damaged.extend_from_slice(b"tail");
        let mut end = 0;
        for stretch in stretches(&damaged) {
            match stretch {
                Stretch::Record { at, record } => {
                    assert_eq!(at, end);
                    end += record.encoded_len();
                }
                Stretch::Damage { range, .. } => {
                    assert_eq!(range.start, end);
                    end = range.end;
                }
            }
        }
        assert_eq!(end, damaged.len());
    }
}
