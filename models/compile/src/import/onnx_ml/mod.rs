//! Trees in ONNX: the operators of `ai.onnx.ml` that skl2onnx, onnxmltools and others write.
//!
//! What is read is the inputs, what a pipeline of scikit-learn does to their columns, ensembles, and what adds up or renames their
//! outputs. What makes the scores equal those of onnxruntime on one thread, bit for bit: inputs are compared with thresholds
//! as they are, leaves are added in the order of the trees, in the type of the weights, and the base value last. What scalers
//! and the like do to a [`Column`] is undone in the thresholds, and nothing is scaled when scoring. Of several classes one is
//! chosen, and trees that do not add to it are left out. One input takes the features in their order, several take those of
//! their names.
//!
//! Versions 1 and 3 have `TreeEnsembleRegressor` and `TreeEnsembleClassifier`, with nodes in parallel lists and `f64`s in
//! tensors; version 5 has `TreeEnsemble`. The operators are <https://onnx.ai/onnx/operators/index_ml.html>. Graphs of
//! tensors are no business of this module: an operator that it does not know is refused by name.

mod columns;
mod votes;

use std::collections::HashMap;
use std::rc::Rc;

use prost::Message;
use selvedge_format::model::{Finish, Link};
use selvedge_format::program::MAX_FEATURES;

use self::columns::{Column, Levels, Step};
use self::votes::{Ballot, Votes};
use super::grow::{Node, Side, Source, Test, above, at_least, grow_all, limit};
use super::output::Output;
use crate::error::{CompileError, CompileErrorKind};
use crate::model::{Sum, TrainedModel, TreeEnsemble};

const SAVE_AGAIN: &str = "export the model again, and do not edit it by hand";
const ONE_OUTPUT: &str = "train one model with one output, such as one of a class against the rest";
/// Columns of all values before the trees: eight steps over as many as there are features.
const MAX_COLUMNS: usize = 8 * MAX_FEATURES;

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
    #[prost(message, repeated, tag = "5")]
    constants: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    inputs: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    outputs: Vec<ValueInfo>,
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
    #[prost(float, tag = "2")]
    float: f32,
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
    #[prost(int64, repeated, tag = "7")]
    longs: Vec<i64>,
    #[prost(string, tag = "8")]
    name: String,
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

const NUMBERED: &str = "encode numbers: a `string` feature with `values` gives positions";
/// All integers up to here are `f32`s.
const MAX_EXACT: u64 = 1 << 24;

/// `TensorProto.DataType`.
const FLOAT: i32 = 1;
const UINT8: i32 = 2;
const INT32: i32 = 6;
const INT64: i32 = 7;
const DOUBLE: i32 = 11;

/// Whether the bytes begin like an ONNX file: the version of its format, a small number, then a field of bytes.
pub(super) fn is_model(bytes: &[u8]) -> bool {
    matches!(bytes, [0x08, 1..0x20, 0x12 | 0x1a | 0x22 | 0x2a | 0x32 | 0x3a | 0x42, ..])
}

/// Whether a model has trees, or is no model at all: what is damaged is told here.
pub(super) fn is_ours(bytes: &[u8]) -> bool {
    let graph = Model::decode(bytes).ok().and_then(|model| model.graph);
    graph.is_none_or(|graph| graph.nodes.iter().any(|operator| operator.kind.starts_with("TreeEnsemble")))
}

