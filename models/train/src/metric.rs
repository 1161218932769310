//! How good a ranking is.
//!
//! The measures of information retrieval on one query at a time, each a pure function of gains and a ranking, and their
//! means over queries in the order given, so that a figure is reproduced to the last bit. A query whose gains are all zero
//! has no best order; every measure is 0 there, and a caller who wants to leave such queries out does so before.
//!
//! NDCG is Järvelin and Kekäläinen's (2002): the gain at place i, from 1, counts 1/log2(i + 1). Gains are used as given; a
//! caller with graded labels who wants 2^label − 1 passes that.

/// The order that scores give: candidate indices, best first. Equal scores keep the input order, and NaN comes last.
///
/// ```
/// use selvedge_train::metric::rank;
/// assert_eq!(rank(&[0.5, 2.0, f32::NAN, 2.0]), [1, 3, 0, 2]);
/// ```
#[must_use]
pub fn rank(scores: &[f32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..).take(scores.len()).collect();
    let key = |&index: &u32| {
        let score = scores[index as usize];
        (score.is_nan(), if score.is_nan() { 0.0 } else { -score })
    };
    order.sort_by(|a, b| {
        let ((a_nan, a), (b_nan, b)) = (key(a), key(b));
        a_nan.cmp(&b_nan).then(a.partial_cmp(&b).unwrap_or(std::cmp::Ordering::Equal))
    });
    order
}

/// Normalised discounted cumulative gain of the first `k` places, in 0..=1 for gains of at least 0.
///
/// `ranking` holds indices into `gains`, best first; it may be shorter than `gains` (a slate), and what it leaves out counts
/// as never shown.
///
/// # Panics
/// If `ranking` names a candidate that `gains` does not have; so do all measures here.
#[must_use]
pub fn ndcg(gains: &[f64], ranking: &[u32], k: usize) -> f64 {
    let mut best = gains.to_vec();
    best.sort_by(|a, b| b.total_cmp(a));
    let ideal = discounted(best.into_iter().take(k));
    if ideal <= 0.0 {
        return 0.0;
    }
    discounted(ranking.iter().take(k).map(|&i| gains[i as usize])) / ideal
}

fn discounted(gains: impl Iterator<Item = f64>) -> f64 {
    gains.zip(2_u32..).map(|(gain, place)| gain / f64::from(place).log2()).sum()
}

/// Average precision: over the relevant candidates (gain above 0), the mean share of relevant ones down to their place.
/// One that `ranking` leaves out contributes 0.
#[must_use]
pub fn average_precision(gains: &[f64], ranking: &[u32]) -> f64 {
    let relevant = count_relevant(gains);
    if relevant == 0 {
        return 0.0;
    }
    let mut hits = 0.0;
    let mut sum = 0.0;
    for (&index, place) in ranking.iter().zip(1_u32..) {
        if gains[index as usize] > 0.0 {
            hits += 1.0;
            sum += hits / f64::from(place);
        }
    }
    sum / relevant as f64
}

/// One over the place of the first relevant candidate; 0 if there is none.
#[must_use]
pub fn reciprocal_rank(gains: &[f64], ranking: &[u32]) -> f64 {
    let mut places = ranking.iter().zip(1_u32..);
    places.find(|&(&index, _)| gains[index as usize] > 0.0).map_or(0.0, |(_, place)| 1.0 / f64::from(place))
}

/// Share of the relevant candidates that are among the first `k`.
#[must_use]
pub fn recall(gains: &[f64], ranking: &[u32], k: usize) -> f64 {
    let relevant = count_relevant(gains);
    if relevant == 0 {
        return 0.0;
    }
    let shown = ranking.iter().take(k);
    let hits = shown.filter(|&&index| gains[index as usize] > 0.0).count();
    hits as f64 / relevant as f64
}

fn count_relevant(gains: &[f64]) -> usize {
    gains.iter().filter(|&&gain| gain > 0.0).count()
}

