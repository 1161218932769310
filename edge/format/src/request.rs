//! Request: everything that one decision depends on, in columns.
//!
//! Fixed fields (48 bytes): `request id [16], time i64 (ms since 1970-01-01 UTC, not negative), utc offset i32 (minutes),
//! candidates u32, slate size u32 (0: the bundle's), reasons u32 (contributions per slot, 0: none), zero u64`.
//!
//! | tag | block |
//! |---|---|
//! | 1 ids | `offset u32[candidates + 1]` into the heap; mandatory |
//! | 2 heap | UTF-8 of all strings, end to end; mandatory |
//! | 3 state | a UserState; absent or empty for an unknown user |
//! | 4 pins | `candidate u32, slot u32` each |
//! | 5 exclude | `candidate u32` each |
//! | 6 column | one field: scope 0 item, 1 user, 2 context; type 0 number `f32[n]`, 1 string `offset u32[n + 1]`, 2 tokens `start u32[n + 1], offset u32[m + 1]`, 3 time `i64[n]`; n is the number of candidates for items, else 1 |
//! | 7 offer | an offer is asked for as well: [`OfferAsked`] |
//!
//! A column names its field by [`crate::program::field_id`], so a client may send more or fewer fields than a bundle
//! reads while two bundles roll out: unknown columns are passed over, absent ones are missing.

use alloc::vec::Vec;

use crate::campaign;
use crate::message::{MessageKind, MessageView};
use crate::program::{FieldType, MAX_TOKENS, Scope};
use crate::read::Reader;
use crate::terms::MAX_CAMPAIGNS;
use crate::{DecodeError, F32s, I64s, U32s};

/// The frame of a request.
pub const KIND: MessageKind = MessageKind { magic: *b"SVRQ", version: 1, fixed_len: 48, place: "request" };
/// Block tag of the candidate ids.
pub const IDS: u16 = 1;
/// Block tag of the strings.
pub const HEAP: u16 = 2;
/// Block tag of the user state.
pub const STATE: u16 = 3;
/// Block tag of the pins.
pub const PINS: u16 = 4;
/// Block tag of the exclusions.
pub const EXCLUDE: u16 = 5;
/// Block tag of a column.
pub const COLUMN: u16 = 6;
/// Block tag of the question for an offer.
pub const OFFER: u16 = 7;
/// Bytes before the budgets of the question for an offer.
pub const OFFER_LEN: usize = 40;
/// Flag bit: the draw is given. Without it the answer is a preview.
pub const OFFER_DRAWN: u32 = 1;
/// The price of a budget that nothing may be spent from.
pub const NO_PRICE: u64 = u64::MAX;
/// Most budgets that a question for an offer names: as many as a bundle may have.
pub const MAX_BUDGETS: usize = campaign::MAX_BUDGETS;
/// Most counts of a question for an offer: every cap of every campaign.
pub const MAX_COUNTS: usize = MAX_CAMPAIGNS * campaign::MAX_CAPS;
/// Latest time accepted: the end of the year 9999.
pub const MAX_TIME_MS: i64 = 253_402_300_799_999;

/// Sizes above which a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Bytes of a whole request.
    pub bytes: usize,
    /// Bytes of its user state.
    pub state_bytes: usize,
}

/// A validated request.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// Identity; also seeds every draw.
    pub request_id: [u8; 16],
    /// When the decision is made, milliseconds since 1970-01-01 UTC.
    pub time_ms: i64,
    /// The user's offset from UTC in minutes.
    pub utc_offset_min: i32,
    /// Number of candidates.
    pub candidates: usize,
    /// Slots wanted; 0 leaves it to the bundle.
    pub slate_size: u32,
    /// Contributions wanted per slot.
    pub reasons: u32,
    /// Ids of the candidates.
    pub ids: Strings<'a>,
    /// The user state's bytes, not yet validated.
    pub state: &'a [u8],
    /// Candidate and slot, alternating.
    pub pins: U32s<'a>,
    /// Candidates that must not appear.
    pub exclude: U32s<'a>,
    /// The question for an offer, if it is asked.
    pub offer: Option<OfferAsked<'a>>,
    message: MessageView<'a>,
    heap: &'a [u8],
}

/// Strings of a column: ranges of the heap.
#[derive(Clone, Copy, Debug, Default)]
pub struct Strings<'a> {
    offsets: U32s<'a>,
    heap: &'a [u8],
}

