//! How far a mean over queries would move had other queries, or other people, been drawn.
//!
//! Efron's percentile bootstrap (1979). Two rankers are compared on the same queries, so the quantity resampled is the
//! difference on each query: what makes a query hard for both cancels. Queries of one household resemble each other;
//! resampling households whole ([`Bootstrap::mean_by_cluster`], Davison and Hinkley 1997, section 3.8) accounts for that
//! and gives the wider, honest interval when a household asks often.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A mean with an interval around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The mean of the sample itself.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// How to resample. The same settings and values give the same interval on every machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bootstrap {
    /// Number of resamples, at least 1.
    pub resamples: usize,
    /// Share of resampled means that the interval holds, between 0 and 1.
    pub confidence: f64,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Bootstrap {
    /// 10,000 resamples, 95 %.
    fn default() -> Self {
        Self { resamples: 10_000, confidence: 0.95, seed: 1 }
    }
}

impl Bootstrap {
    /// The mean of `values`, each a draw of its own. `None` for no values.
    #[must_use]
    pub fn mean(&self, values: &[f64]) -> Option<Interval> {
        self.mean_of_groups(values.iter().map(|&value| (value, 1.0)).collect())
    }

    /// The mean of `values` where those with equal `clusters` (a household's index, say) are drawn together.
    /// `None` for no values.
    ///
    /// # Panics
    /// If the slices differ in length.
    #[must_use]
    pub fn mean_by_cluster(&self, values: &[f64], clusters: &[u32]) -> Option<Interval> {
        assert_eq!(values.len(), clusters.len(), "one cluster per value");
        let mut by_cluster: Vec<(u32, f64)> = clusters.iter().copied().zip(values.iter().copied()).collect();
        // Stable, so that sums within a cluster run in the order given.
        by_cluster.sort_by_key(|&(cluster, _)| cluster);
        let groups = by_cluster.chunk_by(|a, b| a.0 == b.0);
        self.mean_of_groups(groups.map(|group| (group.iter().map(|&(_, v)| v).sum(), group.len() as f64)).collect())
    }

    /// The ratio of two sums over the same draws, as (numerator, denominator). `None` for none.
    #[must_use]
    pub fn ratio(&self, terms: &[(f64, f64)]) -> Option<Interval> {
        self.mean_of_groups(terms.to_vec())
    }

    /// The mean of `ours - theirs`, query by query: above zero from `low` on means that ours is better.
    ///
    /// # Panics
    /// If the slices differ in length.
    ///
    /// ```
    /// use selvedge_train::bootstrap::Bootstrap;
    /// let gain = Bootstrap::default().paired(&[0.5, 0.7, 0.9], &[0.4, 0.6, 0.8]).unwrap();
    /// assert!((gain.mean - 0.1).abs() < 1e-12 && gain.low > 0.0);
    /// ```
    #[must_use]
    pub fn paired(&self, ours: &[f64], theirs: &[f64]) -> Option<Interval> {
        self.mean(&differences(ours, theirs))
    }

    /// [`Bootstrap::paired`] with whole clusters drawn, as in [`Bootstrap::mean_by_cluster`].
    ///
    /// # Panics
    /// If the slices differ in length.
    #[must_use]
    pub fn paired_by_cluster(&self, ours: &[f64], theirs: &[f64], clusters: &[u32]) -> Option<Interval> {
        self.mean_by_cluster(&differences(ours, theirs), clusters)
    }

    /// Groups are (sum, count); a resample's mean is the sum of its sums over the sum of its counts.
    fn mean_of_groups(&self, groups: Vec<(f64, f64)>) -> Option<Interval> {
        if groups.is_empty() {
            return None;
        }
        // A resample of nothing but weights of 0 has seen no reward.
        let ratio = |(sum, count): (f64, f64)| if count == 0.0 { 0.0 } else { sum / count };
        let add = |a: (f64, f64), b: (f64, f64)| (a.0 + b.0, a.1 + b.1);
        let mean = ratio(groups.iter().copied().fold((0.0, 0.0), add));
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut means: Vec<f64> = (0..self.resamples.max(1))
            .map(|_| {
                let draw = (0..groups.len()).map(|_| groups[rng.random_range(0..groups.len())]);
                ratio(draw.fold((0.0, 0.0), add))
            })
            .collect();
        means.sort_by(f64::total_cmp);
        let tail = (1.0 - self.confidence.clamp(0.0, 1.0)) / 2.0;
        Some(Interval { mean, low: quantile(&means, tail), high: quantile(&means, 1.0 - tail) })
    }
}