pub(super) fn import(bytes: &[u8], output: Output) -> Result<TrainedModel, CompileError> {
    let model = Model::decode(bytes).map_err(|error| {
        let help = "the file was cut short or is no ONNX model: export or copy it again";
        CompileError::new(CompileErrorKind::Malformed, "", error.to_string(), help)
    })?;
    let graph = model.graph.unwrap_or_default();
    let pipeline = Pipeline::of(&graph)?;
    let (mut trees, places, form) = pipeline.trees(output)?;
    let features = pipeline.features(&trees)?;
    // The base is added last: in `f32` as one more tree, which is but a leaf.
    let sum = if form.is_double {
        Sum::Double(Finish { divisor: 1.0, scale: 1.0, bias: form.base })
    } else {
        trees.extend((form.base != 0.0).then(|| Source::of_leaf(form.base)));
        Sum::Single { base: 0.0 }
    };
    let place = |index: usize| places.get(index).cloned().unwrap_or_default();
    let (trees, gains) = grow_all(trees.into_iter().map(Ok), features, place)?;
    let names = pipeline.inputs.names;
    let trainer = format!("{} {}", model.producer, model.producer_version);
    let trainer: String = trainer.trim().chars().take(64).collect();
    let trainer = format!("ONNX by {}", if trainer.is_empty() { "an unnamed producer" } else { &trainer });
    Ok(TrainedModel::Trees(TreeEnsemble { names, features, sum, link: form.link, trees, gains, trainer }))
}

/// What an ensemble says besides its trees.
#[derive(Debug)]
struct Form {
    base: f64,
    is_double: bool,
    link: Link,
}

/// Columns of one value; values that are the same share them.
type Columns = Rc<[Column]>;

/// What the inputs say about features.
struct Inputs {
    /// One for each feature, if the inputs have names of features.
    names: Option<Vec<String>>,
    /// How many features there are, if it is told.
    width: Option<usize>,
}

/// The operators between the inputs and the score.
struct Pipeline<'a> {
    inputs: Inputs,
    ensembles: Vec<Ensemble<'a>>,
    votes: Votes,
}

/// An ensemble of trees, and where it is.
struct Ensemble<'a> {
    place: String,
    node: &'a Operator,
    /// What the trees see.
    columns: Columns,
}

/// Values by name, while the operators are read.
struct Values<'a> {
    graph: &'a Graph,
    is_double: bool,
    columns: HashMap<&'a str, Columns>,
    /// Columns that may still be made.
    left: usize,
}

impl<'a> Pipeline<'a> {
    fn of(graph: &'a Graph) -> Result<Self, CompileError> {
        let (mut values, inputs) = Values::of_inputs(graph)?;
        let (mut ensembles, mut ballot) = (Vec::new(), Ballot::default());
        for (index, node) in graph.nodes.iter().enumerate() {
            let place = format!("graph.node[{index}]");
            if ballot.is_read_by(node) {
                ballot.step(node, &place, &values)?;
            } else if matches!(&*node.kind, "TreeEnsemble" | "TreeEnsembleRegressor" | "TreeEnsembleClassifier") {
                let columns = values.read(node, &place)?;
                ballot.add(node, ensembles.len());
                ensembles.push(Ensemble { place, node, columns });
            } else {
                values.step(node, &place)?;
            }
        }
        if ensembles.is_empty() {
            return Err(unsupported("graph", "there is no ensemble of trees", "export a model of trees"));
        }
        let votes = ballot.score(graph)?;
        Ok(Self { inputs, ensembles, votes })
    }

    /// The trees of the score with their places, and how it is made of them.
    fn trees(&self, output: Output) -> Result<(Vec<Source>, Vec<String>, Form), CompileError> {
        let (mut trees, mut places, mut whole) = (Vec::new(), Vec::new(), None);
        for (number, weight) in &self.votes {
            let ensemble = &self.ensembles[*number];
            let (grown, mut form) = match &*ensemble.node.kind {
                "TreeEnsemble" => ensemble.node.new_form(output)?,
                _ => ensemble.node.old_form(output)?,
            };
            let is_alone = self.votes.len() == 1 && *weight == 1.0;
            if !is_alone && form.link != Link::Identity {
                let help =
                    "vote with regressors or forests, or export raw scores: a sum of probabilities is no sum of trees";
                return Err(unsupported(&ensemble.place, "probabilities of boosted trees are added", help));
            }
            form.is_double |= !is_alone;
            form.base *= weight;
            for (index, tree) in grown.into_iter().enumerate() {
                let place = format!("{}.trees[{index}]", ensemble.place);
                trees.push(ensemble.before(tree.times(*weight), &place)?);
                places.push(place);
            }
            whole = Some(match whole {
                None => form,
                Some(Form { base, .. }) => Form { base: base + form.base, ..form },
            });
        }
        let form =
            whole.ok_or_else(|| unsupported("graph", "there is no ensemble of trees", "export a model of trees"))?;
        Ok((trees, places, form))
    }

