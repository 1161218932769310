//! The frame that Request and Decision share: fixed fields, then blocks found through a directory.
//!
//! ```text
//! 0  4  magic
//! 4  2  version
//! 6  2  number of blocks
//! 8  4  total length in bytes
//! 12 4  zero
//! 16 .. fixed fields of the message (length known from magic and version)
//! .. .. directory, 24 bytes a block: tag u16, scope u8, type u8, flags u32, field u64, offset u32, length u32
//! .. .. blocks in directory order, each at the next multiple of 4, zeros between
//! ```
//! New kinds of block are added without a new version: a reader passes over tags that it does not know, unless flag
//! bit 0 says that it must not.

use alloc::vec::Vec;

use crate::read::Reader;
use crate::{DecodeError, DecodeErrorKind};

/// Bytes before the fixed fields.
pub const FRAME_LEN: usize = 16;
const ENTRY_LEN: usize = 24;
/// Largest number of blocks that a reader accepts.
pub const MAX_BLOCKS: usize = 320;
/// A reader that does not know the tag must refuse the message.
pub const FLAG_REQUIRED: u32 = 1;

/// What is common to all messages of one kind.
#[derive(Clone, Copy, Debug)]
pub struct MessageKind {
    /// First bytes.
    pub magic: [u8; 4],
    /// Version written, and the newest read.
    pub version: u16,
    /// Length of the fixed fields.
    pub fixed_len: usize,
    /// Name in error messages.
    pub place: &'static str,
}

/// Directory entry of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockHeader {
    /// What it holds.
    pub tag: u16,
    /// Scope of a column; else 0.
    pub scope: u8,
    /// Type of a column; else 0.
    pub ty: u8,
    /// [`FLAG_REQUIRED`] or 0.
    pub flags: u32,
    /// Field of a column; else 0.
    pub field: u64,
}

impl BlockHeader {
    /// Whether all that only a column uses is zero.
    pub(crate) const fn is_plain(&self) -> bool {
        self.scope == 0 && self.ty == 0 && self.field == 0
    }
}

/// A message whose frame and directory are valid.
#[derive(Clone, Copy, Debug)]
pub struct MessageView<'a> {
    bytes: &'a [u8],
    directory: &'a [u8],
    /// The fixed fields.
    pub fixed: &'a [u8],
}

impl<'a> MessageView<'a> {
    /// Validates the frame and directory of `bytes`. `knows` says which tags the caller understands.
    ///
    /// # Errors
    /// Any deviation from the layout, or a required block that is not known.
    pub fn parse(bytes: &'a [u8], kind: MessageKind, knows: impl Fn(u16) -> bool) -> Result<Self, DecodeError> {
        let place = kind.place;
        let mut reader = Reader::new(bytes, place);
        if reader.take(4)? != kind.magic {
            return Err(DecodeError::new(DecodeErrorKind::BadMagic, place, 0));
        }
        let version = reader.u16()?;
        if version != kind.version {
            let kind = DecodeErrorKind::UnsupportedVersion { newest: kind.version, found: version };
            return Err(DecodeError::new(kind, place, 4));
        }
        let count = usize::from(reader.u16()?);
        let total = reader.u32()?;
        if u64::from(total) != bytes.len() as u64 {
            let kind = DecodeErrorKind::Truncated { needed: total.into(), found: bytes.len() as u64 };
            return Err(DecodeError::new(kind, place, 8));
        }
        if reader.u32()? != 0 {
            return Err(reader.invalid());
        }
        if count > MAX_BLOCKS {
            return Err(DecodeError::too_large("message blocks", MAX_BLOCKS as u64, count as u64));
        }
        let fixed = reader.take(kind.fixed_len)?;
        let directory = reader.array(count, ENTRY_LEN)?;
        let mut end = reader.offset();
        let mut entries = Reader::new(directory, place);
        for _ in 0..count {
            let header = read_header(&mut entries)?;
            let (offset, len) = (entries.u32()? as usize, entries.u32()? as usize);
            let start = end.next_multiple_of(4);
            let stop = start.checked_add(len).filter(|stop| *stop <= bytes.len());
            let (true, Some(stop)) = (offset == start && header.flags & !FLAG_REQUIRED == 0, stop) else {
                return Err(entries.invalid());
            };
            if bytes[end..start].iter().any(|byte| *byte != 0) {
                return Err(DecodeError::invalid("block padding", end));
            }
            if header.flags & FLAG_REQUIRED != 0 && !knows(header.tag) {
                let kind = DecodeErrorKind::UnknownSection { tag: header.tag.into() };
                return Err(DecodeError::new(kind, place, start));
            }
            end = stop;
        }
        if end == bytes.len() {
            Ok(Self { bytes, directory, fixed })
        } else {
            Err(DecodeError::invalid("bytes after the last block", end))
        }
    }

