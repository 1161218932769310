//! Why bytes were refused. One stable code per reason, shared by Rust, the guest ABI, JavaScript, HTTP and the docs.

use core::fmt;

/// Stable identity of an error. The number crosses the guest ABI and never changes its meaning; the name is what
/// JavaScript, HTTP and the command line show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u16)]
pub enum ErrorCode {
    /// The bytes end before the layout does.
    Truncated = 1,
    /// The first bytes are not those of this format.
    BadMagic = 2,
    /// A version that this reader does not know.
    UnsupportedVersion = 3,
    /// A valid container of another kind.
    WrongKind = 4,
    /// The checksum does not cover these bytes: they were damaged.
    ChecksumMismatch = 5,
    /// A length or count is above the limit in force.
    TooLarge = 6,
    /// A value that the layout forbids.
    Invalid = 7,
    /// A section that must be there is not.
    MissingSection = 8,
    /// A section that this reader would have to understand and does not.
    UnknownSection = 9,
    /// A metadata section does not decode, or not to the same bytes.
    BadMetadata = 10,
    /// The content does not hash to the identity it carries.
    IdMismatch = 11,
    /// No bundle is loaded.
    NotLoaded = 12,
}

impl ErrorCode {
    /// Every code, in numeric order.
    pub const ALL: [Self; 12] = [
        Self::Truncated,
        Self::BadMagic,
        Self::UnsupportedVersion,
        Self::WrongKind,
        Self::ChecksumMismatch,
        Self::TooLarge,
        Self::Invalid,
        Self::MissingSection,
        Self::UnknownSection,
        Self::BadMetadata,
        Self::IdMismatch,
        Self::NotLoaded,
    ];

    /// The name shown outside Rust.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::BadMagic => "bad-magic",
            Self::UnsupportedVersion => "unsupported-version",
            Self::WrongKind => "wrong-kind",
            Self::ChecksumMismatch => "checksum-mismatch",
            Self::TooLarge => "too-large",
            Self::Invalid => "invalid",
            Self::MissingSection => "missing-section",
            Self::UnknownSection => "unknown-section",
            Self::BadMetadata => "bad-metadata",
            Self::IdMismatch => "id-mismatch",
            Self::NotLoaded => "not-loaded",
        }
    }

    /// The code with this number, if there is one.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|code| *code as u16 == number)
    }
}

/// What was wrong, with the numbers that a message needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// `needed` bytes were announced, `found` are there.
    Truncated {
        /// Bytes that the layout asks for.
        needed: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// The magic bytes differ.
    BadMagic,
    /// The newest version that this reader knows, and the one found.
    UnsupportedVersion {
        /// Newest version known to this reader.
        newest: u16,
        /// Version in the bytes.
        found: u16,
    },
    /// Another kind of container.
    WrongKind {
        /// Kind asked for.
        expected: u16,
        /// Kind in the bytes.
        found: u16,
    },
    /// The checksum differs.
    ChecksumMismatch,
    /// Above a limit.
    TooLarge {
        /// The limit in force.
        limit: u64,
        /// What the bytes ask for.
        found: u64,
    },
    /// A value that the layout forbids.
    Invalid,
    /// A mandatory section is missing.
    MissingSection {
        /// Its tag.
        tag: u32,
    },
    /// A section marked as required that this reader does not know.
    UnknownSection {
        /// Its tag.
        tag: u32,
    },
    /// A postcard section that does not decode, leaves bytes over, or is not in canonical form.
    BadMetadata,
    /// The SHA-256 of the content is not the identity in the header.
    IdMismatch,
    /// There is no bundle to work with.
    NotLoaded,
}

/// Bytes were refused: what was wrong, in which part, at which offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    kind: DecodeErrorKind,
    place: &'static str,
    offset: usize,
}

impl DecodeError {
    pub(crate) const fn new(kind: DecodeErrorKind, place: &'static str, offset: usize) -> Self {
        Self { kind, place, offset }
    }

    /// A value in `place` that the layout forbids. For validation that lives above this crate.
    #[must_use]
    pub const fn invalid(place: &'static str, offset: usize) -> Self {
        Self::new(DecodeErrorKind::Invalid, place, offset)
    }

    /// A size in `place` above `limit`.
    #[must_use]
    pub const fn too_large(place: &'static str, limit: u64, found: u64) -> Self {
        Self::new(DecodeErrorKind::TooLarge { limit, found }, place, 0)
    }

    /// Exactly `needed` bytes in `place`.
    ///
    /// # Errors
    /// There are fewer, or more.
    pub const fn expect_bytes(place: &'static str, needed: u64, found: u64) -> Result<(), Self> {
        if found > needed {
            return Err(Self::too_large(place, needed, found));
        }
        if found < needed { Err(Self::new(DecodeErrorKind::Truncated { needed, found }, place, 0)) } else { Ok(()) }
    }

    /// Nothing is loaded to work with.
    #[must_use]
    pub const fn not_loaded() -> Self {
        Self::new(DecodeErrorKind::NotLoaded, "engine", 0)
    }

    /// What was wrong.
    #[must_use]
    pub const fn kind(&self) -> DecodeErrorKind {
        self.kind
    }

