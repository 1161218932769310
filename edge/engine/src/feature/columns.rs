//! What extractors read, resolved once per request into reusable buffers.

use alloc::vec::Vec;

use selvedge_format::program::{
    By, ColumnV1, CounterRef, Decay, FieldType, FieldV1, MAX_COLUMNS, ProgramV1, Scope, TableRef,
};
use selvedge_format::request::{Column, RequestView};
use selvedge_format::shared::{SharedField, SharedState};
use selvedge_format::state::{HistoryEntry, ProfileEntry, ProfileValue, SectionView, StateView, TableView};
use selvedge_format::{DecodeError, key, key32};

use crate::buffer::{refill, refill_long};
use crate::math;
use crate::snapshot::{Binding, Snapshot, is_constant};
use crate::state::{cell_of, seconds, value_at};

/// No such row, or never.
const NONE: u32 = u32::MAX;

/// Field values, counter values and recent events of one request.
///
/// The buffers grow to the largest request seen and are then reused.
#[derive(Debug, Default)]
pub struct Columns {
    candidates: usize,
    time_ms: i64,
    utc_offset_min: i32,
    /// Key of each candidate's id.
    items: Vec<u64>,
    /// Row of each candidate in the shared state.
    item_rows: Vec<u32>,
    /// Position of each field among the fields of its type.
    slots: Vec<usize>,
    numbers: Vec<f32>,
    keys: Vec<u64>,
    times: Vec<i64>,
    /// Ascending keys; `token_ranges` has the candidates' ranges.
    tokens: Vec<u64>,
    token_ranges: Vec<(u32, u32)>,
    user: Counters,
    global: Counters,
    /// Newest first.
    pub(super) history: Vec<HistoryEntry>,
    merged: Vec<HistoryEntry>,
    /// Position in the history of the event behind that of the last recent item.
    pub(super) next_event: usize,
    /// Row in the shared state of each event's item.
    pub(super) history_rows: Vec<u32>,
    /// Reused by extractors that collect keys.
    pub(super) gathered: Vec<u64>,
    gathered_fields: Vec<Option<usize>>,
}

/// Values of one scope's counters for each candidate.
#[derive(Debug, Default)]
struct Counters {
    /// First column of each table.
    first: Vec<usize>,
    /// `[column][candidate]`; NaN where the key was never counted.
    values: Vec<f32>,
    /// Over all keys, by column.
    totals: Vec<f32>,
    /// `[table][candidate]`: seconds of the last event; [`NONE`] is never.
    last: Vec<u32>,
}

impl Counters {
    fn reset<'t>(&mut self, tables: impl Iterator<Item = &'t [ColumnV1]>, candidates: usize) {
        self.first.clear();
        let mut columns = 0;
        for table in tables {
            self.first.push(columns);
            columns += table.len();
        }
        refill_long(&mut self.values, columns * candidates, f32::NAN);
        refill(&mut self.totals, columns, 0.0);
        refill(&mut self.last, self.first.len() * candidates, NONE);
    }

    /// Adds to a value that may not be there yet.
    fn add(&mut self, column: usize, candidate: usize, candidates: usize, value: f32) {
        let cell = &mut self.values[column * candidates + candidate];
        *cell = if cell.is_nan() { value } else { *cell + value };
    }

    fn seen(&mut self, table: usize, candidate: usize, candidates: usize, last: u32) {
        let cell = &mut self.last[table * candidates + candidate];
        *cell = if *cell == NONE { last } else { (*cell).max(last) };
    }
}

impl Columns {
    /// Resolves everything that the snapshot's program and policy read.
    pub(crate) fn resolve(
        &mut self,
        snapshot: &Snapshot,
        shared: Option<&SharedState>,
        binding: &Binding,
        request: &RequestView<'_>,
        state: &StateView<'_>,
    ) -> Result<(), DecodeError> {
        let program = &snapshot.program;
        self.candidates = request.candidates;
        self.time_ms = request.time_ms;
        self.utc_offset_min = request.utc_offset_min;
        self.slots.clear();
        self.slots.extend_from_slice(&snapshot.slots);
        self.items.clear();
        self.items.extend((0..request.candidates).map(|candidate| key(request.ids.get(candidate))));
        self.item_rows.clear();
        let row = |item: &u64| shared.and_then(|shared| shared.item_row(*item)).unwrap_or(NONE);
        self.item_rows.extend(self.items.iter().map(row));
        self.resolve_fields(snapshot, shared, binding, request, state)?;
        self.resolve_user_counters(program, state);
        self.resolve_global_counters(program, shared, binding);
        if snapshot.uses_history() {
            self.resolve_history(shared, state);
            self.gathered_fields.clear();
            self.gathered_fields.extend_from_slice(&binding.fields);
        }
        Ok(())
    }

