//! Columns that line up, for people.

use std::fmt::{self, Display, Formatter};

use crate::printer::DIM;

/// Rows of text under a head; numbers stand to the right.
#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<(String, Side)>,
    rows: Vec<Vec<String>>,
}

/// Where the text of a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

impl Table {
    /// An empty table with these columns.
    pub(crate) fn new<'h>(head: impl IntoIterator<Item = (&'h str, Side)>) -> Self {
        let head = head.into_iter().map(|(name, side)| (name.to_owned(), side));
        Self { head: head.collect(), rows: Vec::new() }
    }

    /// Adds a row, with one text per column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn line(&self, f: &mut Formatter<'_>, cells: &[&str], widths: &[usize]) -> fmt::Result {
        let mut line = String::new();
        for ((cell, width), (_, side)) in cells.iter().zip(widths).zip(&self.head) {
            let padding = " ".repeat(width - cell.chars().count());
            let (before, after) = if *side == Side::Right { (&*padding, "") } else { ("", &*padding) };
            line.push_str(&format!("  {before}{cell}{after}"));
        }
        f.write_str(line.trim_end())
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let head: Vec<&str> = self.head.iter().map(|(name, _)| name.as_str()).collect();
        let rows: Vec<Vec<&str>> = self.rows.iter().map(|row| row.iter().map(String::as_str).collect()).collect();
        let width = |column: usize| {
            let cells = rows.iter().chain([&head]).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        write!(f, "{DIM}")?;
        self.line(f, &head, &widths)?;
        write!(f, "{DIM:#}")?;
        for row in &rows {
            writeln!(f)?;
            self.line(f, row, &widths)?;
        }
        Ok(())
    }
}
