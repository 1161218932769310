//! Loops that are written out.
//!
//! The guest is compiled with little unrolling, for size: most of its loops run once per request. Loops over the few vectors
//! that a kernel holds in registers must be unrolled nevertheless, or the vectors go to memory and back in every turn, which
//! takes two and a half times as long.

/// Calls for each of at most eight.
#[inline(always)]
pub(crate) fn each<const N: usize>(mut call: impl FnMut(usize)) {
    const { assert!(N <= 8) }
    // Without vectors there is nothing to hold, and size counts for more.
    if cfg!(all(target_family = "wasm", not(target_feature = "simd128"))) {
        return (0..N).for_each(call);
    }
    if N > 0 {
        call(0);
    }
    if N > 1 {
        call(1);
    }
    if N > 2 {
        call(2);
    }
    if N > 3 {
        call(3);
    }
    if N > 4 {
        call(4);
    }
    if N > 5 {
        call(5);
    }
    if N > 6 {
        call(6);
    }
    if N > 7 {
        call(7);
    }
}
