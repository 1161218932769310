//! Requests and decisions as JSON documents, for the HTTP API and the command line.
//!
//! A request document:
//!
//! ```json
//! {
//!   "request_id": "8f14e45fceea167a5a36dedd4bea2543",
//!   "time": "2026-11-23T18:30:00+01:00",
//!   "utc_offset_min": 60,
//!   "slate_size": 10,
//!   "reasons": 3,
//!   "user": {"fields": {"home_store": "12"}},
//!   "state": "U1ZVUwEAAAAMAAAA",
//!   "context": {"query": ["fresh", "milk"]},
//!   "candidates": [{"id": "123", "price": 1.2, "brand": "acme", "name": ["whole", "milk"]}],
//!   "pins": [{"id": "123", "slot": 0}],
//!   "exclude": ["456"],
//!   "offer": {"campaign": "spring", "budgets": {"shop": {"price": 1.5, "left": 20000}}}
//! }
//! ```
//!
//! | member | value | if absent |
//! |---|---|---|
//! | `request_id` | 32 hexadecimal digits, a UUID, or any other string, which is hashed | a hash of the document |
//! | `time` | RFC 3339, or milliseconds since 1970-01-01 UTC | refused: a decision knows no clock |
//! | `utc_offset_min` | the user's offset from UTC in minutes | that of `time`, else 0 |
//! | `slate_size`, `reasons` | slots, and contributions per slot, that are wanted | the bundle's size, and none |
//! | `user.fields`, `context` | values by field name | missing |
//! | `state` | the user state in base64 | an unknown user |
//! | `candidates` | objects with a string `id` and values by field name | refused |
//! | `pins` | an `id`, or a `candidate` by position, and the `slot` that it takes; all count from 0 | none |
//! | `exclude` | ids; those that are no candidate's change nothing | none |
//! | `offer` | an offer is asked for, of this campaign | not asked for |
//! | `offer.campaign` | name of the campaign | the first that the user is eligible for |
//! | `offer.draw` | 32 hexadecimal digits: the keyed hash of user, campaign and epoch | the answer is a preview |
//! | `offer.budgets` | by name, at most 64, `price` (`null`: nothing may be spent) and, unless there is enough, `left` in minor units | the bundle's highest price, and enough |
//! | `offer.counts` | offers that a cap has counted, at most 512: `campaign`, `cap` by position, `count` | none |
//!
//! The bundle's feature program says which fields there are and of which type: a number, a string, a list of strings
//! for tokens, and for a time what `time` may be. `null` is missing. Nothing is converted: a store number where a
//! string is declared is an error that names the place, because `7` and `"7"` would count as different stores. Fields
//! that the program does not have are passed over, since a client may know more than this bundle reads, and listed in
//! [`Request::ignored`], since it may also be a typing error.
//!
//! Nothing here decides anything: the module makes the bytes that every face sends, and reads those that come back.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{Range, RangeInclusive};

use selvedge_format::decision::{DecisionView, OfferView, arm, rule};
use selvedge_format::meta::MetaV1;
use selvedge_format::program::{FieldType, ProgramV1, Scope, field_id};
use selvedge_format::request::{BudgetNow, CapCount, MAX_BUDGETS, MAX_COUNTS, MAX_TIME_MS, NO_PRICE};
use selvedge_format::terms::TermsV1;
use selvedge_format::{ErrorCode, key};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::{RequestBuilder, Values};

/// A request document, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The columnar request.
    pub bytes: Vec<u8>,
    /// Ids of the candidates, in the order of the document.
    pub ids: Vec<String>,
    /// Fields in the document that the program does not have, as `scope.name`, in alphabetical order.
    pub ignored: Vec<String>,
}

/// A document was refused: where, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    path: String,
    kind: JsonErrorKind,
}

/// Why a document was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonErrorKind {
    /// Not JSON, a member that requests do not have, or one that occurs twice; with line and column.
    Document {
        /// What the parser says.
        message: String,
    },
    /// A value of another type, or out of range.
    Value {
        /// What belongs there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// The id of no candidate.
    UnknownCandidate {
        /// The id.
        id: String,
    },
}