    /// How many features there are: as many as the input tells, or as the trees ask for.
    fn features(&self, trees: &[Source]) -> Result<usize, CompileError> {
        let asked = trees.iter().flat_map(|tree| &tree.nodes).filter_map(|node| match node {
            Node::Split { test, .. } => Some(test.feature),
            Node::Leaf(_) => None,
        });
        let count = self
            .inputs
            .width
            .map_or_else(|| asked.max().map_or(0, |last| last.saturating_add(1)), |width| width as u64);
        match usize::try_from(count) {
            Ok(count) if count <= MAX_FEATURES => Ok(count),
            _ => Err(limit(&*self.ensembles[0].place, "features", MAX_FEATURES)),
        }
    }
}

impl Ensemble<'_> {
    /// The tree that asks the features what this one asks the columns.
    fn before(&self, mut tree: Source, place: &str) -> Result<Source, CompileError> {
        for node in &mut tree.nodes {
            let Node::Split { test, .. } = node else { continue };
            let column = usize::try_from(test.feature).ok().and_then(|feature| self.columns.get(feature));
            let Some(column) = column else {
                let message = format!("a node splits on column {}, and there are {}", test.feature, self.columns.len());
                return Err(CompileError::new(CompileErrorKind::BadTree, place, message, SAVE_AGAIN));
            };
            let moved = Test { cuts: std::mem::take(&mut test.cuts), ..*test };
            *test = column.before(moved);
        }
        Ok(tree)
    }
}

impl<'a> Values<'a> {
    /// The inputs as columns. Their features have names where there are several inputs.
    fn of_inputs(graph: &'a Graph) -> Result<(Self, Inputs), CompileError> {
        let mut values = Self { graph, is_double: false, columns: HashMap::new(), left: MAX_COLUMNS };
        // Old files list their constants as inputs, too.
        let is_constant = |input: &&ValueInfo| graph.constants.iter().any(|constant| constant.name == input.name);
        let inputs: Vec<&ValueInfo> = graph.inputs.iter().filter(|input| !is_constant(input)).collect();
        let (mut names, mut total) = (Vec::new(), 0);
        for input in &inputs {
            let tensor = input.kind.as_ref().and_then(|kind| kind.tensor.as_ref());
            let place =
                if inputs.len() == 1 { "graph.input".to_owned() } else { format!("graph.input.{}", cut(&input.name)) };
            let element = tensor.map_or(0, |tensor| tensor.element);
            if !matches!(element, 0 | FLOAT | DOUBLE | INT32 | INT64) {
                let help =
                    "export the model with inputs of float or int64: a `string` feature with `values` gives positions";
                return Err(unsupported(&place, "the input is neither float nor integer", help));
            }
            values.is_double |= tensor.is_some_and(|tensor| tensor.element == DOUBLE);
            let last = tensor.and_then(|tensor| tensor.shape.as_ref()).and_then(|shape| shape.dimensions.get(1));
            let width = last.and_then(|dimension| usize::try_from(dimension.size).ok()).filter(|size| *size > 0);
            if inputs.len() > 1 && width.is_none() {
                let help = "export each input with the number of its columns, such as [None, 1]";
                return Err(unsupported(&place, "the input does not say how many columns it has", help));
            }
            // An only input may be as wide as the trees ask.
            let columns = width.unwrap_or(MAX_FEATURES);
            if total + columns > MAX_FEATURES {
                return Err(limit(place, "features", MAX_FEATURES));
            }
            match width {
                Some(1) => names.push(input.name.clone()),
                _ => names.extend((0..columns).map(|at| format!("{}_{at}", input.name))),
            }
            let of_input = |at| Column::of_input(at as u64);
            let columns = (total..total + columns).map(|at| match element {
                // Features are floats: what has a fraction is cast.
                INT32 | INT64 => of_input(at).then(Step::Truncate).unwrap_or_else(|| of_input(at)),
                _ => of_input(at),
            });
            let columns = columns.collect();
            total += width.unwrap_or(0);
            values.columns.insert(&input.name, columns);
        }
        let names = (inputs.len() > 1).then_some(names);
        Ok((values, Inputs { names, width: (total > 0).then_some(total) }))
    }