    /// The blocks, in order.
    pub fn blocks(&self) -> impl Iterator<Item = (BlockHeader, &'a [u8])> + use<'a> {
        let bytes = self.bytes;
        self.directory.chunks_exact(ENTRY_LEN).filter_map(move |entry| block(bytes, entry))
    }

    /// Position of the first block with this tag and field. A request has a column per field of the model, and each is looked
    /// for: so entries are compared and not read.
    #[must_use]
    pub fn position(&self, tag: u16, field: u64) -> Option<usize> {
        let (tag, field) = (tag.to_le_bytes(), field.to_le_bytes());
        self.directory.as_chunks::<ENTRY_LEN>().0.iter().position(|entry| entry[8..16] == field && entry[..2] == tag)
    }

    /// The block at a position of the directory.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<(BlockHeader, &'a [u8])> {
        block(self.bytes, self.directory.chunks_exact(ENTRY_LEN).nth(position)?)
    }
}

/// The block of a directory's entry.
fn block<'a>(bytes: &'a [u8], entry: &[u8]) -> Option<(BlockHeader, &'a [u8])> {
    let mut reader = Reader::new(entry, "directory");
    let header = read_header(&mut reader).ok()?;
    let (offset, len) = (reader.u32().ok()? as usize, reader.u32().ok()? as usize);
    Some((header, bytes.get(offset..offset + len)?))
}

fn read_header(reader: &mut Reader<'_>) -> Result<BlockHeader, DecodeError> {
    let tag = reader.u16()?;
    let [scope, ty] = reader.u16()?.to_le_bytes();
    Ok(BlockHeader { tag, scope, ty, flags: reader.u32()?, field: reader.u64()? })
}

/// Writes a message into a reusable buffer.
#[derive(Debug)]
pub struct MessageWriter<'a> {
    out: &'a mut Vec<u8>,
    entry: usize,
}

impl<'a> MessageWriter<'a> {
    /// Starts a message of `blocks` blocks in `out`, which is cleared. `fixed` writes the fixed fields.
    pub fn new(out: &'a mut Vec<u8>, kind: MessageKind, blocks: usize, fixed: impl FnOnce(&mut Vec<u8>)) -> Self {
        out.clear();
        out.extend_from_slice(&kind.magic);
        out.extend_from_slice(&kind.version.to_le_bytes());
        out.extend_from_slice(&(blocks as u16).to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        fixed(out);
        debug_assert_eq!(out.len(), FRAME_LEN + kind.fixed_len);
        let entry = out.len();
        out.resize(entry + blocks * ENTRY_LEN, 0);
        Self { out, entry }
    }

    /// Writes the next block.
    #[inline]
    pub fn block(&mut self, header: BlockHeader, content: impl FnOnce(&mut Vec<u8>)) {
        let offset = self.begin();
        content(self.out);
        self.end(header, offset);
    }

    #[inline(never)]
    fn begin(&mut self) -> usize {
        self.out.resize(self.out.len().next_multiple_of(4), 0);
        self.out.len()
    }

    #[inline(never)]
    fn end(&mut self, header: BlockHeader, offset: usize) {
        let len = (self.out.len() - offset) as u32;
        let entry = &mut self.out[self.entry..self.entry + ENTRY_LEN];
        entry[0..2].copy_from_slice(&header.tag.to_le_bytes());
        entry[2] = header.scope;
        entry[3] = header.ty;
        entry[4..8].copy_from_slice(&header.flags.to_le_bytes());
        entry[8..16].copy_from_slice(&header.field.to_le_bytes());
        entry[16..20].copy_from_slice(&(offset as u32).to_le_bytes());
        entry[20..24].copy_from_slice(&len.to_le_bytes());
        self.entry += ENTRY_LEN;
        let total = (self.out.len() as u32).to_le_bytes();
        self.out[8..12].copy_from_slice(&total);
    }
}
