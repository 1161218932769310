//! UserState: what one user did, as a set of device parts.
//!
//! ```text
//! 0  4  magic "SVUS"
//! 4  2  version, 1
//! 6  2  number of parts
//! 8  4  total length in bytes
//! 12 .. parts, ascending by device: device u64, sequence u64, length u32 of what follows, then sections:
//!       tag u16, zero u16, length u32, payload
//! ```
//! Sections of a part, in ascending tag order (tables also ascending by id):
//!
//! | tag | payload |
//! |---|---|
//! | 1 profile | entries ascending by field id: `field u64, last u32, type u32 (0 number: f32 bits and 4 zeros, 1 string: key, 2 time: i64 ms), value u64` |
//! | 2 table, any number | `id u64, rows u32, columns u16, cells u16`, then `column id u64, width u32` each; `total_last u32, total f32[cells]`; `key u32[rows]` strictly ascending; `last u32[rows]`; `value f32[cells][rows]` |
//! | 3 history | newest first: `event u32, last u32, item u64` |
//! | 16 and above | reserved (caps, lifetime sketch); readers keep them verbatim |
//!
//! Times are whole seconds since 1970-01-01 UTC. A newer part (higher sequence) of a device replaces the older, so
//! sending a state twice never counts twice; readers add up the parts in device order.

use alloc::vec::Vec;

use crate::program::{MAX_CAPACITY, MAX_HISTORY};
use crate::read::Reader;
use crate::{DecodeError, DecodeErrorKind, F32s, U32s};

/// First bytes of a user state.
pub const MAGIC: [u8; 4] = *b"SVUS";
/// Version of the layout.
pub const VERSION: u16 = 1;
/// Most device parts.
pub const MAX_PARTS: usize = 16;
/// Most entries of a profile.
pub const MAX_PROFILE: usize = 256;
/// Most cells in a row of a table.
pub const MAX_CELLS: usize = 1024;
/// Section tag of the profile.
pub const PROFILE: u16 = 1;
/// Section tag of a counter table.
pub const TABLE: u16 = 2;
/// Section tag of the recent-event history.
pub const HISTORY: u16 = 3;
/// Tags from here on are kept verbatim by readers that do not know them.
pub const FIRST_OPAQUE: u16 = 16;
const PLACE: &str = "user state";
const PART_HEADER: usize = 20;

/// A validated user state.
#[derive(Clone, Copy, Debug, Default)]
pub struct StateView<'a> {
    parts: &'a [u8],
    count: usize,
}

/// What one device knows of the user.
#[derive(Clone, Copy, Debug)]
pub struct PartView<'a> {
    /// Device, unique within the state.
    pub device: u64,
    /// Rises with every version of this part.
    pub sequence: u64,
    sections: &'a [u8],
}

/// One section of a part.
#[derive(Clone, Copy, Debug)]
pub enum SectionView<'a> {
    /// Profile entries.
    Profile(ProfileView<'a>),
    /// A counter table.
    Table(TableView<'a>),
    /// Recent events.
    History(HistoryView<'a>),
    /// A section of another version of the format, kept verbatim.
    Opaque {
        /// Its tag.
        tag: u16,
        /// Its payload.
        payload: &'a [u8],
    },
}

/// Profile entries, ascending by field.
#[derive(Clone, Copy, Debug)]
pub struct ProfileView<'a>(&'a [u8]);

/// One value of a profile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProfileEntry {
    /// [`crate::program::field_id`].
    pub field: u64,
    /// When it was set, in seconds.
    pub last: u32,
    /// The value.
    pub value: ProfileValue,
}

/// A value of a profile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ProfileValue {
    /// A number.
    Number(f32),
    /// Key of a string.
    String(u64),
    /// A time in milliseconds.
    Time(i64),
}

/// Counters of one table.
#[derive(Clone, Copy, Debug)]
pub struct TableView<'a> {
    /// [`crate::program::table_id`].
    pub id: u64,
    columns: &'a [u8],
    /// Time of the last event of all keys, in seconds.
    pub total_last: u32,
    /// Cells of the row that sums all keys ever counted.
    pub total: F32s<'a>,
    /// Keys, strictly ascending.
    pub keys: U32s<'a>,
    /// Time of the last event by row, in seconds; cells are valid as of it.
    pub last: U32s<'a>,
    /// Cells, `[cell][row]`.
    pub cells: F32s<'a>,
}

/// Recent events, newest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct HistoryView<'a>(&'a [u8]);

