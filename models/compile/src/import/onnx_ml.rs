//! Trees in ONNX: the operators of `ai.onnx.ml` that skl2onnx, onnxmltools and others write.
//!
//! What is read is one chain: the input, any `Scaler`s, one ensemble, and what only renames its output. What makes the
//! scores equal those of onnxruntime on one thread, bit for bit: inputs are compared with thresholds as they are, leaves are
//! added in the order of the trees, in the type of the weights, and the base value last. A scaler is a monotone function of a
//! number, so a threshold behind it is moved to where that function crosses it, and nothing is scaled when scoring.
//!
//! Versions 1 and 3 have `TreeEnsembleRegressor` and `TreeEnsembleClassifier`, with nodes in parallel lists and `f64`s in
//! tensors; version 5 has `TreeEnsemble`. The operators are <https://onnx.ai/onnx/operators/index_ml.html>. Graphs of
//! tensors are no business of this module: an operator that it does not know is refused by name.

use std::collections::HashMap;

use prost::Message;
use selvedge_format::model::{Finish, Link};
use selvedge_format::program::MAX_FEATURES;

use super::grow::{Node, Side, Source, Test, above, at_least, grow_all, limit};
use crate::error::{CompileError, CompileErrorKind};
use crate::model::{Sum, TrainedModel, TreeEnsemble};

const SAVE_AGAIN: &str = "export the model again, and do not edit it by hand";
const ONE_OUTPUT: &str = "train one model with one output, such as one of a class against the rest";

// The parts of the protobuf that are read, by the numbers of its fields in `onnx.proto`.

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(string, tag = "2")]
    producer: String,
    #[prost(string, tag = "3")]
    producer_version: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    nodes: Vec<Operator>,
    #[prost(message, repeated, tag = "11")]
    inputs: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct Operator {
    #[prost(string, repeated, tag = "1")]
    inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    outputs: Vec<String>,
    #[prost(string, tag = "4")]
    kind: String,
    #[prost(message, repeated, tag = "5")]
    attributes: Vec<Attribute>,
    #[prost(string, tag = "7")]
    domain: String,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "3")]
    int: i64,
    #[prost(bytes = "vec", tag = "4")]
    text: Vec<u8>,
    #[prost(message, optional, tag = "5")]
    tensor: Option<Tensor>,
    #[prost(float, repeated, tag = "7")]
    floats: Vec<f32>,
    #[prost(int64, repeated, tag = "8")]
    ints: Vec<i64>,
    #[prost(bytes = "vec", repeated, tag = "9")]
    texts: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int32, tag = "2")]
    kind: i32,
    #[prost(float, repeated, tag = "4")]
    floats: Vec<f32>,
    #[prost(int32, repeated, tag = "5")]
    ints: Vec<i32>,
    #[prost(bytes = "vec", tag = "9")]
    raw: Vec<u8>,
    #[prost(double, repeated, tag = "10")]
    doubles: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<ValueType>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    element: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dimensions: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(int64, tag = "1")]
    size: i64,
}

/// `TensorProto.DataType`.
const FLOAT: i32 = 1;
const UINT8: i32 = 2;
const DOUBLE: i32 = 11;

/// Whether the bytes begin like an ONNX file: the version of its format, a small number, then a field of bytes.
pub(super) fn is_model(bytes: &[u8]) -> bool {
    matches!(bytes, [0x08, 1..0x20, 0x12 | 0x1a | 0x22 | 0x2a | 0x32 | 0x3a | 0x42, ..])
}

/// Whether a model is one of these operators, or no model at all: what is damaged is told here.
#[cfg(feature = "onnx")]
pub(super) fn is_ours(bytes: &[u8]) -> bool {
    let graph = Model::decode(bytes).ok().and_then(|model| model.graph);
    graph.is_none_or(|graph| graph.nodes.iter().any(|operator| operator.domain == "ai.onnx.ml"))
}

