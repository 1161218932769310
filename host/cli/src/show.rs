//! User states, requests, decisions and logs as JSON and as text. (Bundles and shared states are the compiler's to show.)

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use jiff::Timestamp;
use selvedge_engine::Limits;
use selvedge_format::decision::DecisionView;
use selvedge_format::message::MessageView;
use selvedge_format::meta::MetaV1;
use selvedge_format::program::{By, TableV1};
use selvedge_format::record::RecordView;
use selvedge_format::request::{COLUMN, KIND, RequestLimits, RequestView};
use selvedge_format::state::{ProfileValue, SectionView, StateView};
use selvedge_format::{DecodeError, key, key32};
use selvedge_wire::json;
use serde::Serialize;
use serde_json::Value;

use crate::bundle::{BundleFile, short};
use crate::log::{Stretch, stretches};
use crate::printer::{BOLD, styled};
use crate::table::{Side, Table};

/// A file's content for scripts and for people.
pub(crate) type Shown = Result<(Value, String), DecodeError>;

fn shown(value: &impl Serialize, text: String) -> Shown {
    Ok((serde_json::to_value(value).unwrap_or_default(), text))
}

/// What a bundle calls things that bytes know by their hashes.
struct Names<'a>(Option<&'a BundleFile>);

impl Names<'_> {
    fn field(&self, id: u64) -> String {
        let names = self.0.into_iter().flat_map(|bundle| &bundle.names.fields);
        names.into_iter().find(|name| key(name.as_bytes()) == id).cloned().unwrap_or_else(|| format!("{id:016x}"))
    }

    fn event(&self, is_it: impl Fn(u64) -> bool) -> Option<String> {
        let names = self.0.into_iter().flat_map(|bundle| &bundle.names.events);
        names.into_iter().find(|name| is_it(key(name.as_bytes()))).cloned()
    }

    fn table(&self, id: u64) -> String {
        let table = self.0.and_then(|bundle| bundle.program.user_tables.iter().find(|table| table.id == id));
        table.map_or_else(|| format!("{id:016x}"), |table| self.table_name(table))
    }

    fn table_name(&self, table: &TableV1) -> String {
        let event = self.event(|event| event == table.event).unwrap_or_else(|| format!("{:016x}", table.event));
        let by = match table.by {
            By::All => "all".to_owned(),
            By::Item => "item".to_owned(),
            By::Field(field) => {
                let declared = self.0.and_then(|bundle| bundle.program.fields.get(usize::from(field)));
                declared.map_or_else(|| field.to_string(), |declared| self.field(declared.id))
            }
        };
        format!("{event} by {by}")
    }
}

#[derive(Serialize)]
struct State {
    kind: &'static str,
    bytes: usize,
    devices: Vec<Device>,
}

#[derive(Serialize)]
struct Device {
    device: String,
    sequence: u64,
    profile: BTreeMap<String, Value>,
    tables: Vec<Counters>,
    history: Vec<Recent>,
    opaque_sections: usize,
}

#[derive(Serialize)]
struct Counters {
    name: String,
    keys: usize,
    last_event: String,
    /// Sums over all keys, as of the last event.
    totals: Vec<f32>,
}

#[derive(Serialize)]
struct Recent {
    time: String,
    event: String,
    item: String,
}

/// A user state.
pub(crate) fn user_state(bytes: &[u8], bundle: Option<&BundleFile>) -> Shown {
    let names = Names(bundle);
    let devices = StateView::parse(bytes)?.parts().map(|part| {
        let mut device = Device {
            device: format!("{:016x}", part.device),
            sequence: part.sequence,
            profile: BTreeMap::new(),
            tables: Vec::new(),
            history: Vec::new(),
            opaque_sections: 0,
        };
        for section in part.sections() {
            match section {
                SectionView::Profile(profile) => {
                    let entries = (0..profile.len()).map(|at| profile.get(at));
                    device.profile = entries.map(|entry| (names.field(entry.field), value(entry.value))).collect();
                }
                SectionView::Table(table) => device.tables.push(Counters {
                    name: names.table(table.id),
                    keys: table.keys.len(),
                    last_event: date(i64::from(table.total_last) * 1000),
                    totals: table.total.iter().collect(),
                }),
                SectionView::History(history) => {
                    let recent = history.iter().map(|entry| Recent {
                        time: date(i64::from(entry.last) * 1000),
                        event: names
                            .event(|event| key32(event) == entry.event)
                            .unwrap_or(format!("{:08x}", entry.event)),
                        item: format!("{:016x}", entry.item),
                    });
                    device.history = recent.collect();
                }
                SectionView::Opaque { .. } => device.opaque_sections += 1,
            }
        }
        device
    });
    let state = State { kind: "user_state", bytes: bytes.len(), devices: devices.collect() };
    let text = state_text(&state);
    shown(&state, text)
}