/// One recent event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HistoryEntry {
    /// When, in seconds.
    pub last: u32,
    /// [`crate::key32`] of the key of the event's name.
    pub event: u32,
    /// Key of the item.
    pub item: u64,
}

impl<'a> StateView<'a> {
    /// Validates `bytes`; empty bytes are the state of an unknown user.
    ///
    /// # Errors
    /// Any deviation from the layout above.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let mut reader = Reader::new(bytes, PLACE);
        if reader.take(4)? != MAGIC {
            return Err(DecodeError::new(DecodeErrorKind::BadMagic, PLACE, 0));
        }
        let version = reader.u16()?;
        if version != VERSION {
            return Err(DecodeError::new(
                DecodeErrorKind::UnsupportedVersion { newest: VERSION, found: version },
                PLACE,
                4,
            ));
        }
        let count = usize::from(reader.u16()?);
        if count > MAX_PARTS {
            return Err(DecodeError::too_large("user state parts", MAX_PARTS as u64, count as u64));
        }
        let total = reader.u32()?;
        if u64::from(total) != bytes.len() as u64 {
            let kind = DecodeErrorKind::Truncated { needed: total.into(), found: bytes.len() as u64 };
            return Err(DecodeError::new(kind, PLACE, 8));
        }
        let parts = reader.take(reader.remaining())?;
        let mut reader = Reader::new(parts, PLACE);
        let mut last_device = None;
        for _ in 0..count {
            let part = read_part(&mut reader)?;
            if last_device >= Some(part.device) {
                return Err(reader.invalid());
            }
            last_device = Some(part.device);
            validate_sections(part.sections)?;
        }
        reader.finish()?;
        Ok(Self { parts, count })
    }

    /// The parts, ascending by device.
    pub fn parts(&self) -> impl Iterator<Item = PartView<'a>> + 'a {
        let mut reader = Reader::new(self.parts, PLACE);
        (0..self.count).map_while(move |_| read_part(&mut reader).ok())
    }
}

fn read_part<'a>(reader: &mut Reader<'a>) -> Result<PartView<'a>, DecodeError> {
    let (device, sequence, len) = (reader.u64()?, reader.u64()?, reader.u32()?);
    Ok(PartView { device, sequence, sections: reader.take(len as usize)? })
}

fn validate_sections(bytes: &[u8]) -> Result<(), DecodeError> {
    let mut reader = Reader::new(bytes, "user state part");
    let mut previous = None;
    while reader.remaining() > 0 {
        let section = read_section(&mut reader)?;
        // One section per tag, except tables: one per id.
        let order = match &section {
            SectionView::Profile(profile) => {
                let ascending = (1..profile.len()).all(|at| profile.get(at - 1).field < profile.get(at).field);
                let typed = profile.0.chunks_exact(ProfileView::ENTRY).all(ProfileView::entry_is_valid);
                if !ascending || !typed || profile.len() > MAX_PROFILE {
                    return Err(reader.invalid());
                }
                (PROFILE, 0)
            }
            SectionView::Table(table) => {
                table.validate()?;
                (TABLE, table.id)
            }
            SectionView::History(history) => {
                let newest_first = (1..history.len()).all(|at| history.get(at - 1) >= history.get(at));
                if !newest_first || history.len() > usize::from(MAX_HISTORY) {
                    return Err(reader.invalid());
                }
                (HISTORY, 0)
            }
            SectionView::Opaque { tag, .. } if *tag >= FIRST_OPAQUE => (*tag, 0),
            SectionView::Opaque { .. } => return Err(reader.invalid()),
        };
        if previous >= Some(order) {
            return Err(reader.invalid());
        }
        previous = Some(order);
    }
    Ok(())
}

fn read_section<'a>(reader: &mut Reader<'a>) -> Result<SectionView<'a>, DecodeError> {
    let (tag, zero, len) = (reader.u16()?, reader.u16()?, reader.u32()?);
    if zero != 0 {
        return Err(reader.invalid());
    }
    let payload = reader.take(len as usize)?;
    let entries =
        |size| if payload.len().is_multiple_of(size) { Ok(payload) } else { Err(DecodeError::invalid(PLACE, 0)) };
    Ok(match tag {
        PROFILE => SectionView::Profile(ProfileView(entries(ProfileView::ENTRY)?)),
        TABLE => SectionView::Table(read_table(payload)?),
        HISTORY => SectionView::History(HistoryView(entries(HistoryView::ENTRY)?)),
        tag => SectionView::Opaque { tag, payload },
    })
}

