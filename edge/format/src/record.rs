//! DecisionRecord: what is logged, and replayed to the byte.
//!
//! ```text
//! 0  4  magic "SVDR"
//! 4  2  version, 1
//! 6  2  kind: 1 full
//! 8  4  length of the request
//! 12 4  length of the decision
//! 16 8  XXH64 of what follows
//! 24 .. request, decision
//! ```
//! A log is records end to end. A full record carries the request with the user state inside; bundle and shared state
//! are named by the decision, so the record decides the same bytes wherever those two are at hand.

use alloc::vec::Vec;

use crate::read::Reader;
use crate::{DecodeError, DecodeErrorKind};

/// First bytes of a record.
pub const MAGIC: [u8; 4] = *b"SVDR";
/// Version of the layout.
pub const VERSION: u16 = 1;
const FULL: u16 = 1;
const PLACE: &str = "decision record";

/// A full record: the request and what was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// The request's bytes.
    pub request: &'a [u8],
    /// The decision's bytes.
    pub decision: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// Reads the first record of `log`; returns it and the rest.
    ///
    /// # Errors
    /// Any deviation from the layout. A log cut in the middle of a record ends in `Truncated`.
    pub fn read(log: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let mut reader = Reader::new(log, PLACE);
        if reader.take(4)? != MAGIC {
            return Err(DecodeError::new(DecodeErrorKind::BadMagic, PLACE, 0));
        }
        let version = reader.u16()?;
        if version != VERSION {
            return Err(DecodeError::new(
                DecodeErrorKind::UnsupportedVersion { newest: VERSION, found: version },
                PLACE,
                4,
            ));
        }
        let kind = reader.u16()?;
        if kind != FULL {
            return Err(DecodeError::new(DecodeErrorKind::WrongKind { expected: FULL, found: kind }, PLACE, 6));
        }
        let (request, decision) = (reader.u32()? as usize, reader.u32()? as usize);
        let checksum = reader.u64()?;
        let start = reader.offset();
        let record = Self { request: reader.take(request)?, decision: reader.take(decision)? };
        if crate::hash::checksum(&log[start..reader.offset()]) != checksum {
            return Err(DecodeError::new(DecodeErrorKind::ChecksumMismatch, PLACE, 16));
        }
        Ok((record, &log[reader.offset()..]))
    }

    /// Appends the record to `log`.
    pub fn write(&self, log: &mut Vec<u8>) {
        log.extend_from_slice(&MAGIC);
        log.extend_from_slice(&VERSION.to_le_bytes());
        log.extend_from_slice(&FULL.to_le_bytes());
        log.extend_from_slice(&(self.request.len() as u32).to_le_bytes());
        log.extend_from_slice(&(self.decision.len() as u32).to_le_bytes());
        let at = log.len();
        log.extend_from_slice(&[0; 8]);
        log.extend_from_slice(self.request);
        log.extend_from_slice(self.decision);
        let checksum = crate::hash::checksum(&log[at + 8..]);
        log[at..at + 8].copy_from_slice(&checksum.to_le_bytes());
    }
}
