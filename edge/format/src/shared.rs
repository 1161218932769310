//! SharedState: item fields and global counters, as of one refresh.
//!
//! | tag | content |
//! |---|---|
//! | `0x01` | [`SharedMetaV1`] in postcard |
//! | `0x02` | items: `key u64[items]` strictly ascending, `prefix u32[2^bits + 1]` |
//! | `0x0001_0000 + i` | values of field i, by item: number `f32[n]`; time `i64[n]`; string `code u32[n], zeros to a multiple of 8, dictionary u64[m]`, strictly ascending from 1, where code m means missing; tokens `start u32[n + 1]`, zeros to a multiple of 8, `key u64[m]`, ascending within an item |
//! | `0x0002_0000 + i` | counter table i: `key u64[rows]` strictly ascending, `prefix u32[2^bits + 1]`, `last u32[rows]`, `value f32[columns][rows]`, `total_last u32`, `total f32[columns]` |
//!
//! Keys are hashes and so uniform: `prefix[p]` is the first row whose upper `bits` bits are at least p, and a look-up
//! searches two keys or so instead of the whole table.

use alloc::vec::Vec;
use core::ops::Range;

use serde::{Deserialize, Serialize};

use crate::container::{Container, ContentId, Kind};
use crate::packed::Packed;
use crate::program::{Decay, FieldType, MAX_COLUMNS, MAX_FIELDS, MAX_TABLES, MAX_TOKENS};
use crate::{AlignedBytes, DecodeError, DecodeErrorKind};

/// Tag of the metadata.
pub const META_TAG: u32 = 0x01;
/// Tag of the item keys.
pub const ITEMS_TAG: u32 = 0x02;
/// Base of the field sections' tags.
pub const FIELD_TAG: u32 = 0x0001_0000;
/// Base of the counter tables' tags.
pub const TABLE_TAG: u32 = 0x0002_0000;
/// Version of every section.
pub const VERSION: u16 = 1;

/// What the other sections hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedMetaV1 {
    /// Time of the refresh, milliseconds since 1970-01-01 UTC: no later event is in the counters.
    pub as_of_ms: i64,
    /// Number of items.
    pub items: u32,
    /// Bits of the item prefix table.
    pub item_bits: u8,
    /// Fields, by [`crate::program::field_id`].
    pub fields: Vec<(u64, FieldType)>,
    /// Counter tables.
    pub tables: Vec<SharedTableV1>,
}

/// One table of global counters. A counter has one cell, its value at the refresh; half-life counters go on decaying
/// from there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedTableV1 {
    /// [`crate::program::table_id`].
    pub id: u64,
    /// Number of keys.
    pub rows: u32,
    /// Bits of the prefix table.
    pub bits: u8,
    /// Columns, by [`crate::program::column_id`], and how they decay.
    pub columns: Vec<(u64, Decay)>,
}

impl SharedMetaV1 {
    #[inline(never)]
    fn read(packed: &mut Packed<'_>) -> Self {
        let table = |packed: &mut Packed<'_>| SharedTableV1 {
            id: packed.u64(),
            rows: packed.u32(),
            bits: packed.byte(),
            columns: packed.list(|packed| (packed.u64(), Decay::read(packed))),
        };
        Self {
            as_of_ms: packed.i64(),
            items: packed.u32(),
            item_bits: packed.byte(),
            fields: packed.list(|packed| (packed.u64(), FieldType::read(packed))),
            tables: packed.list(table),
        }
    }
}

/// A validated shared state, read in place.
#[derive(Clone, Debug)]
pub struct SharedState {
    bytes: AlignedBytes,
    id: ContentId,
    meta: SharedMetaV1,
    items: Index,
    fields: Vec<FieldRanges>,
    tables: Vec<TableRanges>,
}

#[derive(Clone, Debug)]
struct Index {
    keys: Range<usize>,
    prefix: Range<usize>,
    bits: u8,
}

#[derive(Clone, Debug)]
enum FieldRanges {
    Number(Range<usize>),
    Time(Range<usize>),
    String { codes: Range<usize>, dictionary: Range<usize> },
    Tokens { starts: Range<usize>, keys: Range<usize> },
}

#[derive(Clone, Debug)]
struct TableRanges {
    index: Index,
    last: Range<usize>,
    values: Range<usize>,
    total_last: u32,
    totals: Range<usize>,
}