pub(super) fn import(bytes: &[u8]) -> Result<TrainedModel, CompileError> {
    let model = Model::decode(bytes).map_err(|error| {
        let help = "the file was cut short or is no ONNX model: export or copy it again";
        CompileError::new(CompileErrorKind::Malformed, "", error.to_string(), help)
    })?;
    let graph = model.graph.unwrap_or_default();
    let chain = Chain::of(&graph)?;
    let (trees, form) = match &*chain.ensemble.kind {
        "TreeEnsemble" => chain.ensemble.new_form()?,
        _ => chain.ensemble.old_form()?,
    };
    let features = chain.features(&trees)?;
    let place = |index: usize| format!("{}.trees[{index}]", chain.place);
    let base = if form.base == 0.0 || form.is_double { None } else { Some(Source::of_leaf(form.base)) };
    let sources = trees.into_iter().map(|tree| chain.unscale(tree)).chain(base.map(Ok));
    let (trees, gains) = grow_all(sources, features, place)?;
    // The base is added last: in `f32` as one more tree, which is but a leaf.
    let sum = if form.is_double {
        Sum::Double(Finish { divisor: 1.0, scale: 1.0, bias: form.base })
    } else {
        Sum::Single { base: 0.0 }
    };
    let trainer = format!("{} {}", model.producer, model.producer_version);
    let trainer: String = trainer.trim().chars().take(64).collect();
    let trainer = format!("ONNX by {}", if trainer.is_empty() { "an unnamed producer" } else { &trainer });
    Ok(TrainedModel::Trees(TreeEnsemble { names: None, features, sum, link: form.link, trees, gains, trainer }))
}

/// The operators between the input and the score.
struct Chain<'a> {
    /// The width of the input, if it is told.
    width: Option<usize>,
    scalers: Vec<Scaler>,
    place: String,
    ensemble: &'a Operator,
}

/// `(x - offset) * scale` in `f32`, one of each for all features or for each one.
struct Scaler {
    offset: Vec<f32>,
    scale: Vec<f32>,
}

/// What an ensemble says besides its trees.
struct Form {
    base: f64,
    is_double: bool,
    link: Link,
}

impl<'a> Chain<'a> {
    fn of(graph: &'a Graph) -> Result<Self, CompileError> {
        let [input] = &graph.inputs[..] else {
            let message = format!("there are {} inputs, and one matrix of features is read", graph.inputs.len());
            return Err(unsupported("graph.input", &message, "export the model with one input of all features"));
        };
        let tensor = input.kind.as_ref().and_then(|kind| kind.tensor.as_ref());
        if tensor.is_some_and(|tensor| !matches!(tensor.element, 0 | FLOAT | DOUBLE)) {
            return Err(unsupported("graph.input", "the input is not float", "export the model with a float input"));
        }
        let last = tensor.and_then(|tensor| tensor.shape.as_ref()).and_then(|shape| shape.dimensions.get(1));
        let width = last.and_then(|dimension| usize::try_from(dimension.size).ok()).filter(|size| *size > 0);
        let (mut scalers, mut ensemble, mut current) = (Vec::new(), None, input.name.as_str());
        for (index, node) in graph.nodes.iter().enumerate() {
            let place = format!("graph.node[{index}]");
            let is_next = node.inputs.first().is_some_and(|name| name == current);
            match (&*node.kind, &ensemble) {
                ("Scaler", None) if is_next => scalers.push(node.scaler(&place)?),
                ("TreeEnsemble" | "TreeEnsembleRegressor" | "TreeEnsembleClassifier", None) if is_next => {
                    ensemble = Some((place, node));
                }
                ("Identity", None) if is_next => {}
                // What follows renames the output, or says the class.
                ("Identity" | "Cast" | "ZipMap", Some(_)) => {}
                _ => return Err(node.unsupported(&place)),
            }
            current = node.outputs.first().map_or("", String::as_str);
        }
        match ensemble {
            Some((place, ensemble)) => Ok(Self { width, scalers, place, ensemble }),
            None => Err(unsupported("graph", "there is no ensemble of trees", "export a model of trees")),
        }
    }

    fn features(&self, trees: &[Source]) -> Result<usize, CompileError> {
        let features = trees.iter().flat_map(|tree| &tree.nodes).filter_map(|node| match node {
            Node::Split { test, .. } => Some(test.feature),
            Node::Leaf(_) => None,
        });
        let most = features.max().map_or(0, |last| last.saturating_add(1));
        let count = self.width.map_or(most, |width| width as u64);
        match usize::try_from(count) {
            Ok(count) if count <= MAX_FEATURES => Ok(count),
            _ => Err(limit(&*self.place, "features", MAX_FEATURES)),
        }
    }

