//! Ids of 128 bits: 32 hexadecimal digits in documents, where other languages have no such integers, and the number itself
//! in rows.

use alloc::format;
use alloc::string::String;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const DIGITS: usize = 32;

pub(crate) fn serialize<S: Serializer>(id: &u128, serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() { format!("{id:032x}").serialize(serializer) } else { id.serialize(serializer) }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
    if !deserializer.is_human_readable() {
        return u128::deserialize(deserializer);
    }
    let text = String::deserialize(deserializer)?;
    let is_hex =
        text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let id = is_hex.then(|| u128::from_str_radix(&text, 16).ok()).flatten();
    id.ok_or_else(|| D::Error::custom(format!("an id of {DIGITS} hexadecimal digits is expected")))
}
