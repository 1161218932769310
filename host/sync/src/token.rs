//! Tokens: random texts that open a host. The host keeps their hashes alone.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// What every token begins with, so that scanners for leaked secrets can find one.
const PREFIX: &str = "svt_";

/// A new token. It is shown once, on purpose, and never by accident.
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// A token of 256 random bits.
    ///
    /// # Errors
    /// The operating system gives no random numbers.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bits = [0; 32];
        getrandom::fill(&mut bits)?;
        Ok(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bits))))
    }

    /// The text, for the one who will use it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the host is given: the SHA-256 of the text, in hexadecimal. Of 256 random bits a fast hash is enough.
    #[must_use]
    pub fn sha256(&self) -> String {
        crate::channel::hex(&Sha256::digest(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_are_not_printed() {
        let (one, other) = (Token::generate().unwrap(), Token::generate().unwrap());
        assert_ne!(one.reveal(), other.reveal());
        assert_eq!(one.reveal().len(), PREFIX.len() + 43);
        assert_eq!(one.sha256().len(), 64);
        assert!(!format!("{one:?}").contains(&one.reveal()[8..]));
    }
}