fn differences(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    assert_eq!(ours.len(), theirs.len(), "one value per query on both sides");
    ours.iter().zip(theirs).map(|(a, b)| a - b).collect()
}

/// The quantile of ascending values by linear interpolation (Hyndman and Fan's type 7), NaN for none.
#[must_use]
pub fn quantile(ascending: &[f64], share: f64) -> f64 {
    let Some(last) = ascending.len().checked_sub(1) else {
        return f64::NAN;
    };
    let at = share.clamp(0.0, 1.0) * last as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the last index")]
    let below = at as usize;
    let above = (below + 1).min(last);
    ascending[below] + (ascending[above] - ascending[below]) * (at - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums of twelve uniform draws less six: mean 0, variance 1, and no libm.
    fn normal(rng: &mut ChaCha8Rng) -> f64 {
        (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
    }

    const QUICK: Bootstrap = Bootstrap { resamples: 400, confidence: 0.95, seed: 9 };

    #[test]
    fn ninety_five_percent_intervals_cover_the_truth_about_that_often() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let covered = (0..400)
            .filter(|_| {
                let ours: Vec<f64> = (0..60).map(|_| 0.3 + normal(&mut rng)).collect();
                let theirs: Vec<f64> = (0..60).map(|_| normal(&mut rng)).collect();
                let gain = QUICK.paired(&ours, &theirs).unwrap();
                (gain.low..=gain.high).contains(&0.3)
            })
            .count();
        // Binomial(400, .95) has a standard deviation of 4.4; the percentile bootstrap covers a little less at n = 60.
        assert!((360..=395).contains(&covered), "{covered} of 400");
    }

    #[test]
    fn only_whole_clusters_cover_when_a_cluster_resembles_itself() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let clusters: Vec<u32> = (0..50).flat_map(|c| [c; 8]).collect();
        let (mut by_cluster, mut by_query) = (0, 0);
        for _ in 0..200 {
            let shared: Vec<f64> = (0..50).map(|_| normal(&mut rng)).collect();
            let values: Vec<f64> = clusters.iter().map(|&c| shared[c as usize] + 0.3 * normal(&mut rng)).collect();
            let covers = |i: Interval| usize::from((i.low..=i.high).contains(&0.0));
            by_cluster += covers(QUICK.mean_by_cluster(&values, &clusters).unwrap());
            by_query += covers(QUICK.mean(&values).unwrap());
        }
        assert!(by_cluster >= 178, "{by_cluster} of 200");
        assert!(by_query < 140, "{by_query} of 200");
    }

    #[test]
    fn clusters_of_one_are_queries() {
        let values = [0.1, 0.5, 0.2, 0.9, 0.4];
        let apart = [0, 1, 2, 3, 4];
        assert_eq!(QUICK.mean(&values), QUICK.mean_by_cluster(&values, &apart));
    }

    #[test]
    fn a_seed_fixes_the_interval_and_the_mean_needs_none() {
        let values: Vec<f64> = (0..50).map(f64::from).collect();
        let other = Bootstrap { seed: 10, ..QUICK };
        assert_eq!(QUICK.mean(&values), QUICK.mean(&values));
        assert_ne!(QUICK.mean(&values), other.mean(&values));
        assert_eq!(QUICK.mean(&values).unwrap().mean, 24.5);
    }

    #[test]
    fn no_values_give_no_interval_and_equal_values_a_point() {
        assert_eq!(QUICK.mean(&[]), None);
        let point = QUICK.mean(&[0.25; 7]).unwrap();
        assert_eq!((point.low, point.mean, point.high), (0.25, 0.25, 0.25));
    }

    #[test]
    fn quantiles_interpolate_between_values() {
        let values = [1.0, 2.0, 4.0, 8.0];
        assert_eq!(quantile(&values, 0.0), 1.0);
        assert_eq!(quantile(&values, 0.5), 3.0);
        assert_eq!(quantile(&values, 1.0), 8.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