/// Token lists of a column.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenLists<'a> {
    starts: U32s<'a>,
    tokens: Strings<'a>,
}

/// Values of one field.
#[derive(Clone, Copy, Debug)]
pub enum Column<'a> {
    /// NaN is missing.
    Number(F32s<'a>),
    /// Empty is missing.
    String(Strings<'a>),
    /// Lists of words.
    Tokens(TokenLists<'a>),
    /// The smallest value is missing.
    Time(I64s<'a>),
}

impl<'a> RequestView<'a> {
    /// Validates `bytes`. The user state inside is validated by [`crate::state::StateView::parse`].
    ///
    /// # Errors
    /// Any deviation from the layout, or a size above `limits`.
    pub fn parse(bytes: &'a [u8], limits: RequestLimits) -> Result<Self, DecodeError> {
        if bytes.len() > limits.bytes {
            return Err(DecodeError::too_large("request bytes", limits.bytes as u64, bytes.len() as u64));
        }
        let message = MessageView::parse(bytes, KIND, |tag| (IDS..=OFFER).contains(&tag))?;
        let mut fixed = Reader::new(message.fixed, "request");
        let request_id = crate::read::fixed(fixed.take(16)?);
        let time_ms = fixed.u64()? as i64;
        let utc_offset_min = fixed.u32()? as i32;
        let candidates = fixed.u32()? as usize;
        let (slate_size, reasons) = (fixed.u32()?, fixed.u32()?);
        if !(0..=MAX_TIME_MS).contains(&time_ms) {
            return Err(DecodeError::invalid("request time", 32));
        }
        // The world's clocks lie between UTC-12 and UTC+14; a day is a generous bound.
        if !(-1440..=1440).contains(&utc_offset_min) {
            return Err(DecodeError::invalid("request utc offset", 40));
        }
        if fixed.u64()? != 0 {
            return Err(DecodeError::invalid("request reserved field", 56));
        }
        let (mut ids, mut heap, mut state, mut pins, mut exclude, mut offer) = (None, None, None, None, None, None);
        for (index, (header, block)) in message.blocks().enumerate() {
            let place = match header.tag {
                IDS => &mut ids,
                HEAP => &mut heap,
                STATE => &mut state,
                PINS => &mut pins,
                EXCLUDE => &mut exclude,
                OFFER => &mut offer,
                COLUMN => {
                    if message.position(COLUMN, header.field) != Some(index) {
                        return Err(DecodeError::invalid("request column sent twice", index));
                    }
                    continue;
                }
                _ => continue,
            };
            if !header.is_plain() {
                return Err(DecodeError::invalid("request block header", index));
            }
            if place.replace(block).is_some() {
                return Err(DecodeError::invalid("request block sent twice", index));
            }
        }
        let heap = heap.ok_or(DecodeError::invalid("request without a heap block", 0))?;
        let ids = ids.ok_or(DecodeError::invalid("request without an ids block", 0))?;
        let ids = Strings::parse(ids, candidates, heap, "request ids")?;
        let state = state.unwrap_or_default();
        if state.len() > limits.state_bytes {
            return Err(DecodeError::too_large("user state bytes", limits.state_bytes as u64, state.len() as u64));
        }
        let (pins, exclude) = (pins.unwrap_or_default(), exclude.unwrap_or_default());
        let in_range = |candidate: u32| (candidate as usize) < candidates;
        if !pins.len().is_multiple_of(8) || !U32s::new(pins).iter().step_by(2).all(in_range) {
            return Err(DecodeError::invalid("request pins", 0));
        }
        if !exclude.len().is_multiple_of(4) || !U32s::new(exclude).iter().all(in_range) {
            return Err(DecodeError::invalid("request exclusions", 0));
        }
        let offer = offer.map(OfferAsked::parse).transpose()?;
        let view = Self {
            request_id,
            time_ms,
            utc_offset_min,
            candidates,
            slate_size,
            reasons,
            ids,
            state,
            pins: U32s::new(pins),
            exclude: U32s::new(exclude),
            offer,
            message,
            heap,
        };
        // Columns may not share strings: the work of hashing them is bounded by the length of the request.
        let mut left = heap.len() - ids.span();
        for (header, block) in message.blocks().filter(|(header, _)| header.tag == COLUMN) {
            let span = match view.read_column(header.scope, header.ty, block)? {
                Column::String(strings) => strings.span(),
                Column::Tokens(lists) => lists.tokens.span(),
                Column::Number(_) | Column::Time(_) => 0,
            };
            left = left.checked_sub(span).ok_or(DecodeError::invalid("request strings that overlap", 0))?;
        }
        Ok(view)
    }

    /// The column of a field.
    ///
    /// # Errors
    /// The request carries the field with another type or scope.
    pub fn column(&self, field: u64, scope: Scope, ty: FieldType) -> Result<Option<Column<'a>>, DecodeError> {
        let position = self.message.position(COLUMN, field);
        let Some((header, block)) = position.and_then(|position| self.message.get(position)) else { return Ok(None) };
        if header.scope != scope_code(scope) || header.ty != type_code(ty) {
            return Err(DecodeError::invalid("request column of another type or scope than the bundle's field", 0));
        }
        self.read_column(header.scope, header.ty, block).map(Some)
    }

    fn read_column(&self, scope: u8, ty: u8, block: &'a [u8]) -> Result<Column<'a>, DecodeError> {
        let rows = match scope {
            0 => self.candidates,
            1 | 2 => 1,
            _ => return Err(DecodeError::invalid("request column scope", 0)),
        };
        let place = "request column";
        let mut reader = Reader::new(block, place);
        match ty {
            0 => {
                let values = F32s::new(reader.array(rows, 4)?);
                reader.finish()?;
                Ok(Column::Number(values))
            }
            1 => Strings::parse(block, rows, self.heap, place).map(Column::String),
            2 => {
                let starts = U32s::new(reader.array(rows.saturating_add(1), 4)?);
                let tokens = reader.remaining() / 4;
                let offsets = reader.take(reader.remaining())?;
                let tokens = tokens.checked_sub(1).ok_or(DecodeError::invalid(place, 0))?;
                let tokens_column = Strings::parse(offsets, tokens, self.heap, place)?;
                let short = starts
                    .iter()
                    .zip(starts.iter().skip(1))
                    .all(|(start, end)| end.saturating_sub(start) as usize <= MAX_TOKENS);
                if ascends(starts) && short && starts.get(rows) as usize == tokens {
                    Ok(Column::Tokens(TokenLists { starts, tokens: tokens_column }))
                } else {
                    Err(DecodeError::invalid(place, 0))
                }
            }
            3 => {
                let values = I64s::new(reader.array(rows, 8)?);
                reader.finish()?;
                Ok(Column::Time(values))
            }
            _ => Err(DecodeError::invalid("request column type", 0)),
        }
    }
}

/// The question for an offer.
///
/// `campaign u64 (0: the first that the user is eligible for), draw [16], flags u32, budgets u32, counts u32, zero u32`,
/// then per budget, ascending, `key u64, price u64 (millionths), left u64 (minor units)`, then per count
/// `campaign u64, cap u32, count u32`.
#[derive(Clone, Copy, Debug)]
pub struct OfferAsked<'a> {
    /// Key of the campaign; 0 is the first that the user is eligible for.
    pub campaign: u64,
    /// A keyed hash of user, campaign and epoch, which decides the hold-out and what is explored; none in a preview.
    pub draw: Option<[u8; 16]>,
    budgets: &'a [u8],
    counts: &'a [u8],
}

/// What a budget is worth now, and what is left of it where an offer would be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetNow {
    /// Key of the budget's name.
    pub key: u64,
    /// What a unit of cost must bring, in millionths; [`NO_PRICE`] where nothing may be spent.
    pub price_micros: u64,
    /// What can be reserved, in minor units.
    pub left: u64,
}

/// How many offers a cap has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapCount {
    /// Key of the campaign.
    pub campaign: u64,
    /// Position of the cap in it.
    pub cap: u32,
    /// Offers in its period.
    pub count: u32,
}