    /// The tree that gives the same before the scalers.
    fn unscale(&self, mut tree: Source) -> Result<Source, CompileError> {
        for node in &mut tree.nodes {
            let Node::Split { test, .. } = node else { continue };
            for cut in &mut test.cuts {
                *cut = self.crossing(test.feature, *cut)?;
            }
            // Cuts that fell together undo each other.
            let mut kept: Vec<f32> = Vec::with_capacity(test.cuts.len());
            for cut in &test.cuts {
                if kept.last() == Some(cut) {
                    kept.pop();
                } else {
                    kept.push(*cut);
                }
            }
            test.cuts = kept;
        }
        Ok(tree)
    }

    /// The least number that the scalers take to `cut` or above.
    fn crossing(&self, feature: u64, cut: f32) -> Result<f32, CompileError> {
        if self.scalers.is_empty() || cut.is_nan() {
            return Ok(cut);
        }
        let steps = self.scalers.iter().map(|scaler| scaler.of(feature)).collect::<Option<Vec<_>>>();
        let Some(steps) = steps.filter(|steps| {
            steps.iter().all(|(offset, scale)| offset.is_finite() && *scale > 0.0 && scale.is_finite())
        }) else {
            let message = format!("the scaler of feature {feature} is missing, not finite, or not above 0");
            return Err(unsupported(
                &self.place,
                &message,
                "scale by finite numbers above 0, or not at all: trees need no scaler",
            ));
        };
        let scaled = |x: f32| steps.iter().fold(x, |x, (offset, scale)| (x - offset) * scale);
        // Numbers in ascending order are integers in ascending order; halve them.
        let (mut below, mut at) = (ascending(f32::NEG_INFINITY), ascending(f32::INFINITY));
        if scaled(f32::NEG_INFINITY) >= cut {
            return Ok(f32::NEG_INFINITY);
        }
        while at - below > 1 {
            let middle = below + (at - below) / 2;
            if scaled(from_ascending(middle)) >= cut { at = middle } else { below = middle }
        }
        Ok(from_ascending(at))
    }
}

impl Scaler {
    fn of(&self, feature: u64) -> Option<(f32, f32)> {
        let of = |values: &[f32]| match values {
            [all] => Some(*all),
            _ => usize::try_from(feature).ok().and_then(|feature| values.get(feature)).copied(),
        };
        Some((of(&self.offset)?, of(&self.scale)?))
    }
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

fn unsupported(place: &str, message: &str, help: &str) -> CompileError {
    CompileError::new(CompileErrorKind::Unsupported, place, message, help)
}

fn malformed(place: &str, message: &str) -> CompileError {
    CompileError::new(CompileErrorKind::Malformed, place, message, SAVE_AGAIN)
}

/// How a node compares, with its number.
fn test(mode: &str, feature: u64, value: f64, missing_true: bool) -> Option<Test> {
    if value.is_nan() {
        return None;
    }
    let (cuts, first): (Vec<f32>, Side) = match mode {
        "BRANCH_LEQ" => (above(value).into_iter().collect(), Side::Left),
        "BRANCH_GT" => (above(value).into_iter().collect(), Side::Right),
        "BRANCH_LT" => (vec![at_least(value)], Side::Left),
        "BRANCH_GTE" => (vec![at_least(value)], Side::Right),
        "BRANCH_EQ" => (point(value), Side::Right),
        "BRANCH_NEQ" => (point(value), Side::Left),
        _ => return None,
    };
    // NaN is unequal to everything, and otherwise no comparison with it holds.
    let missing = Side::left_if(missing_true || mode == "BRANCH_NEQ");
    Some(Test { feature, cuts, first, missing })
}

/// Where a number begins and ends: nowhere if no `f32` equals it, and nothing is above infinity.
fn point(value: f64) -> Vec<f32> {
    let equal = value as f32;
    if f64::from(equal) != value {
        return Vec::new();
    }
    let end = (equal < f32::INFINITY).then(|| equal.next_up());
    [equal].into_iter().chain(end).collect()
}

impl Operator {
    fn unsupported(&self, place: &str) -> CompileError {
        let kind: String = self.kind.chars().take(64).collect();
        let message = format!("the operator `{kind}` is not supported here");
        let help = match &*kind {
            "LinearRegressor" | "LinearClassifier" => {
                "declare kind = \"linear\" and write the coefficients as {\"kind\": \"linear\", \"bias\": b, \"weights\": {\"feature\": w}}"
            }
            _ => "a file is read as scalers and one ensemble of trees, in one chain",
        };
        unsupported(place, &message, help)
    }

    fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    fn ints(&self, name: &str) -> &[i64] {
        self.attribute(name).map_or(&[], |attribute| &attribute.ints)
    }

    fn int(&self, name: &str, unless_given: i64) -> i64 {
        self.attribute(name).map_or(unless_given, |attribute| attribute.int)
    }

    /// A list as `f64`, and whether it is one: from floats, or from the tensor that has `f64`s.
    fn numbers(&self, name: &str) -> Result<(Vec<f64>, bool), CompileError> {
        let tensor =
            [name, &format!("{name}_as_tensor")].into_iter().find_map(|name| self.attribute(name)?.tensor.as_ref());
        match tensor {
            Some(tensor) => tensor.numbers(name),
            None => {
                let floats = self.attribute(name).map_or(&[][..], |attribute| &attribute.floats);
                Ok((floats.iter().copied().map(f64::from).collect(), false))
            }
        }
    }

    fn scaler(&self, place: &str) -> Result<Scaler, CompileError> {
        let floats = |name: &str| self.attribute(name).map_or_else(Vec::new, |attribute| attribute.floats.clone());
        let scaler = Scaler { offset: floats("offset"), scale: floats("scale") };
        if scaler.offset.is_empty() || scaler.scale.is_empty() {
            return Err(malformed(place, "a scaler without offset or scale"));
        }
        Ok(scaler)
    }

    /// Versions 1 and 3.
    fn old_form(&self) -> Result<(Vec<Source>, Form), CompileError> {
        let is_classifier = self.kind == "TreeEnsembleClassifier";
        let (prefix, kind) = if is_classifier { ("class", "class_ids") } else { ("target", "target_ids") };
        let (base, _) = self.numbers("base_values")?;
        let (weights, is_double) = self.numbers(&format!("{prefix}_weights"))?;
        let outputs = self.ints(kind);
        let output = self.output(is_classifier, outputs, base.len())?;
        let text = |name: &str| {
            self.attribute(name).map_or("", |attribute| std::str::from_utf8(&attribute.text).unwrap_or("?"))
        };
        if !matches!(text("aggregate_function"), "" | "SUM") {
            return Err(unsupported(
                "aggregate_function",
                "only sums of trees are supported",
                "export with `aggregate_function` SUM and weights divided by the number of trees",
            ));
        }
        let link = match text("post_transform") {
            "" | "NONE" => Link::Identity,
            "LOGISTIC" => Link::Logistic,
            other => {
                return Err(unsupported(
                    "post_transform",
                    &format!("`{}` is not supported", other.chars().take(64).collect::<String>()),
                    ONE_OUTPUT,
                ));
            }
        };
        let (values, _) = self.numbers("nodes_values")?;
        let (trees, ids) = (self.ints("nodes_treeids"), self.ints("nodes_nodeids"));
        let (features, modes) =
            (self.ints("nodes_featureids"), self.attribute("nodes_modes").map_or(&[][..], |modes| &modes.texts));
        let (on_true, on_false) = (self.ints("nodes_truenodeids"), self.ints("nodes_falsenodeids"));
        let missing = self.ints("nodes_missing_value_tracks_true");
        let nodes = ids.len();
        let columns = [trees.len(), features.len(), modes.len(), on_true.len(), on_false.len(), values.len()];
        if columns != [nodes; 6] || !(missing.is_empty() || missing.len() == nodes) {
            return Err(malformed("nodes_nodeids", "the lists of nodes are not equally long"));
        }
        // The position of each node in its tree, and its weight; trees in the order in which they appear.
        let mut order: Vec<Vec<usize>> = Vec::new();
        let mut index: HashMap<i64, usize> = HashMap::new();
        let mut places: HashMap<(i64, i64), i64> = HashMap::new();
        for at in 0..nodes {
            let tree = *index.entry(trees[at]).or_insert(order.len());
            if tree == order.len() {
                order.push(Vec::new());
            }
            if places.insert((trees[at], ids[at]), order[tree].len() as i64).is_some() {
                return Err(malformed(&format!("nodes_nodeids[{at}]"), "a node is there twice"));
            }
            order[tree].push(at);
        }
        let (leaf_trees, leaf_nodes) =
            (self.ints(&format!("{prefix}_treeids")), self.ints(&format!("{prefix}_nodeids")));
        if [leaf_trees.len(), leaf_nodes.len(), outputs.len()] != [weights.len(); 3] {
            return Err(malformed(&format!("{prefix}_weights"), "the lists of leaves are not equally long"));
        }
        let mut leaves: HashMap<(i64, i64), f64> = HashMap::new();
        for (at, weight) in weights.iter().enumerate().filter(|(at, _)| outputs[*at] == output) {
            if leaves.insert((leaf_trees[at], leaf_nodes[at]), *weight).is_some() {
                return Err(unsupported(&format!("{prefix}_weights[{at}]"), "a leaf has two weights", SAVE_AGAIN));
            }
        }
        let node = |at: usize| -> Result<Node, CompileError> {
            let mode = std::str::from_utf8(&modes[at]).unwrap_or("?");
            if mode == "LEAF" {
                return Ok(Node::Leaf(leaves.get(&(trees[at], ids[at])).copied().unwrap_or(0.0)));
            }
            let child = |id: i64| places.get(&(trees[at], id)).copied().unwrap_or(-1);
            let feature = u64::try_from(features[at]).unwrap_or(u64::MAX);
            let missing_true = missing.get(at).is_some_and(|flag| *flag != 0);
            let test =
                test(mode, feature, values[at], missing_true).ok_or_else(|| no_comparison(at, mode, values[at]))?;
            Ok(Node::Split { test, children: [child(on_true[at]), child(on_false[at])] })
        };
        let source = |tree: &Vec<usize>| {
            Ok(Source { nodes: tree.iter().map(|at| node(*at)).collect::<Result<_, _>>()?, ..Source::default() })
        };
        let sources = order.iter().map(source).collect::<Result<Vec<_>, CompileError>>()?;
        let base = base.get(if base.len() == 2 { 1 } else { 0 }).copied().unwrap_or(0.0);
        Ok((sources, Form { base: finite(base)?, is_double, link }))
    }