    /// The part of the layout, in the words of its format page.
    #[must_use]
    pub const fn place(&self) -> &'static str {
        self.place
    }

    /// Where in the place, where it is known, else 0: an offset in bytes, or the position of a list's element (a field,
    /// a table, a feature, a tree's node).
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self.kind {
            DecodeErrorKind::Truncated { .. } => ErrorCode::Truncated,
            DecodeErrorKind::BadMagic => ErrorCode::BadMagic,
            DecodeErrorKind::UnsupportedVersion { .. } => ErrorCode::UnsupportedVersion,
            DecodeErrorKind::WrongKind { .. } => ErrorCode::WrongKind,
            DecodeErrorKind::ChecksumMismatch => ErrorCode::ChecksumMismatch,
            DecodeErrorKind::TooLarge { .. } => ErrorCode::TooLarge,
            DecodeErrorKind::Invalid => ErrorCode::Invalid,
            DecodeErrorKind::MissingSection { .. } => ErrorCode::MissingSection,
            DecodeErrorKind::UnknownSection { .. } => ErrorCode::UnknownSection,
            DecodeErrorKind::BadMetadata => ErrorCode::BadMetadata,
            DecodeErrorKind::IdMismatch => ErrorCode::IdMismatch,
            DecodeErrorKind::NotLoaded => ErrorCode::NotLoaded,
        }
    }

    /// The two numbers of the kind, as they cross the guest ABI (0 where the kind has none).
    #[must_use]
    pub const fn numbers(&self) -> (u64, u64) {
        match self.kind {
            DecodeErrorKind::Truncated { needed, found } => (needed, found),
            DecodeErrorKind::UnsupportedVersion { newest, found } => (newest as u64, found as u64),
            DecodeErrorKind::WrongKind { expected, found } => (expected as u64, found as u64),
            DecodeErrorKind::TooLarge { limit, found } => (limit, found),
            DecodeErrorKind::MissingSection { tag } | DecodeErrorKind::UnknownSection { tag } => (tag as u64, 0),
            _ => (0, 0),
        }
    }
}

impl DecodeErrorKind {
    /// The kind behind a code and the two numbers that crossed the guest ABI: the inverse of [`DecodeError::code`] and
    /// [`DecodeError::numbers`]. `None` for a code without a kind, or a number that its kind cannot hold.
    #[must_use]
    pub fn from_numbers(code: ErrorCode, (first, second): (u64, u64)) -> Option<Self> {
        Some(match code {
            ErrorCode::Truncated => Self::Truncated { needed: first, found: second },
            ErrorCode::BadMagic => Self::BadMagic,
            ErrorCode::UnsupportedVersion => {
                Self::UnsupportedVersion { newest: first.try_into().ok()?, found: second.try_into().ok()? }
            }
            ErrorCode::WrongKind => {
                Self::WrongKind { expected: first.try_into().ok()?, found: second.try_into().ok()? }
            }
            ErrorCode::ChecksumMismatch => Self::ChecksumMismatch,
            ErrorCode::TooLarge => Self::TooLarge { limit: first, found: second },
            ErrorCode::Invalid => Self::Invalid,
            ErrorCode::MissingSection => Self::MissingSection { tag: first.try_into().ok()? },
            ErrorCode::UnknownSection => Self::UnknownSection { tag: first.try_into().ok()? },
            ErrorCode::BadMetadata => Self::BadMetadata,
            ErrorCode::IdMismatch => Self::IdMismatch,
            ErrorCode::NotLoaded => Self::NotLoaded,
        })
    }
}

impl fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, found } => {
                write!(f, "truncated, {needed} bytes are needed and {found} are there")
            }
            Self::BadMagic => f.write_str("these bytes are of another format"),
            Self::UnsupportedVersion { newest, found } => {
                write!(f, "version {found} is not supported, the newest known here is {newest}")
            }
            Self::WrongKind { expected, found } => {
                write!(f, "a container of kind {found}, where kind {expected} is needed")
            }
            Self::ChecksumMismatch => f.write_str("the checksum does not match, the bytes are damaged"),
            Self::TooLarge { limit, found } => write!(f, "{found} is above the limit of {limit}"),
            Self::Invalid => f.write_str("not a valid value"),
            Self::MissingSection { tag } => write!(f, "section {tag:#x} is missing"),
            Self::UnknownSection { tag } => {
                write!(f, "section {tag:#x} is required and unknown here; it needs a newer engine")
            }
            Self::BadMetadata => f.write_str("the metadata does not decode"),
            Self::IdMismatch => f.write_str("the content does not hash to its id"),
            Self::NotLoaded => f.write_str("no bundle is loaded"),
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.kind)?;
        if self.offset != 0 { write!(f, " (at {})", self.offset) } else { Ok(()) }
    }
}

impl core::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_survives_the_guest_abi() {
        let kinds = [
            DecodeErrorKind::Truncated { needed: u64::MAX, found: 3 },
            DecodeErrorKind::BadMagic,
            DecodeErrorKind::UnsupportedVersion { newest: 1, found: u16::MAX },
            DecodeErrorKind::WrongKind { expected: 1, found: 2 },
            DecodeErrorKind::ChecksumMismatch,
            DecodeErrorKind::TooLarge { limit: 4, found: u64::MAX },
            DecodeErrorKind::Invalid,
            DecodeErrorKind::MissingSection { tag: 2 },
            DecodeErrorKind::UnknownSection { tag: u32::MAX },
            DecodeErrorKind::BadMetadata,
            DecodeErrorKind::IdMismatch,
            DecodeErrorKind::NotLoaded,
        ];
        for kind in kinds {
            let error = DecodeError::new(kind, "place", 0);
            assert_eq!(DecodeErrorKind::from_numbers(error.code(), error.numbers()), Some(kind));
        }
        assert_eq!(DecodeErrorKind::from_numbers(ErrorCode::WrongKind, (1 << 16, 0)), None);
    }
}