    /// Number of candidates.
    #[must_use]
    pub const fn candidates(&self) -> usize {
        self.candidates
    }

    pub(crate) fn items(&self) -> &[u64] {
        &self.items
    }

    pub(super) const fn time_ms(&self) -> i64 {
        self.time_ms
    }

    pub(super) const fn utc_offset_min(&self) -> i32 {
        self.utc_offset_min
    }

    fn range(&self, field: u16) -> core::ops::Range<usize> {
        let start = self.slots[usize::from(field)] * self.candidates;
        start..start + self.candidates
    }

    pub(super) fn numbers(&self, field: u16) -> &[f32] {
        &self.numbers[self.range(field)]
    }

    /// Keys of a string field; 0 is missing.
    pub(crate) fn keys(&self, field: u16) -> &[u64] {
        &self.keys[self.range(field)]
    }

    pub(super) fn times(&self, field: u16) -> &[i64] {
        &self.times[self.range(field)]
    }

    /// Ascending keys of a tokens field.
    pub(super) fn tokens(&self, field: u16, candidate: usize) -> &[u64] {
        let (start, end) = self.token_ranges[self.range(field)][candidate];
        &self.tokens[start as usize..end as usize]
    }

    fn counters(&self, table: TableRef) -> (&Counters, usize) {
        match table {
            TableRef::User(table) => (&self.user, usize::from(table)),
            TableRef::Global(table) => (&self.global, usize::from(table)),
        }
    }

    /// A counter's value per candidate; NaN where the key was never counted.
    pub(super) fn counter(&self, counter: CounterRef) -> &[f32] {
        let (counters, table) = self.counters(counter.table);
        let column = counters.first[table] + usize::from(counter.column);
        &counters.values[column * self.candidates..(column + 1) * self.candidates]
    }

    /// A counter's value over all keys.
    pub(super) fn total(&self, counter: CounterRef) -> f32 {
        let (counters, table) = self.counters(counter.table);
        counters.totals[counters.first[table] + usize::from(counter.column)]
    }

