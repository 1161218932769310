//! Buffers that are filled anew for every request.

use alloc::vec::Vec;

/// Makes the buffer `len` times `value`, with the memory it has.
// One function for each type, whoever fills a buffer: inlined everywhere, growing costs the guest hundreds of bytes.
#[inline(never)]
pub(crate) fn refill<T: Copy>(buffer: &mut Vec<T>, len: usize, value: T) {
    resize(buffer, len, value);
    buffer.fill(value);
}

/// The same of long buffers: a loop stores one value in a turn, where copying what is there already, twice as much each time, is
/// the host's own copy of memory.
#[inline(never)]
pub(crate) fn refill_long(buffer: &mut Vec<f32>, len: usize, value: f32) {
    resize(buffer, len, value);
    let mut filled = len.min(64);
    buffer[..filled].fill(value);
    while filled < len {
        let more = filled.min(len - filled);
        buffer.copy_within(..more, filled);
        filled += more;
    }
}

/// Makes the buffer that long for somebody who writes all of it; what was there may still be there, else it is `value`.
#[inline(never)]
pub(crate) fn resize<T: Copy>(buffer: &mut Vec<T>, len: usize, value: T) {
    buffer.resize(len, value);
}
