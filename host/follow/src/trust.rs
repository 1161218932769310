//! Whom a follower believes.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, VerifyingKey};
use selvedge_format::head::{HeadView, KeyId};
use sha2::{Digest, Sha256};

use crate::Refusal;

/// How the text of a public key begins.
const PREFIX: &str = "ed25519:";

/// The public half of a key that signs heads. Its text is `ed25519:` and 32 bytes in unpadded base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// The text or the bytes are no public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a public key; one is written ed25519: and 43 characters of A-Z, a-z, 0-9, - and _")]
pub struct NotAKey;

impl PublicKey {
    /// The key of these bytes.
    ///
    /// # Errors
    /// They are no point of the curve, or one of small order, for which anybody can make signatures.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, NotAKey> {
        VerifyingKey::from_bytes(bytes).ok().filter(|key| !key.is_weak()).map(Self).ok_or(NotAKey)
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// What heads name it by: the first bytes of its SHA-256.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let digest: [u8; 32] = Sha256::digest(self.as_bytes()).into();
        std::array::from_fn(|byte| digest[byte])
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.as_bytes()))
    }
}

impl FromStr for PublicKey {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let bytes = text.strip_prefix(PREFIX).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let bytes: [u8; 32] = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(NotAKey)?;
        Self::from_bytes(&bytes)
    }
}

/// The keys whose heads are believed. Two of them overlap while a key is rotated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(Vec<(KeyId, PublicKey)>);

impl Keys {
    /// These keys.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        Self(keys.into_iter().map(|key| (key.id(), key)).collect())
    }

    /// These and further ones.
    #[must_use]
    pub fn with(&self, keys: impl IntoIterator<Item = PublicKey>) -> Self {
        let more = keys.into_iter().map(|key| (key.id(), key));
        Self(self.0.iter().copied().chain(more).collect())
    }

    /// Whether nobody is believed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the keys has signed the head.
    ///
    /// # Errors
    /// The head names another key, or the signature is not that of its key.
    pub fn verify(&self, head: &HeadView<'_>) -> Result<(), Refusal> {
        let named = self.0.iter().filter(|(id, _)| *id == head.key).map(|(_, key)| key);
        let signature = Signature::from_bytes(&head.signature);
        let message = head.message();
        let mut refusal = Refusal::UnknownKey;
        for key in named {
            if key.0.verify_strict(&message, &signature).is_ok() {
                return Ok(());
            }
            refusal = Refusal::BadSignature;
        }
        Err(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let key = PublicKey(SigningKey::from_bytes(&[1; 32]).verifying_key());
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!(key.to_string().len(), PREFIX.len() + 43);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let key = PublicKey(SigningKey::from_bytes(&[1; 32]).verifying_key()).to_string();
        let small_order = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode([0; 32]));
        for text in ["", "ed25519:", &key[8..], &key[..50], &format!("{key}="), &small_order] {
            assert_eq!(text.parse::<PublicKey>(), Err(NotAKey), "{text}");
        }
    }
}