/// Values of one field, by item row.
#[derive(Clone, Copy, Debug)]
pub enum SharedField<'a> {
    /// One number per item.
    Number(&'a [f32]),
    /// One time per item.
    Time(&'a [i64]),
    /// A code per item into the dictionary of keys; the code past its end is missing.
    String {
        /// One per item.
        codes: &'a [u32],
        /// Keys of the values.
        dictionary: &'a [u64],
    },
    /// A range of keys per item.
    Tokens {
        /// Starts of the items' ranges, and the end of the last.
        starts: &'a [u32],
        /// Keys, ascending within an item.
        keys: &'a [u64],
    },
}

/// One table of global counters.
#[derive(Clone, Copy, Debug)]
pub struct SharedTable<'a> {
    /// Its identity and columns.
    pub meta: &'a SharedTableV1,
    keys: &'a [u64],
    prefix: &'a [u32],
    last: &'a [u32],
    values: &'a [f32],
    totals: &'a [f32],
    /// Time of the last event of all, in seconds.
    pub total_last: u32,
}

impl SharedState {
    /// Validates `bytes`.
    ///
    /// # Errors
    /// Any deviation from the layout above.
    pub fn load(bytes: AlignedBytes) -> Result<Self, DecodeError> {
        let container = Container::parse(&bytes, Kind::SharedState)?;
        let section = container.require(META_TAG, VERSION, "shared metadata")?;
        let mut packed = Packed::new(&bytes[section.range.clone()], "shared metadata")?;
        let meta = SharedMetaV1::read(&mut packed);
        packed.finish()?;
        for (place, found, limit) in
            [("shared fields", meta.fields.len(), MAX_FIELDS), ("shared tables", meta.tables.len(), MAX_TABLES)]
        {
            if found > limit {
                return Err(DecodeError::too_large(place, limit as u64, found as u64));
            }
        }
        container.refuse_unknown(|tag| {
            tag == META_TAG
                || tag == ITEMS_TAG
                || (FIELD_TAG..FIELD_TAG + meta.fields.len() as u32).contains(&tag)
                || (TABLE_TAG..TABLE_TAG + meta.tables.len() as u32).contains(&tag)
        })?;
        let mut cut = Cut::section(&container, ITEMS_TAG, "shared items")?;
        let items = cut.index(&bytes, meta.items as usize, meta.item_bits)?;
        cut.finish()?;
        let mut fields = Vec::with_capacity(meta.fields.len());
        for (index, (id, ty)) in meta.fields.iter().enumerate() {
            if meta.fields[..index].iter().any(|(earlier, _)| earlier == id) {
                return Err(DecodeError::invalid("shared field declared twice", index));
            }
            fields.push(field_ranges(&container, &bytes, index, *ty, meta.items as usize)?);
        }
        let mut tables = Vec::with_capacity(meta.tables.len());
        for (index, table) in meta.tables.iter().enumerate() {
            let columns = &table.columns;
            // The size first: it bounds the quadratic search for duplicates.
            let valid = columns.len() <= MAX_COLUMNS
                && meta.tables[..index].iter().all(|earlier| earlier.id != table.id)
                && columns.iter().enumerate().all(|(at, (id, decay))| {
                    decay.is_valid() && columns[..at].iter().all(|(earlier, _)| earlier != id)
                });
            if !valid {
                return Err(DecodeError::invalid("shared table", index));
            }
            tables.push(table_ranges(&container, &bytes, index, table)?);
        }
        let id = *container.id();
        Ok(Self { bytes, id, meta, items, fields, tables })
    }

    /// Content address.
    #[must_use]
    pub const fn id(&self) -> &ContentId {
        &self.id
    }

    /// What it holds.
    #[must_use]
    pub const fn meta(&self) -> &SharedMetaV1 {
        &self.meta
    }

    /// Keys of the items, strictly ascending.
    #[must_use]
    pub fn item_keys(&self) -> &[u64] {
        view(&self.bytes, &self.items.keys)
    }

    /// Row of the item with this key.
    #[must_use]
    pub fn item_row(&self, key: u64) -> Option<u32> {
        find(self.item_keys(), view(&self.bytes, &self.items.prefix), self.items.bits, key)
    }

    /// Position of a field, by its id.
    #[must_use]
    pub fn field_position(&self, id: u64) -> Option<usize> {
        self.meta.fields.iter().position(|(other, _)| *other == id)
    }

