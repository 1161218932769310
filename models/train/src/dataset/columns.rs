//! Flat Parquet columns in lockstep batches, through the column readers alone.
//!
//! The tables here are wide flat records of nullable primitives, and 20 million rows long in the worst case. Reading the few
//! columns that matter, a batch at a time, keeps memory constant and needs no columnar framework beside the format itself.

use bytes::Bytes;
use parquet::column::reader::{ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{ByteArray, DataType};
use parquet::file::reader::{FileReader, RowGroupReader};
use parquet::file::serialized_reader::SerializedFileReader;

use super::DatasetError;

/// Rows per batch: large enough to amortise the call, small enough to stay in the second-level cache.
const BATCH: usize = 1 << 14;

/// An open table.
pub(super) struct Table {
    name: &'static str,
    file: SerializedFileReader<Bytes>,
}

impl Table {
    pub(super) fn open(name: &'static str, bytes: Vec<u8>) -> Result<Self, DatasetError> {
        let file = SerializedFileReader::new(Bytes::from(bytes))
            .map_err(|source| DatasetError::Parquet { table: name, source })?;
        Ok(Self { name, file })
    }

    /// Number of rows, as the file states it.
    pub(super) fn rows(&self) -> u64 {
        u64::try_from(self.file.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Calls `each` with every group of rows in turn.
    pub(super) fn for_each_group(
        &self,
        mut each: impl FnMut(&RowGroup<'_>) -> Result<(), DatasetError>,
    ) -> Result<(), DatasetError> {
        for index in 0..self.file.num_row_groups() {
            let reader = self.file.get_row_group(index).map_err(|source| self.error(source))?;
            each(&RowGroup { table: self.name, reader: &*reader })?;
        }
        Ok(())
    }

    fn error(&self, source: parquet::errors::ParquetError) -> DatasetError {
        DatasetError::Parquet { table: self.name, source }
    }
}

/// Some consecutive rows of a [`Table`].
pub(super) struct RowGroup<'t> {
    table: &'static str,
    reader: &'t dyn RowGroupReader,
}

impl RowGroup<'_> {
    /// Number of rows in the group.
    pub(super) fn rows(&self) -> usize {
        usize::try_from(self.reader.metadata().num_rows()).unwrap_or(0)
    }

    /// Opens a column by name.
    pub(super) fn column<T: DataType>(&self, name: &'static str) -> Result<Column<T>, DatasetError> {
        let schema = self.reader.metadata().schema_descr();
        let found = schema.columns().iter().position(|c| c.path().string() == name);
        let index = found.ok_or_else(|| self.shape(format!("has no column `{name}`")))?;
        let physical = schema.column(index).physical_type();
        if physical != T::get_physical_type() || schema.column(index).max_rep_level() > 0 {
            return Err(self.shape(format!("column `{name}` holds {physical}, not flat {}", T::get_physical_type())));
        }
        let reader = self
            .reader
            .get_column_reader(index)
            .map_err(|source| DatasetError::Parquet { table: self.table, source })?;
        Ok(Column {
            table: self.table,
            name,
            present: schema.column(index).max_def_level(),
            reader: get_typed_column_reader(reader),
            levels: Vec::with_capacity(BATCH),
            values: Vec::with_capacity(BATCH),
        })
    }

    fn shape(&self, reason: String) -> DatasetError {
        DatasetError::Table { table: self.table, reason }
    }
}

/// One column of a [`RowGroup`], holding one batch at a time.
pub(super) struct Column<T: DataType> {
    table: &'static str,
    name: &'static str,
    /// The definition level of a value that is not null.
    present: i16,
    reader: ColumnReaderImpl<T>,
    levels: Vec<i16>,
    values: Vec<T::T>,
}

impl<T: DataType> Column<T> {
    /// The next batch, whose size depends on nothing but the rows left, so that columns of a group stay in step.
    /// A null is an error that names the column.
    pub(super) fn required(&mut self) -> Result<&[T::T], DatasetError> {
        let rows = self.advance()?;
        if self.values.len() < rows {
            return Err(DatasetError::Table {
                table: self.table,
                reason: format!("column `{}` has a null", self.name),
            });
        }
        Ok(&self.values)
    }

    fn advance(&mut self) -> Result<usize, DatasetError> {
        self.levels.clear();
        self.values.clear();
        // One call stops at the end of a dictionary-encoded run of pages; ask until the batch is full.
        let mut rows = 0;
        while rows < BATCH {
            let (read, ..) = self
                .reader
                .read_records(BATCH - rows, Some(&mut self.levels), None, &mut self.values)
                .map_err(|source| DatasetError::Parquet { table: self.table, source })?;
            if read == 0 {
                break;
            }
            rows += read;
        }
        Ok(rows)
    }
}

impl Column<parquet::data_type::ByteArrayType> {
    /// The next batch of strings, null as the empty string.
    pub(super) fn strings(&mut self) -> Result<Vec<String>, DatasetError> {
        let rows = self.advance()?;
        let mut present = self.values.iter();
        let mut next = |is_present| match is_present {
            true => present.next().map(text).unwrap_or_default(),
            false => String::new(),
        };
        Ok(match self.present {
            0 => (0..rows).map(|_| next(true)).collect(),
            level => self.levels.iter().map(|&l| next(l == level)).collect(),
        })
    }
}

fn text(bytes: &ByteArray) -> String {
    String::from_utf8_lossy(bytes.data()).into_owned()
}
