//! The head of a channel: the one small, signed thing that changes. Everything that it names is immutable.
//!
//! ```text
//! 0   8  magic "SELVHEAD"
//! 8   2  version, 1
//! 10  2  length of the payload in bytes
//! 12  4  0
//! 16  8  id of the key: the first bytes of the SHA-256 of its public half
//! 24 64  Ed25519 signature (RFC 8032) of the domain, bytes 0..24 and the payload
//! 88  .. payload: HeadV1, postcard
//! ```
//!
//! This module knows the layout and what a head may say. Whether a head is believed, and what follows from it, is decided
//! by those who follow the channel: `docs/follow.md`.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::container::{ContentId, HEADER_LEN as CONTAINER_HEADER_LEN};
use crate::read::{Reader, fixed};
use crate::{DecodeError, DecodeErrorKind};

/// First bytes of every head.
pub const MAGIC: [u8; 8] = *b"SELVHEAD";
/// Version of the layout and of [`HeadV1`].
pub const VERSION: u16 = 1;
/// Bytes before the payload.
pub const HEADER_LEN: usize = 88;
/// Bytes of the header that are signed.
pub const SIGNED_HEADER_LEN: usize = 24;
/// Largest head in bytes: it is fetched and verified by every edge, every few seconds.
pub const MAX_LEN: usize = 8192;
/// Longest name of a channel in bytes.
pub const MAX_CHANNEL: usize = 64;
/// Most prices in a head.
pub const MAX_PRICES: usize = 64;
/// Longest name of a budget in bytes.
pub const MAX_BUDGET: usize = 64;
/// What shares are counted in: ten thousandths, so 10,000 is all.
pub const SHARE: u16 = 10_000;
/// What is signed starts with this, so that no signature made for another purpose is one of a head.
pub const DOMAIN: &[u8] = b"selvedge head v1\n";

const PLACE: &str = "channel head";

/// Names a public key: the first eight bytes of its SHA-256.
pub type KeyId = [u8; 8];
/// An Ed25519 signature.
pub type Signature = [u8; 64];

/// What a channel says at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadV1 {
    /// Name of the channel: 1 to [`MAX_CHANNEL`] of `a-z`, `0-9`, `.`, `_`, `-`. It is signed, so a head of one channel
    /// says nothing in another.
    pub channel: String,
    /// Grows with every head of the channel, from 1.
    pub sequence: u64,
    /// When it was made. All times are milliseconds since 1970-01-01 UTC.
    pub issued_ms: i64,
    /// Not believed before.
    pub not_before_ms: i64,
    /// Not believed at or after.
    pub not_after_ms: i64,
    /// What decides.
    pub bundle: BlobV1,
    /// The shared state that goes with it.
    pub shared: Option<BlobV1>,
    /// A second bundle, for a share of the users.
    pub rollout: Option<RolloutV1>,
    /// What a unit of each budget is worth at this time; ascending by budget.
    pub prices: Vec<PriceV1>,
    /// When an edge goes back to the bundle that it had before, by itself.
    pub guard: Option<GuardV1>,
    /// Nothing is personalised: edges answer in the order that they were asked in.
    pub killed: bool,
}

/// Something immutable: a bundle or a shared state, by its content id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobV1 {
    /// Content id.
    pub id: ContentId,
    /// Length in bytes.
    pub size: u32,
}

/// A bundle for a share of the users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutV1 {
    /// What decides for them.
    pub bundle: BlobV1,
    /// The shared state that goes with it.
    pub shared: Option<BlobV1>,
    /// How many of [`SHARE`] users: 1 to 9,999.
    pub share: u16,
    /// Another salt draws other users.
    pub salt: u64,
}

/// The price of a budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceV1 {
    /// Name of the budget.
    pub budget: String,
    /// Value in millionths that one unit of cost must bring.
    pub price_micros: u64,
}

/// When a new bundle is given up by an edge on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardV1 {
    /// Of [`SHARE`] decisions, how many may fall back or fail.
    pub max_fallback_share: u16,
    /// Decisions before the share is judged.
    pub min_decisions: u32,
}

