//! Linear models and what scikit-learn puts before them: operators of `ai.onnx.ml`, rewritten in the standard ones.
//!
//! skl2onnx writes a pipeline as scalers, imputers and choices of columns, and a `LinearRegressor` or `LinearClassifier` at
//! its end. Each is a few operators that every other network has, so they are replaced before anybody else looks at the
//! graph, and the proof and the report are those of graphs: onnxruntime adds products in an order of its own, so scores
//! agree within a tolerance and not in every bit.
//!
//! A classifier's score is the probability of the second of two classes, or the raw score of the one of several that is
//! chosen. What follows it names classes and is left out. Trees never come here: they are read bit for bit elsewhere. What
//! each operator means is <https://onnx.ai/onnx/operators/index_ml.html>; where onnxruntime does otherwise, it is refused.

use std::collections::BTreeSet;

use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto};

use super::lower::{refused_operator, unsupported};
use crate::error::{CompileError, CompileErrorKind};
use crate::import::Output;

const DOMAIN: &str = "ai.onnx.ml";
/// `TensorProto.DataType` and `AttributeProto.AttributeType`.
const FLOAT: i32 = 1;
const INT64: i32 = 7;
const ATTRIBUTE_INT: i32 = 2;
const ATTRIBUTE_INTS: i32 = 7;
/// Since this version the axes of `ReduceSum` are an input.
const AXES_ARE_INPUT: i64 = 13;
/// All integers up to here are `f32`s.
const MAX_EXACT: u64 = 1 << 24;
const ONE_TARGET: &str = "train one model with one target";

/// Replaces what is not standard; of a classifier's classes `output` chooses.
pub(super) fn rewrite(graph: &mut GraphProto, opset: i64, output: Output) -> Result<(), CompileError> {
    let has_classes = graph.node.iter().any(|node| node.op_type == "LinearClassifier");
    if !has_classes {
        output.of(1, "graph.output")?;
    }
    let mut rewriting = Rewriting { nodes: Vec::new(), constants: Vec::new(), opset, output, names: 0, score: None };
    let mut behind: BTreeSet<String> = BTreeSet::new();
    for (at, node) in std::mem::take(&mut graph.node).into_iter().enumerate() {
        let place = format!("graph.node[{at}]");
        if node.input.iter().any(|input| behind.contains(input)) {
            refuse_behind(&node).map_err(|error| error.within(&place))?;
            behind.extend(node.output);
            continue;
        }
        if node.op_type == "LinearClassifier" {
            behind.extend(node.output.iter().cloned());
        }
        rewriting.node(node).map_err(|error| error.within(&place))?;
    }
    graph.node = rewriting.nodes;
    graph.initializer.extend(rewriting.constants);
    if let Some(name) = rewriting.score {
        graph.output = vec![ValueInfoProto { name, ..ValueInfoProto::default() }];
    }
    Ok(())
}

/// Behind a classifier there may be what names classes, or makes probabilities sum to 1.
fn refuse_behind(node: &NodeProto) -> Result<(), CompileError> {
    match &*node.op_type {
        "ZipMap" | "Identity" | "Cast" | "Normalizer" | "ArrayFeatureExtractor" => Ok(()),
        other => {
            let message = format!("the operator {other} behind a classifier is not supported");
            Err(unsupported(message, "export the classifier alone, without what is made of its probabilities"))
        }
    }
}

/// Operators and constants so far.
struct Rewriting {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    opset: i64,
    output: Output,
    /// Names that were made.
    names: usize,
    /// The score of a classifier.
    score: Option<String>,
}

