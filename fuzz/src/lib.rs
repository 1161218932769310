//! What the fuzz targets share: a way past the checksum.

use selvedge_format::AlignedBytes;

const LENGTH: usize = 16;
const CHECKSUM: usize = 24;
const CHECKED_FROM: usize = 32;

/// The container that `data` would be if its length and checksum were right.
///
/// Random bytes never satisfy a 64-bit checksum, so without this a fuzzer would test the checksum and nothing behind it.
/// An attacker can compute it as well: it finds damage, not forgery.
#[must_use]
pub fn sealed(data: &[u8]) -> AlignedBytes {
    let mut bytes = AlignedBytes::copy_of(data);
    if data.len() >= CHECKED_FROM {
        let container = bytes.as_mut_slice();
        container[LENGTH..CHECKSUM].copy_from_slice(&(data.len() as u64).to_le_bytes());
        let checksum = xxhash_rust::xxh64::xxh64(&container[CHECKED_FROM..], 0);
        container[CHECKSUM..CHECKED_FROM].copy_from_slice(&checksum.to_le_bytes());
    }
    bytes
}