fn value(value: ProfileValue) -> Value {
    match value {
        ProfileValue::Number(number) => Value::from(number),
        ProfileValue::String(key) => Value::from(format!("{key:016x}")),
        ProfileValue::Time(time_ms) => Value::from(date(time_ms)),
    }
}

fn state_text(state: &State) -> String {
    let mut text = format!("{}\n  size  {} bytes\n", styled(BOLD, "user state"), state.bytes);
    for device in &state.devices {
        text.push_str(&format!("\ndevice {}, version {} of its part\n", device.device, device.sequence));
        for (field, value) in &device.profile {
            text.push_str(&format!("  {field} = {value}\n"));
        }
        let mut tables = Table::new([
            ("table", Side::Left),
            ("keys", Side::Right),
            ("last event", Side::Left),
            ("totals", Side::Left),
        ]);
        for table in &device.tables {
            let totals: Vec<String> = table.totals.iter().map(|total| format!("{total:.3}")).collect();
            tables.row([table.name.clone(), table.keys.to_string(), table.last_event.clone(), totals.join(" ")]);
        }
        if !device.tables.is_empty() {
            text.push_str(&format!("{tables}\n"));
        }
        let mut events = Table::new([("recent event", Side::Left), ("time", Side::Left), ("item", Side::Left)]);
        for event in &device.history {
            events.row([event.event.clone(), event.time.clone(), event.item.clone()]);
        }
        if !device.history.is_empty() {
            text.push_str(&format!("\n{events}\n"));
        }
        if device.opaque_sections > 0 {
            text.push_str(&format!("  {} sections of a later version, kept as they are\n", device.opaque_sections));
        }
    }
    text
}

#[derive(Serialize)]
struct Request {
    kind: &'static str,
    bytes: usize,
    request_id: String,
    time: String,
    utc_offset_min: i32,
    slate_size: u32,
    reasons: u32,
    state_bytes: usize,
    candidates: Vec<String>,
    columns: Vec<Column>,
    /// Candidate and slot.
    pins: Vec<(u32, u32)>,
    exclude: Vec<u32>,
}

#[derive(Serialize)]
struct Column {
    field: String,
    scope: &'static str,
    #[serde(rename = "type")]
    ty: &'static str,
}

/// The limits that an engine with its defaults has.
pub(crate) fn limits() -> RequestLimits {
    let limits = Limits::default();
    RequestLimits { bytes: limits.request_bytes, state_bytes: limits.state_bytes }
}

/// A request.
pub(crate) fn request(bytes: &[u8], bundle: Option<&BundleFile>) -> Shown {
    const SCOPES: [&str; 3] = ["item", "user", "context"];
    const TYPES: [&str; 4] = ["number", "string", "tokens", "time"];
    let view = RequestView::parse(bytes, limits())?;
    let names = Names(bundle);
    let message = MessageView::parse(bytes, KIND, |_| true)?;
    let columns = message.blocks().filter(|(header, _)| header.tag == COLUMN).map(|(header, _)| Column {
        field: names.field(header.field),
        scope: SCOPES.get(usize::from(header.scope)).copied().unwrap_or("?"),
        ty: TYPES.get(usize::from(header.ty)).copied().unwrap_or("?"),
    });
    let pins: Vec<u32> = view.pins.iter().collect();
    let request = Request {
        kind: "request",
        bytes: bytes.len(),
        request_id: crate::bundle::hex(&view.request_id),
        time: date(view.time_ms),
        utc_offset_min: view.utc_offset_min,
        slate_size: view.slate_size,
        reasons: view.reasons,
        state_bytes: view.state.len(),
        candidates: candidates(&view),
        columns: columns.collect(),
        pins: pins.chunks_exact(2).map(|pin| (pin[0], pin[1])).collect(),
        exclude: view.exclude.iter().collect(),
    };
    let text = request_text(&request);
    shown(&request, text)
}