const BUDGET_LEN: usize = 24;
const COUNT_LEN: usize = 16;

impl<'a> OfferAsked<'a> {
    fn parse(block: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(block, "request offer");
        let campaign = reader.u64()?;
        let draw = crate::read::fixed(reader.take(16)?);
        let flags = reader.u32()?;
        let (budgets, counts) = (reader.u32()? as usize, reader.u32()? as usize);
        let zero = reader.u32()?;
        // Every campaign looks through both lists, so their length is a bound of the work.
        for (place, found, limit) in
            [("request offer budgets", budgets, MAX_BUDGETS), ("request offer counts", counts, MAX_COUNTS)]
        {
            if found > limit {
                return Err(DecodeError::too_large(place, limit as u64, found as u64));
            }
        }
        let asked = Self {
            campaign,
            draw: (flags == OFFER_DRAWN).then_some(draw),
            budgets: reader.array(budgets, BUDGET_LEN)?,
            counts: reader.array(counts, COUNT_LEN)?,
        };
        reader.finish()?;
        let drawn = asked.draw.is_some() || (flags == 0 && draw == [0; 16]);
        let ascending = asked.budgets().zip(asked.budgets().skip(1)).all(|(one, next)| one.key < next.key);
        if drawn && zero == 0 && ascending { Ok(asked) } else { Err(DecodeError::invalid("request offer", 0)) }
    }

