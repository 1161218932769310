//! Reads postcard's wire format by hand, for sections whose derived readers would be a large part of the guest module.
//!
//! Serde's readers are made anew for every type, with a visitor each, and proving that bytes are canonical takes the writer
//! as well. Here a number is accepted only in its shortest form, so nothing needs to be written again. What is damaged
//! reads as zeros until [`Packed::finish`] says so: one check at the end is smaller than one at each of fifty fields.

use alloc::vec::Vec;

use crate::container::MAX_METADATA_LEN;
use crate::{DecodeError, DecodeErrorKind};

/// A cursor over a postcard section.
pub(crate) struct Packed<'a> {
    rest: &'a [u8],
    is_damaged: bool,
    place: &'static str,
}

impl<'a> Packed<'a> {
    /// At the start of a section of bounded length.
    pub(crate) fn new(bytes: &'a [u8], place: &'static str) -> Result<Self, DecodeError> {
        if bytes.len() > MAX_METADATA_LEN {
            return Err(DecodeError::too_large(place, MAX_METADATA_LEN as u64, bytes.len() as u64));
        }
        Ok(Self { rest: bytes, is_damaged: false, place })
    }

    /// Whether all that was read was there, canonical, and everything.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.is_damaged || !self.rest.is_empty() {
            return Err(DecodeError::new(DecodeErrorKind::BadMetadata, self.place, 0));
        }
        Ok(())
    }

    /// A byte, as postcard writes `u8` and the mark of an option.
    pub(crate) fn byte(&mut self) -> u8 {
        match self.rest {
            [first, rest @ ..] => {
                self.rest = rest;
                *first
            }
            [] => {
                self.is_damaged = true;
                0
            }
        }
    }

    /// A whole number of at most `most`, in its shortest form. Not inlined, like all that is called from many places:
    /// the readers of sections run once per load.
    #[inline(never)]
    pub(crate) fn unsigned(&mut self, most: u64) -> u64 {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = self.byte();
            let part = u64::from(byte & 0x7f);
            // Bits that a u64 has no place for, and a last byte that adds nothing.
            if shift > 63 || part << shift >> shift != part || (byte == 0 && shift > 0) {
                self.is_damaged = true;
                return 0;
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
        if value > most {
            self.is_damaged = true;
            return 0;
        }
        value
    }

    #[inline(never)]
    pub(crate) fn u16(&mut self) -> u16 {
        self.unsigned(u16::MAX.into()) as u16
    }

    #[inline(never)]
    pub(crate) fn u32(&mut self) -> u32 {
        self.unsigned(u32::MAX.into()) as u32
    }

    #[inline(never)]
    pub(crate) fn u64(&mut self) -> u64 {
        self.unsigned(u64::MAX)
    }

    /// Zigzag: the sign is the lowest bit.
    pub(crate) fn i64(&mut self) -> i64 {
        let bits = self.u64();
        (bits >> 1) as i64 ^ -((bits & 1) as i64)
    }

    #[inline(never)]
    pub(crate) fn f32(&mut self) -> f32 {
        f32::from_le_bytes(core::array::from_fn(|_| self.byte()))
    }

    #[inline(never)]
    pub(crate) fn f64(&mut self) -> f64 {
        f64::from_le_bytes(core::array::from_fn(|_| self.byte()))
    }

    /// Which of the `count` variants of an enum follows.
    pub(crate) fn variant(&mut self, count: u8) -> u8 {
        self.unsigned(u64::from(count) - 1) as u8
    }

    /// The variant that follows, of an enum whose variants hold nothing and stand in this order.
    pub(crate) fn one_of<T: Copy, const N: usize>(&mut self, variants: &[T; N]) -> T {
        variants[usize::from(self.variant(N as u8))]
    }

    /// Whether a value follows.
    pub(crate) fn is_some(&mut self) -> bool {
        let mark = self.byte();
        self.is_damaged |= mark > 1;
        mark == 1
    }

    /// A sequence. It grows with the bytes that are read, whatever length it claims.
    pub(crate) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let mut items = Vec::new();
        for _ in 0..self.unsigned(usize::MAX as u64) {
            if self.is_damaged {
                break;
            }
            items.push(item(self));
        }
        items
    }
}