    /// Values of the field at `position`.
    #[must_use]
    pub fn field(&self, position: usize) -> Option<SharedField<'_>> {
        Some(match self.fields.get(position)? {
            FieldRanges::Number(values) => SharedField::Number(view(&self.bytes, values)),
            FieldRanges::Time(values) => SharedField::Time(view(&self.bytes, values)),
            FieldRanges::String { codes, dictionary } => {
                SharedField::String { codes: view(&self.bytes, codes), dictionary: view(&self.bytes, dictionary) }
            }
            FieldRanges::Tokens { starts, keys } => {
                SharedField::Tokens { starts: view(&self.bytes, starts), keys: view(&self.bytes, keys) }
            }
        })
    }

    /// Position of a counter table, by its id.
    #[must_use]
    pub fn table_position(&self, id: u64) -> Option<usize> {
        self.meta.tables.iter().position(|table| table.id == id)
    }

    /// The counter table at `position`.
    #[must_use]
    pub fn table(&self, position: usize) -> Option<SharedTable<'_>> {
        let ranges = self.tables.get(position)?;
        Some(SharedTable {
            meta: self.meta.tables.get(position)?,
            keys: view(&self.bytes, &ranges.index.keys),
            prefix: view(&self.bytes, &ranges.index.prefix),
            last: view(&self.bytes, &ranges.last),
            values: view(&self.bytes, &ranges.values),
            totals: view(&self.bytes, &ranges.totals),
            total_last: ranges.total_last,
        })
    }
}

impl SharedField<'_> {
    /// Key of a string field's value for the item at `row`; 0 is missing.
    #[must_use]
    #[inline]
    pub fn key(&self, row: u32) -> u64 {
        let Self::String { codes, dictionary } = self else { return 0 };
        let code = codes.get(row as usize).copied().unwrap_or(u32::MAX);
        dictionary.get(code as usize).copied().unwrap_or(0)
    }

    /// Keys of a tokens field for the item at `row`.
    #[must_use]
    pub fn tokens(&self, row: u32) -> &[u64] {
        let Self::Tokens { starts, keys } = self else { return &[] };
        let row = row as usize;
        match (starts.get(row), starts.get(row + 1)) {
            (Some(start), Some(end)) => keys.get(*start as usize..*end as usize).unwrap_or(&[]),
            _ => &[],
        }
    }
}

impl<'a> SharedTable<'a> {
    /// Keys, strictly ascending.
    #[must_use]
    pub const fn keys(&self) -> &'a [u64] {
        self.keys
    }

    /// Row of `key`.
    #[must_use]
    #[inline]
    pub fn row(&self, key: u64) -> Option<u32> {
        find(self.keys, self.prefix, self.meta.bits, key)
    }

    /// Values of column `column`, by row.
    #[must_use]
    pub fn column(&self, column: usize) -> &'a [f32] {
        let rows = self.keys.len();
        self.values.get(column * rows..(column + 1) * rows).unwrap_or(&[])
    }

    /// Sum of column `column` over all keys.
    #[must_use]
    pub fn total(&self, column: usize) -> f32 {
        self.totals.get(column).copied().unwrap_or(0.0)
    }

    /// Time of the last event by row, in seconds since 1970-01-01 UTC.
    #[must_use]
    pub const fn last(&self) -> &'a [u32] {
        self.last
    }
}

/// Row of `key` in ascending `keys`.
#[inline]
fn find(keys: &[u64], prefix: &[u32], bits: u8, key: u64) -> Option<u32> {
    let bucket = if bits == 0 { 0 } else { (key >> (64 - u32::from(bits))) as usize };
    let (start, end) = (*prefix.get(bucket)? as usize, *prefix.get(bucket + 1)? as usize);
    // A binary search, because keys chosen by an adversary may all share one prefix.
    let offset = keys.get(start..end)?.binary_search(&key).ok()?;
    Some((start + offset) as u32)
}

/// A section's elements. The range was cut with the right size and an aligned start, so the cast cannot fail; were it
/// to, the empty view makes every look-up miss.
fn view<'a, T: bytemuck::AnyBitPattern>(bytes: &'a AlignedBytes, range: &Range<usize>) -> &'a [T] {
    bytes.get(range.clone()).and_then(|bytes| bytemuck::try_cast_slice(bytes).ok()).unwrap_or(&[])
}

/// Cuts a section into arrays.
struct Cut {
    at: usize,
    end: usize,
    place: &'static str,
}

impl Cut {
    fn section(container: &Container, tag: u32, place: &'static str) -> Result<Self, DecodeError> {
        let range = container.require(tag, VERSION, place)?.range.clone();
        Ok(Self { at: range.start, end: range.end, place })
    }

