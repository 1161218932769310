//! Writes columnar requests; `docs/format/request.md` is the layout.

use alloc::vec::Vec;

use selvedge_format::message::{BlockHeader, MessageWriter};
use selvedge_format::program::{FieldType, Scope, field_id};
use selvedge_format::request::{
    BudgetNow, COLUMN, CapCount, EXCLUDE, HEAP, IDS, KIND, OFFER, OfferAsked, PINS, STATE, scope_code, type_code,
};

/// Builds one request. Columns of item fields must have one value per candidate, others one value;
/// the engine refuses the request otherwise.
///
/// ```
/// use selvedge_format::program::Scope;
/// use selvedge_wire::{RequestBuilder, Values};
///
/// let bytes = RequestBuilder::new([7; 16], 1_700_000_000_000, ["milk", "bread"])
///     .column(Scope::Item, "price", Values::Numbers(&[1.19, f32::NAN]))
///     .column(Scope::Context, "query", Values::Tokens(&[&["fresh", "milk"]]))
///     .pin(1, 0)
///     .build();
/// let limits = selvedge_engine::Limits::default();
/// let limits = selvedge_format::request::RequestLimits { bytes: limits.request_bytes, state_bytes: limits.state_bytes };
/// let view = selvedge_format::request::RequestView::parse(&bytes, limits).unwrap();
/// assert_eq!(view.ids.get(1), b"bread");
/// ```
#[derive(Clone, Debug, Default)]
pub struct RequestBuilder {
    request_id: [u8; 16],
    time_ms: i64,
    utc_offset_min: i32,
    slate_size: u32,
    reasons: u32,
    candidates: u32,
    ids: Vec<u8>,
    heap: Vec<u8>,
    state: Vec<u8>,
    pins: Vec<u8>,
    exclude: Vec<u8>,
    columns: Vec<(BlockHeader, Vec<u8>)>,
    offer: Vec<u8>,
}

