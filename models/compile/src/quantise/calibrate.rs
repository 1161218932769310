//! How far the inputs of each layer go from 0, by a sample.
//!
//! An input beyond the reach is clamped, one within it is rounded to a step of the reach: a wide reach loses on all values a little,
//! a narrow one on few values much. The largest value and three percentiles are tried, and what has the smallest sum of squared
//! errors over the sample is taken.

use std::collections::BTreeMap;

use selvedge_format::graph::INPUT_MOST;

use super::reference::whole;

/// Values of a layer's inputs that are kept; beyond, every second, then every fourth, and so on.
const KEPT: usize = 1 << 16;
/// What is tried besides the largest value.
const PERCENTILES: [f64; 3] = [0.999_99, 0.9999, 0.999];

/// Inputs of layers, by the position of their step.
#[derive(Default)]
pub(super) struct Calibration(BTreeMap<usize, Inputs>);

struct Inputs {
    /// Magnitudes, without what is no finite number.
    values: Vec<f32>,
    most: f32,
    /// One of so many is kept.
    every: usize,
    seen: usize,
}

impl Calibration {
    pub(super) fn see(&mut self, step: usize, inputs: &[f32]) {
        let empty = Inputs { values: Vec::new(), most: 0.0, every: 1, seen: 0 };
        self.0.entry(step).or_insert(empty).see(inputs);
    }

    /// The reach of a layer's inputs; 0 where all were 0, or none was seen.
    pub(super) fn reach(&self, step: usize) -> f32 {
        self.0.get(&step).map_or(0.0, Inputs::reach)
    }
}

impl Inputs {
    fn see(&mut self, inputs: &[f32]) {
        for value in inputs.iter().map(|value| value.abs()).filter(|value| value.is_finite()) {
            self.most = self.most.max(value);
            if self.seen.is_multiple_of(self.every) {
                self.values.push(value);
            }
            self.seen += 1;
            if self.values.len() == KEPT {
                self.values = self.values.iter().step_by(2).copied().collect();
                self.every *= 2;
            }
        }
    }

    fn reach(&self) -> f32 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f32::total_cmp);
        let percentile = |share: f64| sorted.get((sorted.len() as f64 * share) as usize).copied();
        let tried = PERCENTILES.into_iter().filter_map(percentile).filter(|reach| *reach > 0.0);
        // The largest value first: it stays where nothing is better.
        let error = |reach: f32| squared_error(&self.values, self.most, reach);
        tried
            .fold((self.most, error(self.most)), |best, reach| {
                let error = error(reach);
                if error < best.1 { (reach, error) } else { best }
            })
            .0
    }
}

/// Of all that is kept, and of the largest once more: it may not be kept.
fn squared_error(values: &[f32], most: f32, reach: f32) -> f64 {
    let multiplier = f32::from(INPUT_MOST) / reach;
    let error = |value: &f32| f64::from(whole(value * multiplier) as f32 / multiplier - value).powi(2);
    values.iter().map(error).sum::<f64>() + error(&most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_value_is_the_reach_where_values_are_spread() {
        let mut calibration = Calibration::default();
        for at in 0..200_000 {
            calibration.see(3, &[(at % 3) as f32 * -5.0, f32::NAN, f32::INFINITY]);
        }
        assert_eq!(calibration.reach(3), 10.0);
        assert_eq!(calibration.reach(4), 0.0, "nothing was seen");
    }

    #[test]
    fn many_small_values_are_worth_more_than_one_that_is_a_little_larger() {
        let mut calibration = Calibration::default();
        let small: Vec<f32> = (0..50_000).map(|at| at as f32 / 50_000.0).collect();
        calibration.see(0, &small);
        calibration.see(0, &[1.0005]);
        let reach = calibration.reach(0);
        assert!(reach < 1.0, "{reach}");
        calibration.see(0, &[40.0]);
        assert_eq!(calibration.reach(0), 40.0, "what is far outside would lose too much");
    }
}
