//! User state: what a user did, kept so that a decision needs no look-up anywhere else.
//!
//! [`UserState::apply`] is the only way that an event changes a state, in training replay, at the host and in the
//! browser alike. An event costs a search per table; nothing is recomputed.
//!
//! Counters of a row are valid as of the row's last event. Late events are decayed to that time, never dropped. Tables
//! are bounded: above the capacity, the row with the least first counter (ties: least key) goes.

#[cfg(feature = "host")]
mod adopt;
mod counter;
#[cfg(feature = "host")]
mod global;

use alloc::vec;
use alloc::vec::Vec;

use selvedge_format::program::{By, ColumnV1, FieldV1, Measure, ProgramV1, TableV1};
use selvedge_format::shared::SharedState;
use selvedge_format::state::{
    HistoryEntry, MAX_CELLS, MAX_PARTS, MAX_PROFILE, PartView, ProfileEntry, ProfileValue, SectionView, StateView,
    StateWriter,
};
use selvedge_format::{DecodeError, key32};

pub(crate) use counter::value_at;
#[cfg(feature = "host")]
pub use global::GlobalCounters;

/// Something that a user did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// Key of the event's name.
    pub event: u64,
    /// When, in milliseconds since 1970-01-01 UTC; times before are taken as 1970.
    pub time_ms: i64,
    /// Key of the item's id.
    pub item: u64,
    /// What a counter of values adds; not finite counts as 0.
    pub value: f32,
}

/// Item fields as events see them: the item's key for each field of a program.
///
/// ```
/// # use selvedge_engine::state::ItemKeys;
/// # use selvedge_format::program::ProgramV1;
/// let program = ProgramV1 { fields: vec![], user_tables: vec![], global_tables: vec![], history_events: 0, features: vec![] };
/// let keys = ItemKeys::new(&program, None);
/// assert_eq!(keys.key(selvedge_format::key(b"unknown item"), 0), 0);
/// ```
#[derive(Debug)]
pub struct ItemKeys<'a> {
    shared: Option<&'a SharedState>,
    positions: Vec<Option<usize>>,
}

impl<'a> ItemKeys<'a> {
    /// Finds the program's fields in the shared state.
    #[must_use]
    pub fn new(program: &ProgramV1, shared: Option<&'a SharedState>) -> Self {
        let position = |field: &FieldV1| shared.and_then(|shared| shared.field_position(field.id));
        Self { shared, positions: program.fields.iter().map(position).collect() }
    }

    /// Key of the item's value of a field of the program; 0 where it is not known.
    #[must_use]
    pub fn key(&self, item: u64, field: u16) -> u64 {
        let value = || {
            let shared = self.shared?;
            let position = (*self.positions.get(usize::from(field))?)?;
            Some(shared.field(position)?.key(shared.item_row(item)?))
        };
        value().unwrap_or(0)
    }

    fn of(&self, by: By, item: u64) -> u64 {
        match by {
            By::All => 0,
            By::Item => item,
            By::Field(field) => self.key(item, field),
        }
    }
}

/// What one user did, as a set of device parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserState {
    /// Ascending by device.
    parts: Vec<Part>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Part {
    device: u64,
    sequence: u64,
    profile: Vec<ProfileEntry>,
    tables: Vec<Table>,
    history: Vec<HistoryEntry>,
    opaque: Vec<(u16, Vec<u8>)>,
}

/// Counters by key. Cells are kept row after row, since an event touches one row.
#[derive(Clone, Debug, Default, PartialEq)]
struct Table {
    id: u64,
    columns: Vec<(u64, usize)>,
    total_last: u32,
    total: Vec<f32>,
    keys: Vec<u32>,
    last: Vec<u32>,
    cells: Vec<f32>,
}

/// Whole seconds of a time in milliseconds; times that do not fit are clamped.
#[must_use]
pub fn seconds(time_ms: i64) -> u32 {
    (time_ms / 1000).clamp(0, i64::from(u32::MAX)) as u32
}

