//! Sorting, small enough for the guest.
//!
//! Heapsort (J. W. J. Williams, "Algorithm 232", 1964): in place and `n log n` in the worst case as well, which hostile
//! requests would find. The standard library's `sort_unstable` is faster by half and 1.7 KB of the compressed guest; a
//! slate of 100 candidates costs a microsecond more.

/// Sorts ascending.
pub(crate) fn sort(keys: &mut [u64]) {
    for root in (0..keys.len() / 2).rev() {
        sift(keys, root);
    }
    for end in (1..keys.len()).rev() {
        keys.swap(0, end);
        sift(&mut keys[..end], 0);
    }
}

/// Lets the key at `root` sink until neither child is larger.
fn sift(heap: &mut [u64], mut root: usize) {
    loop {
        let mut child = 2 * root + 1;
        if child + 1 < heap.len() && heap[child] < heap[child + 1] {
            child += 1;
        }
        if child >= heap.len() || heap[root] >= heap[child] {
            return;
        }
        heap.swap(root, child);
        root = child;
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::sort;

    proptest! {
        #[test]
        fn the_order_is_that_of_the_standard_library(keys in prop::collection::vec(prop_oneof![0_u64..8, any::<u64>()], 0..200)) {
            let mut sorted: Vec<u64> = keys.clone();
            sorted.sort_unstable();
            let mut ours = keys;
            sort(&mut ours);
            prop_assert_eq!(ours, sorted);
        }
    }
}
