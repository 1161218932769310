//! Signing keys: made, kept as PKCS#8, used for heads.

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use ed25519_dalek::{Signer, SigningKey as Ed25519};
use selvedge_follow::PublicKey;
use selvedge_format::DecodeError;
use selvedge_format::head::HeadV1;

/// A private key that signs heads. Its memory is wiped when it goes; it is never printed.
pub struct SigningKey(Ed25519);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers: {0}")]
    NoRandomness(getrandom::Error),
    /// The text is not a private key.
    #[error("not an Ed25519 private key in PKCS#8 PEM: {0}")]
    NotAKey(String),
}

impl SigningKey {
    /// A new key, from the operating system's random numbers.
    ///
    /// # Errors
    /// There are none.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(KeyError::NoRandomness)?;
        Ok(Self::from_seed(&seed))
    }

    /// The key of a seed (RFC 8032, 5.1.5). For tests: a seed that is known is no secret.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Ed25519::from_bytes(seed))
    }

    /// Reads PKCS#8 PEM, with or without the public half.
    ///
    /// # Errors
    /// The text is something else.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        Ed25519::from_pkcs8_pem(pem).map(Self).map_err(|error| KeyError::NotAKey(error.to_string()))
    }

    /// PKCS#8 version 1 PEM, which OpenSSL reads as well.
    ///
    /// # Errors
    /// Never for a key that exists; the encoder's signature allows it.
    pub fn to_pem(&self) -> Result<impl std::ops::Deref<Target = String> + use<>, KeyError> {
        let bytes = KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        bytes.to_pkcs8_pem(LineEnding::LF).map_err(|error| KeyError::NotAKey(error.to_string()))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey::from_bytes(&self.0.verifying_key().to_bytes()).expect("the public half of a key is a key")
    }

    /// An offer's token, signed.
    ///
    /// # Errors
    /// The claims say something that tokens forbid.
    pub fn mint(&self, claims: &selvedge_offer::Claims) -> Result<String, selvedge_offer::TokenRefusal> {
        selvedge_offer::token::mint(&self.0, claims)
    }

    /// The bytes of `head`, signed.
    ///
    /// # Errors
    /// The head says something that its format forbids.
    pub fn sign(&self, head: &HeadV1) -> Result<Vec<u8>, DecodeError> {
        let unsigned = head.unsigned(self.public().id())?;
        let signature = self.0.sign(&unsigned.message());
        Ok(unsigned.sign(&signature.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let key = SigningKey::generate().unwrap();
        let again = SigningKey::from_pem(&key.to_pem().unwrap()).unwrap();
        assert_eq!(again.public(), key.public());
        assert_ne!(SigningKey::generate().unwrap().public(), key.public());
    }

    #[test]
    fn a_key_of_openssl_is_read() {
        // RFC 8410, 10.3: made by OpenSSL.
        let pem = "-----BEGIN PRIVATE KEY-----\n\
                   MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
                   -----END PRIVATE KEY-----\n";
        let key = SigningKey::from_pem(pem).unwrap();
        assert_eq!(key.public().to_string(), "ed25519:Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE");
        assert_eq!(&*key.to_pem().unwrap(), pem);
    }

    #[test]
    fn what_is_not_a_key_is_refused_and_nothing_secret_is_printed() {
        assert!(SigningKey::from_pem("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").is_err());
        let key = SigningKey::from_seed(&[7; 32]);
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.public()));
    }
}
