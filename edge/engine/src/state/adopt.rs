//! Counters that a state lacks, from another count of the same events.

use selvedge_format::state::MAX_PARTS;

use super::{Table, UserState};

impl UserState {
    /// Takes over the counters `wanted` (id of the table, id of the column) from `fresh`, in which the same events were
    /// counted from a log. What this state holds of them is replaced; everything else stays.
    ///
    /// A row is filled only if both have it as of the same time: then both saw the same last event, and the cells mean the
    /// same. A row that only `fresh` has was evicted here, and stays so unless the whole table is new.
    pub fn adopt(&mut self, fresh: &Self, wanted: &[(u64, u64)]) {
        for part in &fresh.parts {
            if self.position(part.device).is_err() && self.parts.len() >= MAX_PARTS {
                continue;
            }
            let tables = part.tables.iter().filter(|table| wanted.iter().any(|(id, _)| *id == table.id));
            for table in tables {
                // The check above leaves room for the part.
                let Ok(mine) = self.part_mut(part.device) else { continue };
                let mine = mine.table_mut(table.id);
                let columns = || mine.columns.iter().map(|(column, _)| (table.id, *column));
                if columns().all(|column| wanted.contains(&column)) {
                    *mine = table.clone();
                    continue;
                }
                for (id, column) in wanted.iter().filter(|(id, _)| *id == table.id) {
                    debug_assert_eq!(*id, table.id);
                    mine.fill(table, *column);
                }
            }
        }
    }
}

impl Table {
    /// Replaces the cells of a column by those of `fresh`, where rows are as of the same time.
    fn fill(&mut self, fresh: &Self, column: u64) {
        let place = |table: &Self| {
            let mut start = 0;
            for (id, width) in &table.columns {
                if *id == column {
                    return Some((start, *width));
                }
                start += width;
            }
            None
        };
        let Some((from, width)) = place(fresh) else { return };
        if place(self).is_none() {
            self.widen(column, width);
        }
        let Some((to, _)) = place(self).filter(|(_, mine)| *mine == width) else { return };
        let (mine, theirs) = (self.total.len(), fresh.total.len());
        if self.total_last == fresh.total_last {
            self.total[to..to + width].copy_from_slice(&fresh.total[from..from + width]);
        }
        for (row, key) in self.keys.iter().enumerate() {
            let Ok(other) = fresh.keys.binary_search(key) else { continue };
            if self.last[row] == fresh.last[other] {
                let cells = &fresh.cells[other * theirs + from..other * theirs + from + width];
                self.cells[row * mine + to..row * mine + to + width].copy_from_slice(cells);
            }
        }
    }
}
