//! What is done to the scores of ensembles: several that vote are a weighted sum of trees.
//!
//! scikit-learn's voting and bagging become one ensemble for each estimator, whose scores are weighted and added, or put side
//! by side and averaged. A weight goes into the leaves, and all trees are added up in `f64`: where onnxruntime rounds the sum of
//! each ensemble to `f32`, nothing is rounded, so scores differ by that rounding.
//!
//! What names classes makes no score and is passed over. Anything else behind trees, as of AdaBoost or stacking, is refused.

use std::collections::HashMap;

use super::{Graph, Operator, Values, cut, unsupported};
use crate::error::CompileError;

/// Ensembles by their number, each with its weight.
pub(super) type Votes = Vec<(usize, f64)>;

/// A value behind the trees.
#[derive(Clone, Debug)]
enum Score {
    /// One number a row.
    Sum(Votes),
    /// Several, along this axis.
    Side(Vec<Votes>, i64),
    /// What no score is made of: labels, and what an operator made that is refused if it is the output.
    Other,
}

/// Values behind the trees, by name.
#[derive(Default)]
pub(super) struct Ballot<'a> {
    values: HashMap<&'a str, Score>,
    /// The first operator that makes no sum.
    other: Option<(&'a Operator, String)>,
}

impl<'a> Ballot<'a> {
    /// The outputs of ensemble `number`: of a classifier the second.
    pub(super) fn add(&mut self, node: &'a Operator, number: usize) {
        let score = usize::from(node.kind == "TreeEnsembleClassifier");
        for (at, name) in node.outputs.iter().enumerate() {
            self.values.insert(name, if at == score { Score::Sum(vec![(number, 1.0)]) } else { Score::Other });
        }
    }

    /// Whether a node reads what is behind trees.
    pub(super) fn is_read_by(&self, node: &Operator) -> bool {
        node.inputs.iter().any(|name| self.values.contains_key(name.as_str()))
    }

    /// What a node makes of scores.
    pub(super) fn step(&mut self, node: &'a Operator, place: &str, values: &Values<'a>) -> Result<(), CompileError> {
        let reads_other = node.inputs.iter().any(|name| matches!(self.values.get(name.as_str()), Some(Score::Other)));
        let made = if reads_other { None } else { self.made(node, place, values)? };
        if made.is_none() && !reads_other && self.other.is_none() {
            self.other = Some((node, place.to_owned()));
        }
        let made = made.unwrap_or(Score::Other);
        self.values.extend(node.outputs.iter().map(|name| (name.as_str(), made.clone())));
        Ok(())
    }

    fn made(&self, node: &Operator, place: &str, values: &Values<'a>) -> Result<Option<Score>, CompileError> {
        let all: Option<Vec<&Score>> = node.inputs.iter().map(|name| self.values.get(name.as_str())).collect();
        let sums = || -> Option<Vec<Votes>> {
            let sum = |score: &&Score| if let Score::Sum(votes) = score { Some(votes.clone()) } else { None };
            all.as_ref()?.iter().map(sum).collect()
        };
        let first = node.inputs.first().and_then(|name| self.values.get(name.as_str())).cloned();
        Ok(match (&*node.kind, first) {
            // What follows renames the score, or lays it out otherwise.
            ("Identity" | "Cast" | "ZipMap" | "Flatten" | "Reshape", Some(score)) => Some(score),
            ("Sum" | "Add", _) => sums().map(|votes| Score::Sum(votes.concat())),
            ("Concat", _) => sums().map(|votes| Score::Side(votes, node.int("axis", 0))),
            ("Mul", Some(Score::Sum(votes))) => {
                let weight = node.inputs.get(1).and_then(|name| values.constant(name));
                let weight = weight.map(|weight| weight.floats(place)).transpose()?;
                weight.and_then(|weight| scaled(&votes, weight.as_slice()))
            }
            ("ReduceMean", Some(Score::Side(votes, axis))) => {
                let axes = node.inputs.get(1).and_then(|name| values.constant(name));
                let axes = axes.map_or_else(|| Ok(node.ints("axes").to_vec()), |axes| axes.indices(place))?;
                let share = 1.0 / votes.len() as f64;
                let mean = votes.concat().into_iter().map(|(number, weight)| (number, weight * share));
                (axes == [axis]).then(|| Score::Sum(mean.collect()))
            }
            _ => None,
        })
    }

    /// What the score of the model is.
    pub(super) fn score(&self, graph: &Graph) -> Result<Votes, CompileError> {
        let sums = graph.outputs.iter().filter_map(|output| match self.values.get(output.name.as_str()) {
            Some(Score::Sum(votes)) => Some(votes),
            _ => None,
        });
        let sums: Vec<&Votes> = sums.collect();
        match (sums.as_slice(), &self.other) {
            ([first, rest @ ..], _) if rest.iter().all(|votes| votes == first) => Ok((*first).clone()),
            ([], Some((node, place))) => {
                let message = format!("the operator `{}` behind trees is not supported", cut(&node.kind));
                Err(unsupported(
                    place,
                    &message,
                    "a weighted sum or a mean of trees is; AdaBoost and stacking are more: compile the file of the library \
                     that trained the trees, or train one model",
                ))
            }
            ([], None) if self.values.len() <= 2 => Ok(vec![(0, 1.0)]),
            _ => Err(unsupported(
                "graph.output",
                "the model gives several scores, and a ranking needs one",
                "export one of them",
            )),
        }
    }
}

fn scaled(votes: &Votes, weight: &[f32]) -> Option<Score> {
    let [weight] = weight else { return None };
    let by = |(number, share): &(usize, f64)| (*number, share * f64::from(*weight));
    weight.is_finite().then(|| Score::Sum(votes.iter().map(by).collect()))
}