    fn array<T>(&mut self, count: usize) -> Result<Range<usize>, DecodeError> {
        let len = count.checked_mul(size_of::<T>()).filter(|len| *len <= self.end - self.at);
        let Some(len) = len else {
            let kind = DecodeErrorKind::Truncated {
                needed: (count as u64).saturating_mul(size_of::<T>() as u64),
                found: (self.end - self.at) as u64,
            };
            return Err(DecodeError::new(kind, self.place, self.at));
        };
        if !self.at.is_multiple_of(align_of::<T>()) {
            return Err(self.invalid());
        }
        self.at += len;
        Ok(self.at - len..self.at)
    }

    /// Keys and prefix table; proves that the keys ascend and that the prefixes partition them.
    fn index(&mut self, bytes: &AlignedBytes, count: usize, bits: u8) -> Result<Index, DecodeError> {
        if bits > 24 {
            return Err(self.invalid());
        }
        let index = Index { keys: self.array::<u64>(count)?, prefix: self.array::<u32>((1 << bits) + 1)?, bits };
        let keys: &[u64] = view(bytes, &index.keys);
        let prefix: &[u32] = view(bytes, &index.prefix);
        let ascending = keys.windows(2).all(|pair| pair[0] < pair[1]);
        if ascending && prefix_of(keys, bits).eq(prefix.iter().copied()) { Ok(index) } else { Err(self.invalid()) }
    }

    const fn invalid(&self) -> DecodeError {
        DecodeError::invalid(self.place, self.at)
    }

    /// Zeros up to the next multiple of 8.
    fn padding(&mut self, bytes: &AlignedBytes) -> Result<(), DecodeError> {
        let zeros = self.array::<u8>(self.at.next_multiple_of(8) - self.at)?;
        if view::<u8>(bytes, &zeros).iter().all(|byte| *byte == 0) { Ok(()) } else { Err(self.invalid()) }
    }

    fn rest<T>(&mut self) -> Result<Range<usize>, DecodeError> {
        let left = self.end - self.at;
        if left.is_multiple_of(size_of::<T>()) { self.array::<T>(left / size_of::<T>()) } else { Err(self.invalid()) }
    }

    fn finish(self) -> Result<(), DecodeError> {
        if self.at == self.end { Ok(()) } else { Err(self.invalid()) }
    }
}

/// For each prefix, and one past the last, the number of keys below it.
fn prefix_of(keys: &[u64], bits: u8) -> impl Iterator<Item = u32> + '_ {
    let mut row = 0;
    (0..=1_u64 << bits).map(move |prefix| {
        while row < keys.len() && (bits == 0 && prefix == 1 || bits > 0 && keys[row] >> (64 - u32::from(bits)) < prefix)
        {
            row += 1;
        }
        row as u32
    })
}

fn field_ranges(
    container: &Container,
    bytes: &AlignedBytes,
    index: usize,
    ty: FieldType,
    items: usize,
) -> Result<FieldRanges, DecodeError> {
    let mut cut = Cut::section(container, FIELD_TAG + index as u32, "shared field")?;
    let ranges = match ty {
        FieldType::Number => FieldRanges::Number(cut.array::<f32>(items)?),
        FieldType::Time => FieldRanges::Time(cut.array::<i64>(items)?),
        FieldType::String => {
            let codes = cut.array::<u32>(items)?;
            cut.padding(bytes)?;
            let dictionary = cut.rest::<u64>()?;
            let values: &[u64] = view(bytes, &dictionary);
            let ascending = values.first() != Some(&0) && values.windows(2).all(|pair| pair[0] < pair[1]);
            if !ascending || view::<u32>(bytes, &codes).iter().any(|code| *code as usize > values.len()) {
                return Err(cut.invalid());
            }
            FieldRanges::String { codes, dictionary }
        }
        FieldType::Tokens => {
            let starts = cut.array::<u32>(items + 1)?;
            cut.padding(bytes)?;
            let keys = cut.rest::<u64>()?;
            let (offsets, tokens): (&[u32], &[u64]) = (view(bytes, &starts), view(bytes, &keys));
            let partition = offsets.first() == Some(&0)
                && offsets.last().is_some_and(|end| *end as usize == tokens.len())
                && offsets.windows(2).all(|pair| {
                    pair[0] <= pair[1]
                        && (pair[1] - pair[0]) as usize <= MAX_TOKENS
                        && tokens
                            .get(pair[0] as usize..pair[1] as usize)
                            .is_some_and(|item| item.windows(2).all(|pair| pair[0] < pair[1]))
                });
            if !partition {
                return Err(cut.invalid());
            }
            FieldRanges::Tokens { starts, keys }
        }
    };
    cut.finish()?;
    Ok(ranges)
}

