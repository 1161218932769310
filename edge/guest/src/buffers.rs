//! Memory that the host writes into.
//!
//! The guest keeps every buffer it hands out and finds it again by its address. That costs a look at one or two
//! entries per call and saves the usual alternative, a slice conjured from two numbers that the host made up.

use alloc::vec::Vec;

use selvedge_format::AlignedBytes;

/// Place of a buffer in the module's memory. Never 0.
pub type Address = usize;

/// Largest buffer, 256 MiB: more than any bundle, and far from what would make lengths and addresses overflow.
pub const MAX_LEN: usize = 256 << 20;

/// The buffers that the host holds.
#[derive(Debug, Default)]
pub struct Buffers {
    held: Vec<AlignedBytes>,
}

impl Buffers {
    /// A zeroed buffer, 16-byte aligned, with an address of its own even if `len` is 0.
    pub fn alloc(&mut self, len: usize) -> Option<Address> {
        if len > MAX_LEN {
            return None;
        }
        let mut words: Vec<u128> = Vec::new();
        let count = len.div_ceil(size_of::<u128>()).max(1);
        words.try_reserve_exact(count).ok()?;
        words.resize(count, 0);
        self.held.try_reserve(1).ok()?;
        // Exposed: the host writes through this address, outside the language.
        let address = words.as_mut_ptr().expose_provenance();
        self.held.push(AlignedBytes::from_words(words, len));
        Some(address)
    }

    /// The first `len` bytes of the buffer at `address`.
    #[must_use]
    pub fn get(&self, address: Address, len: usize) -> Option<&[u8]> {
        self.held.iter().find(|buffer| starts_at(buffer, address))?.get(..len)
    }

    /// Removes the buffer at `address`, if its length is `len`.
    pub fn take(&mut self, address: Address, len: usize) -> Option<AlignedBytes> {
        let index = self.held.iter().position(|buffer| starts_at(buffer, address) && buffer.len() == len)?;
        Some(self.held.swap_remove(index))
    }
}

fn starts_at(buffer: &AlignedBytes, address: Address) -> bool {
    buffer.as_slice().as_ptr().addr() == address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_buffer_is_aligned_zeroed_and_found_by_its_address() {
        let mut buffers = Buffers::default();
        let lens = [0, 1, 16, 17, 100_000];
        let addresses = lens.map(|len| buffers.alloc(len).expect("there is memory"));
        for (address, len) in addresses.into_iter().zip(lens) {
            assert_eq!(address % 16, 0);
            assert_eq!(buffers.get(address, len), Some(vec![0; len].as_slice()));
        }
        assert_eq!(buffers.held.len(), lens.len());
    }

    #[test]
    fn an_address_that_was_not_handed_out_reaches_nothing() {
        let mut buffers = Buffers::default();
        let address = buffers.alloc(32).expect("there is memory");
        for (address, len) in [(0, 0), (0, 32), (address + 16, 16), (address, 33), (usize::MAX, usize::MAX)] {
            assert!(buffers.get(address, len).is_none(), "{address:#x} {len}");
            assert!(buffers.take(address, len).is_none(), "{address:#x} {len}");
        }
        assert!(buffers.take(address, 31).is_none(), "a buffer goes as a whole");
        assert!(buffers.take(address, 32).is_some());
        assert!(buffers.take(address, 32).is_none(), "and once");
    }

    #[test]
    fn a_buffer_above_the_cap_is_refused() {
        assert_eq!(Buffers::default().alloc(MAX_LEN + 1), None);
        assert_eq!(Buffers::default().alloc(usize::MAX), None);
    }
}