impl JsonError {
    fn value(expected: &'static str, found: &Value) -> Self {
        let found = match found {
            Value::Null => "null".into(),
            Value::Bool(value) => format!("{value}"),
            Value::Number(value) => format!("the number {value}"),
            Value::String(value) => {
                // Enough to recognise it; a hostile string must not fill the log.
                let shown: String = value.chars().take(40).collect();
                let more = if shown.len() < value.len() { "..." } else { "" };
                format!("the string {shown:?}{more}")
            }
            Value::Array(_) => "a list".into(),
            Value::Object(_) => "an object".into(),
        };
        Self { path: String::new(), kind: JsonErrorKind::Value { expected, found } }
    }

    fn absent(path: &str, expected: &'static str) -> Self {
        Self { path: path.into(), kind: JsonErrorKind::Value { expected, found: "nothing".into() } }
    }

    fn document(error: &serde_json::Error) -> Self {
        Self { path: String::new(), kind: JsonErrorKind::Document { message: error.to_string() } }
    }

    /// Puts what the value was found in before its path.
    fn within(mut self, outer: impl fmt::Display) -> Self {
        self.path = format!("{outer}{}", self.path);
        self
    }

    /// The value that was refused, for example `candidates[3].price`; empty for the document.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Why.
    #[must_use]
    pub const fn kind(&self) -> &JsonErrorKind {
        &self.kind
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.path.is_empty() { "request" } else { &self.path })?;
        match &self.kind {
            JsonErrorKind::Document { message } => write!(f, ": {message}"),
            JsonErrorKind::Value { expected, found } => write!(f, ": expected {expected}, found {found}"),
            JsonErrorKind::UnknownCandidate { id } => write!(f, ": no candidate has the id {id:?}"),
        }
    }
}

impl std::error::Error for JsonError {}