fn read_table(payload: &[u8]) -> Result<TableView<'_>, DecodeError> {
    let mut reader = Reader::new(payload, "user state table");
    let id = reader.u64()?;
    let (rows, columns, cells) = (reader.u32()? as usize, usize::from(reader.u16()?), usize::from(reader.u16()?));
    // Above the capacity by the slack that eviction allows; see the engine's state module.
    if rows > 2 * usize::from(MAX_CAPACITY) {
        return Err(DecodeError::too_large("user state rows", 2 * u64::from(MAX_CAPACITY), rows as u64));
    }
    let table = TableView {
        id,
        columns: reader.array(columns, 12)?,
        total_last: reader.u32()?,
        total: F32s::new(reader.array(cells, 4)?),
        keys: U32s::new(reader.array(rows, 4)?),
        last: U32s::new(reader.array(rows, 4)?),
        cells: F32s::new(reader.array(cells * rows, 4)?),
    };
    reader.finish()?;
    Ok(table)
}

impl<'a> PartView<'a> {
    /// Its sections, in order.
    pub fn sections(&self) -> impl Iterator<Item = SectionView<'a>> + 'a {
        let mut reader = Reader::new(self.sections, PLACE);
        core::iter::from_fn(move || if reader.remaining() > 0 { read_section(&mut reader).ok() } else { None })
    }
}

impl<'a> TableView<'a> {
    /// Identity and width of each column, in the order of the cells.
    pub fn columns(&self) -> impl Iterator<Item = (u64, usize)> + 'a {
        self.columns.chunks_exact(12).map(|entry| {
            let mut reader = Reader::new(entry, PLACE);
            (reader.u64().unwrap_or(0), reader.u32().unwrap_or(0) as usize)
        })
    }

    fn validate(&self) -> Result<(), DecodeError> {
        let invalid = DecodeError::invalid("user state table", 0);
        let cells = self.total.len();
        // The size first: it bounds the quadratic search for duplicates.
        if cells > MAX_CELLS || self.columns.len() / 12 > MAX_CELLS {
            return Err(invalid);
        }
        let widths = self.columns().map(|(_, width)| width as u64).sum::<u64>();
        let unique = self
            .columns()
            .enumerate()
            .all(|(at, (id, width))| width > 0 && self.columns().take(at).all(|(earlier, _)| earlier != id));
        if widths != cells as u64 || !unique {
            return Err(invalid);
        }
        let mut keys = self.keys.iter();
        let mut previous = keys.next();
        for key in keys {
            if previous >= Some(key) {
                return Err(invalid);
            }
            previous = Some(key);
        }
        let finite = self.cells.iter().chain(self.total.iter()).all(f32::is_finite);
        if finite { Ok(()) } else { Err(invalid) }
    }
}

impl ProfileView<'_> {
    const ENTRY: usize = 24;

    /// Whether the type is known and nothing hides in the bytes that it does not use.
    fn entry_is_valid(entry: &[u8]) -> bool {
        let (ty, number_tail) = (&entry[12..16], &entry[20..24]);
        match ty {
            [0, 0, 0, 0] => number_tail == [0; 4],
            [1 | 2, 0, 0, 0] => true,
            _ => false,
        }
    }

    /// Number of entries.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len() / Self::ENTRY
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Entry `index`, which must be below [`len`](Self::len).
    #[must_use]
    pub fn get(&self, index: usize) -> ProfileEntry {
        let mut reader = Reader::new(&self.0[index * Self::ENTRY..], PLACE);
        let field = reader.u64().unwrap_or(0);
        let last = reader.u32().unwrap_or(0);
        let ty = reader.u32().unwrap_or(0);
        let bits = reader.u64().unwrap_or(0);
        let value = match ty {
            1 => ProfileValue::String(bits),
            2 => ProfileValue::Time(bits as i64),
            _ => ProfileValue::Number(f32::from_bits(bits as u32)),
        };
        ProfileEntry { field, last, value }
    }

    /// The entry of a field.
    #[must_use]
    pub fn find(&self, field: u64) -> Option<ProfileEntry> {
        (0..self.len()).map(|index| self.get(index)).find(|entry| entry.field == field)
    }
}

impl HistoryView<'_> {
    const ENTRY: usize = 16;

    /// Number of events.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len() / Self::ENTRY
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Event `index`, which must be below [`len`](Self::len); 0 is the newest.
    #[must_use]
    pub fn get(&self, index: usize) -> HistoryEntry {
        let mut reader = Reader::new(&self.0[index * Self::ENTRY..], PLACE);
        HistoryEntry {
            event: reader.u32().unwrap_or(0),
            last: reader.u32().unwrap_or(0),
            item: reader.u64().unwrap_or(0),
        }
    }

    /// All events, newest first.
    pub fn iter(&self) -> impl Iterator<Item = HistoryEntry> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }
}

