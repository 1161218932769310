//! Measures of an uplift score on a trial of one arm against the control, each with the definition it follows.
//!
//! "AUUC" and "Qini" are names of at least four quantities each (Devriendt et al., "Learning to rank for uplift modeling",
//! 2020, counts them): curves are made within each group or over both, in counts or in shares, as they are or divided by a
//! perfect curve. A figure without its definition compares with nothing, so [`UpliftMetric`] is part of every figure here.
//!
//! Rows of equal score are one step of a curve: no order among them is invented. The measures see scores and responses;
//! they know no model, and with unequal propensities within an arm they are not for the trial.

/// A definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpliftMetric {
    /// Area between the two groups' own curves of responses, each over the share of its group, from the highest score
    /// down: `l_T AUC_T - l_C AUC_C + (y_T² - y_C²)/2` with `l = y(1 - y)` and `y` a group's mean response (Betlei, Diemert
    /// and Amini, "Uplift modeling with generalization guarantees", 2021, proposition 1). Half the average effect for a
    /// random score. A tie of a responder and another counts half.
    AuucCriteo,
    /// scikit-uplift's `uplift_auc_score`: the curve is `(Y_T/N_T - Y_C/N_C)(N_T + N_C)` over both groups ranked together;
    /// its area above the straight line, divided by that of the perfect curve. 0 for a random score.
    UpliftAuc,
    /// scikit-uplift's `qini_auc_score` (Radcliffe 2007) with negative effects: the curve is `Y_T - Y_C N_T/N_C`; its area
    /// above the straight line, divided by that of the perfect curve. 0 for a random score.
    QiniAuc,
}

impl UpliftMetric {
    /// All definitions.
    pub const ALL: [Self; 3] = [Self::AuucCriteo, Self::UpliftAuc, Self::QiniAuc];

    /// The name that belongs beside every figure.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AuucCriteo => "AUUC (Criteo: separate, absolute)",
            Self::UpliftAuc => "AUUC (scikit-uplift: joint, of perfect)",
            Self::QiniAuc => "Qini (scikit-uplift: joint, of perfect)",
        }
    }

    /// The measure of a score. `None` if a group is empty, or if no order is better than another.
    #[must_use]
    pub fn of(self, scored: &Scored<'_>) -> Option<f64> {
        if !scored.has_both_groups() {
            return None;
        }
        match self {
            Self::AuucCriteo => Some(auuc_criteo(scored)),
            Self::UpliftAuc => {
                let perfect = scored.perfect_uplift();
                of_perfect(&uplift_curve(scored), &uplift_curve(&Scored { scores: &perfect, ..*scored }))
            }
            Self::QiniAuc => {
                let perfect = scored.perfect_qini();
                of_perfect(&qini_curve(scored), &qini_curve(&Scored { scores: &perfect, ..*scored }))
            }
        }
    }
}

/// Scores of rows, who of them was treated, and who responded.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    /// Higher is treated earlier.
    pub scores: &'a [f64],
    /// Whether the row is in the arm, rather than in the control.
    pub treated: &'a [bool],
    /// Whether it responded.
    pub responded: &'a [bool],
}

impl Scored<'_> {
    fn has_both_groups(&self) -> bool {
        self.treated.contains(&true) && self.treated.contains(&false)
    }

    /// Rows from the highest score down, in groups of equal score.
    fn steps(&self) -> Vec<Step> {
        let mut order: Vec<usize> = (0..self.scores.len()).collect();
        order.sort_unstable_by(|a, b| self.scores[*b].total_cmp(&self.scores[*a]));
        let equal = |a: &usize, b: &usize| self.scores[*a] == self.scores[*b];
        let steps = order.chunk_by(equal).map(|rows| {
            let mut step = Step::default();
            for row in rows {
                let responded = f64::from(u8::from(self.responded[*row]));
                step.group(self.treated[*row]).add(Group { rows: 1.0, responses: responded });
            }
            step
        });
        steps.collect()
    }

    /// The same after each step: what has been seen so far.
    fn cumulative(&self) -> impl Iterator<Item = Step> {
        self.steps().into_iter().scan(Step::default(), |sum, step| {
            sum.treated.add(step.treated);
            sum.control.add(step.control);
            Some(*sum)
        })
    }

    /// Scores of an order that no model beats, as scikit-uplift has it.
    fn perfect_uplift(&self) -> Vec<f64> {
        let count = |treated: bool, responded: bool| {
            self.treated.iter().zip(self.responded).filter(|(t, y)| **t == treated && **y == responded).count()
        };
        let by_response = count(false, true) > count(true, false);
        let score = |(treated, responded): (&bool, &bool)| {
            let summand = if by_response { responded } else { treated };
            2.0 * f64::from(u8::from(treated == responded)) + f64::from(u8::from(*summand))
        };
        self.treated.iter().zip(self.responded).map(score).collect()
    }

    fn perfect_qini(&self) -> Vec<f64> {
        let score = |(treated, responded): (&bool, &bool)| match (treated, responded) {
            (true, true) => 1.0,
            (false, true) => -1.0,
            (_, false) => 0.0,
        };
        self.treated.iter().zip(self.responded).map(score).collect()
    }
}

