//! The user's last events, one by one.

use selvedge_format::program::By;
use selvedge_format::shared::SharedState;

use super::Columns;
use super::category::item_number;

/// `interacted_with`: how many of the user's last events of a kind, within a time, were on items that share the
/// candidate's key. Metarank's extractor of the same name.
pub(super) fn interacted_with(
    columns: &mut Columns,
    shared: Option<&SharedState>,
    event: u64,
    by: By,
    (within_s, last): (u32, u16),
    out: &mut [f32],
) {
    columns.gather(shared, event, by, within_s, last);
    crate::order::sort(&mut columns.gathered);
    let gathered = columns.gathered.as_slice();
    let keys = match by {
        By::All => None,
        By::Item => Some(columns.items()),
        By::Field(field) => Some(columns.keys(field)),
    };
    let Some(keys) = keys else { return out.fill(gathered.len() as f32) };
    for (out, key) in out.iter_mut().zip(keys) {
        let first = gathered.partition_point(|other| other < key);
        let count = gathered.partition_point(|other| other <= key) - first;
        *out = if *key == 0 { 0.0 } else { count as f32 };
    }
}

/// `recent_items`, one place: the number of the item of the event; missing where there is none.
pub(super) fn recent_item(
    columns: &mut Columns,
    at: u16,
    (event, within_s): (u64, u32),
    buckets: u32,
    out: &mut [f32],
) {
    if at == 0 {
        columns.next_event = 0;
    }
    out.fill(item_number(columns.next_item(event, within_s), buckets));
}