    /// The columns that `node` reads first.
    fn read(&self, node: &Operator, place: &str) -> Result<Columns, CompileError> {
        let columns = node.inputs.first().and_then(|name| self.columns.get(name.as_str()));
        columns.cloned().ok_or_else(|| node.unsupported(place))
    }

    fn constant(&self, name: &str) -> Option<&'a Tensor> {
        self.graph.constants.iter().find(|constant| constant.name == name)
    }

    /// What an operator before the trees makes of its columns.
    fn step(&mut self, node: &'a Operator, place: &str) -> Result<(), CompileError> {
        let floats = |name: &str| node.attribute(name).map_or(&[][..], |attribute| &attribute.floats);
        let columns: Columns = match &*node.kind {
            "Identity" => self.read(node, place)?,
            _ if self.is_double => {
                let message = format!("the operator `{}` before the trees computes in double", cut(&node.kind));
                return Err(unsupported(place, &message, "export the model with a float input"));
            }
            "Cast" if node.int("to", 0) == i64::from(FLOAT) => self.read(node, place)?,
            "Cast" if [INT32, INT64].map(i64::from).contains(&node.int("to", 0)) => {
                each(&self.read(node, place)?, &[0.0], |_| Step::Truncate, place)?
            }
            "OneHotEncoder" => self.one_hot(node, place)?,
            "LabelEncoder" => self.encoded(node, place)?,
            "Flatten" if node.int("axis", 1) == 1 => self.read(node, place)?,
            "Reshape" => self.reshaped(node, place)?,
            "Scaler" => {
                let (offset, scale) = (floats("offset"), floats("scale"));
                let shifted = each(&self.read(node, place)?, offset, Step::Subtract, place)?;
                each(&shifted, scale, Step::Multiply, place)?
            }
            "Imputer" if node.attribute("replaced_value_float").is_some_and(|attribute| attribute.float.is_nan()) => {
                each(&self.read(node, place)?, floats("imputed_value_floats"), Step::Fill, place)?
            }
            "Binarizer" => {
                let threshold = node.attribute("threshold").map_or(0.0, |attribute| attribute.float);
                each(&self.read(node, place)?, &[threshold], Step::Above, place)?
            }
            "Add" | "Mul" | "Sub" => self.arithmetic(node, place)?,
            "Clip" => self.clip(node, place)?,
            "Concat" if matches!(node.int("axis", 0), 1 | -1) => self.concat(node, place)?,
            "FeatureVectorizer" => self.concat(node, place)?,
            "ArrayFeatureExtractor" => self.pick(node, place)?,
            "Gather" if matches!(node.int("axis", 0), 1 | -1) => self.pick(node, place)?,
            _ => return Err(node.unsupported(place)),
        };
        let Some(left) = self.left.checked_sub(columns.len()) else {
            return Err(limit(place, "columns before the trees", MAX_COLUMNS));
        };
        self.left = left;
        self.columns.insert(node.outputs.first().map_or("", String::as_str), columns);
        Ok(())
    }

    /// A column for each category of the only one: 1 where it is that. A number that is no category has zeros, also where
    /// onnxruntime gives up; what is missing is none.
    fn one_hot(&self, node: &Operator, place: &str) -> Result<Columns, CompileError> {
        let columns = self.read(node, place)?;
        let [column] = &columns[..] else {
            let message = format!("OneHotEncoder of {} columns", columns.len());
            return Err(unsupported(place, &message, "encode each column by itself, as skl2onnx does"));
        };
        let categories = node.ints("cats_int64s");
        if categories.is_empty() {
            return Err(unsupported(place, "the categories of OneHotEncoder are no numbers", NUMBERED));
        }
        let category = |category: &i64| {
            let levels = Levels::new(vec![(exact(*category, place)?, 1.0)], 0.0, 0.0);
            let column = column.then(Step::Truncate).and_then(|column| column.then(Step::Look(Rc::new(levels))));
            column.ok_or_else(|| node.unsupported(place))
        };
        categories.iter().take(MAX_COLUMNS).map(category).collect()
    }

    /// Columns of numbers by numbers; what is not among the keys has the default, and so has a missing one, unless a key is.
    fn encoded(&self, node: &Operator, place: &str) -> Result<Columns, CompileError> {
        let numbers = |floats: &str, ints: &str| -> Result<Vec<f32>, CompileError> {
            let floats = node.attribute(floats).map_or(&[][..], |attribute| &attribute.floats);
            let ints = node.ints(ints).iter().map(|int| exact(*int, place));
            floats.iter().copied().map(Ok).chain(ints).collect()
        };
        let (keys, values) = (numbers("keys_floats", "keys_int64s")?, numbers("values_floats", "values_int64s")?);
        if keys.is_empty() || values.is_empty() {
            return Err(unsupported(place, "the keys or the values of LabelEncoder are no numbers", NUMBERED));
        }
        if keys.len() != values.len() || keys.iter().any(|key| key.is_infinite()) {
            return Err(malformed(place, &format!("there are {} values for {} finite keys", values.len(), keys.len())));
        }
        let other = match node.attribute("values_floats") {
            Some(_) => node.attribute("default_float").map_or(-0.0, |attribute| attribute.float),
            None => exact(node.int("default_int64", -1), place)?,
        };
        let (missing, entries): (Vec<_>, Vec<_>) = keys.into_iter().zip(values).partition(|(key, _)| key.is_nan());
        let levels = Rc::new(Levels::new(entries, other, missing.first().map_or(other, |(_, value)| *value)));
        each(&self.read(node, place)?, &[0.0], |_| Step::Look(Rc::clone(&levels)), place)
    }

    /// The same columns, as a list that has lost its other axes.
    fn reshaped(&self, node: &Operator, place: &str) -> Result<Columns, CompileError> {
        let columns = self.read(node, place)?;
        let shape =
            node.inputs.get(1).and_then(|name| self.constant(name)).map(|shape| shape.indices(place)).transpose()?;
        match shape.as_deref() {
            Some([-1 | 0, width]) if usize::try_from(*width) == Ok(columns.len()) => Ok(columns),
            _ => Err(node.unsupported(place)),
        }
    }

    /// A column and a constant, either way round where that is the same.
    fn arithmetic(&self, node: &Operator, place: &str) -> Result<Columns, CompileError> {
        let [left, right] = &node.inputs[..] else { return Err(node.unsupported(place)) };
        let columns = |name: &str| self.columns.get(name).cloned();
        let operands = match (columns(left), self.constant(right)) {
            (Some(columns), Some(constant)) => Some((columns, constant)),
            _ if node.kind == "Sub" => None,
            _ => columns(right).zip(self.constant(left)),
        };
        let (columns, constant) = operands.ok_or_else(|| node.unsupported(place))?;
        let step = match &*node.kind {
            "Add" => Step::Add,
            "Sub" => Step::Subtract,
            _ => Step::Multiply,
        };
        each(&columns, &constant.floats(place)?, step, place)
    }

    /// Bounds are inputs since version 11, and attributes before.
    fn clip(&self, node: &Operator, place: &str) -> Result<Columns, CompileError> {
        let bound = |at: usize, name: &str, unless_given: f32| match node.inputs.get(at).filter(|name| !name.is_empty())
        {
            None => Ok(node.attribute(name).map_or(unless_given, |attribute| attribute.float)),
            Some(name) => match self.constant(name).map(|constant| constant.floats(place)).transpose()?.as_deref() {
                Some([bound]) => Ok(*bound),
                _ => Err(node.unsupported(place)),
            },
        };
        let (from, until) = (bound(1, "min", f32::MIN)?, bound(2, "max", f32::MAX)?);
        each(&self.read(node, place)?, &[from], |from| Step::Clamp(from, until), place)
    }

    fn concat(&self, node: &Operator, place: &str) -> Result<Columns, CompileError> {
        let mut all = Vec::new();
        for input in &node.inputs {
            let columns = self.columns.get(input.as_str()).ok_or_else(|| node.unsupported(place))?;
            if all.len() + columns.len() > MAX_COLUMNS {
                return Err(limit(place, "columns before the trees", MAX_COLUMNS));
            }
            all.extend_from_slice(columns);
        }
        Ok(all.into())
    }

    fn pick(&self, node: &Operator, place: &str) -> Result<Columns, CompileError> {
        let columns = self.read(node, place)?;
        let indices = node.inputs.get(1).and_then(|name| self.constant(name));
        let indices = indices.ok_or_else(|| node.unsupported(place))?.indices(place)?;
        let picked = indices.iter().take(MAX_COLUMNS).map(|index| {
            let column = usize::try_from(*index).ok().and_then(|index| columns.get(index)).cloned();
            column.ok_or_else(|| malformed(place, &format!("column {index} is taken, and there are {}", columns.len())))
        });
        picked.collect()
    }
}