    /// Which output is the score: the only one, or of two classes the second.
    fn output(&self, is_classifier: bool, outputs: &[i64], bases: usize) -> Result<i64, CompileError> {
        let first = outputs.first().copied().unwrap_or(0);
        let is_one = outputs.iter().all(|output| *output == first);
        let classes = self
            .ints("classlabels_int64s")
            .len()
            .max(self.attribute("classlabels_strings").map_or(0, |labels| labels.texts.len()));
        let most = if is_classifier { 2 } else { 1 };
        let count = if is_classifier { classes } else { self.int("n_targets", 1).try_into().unwrap_or(usize::MAX) };
        if count > most || bases > most || !(is_one || is_classifier) {
            let message = format!("the model gives {count} scores, and a ranking needs one");
            return Err(unsupported(if is_classifier { "class_ids" } else { "n_targets" }, &message, ONE_OUTPUT));
        }
        Ok(if is_one { first } else { 1 })
    }

    /// Version 5.
    fn new_form(&self) -> Result<(Vec<Source>, Form), CompileError> {
        if self.int("n_targets", 1) != 1 || self.ints("leaf_targetids").iter().any(|target| *target != 0) {
            return Err(unsupported(
                "n_targets",
                "the model gives several scores, and a ranking needs one",
                ONE_OUTPUT,
            ));
        }
        if self.int("aggregate_function", 1) != 1 {
            return Err(unsupported(
                "aggregate_function",
                "only sums of trees are supported",
                "export with `aggregate_function` 1 and weights divided by the number of trees",
            ));
        }
        let link = match self.int("post_transform", 0) {
            0 => Link::Identity,
            2 => Link::Logistic,
            other => return Err(unsupported("post_transform", &format!("{other} is not supported"), ONE_OUTPUT)),
        };
        let (values, _) = self.numbers("nodes_splits")?;
        let (weights, is_double) = self.numbers("leaf_weights")?;
        let (modes, _) = self.numbers("nodes_modes")?;
        let (features, missing) = (self.ints("nodes_featureids"), self.ints("nodes_missing_value_tracks_true"));
        let children = [["nodes_truenodeids", "nodes_trueleafs"], ["nodes_falsenodeids", "nodes_falseleafs"]]
            .map(|pair| pair.map(|name| self.ints(name)));
        let nodes = features.len();
        let is_even = children.iter().flatten().all(|column| column.len() == nodes);
        if !is_even || [values.len(), modes.len()] != [nodes; 2] || !(missing.is_empty() || missing.len() == nodes) {
            return Err(malformed("nodes_featureids", "the lists of nodes are not equally long"));
        }
        let modes = modes.iter().map(|mode| {
            let names =
                ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER"];
            names.get(*mode as usize).copied().unwrap_or("?")
        });
        let modes: Vec<&str> = modes.collect();
        let mut sources = Vec::new();
        // Nodes are shared by no two trees, so all trees together are no larger than the lists.
        let mut left = nodes + weights.len();
        for (tree, root) in self.ints("tree_roots").iter().enumerate() {
            let place = format!("tree_roots[{tree}]");
            let mut source = Source::default();
            let mut open = vec![(*root, false)];
            while let Some((at, is_leaf)) = open.get(source.nodes.len()).copied() {
                let inner = usize::try_from(at).ok().filter(|at| is_leaf || *at < nodes);
                let Some(at) = inner.filter(|_| left > 0) else {
                    return Err(malformed(&place, &format!("there is no node {at}, or one is reached twice")));
                };
                left -= 1;
                if is_leaf {
                    let weight = weights.get(at).ok_or_else(|| malformed(&place, &format!("there is no leaf {at}")))?;
                    source.nodes.push(Node::Leaf(*weight));
                    continue;
                }
                // A tree that is but a leaf has a node with the same leaf on both sides.
                let missing_true = missing.get(at).is_some_and(|flag| *flag != 0);
                let feature = u64::try_from(features[at]).unwrap_or(u64::MAX);
                let Some(test) = test(modes[at], feature, values[at], missing_true) else {
                    return Err(no_comparison(at, modes[at], values[at]));
                };
                let child = open.len() as i64;
                open.extend(children.map(|[node, leaf]| (node[at], leaf[at] != 0)));
                source.nodes.push(Node::Split { test, children: [child, child + 1] });
            }
            sources.push(source);
        }
        Ok((sources, Form { base: 0.0, is_double, link }))
    }
}

fn no_comparison(at: usize, mode: &str, value: f64) -> CompileError {
    let mode: String = mode.chars().take(64).collect();
    let help = match &*mode {
        // onnxruntime 1.32 takes 2.5 for a member of {2, 5}, the standard does not.
        "BRANCH_MEMBER" => {
            "runtimes differ in what is a member: export comparisons with single numbers, or compile the \
            file of the library that trained the model"
        }
        _ => SAVE_AGAIN,
    };
    unsupported(
        &format!("nodes_modes[{at}]"),
        &format!("the comparison `{mode}` with {value:?} is not supported"),
        help,
    )
}

fn finite(value: f64) -> Result<f64, CompileError> {
    if value.is_finite() { Ok(value) } else { Err(malformed("base_values", &format!("{value} is not finite"))) }
}

impl Tensor {
    fn numbers(&self, name: &str) -> Result<(Vec<f64>, bool), CompileError> {
        let (raw, _) = self.raw.as_chunks::<8>();
        let (halves, _) = self.raw.as_chunks::<4>();
        match self.kind {
            DOUBLE => Ok((
                if self.raw.is_empty() {
                    self.doubles.clone()
                } else {
                    raw.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
                },
                true,
            )),
            FLOAT => {
                let floats = if self.raw.is_empty() {
                    self.floats.clone()
                } else {
                    halves.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
                };
                Ok((floats.into_iter().map(f64::from).collect(), false))
            }
            UINT8 if self.raw.is_empty() => Ok((self.ints.iter().map(|value| f64::from(*value)).collect(), false)),
            UINT8 => Ok((self.raw.iter().map(|value| f64::from(*value)).collect(), false)),
            kind => Err(unsupported(
                name,
                &format!("tensors of the type {kind} are not supported"),
                "export the model in float or double",
            )),
        }
    }
}