impl HeadV1 {
    /// What is deployed for everyone, then what is deployed for a share of the users.
    pub fn blobs(&self) -> impl Iterator<Item = BlobV1> + '_ {
        let rollout = self.rollout.iter().flat_map(|rollout| [Some(rollout.bundle), rollout.shared]);
        [Some(self.bundle), self.shared].into_iter().chain(rollout).flatten()
    }

    /// Checks what postcard does not: names, order, ranges.
    ///
    /// # Errors
    /// The first value that the page forbids.
    pub fn check(&self) -> Result<(), DecodeError> {
        let invalid = |place| Err(DecodeError::invalid(place, 0));
        if !is_name(&self.channel, MAX_CHANNEL) {
            return invalid("channel head: channel");
        }
        if self.sequence == 0 {
            return invalid("channel head: sequence");
        }
        if self.not_before_ms < 0 || self.not_before_ms >= self.not_after_ms || self.issued_ms < 0 {
            return invalid("channel head: validity");
        }
        if self.blobs().any(|blob| (blob.size as usize) < CONTAINER_HEADER_LEN) {
            return invalid("channel head: size");
        }
        if self.rollout.is_some_and(|rollout| rollout.share == 0 || rollout.share >= SHARE) {
            return invalid("channel head: rollout share");
        }
        let ascending = self.prices.windows(2).all(|pair| pair[0].budget < pair[1].budget);
        if self.prices.len() > MAX_PRICES || !ascending {
            return invalid("channel head: prices");
        }
        if self.prices.iter().any(|price| !is_name(&price.budget, MAX_BUDGET)) {
            return invalid("channel head: budget");
        }
        if self.guard.is_some_and(|guard| guard.max_fallback_share > SHARE || guard.min_decisions == 0) {
            return invalid("channel head: guard");
        }
        Ok(())
    }

    /// The bytes that a signature must cover, for the key `key`.
    ///
    /// # Errors
    /// A value that [`check`](Self::check) refuses, or more than [`MAX_LEN`] bytes.
    pub fn unsigned(&self, key: KeyId) -> Result<UnsignedHead, DecodeError> {
        self.check()?;
        let payload = postcard::to_allocvec(self).map_err(|_| DecodeError::invalid(PLACE, HEADER_LEN))?;
        if HEADER_LEN + payload.len() > MAX_LEN {
            return Err(DecodeError::too_large(PLACE, MAX_LEN as u64, (HEADER_LEN + payload.len()) as u64));
        }
        let mut header = [0; SIGNED_HEADER_LEN];
        header[..8].copy_from_slice(&MAGIC);
        header[8..10].copy_from_slice(&VERSION.to_le_bytes());
        header[10..12].copy_from_slice(&(payload.len() as u16).to_le_bytes());
        header[16..].copy_from_slice(&key);
        Ok(UnsignedHead { header, payload })
    }
}

/// Whether `name` is 1 to `longest` of `a-z`, `0-9`, `.`, `_`, `-`: safe in a path, an address and a log.
#[must_use]
pub fn is_name(name: &str, longest: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    (1..=longest).contains(&name.len()) && name.bytes().all(allowed)
}

/// A head before it is signed.
#[derive(Clone, Debug)]
pub struct UnsignedHead {
    header: [u8; SIGNED_HEADER_LEN],
    payload: Vec<u8>,
}

impl UnsignedHead {
    /// What is signed.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        [DOMAIN, &self.header, &self.payload].concat()
    }

    /// The head's bytes.
    #[must_use]
    pub fn sign(self, signature: &Signature) -> Vec<u8> {
        [&self.header[..], signature, &self.payload].concat()
    }
}

/// A head that is well formed. Nobody has checked its signature yet.
#[derive(Clone, Debug)]
pub struct HeadView<'a> {
    bytes: &'a [u8],
    /// Who is said to have signed it.
    pub key: KeyId,
    /// The signature.
    pub signature: Signature,
    /// What it says.
    pub head: HeadV1,
}

