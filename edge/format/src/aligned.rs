//! Owned bytes whose first byte is 16-byte aligned, so that sections can be viewed as `&[f32]` or `&[u64]` without a
//! copy and without unsafe code.

use alloc::vec;
use alloc::vec::Vec;

/// A byte buffer aligned to 16 bytes.
#[derive(Clone, Debug, Default)]
pub struct AlignedBytes {
    words: Vec<u128>,
    len: usize,
}

impl AlignedBytes {
    /// A zeroed buffer of `len` bytes.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(16)], len }
    }

    /// Copies `bytes` into an aligned buffer.
    #[must_use]
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = Self::zeroed(bytes.len());
        copy.as_mut_slice().copy_from_slice(bytes);
        copy
    }

    /// Takes over `words`, of which the first `len` bytes count (clamped to what is there).
    #[must_use]
    pub fn from_words(words: Vec<u128>, len: usize) -> Self {
        let len = len.min(words.len() * 16);
        Self { words, len }
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }

    /// The bytes, to be written.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.len]
    }
}

impl core::ops::Deref for AlignedBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}