impl UserState {
    /// The state of a user of whom nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a state. Sections that this version does not know are kept.
    ///
    /// # Errors
    /// The bytes are not a valid state.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self { parts: StateView::parse(bytes)?.parts().map(|part| Part::read(&part)).collect() })
    }

    /// The state's bytes: equal states have equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = StateWriter::default();
        for part in &self.parts {
            writer.part(part.device, part.sequence);
            if !part.profile.is_empty() {
                writer.profile(&part.profile);
            }
            for table in &part.tables {
                table.write(&mut writer);
            }
            if !part.history.is_empty() {
                writer.history(&part.history);
            }
            for (tag, payload) in &part.opaque {
                writer.opaque(*tag, payload);
            }
        }
        writer.finish()
    }

    /// Counts an event that `device` saw, in every table of the program that counts such events.
    ///
    /// # Errors
    /// The state holds [`MAX_PARTS`] devices already and this is another one.
    pub fn apply(
        &mut self,
        device: u64,
        program: &ProgramV1,
        items: &ItemKeys<'_>,
        event: &Event,
    ) -> Result<(), DecodeError> {
        let part = self.part_mut(device)?;
        part.sequence = part.sequence.saturating_add(1);
        let time = seconds(event.time_ms);
        for declared in program.user_tables.iter().filter(|table| table.event == event.event) {
            let key = items.of(declared.by, event.item);
            if key != 0 || declared.by == By::All {
                part.table_mut(declared.id).add(declared, key32(key), time, event.value);
            }
        }
        if program.history_events > 0 {
            let entry = HistoryEntry { last: time, event: key32(event.event), item: event.item };
            let at = part.history.partition_point(|other| *other > entry);
            part.history.insert(at, entry);
            part.history.truncate(usize::from(program.history_events));
        }
        Ok(())
    }

    /// Sets a field of the user's profile; an older time than the one stored changes nothing.
    ///
    /// # Errors
    /// As [`apply`](Self::apply), or the profile is full.
    pub fn set(&mut self, device: u64, field: u64, time_ms: i64, value: ProfileValue) -> Result<(), DecodeError> {
        let part = self.part_mut(device)?;
        part.sequence = part.sequence.saturating_add(1);
        let entry = ProfileEntry { field, last: seconds(time_ms), value };
        match part.profile.binary_search_by_key(&field, |entry| entry.field) {
            Ok(at) if part.profile[at].last <= entry.last => part.profile[at] = entry,
            Ok(_) => {}
            Err(_) if part.profile.len() >= MAX_PROFILE => {
                return Err(DecodeError::too_large("user profile", MAX_PROFILE as u64, part.profile.len() as u64 + 1));
            }
            Err(at) => part.profile.insert(at, entry),
        }
        Ok(())
    }

    /// Takes over what `other` knows: of each device, the part with the higher sequence.
    ///
    /// Associative, commutative and idempotent: parts of one device with equal sequences are equal unless a device
    /// broke the rules, and then the one with the greater bytes wins on both sides.
    ///
    /// # Errors
    /// Together they have more than [`MAX_PARTS`] devices; nothing is taken over.
    pub fn merge(&mut self, other: &Self) -> Result<(), DecodeError> {
        let new = other.parts.iter().filter(|part| self.position(part.device).is_err()).count();
        if self.parts.len() + new > MAX_PARTS {
            return Err(DecodeError::too_large("user state parts", MAX_PARTS as u64, (self.parts.len() + new) as u64));
        }
        for part in &other.parts {
            match self.position(part.device) {
                Err(at) => self.parts.insert(at, part.clone()),
                Ok(at) => {
                    let mine = &self.parts[at];
                    let newer =
                        part.sequence > mine.sequence || part.sequence == mine.sequence && part.alone() > mine.alone();
                    if newer {
                        self.parts[at] = part.clone();
                    }
                }
            }
        }
        Ok(())
    }

    fn position(&self, device: u64) -> Result<usize, usize> {
        self.parts.binary_search_by_key(&device, |part| part.device)
    }

    fn part_mut(&mut self, device: u64) -> Result<&mut Part, DecodeError> {
        let at = match self.position(device) {
            Ok(at) => at,
            Err(_) if self.parts.len() >= MAX_PARTS => {
                return Err(DecodeError::too_large("user state parts", MAX_PARTS as u64, MAX_PARTS as u64 + 1));
            }
            Err(at) => {
                self.parts.insert(at, Part { device, ..Part::default() });
                at
            }
        };
        Ok(&mut self.parts[at])
    }
}

impl Part {
    fn read(view: &PartView<'_>) -> Self {
        let mut part = Self { device: view.device, sequence: view.sequence, ..Self::default() };
        for section in view.sections() {
            match section {
                SectionView::Profile(profile) => part.profile = (0..profile.len()).map(|at| profile.get(at)).collect(),
                SectionView::History(history) => part.history = history.iter().collect(),
                SectionView::Opaque { tag, payload } => part.opaque.push((tag, payload.to_vec())),
                SectionView::Table(table) => {
                    let (rows, cells) = (table.keys.len(), table.total.len());
                    part.tables.push(Table {
                        id: table.id,
                        columns: table.columns().collect(),
                        total_last: table.total_last,
                        total: table.total.iter().collect(),
                        keys: table.keys.iter().collect(),
                        last: table.last.iter().collect(),
                        cells: (0..rows * cells).map(|at| table.cells.get(at % cells * rows + at / cells)).collect(),
                    });
                }
            }
        }
        part
    }

