//! The container that Bundle and SharedState share: a 64-byte header, a table of sections, the sections.
//!
//! ```text
//! 0   8  magic "SELVEDGE"
//! 8   2  container version, 1
//! 10  2  kind: 1 bundle, 2 shared state
//! 12  4  number of sections
//! 16  8  total length in bytes
//! 24  8  XXH64 of bytes 32.. : finds damage at load, in microseconds
//! 32 32  id: SHA-256 of bytes 64.. : the content address
//! 64  .. section table, 24 bytes each: tag u32, version u16, flags u16, offset u64, length u64
//! ..     sections in ascending tag order, each at the next multiple of 16, zeros between
//! ```
//!
//! The layout has one encoding per content: sections are contiguous, padding is zero, nothing may follow the last.
//! That makes the id of equal content equal, and leaves no place to hide bytes in.

use alloc::vec::Vec;
use core::ops::Range;

use crate::read::{Reader, fixed};
use crate::{DecodeError, DecodeErrorKind};

/// First bytes of every container.
pub const MAGIC: [u8; 8] = *b"SELVEDGE";
/// Version of the container layout.
pub const VERSION: u16 = 1;
/// Bytes before the section table.
pub const HEADER_LEN: usize = 64;
const ENTRY_LEN: usize = 24;
const ALIGN: usize = 16;
/// Largest number of sections that a reader accepts.
pub const MAX_SECTIONS: usize = 4096;
/// Largest metadata section in bytes. Decoding takes a multiple of it in memory, which a small machine must bear.
pub const MAX_METADATA_LEN: usize = 1 << 22;
const CHECKED_FROM: usize = 32;
const PLACE: &str = "container";

/// Content address: SHA-256 of the bytes after the header.
pub type ContentId = [u8; 32];

/// What a container holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// Feature program, models and policy.
    Bundle = 1,
    /// Item fields and global counters.
    SharedState = 2,
}

impl Kind {
    /// What the header of `container` says that it holds. Nothing else is checked.
    ///
    /// # Errors
    /// The bytes are shorter than that, or say a kind that is not known.
    pub fn of(container: &[u8]) -> Result<Self, DecodeError> {
        let mut header = Reader::new(container, PLACE);
        header.take(10)?;
        match header.u16()? {
            1 => Ok(Self::Bundle),
            2 => Ok(Self::SharedState),
            _ => Err(DecodeError::invalid(PLACE, 10)),
        }
    }
}

/// Names a section within its kind of container.
pub type Tag = u32;

/// A reader that does not know the tag must refuse the container.
pub const FLAG_REQUIRED: u16 = 1;

/// A section's place in the container's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it holds.
    pub tag: Tag,
    /// Version of its layout.
    pub version: u16,
    /// [`FLAG_REQUIRED`] or 0.
    pub flags: u16,
    /// Its bytes in the container.
    pub range: Range<usize>,
}

/// A validated container. Holds places, not bytes: the bytes stay with their owner.
#[derive(Clone, Debug)]
pub struct Container {
    id: ContentId,
    sections: Vec<Section>,
}