/// Members of an object. A repeated one is an error: which of the two would count?
#[derive(Debug, Default)]
struct Object(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let (mut members, mut names) = (Vec::new(), BTreeSet::new());
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format_args!("duplicate field `{name}`")));
                    }
                    members.push((name, value));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    request_id: Option<Value>,
    time: Option<Value>,
    utc_offset_min: Option<Value>,
    slate_size: Option<Value>,
    reasons: Option<Value>,
    #[serde(default)]
    user: User,
    state: Option<Value>,
    #[serde(default)]
    context: Object,
    candidates: Option<Vec<Object>>,
    #[serde(default)]
    pins: Vec<Pin>,
    #[serde(default)]
    exclude: Vec<Value>,
    offer: Option<OfferDocument>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    #[serde(default)]
    fields: Object,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    id: Option<String>,
    candidate: Option<u32>,
    slot: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfferDocument {
    campaign: Option<String>,
    draw: Option<Value>,
    #[serde(default)]
    budgets: BTreeMap<String, BudgetDocument>,
    #[serde(default)]
    counts: Vec<CountDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BudgetDocument {
    /// Not an option: `null` says that nothing may be spent, which nobody should say by leaving it out.
    price: Value,
    left: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CountDocument {
    campaign: String,
    cap: u32,
    count: u32,
}

/// Reads a request document for a bundle with this program.
///
/// ```
/// use selvedge_format::program::{FieldType, FieldV1, ProgramV1, Scope, field_id};
///
/// let price = FieldV1 { id: field_id(Scope::Item, "price"), scope: Scope::Item, ty: FieldType::Number };
/// let program =
///     ProgramV1 { fields: vec![price], user_tables: vec![], global_tables: vec![], history_events: 0, features: vec![] };
/// let text = r#"{"time": 0, "candidates": [{"id": "a", "price": 1.5}, {"id": "b", "price": "cheap"}]}"#;
/// let error = selvedge_wire::json::request(text.as_bytes(), &program).unwrap_err();
/// assert_eq!(error.to_string(), r#"candidates[1].price: expected a number, found the string "cheap""#);
/// ```
///
/// # Errors
/// The document is not JSON, has members that requests do not have, or a value that does not fit its place.
pub fn request(text: &[u8], program: &ProgramV1) -> Result<Request, JsonError> {
    request_of_user(text, program, &[])
}

/// Reads a request document, for a user whose state is known here: it is taken unless the document brings one.
///
/// # Errors
/// As [`request`].
pub fn request_of_user(text: &[u8], program: &ProgramV1, known_state: &[u8]) -> Result<Request, JsonError> {
    let (builder, ids, ignored) = read(text, program, known_state)?;
    Ok(Request { bytes: builder.build(), ids, ignored })
}

/// Reads a request document as [`request_of_user`], to be added to.
///
/// # Errors
/// As [`request`].
pub fn builder_of_user(text: &[u8], program: &ProgramV1, known_state: &[u8]) -> Result<RequestBuilder, JsonError> {
    Ok(read(text, program, known_state)?.0)
}

/// A request before it is built, the ids of its candidates, and the fields that were passed over.
type Parts = (RequestBuilder, Vec<String>, Vec<String>);

fn read(text: &[u8], program: &ProgramV1, known_state: &[u8]) -> Result<Parts, JsonError> {
    let document: Document = serde_json::from_slice(text).map_err(|error| JsonError::document(&error))?;
    let request_id = match &document.request_id {
        None | Some(Value::Null) => hashed_id(text),
        Some(Value::String(name)) => hexadecimal_id(name).unwrap_or_else(|| hashed_id(name.as_bytes())),
        Some(other) => return Err(JsonError::value("a string", other).within("request_id")),
    };
    let time = document.time.as_ref().ok_or(JsonError::absent("time", TIME))?;
    let (time_ms, offset) = moment(time)
        .and_then(|moment| {
            let in_range = (0..=MAX_TIME_MS).contains(&moment.0);
            if in_range { Ok(moment) } else { Err(JsonError::value("a time from 1970 to 9999", time)) }
        })
        .map_err(|error| error.within("time"))?;
    let candidates = document.candidates.as_ref().ok_or(JsonError::absent("candidates", "a list of objects"))?;
    let ids = candidates.iter().enumerate().map(candidate_id).collect::<Result<Vec<_>, _>>()?;

    let mut fields = Fields::new(program);
    let (mut items, mut user, mut context) =
        (Table::new(Scope::Item, ids.len()), Table::new(Scope::User, 1), Table::new(Scope::Context, 1));
    for (row, candidate) in candidates.iter().enumerate() {
        for (name, value) in candidate.0.iter().filter(|(name, _)| name != ID) {
            items
                .set(&mut fields, row, name, value)
                .map_err(|error| error.within(format_args!("candidates[{row}]")))?;
        }
    }
    for (table, values, path) in
        [(&mut user, &document.user.fields, "user.fields"), (&mut context, &document.context, "context")]
    {
        for (name, value) in &values.0 {
            table.set(&mut fields, 0, name, value).map_err(|error| error.within(path))?;
        }
    }

    let offset = integer(document.utc_offset_min.as_ref(), "utc_offset_min", OFFSET, offset)?;
    let mut builder = RequestBuilder::new(request_id, time_ms, ids.iter().copied())
        .utc_offset_min(offset)
        .state(known_state)
        .slate_size(integer(document.slate_size.as_ref(), "slate_size", COUNT, 0)?)
        .reasons(integer(document.reasons.as_ref(), "reasons", COUNT, 0)?);
    if let Some(state) = document.state.as_ref().filter(|state| !state.is_null()) {
        let bytes = state.as_str().and_then(base64);
        builder = builder.state(&bytes.ok_or_else(|| JsonError::value("base64", state).within("state"))?);
    }
    for table in [items, user, context] {
        builder = table.write(builder);
    }
    builder = place_pins(builder, &document.pins, &ids)?;
    builder = place_exclusions(builder, &document.exclude, &ids)?;
    if let Some(offer) = &document.offer {
        builder = ask_for_offer(builder, offer).map_err(|error| error.within("offer"))?;
    }
    Ok((builder, ids.into_iter().map(Into::into).collect(), fields.ignored.into_iter().collect()))
}

/// Member of a candidate that is not a field.
const ID: &str = "id";
const COUNT: (RangeInclusive<i64>, &str) = (0..=u32::MAX as i64, "a whole number from 0 to 4294967295");
const OFFSET: (RangeInclusive<i64>, &str) = (-1440..=1440, "minutes from -1440 to 1440");
const TIME: &str = "a time as RFC 3339 or in milliseconds since 1970";

fn candidate_id((row, candidate): (usize, &Object)) -> Result<&str, JsonError> {
    const EXPECTED: &str = "a string that is not empty";
    let path = || format!("candidates[{row}].id");
    let value = candidate.0.iter().find(|(name, _)| name == ID).map(|(_, value)| value);
    let value = value.ok_or_else(|| JsonError::absent(&path(), EXPECTED))?;
    value.as_str().filter(|id| !id.is_empty()).ok_or_else(|| JsonError::value(EXPECTED, value).within(path()))
}

fn integer<T: TryFrom<i64>>(
    value: Option<&Value>,
    path: &str,
    (range, expected): (RangeInclusive<i64>, &'static str),
    absent: T,
) -> Result<T, JsonError> {
    match value {
        None | Some(Value::Null) => Ok(absent),
        Some(value) => value
            .as_i64()
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| JsonError::value(expected, value).within(path)),
    }
}

fn place_pins(mut builder: RequestBuilder, pins: &[Pin], ids: &[&str]) -> Result<RequestBuilder, JsonError> {
    for (at, pin) in pins.iter().enumerate() {
        let candidate = match (&pin.id, pin.candidate) {
            (Some(id), None) => {
                let unknown = || JsonError {
                    path: format!("pins[{at}].id"),
                    kind: JsonErrorKind::UnknownCandidate { id: id.clone() },
                };
                ids.iter().position(|other| other == id).ok_or_else(unknown)? as u32
            }
            (None, Some(candidate)) if (candidate as usize) < ids.len() => candidate,
            (None, Some(candidate)) => {
                let error = JsonError::value("the position of a candidate", &Value::from(candidate));
                return Err(error.within(format_args!("pins[{at}].candidate")));
            }
            (None, None) | (Some(_), Some(_)) => {
                return Err(JsonError::absent(&format!("pins[{at}]"), "either `id` or `candidate`"));
            }
        };
        builder = builder.pin(candidate, pin.slot);
    }
    Ok(builder)
}

fn place_exclusions(mut builder: RequestBuilder, exclude: &[Value], ids: &[&str]) -> Result<RequestBuilder, JsonError> {
    let mut excluded = BTreeSet::new();
    for (at, value) in exclude.iter().enumerate() {
        let id = value.as_str();
        excluded.insert(id.ok_or_else(|| JsonError::value("a string", value).within(format_args!("exclude[{at}]")))?);
    }
    for candidate in (0..ids.len()).filter(|candidate| excluded.contains(ids[*candidate])) {
        builder = builder.exclude(candidate as u32);
    }
    Ok(builder)
}

fn ask_for_offer(builder: RequestBuilder, offer: &OfferDocument) -> Result<RequestBuilder, JsonError> {
    const DRAW: &str = "32 hexadecimal digits";
    let draw = match offer.draw.as_ref().filter(|draw| !draw.is_null()) {
        None => None,
        Some(draw) => {
            let bytes = draw.as_str().and_then(hexadecimal_id);
            Some(bytes.ok_or_else(|| JsonError::value(DRAW, draw).within(".draw"))?)
        }
    };
    at_most(offer.budgets.len(), MAX_BUDGETS, "at most 64 budgets", ".budgets")?;
    at_most(offer.counts.len(), MAX_COUNTS, "at most 512 counts", ".counts")?;
    let mut budgets = Vec::with_capacity(offer.budgets.len());
    for (name, budget) in &offer.budgets {
        let within = |error: JsonError, member: &str| error.within(format_args!(".budgets.{name}.{member}"));
        let price_micros = match &budget.price {
            Value::Null => NO_PRICE,
            price => {
                let number = price.as_f64().filter(|number| (0.0..=1e9).contains(number));
                let number = number.ok_or_else(|| JsonError::value("a number from 0 to 1e9", price));
                (number.map_err(|error| within(error, "price"))? * 1e6).round() as u64
            }
        };
        let left = match &budget.left {
            None | Some(Value::Null) => u64::MAX,
            Some(left) => {
                let wrong = || JsonError::value("minor units, a whole number not below 0", left);
                left.as_u64().ok_or_else(wrong).map_err(|error| within(error, "left"))?
            }
        };
        // In order as they come: the standard library's sort is 2 KB of a module, and these are few.
        let budget = BudgetNow { key: key(name.as_bytes()), price_micros, left };
        budgets.insert(budgets.partition_point(|known: &BudgetNow| known.key <= budget.key), budget);
    }
    let count = |count: &CountDocument| CapCount {
        campaign: key(count.campaign.as_bytes()),
        cap: count.cap,
        count: count.count,
    };
    let counts: Vec<CapCount> = offer.counts.iter().map(count).collect();
    let campaign = key(offer.campaign.as_deref().unwrap_or_default().as_bytes());
    Ok(builder.offer(campaign, draw, &budgets, &counts))
}

fn at_most(found: usize, most: usize, expected: &'static str, path: &str) -> Result<(), JsonError> {
    if found <= most {
        return Ok(());
    }
    let kind = JsonErrorKind::Value { expected, found: format!("{found} of them") };
    Err(JsonError { path: path.into(), kind })
}

/// Types of the program's fields, and the names that it does not have.
struct Fields {
    types: BTreeMap<u64, FieldType>,
    ignored: BTreeSet<String>,
}

impl Fields {
    fn new(program: &ProgramV1) -> Self {
        let mut types = BTreeMap::new();
        // One by one: a map that is collected is sorted first, and that sort is 2 KB of a module.
        types.extend(program.fields.iter().map(|field| (field.id, field.ty)));
        Self { types, ignored: BTreeSet::new() }
    }

    fn find(&mut self, scope: Scope, name: &str) -> Option<FieldType> {
        let ty = self.types.get(&field_id(scope, name)).copied();
        if ty.is_none() {
            let scope = match scope {
                Scope::Item => "item",
                Scope::User => "user",
                Scope::Context => "context",
            };
            self.ignored.insert(format!("{scope}.{name}"));
        }
        ty
    }
}

/// The columns of one scope while they are collected. `None` is a name that the program does not have.
struct Table<'d> {
    scope: Scope,
    rows: usize,
    columns: BTreeMap<&'d str, Option<Cells<'d>>>,
}

enum Cells<'d> {
    Numbers(Vec<f32>),
    Strings(Vec<&'d str>),
    Tokens(Vec<Vec<&'d str>>),
    Times(Vec<i64>),
}

impl<'d> Table<'d> {
    const fn new(scope: Scope, rows: usize) -> Self {
        Self { scope, rows, columns: BTreeMap::new() }
    }

    fn set(&mut self, fields: &mut Fields, row: usize, name: &'d str, value: &'d Value) -> Result<(), JsonError> {
        let (scope, rows) = (self.scope, self.rows);
        let column = self.columns.entry(name).or_insert_with(|| {
            fields.find(scope, name).map(|ty| match ty {
                FieldType::Number => Cells::Numbers(vec![f32::NAN; rows]),
                FieldType::String => Cells::Strings(vec![""; rows]),
                FieldType::Tokens => Cells::Tokens(vec![Vec::new(); rows]),
                FieldType::Time => Cells::Times(vec![i64::MIN; rows]),
            })
        });
        match column {
            Some(cells) => cells.set(row, value).map_err(|error| error.within(format_args!(".{name}"))),
            None => Ok(()),
        }
    }

    fn write(self, mut builder: RequestBuilder) -> RequestBuilder {
        for (name, cells) in self.columns {
            let Some(cells) = cells else { continue };
            let lists: Vec<&[&str]>;
            let values = match &cells {
                Cells::Numbers(values) => Values::Numbers(values),
                Cells::Strings(values) => Values::Strings(values),
                Cells::Times(values) => Values::Times(values),
                Cells::Tokens(values) => {
                    lists = values.iter().map(Vec::as_slice).collect();
                    Values::Tokens(&lists)
                }
            };
            builder = builder.column(self.scope, name, values);
        }
        builder
    }
}

impl<'d> Cells<'d> {
    fn set(&mut self, row: usize, value: &'d Value) -> Result<(), JsonError> {
        if value.is_null() {
            return Ok(());
        }
        match self {
            Self::Numbers(cells) => {
                let number = value.as_f64().ok_or_else(|| JsonError::value("a number", value))? as f32;
                if !number.is_finite() {
                    return Err(JsonError::value("a number within +-3.4e38", value));
                }
                cells[row] = number;
            }
            Self::Strings(cells) => {
                cells[row] = value.as_str().ok_or_else(|| JsonError::value("a string", value))?;
            }
            Self::Tokens(cells) => {
                let list = value.as_array().ok_or_else(|| JsonError::value("a list of strings", value))?;
                for (at, token) in list.iter().enumerate() {
                    let wrong = || JsonError::value("a string", token).within(format_args!("[{at}]"));
                    cells[row].push(token.as_str().ok_or_else(wrong)?);
                }
            }
            Self::Times(cells) => cells[row] = moment(value)?.0,
        }
        Ok(())
    }
}

/// Milliseconds since 1970, and the offset from UTC in minutes where the text has one.
fn moment(value: &Value) -> Result<(i64, i32), JsonError> {
    let moment = match value {
        Value::Number(number) => number.as_i64().map(|time| (time, 0)),
        Value::String(text) => rfc3339(text),
        _ => None,
    };
    moment.ok_or_else(|| JsonError::value(TIME, value))
}

/// `2026-11-23T18:30:00.250+01:00`: milliseconds since 1970-01-01 UTC, and the offset in minutes.
fn rfc3339(text: &str) -> Option<(i64, i32)> {
    let digits = |range: Range<usize>| {
        let text = text.get(range)?;
        let all = text.bytes().all(|byte| byte.is_ascii_digit());
        if all { text.parse::<i64>().ok() } else { None }
    };
    let bytes = text.as_bytes();
    let punctuation = [(4, b"-"), (7, b"-"), (13, b":"), (16, b":")];
    let is_framed = punctuation.iter().all(|(at, byte)| bytes.get(*at) == Some(&byte[0]))
        && bytes.get(10).is_some_and(|byte| b"Tt ".contains(byte));
    if !is_framed {
        return None;
    }
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    let (hour, minute, second) = (digits(11..13)?, digits(14..16)?, digits(17..19)?);
    let fraction = text[19..]
        .strip_prefix('.')
        .map_or("", |rest| &rest[..rest.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len())]);
    if bytes.get(19) == Some(&b'.') && fraction.is_empty() {
        return None;
    }
    let milliseconds: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let zone = 19 + if fraction.is_empty() { 0 } else { 1 + fraction.len() };
    let offset = match bytes.get(zone)? {
        b'Z' | b'z' if bytes.len() == zone + 1 => 0,
        sign @ (b'+' | b'-') if bytes.len() == zone + 6 && bytes[zone + 3] == b':' => {
            let (hours, minutes) = (digits(zone + 1..zone + 3)?, digits(zone + 4..zone + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (if *sign == b'-' { -1 } else { 1 }) * (hours * 60 + minutes)
        }
        _ => return None,
    };
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    // A leap second is the first second of the next minute.
    if !(1..=days_of_month).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = ((days_from_civil(year, month, day) * 24 + hour) * 60 + minute - offset) * 60 + second;
    Some((seconds * 1000 + milliseconds, offset as i32))
}

/// Days since 1970-01-01. Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, era_year) = (year.div_euclid(400), year.rem_euclid(400));
    let year_day = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + era_year * 365 + era_year / 4 - era_year / 100 + year_day - 719_468
}

/// Base64 of RFC 4648, with or without padding. One text per content: bits that no byte uses must be zero.
fn base64(text: &str) -> Option<Vec<u8>> {
    let padding = text.len() - text.trim_end_matches('=').len();
    if padding > 2 || padding > 0 && !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text[..text.len() - padding].bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    // Six bits left over are a digit that belongs to no byte.
    (count < 6 && bits == 0).then_some(bytes)
}

/// 32 hexadecimal digits, hyphens aside.
fn hexadecimal_id(name: &str) -> Option<[u8; 16]> {
    let is_id = name.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let digits = name.replace('-', "");
    let is_id = is_id && digits.len() == 32 && matches!(name.len(), 32 | 36);
    is_id.then(|| u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)).flatten()
}

/// 128 bits of any text: its key, and the key of that key and the text.
fn hashed_id(text: &[u8]) -> [u8; 16] {
    let first = key(text).to_be_bytes();
    let second = key(&[&first, text].concat()).to_be_bytes();
    let mut id = [0; 16];
    id[..8].copy_from_slice(&first);
    id[8..].copy_from_slice(&second);
    id
}

/// A decision, to be shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// The request's identity, hexadecimal.
    pub request_id: String,
    /// `personalized`, `control` or `fallback`.
    pub status: &'static str,
    /// Why it was not personalized; of a personalized one, why the last stages of a cascade did not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Name of the error that made the engine fall back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'static str>,
    /// The bundle that decided, hexadecimal; absent if none was loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle_id: Option<String>,
    /// The shared state it read, hexadecimal; absent if none was loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_state_id: Option<String>,
    /// Number of candidates in the request.
    pub candidates: u32,
    /// Declared cost in units.
    pub cost: u64,
    /// Score of a candidate of which nothing is known; reasons add to it. Absent without reasons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<f32>,
    /// The slate, best first.
    pub slots: Vec<Slot>,
    /// The answer to the question for an offer, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offer: Option<Offer>,
}

