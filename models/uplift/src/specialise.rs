//! One model with the arm among its inputs, made one model per arm.
//!
//! An S-learner's trees ask at some nodes whether the arm is this or that one. For a given arm the answer is known before any
//! row is: such a node gives way to the child that the answer leads to, and what is left asks about features alone. Leaves
//! and the order of trees stay, so scores are those of the whole model, bit for bit. The form is XGBoost's JSON ("Introduction
//! to Model IO" of its documentation), in which a tree is a set of parallel lists.

use serde_json::{Map, Value, json};
use thiserror::Error;

/// XGBoost's mark of the root in the list of parents.
const NO_PARENT: i64 = 2_147_483_647;
/// The lists that have an entry per node and whose entries name no other node.
const CARRIED: [&str; 7] =
    ["base_weights", "default_left", "loss_changes", "split_conditions", "split_indices", "split_type", "sum_hessian"];

/// Why a model could not be specialised.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SpecialiseError {
    /// Not JSON.
    #[error("the model is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// JSON, but not of a model of trees.
    #[error("the model lacks `{0}`, which XGBoost JSON of trees has")]
    Missing(&'static str),
}

/// The model of `json` with its inputs after the first `features` fixed to `indicators`.
pub(crate) fn specialise(json: &[u8], features: usize, indicators: &[f32]) -> Result<Vec<u8>, SpecialiseError> {
    let mut model: Value = serde_json::from_slice(json)?;
    let learner = object(&mut model, "learner")?;
    set_feature_count(learner.get_mut("learner_model_param"), features)?;
    for names in ["feature_names", "feature_types"] {
        if let Some(Value::Array(names)) = learner.get_mut(names) {
            names.truncate(features);
        }
    }
    let booster = learner.get_mut("gradient_booster").ok_or(SpecialiseError::Missing("gradient_booster"))?;
    let trees = object(booster, "model")?.get_mut("trees").and_then(Value::as_array_mut);
    for tree in trees.ok_or(SpecialiseError::Missing("trees"))? {
        let tree = tree.as_object_mut().ok_or(SpecialiseError::Missing("trees"))?;
        prune(tree, features, indicators)?;
        set_feature_count(tree.get_mut("tree_param"), features)?;
    }
    Ok(serde_json::to_vec(&model)?)
}

fn object<'v>(value: &'v mut Value, name: &'static str) -> Result<&'v mut Map<String, Value>, SpecialiseError> {
    value.get_mut(name).and_then(Value::as_object_mut).ok_or(SpecialiseError::Missing(name))
}

fn set_feature_count(parameters: Option<&mut Value>, features: usize) -> Result<(), SpecialiseError> {
    let parameters = parameters.and_then(Value::as_object_mut).ok_or(SpecialiseError::Missing("num_feature"))?;
    parameters.insert("num_feature".into(), features.to_string().into());
    Ok(())
}

/// A tree's list of this name.
fn list<'t>(tree: &'t Map<String, Value>, name: &'static str) -> Result<&'t Vec<Value>, SpecialiseError> {
    tree.get(name).and_then(Value::as_array).ok_or(SpecialiseError::Missing(name))
}

/// A node that stays: where it was, and where its parent and children are now.
struct Kept {
    was: usize,
    parent: i64,
    left: i64,
    right: i64,
}

