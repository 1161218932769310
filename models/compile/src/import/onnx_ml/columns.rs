//! Columns between the input and the trees: each is one feature behind steps that a comparison can be moved before.
//!
//! Scalers, imputers and the like are monotone functions of one number, so a comparison behind them is a comparison before
//! them: the threshold is moved to where the function crosses it, and what becomes of a missing value is known. Encoders of
//! categories are constant between cuts, so a comparison behind them changes its side at some of the cuts and nowhere else.
//! Nothing is computed when scoring, and nothing is lost: the function is evaluated here in `f32`, as onnxruntime evaluates it.
//!
//! It does not know ONNX: whoever reads operators makes [`Step`]s.

use std::rc::Rc;

use super::super::grow::{Side, Test};

/// One feature, and what is done to it before the trees see it.
#[derive(Clone, Debug)]
pub(super) struct Column {
    input: u64,
    steps: Vec<Step>,
}

/// A function that does not fall where its argument rises, or that looks its argument up.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// `x + a`.
    Add(f32),
    /// `x - a`.
    Subtract(f32),
    /// `x a`.
    Multiply(f32),
    /// This for a missing value.
    Fill(f32),
    /// 1 above this, 0 for all else; and for a missing value, where onnxruntime gives up.
    Above(f32),
    /// At least the first, at most the second; what is missing stays so.
    Clamp(f32, f32),
    /// Without its fraction; what is missing stays so.
    Truncate,
    /// What a table says.
    Look(Rc<Levels>),
}

/// A function that is constant between cuts.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Levels {
    /// Ascending strictly, not NaN.
    cuts: Vec<f32>,
    /// One more: of what is below all cuts, then of what is at or above each.
    values: Vec<f32>,
    /// Of a missing value.
    missing: f32,
}

/// Most steps of a column: pipelines have three or four.
const MAX_STEPS: usize = 16;

impl Step {
    /// Whether a comparison can be moved before it: the order of numbers is kept and none becomes NaN, or it is a table.
    fn is_movable(&self) -> bool {
        match self {
            Self::Add(by) | Self::Subtract(by) => by.is_finite(),
            Self::Multiply(by) => by.is_finite() && *by > 0.0,
            Self::Fill(_) | Self::Truncate | Self::Look(_) => true,
            Self::Above(threshold) => !threshold.is_nan(),
            Self::Clamp(from, until) => from <= until,
        }
    }

    fn of(&self, x: f32) -> f32 {
        match self {
            Self::Add(by) => x + by,
            Self::Subtract(by) => x - by,
            Self::Multiply(by) => x * by,
            Self::Fill(value) if x.is_nan() => *value,
            Self::Fill(_) => x,
            Self::Above(threshold) => f32::from(u8::from(x > *threshold)),
            Self::Clamp(from, until) => x.clamp(*from, *until),
            Self::Truncate => x.trunc(),
            Self::Look(levels) => levels.of(x),
        }
    }
}

impl Levels {
    /// Values by finite keys; everything else has `other`. Of keys that are there twice the first counts.
    pub(super) fn new(mut entries: Vec<(f32, f32)>, other: f32, missing: f32) -> Self {
        let mut levels = Self { cuts: Vec::new(), values: vec![other], missing };
        entries.sort_by(|left, right| left.0.total_cmp(&right.0));
        entries.dedup_by(|later, first| later.0 == first.0);
        for (key, value) in entries {
            if levels.cuts.last() == Some(&key) {
                levels.values.pop();
            } else {
                levels.cuts.push(key);
            }
            levels.values.push(value);
            levels.cuts.push(key.next_up());
            levels.values.push(other);
        }
        levels
    }

    fn of(&self, x: f32) -> f32 {
        if x.is_nan() { self.missing } else { self.values[self.cuts.partition_point(|cut| *cut <= x)] }
    }

    /// What `test` asks of the values, asked of the keys.
    fn before(&self, test: &Test) -> Test {
        let sides: Vec<Side> = self.values.iter().map(|value| side(test, *value)).collect();
        let changes = self.cuts.iter().zip(sides.windows(2)).filter(|(_, sides)| sides[0] != sides[1]);
        Test {
            feature: test.feature,
            cuts: changes.map(|(cut, _)| *cut).collect(),
            first: sides[0],
            missing: side(test, self.missing),
        }
    }
}

/// The side of a value that may be missing.
fn side(test: &Test, x: f32) -> Side {
    if x.is_nan() { test.missing } else { test.side_at(Some(x)) }
}

impl Column {
    /// Feature `input` as it is.
    pub(super) const fn of_input(input: u64) -> Self {
        Self { input, steps: Vec::new() }
    }

    /// The column behind one more step; none where a comparison could not be moved before it.
    pub(super) fn then(&self, step: Step) -> Option<Self> {
        let is_possible = step.is_movable() && self.steps.len() < MAX_STEPS;
        let mut column = self.clone();
        column.steps.push(step);
        is_possible.then_some(column)
    }

    /// What `test` asks of this column, asked of the feature.
    pub(super) fn before(&self, mut test: Test) -> Test {
        test.feature = self.input;
        let mut steps = &self.steps[..];
        while let Some((last, before)) = steps.split_last() {
            if let Step::Look(levels) = last {
                (test, steps) = (levels.before(&test), before);
            } else {
                let table = steps.iter().rposition(|step| matches!(step, Step::Look(_)));
                let (before, monotone) = steps.split_at(table.map_or(0, |table| table + 1));
                (test, steps) = (before_monotone(monotone, test), before);
            }
        }
        test
    }
}