/// Which offer is made, if any. For whoever decides: a browser that is to know no scores gets none of this.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Offer {
    /// Name of the campaign; its key where the terms are not known.
    pub campaign: String,
    /// `offered`, `held-out` or `none`.
    pub status: &'static str,
    /// Why nothing is offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Position of the arm; 0 is no offer.
    pub arm: u32,
    /// Name of the offer; absent where none is made, and where the terms are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offer: Option<String>,
    /// The arm with the best score.
    pub best: u32,
    /// Whether this is a preview: nothing was drawn.
    pub preview: bool,
    /// Probability of the arm; `null` in a preview.
    pub propensity: f32,
    /// The epoch for which it holds.
    pub epoch: i64,
    /// What the arms would do and cost, no offer first.
    pub arms: Vec<Arm>,
}

/// What one arm would do and cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Arm {
    /// Chance of a response.
    pub response: f32,
    /// Incremental value, in minor units.
    pub value: f32,
    /// Expected cost, in minor units.
    pub cost: f32,
    /// Value minus the price of the cost.
    pub score: f32,
    /// Why it cannot be offered: `no-budget`, `margin-floor`.
    pub masked: Vec<&'static str>,
}

impl Decision {
    /// Names campaign and offer by the terms of the bundle that decided.
    pub fn name_offer(&mut self, view: &DecisionView<'_>, terms: &TermsV1) {
        let (Some(offer), Some(answer)) = (&mut self.offer, &view.offer) else { return };
        let campaign = terms.campaigns.iter().find(|campaign| key(campaign.campaign.as_bytes()) == answer.campaign);
        let Some(campaign) = campaign else { return };
        offer.campaign.clone_from(&campaign.campaign);
        let arm = (answer.arm as usize).checked_sub(1).and_then(|at| campaign.offers.get(at));
        offer.offer = arm.map(|terms| terms.offer.clone());
    }
}

