//! Little-endian arrays and scalars in bytes of unknown alignment.
//!
//! Everything here is a few instructions and `#[inline]`: in the guest this crate is built for size, and inlining lets
//! the engine, which is built for speed, have its own copies. It makes the module smaller as well.

use crate::{DecodeError, DecodeErrorKind};

/// A cursor that never reads past its end.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    place: &'static str,
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) const fn new(bytes: &'a [u8], place: &'static str) -> Self {
        Self { bytes, at: 0, place }
    }

    #[inline]
    pub(crate) const fn offset(&self) -> usize {
        self.at
    }

    #[inline]
    pub(crate) const fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    #[inline]
    pub(crate) const fn invalid(&self) -> DecodeError {
        DecodeError::invalid(self.place, self.at)
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.at..];
        if len > rest.len() {
            let kind = DecodeErrorKind::Truncated {
                needed: (self.at as u64).saturating_add(len as u64),
                found: self.bytes.len() as u64,
            };
            return Err(DecodeError::new(kind, self.place, self.at));
        }
        self.at += len;
        Ok(&rest[..len])
    }

    /// `count` elements of `size` bytes.
    #[inline]
    pub(crate) fn array(&mut self, count: usize, size: usize) -> Result<&'a [u8], DecodeError> {
        self.take(count.saturating_mul(size))
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(fixed(self.take(2)?)))
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(fixed(self.take(4)?)))
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(fixed(self.take(8)?)))
    }

    #[inline]
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.invalid()) }
    }
}

/// `bytes` as an array; the caller has cut exactly `N` of them.
#[inline]
pub(crate) fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

macro_rules! le_array {
    ($(#[$doc:meta])* $name:ident, $value:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name<'a>(&'a [u8]);

        impl<'a> $name<'a> {
            /// Views `bytes`; a trailing remainder shorter than one element is left out.
            #[must_use]
            #[inline]
            pub const fn new(bytes: &'a [u8]) -> Self {
                Self(bytes)
            }

            /// Number of elements.
            #[must_use]
            #[inline]
            pub const fn len(&self) -> usize {
                self.0.len() / size_of::<$value>()
            }

            /// Whether there are none.
            #[must_use]
            #[inline]
            pub const fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Element `index`, which must be below [`len`](Self::len).
            #[must_use]
            #[inline]
            pub fn get(&self, index: usize) -> $value {
                let start = index * size_of::<$value>();
                <$value>::from_le_bytes(fixed(&self.0[start..start + size_of::<$value>()]))
            }

            /// All elements in order.
            #[inline]
            pub fn iter(&self) -> impl ExactSizeIterator<Item = $value> + 'a {
                self.0.chunks_exact(size_of::<$value>()).map(|chunk| <$value>::from_le_bytes(fixed(chunk)))
            }
        }
    };
}

le_array!(
    /// Unaligned little-endian `u16`s.
    U16s, u16
);
le_array!(
    /// Unaligned little-endian `u32`s.
    U32s, u32
);
le_array!(
    /// Unaligned little-endian `u64`s.
    U64s, u64
);
le_array!(
    /// Unaligned little-endian `i64`s.
    I64s, i64
);
le_array!(
    /// Unaligned little-endian `f32`s.
    F32s, f32
);
le_array!(
    /// Unaligned little-endian `f64`s.
    F64s, f64
);
