//! A delta: how to make one container from another.
//!
//! ```text
//! 0   8  magic "SELVDLTA"
//! 8   2  version, 1
//! 10  2  0
//! 12  4  number of operations
//! 16  8  length of the base in bytes
//! 24  8  length of the target in bytes
//! 32 32  id of the base
//! 64 32  id of the target
//! 96  4  bytes of the operations
//! 100 4  bytes of the differences
//! 104 .. operations, then differences, then literals up to the end
//! ```
//!
//! An operation is a varint, `length * 4 + kind`; *copy* (0) and *add* (2) are followed by the zigzag varint of where
//! they read in the base, counted from where the one before them stopped. *insert* (1) takes the next literals, *add*
//! takes the next differences and adds each to a byte of the base, modulo 256.
//!
//! Three streams instead of one, because they compress apart: differences of retrained weights are mostly 0 and ±1.
//! The idea of adding is bsdiff's (Percival, *Naive Differences of Executable Code*, 2003).

use alloc::vec::Vec;

use crate::container::ContentId;
#[cfg(feature = "id")]
use crate::container::{Container, Kind};
use crate::read::{Reader, fixed};
use crate::{DecodeError, DecodeErrorKind};

/// First bytes of every delta.
pub const MAGIC: [u8; 8] = *b"SELVDLTA";
/// Version of the layout.
pub const VERSION: u16 = 1;
/// Bytes before the operations.
pub const HEADER_LEN: usize = 104;
/// Bytes of the base that come over as they are.
pub const COPY: u64 = 0;
/// Bytes that the delta brings.
pub const INSERT: u64 = 1;
/// Bytes of the base, with differences.
pub const ADD: u64 = 2;

const PLACE: &str = "delta";
const KIND_BITS: u32 = 2;

/// What a delta says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaHeader {
    /// What it is applied to.
    pub base: ContentId,
    /// Length of that in bytes.
    pub base_len: u64,
    /// What it makes.
    pub target: ContentId,
    /// Length of that in bytes.
    pub target_len: u64,
}

struct Parts<'a> {
    header: DeltaHeader,
    count: u32,
    ops: Reader<'a>,
    differences: &'a [u8],
    literals: &'a [u8],
}

fn parse(bytes: &[u8]) -> Result<Parts<'_>, DecodeError> {
    let mut reader = Reader::new(bytes, PLACE);
    if reader.take(MAGIC.len())? != MAGIC {
        return Err(DecodeError::new(DecodeErrorKind::BadMagic, PLACE, 0));
    }
    let version = reader.u16()?;
    if version != VERSION {
        let kind = DecodeErrorKind::UnsupportedVersion { newest: VERSION, found: version };
        return Err(DecodeError::new(kind, PLACE, 8));
    }
    if reader.u16()? != 0 {
        return Err(DecodeError::invalid(PLACE, 10));
    }
    let count = reader.u32()?;
    let (base_len, target_len) = (reader.u64()?, reader.u64()?);
    let (base, target) = (fixed(reader.take(32)?), fixed(reader.take(32)?));
    let (ops, differences) = (reader.u32()? as usize, reader.u32()? as usize);
    let ops = Reader::new(reader.take(ops)?, "delta operations");
    let differences = reader.take(differences)?;
    let literals = reader.take(reader.remaining())?;
    Ok(Parts { header: DeltaHeader { base, base_len, target, target_len }, count, ops, differences, literals })
}

/// What `delta` says of itself.
///
/// # Errors
/// Not the header of a delta.
pub fn header(delta: &[u8]) -> Result<DeltaHeader, DecodeError> {
    parse(delta).map(|parts| parts.header)
}