fn table_ranges(
    container: &Container,
    bytes: &AlignedBytes,
    index: usize,
    meta: &SharedTableV1,
) -> Result<TableRanges, DecodeError> {
    let mut cut = Cut::section(container, TABLE_TAG + index as u32, "shared table")?;
    let (rows, columns) = (meta.rows as usize, meta.columns.len());
    let index = cut.index(bytes, rows, meta.bits)?;
    let last = cut.array::<u32>(rows)?;
    let values = cut.array::<f32>(rows.checked_mul(columns).ok_or(cut.invalid())?)?;
    let total_last = view::<u32>(bytes, &cut.array::<u32>(1)?).first().copied().unwrap_or(0);
    let totals = cut.array::<f32>(columns)?;
    if view::<f32>(bytes, &values).iter().chain(view(bytes, &totals)).any(|value| !value.is_finite()) {
        return Err(cut.invalid());
    }
    cut.finish()?;
    Ok(TableRanges { index, last, values, total_last, totals })
}

/// What a shared state is built from.
#[cfg(feature = "id")]
#[derive(Clone, Debug, Default)]
pub struct SharedParts {
    /// Time of the refresh, milliseconds.
    pub as_of_ms: i64,
    /// Item keys, strictly ascending.
    pub items: Vec<u64>,
    /// Fields: id and one value per item.
    pub fields: Vec<(u64, FieldValues)>,
    /// Counter tables.
    pub tables: Vec<TableParts>,
}

/// Values of a field, in the order of the items.
#[cfg(feature = "id")]
#[derive(Clone, Debug)]
pub enum FieldValues {
    /// NaN is missing.
    Number(Vec<f32>),
    /// The smallest value is missing.
    Time(Vec<i64>),
    /// Keys; 0 is missing.
    String(Vec<u64>),
    /// Sets of keys; sorted and made unique by the writer.
    Tokens(Vec<Vec<u64>>),
}

/// One counter table.
#[cfg(feature = "id")]
#[derive(Clone, Debug, Default)]
pub struct TableParts {
    /// [`crate::program::table_id`].
    pub id: u64,
    /// Columns.
    pub columns: Vec<(u64, Decay)>,
    /// Keys, strictly ascending.
    pub keys: Vec<u64>,
    /// Time of the last event, by key, in seconds.
    pub last: Vec<u32>,
    /// Values, `[column][row]`.
    pub values: Vec<Vec<f32>>,
    /// Time of the last event of all.
    pub total_last: u32,
    /// Sum of each column over all keys.
    pub totals: Vec<f32>,
}

#[cfg(feature = "id")]
impl SharedState {
    /// The parts that are left when only some items are kept: their fields, their rows of counters, and all rows that are
    /// not of items. For a page or an edge that shows a part of the shop; totals stay those of the whole shop.
    #[must_use]
    pub fn of_items(&self, keep: impl Fn(u64) -> bool) -> SharedParts {
        let rows: Vec<u32> = (0..).zip(self.item_keys()).filter(|(_, key)| keep(**key)).map(|(row, _)| row).collect();
        let field = |position: usize| {
            let field = self.field(position)?;
            Some(match field {
                SharedField::Number(values) => {
                    FieldValues::Number(rows.iter().map(|row| values[*row as usize]).collect())
                }
                SharedField::Time(values) => FieldValues::Time(rows.iter().map(|row| values[*row as usize]).collect()),
                SharedField::String { .. } => FieldValues::String(rows.iter().map(|row| field.key(*row)).collect()),
                SharedField::Tokens { .. } => {
                    FieldValues::Tokens(rows.iter().map(|row| field.tokens(*row).to_vec()).collect())
                }
            })
        };
        let fields = self.meta.fields.iter().enumerate();
        SharedParts {
            as_of_ms: self.meta.as_of_ms,
            items: rows.iter().map(|row| self.item_keys()[*row as usize]).collect(),
            fields: fields.filter_map(|(position, (id, _))| Some((*id, field(position)?))).collect(),
            tables: (0..self.tables.len())
                .filter_map(|at| Some(self.table(at)?.parts(|key| keep(key) || self.item_row(key).is_none())))
                .collect(),
        }
    }
}

