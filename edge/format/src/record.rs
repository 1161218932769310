//! Decision records: what is logged of decisions and of what came of them.
//!
//! ```text
//! 0  4  magic "SVDR"
//! 4  2  version, 1
//! 6  2  kind: 1 full, 2 digest, 3 outcome
//! 8  4  length of the first part
//! 12 4  length of the second part
//! 16 8  XXH64 of what follows
//! 24 .. first part, second part
//! ```
//! A log is records end to end. A full record carries the request with the user state inside; bundle and shared state
//! are named by the decision, so the record decides the same bytes wherever those two are at hand. A digest has a hash in
//! place of the request. An outcome names the decision that it follows by its request id.

use alloc::vec::Vec;

use crate::read::{Reader, U64s, fixed};
use crate::{DecodeError, DecodeErrorKind};

/// First bytes of a record.
pub const MAGIC: [u8; 4] = *b"SVDR";
/// Version of the layout.
pub const VERSION: u16 = 1;
/// Bytes before the parts.
pub const HEADER_LEN: usize = 24;
/// Kind of a record with request and decision.
pub const FULL: u16 = 1;
/// Kind of a record with a hash of the request, and the decision.
pub const DIGEST: u16 = 2;
/// Kind of a record of something that a user did after a decision.
pub const OUTCOME: u16 = 3;
/// Bytes of a digest before the items.
pub const DIGEST_LEN: usize = 16;
/// Bytes of an outcome.
pub const OUTCOME_LEN: usize = 56;
const PLACE: &str = "decision record";

/// A record, read where it stands.
#[derive(Clone, Copy, Debug)]
pub enum RecordView<'a> {
    /// The request and what was decided: enough to decide again.
    Full {
        /// The request's bytes.
        request: &'a [u8],
        /// The decision's bytes.
        decision: &'a [u8],
    },
    /// What was decided, without the request.
    Digest(DigestView<'a>),
    /// What came of a decision.
    Outcome(Outcome),
}

/// A decision whose request was not kept.
#[derive(Clone, Copy, Debug)]
pub struct DigestView<'a> {
    /// When it was decided, milliseconds since 1970-01-01 UTC.
    pub time_ms: i64,
    /// XXH64 of the request's bytes.
    pub request_hash: u64,
    /// Key of the item in each slot: a decision numbers candidates, and only the request has their ids.
    pub items: U64s<'a>,
    /// The decision's bytes.
    pub decision: &'a [u8],
}

/// Something that a user did after a decision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// The request of the decision.
    pub request_id: [u8; 16],
    /// When it happened, milliseconds since 1970-01-01 UTC.
    pub time_ms: i64,
    /// Key of the item.
    pub item: u64,
    /// Key of the event's name.
    pub event: u64,
    /// Key of the event's own id, under which it counts once; 0 if it has none.
    pub id: u64,
    /// The event's value, for example the price paid; a finite number.
    pub value: f32,
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
        if !(FULL..=OUTCOME).contains(&kind) {
            return Err(DecodeError::new(DecodeErrorKind::WrongKind { expected: FULL, found: kind }, PLACE, 6));
        }
        let (first, second) = (reader.u32()? as usize, reader.u32()? as usize);
        let checksum = reader.u64()?;
        let (first, second) = (reader.take(first)?, reader.take(second)?);
        if crate::hash::checksum(&log[HEADER_LEN..reader.offset()]) != checksum {
            return Err(DecodeError::new(DecodeErrorKind::ChecksumMismatch, PLACE, 16));
        }
        // Every decision has bytes; no outcome has a second part.
        if second.is_empty() != (kind == OUTCOME) {
            return Err(DecodeError::invalid(PLACE, 12));
        }
        let record = match kind {
            FULL => Self::Full { request: first, decision: second },
            DIGEST => Self::Digest(DigestView::parse(first, second)?),
            _ => Self::Outcome(Outcome::parse(first)?),
        };
        Ok((record, &log[reader.offset()..]))
    }

    /// Appends the record to `log`.
    pub fn write(&self, log: &mut Vec<u8>) {
        match self {
            Self::Full { request, decision } => write(log, FULL, &[request], decision),
            Self::Digest(digest) => digest.write(log),
            Self::Outcome(outcome) => outcome.write(log),
        }
    }

    /// Bytes that it takes in a log.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        HEADER_LEN
            + match self {
                Self::Full { request, decision } => request.len() + decision.len(),
                Self::Digest(digest) => DIGEST_LEN + 8 * digest.items.len() + digest.decision.len(),
                Self::Outcome(_) => OUTCOME_LEN,
            }
    }
}

impl<'a> DigestView<'a> {
    fn parse(digest: &'a [u8], decision: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(digest, PLACE);
        let (time_ms, request_hash) = (reader.u64()?.cast_signed(), reader.u64()?);
        if !reader.remaining().is_multiple_of(8) {
            return Err(reader.invalid());
        }
        let items = U64s::new(reader.take(reader.remaining())?);
        Ok(Self { time_ms, request_hash, items, decision })
    }

    fn write(&self, log: &mut Vec<u8>) {
        let items: Vec<u8> = self.items.iter().flat_map(u64::to_le_bytes).collect();
        let parts = [&self.time_ms.to_le_bytes()[..], &self.request_hash.to_le_bytes(), &items];
        write(log, DIGEST, &parts, self.decision);
    }
}

impl Outcome {
    fn parse(outcome: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(outcome, PLACE);
        let parsed = Self {
            request_id: fixed(reader.take(16)?),
            time_ms: reader.u64()?.cast_signed(),
            item: reader.u64()?,
            event: reader.u64()?,
            id: reader.u64()?,
            value: f32::from_bits(reader.u32()?),
        };
        let padding = reader.u32()?;
        if padding != 0 || !parsed.value.is_finite() {
            return Err(reader.invalid());
        }
        reader.finish()?;
        Ok(parsed)
    }

    fn write(&self, log: &mut Vec<u8>) {
        let parts = [
            &self.request_id[..],
            &self.time_ms.to_le_bytes(),
            &self.item.to_le_bytes(),
            &self.event.to_le_bytes(),
            &self.id.to_le_bytes(),
            &self.value.to_le_bytes(),
            &[0; 4],
        ];
        write(log, OUTCOME, &parts, &[]);
    }
}

/// Appends a record whose first part is `first` end to end.
fn write(log: &mut Vec<u8>, kind: u16, first: &[&[u8]], second: &[u8]) {
    let len: usize = first.iter().map(|part| part.len()).sum();
    log.extend_from_slice(&MAGIC);
    log.extend_from_slice(&VERSION.to_le_bytes());
    log.extend_from_slice(&kind.to_le_bytes());
    log.extend_from_slice(&(len as u32).to_le_bytes());
    log.extend_from_slice(&(second.len() as u32).to_le_bytes());
    let at = log.len();
    log.extend_from_slice(&[0; 8]);
    for part in first {
        log.extend_from_slice(part);
    }
    log.extend_from_slice(second);
    let checksum = crate::hash::checksum(&log[at + 8..]);
    log[at..at + 8].copy_from_slice(&checksum.to_le_bytes());
}