/// Ids of a request's candidates.
pub(crate) fn candidates(view: &RequestView<'_>) -> Vec<String> {
    (0..view.ids.len()).map(|at| String::from_utf8_lossy(view.ids.get(at)).into_owned()).collect()
}

fn request_text(request: &Request) -> String {
    let mut text = format!("{} {}\n", styled(BOLD, "request"), request.request_id);
    let mut line = |name: &str, value: &dyn Display| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {name:<10}  {value}");
    };
    line("size", &format_args!("{} bytes", request.bytes));
    line("time", &format_args!("{}, user at UTC{:+} min", request.time, request.utc_offset_min));
    match request.slate_size {
        0 => line("slate", &"as many slots as the bundle says"),
        size => line("slate", &format_args!("{size} slots")),
    }
    line("reasons", &format_args!("{} per slot", request.reasons));
    match request.state_bytes {
        0 => line("user", &"unknown: no state"),
        bytes => line("user", &format_args!("state of {bytes} bytes")),
    }
    line("candidates", &request.candidates.len());
    line("", &shorten(&request.candidates));
    for column in &request.columns {
        line("field", &format_args!("{} ({} {})", column.field, column.scope, column.ty));
    }
    for (candidate, slot) in &request.pins {
        line("pin", &format_args!("candidate {candidate} in slot {slot}"));
    }
    for candidate in &request.exclude {
        line("exclude", &format_args!("candidate {candidate}"));
    }
    text
}

/// The first few of a list that may be long.
fn shorten(ids: &[String]) -> String {
    const SHOWN: usize = 12;
    let first: Vec<String> = ids.iter().take(SHOWN).map(|id| id.chars().take(40).collect()).collect();
    let more = if ids.len() > SHOWN { " ..." } else { "" };
    format!("{}{more}", first.join(" "))
}

/// A decision alone: its candidates have positions and no ids.
pub(crate) fn decision(bytes: &[u8], bundle: Option<&BundleFile>) -> Shown {
    let view = DecisionView::parse(bytes)?;
    let unnamed = MetaV1::default();
    let names = bundle.map_or(&unnamed, |bundle| &bundle.names);
    let ids: Vec<String> = (0..view.candidates.min(1 << 20)).map(|at| format!("#{at}")).collect();
    let decision = json::decision(&view, &ids, names);
    let text = decision_text(&decision);
    shown(&decision, text)
}

fn offer_text(offer: &json::Offer) -> String {
    let why = offer.reason.map_or_else(String::new, |reason| format!(" ({reason})"));
    let preview = if offer.preview { ", a preview" } else { "" };
    match (offer.arm, offer.arms.get(offer.arm as usize)) {
        (1.., Some(arm)) => {
            let name = offer.offer.clone().unwrap_or_else(|| format!("#{}", offer.arm));
            format!("{name} of {}: brings {:.1}, costs {:.1} minor units{preview}", offer.campaign, arm.value, arm.cost)
        }
        _ => format!("{}{why}{preview}", offer.status),
    }
}

/// A decision as a heading and a table of slots.
pub(crate) fn decision_text(decision: &json::Decision) -> String {
    let why = decision.reason.map_or_else(String::new, |reason| format!(" ({reason})"));
    let mut text = format!("{} {}{why}\n", styled(BOLD, "decision"), decision.status);
    let none = || "none".to_owned();
    text.push_str(&format!("  request     {}\n", decision.request_id));
    text.push_str(&format!("  bundle      {}\n", decision.bundle_id.clone().unwrap_or_else(none)));
    text.push_str(&format!("  shared      {}\n", decision.shared_state_id.clone().unwrap_or_else(none)));
    text.push_str(&format!("  candidates  {}\n", decision.candidates));
    text.push_str(&format!("  cost        {} units\n", decision.cost));
    if let Some(base) = decision.base {
        text.push_str(&format!("  base score  {base:.4}\n"));
    }
    if let Some(offer) = &decision.offer {
        text.push_str(&format!("  offer       {}\n", offer_text(offer)));
    }
    if decision.slots.is_empty() {
        return text;
    }
    let has_rules = decision.slots.iter().any(|slot| !slot.rules.is_empty());
    let has_reasons = decision.slots.iter().any(|slot| !slot.reasons.is_empty());
    let optional = [(has_rules, "rules"), (has_reasons, "reasons")];
    let optional = optional.into_iter().filter(|(has, _)| *has).map(|(_, name)| (name, Side::Left));
    let fixed = [("slot", Side::Right), ("id", Side::Left), ("score", Side::Right)];
    let mut table = Table::new(fixed.into_iter().chain(optional));
    for (at, slot) in decision.slots.iter().enumerate() {
        let score = if slot.score.is_nan() { "-".to_owned() } else { format!("{:.4}", slot.score) };
        let id: String = slot.id.chars().take(40).collect();
        let mut cells = vec![at.to_string(), id, score];
        if has_rules {
            cells.push(slot.rules.join(" "));
        }
        if has_reasons {
            let reasons = slot.reasons.iter().map(|reason| format!("{} {:+.3}", reason.feature, reason.effect));
            cells.push(reasons.collect::<Vec<_>>().join(", "));
        }
        table.row(cells);
    }
    text.push_str(&format!("\n{table}\n"));
    text
}