/// Writes a user state.
#[derive(Debug)]
pub struct StateWriter {
    bytes: Vec<u8>,
    parts: u16,
    part_start: usize,
}

impl Default for StateWriter {
    fn default() -> Self {
        let mut bytes = Vec::from(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 6]);
        Self { bytes, parts: 0, part_start: 0 }
    }
}

impl StateWriter {
    /// Opens the next part; devices must ascend.
    pub fn part(&mut self, device: u64, sequence: u64) {
        self.close_part();
        self.parts += 1;
        self.part_start = self.bytes.len();
        self.bytes.extend_from_slice(&device.to_le_bytes());
        self.bytes.extend_from_slice(&sequence.to_le_bytes());
        self.bytes.extend_from_slice(&0_u32.to_le_bytes());
    }

    fn close_part(&mut self) {
        if self.parts > 0 {
            let len = (self.bytes.len() - self.part_start - PART_HEADER) as u32;
            self.bytes[self.part_start + 16..self.part_start + PART_HEADER].copy_from_slice(&len.to_le_bytes());
        }
    }

    fn section(&mut self, tag: u16, payload: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.extend_from_slice(&u32::from(tag).to_le_bytes());
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        payload(&mut self.bytes);
        let len = (self.bytes.len() - at - 4) as u32;
        self.bytes[at..at + 4].copy_from_slice(&len.to_le_bytes());
    }

    /// Writes the profile of the open part: entries ascending by field.
    pub fn profile(&mut self, entries: &[ProfileEntry]) {
        self.section(PROFILE, |bytes| {
            for entry in entries {
                let (ty, bits) = match entry.value {
                    ProfileValue::Number(number) => (0_u32, u64::from(number.to_bits())),
                    ProfileValue::String(key) => (1, key),
                    ProfileValue::Time(time) => (2, time as u64),
                };
                bytes.extend_from_slice(&entry.field.to_le_bytes());
                bytes.extend_from_slice(&entry.last.to_le_bytes());
                bytes.extend_from_slice(&ty.to_le_bytes());
                bytes.extend_from_slice(&bits.to_le_bytes());
            }
        });
    }

    /// Writes a table of the open part. `rows` yields key, time and cells, ascending by key.
    pub fn table<'r>(
        &mut self,
        id: u64,
        columns: &[(u64, usize)],
        total: (u32, &[f32]),
        rows: impl ExactSizeIterator<Item = (u32, u32, &'r [f32])> + Clone,
    ) {
        self.section(TABLE, |bytes| {
            let cells = total.1.len();
            bytes.extend_from_slice(&id.to_le_bytes());
            bytes.extend_from_slice(&(rows.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&(columns.len() as u16).to_le_bytes());
            bytes.extend_from_slice(&(cells as u16).to_le_bytes());
            for (id, width) in columns {
                bytes.extend_from_slice(&id.to_le_bytes());
                bytes.extend_from_slice(&(*width as u32).to_le_bytes());
            }
            bytes.extend_from_slice(&total.0.to_le_bytes());
            bytes.extend(total.1.iter().flat_map(|cell| cell.to_le_bytes()));
            bytes.extend(rows.clone().flat_map(|row| row.0.to_le_bytes()));
            bytes.extend(rows.clone().flat_map(|row| row.1.to_le_bytes()));
            for cell in 0..cells {
                bytes.extend(rows.clone().flat_map(|row| row.2[cell].to_le_bytes()));
            }
        });
    }

    /// Writes the history of the open part, newest first.
    pub fn history(&mut self, events: &[HistoryEntry]) {
        self.section(HISTORY, |bytes| {
            for event in events {
                bytes.extend_from_slice(&event.event.to_le_bytes());
                bytes.extend_from_slice(&event.last.to_le_bytes());
                bytes.extend_from_slice(&event.item.to_le_bytes());
            }
        });
    }

    /// Writes a section of another version, as it was read.
    pub fn opaque(&mut self, tag: u16, payload: &[u8]) {
        self.section(tag, |bytes| bytes.extend_from_slice(payload));
    }

    /// The state's bytes.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.close_part();
        self.bytes[6..8].copy_from_slice(&self.parts.to_le_bytes());
        let total = (self.bytes.len() as u32).to_le_bytes();
        self.bytes[8..12].copy_from_slice(&total);
        self.bytes
    }
}