    /// Seconds of the last event per candidate, if there was one.
    pub(super) fn last(&self, table: TableRef) -> impl Iterator<Item = Option<u32>> + '_ {
        let (counters, table) = self.counters(table);
        let last = &counters.last[table * self.candidates..(table + 1) * self.candidates];
        last.iter().map(|last| (*last != NONE).then_some(*last))
    }

    pub(super) fn now_s(&self) -> u32 {
        seconds(self.time_ms)
    }

    /// Position of the first event of this name that is not before `at` and at most `within_s` old, or one behind the last.
    #[inline(never)]
    fn find_event(&self, mut at: usize, event: u64, within_s: u32) -> usize {
        let oldest = self.now_s().saturating_sub(within_s);
        while let Some(entry) = self.history.get(at) {
            // So are all that follow.
            if entry.last < oldest {
                return self.history.len();
            }
            if event == 0 || entry.event == key32(event) {
                break;
            }
            at += 1;
        }
        at
    }

    /// Collects into `gathered` the key, by `by`, of each of the user's last `last` events of this name that are at
    /// most `within_s` old. It is 0 where there is none, or all are alike.
    pub(super) fn gather(&mut self, shared: Option<&SharedState>, event: u64, by: By, within_s: u32, last: u16) {
        self.gathered.clear();
        let mut at = 0;
        for _ in 0..last {
            at = self.find_event(at, event, within_s);
            let Some(entry) = self.history.get(at) else { break };
            self.gathered.push(match by {
                By::All => 0,
                By::Item => entry.item,
                By::Field(field) => {
                    let stored = shared_field(shared, &self.gathered_fields, field);
                    stored.map_or(0, |stored| stored.key(self.history_rows[at]))
                }
            });
            at += 1;
        }
    }

    /// Item of the next event of this name that is at most `within_s` old; 0 where there is none.
    pub(super) fn next_item(&mut self, event: u64, within_s: u32) -> u64 {
        let at = self.find_event(self.next_event, event, within_s);
        // Where there is none, nothing is looked at again.
        self.next_event = at + 1;
        self.history.get(at).map_or(0, |entry| entry.item)
    }

    /// Collects into `gathered` the words of the items of those events.
    pub(super) fn gather_tokens(&mut self, shared: Option<&SharedState>, event: u64, field: u16, last: u16) {
        self.gathered.clear();
        let Some(words) = shared_field(shared, &self.gathered_fields, field) else { return };
        let mut at = 0;
        for _ in 0..last {
            at = self.find_event(at, event, u32::MAX);
            let Some(row) = self.history_rows.get(at) else { break };
            self.gathered.extend_from_slice(words.tokens(*row));
            at += 1;
        }
        crate::order::sort(&mut self.gathered);
        self.gathered.dedup();
    }

    fn resolve_fields(
        &mut self,
        snapshot: &Snapshot,
        shared: Option<&SharedState>,
        binding: &Binding,
        request: &RequestView<'_>,
        state: &StateView<'_>,
    ) -> Result<(), DecodeError> {
        let n = self.candidates;
        refill_long(&mut self.numbers, snapshot.count(FieldType::Number) * n, f32::NAN);
        refill(&mut self.keys, snapshot.count(FieldType::String) * n, 0);
        refill(&mut self.times, snapshot.count(FieldType::Time) * n, i64::MIN);
        refill(&mut self.token_ranges, snapshot.count(FieldType::Tokens) * n, (0, 0));
        self.tokens.clear();
        for (index, field) in snapshot.program.fields.iter().enumerate() {
            let sent = request.column(field.id, field.scope, field.ty)?;
            let stored = binding.fields[index].and_then(|position| shared?.field(position));
            let per_item = field.scope == Scope::Item;
            let start = snapshot.slots[index] * n;
            match (field.ty, sent, stored) {
                (FieldType::Number, Some(Column::Number(values)), _) => {
                    for (candidate, out) in self.numbers[start..start + n].iter_mut().enumerate() {
                        let value = values.get(if per_item { candidate } else { 0 });
                        *out = if value.is_finite() { value } else { f32::NAN };
                    }
                }
                (FieldType::String, Some(Column::String(values)), _) if per_item => {
                    for (candidate, out) in self.keys[start..start + n].iter_mut().enumerate() {
                        *out = key(values.get(candidate));
                    }
                }
                (FieldType::String, Some(Column::String(values)), _) => {
                    self.keys[start..start + n].fill(key(values.get(0)));
                }
                (FieldType::Time, Some(Column::Time(values)), _) => {
                    for (candidate, out) in self.times[start..start + n].iter_mut().enumerate() {
                        *out = values.get(if per_item { candidate } else { 0 });
                    }
                }
                (FieldType::Tokens, Some(Column::Tokens(lists)), _) => {
                    let rows = if per_item { n } else { n.min(1) };
                    for row in 0..rows {
                        let range = self.push_tokens(lists.get(row).map(key));
                        self.token_ranges[start + row] = range;
                    }
                    if !per_item && n > 0 {
                        let range = self.token_ranges[start];
                        self.token_ranges[start..start + n].fill(range);
                    }
                }
                (_, None, _) if field.scope == Scope::User => self.read_profile(start, field, state),
                (ty, None, Some(stored)) if per_item => self.read_shared(start, ty, stored),
                _ => {}
            }
        }
        Ok(())
    }

    /// Appends a set of keys, sorted and without repetitions.
    fn push_tokens(&mut self, keys: impl Iterator<Item = u64>) -> (u32, u32) {
        let start = self.tokens.len();
        self.tokens.extend(keys.filter(|key| *key != 0));
        crate::order::sort(&mut self.tokens[start..]);
        let mut kept = start;
        for at in start..self.tokens.len() {
            if kept == start || self.tokens[kept - 1] != self.tokens[at] {
                self.tokens[kept] = self.tokens[at];
                kept += 1;
            }
        }
        self.tokens.truncate(kept);
        (start as u32, kept as u32)
    }

    /// The newest value of a profile field over the devices; on equal times the last device's.
    fn read_profile(&mut self, start: usize, field: &FieldV1, state: &StateView<'_>) {
        let mut newest: Option<ProfileEntry> = None;
        for part in state.parts() {
            let entry = part.sections().find_map(|section| match section {
                SectionView::Profile(profile) => profile.find(field.id),
                _ => None,
            });
            if let Some(entry) = entry
                && newest.is_none_or(|newest| newest.last <= entry.last)
            {
                newest = Some(entry);
            }
        }
        let range = start..start + self.candidates;
        match (field.ty, newest.map(|entry| entry.value)) {
            (FieldType::Number, Some(ProfileValue::Number(number))) if number.is_finite() => {
                self.numbers[range].fill(number);
            }
            (FieldType::String, Some(ProfileValue::String(key))) => self.keys[range].fill(key),
            (FieldType::Time, Some(ProfileValue::Time(time))) => self.times[range].fill(time),
            _ => {}
        }
    }

    fn read_shared(&mut self, start: usize, ty: FieldType, stored: SharedField<'_>) {
        for candidate in 0..self.candidates {
            let row = self.item_rows[candidate];
            if row == NONE {
                continue;
            }
            let at = start + candidate;
            match (ty, stored) {
                (FieldType::Number, SharedField::Number(values)) => {
                    let value = values[row as usize];
                    self.numbers[at] = if value.is_finite() { value } else { f32::NAN };
                }
                (FieldType::Time, SharedField::Time(values)) => self.times[at] = values[row as usize],
                (FieldType::String, stored @ SharedField::String { .. }) => self.keys[at] = stored.key(row),
                (FieldType::Tokens, stored @ SharedField::Tokens { .. }) => {
                    let from = self.tokens.len();
                    self.tokens.extend_from_slice(stored.tokens(row));
                    self.token_ranges[at] = (from as u32, self.tokens.len() as u32);
                }
                _ => {}
            }
        }
    }

    fn resolve_user_counters(&mut self, program: &ProgramV1, state: &StateView<'_>) {
        let n = self.candidates;
        let now = self.now_s();
        self.user.reset(program.user_tables.iter().map(|table| table.columns.as_slice()), n);
        for part in state.parts() {
            for section in part.sections() {
                let SectionView::Table(stored) = section else { continue };
                let Some(index) = program.user_tables.iter().position(|table| table.id == stored.id) else { continue };
                let declared = &program.user_tables[index];
                let first = self.user.first[index];
                let mut cells = [None; MAX_COLUMNS];
                for (column, declared) in declared.columns.iter().enumerate() {
                    let Some(cell) = cell_of(stored.columns(), declared) else { continue };
                    cells[column] = Some(cell);
                    let total =
                        value_at(declared.decay, |bucket| stored.total.get(cell + bucket), stored.total_last, now);
                    self.user.totals[first + column] += total;
                }
                for candidate in 0..n {
                    if is_constant(declared.by) {
                        self.user.seen(index, candidate, n, stored.total_last);
                        continue;
                    }
                    let key = self.key_of(declared.by, candidate);
                    let Some(row) = (key != 0).then(|| search(&stored, key32(key))).flatten() else { continue };
                    let last = stored.last.get(row);
                    self.user.seen(index, candidate, n, last);
                    let rows = stored.keys.len();
                    for (column, (declared, cell)) in declared.columns.iter().zip(cells).enumerate() {
                        let Some(cell) = cell else { continue };
                        let bucket = |bucket| stored.cells.get((cell + bucket) * rows + row);
                        let value = value_at(declared.decay, bucket, last, now);
                        self.user.add(first + column, candidate, n, value);
                    }
                }
            }
        }
        // One row for everything: its values are the totals.
        for (index, declared) in program.user_tables.iter().enumerate().filter(|(_, table)| is_constant(table.by)) {
            for column in self.user.first[index]..self.user.first[index] + declared.columns.len() {
                self.user.values[column * n..(column + 1) * n].fill(self.user.totals[column]);
            }
        }
    }

    fn resolve_global_counters(&mut self, program: &ProgramV1, shared: Option<&SharedState>, binding: &Binding) {
        let n = self.candidates;
        let now = self.now_s();
        self.global.reset(program.global_tables.iter().map(|table| table.columns.as_slice()), n);
        let Some(shared) = shared else { return };
        let as_of = seconds(shared.meta().as_of_ms);
        for (index, declared) in program.global_tables.iter().enumerate() {
            let Some((position, columns)) = &binding.tables[index] else { continue };
            let Some(stored) = shared.table(*position) else { continue };
            let first = self.global.first[index];
            for candidate in 0..n {
                if is_constant(declared.by) {
                    // Nothing has happened in 1970: a table without events.
                    self.global.last[index * n + candidate] =
                        if stored.total_last == 0 { NONE } else { stored.total_last };
                    continue;
                }
                let key = self.key_of(declared.by, candidate);
                let Some(row) = (key != 0).then(|| stored.row(key)).flatten() else { continue };
                self.global.last[index * n + candidate] = stored.last()[row as usize];
                for (column, position) in columns.iter().enumerate() {
                    if let Some(position) = position {
                        self.global.values[(first + column) * n + candidate] = stored.column(*position)[row as usize];
                    }
                }
            }
            for (column, position) in columns.iter().enumerate() {
                let Some(position) = position else { continue };
                let factor = match declared.columns[column].decay {
                    Decay::HalfLife { half_life_s } => math::decay(now.saturating_sub(as_of), half_life_s),
                    _ => 1.0,
                };
                let total = stored.total(*position) * factor;
                self.global.totals[first + column] = total;
                let values = &mut self.global.values[(first + column) * n..(first + column + 1) * n];
                if is_constant(declared.by) {
                    values.fill(total);
                } else {
                    values.iter_mut().for_each(|value| *value *= factor);
                }
            }
        }
    }

    fn key_of(&self, by: By, candidate: usize) -> u64 {
        match by {
            By::All => 0,
            By::Item => self.items[candidate],
            By::Field(field) => self.keys(field)[candidate],
        }
    }

    /// Merges the devices' histories, newest first.
    fn resolve_history(&mut self, shared: Option<&SharedState>, state: &StateView<'_>) {
        self.history.clear();
        self.next_event = 0;
        for part in state.parts() {
            for section in part.sections() {
                if let SectionView::History(history) = section {
                    let start = self.history.len();
                    self.history.extend(history.iter());
                    self.merge_history(start);
                }
            }
        }
        self.history_rows.clear();
        let row = |entry: &HistoryEntry| shared.and_then(|shared| shared.item_row(entry.item)).unwrap_or(NONE);
        self.history_rows.extend(self.history.iter().map(row));
    }

    /// Merges what is before `start` with what comes after; either part is newest first.
    fn merge_history(&mut self, start: usize) {
        if start == 0 {
            return;
        }
        self.merged.clear();
        let (mut left, mut right) = self.history.split_at(start);
        while let (Some(a), Some(b)) = (left.first(), right.first()) {
            let newest = if a >= b { left.split_off_first() } else { right.split_off_first() };
            self.merged.extend(newest);
        }
        self.merged.extend_from_slice(left);
        self.merged.extend_from_slice(right);
        core::mem::swap(&mut self.history, &mut self.merged);
    }
}

fn shared_field<'a>(
    shared: Option<&'a SharedState>,
    positions: &[Option<usize>],
    field: u16,
) -> Option<SharedField<'a>> {
    shared?.field((*positions.get(usize::from(field))?)?)
}

/// Row of a key in a table's ascending keys.
fn search(table: &TableView<'_>, key: u32) -> Option<usize> {
    let (mut low, mut len) = (0, table.keys.len());
    while len > 1 {
        let half = len / 2;
        low += if table.keys.get(low + half) <= key { half } else { 0 };
        len -= half;
    }
    (len == 1 && table.keys.get(low) == key).then_some(low)
}