/// Area under the ROC curve: the chance that a relevant candidate outscores another one, equal scores counting half.
/// `None` if all are relevant or none is, or if a score is NaN.
///
/// ```
/// use selvedge_train::metric::auc;
/// assert_eq!(auc(&[true, false, true, false], &[0.9, 0.9, 0.8, 0.1]), Some(0.625));
/// ```
#[must_use]
pub fn auc(relevant: &[bool], scores: &[f32]) -> Option<f64> {
    let mut pairs: Vec<(f32, bool)> = scores.iter().copied().zip(relevant.iter().copied()).collect();
    if pairs.iter().any(|(score, _)| score.is_nan()) {
        return None;
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut positives, mut negatives, mut won) = (0.0, 0.0, 0.0);
    // Groups of equal scores, lowest first: a positive beats the negatives below and half of those beside it.
    for group in pairs.chunk_by(|a, b| a.0 == b.0) {
        let up = group.iter().filter(|(_, relevant)| *relevant).count() as f64;
        let down = group.len() as f64 - up;
        won += up * (negatives + down / 2.0);
        positives += up;
        negatives += down;
    }
    (positives > 0.0 && negatives > 0.0).then(|| won / (positives * negatives))
}

/// Places that [`Measures`] looks at.
pub const TOP: usize = 10;

/// The measures of one query, or their means over several.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measures {
    /// [`ndcg`] of the first [`TOP`].
    pub ndcg: f64,
    /// [`average_precision`].
    pub map: f64,
    /// [`reciprocal_rank`].
    pub mrr: f64,
    /// [`recall`] of the first [`TOP`].
    pub recall: f64,
}

impl Measures {
    /// All measures of one ranking with binary relevance.
    #[must_use]
    pub fn of(relevant: &[bool], ranking: &[u32]) -> Self {
        let gains: Vec<f64> = relevant.iter().map(|&r| f64::from(u8::from(r))).collect();
        Self {
            ndcg: ndcg(&gains, ranking, TOP),
            map: average_precision(&gains, ranking),
            mrr: reciprocal_rank(&gains, ranking),
            recall: recall(&gains, ranking, TOP),
        }
    }

