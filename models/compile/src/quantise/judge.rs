//! What a quantised model loses, by the order that it gives candidates.
//!
//! Where somebody knows which candidates were worth showing, the loss is that of NDCG (Järvelin and Kekäläinen, 2002) and of the
//! area under the ROC curve. Where nobody does, it is what is missing to 1 of Spearman's correlation of ranks between the scores
//! before and after; Kendall's tau-b is reported beside it. All are means over requests, so that a request with many candidates
//! counts no more than another.

use serde::Serialize;

/// Places that NDCG looks at.
const PLACES: usize = 10;

/// What came of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Loss {
    /// Requests whose candidates do not all score the same.
    pub requests: usize,
    /// Spearman's correlation of ranks.
    pub spearman: f64,
    /// Kendall's tau-b.
    pub kendall: f64,
    /// Where gains are known: NDCG of the first 10 places, before and after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ndcg: Option<[f64; 2]>,
    /// Where gains are known, and are 0 and not 0 in one request: area under the ROC curve, before and after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auc: Option<[f64; 2]>,
}

/// Scores of a request before and after; gains are empty where nobody knows them.
pub(super) struct Compared<'a> {
    pub(super) before: &'a [f32],
    pub(super) after: &'a [f32],
    pub(super) gains: &'a [f32],
}

impl Loss {
    pub(super) fn new<'a>(requests: impl IntoIterator<Item = Compared<'a>>) -> Self {
        let mut means = [Mean::default(); 6];
        let [spearman, kendall, ndcg_before, ndcg_after, auc_before, auc_after] = &mut means;
        for Compared { before, after, gains } in requests {
            spearman.add(spearman_of(before, after));
            kendall.add(kendall_of(before, after));
            ndcg_before.add(ndcg(before, gains));
            ndcg_after.add(ndcg(after, gains));
            auc_before.add(auc(before, gains));
            auc_after.add(auc(after, gains));
        }
        let pair = |before: &Mean, after: &Mean| Some([before.value()?, after.value()?]);
        Self {
            requests: spearman.count,
            spearman: spearman.value().unwrap_or(0.0),
            kendall: kendall.value().unwrap_or(0.0),
            ndcg: pair(ndcg_before, ndcg_after),
            auc: pair(auc_before, auc_after),
        }
    }

    /// What is lost, as a share: of the larger of NDCG and AUC where they are known, else of the correlation of ranks.
    #[must_use]
    pub fn share(&self) -> f64 {
        let lost = |[before, after]: [f64; 2]| if before > 0.0 { (before - after) / before } else { 0.0 };
        let known: Vec<f64> = [self.ndcg, self.auc].into_iter().flatten().map(lost).collect();
        known.into_iter().reduce(f64::max).unwrap_or(1.0 - self.spearman)
    }
}

#[derive(Clone, Copy, Default)]
struct Mean {
    sum: f64,
    count: usize,
}

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        self.sum += value.unwrap_or(0.0);
        self.count += usize::from(value.is_some());
    }

    fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

/// What is no number ranks last.
fn ranked(score: f32) -> f32 {
    if score.is_nan() { f32::NEG_INFINITY } else { score }
}

/// Ranks from the lowest, those of equal scores shared.
fn ranks(scores: &[f32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| ranked(scores[*a]).total_cmp(&ranked(scores[*b])));
    let mut ranks = vec![0.0; scores.len()];
    let mut first = 0;
    for group in order.chunk_by(|a, b| ranked(scores[*a]) == ranked(scores[*b])) {
        let shared = first as f64 + (group.len() - 1) as f64 / 2.0;
        group.iter().for_each(|at| ranks[*at] = shared);
        first += group.len();
    }
    ranks
}

/// None where all scores before are equal: then there is no order to keep.
fn spearman_of(before: &[f32], after: &[f32]) -> Option<f64> {
    let (a, b) = (ranks(before), ranks(after));
    let middle = (a.len().max(1) - 1) as f64 / 2.0;
    let product = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| (x - middle) * (y - middle)).sum::<f64>();
    let (own, other) = (product(&a, &a), product(&b, &b));
    if own == 0.0 {
        return None;
    }
    Some(if other == 0.0 { 0.0 } else { product(&a, &b) / (own * other).sqrt() })
}

