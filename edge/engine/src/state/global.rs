//! Counters over all users, and the shared state that carries them to the edges.
//!
//! A host (or training replay, which plays one) counts every event here and publishes a [`SharedParts`] at each
//! refresh. The counters are those of user state; only the tables are unbounded, because items are.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use selvedge_format::DecodeError;
use selvedge_format::program::{By, Measure, ProgramV1, TableV1};
use selvedge_format::shared::TableParts;

use super::{Event, ItemKeys, counter, seconds, value_at};

/// Counters of a program's global tables.
#[derive(Clone, Debug)]
pub struct GlobalCounters {
    tables: Vec<Rows>,
}

#[derive(Clone, Debug, Default)]
struct Rows {
    total: Row,
    rows: BTreeMap<u64, Row>,
}

/// Cells of all columns, valid as of the last event.
#[derive(Clone, Debug, Default)]
struct Row {
    last: u32,
    cells: Vec<f32>,
}

impl GlobalCounters {
    /// Counters that have seen nothing.
    #[must_use]
    pub fn new(program: &ProgramV1) -> Self {
        Self { tables: vec![Rows::default(); program.global_tables.len()] }
    }

    /// Counts an event in every table of the program that counts such events.
    pub fn apply(&mut self, program: &ProgramV1, items: &ItemKeys<'_>, event: &Event) {
        let time = seconds(event.time_ms);
        let value = if event.value.is_finite() { event.value } else { 0.0 };
        for (table, declared) in self.tables.iter_mut().zip(&program.global_tables) {
            if declared.event != event.event {
                continue;
            }
            let key = items.of(declared.by, event.item);
            if key != 0 || declared.by == By::All {
                table.total.add(declared, time, value);
            }
            if key != 0 {
                table.rows.entry(key).or_default().add(declared, time, value);
            }
        }
    }

    /// The counters as bytes, for whoever counts to go on after a restart. Read by [`decode`](Self::decode) with the same
    /// program; no format for others.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&(self.tables.len() as u32).to_le_bytes());
        for table in &self.tables {
            table.total.write(&mut bytes);
            bytes.extend_from_slice(&(table.rows.len() as u64).to_le_bytes());
            for (key, row) in &table.rows {
                bytes.extend_from_slice(&key.to_le_bytes());
                row.write(&mut bytes);
            }
        }
        bytes
    }

    /// What [`encode`](Self::encode) wrote of the counters of `program`.
    ///
    /// # Errors
    /// The bytes are cut, or those of a program with other tables.
    pub fn decode(program: &ProgramV1, bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut bytes = Cursor { bytes, at: 0 };
        if u32::from_le_bytes(bytes.take()?) as usize != program.global_tables.len() {
            return Err(bytes.invalid());
        }
        let mut tables = Vec::with_capacity(program.global_tables.len());
        for declared in &program.global_tables {
            let width = declared.columns.iter().map(|column| column.decay.width()).sum();
            let total = Row::read(&mut bytes, width)?;
            let mut rows = BTreeMap::new();
            // Nothing is reserved by the number: each row is there before it takes memory.
            for _ in 0..u64::from_le_bytes(bytes.take()?) {
                let key = u64::from_le_bytes(bytes.take()?);
                rows.insert(key, Row::read(&mut bytes, width)?);
            }
            tables.push(Rows { total, rows });
        }
        if bytes.at == bytes.bytes.len() { Ok(Self { tables }) } else { Err(bytes.invalid()) }
    }

    /// The counters' values at `as_of_ms`, as the tables of a shared state.
    #[must_use]
    pub fn tables(&self, program: &ProgramV1, as_of_ms: i64) -> Vec<TableParts> {
        let now = seconds(as_of_ms);
        let table = |(table, declared): (&Rows, &TableV1)| TableParts {
            id: declared.id,
            columns: declared.columns.iter().map(|column| (column.id, column.decay)).collect(),
            keys: table.rows.keys().copied().collect(),
            last: table.rows.values().map(|row| row.last).collect(),
            values: (0..declared.columns.len())
                .map(|column| table.rows.values().map(|row| row.value(declared, column, now)).collect())
                .collect(),
            total_last: table.total.last,
            totals: (0..declared.columns.len()).map(|column| table.total.value(declared, column, now)).collect(),
        };
        self.tables.iter().zip(&program.global_tables).map(table).collect()
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn invalid(&self) -> DecodeError {
        DecodeError::invalid("global counters", self.at)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let taken = self.bytes.get(self.at..self.at + N).and_then(|taken| taken.try_into().ok());
        let taken = taken.ok_or_else(|| self.invalid())?;
        self.at += N;
        Ok(taken)
    }
}

impl Row {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.last.to_le_bytes());
        bytes.extend_from_slice(&(self.cells.len() as u32).to_le_bytes());
        self.cells.iter().for_each(|cell| bytes.extend_from_slice(&cell.to_le_bytes()));
    }

    /// A row that has seen nothing has no cells.
    fn read(bytes: &mut Cursor<'_>, width: usize) -> Result<Self, DecodeError> {
        let last = u32::from_le_bytes(bytes.take()?);
        let count = u32::from_le_bytes(bytes.take()?) as usize;
        if count != 0 && count != width {
            return Err(bytes.invalid());
        }
        let cells = (0..count).map(|_| Ok(f32::from_le_bytes(bytes.take()?))).collect::<Result<_, DecodeError>>()?;
        Ok(Self { last, cells })
    }

    fn add(&mut self, declared: &TableV1, time: u32, value: f32) {
        if self.cells.is_empty() {
            self.cells.resize(declared.columns.iter().map(|column| column.decay.width()).sum(), 0.0);
            self.last = time;
        }
        let mut rest = self.cells.as_mut_slice();
        for column in &declared.columns {
            let (cells, after) = rest.split_at_mut(column.decay.width());
            rest = after;
            let amount = match column.measure {
                Measure::Count => 1.0,
                Measure::Value => value,
            };
            counter::add(column.decay, cells, self.last, time, amount);
        }
        self.last = self.last.max(time);
    }

    fn value(&self, declared: &TableV1, column: usize, now: u32) -> f32 {
        let start: usize = declared.columns[..column].iter().map(|column| column.decay.width()).sum();
        let cell = |bucket| self.cells.get(start + bucket).copied().unwrap_or(0.0);
        value_at(declared.columns[column].decay, cell, self.last, now)
    }
}
