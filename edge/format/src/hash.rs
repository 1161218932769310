//! The one string hash of the project: XXH64 with seed 0, as specified at
//! <https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>.

/// 64-bit key of an identifier or a string value: XXH64 of its UTF-8 bytes with seed 0. Empty text means *missing* and
/// has the key 0.
#[must_use]
pub fn key(text: &[u8]) -> u64 {
    if text.is_empty() { 0 } else { xxhash_rust::xxh64::xxh64(text, 0) }
}

/// The upper 32 bits of [`key`]. User state stores these: a user has at most a few thousand keys, so the chance that a
/// candidate matches a foreign key is below one in a million, and the state is a third smaller.
#[must_use]
pub const fn key32(key: u64) -> u32 {
    (key >> 32) as u32
}

pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh64::xxh64(bytes, 0)
}
