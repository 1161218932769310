//! Words in common.

use selvedge_format::program::{Overlap, TokensOf};
use selvedge_format::shared::SharedState;

use super::Columns;

/// `token_overlap`: overlap of the candidate's words with the query's or with those of recent items; missing where
/// either side has none.
pub(super) fn overlap(
    columns: &mut Columns,
    shared: Option<&SharedState>,
    field: u16,
    with: TokensOf,
    metric: Overlap,
    out: &mut [f32],
) {
    if let TokensOf::History { event, last } = with {
        columns.gather_tokens(shared, event, field, last);
    }
    for (candidate, out) in out.iter_mut().enumerate() {
        let words = columns.tokens(field, candidate);
        let others = match with {
            TokensOf::Context { field } => columns.tokens(field, candidate),
            TokensOf::History { .. } => columns.gathered.as_slice(),
        };
        let common = words.iter().filter(|word| others.binary_search(word).is_ok()).count();
        let all = match metric {
            Overlap::Jaccard => words.len() + others.len() - common,
            Overlap::Containment => words.len(),
        };
        *out = if words.is_empty() || others.is_empty() { f32::NAN } else { common as f32 / all as f32 };
    }
}
