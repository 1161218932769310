//! Binding: the inputs of a trained model become positions of declared features.

use selvedge_format::model::{LEAF, LinearWeights, Link, ModelKindV1, ModelV1, TreeNode, TreeNodes};
use selvedge_spec::FeatureSpec;

use crate::error::{CompileError, CompileErrorKind};
use crate::model::{LinearModel, Sum, TrainedModel, Tree, TreeEnsemble};

/// A model whose inputs are the features of a program, in their order.
#[derive(PartialEq)]
pub(crate) enum Bound {
    Trees(TreeEnsemble),
    Linear {
        bias: f32,
        link: Link,
        weight: Vec<f32>,
        centre: Vec<f32>,
    },
    #[cfg(feature = "onnx")]
    Graph(crate::onnx::BoundGraph),
}

/// Finds each input of `model` among the features of `spec`: by name where the model has names, else by position.
pub(crate) fn bind(model: &TrainedModel, spec: &FeatureSpec) -> Result<Bound, CompileError> {
    match model {
        TrainedModel::Trees(ensemble) => trees(ensemble, spec).map(Bound::Trees),
        TrainedModel::Linear(model) => linear(model, spec),
        #[cfg(feature = "onnx")]
        TrainedModel::Onnx(model) => model.bind(spec).map(Bound::Graph),
    }
}

fn trees(ensemble: &TreeEnsemble, spec: &FeatureSpec) -> Result<TreeEnsemble, CompileError> {
    let positions = match &ensemble.names {
        Some(names) => by_name(names, spec)?,
        None => by_position(ensemble.features, spec)?,
    };
    let mut bound = ensemble.clone();
    bound.names = None;
    bound.features = spec.features.len();
    bound.gains = vec![0.0; bound.features];
    for (position, gain) in positions.iter().zip(&ensemble.gains) {
        bound.gains[usize::from(*position)] = *gain;
    }
    for node in bound.trees.iter_mut().flat_map(|tree| &mut tree.nodes).filter(|node| node.feature != LEAF) {
        node.feature = positions[usize::from(node.feature)];
    }
    Ok(bound)
}

fn by_name(names: &[String], spec: &FeatureSpec) -> Result<Vec<u16>, CompileError> {
    let mut positions = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let place = || format!("feature_names[{index}]");
        let position = position(name, spec).ok_or_else(|| unknown(name, spec, place()))?;
        if positions.contains(&position) {
            let message = format!("the feature `{name}` is named twice");
            let help = "give every column of the training data its own name";
            return Err(CompileError::new(CompileErrorKind::UnknownFeature, place(), message, help));
        }
        positions.push(position);
    }
    Ok(positions)
}

fn by_position(count: usize, spec: &FeatureSpec) -> Result<Vec<u16>, CompileError> {
    let declared = spec.features.len();
    if count == declared {
        return Ok((0..count as u16).collect());
    }
    let message = format!("the model has {count} unnamed features and {declared} are declared");
    let help = "train on exactly the declared features in their order, or give the model `feature_names`";
    Err(CompileError::new(CompileErrorKind::FeatureCount, "model", message, help))
}

fn linear(model: &LinearModel, spec: &FeatureSpec) -> Result<Bound, CompileError> {
    let features = spec.features.len();
    let (mut weight, mut centre) = (vec![0.0; features], vec![0.0; features]);
    for (terms, values, table) in [(&model.weights, &mut weight, "weights"), (&model.centres, &mut centre, "centres")] {
        for (name, value) in terms {
            let place = || format!("{table}.{name}");
            let position = position(name, spec).ok_or_else(|| unknown(name, spec, place()))?;
            values[usize::from(position)] = finite(*value, place())?;
        }
    }
    let bias = finite(model.bias, "bias".to_owned())?;
    Ok(Bound::Linear { bias, link: model.link, weight, centre })
}

/// A trainer may hand over a model that never was JSON.
fn finite(value: f32, place: String) -> Result<f32, CompileError> {
    if value.is_finite() {
        return Ok(value);
    }
    let help = "training diverged: lower the learning rate or raise the penalty";
    Err(CompileError::new(CompileErrorKind::Malformed, place, format!("{value} is not a finite number"), help))
}

fn position(name: &str, spec: &FeatureSpec) -> Option<u16> {
    spec.features.iter().position(|feature| feature.name == name).map(|position| position as u16)
}