/// Every column behind a step with its own value, or with the only one.
fn each(columns: &[Column], values: &[f32], step: impl Fn(f32) -> Step, place: &str) -> Result<Columns, CompileError> {
    let of = |at: usize| if let [all] = values { Some(*all) } else { values.get(at).copied() };
    // An input that does not say its width is as wide as what is done to it.
    let wide = columns.len() == MAX_FEATURES && values.len() > 1;
    let columns = if wide { columns.get(..values.len()).unwrap_or(columns) } else { columns };
    if values.len() != 1 && values.len() != columns.len() {
        return Err(malformed(place, &format!("there are {} values for {} columns", values.len(), columns.len())));
    }
    let moved = columns.iter().enumerate().map(|(at, column)| {
        let step = step(of(at)?);
        Some(column.then(step.clone()).ok_or((at, step)))
    });
    let moved: Option<Result<Columns, _>> = moved.collect();
    moved.ok_or_else(|| malformed(place, "a column has no value"))?.map_err(|(at, step)| {
        let message = format!("what is done to column {at} does not keep the order of numbers: {step:?}");
        unsupported(place, &message, "scale by finite numbers above 0, or not at all: trees need no scaler")
    })
}

/// A number that `f32` holds exactly, as positions and categories are.
fn exact(number: i64, place: &str) -> Result<f32, CompileError> {
    if number.unsigned_abs() <= MAX_EXACT {
        return Ok(number as f32);
    }
    let message = format!("the category {number} is not exact in float32");
    Err(unsupported(place, &message, "number the categories from 0"))
}