#[cfg(feature = "id")]
impl SharedTable<'_> {
    fn parts(&self, keep: impl Fn(u64) -> bool) -> TableParts {
        let rows: Vec<usize> = (0..self.keys.len()).filter(|row| keep(self.keys[*row])).collect();
        let columns = 0..self.meta.columns.len();
        TableParts {
            id: self.meta.id,
            columns: self.meta.columns.clone(),
            keys: rows.iter().map(|row| self.keys[*row]).collect(),
            last: rows.iter().map(|row| self.last[*row]).collect(),
            values: columns.map(|column| rows.iter().map(|row| self.column(column)[*row]).collect()).collect(),
            total_last: self.total_last,
            totals: self.totals.to_vec(),
        }
    }
}

#[cfg(feature = "id")]
impl SharedParts {
    /// The container's bytes. All vectors must have one element per item or row, as their documentation says;
    /// [`SharedState::load`] refuses the bytes otherwise.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        use crate::container::ContainerBuilder;
        let meta = SharedMetaV1 {
            as_of_ms: self.as_of_ms,
            items: self.items.len() as u32,
            item_bits: prefix_bits(self.items.len()),
            fields: self.fields.iter().map(|(id, values)| (*id, values.ty())).collect(),
            tables: self
                .tables
                .iter()
                .map(|table| SharedTableV1 {
                    id: table.id,
                    rows: table.keys.len() as u32,
                    bits: prefix_bits(table.keys.len()),
                    columns: table.columns.clone(),
                })
                .collect(),
        };
        let mut builder = ContainerBuilder::new(Kind::SharedState)
            .required(META_TAG, VERSION, crate::container::encode(&meta))
            .required(ITEMS_TAG, VERSION, index_bytes(&self.items));
        for (index, (_, values)) in self.fields.iter().enumerate() {
            builder = builder.required(FIELD_TAG + index as u32, VERSION, values.encode());
        }
        for (index, table) in self.tables.iter().enumerate() {
            builder = builder.required(TABLE_TAG + index as u32, VERSION, table.encode());
        }
        builder.build()
    }
}

#[cfg(feature = "id")]
impl FieldValues {
    const fn ty(&self) -> FieldType {
        match self {
            Self::Number(_) => FieldType::Number,
            Self::Time(_) => FieldType::Time,
            Self::String(_) => FieldType::String,
            Self::Tokens(_) => FieldType::Tokens,
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Number(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Time(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::String(values) => {
                let mut dictionary: Vec<u64> = values.iter().copied().filter(|key| *key != 0).collect();
                dictionary.sort_unstable();
                dictionary.dedup();
                let code = |key| dictionary.binary_search(key).unwrap_or(dictionary.len()) as u32;
                let mut bytes: Vec<u8> = values.iter().flat_map(|key| code(key).to_le_bytes()).collect();
                bytes.resize(bytes.len().next_multiple_of(8), 0);
                bytes.extend(dictionary.iter().flat_map(|key| key.to_le_bytes()));
                bytes
            }
            Self::Tokens(values) => {
                let (mut starts, mut keys) = (Vec::from(0_u32.to_le_bytes()), Vec::new());
                let mut count = 0_u32;
                for tokens in values {
                    let mut tokens = tokens.clone();
                    tokens.sort_unstable();
                    tokens.dedup();
                    count += tokens.len() as u32;
                    starts.extend_from_slice(&count.to_le_bytes());
                    keys.extend(tokens.iter().flat_map(|key| key.to_le_bytes()));
                }
                starts.resize(starts.len().next_multiple_of(8), 0);
                starts.extend_from_slice(&keys);
                starts
            }
        }
    }
}

#[cfg(feature = "id")]
impl TableParts {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = index_bytes(&self.keys);
        bytes.extend(self.last.iter().flat_map(|last| last.to_le_bytes()));
        bytes.extend(self.values.iter().flatten().flat_map(|value| value.to_le_bytes()));
        bytes.extend_from_slice(&self.total_last.to_le_bytes());
        bytes.extend(self.totals.iter().flat_map(|value| value.to_le_bytes()));
        bytes
    }
}

#[cfg(feature = "id")]
fn index_bytes(keys: &[u64]) -> Vec<u8> {
    let prefix = prefix_of(keys, prefix_bits(keys.len()));
    keys.iter().flat_map(|key| key.to_le_bytes()).chain(prefix.flat_map(u32::to_le_bytes)).collect()
}

/// About two keys to a prefix.
#[cfg(feature = "id")]
fn prefix_bits(keys: usize) -> u8 {
    (usize::BITS - (keys / 2).leading_zeros()).saturating_sub(1).min(24) as u8
}