/// Values of one field.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// NaN is missing.
    Numbers(&'a [f32]),
    /// Empty is missing.
    Strings(&'a [&'a str]),
    /// Lists of words.
    Tokens(&'a [&'a [&'a str]]),
    /// Milliseconds since 1970-01-01 UTC; the smallest value is missing.
    Times(&'a [i64]),
}

impl RequestBuilder {
    /// A request with this identity, made at this time (milliseconds since 1970-01-01 UTC), for these candidates.
    #[must_use]
    pub fn new<'c>(request_id: [u8; 16], time_ms: i64, candidates: impl IntoIterator<Item = &'c str>) -> Self {
        let mut builder = Self { request_id, time_ms, ..Self::default() };
        let mut ids = Offsets::new(&builder.heap);
        for candidate in candidates {
            ids.push(&mut builder.heap, candidate);
            builder.candidates += 1;
        }
        builder.ids = ids.0;
        builder
    }

    /// The user's offset from UTC in minutes; 0 unless set.
    #[must_use]
    pub const fn utc_offset_min(mut self, minutes: i32) -> Self {
        self.utc_offset_min = minutes;
        self
    }

    /// Slots wanted; the bundle's number unless set.
    #[must_use]
    pub const fn slate_size(mut self, slots: u32) -> Self {
        self.slate_size = slots;
        self
    }

    /// Contributions wanted per slot; none unless set.
    #[must_use]
    pub const fn reasons(mut self, count: u32) -> Self {
        self.reasons = count;
        self
    }

    /// The user's state; an unknown user's unless set.
    #[must_use]
    pub fn state(mut self, state: &[u8]) -> Self {
        self.state = state.to_vec();
        self
    }

    /// Puts a candidate into a slot, both counted from 0.
    #[must_use]
    pub fn pin(mut self, candidate: u32, slot: u32) -> Self {
        self.pins.extend_from_slice(&candidate.to_le_bytes());
        self.pins.extend_from_slice(&slot.to_le_bytes());
        self
    }

    /// Keeps a candidate out of the slate.
    #[must_use]
    pub fn exclude(mut self, candidate: u32) -> Self {
        self.exclude.extend_from_slice(&candidate.to_le_bytes());
        self
    }

    /// Asks for an offer of this campaign (its [key](selvedge_format::key); 0 for the first that the user is eligible
    /// for). Without a `draw`, the keyed hash of user, campaign and epoch, the answer is a preview. Budgets ascend by key.
    #[must_use]
    pub fn offer(mut self, campaign: u64, draw: Option<[u8; 16]>, budgets: &[BudgetNow], counts: &[CapCount]) -> Self {
        self.offer = OfferAsked::encode(campaign, draw, budgets, counts);
        self
    }

    /// Adds the values of a field.
    #[must_use]
    pub fn column(mut self, scope: Scope, field: &str, values: Values<'_>) -> Self {
        let (ty, bytes) = match values {
            Values::Numbers(values) => {
                (FieldType::Number, values.iter().flat_map(|value| value.to_le_bytes()).collect())
            }
            Values::Times(values) => (FieldType::Time, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
            Values::Strings(values) => {
                let mut offsets = Offsets::new(&self.heap);
                for value in values {
                    offsets.push(&mut self.heap, value);
                }
                (FieldType::String, offsets.0)
            }
            Values::Tokens(lists) => {
                let mut starts = Vec::from(0_u32.to_le_bytes());
                let mut offsets = Offsets::new(&self.heap);
                let mut count = 0_u32;
                for list in lists {
                    for token in *list {
                        offsets.push(&mut self.heap, token);
                    }
                    count += list.len() as u32;
                    starts.extend_from_slice(&count.to_le_bytes());
                }
                starts.extend_from_slice(&offsets.0);
                (FieldType::Tokens, starts)
            }
        };
        let header = BlockHeader {
            tag: COLUMN,
            scope: scope_code(scope),
            ty: type_code(ty),
            flags: 0,
            field: field_id(scope, field),
        };
        self.columns.push((header, bytes));
        self
    }

    /// The request's bytes.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let block = |tag| BlockHeader { tag, ..BlockHeader::default() };
        let optional = [(STATE, &self.state), (PINS, &self.pins), (EXCLUDE, &self.exclude)];
        let present = optional.iter().filter(|(_, bytes)| !bytes.is_empty());
        let count = 2 + present.clone().count() + self.columns.len() + usize::from(!self.offer.is_empty());
        let mut out = Vec::new();
        let mut writer = MessageWriter::new(&mut out, KIND, count, |out| {
            out.extend_from_slice(&self.request_id);
            out.extend_from_slice(&self.time_ms.to_le_bytes());
            out.extend_from_slice(&self.utc_offset_min.to_le_bytes());
            out.extend_from_slice(&self.candidates.to_le_bytes());
            out.extend_from_slice(&self.slate_size.to_le_bytes());
            out.extend_from_slice(&self.reasons.to_le_bytes());
            out.extend_from_slice(&[0; 8]);
        });
        writer.block(block(IDS), |out| out.extend_from_slice(&self.ids));
        writer.block(block(HEAP), |out| out.extend_from_slice(&self.heap));
        for (tag, bytes) in present {
            writer.block(block(*tag), |out| out.extend_from_slice(bytes));
        }
        for (header, bytes) in &self.columns {
            writer.block(*header, |out| out.extend_from_slice(bytes));
        }
        if !self.offer.is_empty() {
            writer.block(block(OFFER), |out| out.extend_from_slice(&self.offer));
        }
        out
    }
}

/// Offsets of consecutive strings in the heap.
struct Offsets(Vec<u8>);

impl Offsets {
    fn new(heap: &[u8]) -> Self {
        Self(Vec::from((heap.len() as u32).to_le_bytes()))
    }

    fn push(&mut self, heap: &mut Vec<u8>, text: &str) {
        heap.extend_from_slice(text.as_bytes());
        self.0.extend_from_slice(&(heap.len() as u32).to_le_bytes());
    }
}