    /// The means over queries, summed in their order; all 0 for no queries.
    #[must_use]
    pub fn mean(queries: &[Self]) -> Self {
        let over = |of: fn(&Self) -> f64| match queries.len() {
            0 => 0.0,
            n => queries.iter().map(of).sum::<f64>() / n as f64,
        };
        Self { ndcg: over(|m| m.ndcg), map: over(|m| m.map), mrr: over(|m| m.mrr), recall: over(|m| m.recall) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn measures_equal_values_worked_out_by_hand() {
        // Relevant at places 2 and 4 of five.
        let gains = [0.0, 1.0, 0.0, 1.0, 0.0];
        let order = [0, 1, 2, 3, 4];
        let ideal = 1.0 + 1.0 / 3_f64.log2();
        let got = 1.0 / 3_f64.log2() + 1.0 / 5_f64.log2();
        assert!(close(ndcg(&gains, &order, 10), got / ideal));
        assert!(close(ndcg(&gains, &order, 3), 1.0 / 3_f64.log2() / ideal));
        assert!(close(average_precision(&gains, &order), (1.0 / 2.0 + 2.0 / 4.0) / 2.0));
        assert!(close(reciprocal_rank(&gains, &order), 0.5));
        assert!(close(recall(&gains, &order, 3), 0.5));
        // Graded gains 3, 2, 0, 1 in that order against 3, 2, 1, 0.
        let graded = [3.0, 2.0, 0.0, 1.0];
        let dcg = 3.0 + 2.0 / 3_f64.log2() + 1.0 / 5_f64.log2();
        let ideal = 3.0 + 2.0 / 3_f64.log2() + 1.0 / 4_f64.log2();
        assert!(close(ndcg(&graded, &[0, 1, 2, 3], 4), dcg / ideal));
    }

    #[test]
    fn nothing_relevant_or_nothing_at_all_scores_zero() {
        for gains in [vec![], vec![0.0, 0.0]] {
            let order: Vec<u32> = (0..).take(gains.len()).collect();
            assert_eq!(ndcg(&gains, &order, 10), 0.0);
            assert_eq!(average_precision(&gains, &order), 0.0);
            assert_eq!(reciprocal_rank(&gains, &order), 0.0);
            assert_eq!(recall(&gains, &order, 10), 0.0);
        }
        assert_eq!(Measures::mean(&[]), Measures::default());
        assert_eq!(auc(&[true, true], &[1.0, 2.0]), None);
        assert_eq!(auc(&[true, false], &[1.0, f32::NAN]), None);
    }

    #[test]
    fn what_a_slate_leaves_out_counts_as_never_shown() {
        let gains = [1.0, 0.0, 1.0];
        assert!(close(recall(&gains, &[0], 10), 0.5));
        assert!(close(average_precision(&gains, &[0]), 0.5));
        assert!(ndcg(&gains, &[0], 10) < 1.0);
    }

    #[test]
    fn signed_zeros_tie() {
        assert_eq!(rank(&[-0.0, 0.0, -0.0]), [0, 1, 2]);
    }

    fn query() -> impl Strategy<Value = (Vec<bool>, Vec<f32>)> {
        (1_usize..40).prop_flat_map(|n| {
            let scores = proptest::collection::vec(-8_i8..8, n);
            let scores = scores.prop_map(|v| v.into_iter().map(f32::from).collect());
            (proptest::collection::vec(any::<bool>(), n), scores)
        })
    }

    proptest! {
        #[test]
        fn measures_stay_within_zero_and_one((relevant, scores) in query()) {
            let m = Measures::of(&relevant, &rank(&scores));
            for value in [m.ndcg, m.map, m.mrr, m.recall] {
                prop_assert!((0.0..=1.0 + 1e-12).contains(&value), "{m:?}");
            }
            if let Some(area) = auc(&relevant, &scores) {
                prop_assert!((0.0..=1.0).contains(&area));
            }
        }

        #[test]
        fn the_perfect_ranking_scores_one(relevant in proptest::collection::vec(any::<bool>(), 1..40)) {
            prop_assume!(relevant.contains(&true));
            let perfect: Vec<f32> = relevant.iter().map(|&r| f32::from(u8::from(r))).collect();
            let m = Measures::of(&relevant, &rank(&perfect));
            prop_assert!(close(m.ndcg, 1.0) && close(m.map, 1.0) && close(m.mrr, 1.0), "{m:?}");
            let hits = relevant.iter().filter(|&&r| r).count();
            prop_assert!(close(m.recall, hits.min(TOP) as f64 / hits as f64));
        }

        #[test]
        fn only_the_order_of_scores_matters((relevant, scores) in query()) {
            let moved: Vec<f32> = scores.iter().map(|s| s * 4.0 + 16.0).collect();
            prop_assert_eq!(rank(&scores), rank(&moved));
            prop_assert_eq!(auc(&relevant, &scores), auc(&relevant, &moved));
        }

        #[test]
        fn ranking_is_a_permutation_that_keeps_the_input_order_of_ties((_, scores) in query()) {
            let order = rank(&scores);
            for pair in order.windows(2) {
                let (a, b) = (scores[pair[0] as usize], scores[pair[1] as usize]);
                prop_assert!(a > b || (a == b && pair[0] < pair[1]));
            }
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..).take(scores.len()).collect::<Vec<u32>>());
        }

        #[test]
        fn lifting_a_relevant_candidate_by_one_place_never_hurts(
            (relevant, scores) in query(),
            at in any::<prop::sample::Index>(),
        ) {
            let before = rank(&scores);
            let place = at.index(before.len());
            prop_assume!(place > 0 && relevant[before[place] as usize]);
            let mut after = before.clone();
            after.swap(place, place - 1);
            let (b, a) = (Measures::of(&relevant, &before), Measures::of(&relevant, &after));
            prop_assert!(a.ndcg >= b.ndcg - 1e-12 && a.map >= b.map - 1e-12);
            prop_assert!(a.mrr >= b.mrr && a.recall >= b.recall);
        }

        #[test]
        fn auc_is_the_share_of_pairs_in_order((relevant, scores) in query()) {
            let (mut won, mut pairs) = (0.0, 0.0);
            for (i, _) in relevant.iter().enumerate().filter(|(_, r)| **r) {
                for (j, _) in relevant.iter().enumerate().filter(|(_, r)| !**r) {
                    pairs += 1.0;
                    won += match scores[i].total_cmp(&scores[j]) {
                        std::cmp::Ordering::Greater => 1.0,
                        std::cmp::Ordering::Equal => 0.5,
                        std::cmp::Ordering::Less => 0.0,
                    };
                }
            }
            match auc(&relevant, &scores) {
                Some(area) => prop_assert!(close(area, won / pairs)),
                None => prop_assert_eq!(pairs, 0.0),
            }
        }
    }
}