fn prune(tree: &mut Map<String, Value>, features: usize, indicators: &[f32]) -> Result<(), SpecialiseError> {
    let integers = |name: &'static str| -> Result<Vec<i64>, SpecialiseError> {
        Ok(list(tree, name)?.iter().map(|value| value.as_i64().unwrap_or(-1)).collect())
    };
    let (left, right) = (integers("left_children")?, integers("right_children")?);
    let splits = integers("split_indices")?;
    let conditions = list(tree, "split_conditions")?;
    // Child indices are -1 at leaves and nowhere else; a list too short ends the walk as a leaf would.
    let child = |children: &[i64], node: usize| children.get(node).and_then(|child| usize::try_from(*child).ok());
    let resolve = |mut node: usize| loop {
        let indicator = splits.get(node).and_then(|split| usize::try_from(*split).ok()?.checked_sub(features));
        let (Some(below), Some(above)) = (child(&left, node), child(&right, node)) else {
            return node;
        };
        let Some(x) = indicator.and_then(|at| indicators.get(at)) else {
            return node;
        };
        let condition = conditions.get(node).and_then(Value::as_f64).unwrap_or(0.0);
        node = if f64::from(*x) < condition { below } else { above };
    };
    let mut kept = vec![Kept { was: resolve(0), parent: NO_PARENT, left: -1, right: -1 }];
    let mut at = 0;
    while at < kept.len() {
        let was = kept[at].was;
        if let (Some(below), Some(above)) = (child(&left, was), child(&right, was)) {
            let next = kept.len() as i64;
            (kept[at].left, kept[at].right) = (next, next + 1);
            for was in [below, above] {
                kept.push(Kept { was: resolve(was), parent: at as i64, left: -1, right: -1 });
            }
        }
        at += 1;
    }
    for name in CARRIED {
        let old = list(tree, name)?;
        let new = kept.iter().map(|node| old.get(node.was).cloned().ok_or(SpecialiseError::Missing(name)));
        let new: Vec<Value> = new.collect::<Result<_, _>>()?;
        tree.insert(name.into(), new.into());
    }
    tree.insert("parents".into(), kept.iter().map(|node| json!(node.parent)).collect());
    tree.insert("left_children".into(), kept.iter().map(|node| json!(node.left)).collect());
    tree.insert("right_children".into(), kept.iter().map(|node| json!(node.right)).collect());
    let parameters = tree.get_mut("tree_param").and_then(Value::as_object_mut);
    let parameters = parameters.ok_or(SpecialiseError::Missing("tree_param"))?;
    parameters.insert("num_nodes".into(), kept.len().to_string().into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use selvedge_spec::{Objective, TreeTraining};
    use selvedge_train::learn::{self, TrainingSet};

    use super::*;
    use crate::model::{Scorer, Trees};

    #[test]
    fn a_specialised_model_scores_as_the_whole_one_bit_for_bit() {
        let mut draw = ChaCha8Rng::seed_from_u64(2);
        let mut set = TrainingSet::new(4);
        for _ in 0..2_000 {
            let (x, y) = (draw.random::<f32>(), if draw.random_bool(0.1) { f32::NAN } else { draw.random() });
            let arm = draw.random_range(0..3_u8);
            set.values.extend([x, y, f32::from(u8::from(arm == 1)), f32::from(u8::from(arm == 2))]);
            let p = 0.2 + 0.3 * f32::from(u8::from(arm == 1)) * x + 0.4 * f32::from(u8::from(arm == 2)) * (1.0 - x);
            set.labels.push(f32::from(u8::from(draw.random::<f32>() < p)));
        }
        set.groups.push(2_000);
        let training = TreeTraining { rounds: 30, max_depth: 4, ..TreeTraining::default() };
        let json = learn::trees(&set, Objective::Logistic, &training, &mut |_| {}).unwrap();
        let whole = Scorer::Trees(Box::new(Trees::new(json.clone()).unwrap()));
        let mut scores = Vec::new();
        for indicators in [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]] {
            let special = Scorer::Trees(Box::new(Trees::new(specialise(&json, 2, &indicators).unwrap()).unwrap()));
            let plain: Vec<f32> = set.values.chunks_exact(4).flat_map(|row| [row[0], row[1]]).collect();
            let with: Vec<f32> =
                plain.chunks_exact(2).flat_map(|row| [row[0], row[1], indicators[0], indicators[1]]).collect();
            let (ours, theirs) = (special.raw(&plain).unwrap(), whole.raw(&with).unwrap());
            assert!(ours.iter().zip(&theirs).all(|(a, b)| a.to_bits() == b.to_bits()));
            scores.push(ours);
        }
        assert!(scores[0] != scores[1] && scores[1] != scores[2], "the arms differ, or nothing was compared");
    }

    #[test]
    fn what_is_no_model_of_trees_is_refused() {
        assert!(matches!(specialise(b"{", 1, &[0.0]), Err(SpecialiseError::Json(_))));
        assert!(matches!(specialise(b"{}", 1, &[0.0]), Err(SpecialiseError::Missing("learner"))));
    }
}