fn unknown(name: &str, spec: &FeatureSpec, place: String) -> CompileError {
    let distance = |known: &str| strsim::damerau_levenshtein(known, name);
    let known = spec.features.iter().map(|feature| feature.name.as_str());
    // Names in a model file may be of any length; declared ones are not, and so no long one is near to one of them.
    let nearest = known.filter(|_| name.len() <= 128).min_by_key(|known| distance(known));
    let help = match nearest.filter(|nearest| distance(nearest) <= (name.len() / 3).max(1)) {
        Some(nearest) => format!("did you mean `{nearest}`? declare the feature, or train again on the declared ones"),
        None => "declare the feature in features.toml, or train again on the declared ones".to_owned(),
    };
    let shown: String = name.chars().take(64).collect();
    let message = format!("the model was trained on the feature `{shown}`, which is not declared");
    CompileError::new(CompileErrorKind::UnknownFeature, place, message, help)
}

impl Bound {
    /// The model's entry in the directory.
    pub(crate) fn declared(&self) -> ModelV1 {
        match self {
            Self::Trees(ensemble) => ModelV1 { kind: ensemble.sum.kind(), link: ensemble.link },
            Self::Linear { bias, link, .. } => ModelV1 { kind: ModelKindV1::Linear { bias: *bias }, link: *link },
            #[cfg(feature = "onnx")]
            Self::Graph(_) => ModelV1 { kind: ModelKindV1::Graph, link: Link::Identity },
        }
    }

    /// The model's weight section.
    pub(crate) fn weights(&self) -> Vec<u8> {
        match self {
            Self::Trees(ensemble) => {
                let nodes: Vec<Vec<TreeNode>> = ensemble.trees.iter().map(|tree| tree.nodes.clone()).collect();
                match ensemble.sum {
                    Sum::Single { .. } => TreeNodes::encode(&nodes),
                    Sum::Double(_) => {
                        let leaves: Vec<f64> = ensemble.trees.iter().flat_map(Tree::leaves).collect();
                        TreeNodes::encode_double(&nodes, &leaves)
                    }
                }
            }
            Self::Linear { weight, centre, .. } => LinearWeights::encode(weight, centre),
            #[cfg(feature = "onnx")]
            Self::Graph(graph) => graph.section.clone(),
        }
    }

    /// The section of a model that is a tensor program.
    pub(crate) fn program(&self) -> Option<&[u8]> {
        match self {
            Self::Trees(_) | Self::Linear { .. } => None,
            #[cfg(feature = "onnx")]
            Self::Graph(graph) => Some(&graph.section),
        }
    }

    /// Another section for a model that is a tensor program.
    pub(crate) fn replace_program(&mut self, section: Vec<u8>) {
        match self {
            Self::Trees(_) | Self::Linear { .. } => drop(section),
            #[cfg(feature = "onnx")]
            Self::Graph(graph) => graph.section = section,
        }
    }

    /// The raw score of one row of features, evaluated as plainly as can be; a graph is evaluated by its own reference.
    pub(crate) fn raw_score(&self, row: &[f32]) -> f32 {
        match self {
            Self::Trees(ensemble) => ensemble.raw_score(row),
            Self::Linear { bias, weight, centre, .. } => {
                let terms = row.iter().zip(weight).zip(centre);
                terms.fold(*bias, |sum, ((x, weight), centre)| sum + weight * if x.is_nan() { *centre } else { *x })
            }
            #[cfg(feature = "onnx")]
            Self::Graph(_) => f32::NAN,
        }
    }

    /// The values of `feature` between which the score jumps.
    pub(crate) fn thresholds(&self, feature: usize) -> Vec<f32> {
        let Self::Trees(ensemble) = self else { return Vec::new() };
        let mut values: Vec<f32> =
            ensemble.splits().filter(|node| usize::from(node.feature) == feature).map(|node| node.value).collect();
        values.sort_unstable_by(f32::total_cmp);
        values.dedup();
        values
    }

    /// Parts that one score adds up.
    pub(crate) fn terms(&self) -> usize {
        match self {
            Self::Trees(ensemble) => ensemble.trees.len(),
            Self::Linear { weight, .. } => weight.len(),
            #[cfg(feature = "onnx")]
            Self::Graph(_) => 1,
        }
    }
}