/// Makes the target from `base`, at most `limit` bytes of it. The result may be anything that an adversary likes: use
/// [`apply`], or hash it.
///
/// # Errors
/// Not a delta, another base length, a target above `limit`, an operation that reads or writes out of range, or streams
/// that are not used up.
pub fn apply_unchecked(delta: &[u8], base: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    let Parts { header, count, mut ops, mut differences, mut literals } = parse(delta)?;
    if header.target_len > limit as u64 {
        return Err(DecodeError::too_large("delta: target", limit as u64, header.target_len));
    }
    if header.base_len != base.len() as u64 {
        return Err(DecodeError::invalid("delta: base length", 16));
    }
    let len = header.target_len as usize;
    // Bounded by what the caller allows, whatever the delta says.
    let mut target = Vec::with_capacity(len);
    let mut from = 0_usize;
    for _ in 0..count {
        let word = varint(&mut ops)?;
        let (kind, run) = (word & ((1 << KIND_BITS) - 1), word >> KIND_BITS);
        let room = (len - target.len()) as u64;
        if run == 0 || run > room {
            return Err(ops.invalid());
        }
        let run = run as usize;
        if kind == INSERT {
            let (taken, rest) = literals.split_at_checked(run).ok_or_else(|| ops.invalid())?;
            literals = rest;
            target.extend_from_slice(taken);
            continue;
        }
        let start = i64::try_from(from).ok().and_then(|from| from.checked_add(unzigzag(varint(&mut ops).ok()?)));
        let start = start.and_then(|start| usize::try_from(start).ok()).ok_or_else(|| ops.invalid())?;
        let source = start.checked_add(run).and_then(|end| base.get(start..end)).ok_or_else(|| ops.invalid())?;
        from = start + run;
        match kind {
            COPY => target.extend_from_slice(source),
            ADD => {
                let (taken, rest) = differences.split_at_checked(run).ok_or_else(|| ops.invalid())?;
                differences = rest;
                target.extend(source.iter().zip(taken).map(|(base, difference)| base.wrapping_add(*difference)));
            }
            _ => return Err(ops.invalid()),
        }
    }
    if target.len() != len || !differences.is_empty() || !literals.is_empty() {
        return Err(ops.invalid());
    }
    ops.finish()?;
    Ok(target)
}

/// Makes the target from `base` and proves that it is the container that the delta promises.
///
/// # Errors
/// As [`apply_unchecked`]; or `base` is not the container that the delta asks for; or the result does not hash to the
/// target's id.
#[cfg(feature = "id")]
pub fn apply(delta: &[u8], base: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    let mismatch = |place| DecodeError::new(DecodeErrorKind::IdMismatch, place, 0);
    let header = header(delta)?;
    if base.get(32..64) != Some(&header.base[..]) {
        return Err(mismatch("delta: base"));
    }
    let target = apply_unchecked(delta, base, limit)?;
    if crate::container::verify_id(&target)? != header.target {
        return Err(mismatch("delta: target"));
    }
    // The id covers what follows the header; the header follows from that and from the kind, which is the base's.
    let kind = Kind::of(base)?;
    Container::parse(&target, kind)?;
    Ok(target)
}