/// Name of [`aucc`], which belongs beside every figure.
pub const AUCC: &str = "AUCC (Du, Lee and Ghaffarizadeh: joint, of its rectangle)";

/// Area under the cost curve (Du, Lee and Ghaffarizadeh, "Improve User Retention with Causal Learning", 2019): rows are
/// taken from the highest score down, the curve runs over the cost that the arm adds among those so far and shows the
/// responses that it adds, and its area is divided by that of the rectangle to the curve's end. A half for a random score;
/// more than 1 is possible where the last rows harm.
///
/// `costs` is what each row cost; both differences are made as in [`uplift_curve`]. `None` if a group is empty, or if the
/// arm adds no cost or no response in all: there is no rectangle then.
#[must_use]
pub fn aucc(scored: &Scored<'_>, costs: &[f64]) -> Option<f64> {
    if !scored.has_both_groups() {
        return None;
    }
    let curve = cost_curve(scored, costs);
    let (cost, responses) = *curve.last()?;
    (cost > 0.0 && responses > 0.0).then(|| area(&curve) / (cost * responses))
}

/// Responses gained by cost added, each the difference between the groups' means among the rows so far times their number.
/// Starts at (0, 0).
#[must_use]
pub fn cost_curve(scored: &Scored<'_>, costs: &[f64]) -> Curve {
    let mut order: Vec<usize> = (0..scored.scores.len()).collect();
    order.sort_by(|a, b| scored.scores[*b].total_cmp(&scored.scores[*a]));
    let (mut so_far, mut paid) = (Step::default(), Step::default());
    let mut curve = vec![(0.0, 0.0)];
    for rows in order.chunk_by(|a, b| scored.scores[*a] == scored.scores[*b]) {
        for row in rows {
            let responded = f64::from(u8::from(scored.responded[*row]));
            so_far.group(scored.treated[*row]).add(Group { rows: 1.0, responses: responded });
            paid.group(scored.treated[*row]).add(Group { rows: 1.0, responses: costs[*row] });
        }
        let all = so_far.treated.rows + so_far.control.rows;
        let difference = |step: &Step| (step.treated.rate() - step.control.rate()) * all;
        curve.push((difference(&paid), difference(&so_far)));
    }
    curve
}

#[derive(Clone, Copy, Debug, Default)]
struct Group {
    rows: f64,
    responses: f64,
}

