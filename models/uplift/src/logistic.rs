//! Logistic regression with a ridge, by Newton's method (iteratively reweighted least squares; Nelder and Wedderburn 1972), and
//! least squares with one, which is a single of its steps.
//!
//! A few dozen coefficients on some ten thousand rows: the normal equations are small, five steps converge, and the result
//! is the same on every machine. It sees a design matrix and penalties; what its columns mean, it does not know.

/// Newton converges quadratically; separable data stop here, held by the ridge.
const STEPS: usize = 25;
/// A step that moves no coefficient by more is the last.
const CONVERGED: f64 = 1e-9;
/// Keeps the equations solvable where a column is constant and unpenalised.
const JITTER: f64 = 1e-9;

/// Coefficients that minimise `sum log loss + sum penalty w²/2` over rows of `design` (`[row][column]`).
pub(crate) fn fit(design: &[f64], outcomes: &[f64], penalties: &[f64]) -> Vec<f64> {
    let width = penalties.len();
    let mut weights = vec![0.0; width];
    for _ in 0..STEPS {
        let (mut gradient, mut hessian) = derivatives(design, outcomes, &weights);
        for (at, penalty) in penalties.iter().enumerate() {
            gradient[at] += penalty * weights[at];
            hessian[at * width + at] += penalty + JITTER;
        }
        solve(&mut hessian, &mut gradient);
        // Far from the optimum a full step may overshoot; no coefficient of a standardised column moves by more at once.
        let largest = gradient.iter().fold(0.0_f64, |largest, step| largest.max(step.abs()));
        let damping = if largest > 4.0 { 4.0 / largest } else { 1.0 };
        for (weight, step) in weights.iter_mut().zip(&gradient) {
            *weight -= damping * step;
        }
        if largest < CONVERGED {
            break;
        }
    }
    weights
}

/// Coefficients that minimise `sum (target - design w)²/2 + sum penalty w²/2`.
pub(crate) fn least_squares(design: &[f64], targets: &[f64], penalties: &[f64]) -> Vec<f64> {
    let width = penalties.len();
    let (mut right, mut matrix) = (vec![0.0; width], vec![0.0; width * width]);
    for (row, target) in design.chunks_exact(width).zip(targets) {
        for (at, x) in row.iter().enumerate().filter(|(_, x)| **x != 0.0) {
            right[at] += target * x;
            for (sum, other) in matrix[at * width..=at * width + at].iter_mut().zip(row) {
                *sum += x * other;
            }
        }
    }
    for (at, penalty) in penalties.iter().enumerate() {
        matrix[at * width + at] += penalty + JITTER;
    }
    solve(&mut matrix, &mut right);
    right
}

/// Gradient and (lower triangle of the) Hessian of the log loss.
fn derivatives(design: &[f64], outcomes: &[f64], weights: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let width = weights.len();
    let (mut gradient, mut hessian) = (vec![0.0; width], vec![0.0; width * width]);
    for (row, outcome) in design.chunks_exact(width).zip(outcomes) {
        let margin: f64 = row.iter().zip(weights).map(|(x, weight)| x * weight).sum();
        let p = 1.0 / (1.0 + (-margin).exp());
        let (residual, curvature) = (p - outcome, p * (1.0 - p));
        for (at, x) in row.iter().enumerate().filter(|(_, x)| **x != 0.0) {
            gradient[at] += residual * x;
            let scaled = curvature * x;
            for (sum, other) in hessian[at * width..=at * width + at].iter_mut().zip(row) {
                *sum += scaled * other;
            }
        }
    }
    (gradient, hessian)
}

/// Solves `matrix x = right` for a symmetric positive definite matrix of which the lower triangle is given, by Cholesky; the
/// solution takes the place of `right`.
fn solve(matrix: &mut [f64], right: &mut [f64]) {
    let width = right.len();
    for row in 0..width {
        for column in 0..=row {
            let products: f64 =
                (0..column).map(|at| matrix[row * width + at] * matrix[column * width + at]).sum::<f64>();
            let rest = matrix[row * width + column] - products;
            matrix[row * width + column] =
                if row == column { rest.max(JITTER).sqrt() } else { rest / matrix[column * width + column] };
        }
    }
    for row in 0..width {
        let known: f64 = (0..row).map(|at| matrix[row * width + at] * right[at]).sum();
        right[row] = (right[row] - known) / matrix[row * width + row];
    }
    for row in (0..width).rev() {
        let known: f64 = (row + 1..width).map(|at| matrix[at * width + row] * right[at]).sum();
        right[row] = (right[row] - known) / matrix[row * width + row];
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn the_gradient_vanishes_at_the_fit() {
        let mut draw = ChaCha8Rng::seed_from_u64(1);
        let mut design = Vec::new();
        let mut outcomes = Vec::new();
        for _ in 0..2_000 {
            let (a, b) = (draw.random_range(-1.0..1.0_f64), draw.random_range(-1.0..1.0_f64));
            design.extend([1.0, a, b]);
            let p = 1.0 / (1.0 + (-(0.5 + 2.0 * a - b)).exp());
            outcomes.push(f64::from(u8::from(draw.random::<f64>() < p)));
        }
        let penalties = [0.0, 3.0, 3.0];
        let weights = fit(&design, &outcomes, &penalties);
        let (gradient, _) = derivatives(&design, &outcomes, &weights);
        for at in 0..3 {
            assert!((gradient[at] + penalties[at] * weights[at]).abs() < 1e-6, "{gradient:?}");
        }
        assert!((weights[1] - 2.0).abs() < 0.3 && (weights[2] + 1.0).abs() < 0.3, "{weights:?}");
    }

    #[test]
    fn least_squares_finds_a_plane_and_its_penalty_pulls_to_nothing() {
        let design: Vec<f64> = (0..40).flat_map(|at| [1.0, f64::from(at % 5) - 2.0, f64::from(at % 8) - 3.5]).collect();
        let targets: Vec<f64> = design.chunks_exact(3).map(|row| 1.5 - 2.0 * row[1] + 0.5 * row[2]).collect();
        let weights = least_squares(&design, &targets, &[0.0; 3]);
        for (weight, expected) in weights.iter().zip([1.5, -2.0, 0.5]) {
            assert!((weight - expected).abs() < 1e-6, "{weights:?}");
        }
        let held = least_squares(&design, &targets, &[0.0, 80.0, 0.0]);
        // Columns are orthogonal and centred: 80 rows of penalty on a sum of squares of 80.
        assert!((held[1] + 1.0).abs() < 1e-6 && (held[2] - 0.5).abs() < 1e-6, "{held:?}");
    }

    #[test]
    fn separable_rows_and_constant_columns_end_finite() {
        let weights = fit(&[1.0, 1.0, 1.0, 1.0, -1.0, 1.0], &[1.0, 0.0], &[0.0, 1.0, 0.0]);
        assert!(weights.iter().all(|weight| weight.is_finite()) && weights[1] > 0.5, "{weights:?}");
    }
}