fn of(steps: &[Step], x: f32) -> f32 {
    steps.iter().fold(x, |x, step| step.of(x))
}

/// What `test` asks behind monotone steps, asked before them.
fn before_monotone(steps: &[Step], mut test: Test) -> Test {
    let missing = of(steps, f32::NAN);
    if !missing.is_nan() {
        test.missing = test.side_at(Some(missing));
    }
    // Cuts that fall together undo each other.
    let mut kept: Vec<f32> = Vec::with_capacity(test.cuts.len());
    for cut in test.cuts.iter().filter_map(|cut| crossing(steps, *cut)) {
        if kept.last() == Some(&cut) {
            kept.pop();
        } else {
            kept.push(cut);
        }
    }
    test.cuts = kept;
    test
}

/// The least number that is at or above `cut` behind the steps, if there is one. A cut that is none stays.
fn crossing(steps: &[Step], cut: f32) -> Option<f32> {
    if cut.is_nan() || of(steps, f32::NEG_INFINITY) >= cut {
        return Some(if cut.is_nan() { cut } else { f32::NEG_INFINITY });
    }
    if of(steps, f32::INFINITY) < cut {
        return None;
    }
    // Numbers in ascending order are integers in ascending order; halve them.
    let (mut below, mut at) = (ascending(f32::NEG_INFINITY), ascending(f32::INFINITY));
    while at - below > 1 {
        let middle = below + (at - below) / 2;
        if of(steps, from_ascending(middle)) >= cut { at = middle } else { below = middle }
    }
    Some(from_ascending(at))
}

/// Integers that order like the numbers.
fn ascending(x: f32) -> i64 {
    let bits = i64::from(x.to_bits() & !(1 << 31));
    if x.is_sign_negative() { -bits } else { bits }
}

fn from_ascending(order: i64) -> f32 {
    let magnitude = f32::from_bits(order.unsigned_abs() as u32);
    if order < 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use std::rc::Rc;

    use super::super::super::grow::{Side, Test};
    use super::{Column, Levels, Step, of, side};

    const NUMBERS: [f32; 9] = [f32::NEG_INFINITY, -2.5, -1e-40, 0.0, 1e-45, 0.1, 1.0, 3.0e38, f32::INFINITY];

    fn step() -> impl Strategy<Value = Step> {
        let number = prop::sample::select(NUMBERS[1..8].to_vec());
        (0..8_u8, number.clone(), number).prop_map(|(kind, a, b)| match kind {
            0 => Step::Add(a),
            1 => Step::Subtract(a),
            2 => Step::Multiply(a),
            3 => Step::Fill(a),
            4 => Step::Above(a),
            5 => Step::Truncate,
            // Keys that touch, and a table that gives no number.
            6 => Step::Look(Rc::new(Levels::new(vec![(b, a), (a, b), (a.next_up(), 7.0)], -2.5, f32::NAN))),
            _ => Step::Clamp(a.min(b), a.max(b)),
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn a_test_before_the_steps_says_what_it_said_behind_them(
            steps in vec(step(), 0..4),
            cuts in prop::sample::subsequence(NUMBERS.to_vec(), 0..4),
            missing: bool,
            any in vec(any::<f32>(), 8),
        ) {
            let column = steps.into_iter().fold(Column::of_input(7), |column, step| column.then(step).unwrap_or(column));
            let test = || Test { feature: 0, cuts: cuts.clone(), first: Side::Left, missing: Side::left_if(missing) };
            let moved = column.before(test());
            prop_assert_eq!(moved.feature, 7);
            let at_cuts = moved.cuts.iter().flat_map(|cut| [cut.next_down(), *cut, cut.next_up()]);
            for x in at_cuts.chain(NUMBERS).chain(any.iter().copied()).chain([f32::NAN, -0.0]) {
                prop_assert_eq!(side(&moved, x), side(&test(), of(&column.steps, x)), "{} of {:?}", x, &column);
            }
        }
    }

    #[test]
    fn a_table_has_the_value_of_a_key_at_the_key_alone() {
        let levels = Levels::new(vec![(2.0, 5.0), (0.0, 1.0), (0.0, 9.0)], -1.0, 3.0);
        for (x, value) in [(0.0, 1.0), (-0.0, 1.0), (2.0, 5.0), (f32::NAN, 3.0)] {
            assert_eq!(levels.of(x), value, "{x}");
        }
        for x in [f32::NEG_INFINITY, -1e-45, 1e-45, 2.0_f32.next_down(), 2.0_f32.next_up(), f32::INFINITY] {
            assert_eq!(levels.of(x), -1.0, "{x}");
        }
    }

    #[test]
    fn steps_that_turn_the_order_round_are_none() {
        let column = Column::of_input(0);
        for step in [Step::Multiply(-1.0), Step::Multiply(0.0), Step::Add(f32::NAN), Step::Clamp(1.0, 0.0)] {
            assert!(column.then(step.clone()).is_none(), "{step:?}");
        }
    }
}