impl<'a> HeadView<'a> {
    /// Validates the layout and the values; not the signature.
    ///
    /// # Errors
    /// Any deviation from the page.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut header = Reader::new(bytes, PLACE);
        if header.take(MAGIC.len())? != MAGIC {
            return Err(DecodeError::new(DecodeErrorKind::BadMagic, PLACE, 0));
        }
        let version = header.u16()?;
        if version != VERSION {
            let kind = DecodeErrorKind::UnsupportedVersion { newest: VERSION, found: version };
            return Err(DecodeError::new(kind, PLACE, 8));
        }
        if bytes.len() > MAX_LEN {
            return Err(DecodeError::too_large(PLACE, MAX_LEN as u64, bytes.len() as u64));
        }
        let length = usize::from(header.u16()?);
        if header.u32()? != 0 {
            return Err(DecodeError::invalid(PLACE, 12));
        }
        let key = fixed(header.take(8)?);
        let signature = fixed(header.take(64)?);
        let payload = header.take(length)?;
        header.finish()?;
        let head: HeadV1 = crate::container::metadata(payload, PLACE)?;
        head.check()?;
        Ok(Self { bytes, key, signature, head })
    }

    /// What the signature must cover.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        [DOMAIN, &self.bytes[..SIGNED_HEADER_LEN], &self.bytes[HEADER_LEN..]].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn head() -> HeadV1 {
        let blob = |first| BlobV1 { id: [first; 32], size: 1000 };
        HeadV1 {
            channel: "shop".into(),
            sequence: 3,
            issued_ms: 1_700_000_000_000,
            not_before_ms: 1_699_996_400_000,
            not_after_ms: 1_700_086_400_000,
            bundle: blob(1),
            shared: Some(blob(2)),
            rollout: Some(RolloutV1 { bundle: blob(3), shared: None, share: 500, salt: 7 }),
            prices: vec![
                PriceV1 { budget: "autumn".into(), price_micros: 1_500_000 },
                PriceV1 { budget: "winter".into(), price_micros: 0 },
            ],
            guard: Some(GuardV1 { max_fallback_share: 200, min_decisions: 100 }),
            killed: false,
        }
    }

    fn signed(head: &HeadV1) -> Vec<u8> {
        head.unsigned([9; 8]).unwrap().sign(&[5; 64])
    }

    #[test]
    fn what_is_written_is_read_and_the_message_is_the_same_on_both_sides() {
        let unsigned = head().unsigned([9; 8]).unwrap();
        let message = unsigned.message();
        let bytes = unsigned.sign(&[5; 64]);
        let view = HeadView::parse(&bytes).unwrap();
        assert_eq!((view.key, view.signature, &view.head), ([9; 8], [5; 64], &head()));
        assert_eq!(view.message(), message);
    }

    #[test]
    fn every_byte_but_those_of_the_signature_is_signed() {
        let bytes = signed(&head());
        let message = HeadView::parse(&bytes).unwrap().message();
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            let same = HeadView::parse(&other).is_ok_and(|view| view.message() == message);
            assert_eq!(same, (SIGNED_HEADER_LEN..HEADER_LEN).contains(&at), "byte {at}");
        }
    }

    #[test]
    fn a_cut_or_longer_head_is_refused() {
        let bytes = signed(&head());
        for length in 0..bytes.len() {
            assert!(HeadView::parse(&bytes[..length]).is_err(), "{length} bytes");
        }
        assert!(HeadView::parse(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn values_that_the_page_forbids_are_neither_written_nor_read() {
        type Change = fn(&mut HeadV1);
        let changes: [(&str, Change); 12] = [
            ("channel head: channel", |head| head.channel.clear()),
            ("channel head: channel", |head| head.channel = "../shop".into()),
            ("channel head: channel", |head| head.channel = "a".repeat(MAX_CHANNEL + 1)),
            ("channel head: sequence", |head| head.sequence = 0),
            ("channel head: validity", |head| head.not_after_ms = head.not_before_ms),
            ("channel head: validity", |head| head.issued_ms = -1),
            ("channel head: size", |head| head.bundle.size = 63),
            ("channel head: rollout share", |head| head.rollout.as_mut().unwrap().share = SHARE),
            ("channel head: prices", |head| head.prices.reverse()),
            ("channel head: budget", |head| head.prices[0].budget = "A".into()),
            ("channel head: guard", |head| head.guard.as_mut().unwrap().max_fallback_share = SHARE + 1),
            ("channel head: guard", |head| head.guard.as_mut().unwrap().min_decisions = 0),
        ];
        for (place, change) in changes {
            let mut changed = head();
            change(&mut changed);
            assert_eq!(changed.unsigned([0; 8]).unwrap_err().place(), place);
            let payload = postcard::to_allocvec(&changed).unwrap();
            let mut bytes = signed(&head())[..HEADER_LEN].to_vec();
            bytes[10..12].copy_from_slice(&(payload.len() as u16).to_le_bytes());
            bytes.extend_from_slice(&payload);
            assert_eq!(HeadView::parse(&bytes).unwrap_err().place(), place);
        }
    }
}
