//! What the log says of a decision.

use selvedge_format::key;
use selvedge_format::record::RecordView;

use crate::rank::Ranked;

/// The record of a decision, if it is one of the sampled share. Whether it is depends on its request id alone, so every
/// edge that sees the request samples it, or none.
pub(crate) fn decision(ranked: &Ranked, share: f64) -> Vec<u8> {
    let mut log = Vec::new();
    if is_sampled(ranked.request_id(), share) {
        RecordView { request: &ranked.request, decision: &ranked.decision }.write(&mut log);
    }
    log
}

fn is_sampled(request_id: &[u8], share: f64) -> bool {
    // 53 bits of the id's hash, as a number in 0..1.
    ((key(request_id) >> 11) as f64 / (1_u64 << 53) as f64) < share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_sampled_as_the_share_says() {
        let sampled = |share: f64| (0..10_000_u32).filter(|id| is_sampled(&id.to_le_bytes(), share)).count();
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 10_000));
        assert!((2_800..3_200).contains(&sampled(0.3)), "{}", sampled(0.3));
    }
}
