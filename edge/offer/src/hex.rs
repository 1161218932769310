//! Bytes as lower-case hexadecimal text in JSON: one text per value.

use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer, Serializer};

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The text of these bytes.
pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// The bytes of a text of exactly that length.
pub(crate) fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |letter: &u8| DIGITS.iter().position(|digit| digit == letter);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some((digit(high)? << 4 | digit(low)?) as u8)).collect();
    bytes?.try_into().ok()
}

pub(crate) fn serialize<const N: usize, S: Serializer>(bytes: &[u8; N], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(bytes))
}

pub(crate) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; N], D::Error> {
    let text = String::deserialize(deserializer)?;
    bytes(&text).ok_or_else(|| D::Error::custom(format_args!("{} lower-case hexadecimal digits are expected", 2 * N)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_one_form() {
        assert_eq!(text(&[0x0f, 0xa0]), "0fa0");
        assert_eq!(bytes("0fa0"), Some([0x0f, 0xa0]));
        for other in ["", "0fa", "0FA0", "0fa00", "0fa000", "0g00", " fa0", "0f\u{e9}"] {
            assert_eq!(bytes::<2>(other), None, "{other}");
        }
    }
}