/// One place in a slate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Slot {
    /// Id of the candidate.
    pub id: String,
    /// Its position in the request, from 0.
    pub candidate: u32,
    /// Its score; `null` where there is none.
    pub score: f32,
    /// Probability that the policy puts it here.
    pub propensity: f32,
    /// Rules that had a say: `pinned`, `diversity`, `at-most`, `explored`.
    pub rules: Vec<&'static str>,
    /// Largest contributions first.
    pub reasons: Vec<Reason>,
}

/// What a feature added to a score.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reason {
    /// Name of the feature; its position in the program where the bundle has no names.
    pub feature: String,
    /// What it added.
    pub effect: f32,
}

/// Describes a decision: `ids` are those of the request's candidates, `names` the bundle's.
///
/// The document is made by any serializer, for example `serde_json::to_string`.
#[must_use]
pub fn decision(view: &DecisionView<'_>, ids: &[String], names: &MetaV1) -> Decision {
    let (status, reason) = view.status.names();
    let slots = (0..view.slots.len()).map(|slot| Slot {
        id: ids.get(view.slots.get(slot) as usize).cloned().unwrap_or_default(),
        candidate: view.slots.get(slot),
        score: view.scores.get(slot),
        propensity: view.propensities.get(slot),
        rules: RULES.iter().filter(|(bit, _)| view.rules.get(slot) & bit != 0).map(|(_, name)| *name).collect(),
        reasons: view.reasons(slot).map(|(feature, effect)| reason_of(feature, effect, names)).collect(),
    });
    Decision {
        request_id: hexadecimal(&view.request_id),
        status,
        reason,
        error: ErrorCode::from_number(view.error).map(ErrorCode::name),
        bundle_id: identity(&view.bundle_id),
        shared_state_id: identity(&view.shared_id),
        candidates: view.candidates,
        cost: view.cost,
        base: (view.contributions > 0).then_some(view.base),
        slots: slots.collect(),
        offer: view.offer.as_ref().map(offer_of),
    }
}

