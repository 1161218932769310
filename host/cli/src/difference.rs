//! Where two decisions on one request part: the first difference of each field, numbers with their bits.

use std::fmt::{self, Display, Formatter};

use selvedge_format::decision::DecisionView;
use serde::Serialize;

use crate::bundle::hex;

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    /// Name of the field.
    field: &'static str,
    /// The first slot in which it differs, for what slots have.
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<usize>,
    recorded: String,
    replayed: String,
}

impl Display for Difference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.field)?;
        if let Some(slot) = self.slot {
            write!(f, " of slot {slot}")?;
        }
        write!(f, ": recorded {}, replayed {}", self.recorded, self.replayed)
    }
}

/// The fields in which two decisions differ. Empty only if their bytes differ in nothing that a field shows.
pub(crate) fn differences(recorded: &DecisionView<'_>, replayed: &DecisionView<'_>) -> Vec<Difference> {
    let (a, b) = (recorded, replayed);
    let status = |view: &DecisionView<'_>| {
        let (status, reason) = view.status.names();
        reason.map_or_else(|| status.to_owned(), |reason| format!("{status} ({reason})"))
    };
    let whole = [
        ("request id", hex(&a.request_id), hex(&b.request_id)),
        ("bundle id", hex(&a.bundle_id), hex(&b.bundle_id)),
        ("shared state id", hex(&a.shared_id), hex(&b.shared_id)),
        ("status", status(a), status(b)),
        ("candidates", a.candidates.to_string(), b.candidates.to_string()),
        ("cost", a.cost.to_string(), b.cost.to_string()),
        ("error code", a.error.to_string(), b.error.to_string()),
        ("base", number(a.base), number(b.base)),
        ("reasons per slot", a.contributions.to_string(), b.contributions.to_string()),
        ("number of slots", a.slots.len().to_string(), b.slots.len().to_string()),
    ];
    let whole = whole.into_iter().filter(|(_, recorded, replayed)| recorded != replayed);
    let mut found: Vec<Difference> =
        whole.map(|(field, recorded, replayed)| Difference { field, slot: None, recorded, replayed }).collect();
    let slots = 0..a.slots.len().min(b.slots.len());
    type Field = (&'static str, fn(&DecisionView<'_>, usize) -> String);
    let by_slot: [Field; 5] = [
        ("candidate", |view, slot| view.slots.get(slot).to_string()),
        ("score", |view, slot| number(view.scores.get(slot))),
        ("propensity", |view, slot| number(view.propensities.get(slot))),
        ("rules", |view, slot| format!("{:#b}", view.rules.get(slot))),
        ("reasons", reasons),
    ];
    for (field, text) in by_slot {
        let first = slots.clone().map(|slot| (slot, text(a, slot), text(b, slot))).find(|(_, a, b)| a != b);
        found.extend(first.map(|(slot, recorded, replayed)| Difference {
            field,
            slot: Some(slot),
            recorded,
            replayed,
        }));
    }
    found
}

/// A number and its bits, which may differ where the digits do not.
fn number(value: f32) -> String {
    format!("{value} ({:#010x})", value.to_bits())
}

fn reasons(view: &DecisionView<'_>, slot: usize) -> String {
    let reasons = view.reasons(slot).map(|(feature, effect)| format!("feature {feature} {}", number(effect)));
    reasons.collect::<Vec<_>>().join(", ")
}