fn varint(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = reader.take(1)?[0];
        let bits = u64::from(byte & 0x7f);
        // The last byte has room for one bit, and one number has one encoding.
        if (shift == 63 && bits > 1) || (byte == 0 && shift > 0) {
            return Err(reader.invalid());
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(reader.invalid())
}

const fn unzigzag(word: u64) -> i64 {
    (word >> 1) as i64 ^ -((word & 1) as i64)
}

#[cfg(feature = "id")]
pub use encoder::encode;

#[cfg(feature = "id")]
mod encoder {
    use alloc::vec;

    use super::*;
    use crate::container;

    /// Bytes that must be equal for a place of the base to be found: shorter finds more, and more by chance.
    const SEED: usize = 16;
    /// Bytes between places of the base that can be found. Weights are of one, two or four bytes.
    const STEP: usize = 4;
    /// How far a run goes on without gain before it ends.
    const PATIENCE: usize = 96;
    /// A run of an alignment must gain so much to be worth its operation.
    const GAIN: usize = 24;
    /// Equal bytes within a run that are worth a copy of their own.
    const COPY_FROM: usize = 64;

    /// The delta from `base` to `target`, which must be containers.
    ///
    /// # Errors
    /// One of them does not hash to its id.
    pub fn encode(base: &[u8], target: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let header = DeltaHeader {
            base: container::verify_id(base)?,
            base_len: base.len() as u64,
            target: container::verify_id(target)?,
            target_len: target.len() as u64,
        };
        let mut writer = Writer { base, target, ..Writer::default() };
        writer.run();
        Ok(writer.finish(&header))
    }

    #[derive(Default)]
    struct Writer<'a> {
        base: &'a [u8],
        target: &'a [u8],
        ops: Vec<u8>,
        count: u32,
        differences: Vec<u8>,
        literals: Vec<u8>,
        /// First byte of the target that is not written yet.
        pending: usize,
        /// Where the last run stopped in the base.
        from: usize,
    }

    /// Places of the base by the hash of what stands there; a later place wins.
    struct Index {
        places: Vec<u32>,
        mask: usize,
    }

    impl Index {
        fn new(base: &[u8]) -> Self {
            let mask = (base.len() / STEP + 1).next_power_of_two() * 2 - 1;
            let mut places = vec![u32::MAX; mask + 1];
            for at in (0..base.len().saturating_sub(SEED)).step_by(STEP) {
                places[hash(&base[at..at + SEED]) & mask] = at as u32;
            }
            Self { places, mask }
        }

        fn find(&self, base: &[u8], seed: &[u8]) -> Option<usize> {
            let at = self.places[hash(seed) & self.mask] as usize;
            (base.get(at..at + SEED) == Some(seed)).then_some(at)
        }
    }

    fn hash(seed: &[u8]) -> usize {
        crate::hash::checksum(seed) as usize
    }

    impl Writer<'_> {
        fn run(&mut self) {
            let index = Index::new(self.base);
            let mut at = 0;
            // Where the base stands against the target: the alignment of the last run, at first none.
            let mut shift = 0_i64;
            while at < self.target.len() {
                let aligned = usize::try_from(at as i64 + shift).ok().filter(|from| *from < self.base.len());
                if let Some((from, run)) = aligned.and_then(|from| Some((from, self.gain(at, from)?))) {
                    self.emit(at, from, run);
                    at += run;
                    continue;
                }
                let found = self.target.get(at..at + SEED).and_then(|seed| index.find(self.base, seed));
                if let Some((from, run)) = found.and_then(|from| Some((from, self.gain(at, from)?))) {
                    let back = self.equal_before(at, from);
                    self.emit(at - back, from - back, run + back);
                    shift = from as i64 - at as i64;
                    at += run;
                    continue;
                }
                at += 1;
            }
            self.insert_up_to(self.target.len());
        }

        /// How far a run of `target[at..]` over `base[from..]` pays: up to where equal bytes outweigh others the most.
        fn gain(&self, at: usize, from: usize) -> Option<usize> {
            let (mut score, mut best, mut run) = (0_i64, 0_i64, 0);
            for (position, (target, base)) in self.target[at..].iter().zip(&self.base[from..]).enumerate() {
                score += if target == base { 1 } else { -1 };
                if score > best {
                    (best, run) = (score, position + 1);
                } else if position + 1 - run > PATIENCE {
                    break;
                }
            }
            (best >= GAIN as i64 || (run > 0 && at + run == self.target.len())).then_some(run)
        }

        fn equal_before(&self, at: usize, from: usize) -> usize {
            let target = self.target[self.pending..at].iter().rev();
            target.zip(self.base[..from].iter().rev()).take_while(|(target, base)| target == base).count()
        }

        fn insert_up_to(&mut self, at: usize) {
            if at > self.pending {
                self.op(INSERT, at - self.pending);
                self.literals.extend_from_slice(&self.target[self.pending..at]);
                self.pending = at;
            }
        }

        /// One run as copies where it is equal for long, and additions between them.
        fn emit(&mut self, at: usize, from: usize, run: usize) {
            self.insert_up_to(at);
            let mut start = 0;
            let mut position = 0;
            while position < run {
                let equal = (position..run).take_while(|i| self.target[at + i] == self.base[from + i]).count();
                if equal >= COPY_FROM || (equal == run - start && equal > 0) {
                    self.add(at + start, from + start, position - start);
                    self.read(COPY, from + position, equal);
                    start = position + equal;
                }
                position += equal.max(1);
            }
            self.add(at + start, from + start, run - start);
            self.pending = at + run;
        }

        fn add(&mut self, at: usize, from: usize, run: usize) {
            if run > 0 {
                self.read(ADD, from, run);
                let pairs = self.target[at..at + run].iter().zip(&self.base[from..from + run]);
                self.differences.extend(pairs.map(|(target, base)| target.wrapping_sub(*base)));
            }
        }

        fn read(&mut self, kind: u64, from: usize, run: usize) {
            self.op(kind, run);
            let step = from as i64 - self.from as i64;
            put_varint(&mut self.ops, ((step << 1) ^ (step >> 63)) as u64);
            self.from = from + run;
        }

        fn op(&mut self, kind: u64, run: usize) {
            put_varint(&mut self.ops, (run as u64) << KIND_BITS | kind);
            self.count += 1;
        }

        fn finish(self, header: &DeltaHeader) -> Vec<u8> {
            [
                &MAGIC[..],
                &VERSION.to_le_bytes(),
                &[0; 2],
                &self.count.to_le_bytes(),
                &header.base_len.to_le_bytes(),
                &header.target_len.to_le_bytes(),
                &header.base,
                &header.target,
                &(self.ops.len() as u32).to_le_bytes(),
                &(self.differences.len() as u32).to_le_bytes(),
                &self.ops,
                &self.differences,
                &self.literals,
            ]
            .concat()
        }
    }

    fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
    }
}

