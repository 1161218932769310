//! Whether a new head is believed.

use selvedge_format::head::{HeadV1, HeadView};

use crate::Keys;

/// Why a head, or what it names, was not taken. The codes are the same in every follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Not a head.
    #[error("the bytes are not a channel head")]
    Malformed,
    /// A head of another channel.
    #[error("the head is of another channel")]
    OtherChannel,
    /// Signed by a key that is not in the list.
    #[error("the head is signed by a key that is not trusted here")]
    UnknownKey,
    /// The signature is not that of the key.
    #[error("the signature does not match the head")]
    BadSignature,
    /// Not valid yet.
    #[error("the head is not valid yet; the clock here, or that of the publisher, is wrong by more than an hour")]
    NotYetValid,
    /// Not valid any more.
    #[error("the head has expired; the publisher must renew it, or the clock here is ahead")]
    Expired,
    /// Older than what is held.
    #[error("the head is older than the one that is held")]
    SequenceLower,
    /// Another head of the sequence that is held.
    #[error("another head of the same sequence is held")]
    SequenceReused,
    /// The source does not have what the head names.
    #[error("what the head names is not there")]
    BlobMissing,
    /// Not what the head names.
    #[error("the bytes are not those that the head names")]
    BlobMismatch,
    /// Above what is taken here.
    #[error("what the head names is larger than what is taken here")]
    BlobTooLarge,
    /// The engine does not take it.
    #[error("the engine does not load what the head names")]
    LoadFailed,
    /// The guard has given this head up.
    #[error("the head was given up here, because too many decisions fell back")]
    RolledBack,
}

impl Refusal {
    /// Every reason, in the order in which they are checked.
    pub const ALL: [Self; 13] = [
        Self::Malformed,
        Self::OtherChannel,
        Self::UnknownKey,
        Self::BadSignature,
        Self::NotYetValid,
        Self::Expired,
        Self::SequenceLower,
        Self::SequenceReused,
        Self::RolledBack,
        Self::BlobTooLarge,
        Self::BlobMissing,
        Self::BlobMismatch,
        Self::LoadFailed,
    ];

    /// Its stable name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::OtherChannel => "other-channel",
            Self::UnknownKey => "unknown-key",
            Self::BadSignature => "bad-signature",
            Self::NotYetValid => "not-yet-valid",
            Self::Expired => "expired",
            Self::SequenceLower => "sequence-lower",
            Self::SequenceReused => "sequence-reused",
            Self::BlobMissing => "blob-missing",
            Self::BlobMismatch => "blob-mismatch",
            Self::BlobTooLarge => "blob-too-large",
            Self::LoadFailed => "load-failed",
            Self::RolledBack => "rolled-back",
        }
    }
}

/// Judges `bytes` as the next head of `channel` for someone who holds the head `held`. `None` is the head that is held.
///
/// The same bytes as before are no news, whatever the time is: an expired head is told by [`status`](crate::status), not
/// by asking again.
///
/// # Errors
/// The first reason, in the order of [`Refusal::ALL`].
pub fn judge(
    held: Option<&[u8]>,
    channel: &str,
    keys: &Keys,
    bytes: &[u8],
    now_ms: i64,
) -> Result<Option<HeadV1>, Refusal> {
    if held == Some(bytes) {
        return Ok(None);
    }
    let view = HeadView::parse(bytes).map_err(|_| Refusal::Malformed)?;
    if view.head.channel != channel {
        return Err(Refusal::OtherChannel);
    }
    keys.verify(&view)?;
    if now_ms < view.head.not_before_ms {
        return Err(Refusal::NotYetValid);
    }
    if now_ms >= view.head.not_after_ms {
        return Err(Refusal::Expired);
    }
    let held = held.and_then(|held| HeadView::parse(held).ok()).map_or(0, |held| held.head.sequence);
    match view.head.sequence {
        sequence if sequence < held => Err(Refusal::SequenceLower),
        sequence if sequence == held => Err(Refusal::SequenceReused),
        _ => Ok(Some(view.head)),
    }
}
