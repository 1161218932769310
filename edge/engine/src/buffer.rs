//! Buffers that are filled anew for every request.

use alloc::vec::Vec;

/// Makes the buffer `len` times `value`, with the memory it has.
// One function for each type, whoever fills a buffer: inlined everywhere, growing costs the guest hundreds of bytes.
#[inline(never)]
pub(crate) fn refill<T: Copy>(buffer: &mut Vec<T>, len: usize, value: T) {
    // Filling what is there is a loop over vectors; growing goes one by one.
    buffer.truncate(len);
    buffer.fill(value);
    buffer.resize(len, value);
}