impl Container {
    /// Validates the header, checksum and section table of `bytes`, which must be a container of `kind`.
    ///
    /// # Errors
    /// Any deviation from the layout; unknown sections marked as required are left to the caller, who knows the tags.
    pub fn parse(bytes: &[u8], kind: Kind) -> Result<Self, DecodeError> {
        let mut header = Reader::new(bytes, PLACE);
        if header.take(MAGIC.len())? != MAGIC {
            return Err(DecodeError::new(DecodeErrorKind::BadMagic, PLACE, 0));
        }
        let version = header.u16()?;
        if version != VERSION {
            let kind = DecodeErrorKind::UnsupportedVersion { newest: VERSION, found: version };
            return Err(DecodeError::new(kind, PLACE, 8));
        }
        let found = header.u16()?;
        if found != kind as u16 {
            return Err(DecodeError::new(DecodeErrorKind::WrongKind { expected: kind as u16, found }, PLACE, 10));
        }
        let count = header.u32()? as usize;
        let total = header.u64()?;
        if total != bytes.len() as u64 {
            let kind = DecodeErrorKind::Truncated { needed: total, found: bytes.len() as u64 };
            return Err(DecodeError::new(kind, PLACE, 16));
        }
        let checksum = header.u64()?;
        if bytes.len() < HEADER_LEN || crate::hash::checksum(&bytes[CHECKED_FROM..]) != checksum {
            return Err(DecodeError::new(DecodeErrorKind::ChecksumMismatch, PLACE, 24));
        }
        let id = fixed(header.take(32)?);
        if count > MAX_SECTIONS {
            return Err(DecodeError::too_large("container sections", MAX_SECTIONS as u64, count as u64));
        }
        let mut table = Reader::new(header.array(count, ENTRY_LEN)?, "section table");
        let mut sections = Vec::with_capacity(count);
        let mut end = HEADER_LEN + count * ENTRY_LEN;
        let mut last_tag = None;
        for _ in 0..count {
            let (tag, version, flags) = (table.u32()?, table.u16()?, table.u16()?);
            let (offset, len) = (table.u64()?, table.u64()?);
            let start = end.next_multiple_of(ALIGN);
            let stop = (start as u64).checked_add(len).filter(|stop| *stop <= total);
            let (true, Some(stop)) =
                (offset == start as u64 && last_tag < Some(tag) && flags & !FLAG_REQUIRED == 0, stop)
            else {
                return Err(table.invalid());
            };
            if bytes[end..start].iter().any(|byte| *byte != 0) {
                return Err(DecodeError::invalid("section padding", end));
            }
            end = stop as usize;
            last_tag = Some(tag);
            sections.push(Section { tag, version, flags, range: start..end });
        }
        if end != bytes.len() {
            return Err(DecodeError::invalid("bytes after the last section", end));
        }
        Ok(Self { id, sections })
    }

    /// The content address that the header carries. [`verify_id`] proves it; [`parse`](Self::parse) does not.
    #[must_use]
    pub const fn id(&self) -> &ContentId {
        &self.id
    }

    /// All sections, in ascending tag order.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The section `tag`, if present.
    #[must_use]
    pub fn find(&self, tag: Tag) -> Option<&Section> {
        self.sections.binary_search_by_key(&tag, |section| section.tag).ok().map(|index| &self.sections[index])
    }

    /// The section `tag` at `version`.
    ///
    /// # Errors
    /// The section is missing, or of another version.
    pub fn require(&self, tag: Tag, version: u16, place: &'static str) -> Result<&Section, DecodeError> {
        let section = self.find(tag).ok_or(DecodeError::new(DecodeErrorKind::MissingSection { tag }, place, 0))?;
        if section.version == version {
            return Ok(section);
        }
        let kind = DecodeErrorKind::UnsupportedVersion { newest: version, found: section.version };
        Err(DecodeError::new(kind, place, section.range.start))
    }

    /// Refuses required sections whose tag `known` does not accept.
    ///
    /// # Errors
    /// The first such section.
    pub fn refuse_unknown(&self, known: impl Fn(Tag) -> bool) -> Result<(), DecodeError> {
        match self.sections.iter().find(|section| section.flags & FLAG_REQUIRED != 0 && !known(section.tag)) {
            Some(section) => {
                Err(DecodeError::new(DecodeErrorKind::UnknownSection { tag: section.tag }, PLACE, section.range.start))
            }
            None => Ok(()),
        }
    }
}

/// Proves that `bytes` hash to the id in their header.
///
/// # Errors
/// The bytes are shorter than a header, or the SHA-256 differs.
#[cfg(feature = "id")]
pub fn verify_id(bytes: &[u8]) -> Result<ContentId, DecodeError> {
    if bytes.len() < HEADER_LEN {
        let kind = DecodeErrorKind::Truncated { needed: HEADER_LEN as u64, found: bytes.len() as u64 };
        return Err(DecodeError::new(kind, PLACE, 0));
    }
    let id = content_id(&bytes[HEADER_LEN..]);
    if id == bytes[CHECKED_FROM..HEADER_LEN] {
        Ok(id)
    } else {
        Err(DecodeError::new(DecodeErrorKind::IdMismatch, PLACE, CHECKED_FROM))
    }
}