impl Rewriting {
    fn node(&mut self, node: NodeProto) -> Result<(), CompileError> {
        if node.domain != DOMAIN {
            self.nodes.push(node);
            return Ok(());
        }
        let (Some(x), Some(y)) = (node.input.first(), node.output.first()) else {
            return Err(malformed(&node.op_type, "an operator without input or output"));
        };
        match &*node.op_type {
            "Scaler" => {
                let offset = self.constant(floats(&node, "offset")?);
                let scale = self.constant(floats(&node, "scale")?);
                let shifted = self.apply("Sub", &[x, &offset]);
                self.write("Mul", &[&shifted, &scale], y);
            }
            "Imputer" if attribute(&node, "replaced_value_float").is_some_and(|attribute| attribute.f.is_nan()) => {
                let values = self.constant(floats(&node, "imputed_value_floats")?);
                // Only a missing value differs from itself.
                let is_given = self.apply("Equal", &[x, x]);
                self.write("Where", &[&is_given, x, &values], y);
            }
            "Binarizer" => {
                let threshold = attribute(&node, "threshold").map_or(0.0, |attribute| attribute.f);
                let threshold = self.constant(&[threshold]);
                let is_above = self.apply("Greater", &[x, &threshold]);
                self.cast_to(&is_above, FLOAT, y);
            }
            "Normalizer" => self.normalizer(&node, x, y)?,
            "FeatureVectorizer" => {
                let parts: Vec<&str> = node.input.iter().map(String::as_str).collect();
                self.write("Concat", &parts, y);
                self.with_int("axis", 1);
            }
            "ArrayFeatureExtractor" => {
                let indices = node.input.get(1).ok_or_else(|| malformed(&node.op_type, "there are no indices"))?;
                self.write("Gather", &[x, indices], y);
                self.with_int("axis", 1);
            }
            "OneHotEncoder" => self.one_hot(&node, x, y)?,
            "LabelEncoder" => self.encoder(&node, x, y)?,
            "LinearRegressor" => self.regressor(&node, x, y)?,
            "LinearClassifier" => self.classifier(&node, x)?,
            other => return Err(refused_operator(other)),
        }
        Ok(())
    }

    /// A row of zeros stays as it is; onnxruntime's largest number of a row is not the largest without its sign.
    fn normalizer(&mut self, node: &NodeProto, x: &str, y: &str) -> Result<(), CompileError> {
        let norm = text(node, "norm");
        let parts = match norm {
            "L1" => self.apply("Abs", &[x]),
            "L2" => self.apply("Mul", &[x, x]),
            _ => {
                let message =
                    format!("the Normalizer `{}` is not supported", shown(if norm.is_empty() { "MAX" } else { norm }));
                let help = "normalise by `l1` or `l2`: runtimes differ in what the largest number of a row is";
                return Err(unsupported(message, help));
            }
        };
        let sum = self.sum(&parts);
        let (zero, one) = (self.constant(&[0.0]), self.constant(&[1.0]));
        let is_zero = self.apply("Equal", &[&sum, &zero]);
        let sum = self.apply("Where", &[&is_zero, &one, &sum]);
        let norm = if norm == "L2" { self.apply("Sqrt", &[&sum]) } else { sum };
        self.write("Div", &[x, &norm], y);
        Ok(())
    }

    /// A column for each category of the only one; onnxruntime casts to an integer, too. What is no category has zeros, also
    /// where onnxruntime gives up.
    fn one_hot(&mut self, node: &NodeProto, x: &str, y: &str) -> Result<(), CompileError> {
        let categories = numbers(node, "", "cats_int64s")?;
        let shape = self.integers(&[0, 1]);
        let column = self.apply("Reshape", &[x, &shape]);
        let whole = self.cast(&column, INT64);
        let whole = self.cast(&whole, FLOAT);
        let categories = self.constant(&categories);
        let is_category = self.apply("Equal", &[&whole, &categories]);
        self.cast_to(&is_category, FLOAT, y);
        Ok(())
    }

    /// Numbers by numbers: what is among the keys adds how far its value is from the default.
    fn encoder(&mut self, node: &NodeProto, x: &str, y: &str) -> Result<(), CompileError> {
        let (keys, values) =
            (numbers(node, "keys_floats", "keys_int64s")?, numbers(node, "values_floats", "values_int64s")?);
        if keys.len() != values.len() {
            return Err(malformed(&node.op_type, &format!("{} values for {} keys", values.len(), keys.len())));
        }
        let other = match attribute(node, "values_floats").filter(|values| !values.floats.is_empty()) {
            Some(_) => attribute(node, "default_float").map_or(-0.0, |other| other.f),
            None => attribute(node, "default_int64").map_or(-1.0, |other| other.i as f32),
        };
        let apart: Vec<f32> = values.iter().map(|value| value - other).collect();
        let deeper = self.integers(&[0, -1, 1]);
        let x = self.cast(x, FLOAT);
        let x = self.apply("Reshape", &[&x, &deeper]);
        let keys = self.constant(&keys);
        let is_key = self.apply("Equal", &[&x, &keys]);
        let is_key = self.cast(&is_key, FLOAT);
        let apart = self.tensor(&apart, vec![apart.len() as i64, 1]);
        let found = self.apply("MatMul", &[&is_key, &apart]);
        let flat = self.integers(&[0, -1]);
        let found = self.apply("Reshape", &[&found, &flat]);
        let other = self.constant(&[other]);
        self.write("Add", &[&found, &other], y);
        Ok(())
    }