#[derive(Serialize)]
struct Log {
    kind: &'static str,
    bytes: usize,
    records: usize,
    by_kind: BTreeMap<&'static str, usize>,
    by_status: BTreeMap<String, usize>,
    by_bundle: BTreeMap<String, usize>,
    by_shared_state: BTreeMap<String, usize>,
    damage: Vec<Damage>,
}

#[derive(Serialize)]
struct Damage {
    from: usize,
    to: usize,
    error: String,
}

/// A decision log.
pub(crate) fn log(bytes: &[u8], _: Option<&BundleFile>) -> Shown {
    let mut log = Log {
        kind: "decision_log",
        bytes: bytes.len(),
        records: 0,
        by_kind: BTreeMap::new(),
        by_status: BTreeMap::new(),
        by_bundle: BTreeMap::new(),
        by_shared_state: BTreeMap::new(),
        damage: Vec::new(),
    };
    for stretch in stretches(bytes) {
        match stretch {
            Stretch::Damage { range, error } => {
                log.damage.push(Damage { from: range.start, to: range.end, error: error.to_string() });
            }
            Stretch::Record { record, .. } => {
                log.records += 1;
                let (kind, decision) = match record {
                    RecordView::Full { decision, .. } => ("full", Some(decision)),
                    RecordView::Digest(digest) => ("digest", Some(digest.decision)),
                    RecordView::Outcome(_) => ("outcome", None),
                };
                *log.by_kind.entry(kind).or_default() += 1;
                let Some(decision) = decision else { continue };
                let status = match DecisionView::parse(decision) {
                    Ok(view) => {
                        *log.by_bundle.entry(short(&view.bundle_id)).or_default() += 1;
                        *log.by_shared_state.entry(short(&view.shared_id)).or_default() += 1;
                        let (status, reason) = view.status.names();
                        reason.map_or_else(|| status.to_owned(), |reason| format!("{status} ({reason})"))
                    }
                    Err(error) => format!("unreadable: {error}"),
                };
                *log.by_status.entry(status).or_default() += 1;
            }
        }
    }
    let text = log_text(&log);
    shown(&log, text)
}

fn log_text(log: &Log) -> String {
    let mut text = format!("{} of {} records\n", styled(BOLD, "decision log"), log.records);
    text.push_str(&format!("  size          {} bytes\n", log.bytes));
    for (kind, count) in &log.by_kind {
        text.push_str(&format!("  {:<12}  {kind}: {count}\n", "kind"));
    }
    let counts = [("status", &log.by_status), ("bundle", &log.by_bundle), ("shared state", &log.by_shared_state)];
    for (name, counts) in counts {
        for (value, count) in counts {
            text.push_str(&format!("  {name:<12}  {value}: {count}\n"));
        }
    }
    for damage in &log.damage {
        text.push_str(&format!("  damage        bytes {} to {}: {}\n", damage.from, damage.to, damage.error));
    }
    text
}

/// A time as people write it; the number where it is beyond their calendar.
pub(crate) fn date(time_ms: i64) -> String {
    Timestamp::from_millisecond(time_ms).map_or_else(|_| format!("{time_ms} ms"), |time| time.to_string())
}