#[cfg(feature = "id")]
fn content_id(content: &[u8]) -> ContentId {
    use sha2::Digest;
    sha2::Sha256::digest(content).into()
}

/// Builds a container.
#[cfg(feature = "id")]
#[derive(Debug)]
pub struct ContainerBuilder {
    kind: Kind,
    sections: Vec<(Tag, u16, u16, Vec<u8>)>,
}

#[cfg(feature = "id")]
impl ContainerBuilder {
    /// An empty container of `kind`.
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Self { kind, sections: Vec::new() }
    }

    /// Adds a section that every reader must understand. A tag that is there already is replaced.
    #[must_use]
    pub fn required(self, tag: Tag, version: u16, bytes: Vec<u8>) -> Self {
        self.with(tag, version, FLAG_REQUIRED, bytes)
    }

    /// Adds a section that a reader may pass over. A tag that is there already is replaced.
    #[must_use]
    pub fn optional(self, tag: Tag, version: u16, bytes: Vec<u8>) -> Self {
        self.with(tag, version, 0, bytes)
    }

    fn with(mut self, tag: Tag, version: u16, flags: u16, bytes: Vec<u8>) -> Self {
        self.sections.retain(|section| section.0 != tag);
        self.sections.push((tag, version, flags, bytes));
        self
    }

    /// The container's bytes.
    #[must_use]
    pub fn build(mut self) -> Vec<u8> {
        self.sections.sort_by_key(|section| section.0);
        let mut table = Vec::with_capacity(self.sections.len() * ENTRY_LEN);
        let mut body = Vec::new();
        let base = HEADER_LEN + self.sections.len() * ENTRY_LEN;
        for (tag, version, flags, bytes) in &self.sections {
            body.resize((base + body.len()).next_multiple_of(ALIGN) - base, 0);
            table.extend_from_slice(&tag.to_le_bytes());
            table.extend_from_slice(&version.to_le_bytes());
            table.extend_from_slice(&flags.to_le_bytes());
            table.extend_from_slice(&((base + body.len()) as u64).to_le_bytes());
            table.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            body.extend_from_slice(bytes);
        }
        let mut bytes = Vec::with_capacity(base + body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(self.kind as u16).to_le_bytes());
        bytes.extend_from_slice(&(self.sections.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&((base + body.len()) as u64).to_le_bytes());
        bytes.extend_from_slice(&[0; 40]);
        bytes.extend_from_slice(&table);
        bytes.extend_from_slice(&body);
        let id = content_id(&bytes[HEADER_LEN..]);
        bytes[CHECKED_FROM..HEADER_LEN].copy_from_slice(&id);
        let checksum = crate::hash::checksum(&bytes[CHECKED_FROM..]);
        bytes[24..32].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }
}

/// Decodes a postcard section of bounded length: all bytes are used and encoding the value again gives the same bytes.
pub(crate) fn metadata<T: serde::Serialize + serde::de::DeserializeOwned>(
    bytes: &[u8],
    place: &'static str,
) -> Result<T, DecodeError> {
    if bytes.len() > MAX_METADATA_LEN {
        return Err(DecodeError::too_large(place, MAX_METADATA_LEN as u64, bytes.len() as u64));
    }
    let refused = DecodeError::new(DecodeErrorKind::BadMetadata, place, 0);
    let (value, rest) = postcard::take_from_bytes::<T>(bytes).map_err(|_| refused)?;
    let canonical = rest.is_empty() && postcard::to_allocvec(&value).is_ok_and(|again| again == bytes);
    if canonical { Ok(value) } else { Err(refused) }
}

/// Encodes a postcard section.
#[cfg(feature = "id")]
pub(crate) fn encode<T: serde::Serialize>(value: &T) -> Vec<u8> {
    // Only an allocation failure or a sequence of unknown length can fail, and these structs have neither.
    postcard::to_allocvec(value).unwrap_or_default()
}