#[cfg(all(test, feature = "id"))]
mod tests {
    use super::*;
    use crate::container::{ContainerBuilder, Kind};
    use alloc::vec;
    use proptest::prelude::*;

    fn container(content: &[u8]) -> Vec<u8> {
        ContainerBuilder::new(Kind::Bundle).optional(9, 1, content.to_vec()).build()
    }

    proptest! {
        #[test]
        fn a_delta_makes_its_target(
            base in proptest::collection::vec(0_u8..4, 0..600),
            edits in proptest::collection::vec((any::<prop::sample::Index>(), 0_usize..80, proptest::collection::vec(any::<u8>(), 0..80)), 0..6),
        ) {
            let mut content = base.clone();
            for (at, cut, put) in edits {
                let at = at.index(content.len() + 1);
                let end = (at + cut).min(content.len());
                content.splice(at..end, put);
            }
            let (base, target) = (container(&base), container(&content));
            let delta = encode(&base, &target).unwrap();
            prop_assert_eq!(apply(&delta, &base, target.len()).unwrap(), target);
        }

        #[test]
        fn damage_is_refused_or_does_no_harm(
            at in any::<prop::sample::Index>(), bit in 0_u32..8,
        ) {
            let base = container(&[7; 300]);
            let target = container(&(0..300).map(|i| if i % 5 == 0 { 8 } else { 7 }).collect::<Vec<u8>>());
            let mut delta = encode(&base, &target).unwrap();
            let at = at.index(delta.len());
            delta[at] ^= 1 << bit;
            // A run may as well be read from another place where the same bytes stand.
            prop_assert!(apply(&delta, &base, target.len()).map_or(true, |made| made == target), "byte {} bit {}", at, bit);
        }
    }

    #[test]
    fn equal_containers_need_one_copy() {
        let base = container(&[1; 5000]);
        assert!(encode(&base, &base).unwrap().len() <= HEADER_LEN + 4);
    }

    #[test]
    fn what_was_inserted_before_does_not_hide_what_follows() {
        let mut random = 1_u32;
        let mut next = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 24) as u8
        };
        let content: Vec<u8> = (0..20_000).map(|_| next()).collect();
        let moved = [&vec![0xee; 999][..], &content].concat();
        let (base, target) = (container(&content), container(&moved));
        let delta = encode(&base, &target).unwrap();
        assert!(delta.len() < HEADER_LEN + 1300, "{} bytes", delta.len());
    }

    #[test]
    fn a_target_above_the_limit_is_refused_before_memory_is_taken() {
        let base = container(&[1; 100]);
        let mut delta = encode(&base, &base).unwrap();
        assert!(matches!(apply(&delta, &base, 10).unwrap_err().kind(), DecodeErrorKind::TooLarge { limit: 10, .. }));
        delta[24..32].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(apply(&delta, &base, 1 << 30).unwrap_err().kind(), DecodeErrorKind::TooLarge { .. }));
    }

    #[test]
    fn operations_out_of_range_are_refused() {
        let base = container(&[1; 100]);
        let whole = base.len() as u64;
        let with = |ops: &[u8], count: u32, target_len: u64| {
            let mut delta = encode(&base, &base).unwrap()[..HEADER_LEN].to_vec();
            delta[12..16].copy_from_slice(&count.to_le_bytes());
            delta[24..32].copy_from_slice(&target_len.to_le_bytes());
            delta[96..100].copy_from_slice(&(ops.len() as u32).to_le_bytes());
            delta.extend_from_slice(ops);
            apply_unchecked(&delta, &base, 1 << 20)
        };
        assert!(with(&[8 << 2, 0], 1, 8).is_ok());
        for (ops, count, len, what) in [
            (&[0, 0][..], 1, 0, "no bytes"),
            (&[8 << 2, 1], 1, 8, "before the base"),
            (&[0xa0, 0x80, 0x00, 0], 1, 8, "a number with bytes to spare"),
            (&[8 << 2 | 3, 0], 1, 8, "an unknown kind"),
            (&[8 << 2 | 1], 1, 8, "no literals"),
            (&[8 << 2 | 2, 0], 1, 8, "no differences"),
            (&[8 << 2, 0, 0], 1, 8, "bytes after the operations"),
            (&[8 << 2, 0], 1, 9, "a target that is not full"),
            (&[8 << 2, 0], 2, 16, "fewer operations than announced"),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], 1, 8, "a number above 64 bits"),
        ] {
            assert!(with(ops, count, len).is_err(), "{what}");
        }
        let far = [&[8 << 2][..], &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]].concat();
        assert!(with(&far, 1, 8).is_err(), "beyond the base of {whole} bytes");
    }
}
