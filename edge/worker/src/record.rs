//! What the log says of decisions, and of what came of them.

use selvedge_format::decision::DecisionView;
use selvedge_format::record::{DigestView, Outcome, RecordView};
use selvedge_format::request::{RequestLimits, RequestView};
use selvedge_format::{U64s, key};

use crate::rank::Ranked;
use crate::user::UserEvent;

/// Records end to end.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) bytes: Vec<u8>,
    pub(crate) count: u64,
}

impl Records {
    fn push(&mut self, record: &RecordView<'_>) {
        record.write(&mut self.bytes);
        self.count += 1;
    }
}

/// The record of a decision: full for a sampled share, a digest of the rest. Which one depends on the request id alone,
/// so every edge that sees the request samples it, or none.
pub(crate) fn decision(ranked: &Ranked, share: f64) -> Records {
    let mut log = Records::default();
    let Ranked { request, decision, .. } = ranked;
    // It was decided, so it can be read; whoever made it is not asked again.
    let limits = RequestLimits { bytes: usize::MAX, state_bytes: usize::MAX };
    let Ok(view) = RequestView::parse(request, limits) else { return log };
    if is_sampled(&view.request_id, share) {
        log.push(&RecordView::Full { request, decision });
    } else if let Ok(decided) = DecisionView::parse(decision) {
        let keys = decided.slots.iter().map(|candidate| key(view.ids.get(candidate as usize)));
        let items: Vec<u8> = keys.flat_map(u64::to_le_bytes).collect();
        let items = U64s::new(&items);
        log.push(&RecordView::Digest(DigestView {
            time_ms: view.time_ms,
            request_hash: key(request),
            items,
            decision,
        }));
    }
    log
}

/// The records of those events that name the decision that they follow.
pub(crate) fn outcomes(events: &[UserEvent], now_ms: i64) -> Records {
    let mut log = Records::default();
    for event in events {
        let Some(request_id) = event.request_id.as_deref().and_then(crate::request_id) else { continue };
        let outcome = Outcome {
            request_id,
            time_ms: event.time_ms(now_ms),
            item: key(event.item.as_bytes()),
            event: key(event.event.as_bytes()),
            id: event.key(),
            value: event.value,
        };
        log.push(&RecordView::Outcome(outcome));
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