    /// Budgets, ascending by key.
    pub fn budgets(&self) -> impl Iterator<Item = BudgetNow> + use<'a> {
        self.budgets.chunks_exact(BUDGET_LEN).map(|bytes| {
            let word = |at: usize| u64::from_le_bytes(crate::read::fixed(&bytes[at..at + 8]));
            BudgetNow { key: word(0), price_micros: word(8), left: word(16) }
        })
    }

    /// Counts of caps.
    pub fn counts(&self) -> impl Iterator<Item = CapCount> + use<'a> {
        self.counts.chunks_exact(COUNT_LEN).map(|bytes| {
            let word = |at: usize| u32::from_le_bytes(crate::read::fixed(&bytes[at..at + 4]));
            let campaign = u64::from_le_bytes(crate::read::fixed(&bytes[..8]));
            CapCount { campaign, cap: word(8), count: word(12) }
        })
    }

    /// The block's bytes.
    #[must_use]
    pub fn encode(campaign: u64, draw: Option<[u8; 16]>, budgets: &[BudgetNow], counts: &[CapCount]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(OFFER_LEN + budgets.len() * BUDGET_LEN + counts.len() * COUNT_LEN);
        bytes.extend_from_slice(&campaign.to_le_bytes());
        bytes.extend_from_slice(&draw.unwrap_or_default());
        let flags = if draw.is_some() { OFFER_DRAWN } else { 0 };
        for word in [flags, budgets.len() as u32, counts.len() as u32, 0] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        for budget in budgets {
            bytes.extend([budget.key, budget.price_micros, budget.left].iter().flat_map(|word| word.to_le_bytes()));
        }
        for count in counts {
            bytes.extend_from_slice(&count.campaign.to_le_bytes());
            bytes.extend([count.cap, count.count].iter().flat_map(|word| word.to_le_bytes()));
        }
        bytes
    }
}

/// Code of a scope in a column's header.
#[must_use]
pub const fn scope_code(scope: Scope) -> u8 {
    match scope {
        Scope::Item => 0,
        Scope::User => 1,
        Scope::Context => 2,
    }
}

/// Code of a type in a column's header.
#[must_use]
pub const fn type_code(ty: FieldType) -> u8 {
    match ty {
        FieldType::Number => 0,
        FieldType::String => 1,
        FieldType::Tokens => 2,
        FieldType::Time => 3,
    }
}

fn ascends(offsets: U32s<'_>) -> bool {
    let mut previous = 0;
    offsets.iter().all(|offset| core::mem::replace(&mut previous, offset) <= offset)
}

impl<'a> Strings<'a> {
    fn parse(offsets: &'a [u8], rows: usize, heap: &'a [u8], place: &'static str) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(offsets, place);
        let offsets = U32s::new(reader.array(rows.saturating_add(1), 4)?);
        reader.finish()?;
        if ascends(offsets) && offsets.get(rows) as usize <= heap.len() {
            Ok(Self { offsets, heap })
        } else {
            Err(DecodeError::invalid(place, 0))
        }
    }

    /// Bytes of the heap from the first string to the last.
    fn span(&self) -> usize {
        (self.offsets.get(self.len()) - self.offsets.get(0)) as usize
    }

    /// Number of strings.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// String `index`, which must be below [`len`](Self::len).
    #[must_use]
    pub fn get(&self, index: usize) -> &'a [u8] {
        self.heap.get(self.offsets.get(index) as usize..self.offsets.get(index + 1) as usize).unwrap_or(&[])
    }
}

impl<'a> TokenLists<'a> {
    /// Words of row `index`.
    pub fn get(&self, index: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let tokens = self.tokens;
        (self.starts.get(index) as usize..self.starts.get(index + 1) as usize).map(move |token| tokens.get(token))
    }
}
