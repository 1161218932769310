//! Strings as numbers.

use super::Columns;

/// `string` with declared values: the value's position in the list; unknown values are missing.
pub(super) fn position(columns: &Columns, field: u16, values: &[(u64, u32)], out: &mut [f32]) {
    for (out, key) in out.iter_mut().zip(columns.keys(field)) {
        let found = values.binary_search_by_key(key, |(value, _)| *value);
        *out = found.map_or(f32::NAN, |at| values[at].1 as f32);
    }
}

/// `string` with buckets, and `cross`: the hash of the values, modulo the number of buckets; missing if one is.
pub(super) fn bucket(columns: &Columns, fields: &[u16], buckets: u32, out: &mut [f32]) {
    for (candidate, out) in out.iter_mut().enumerate() {
        let mut keys = fields.iter().map(|field| columns.keys(*field)[candidate]);
        let hash = keys.try_fold(0, |hash, key| (key != 0).then(|| mix(hash ^ key)));
        *out = hash.map_or(f32::NAN, |hash| (hash % u64::from(buckets)) as f32);
    }
}

/// `item_id`: the number of the candidate.
pub(super) fn item(columns: &Columns, buckets: u32, out: &mut [f32]) {
    for (out, key) in out.iter_mut().zip(columns.items()) {
        *out = item_number(*key, buckets);
    }
}

/// One more than the item's key, modulo the number of buckets; missing where there is no item.
pub(super) fn item_number(key: u64, buckets: u32) -> f32 {
    if key == 0 { f32::NAN } else { (key % u64::from(buckets) + 1) as f32 }
}

/// The finaliser of MurmurHash3: makes the order of crossed values count.
const fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