fn kendall_of(before: &[f32], after: &[f32]) -> Option<f64> {
    let sign = |scores: &[f32], i: usize, j: usize| {
        let (a, b) = (ranked(scores[i]), ranked(scores[j]));
        i64::from(a > b) - i64::from(a < b)
    };
    let (mut agreed, mut own, mut other) = (0, 0, 0);
    for i in 0..before.len() {
        for j in 0..i {
            let (a, b) = (sign(before, i, j), sign(after, i, j));
            agreed += a * b;
            own += a * a;
            other += b * b;
        }
    }
    if own == 0 {
        return None;
    }
    Some(if other == 0 { 0.0 } else { agreed as f64 / (own as f64 * other as f64).sqrt() })
}

/// Candidates from the best; equal ones in the order of the request.
fn order(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| ranked(scores[*b]).total_cmp(&ranked(scores[*a])));
    order
}

fn ndcg(scores: &[f32], gains: &[f32]) -> Option<f64> {
    let discounted = |gains: &mut dyn Iterator<Item = f32>| {
        gains.take(PLACES).enumerate().map(|(place, gain)| f64::from(gain) / (place as f64 + 2.0).log2()).sum::<f64>()
    };
    if gains.is_empty() {
        return None;
    }
    let ideal = discounted(&mut order(gains).into_iter().map(|at| gains[at]));
    (ideal > 0.0).then(|| discounted(&mut order(scores).into_iter().map(|at| gains[at])) / ideal)
}

/// The share of pairs of a candidate with gain and one without that are in the right order; equal ones count half.
fn auc(scores: &[f32], gains: &[f32]) -> Option<f64> {
    if gains.is_empty() {
        return None;
    }
    let ranks = ranks(scores);
    let positive: Vec<f64> = ranks.iter().zip(gains).filter(|(_, gain)| **gain > 0.0).map(|(rank, _)| *rank).collect();
    let (with, without) = (positive.len() as f64, (scores.len() - positive.len()) as f64);
    let pairs = with * without;
    (pairs > 0.0).then(|| (positive.iter().sum::<f64>() - with * (with - 1.0) / 2.0) / pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_those_of_the_books() {
        let before = [4.0, 3.0, 2.0, 1.0];
        let after = [4.0, 2.0, 3.0, 1.0];
        let gains = [0.0, 1.0, 0.0, 0.0];
        let loss = Loss::new([Compared { before: &before, after: &after, gains: &gains }]);
        // One of six pairs is turned: 1 - 2/6; and 1 - 6 * (1 + 1) / (4 * 15).
        assert!((loss.kendall - 2.0 / 3.0).abs() < 1e-12, "{loss:?}");
        assert!((loss.spearman - 0.8).abs() < 1e-12, "{loss:?}");
        let ndcg = loss.ndcg.expect("gains are known");
        assert!((ndcg[0] - 1.0 / 3f64.log2()).abs() < 1e-12 && (ndcg[1] - 0.5).abs() < 1e-12, "{loss:?}");
        let auc = loss.auc.expect("both kinds are there");
        assert!((auc[0] - 2.0 / 3.0).abs() < 1e-12 && (auc[1] - 1.0 / 3.0).abs() < 1e-12, "{loss:?}");
        assert!((loss.share() - 0.5).abs() < 1e-12, "the larger loss counts");
    }

    #[test]
    fn without_gains_the_order_itself_is_what_may_be_lost() {
        let (before, after) = ([1.0, 2.0, 3.0], [1.0, 2.0, 3.5]);
        let kept = Loss::new([Compared { before: &before, after: &after, gains: &[] }]);
        assert_eq!((kept.share(), kept.kendall, kept.ndcg, kept.auc), (0.0, 1.0, None, None));
        let gone = Loss::new([Compared { before: &before, after: &[0.0; 3], gains: &[] }]);
        assert_eq!(gone.share(), 1.0, "a score that tells nobody apart keeps no order");
        let nothing = Loss::new([Compared { before: &[1.0; 3], after: &after, gains: &[] }]);
        assert_eq!(nothing.requests, 0, "where all are equal there is no order to keep");
    }

    #[test]
    fn what_is_no_number_ranks_last() {
        let loss = Loss::new([Compared { before: &[f32::NAN, 1.0], after: &[-9.0, 1.0], gains: &[] }]);
        assert_eq!(loss.spearman, 1.0);
    }
}