    fn regressor(&mut self, node: &NodeProto, x: &str, y: &str) -> Result<(), CompileError> {
        let targets = attribute(node, "targets").map_or(1, |attribute| attribute.i);
        if targets != 1 {
            return Err(unsupported(
                format!("LinearRegressor gives {targets} scores, and a ranking needs one"),
                ONE_TARGET,
            ));
        }
        refuse_transform(node, matches!(text(node, "post_transform"), "" | "NONE"))?;
        let weights = floats(node, "coefficients")?;
        let bias = attribute(node, "intercepts").and_then(|attribute| attribute.floats.first()).copied();
        self.weighted_sum(x, weights, bias.unwrap_or(0.0), y);
        Ok(())
    }

    fn classifier(&mut self, node: &NodeProto, x: &str) -> Result<(), CompileError> {
        let labels = |name: &str| attribute(node, name).map_or(0, |labels| labels.ints.len().max(labels.strings.len()));
        let classes = labels("classlabels_ints").max(labels("classlabels_strings"));
        let (weights, biases) = (floats(node, "coefficients")?, floats(node, "intercepts")?);
        let rows = biases.len();
        let row = if classes > 2 {
            self.output.of(classes, "classlabels_ints")?
        } else {
            self.output.of(1, "classlabels_ints")? + rows - 1
        };
        if rows != classes && (rows != 1 || classes > 2) || !weights.len().is_multiple_of(rows) {
            let message = format!("{} coefficients and {rows} intercepts for {classes} classes", weights.len());
            return Err(malformed("LinearClassifier", &message));
        }
        let transform = text(node, "post_transform");
        // The raw score of one class is what it was before the transform.
        refuse_transform(
            node,
            matches!(transform, "" | "NONE" | "LOGISTIC") || (transform == "SOFTMAX" && classes > 2),
        )?;
        let width = weights.len() / rows;
        let raw = self.fresh();
        self.weighted_sum(x, &weights[row * width..][..width], biases[row], &raw);
        let is_probability = transform == "LOGISTIC" && classes <= 2;
        self.score = Some(if is_probability { self.apply("Sigmoid", &[&raw]) } else { raw });
        Ok(())
    }

    fn weighted_sum(&mut self, x: &str, weights: &[f32], bias: f32, y: &str) {
        let column = self.tensor(weights, vec![weights.len() as i64, 1]);
        let bias = self.constant(&[bias]);
        let sum = self.apply("MatMul", &[x, &column]);
        self.write("Add", &[&sum, &bias], y);
    }

    /// The sum of each row.
    fn sum(&mut self, x: &str) -> String {
        if self.opset < AXES_ARE_INPUT {
            let sum = self.apply("ReduceSum", &[x]);
            let axes = AttributeProto {
                name: "axes".to_owned(),
                r#type: ATTRIBUTE_INTS,
                ints: vec![1],
                ..AttributeProto::default()
            };
            self.with(axes);
            return sum;
        }
        let axes = self.integers(&[1]);
        self.apply("ReduceSum", &[x, &axes])
    }

    fn cast(&mut self, x: &str, to: i32) -> String {
        let name = self.fresh();
        self.cast_to(x, to, &name);
        name
    }

    fn cast_to(&mut self, x: &str, to: i32, y: &str) {
        self.write("Cast", &[x], y);
        self.with_int("to", i64::from(to));
    }

