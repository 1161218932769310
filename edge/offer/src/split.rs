//! Splitting an amount by weights so that the parts add up: the method of the largest remainder (Hamilton's, known
//! from the apportionment of seats). Each part is its exact share rounded down; what is missing goes, one unit each,
//! to the largest fractions that were cut off. So a part is never more than one unit away from its exact share, and
//! never above its weight while the amount is not above their sum.

use std::cmp::{Ordering, Reverse};

/// Splits `amount` by weights. Parts of equal fraction are served by the larger weight, then in the order of `tie`.
///
/// `tie` compares two positions. Where it tells things apart that are different, the order in which they come does not
/// matter.
pub(crate) fn split(amount: u64, weights: &[u64], tie: impl Fn(usize, usize) -> Ordering) -> Vec<u64> {
    let sum: u128 = weights.iter().copied().map(u128::from).sum();
    if sum == 0 {
        return vec![0; weights.len()];
    }
    let exact = |weight: u64| u128::from(amount) * u128::from(weight);
    // The quotient fits: it is below the amount.
    let mut parts: Vec<u64> = weights.iter().map(|weight| (exact(*weight) / sum) as u64).collect();
    let missing = (amount - parts.iter().sum::<u64>()) as usize;
    if missing > 0 {
        let mut order: Vec<(Reverse<u128>, usize)> =
            weights.iter().enumerate().map(|(at, weight)| (Reverse(exact(*weight) % sum), at)).collect();
        // Fewer units are missing than there are fractions, so the first of them are the served ones.
        order.select_nth_unstable_by(missing - 1, |(a, x), (b, y)| {
            a.cmp(b).then_with(|| weights[*y].cmp(&weights[*x])).then_with(|| tie(*x, *y)).then(x.cmp(y))
        });
        order[..missing].iter().for_each(|(_, at)| parts[*at] += 1);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn by_position(a: usize, b: usize) -> Ordering {
        a.cmp(&b)
    }

    #[test]
    fn the_largest_fractions_are_served_first() {
        assert_eq!(split(100, &[1, 1, 1], by_position), [34, 33, 33]);
        assert_eq!(split(100, &[1, 1, 1], |a, b| b.cmp(&a)), [33, 33, 34]);
        assert_eq!(split(10, &[3, 3, 1], by_position), [4, 4, 2], "4.28, 4.28, 1.43: the last fraction is the largest");
        assert_eq!(split(1, &[1, 3], by_position), [0, 1]);
        assert_eq!(split(5, &[0, 0], by_position), [0, 0]);
        assert_eq!(split(0, &[2, 3], by_position), [0, 0]);
        assert!(split(0, &[], by_position).is_empty());
    }

    proptest! {
        #[test]
        fn parts_add_up_and_none_is_a_unit_away_from_its_share(
            weights in vec(0..=1_u64 << 40, 1..40),
            of in any::<u64>(),
        ) {
            let sum: u64 = weights.iter().sum();
            let amount = if sum == 0 { 0 } else { of % (sum + 1) };
            let parts = split(amount, &weights, by_position);
            prop_assert_eq!(parts.iter().sum::<u64>(), amount);
            for (part, weight) in parts.iter().zip(&weights) {
                prop_assert!(part <= weight);
                let (exact, sum) = (u128::from(amount) * u128::from(*weight), u128::from(sum.max(1)));
                prop_assert!((u128::from(*part) * sum).abs_diff(exact) < sum);
            }
        }
    }
}