    /// The bytes of this part as a state of its own.
    fn alone(&self) -> Vec<u8> {
        UserState { parts: vec![self.clone()] }.encode()
    }

    fn table_mut(&mut self, id: u64) -> &mut Table {
        let at = match self.tables.binary_search_by_key(&id, |table| table.id) {
            Ok(at) => at,
            Err(at) => {
                self.tables.insert(at, Table { id, ..Table::default() });
                at
            }
        };
        &mut self.tables[at]
    }
}

impl Table {
    fn write(&self, writer: &mut StateWriter) {
        let width = self.total.len();
        let rows = (0..self.keys.len())
            .map(|row| (self.keys[row], self.last[row], &self.cells[row * width..(row + 1) * width]));
        writer.table(self.id, &self.columns, (self.total_last, &self.total), rows);
    }

    fn add(&mut self, declared: &TableV1, key: u32, time: u32, value: f32) {
        let value = if value.is_finite() { value } else { 0.0 };
        self.grow(declared);
        if declared.by != By::All {
            let width = self.total.len();
            let row = match self.keys.binary_search(&key) {
                Ok(row) => row,
                Err(row) => {
                    self.keys.insert(row, key);
                    self.last.insert(row, time);
                    self.cells.splice(row * width..row * width, core::iter::repeat_n(0.0, width));
                    row
                }
            };
            let cells = &mut self.cells[row * width..(row + 1) * width];
            self.last[row] = add_to_row(&self.columns, declared, cells, self.last[row], time, value);
        }
        self.total_last = add_to_row(&self.columns, declared, &mut self.total, self.total_last, time, value);
        if self.keys.len() > usize::from(declared.capacity) {
            self.evict(declared);
        }
    }

    /// Adds the columns that the program has and the state lacks, as far as there is room. They start cold.
    fn grow(&mut self, declared: &TableV1) {
        for column in &declared.columns {
            if self.columns.iter().any(|(id, _)| *id == column.id) {
                continue;
            }
            self.widen(column.id, column.decay.width());
        }
    }

    /// Adds a column of zeros, if there is room.
    fn widen(&mut self, column: u64, width: usize) {
        let (old, new) = (self.total.len(), self.total.len() + width);
        if new > MAX_CELLS {
            return;
        }
        let mut cells = vec![0.0; self.keys.len() * new];
        for (row, wide) in cells.chunks_exact_mut(new).enumerate() {
            wide[..old].copy_from_slice(&self.cells[row * old..(row + 1) * old]);
        }
        self.cells = cells;
        self.total.resize(new, 0.0);
        self.columns.push((column, width));
    }

    fn evict(&mut self, declared: &TableV1) {
        let width = self.total.len();
        let Some(column) = declared.columns.first() else { return };
        let Some(start) = cell_of(self.columns.iter().copied(), column) else { return };
        let worth = |row: usize| {
            value_at(column.decay, |cell| self.cells[row * width + start + cell], self.last[row], self.total_last)
        };
        // Rows ascend by key, so the first of equals has the least key.
        let mut least = (0, f32::INFINITY);
        for row in 0..self.keys.len() {
            let worth = worth(row);
            if worth < least.1 {
                least = (row, worth);
            }
        }
        self.keys.remove(least.0);
        self.last.remove(least.0);
        self.cells.drain(least.0 * width..(least.0 + 1) * width);
    }
}

/// First cell of a column in a row. A column with this id but of another width, which no honest state has, is not it:
/// its cells would be read past their end.
pub(crate) fn cell_of(columns: impl Iterator<Item = (u64, usize)>, column: &ColumnV1) -> Option<usize> {
    let mut start = 0;
    for (id, width) in columns {
        if id == column.id {
            return (width == column.decay.width()).then_some(start);
        }
        start += width;
    }
    None
}

/// Brings a row to the later of `last` and `time`, adds the event, and returns that time.
fn add_to_row(
    columns: &[(u64, usize)],
    declared: &TableV1,
    cells: &mut [f32],
    last: u32,
    time: u32,
    value: f32,
) -> u32 {
    for column in &declared.columns {
        let Some(start) = cell_of(columns.iter().copied(), column) else { continue };
        let amount = match column.measure {
            Measure::Count => 1.0,
            Measure::Value => value,
        };
        counter::add(column.decay, &mut cells[start..start + column.decay.width()], last, time, amount);
    }
    last.max(time)
}