    fn integers(&mut self, values: &[i64]) -> String {
        let name = self.fresh();
        self.constants.push(TensorProto {
            dims: vec![values.len() as i64],
            data_type: INT64,
            name: name.clone(),
            raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            ..TensorProto::default()
        });
        name
    }

    /// One number for all columns, or one for each.
    fn constant(&mut self, values: &[f32]) -> String {
        self.tensor(values, vec![1, values.len() as i64])
    }

    fn tensor(&mut self, values: &[f32], dims: Vec<i64>) -> String {
        let name = self.fresh();
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constants.push(TensorProto {
            dims,
            data_type: FLOAT,
            name: name.clone(),
            raw_data,
            ..TensorProto::default()
        });
        name
    }

    fn apply(&mut self, op: &str, inputs: &[&str]) -> String {
        let name = self.fresh();
        self.write(op, inputs, &name);
        name
    }

    fn write(&mut self, op: &str, inputs: &[&str], output: &str) {
        self.nodes.push(NodeProto {
            name: format!("{op} of {output}"),
            op_type: op.to_owned(),
            input: inputs.iter().map(|input| (*input).to_owned()).collect(),
            output: vec![output.to_owned()],
            ..NodeProto::default()
        });
    }

    /// Gives the last operator an attribute.
    fn with(&mut self, attribute: AttributeProto) {
        self.nodes.last_mut().into_iter().for_each(|node| node.attribute.push(attribute.clone()));
    }

    fn with_int(&mut self, name: &str, i: i64) {
        self.with(AttributeProto { name: name.to_owned(), r#type: ATTRIBUTE_INT, i, ..AttributeProto::default() });
    }

    /// A name that nobody has.
    fn fresh(&mut self) -> String {
        self.names += 1;
        format!("selvedge classic {}", self.names)
    }
}

fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

fn text<'n>(node: &'n NodeProto, name: &str) -> &'n str {
    attribute(node, name).map_or("", |attribute| std::str::from_utf8(&attribute.s).unwrap_or("?"))
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

/// A list of finite numbers that is there.
fn floats<'n>(node: &'n NodeProto, name: &str) -> Result<&'n [f32], CompileError> {
    let values = attribute(node, name).map_or(&[][..], |attribute| &attribute.floats);
    if values.is_empty() {
        return Err(malformed(&node.op_type, &format!("there are no {name}")));
    }
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(values),
        Some(value) => Err(malformed(&node.op_type, &format!("{value} is among the {name}"))),
    }
}

/// A list of finite numbers, or of integers that are exact as such.
fn numbers(node: &NodeProto, of_floats: &str, of_integers: &str) -> Result<Vec<f32>, CompileError> {
    let integers = attribute(node, of_integers).map_or(&[][..], |attribute| &attribute.ints);
    if let Some(large) = integers.iter().find(|number| number.unsigned_abs() > MAX_EXACT) {
        let message = format!("{} of {large}, which is not exact in float32", shown(&node.op_type));
        return Err(unsupported(message, "number the categories from 0"));
    }
    if !integers.is_empty() {
        return Ok(integers.iter().map(|number| *number as f32).collect());
    }
    let floats = attribute(node, of_floats).map_or(&[][..], |attribute| &attribute.floats);
    if floats.is_empty() {
        let message = format!("{} of something else than numbers", shown(&node.op_type));
        return Err(unsupported(message, "encode numbers: a `string` feature with `values` gives positions"));
    }
    match floats.iter().find(|value| !value.is_finite()) {
        None => Ok(floats.to_vec()),
        Some(value) => Err(unsupported(
            format!("{} of {value}", shown(&node.op_type)),
            "fill missing values before they are encoded, or give features a `default`",
        )),
    }
}

fn refuse_transform(node: &NodeProto, is_supported: bool) -> Result<(), CompileError> {
    if is_supported {
        return Ok(());
    }
    let message =
        format!("{} with `post_transform` {} is not supported", node.op_type, shown(text(node, "post_transform")));
    Err(unsupported(message, "export the raw scores: skl2onnx does with options={\"raw_scores\": True}"))
}

fn malformed(kind: &str, message: &str) -> CompileError {
    let message = format!("{}: {message}", shown(kind));
    CompileError::new(CompileErrorKind::Malformed, "", message, "export the model again, and do not edit it by hand")
}