/// As much of a name as a message shows.
fn cut(name: &str) -> String {
    name.chars().take(64).collect()
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
            "Normalizer" => "train the trees on features that are not normalised, row by row: they need no scaler",
            _ => {
                "before trees there may be what keeps the order of numbers, or encodes categories by themselves: \
                 scalers, imputers, encoders of numbers, choices of columns"
            }
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

    /// Versions 1 and 3.
    fn old_form(&self, chosen: Output) -> Result<(Vec<Source>, Form), CompileError> {
        let is_classifier = self.kind == "TreeEnsembleClassifier";
        let (prefix, kind) = if is_classifier { ("class", "class_ids") } else { ("target", "target_ids") };
        let (base, _) = self.numbers("base_values")?;
        let (weights, is_double) = self.numbers(&format!("{prefix}_weights"))?;
        let outputs = self.ints(kind);
        let (output, classes) = self.output(is_classifier, outputs, base.len(), chosen)?;
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
            "SOFTMAX" | "SOFTMAX_ZERO" if classes > 2 => Link::Identity,
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
        let adds =
            |tree: &&Vec<usize>| classes <= 2 || tree.iter().any(|at| leaves.contains_key(&(trees[*at], ids[*at])));
        let sources = order.iter().filter(adds).map(source).collect::<Result<Vec<_>, CompileError>>()?;
        let base = match base.len() {
            0 | 1 => base.first(),
            2 => base.get(1),
            _ => usize::try_from(output).ok().and_then(|output| base.get(output)),
        };
        let base = base.copied().unwrap_or(0.0);
        Ok((sources, Form { base: finite(base)?, is_double, link }))
    }

    /// Which output is the score: the only one, of two classes the second, of more the one that is chosen; and how many
    /// there are.
    fn output(
        &self,
        is_classifier: bool,
        outputs: &[i64],
        bases: usize,
        chosen: Output,
    ) -> Result<(i64, usize), CompileError> {
        if is_classifier {
            let texts = self.attribute("classlabels_strings").map_or(0, |labels| labels.texts.len());
            let classes = self.ints("classlabels_int64s").len().max(texts);
            if classes > 2 {
                if !matches!(bases, 0) && bases != classes {
                    return Err(malformed(
                        "base_values",
                        &format!("there are {bases} base values for {classes} classes"),
                    ));
                }
                return Ok((chosen.of(classes, "class_ids")? as i64, classes));
            }
        }
        chosen.of(1, "class_ids")?;
        let first = outputs.first().copied().unwrap_or(0);
        let is_one = outputs.iter().all(|output| *output == first);
        let most = if is_classifier { 2 } else { 1 };
        let targets = if is_classifier { 1 } else { self.int("n_targets", 1) };
        if targets != 1 || bases > most || !(is_one || is_classifier) {
            let message = format!("the model gives {} scores, and a ranking needs one", targets.max(2));
            return Err(unsupported(if is_classifier { "class_ids" } else { "n_targets" }, &message, ONE_OUTPUT));
        }
        Ok((if is_one { first } else { 1 }, most))
    }

    /// Version 5.
    fn new_form(&self, chosen: Output) -> Result<(Vec<Source>, Form), CompileError> {
        let targets = usize::try_from(self.int("n_targets", 1)).unwrap_or(0).max(1);
        let output = chosen.of(targets, "n_targets")? as i64;
        let of_output = self.ints("leaf_targetids");
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
            1 | 3 if targets > 1 => Link::Identity,
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
            let mut adds = targets == 1;
            let mut open = vec![(*root, false)];
            while let Some((at, is_leaf)) = open.get(source.nodes.len()).copied() {
                let inner = usize::try_from(at).ok().filter(|at| is_leaf || *at < nodes);
                let Some(at) = inner.filter(|_| left > 0) else {
                    return Err(malformed(&place, &format!("there is no node {at}, or one is reached twice")));
                };
                left -= 1;
                if is_leaf {
                    let weight = weights.get(at).ok_or_else(|| malformed(&place, &format!("there is no leaf {at}")))?;
                    let target = of_output.get(at).copied().unwrap_or(0);
                    if !(0..targets as i64).contains(&target) {
                        return Err(malformed(&place, &format!("leaf {at} adds to output {target} of {targets}")));
                    }
                    adds |= target == output;
                    source.nodes.push(Node::Leaf(if target == output { *weight } else { 0.0 }));
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
            sources.extend(adds.then_some(source));
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
    /// Constants beside columns, of which the last axis counts.
    fn floats(&self, place: &str) -> Result<Vec<f32>, CompileError> {
        match self.numbers(place)? {
            // Numbers that were `f32`s are `f32`s again.
            (numbers, false) => Ok(numbers.into_iter().map(|number| number as f32).collect()),
            (_, true) => Err(unsupported(place, "the constant is double", "export the model in float")),
        }
    }

    /// Positions of columns.
    fn indices(&self, place: &str) -> Result<Vec<i64>, CompileError> {
        let (raw, _) = self.raw.as_chunks::<8>();
        match self.kind {
            INT64 if self.raw.is_empty() => Ok(self.longs.clone()),
            INT64 => Ok(raw.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect()),
            _ => Err(unsupported(place, "the positions of columns are not int64", SAVE_AGAIN)),
        }
    }

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