const MASKS: [(u32, &str); 2] = [(arm::NO_BUDGET, "no-budget"), (arm::MARGIN_FLOOR, "margin-floor")];

fn offer_of(view: &OfferView<'_>) -> Offer {
    let (status, reason) = view.status.names();
    let arms = view.arms().map(|parts| Arm {
        response: parts.response,
        value: parts.value,
        cost: parts.cost,
        score: parts.score,
        masked: MASKS.iter().filter(|(bit, _)| parts.masked & bit != 0).map(|(_, name)| *name).collect(),
    });
    Offer {
        campaign: hexadecimal(&view.campaign.to_be_bytes()),
        status,
        reason,
        arm: view.arm,
        offer: None,
        best: view.best,
        preview: !view.drawn,
        propensity: view.propensity,
        epoch: view.epoch,
        arms: arms.collect(),
    }
}

const RULES: [(u32, &str); 4] = [
    (rule::PINNED, "pinned"),
    (rule::DIVERSITY, "diversity"),
    (rule::AT_MOST, "at-most"),
    (rule::EXPLORED, "explored"),
];

fn reason_of(feature: u32, effect: f32, names: &MetaV1) -> Reason {
    let name = names.features.get(feature as usize).map(|feature| feature.name.clone());
    Reason { feature: name.unwrap_or_else(|| feature.to_string()), effect }
}

/// Zeros mean that there is none.
fn identity(id: &[u8]) -> Option<String> {
    id.iter().any(|byte| *byte != 0).then(|| hexadecimal(id))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
