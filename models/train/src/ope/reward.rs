//! What a candidate is expected to earn, learned from the draws of a log.
//!
//! Each draw is predicted by a model that has not seen it: with its own reward in the model, the doubly robust estimate
//! would correct too little (cross-fitting, Chernozhukov et al. 2018).

use hessboost::model::BoostedModel;
use hessboost::prelude::{DMatrix, Trainer, TrainingParams, TreeMethod};
use thiserror::Error;

/// Parts of a log, each predicted by a model of the others.
pub const REWARD_FOLDS: usize = 3;
const ROUNDS: usize = 60;

/// Why there is no reward model.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RewardError {
    /// A part of the log has no draws outside of it.
    #[error("a reward model needs at least {REWARD_FOLDS} draws, not {0}")]
    TooFew(usize),
    /// The booster refused rows or parameters.
    #[error("the booster refused the reward model: {0}")]
    Booster(#[from] hessboost::error::HessboostError),
}

/// Boosted trees of squared error on the features of candidates, one forest per part of the log.
#[derive(Debug)]
pub struct RewardModel {
    features: usize,
    folds: Vec<BoostedModel>,
}

impl RewardModel {
    /// Learns from draws: `rows` is `[draw][feature]`, the draw at `i` belongs to part `i mod` [`REWARD_FOLDS`].
    ///
    /// # Errors
    /// There are too few draws, or the booster refuses them.
    pub fn learn(features: usize, rows: &[f32], rewards: &[f32]) -> Result<Self, RewardError> {
        if rewards.len() < REWARD_FOLDS {
            return Err(RewardError::TooFew(rewards.len()));
        }
        let params = TrainingParams::builder()
            .tree_method(TreeMethod::Hist)
            .seed(1)
            .eta(0.1)
            .max_depth(3)
            .min_child_weight(10.0)
            .lambda(10.0)
            .build()?;
        let learn = |fold: usize| {
            let others = || (0..rewards.len()).filter(move |draw| draw % REWARD_FOLDS != fold);
            let values: Vec<f32> = others().flat_map(|draw| &rows[draw * features..][..features]).copied().collect();
            let labels: Vec<f32> = others().map(|draw| rewards[draw]).collect();
            let data = DMatrix::from_dense(&values, labels.len(), features)?.with_labels(&labels)?;
            Ok(Trainer::new(&params, &data, ROUNDS).train()?.model)
        };
        Ok(Self { features, folds: (0..REWARD_FOLDS).map(learn).collect::<Result<_, RewardError>>()? })
    }

    /// What each row of `[row][feature]` is expected to earn in the request of this draw.
    ///
    /// # Errors
    /// The booster refuses the rows.
    pub fn predict(&self, draw: usize, rows: &[f32]) -> Result<Vec<f32>, RewardError> {
        let data = DMatrix::from_dense(rows, rows.len() / self.features, self.features)?;
        Ok(self.folds[draw % REWARD_FOLDS].predict(&data, ..)?.into_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_is_predicted_without_its_own_reward() {
        // One draw earns what no other does, at a point where no other is.
        let rows: Vec<f32> = (0..300_u16).map(f32::from).collect();
        let mut rewards = vec![0.0; 300];
        rewards[299] = 1_000.0;
        let model = RewardModel::learn(1, &rows, &rewards).unwrap();
        assert!(model.predict(299, &[299.0]).unwrap()[0].abs() < 1e-3);
        assert!(model.predict(298, &[299.0]).unwrap()[0] > 1.0);
    }

    #[test]
    fn what_earns_is_learned() {
        let rows: Vec<f32> = (0..3_000_u16).map(|at| f32::from(at % 10)).collect();
        let rewards: Vec<f32> = rows.iter().map(|x| f32::from(u8::from(*x >= 5.0))).collect();
        let model = RewardModel::learn(1, &rows, &rewards).unwrap();
        let predicted = model.predict(0, &[2.0, 8.0]).unwrap();
        assert!(predicted[0] < 0.05 && predicted[1] > 0.95, "{predicted:?}");
    }

    #[test]
    fn too_few_draws_are_refused() {
        assert!(matches!(RewardModel::learn(1, &[1.0], &[1.0]), Err(RewardError::TooFew(1))));
    }
}
