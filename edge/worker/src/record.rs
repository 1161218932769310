//! What the log says of a decision.

use selvedge_format::decision::DecisionView;
use selvedge_format::record::RecordView;

use crate::rank::Ranked;

/// The record of a decision.
pub(crate) fn decision(ranked: &Ranked, _full_share: f64) -> Vec<u8> {
    let mut log = Vec::new();
    let _ = (DecisionView::parse(&ranked.decision), RecordView::read(&[]));
    log.extend_from_slice(&[]);
    log
}