impl Group {
    fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.responses += other.responses;
    }

    /// Responses per row, 0 for no rows.
    fn rate(self) -> f64 {
        if self.rows > 0.0 { self.responses / self.rows } else { 0.0 }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Step {
    treated: Group,
    control: Group,
}

impl Step {
    fn group(&mut self, is_treated: bool) -> &mut Group {
        if is_treated { &mut self.treated } else { &mut self.control }
    }
}

/// Responses gained, if as many from the top as `x` says are treated. Starts at (0, 0).
pub type Curve = Vec<(f64, f64)>;

/// scikit-uplift's `uplift_curve`: `x` counts rows, `y` is the difference in response among them times `x`.
#[must_use]
pub fn uplift_curve(scored: &Scored<'_>) -> Curve {
    curve(scored, |so_far| {
        (so_far.treated.rate() - so_far.control.rate()) * (so_far.treated.rows + so_far.control.rows)
    })
}

/// scikit-uplift's `qini_curve`: `x` counts rows, `y` the responses of the treated above those of as many controls.
#[must_use]
pub fn qini_curve(scored: &Scored<'_>) -> Curve {
    curve(scored, |so_far| so_far.treated.responses - so_far.control.rate() * so_far.treated.rows)
}

fn curve(scored: &Scored<'_>, y: impl Fn(Step) -> f64) -> Curve {
    let points = scored.cumulative().map(|so_far| (so_far.treated.rows + so_far.control.rows, y(so_far)));
    std::iter::once((0.0, 0.0)).chain(points).collect()
}

/// Area under a curve by trapezoids.
#[must_use]
pub fn area(curve: &[(f64, f64)]) -> f64 {
    curve.windows(2).map(|pair| (pair[1].0 - pair[0].0) * f64::midpoint(pair[0].1, pair[1].1)).sum()
}

/// Area above the straight line to the curve's end, relative to that of the perfect curve; both end at the same point.
fn of_perfect(curve: &[(f64, f64)], perfect: &[(f64, f64)]) -> Option<f64> {
    let (x, y) = *perfect.last()?;
    let line = x * y / 2.0;
    let best = area(perfect) - line;
    (best != 0.0).then(|| (area(curve) - line) / best)
}

/// `area of Y_T(p)/n_T - Y_C(p)/n_C`, each group ranked by itself, `p` from 0 to 1.
fn auuc_criteo(scored: &Scored<'_>) -> f64 {
    let steps = scored.steps();
    let area_of = |group: &dyn Fn(&Step) -> Group| {
        let total = steps.iter().map(group).fold(Group::default(), |mut sum, group| {
            sum.add(group);
            sum
        });
        let mut seen = 0.0;
        let mut area = 0.0;
        for group in steps.iter().map(group) {
            area += group.rows * (seen + group.responses / 2.0);
            seen += group.responses;
        }
        area / (total.rows * total.rows)
    };
    area_of(&|step| step.treated) - area_of(&|step| step.control)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::seq::SliceRandom;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// AUC by its definition: the share of pairs of a responder and another that are in order, ties half.
    fn auc(rows: &[(f64, bool)]) -> f64 {
        let (mut right, mut pairs) = (0.0, 0.0);
        for (a, _) in rows.iter().filter(|(_, responded)| *responded) {
            for (b, _) in rows.iter().filter(|(_, responded)| !*responded) {
                pairs += 1.0;
                right += f64::from(u8::from(a > b)) + f64::from(u8::from(a == b)) / 2.0;
            }
        }
        if pairs > 0.0 { right / pairs } else { 0.0 }
    }

    proptest! {
        #[test]
        fn auuc_is_the_formula_of_its_definition(rows in prop::collection::vec((0..6_u8, any::<bool>(), any::<bool>()), 2..60)) {
            let scores: Vec<f64> = rows.iter().map(|row| f64::from(row.0)).collect();
            let treated: Vec<bool> = rows.iter().map(|row| row.1).collect();
            let responded: Vec<bool> = rows.iter().map(|row| row.2).collect();
            let scored = Scored { scores: &scores, treated: &treated, responded: &responded };
            prop_assume!(scored.has_both_groups());
            let part = |of: bool| {
                let group: Vec<(f64, bool)> = rows.iter().filter(|row| row.1 == of).map(|row| (f64::from(row.0), row.2)).collect();
                let mean = group.iter().filter(|row| row.1).count() as f64 / group.len() as f64;
                mean * (1.0 - mean) * auc(&group) + mean * mean / 2.0
            };
            let ours = UpliftMetric::AuucCriteo.of(&scored).unwrap();
            prop_assert!((ours - (part(true) - part(false))).abs() < 1e-12);
        }

        #[test]
        fn the_order_of_rows_is_nothing_to_any_measure(seed in any::<u64>()) {
            let mut draw = ChaCha8Rng::seed_from_u64(seed);
            let mut rows: Vec<(f64, bool, bool)> =
                (0..80).map(|_| (f64::from(draw.random_range(0..9_u8)), draw.random(), draw.random())).collect();
            let measure = |rows: &[(f64, bool, bool)]| UpliftMetric::ALL.map(|metric| {
                let scores: Vec<f64> = rows.iter().map(|row| row.0).collect();
                let treated: Vec<bool> = rows.iter().map(|row| row.1).collect();
                let responded: Vec<bool> = rows.iter().map(|row| row.2).collect();
                metric.of(&Scored { scores: &scores, treated: &treated, responded: &responded }).unwrap()
            });
            let before = measure(&rows);
            rows.shuffle(&mut draw);
            prop_assert_eq!(before, measure(&rows));
        }
    }

    #[test]
    fn the_perfect_order_is_one_and_a_constant_score_nothing() {
        let treated = [true, true, true, false, false, false, true, false];
        let responded = [true, false, true, true, false, false, false, false];
        let of = |metric: UpliftMetric, scores: &[f64]| {
            metric.of(&Scored { scores, treated: &treated, responded: &responded }).unwrap()
        };
        let scored = Scored { scores: &[], treated: &treated, responded: &responded };
        assert_eq!(of(UpliftMetric::UpliftAuc, &scored.perfect_uplift()), 1.0);
        assert_eq!(of(UpliftMetric::QiniAuc, &scored.perfect_qini()), 1.0);
        assert_eq!(of(UpliftMetric::UpliftAuc, &[0.0; 8]), 0.0);
        assert_eq!(of(UpliftMetric::QiniAuc, &[0.0; 8]), 0.0);
        // Half of the average effect, 2/4 - 1/4.
        assert_eq!(of(UpliftMetric::AuucCriteo, &[0.0; 8]), 0.125);
    }

    #[test]
    fn the_cost_curve_of_a_constant_score_is_straight_and_one_of_the_truth_is_above_it() {
        let mut draw = ChaCha8Rng::seed_from_u64(3);
        let (mut truth, mut treated, mut responded, mut costs) = (vec![], vec![], vec![], vec![]);
        for _ in 0..4_000 {
            let effect: f64 = draw.random::<f64>() * 0.4;
            let is_treated: bool = draw.random();
            let chance = 0.2 + if is_treated { effect } else { 0.0 };
            truth.push(effect);
            treated.push(is_treated);
            responded.push(draw.random::<f64>() < chance);
            costs.push(if is_treated { 1.0 } else { 0.0 });
        }
        let of = |scores: &[f64]| aucc(&Scored { scores, treated: &treated, responded: &responded }, &costs).unwrap();
        let worst: Vec<f64> = truth.iter().map(|effect| -effect).collect();
        assert!((of(&vec![1.0; truth.len()]) - 0.5).abs() < 1e-12);
        // An effect that is even from 0 to its end has a parabola: two thirds, and one third the other way round.
        assert!((of(&truth) - 2.0 / 3.0).abs() < 0.05 && (of(&worst) - 1.0 / 3.0).abs() < 0.05, "{}", of(&truth));
    }

    #[test]
    fn cheap_responses_first_is_more_area_than_dear_ones_first() {
        // The same effects at costs of 1 and 3; only the cost curve tells the orders apart.
        let treated = [true, false, true, false];
        let responded = [true, false, true, false];
        let costs = [1.0, 0.0, 3.0, 0.0];
        let of = |scores: &[f64]| aucc(&Scored { scores, treated: &treated, responded: &responded }, &costs).unwrap();
        assert_eq!(of(&[2.0, 2.0, 1.0, 1.0]), 0.625);
        assert_eq!(of(&[1.0, 1.0, 2.0, 2.0]), 0.375);
        let free = aucc(&Scored { scores: &[1.0; 4], treated: &treated, responded: &responded }, &[0.0; 4]);
        assert_eq!(free, None, "an arm that costs nothing has no cost curve");
    }

    #[test]
    fn without_two_groups_there_is_no_measure() {
        for treated in [[true; 3], [false; 3]] {
            let scored = Scored { scores: &[1.0, 2.0, 3.0], treated: &treated, responded: &[true, false, true] };
            assert!(UpliftMetric::ALL.iter().all(|metric| metric.of(&scored).is_none()));
        }
    }
}
