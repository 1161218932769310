//! Any graph with fixed shapes through import, lowering and engine: what the operator coverage of `docs/reference/onnx-coverage.md`
//! is measured with (feature `coverage`; no part of the product).
//!
//! The tests of ONNX's backend have no batch. Here each input is flattened into features, of the request or of the candidates,
//! and the engine ranks as many candidates as the outputs have numbers: a last feature says which number a candidate's score
//! is. So every number of every output has gone through the same import, the same steps and the same engine as a model's
//! score. What tract must know to infer shapes (a new shape, axes, a number of repeats) is bound as a constant.

use std::collections::BTreeSet;

use prost::Message;
use selvedge_engine::feature::stride;
use selvedge_engine::model::{Model, ModelScratch};
use selvedge_format::model::{Link, ModelKindV1, ModelV1};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{GraphProto, ModelProto, TensorProto, TensorShapeProto, type_proto};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::f16;
use tract_onnx::tract_hir::internal::{DimLike, Factoid};

use super::lower::{Lowering, Value, features, unsupported};
use super::{Known, OnnxModel, types};
use crate::error::CompileError;
use crate::import::{Alone, Output};

/// Inputs that tell shapes, by operator, and those that exports have as constants: what is learnt, what fills.
const OF_SHAPES: [(&str, &[usize]); 21] = [
    ("BatchNormalization", &[1, 2, 3, 4]),
    ("CenterCropPad", &[1]),
    ("ConstantOfShape", &[0]),
    ("CumSum", &[1]),
    ("Expand", &[1]),
    ("OneHot", &[1, 2]),
    ("Pad", &[1, 2, 3]),
    ("Range", &[0, 1, 2]),
    ("ReduceL1", &[1]),
    ("ReduceL2", &[1]),
    ("ReduceLogSum", &[1]),
    ("ReduceLogSumExp", &[1]),
    ("ReduceMax", &[1]),
    ("ReduceMean", &[1]),
    ("ReduceMin", &[1]),
    ("ReduceProd", &[1]),
    ("ReduceSum", &[1]),
    ("ReduceSumSquare", &[1]),
    ("Reshape", &[1]),
    ("Resize", &[1, 2, 3]),
    ("Slice", &[1, 2, 3, 4]),
];
/// The same for operators whose second input is a size, an axis or a number of elements.
const SECOND: [&str; 6] = ["Split", "Squeeze", "Tile", "TopK", "Trilu", "Unsqueeze"];

/// Tolerance of ONNX's backend tests, relative to what is expected; the absolute one is given.
const RELATIVE: f64 = 1e-3;
/// Most numbers of the inputs: there is a column for each.
const MAX_NUMBERS: usize = 1 << 15;
/// Most numbers of an output that one program is asked for: which it is takes a column for each.
const PART: usize = 4096;
/// Integers are exact in f32 up to here.
const EXACT: f64 = 16_777_216.0;

/// What came of a case.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Every number of every output is as expected.
    Equal {
        /// The largest difference, relative to the larger of the number and 1.
        difference: f64,
        /// Whether it was known when the model was compiled, so that nothing was left to compute.
        is_folded: bool,
    },
    /// It is not compiled, and why.
    Refused(String),
    /// It was compiled and another number came out.
    Wrong(String),
}

/// On what the inputs of a case depend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// The request: all is computed once.
    OfRequest,
    /// The candidate: all is computed for each of a tile.
    OfCandidates,
}

/// A tensor as numbers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Numbers {
    pub(crate) ty: DataType,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f64>,
}

/// Runs a model on inputs and compares what comes out with the outputs that are expected; each is a serialised tensor. Floats
/// may be apart by `absolute` and a thousandth of what is expected.
#[must_use]
pub fn check(model: &[u8], given: &[Vec<u8>], expected: &[Vec<u8>], inputs: Inputs, absolute: f64) -> Outcome {
    match tensors(given).and_then(|given| Ok((given, tensors(expected)?))) {
        Ok((given, expected)) => {
            let attempt = |is_shape| match outputs(model, &given, inputs, is_shape) {
                Ok((found, is_folded)) => compare(&found, &expected, absolute, is_folded),
                Err(error) => Outcome::Refused(error.message().lines().next().unwrap_or_default().to_owned()),
            };
            // A shape that reaches an operator through others is not seen in the table: then all that may be one is bound.
            match attempt(is_shape_by_table) {
                Outcome::Refused(reason) => match attempt(may_be_shape) {
                    Outcome::Refused(_) => Outcome::Refused(reason),
                    other => other,
                },
                other => other,
            }
        }
        Err(reason) => Outcome::Refused(reason),
    }
}

type IsShape = fn(&ModelProto, &str, &TensorProto) -> bool;

fn tensors(all: &[Vec<u8>]) -> Result<Vec<TensorProto>, String> {
    all.iter().map(|bytes| TensorProto::decode(&**bytes).map_err(|_| "an input that is no tensor".to_owned())).collect()
}

fn is_shape_by_table(model: &ModelProto, name: &str, _: &TensorProto) -> bool {
    let nodes = model.graph.iter().flat_map(|graph| &graph.node);
    nodes.flat_map(|node| node.input.iter().enumerate().map(move |(at, input)| (node, at, input))).any(
        |(node, at, input)| {
            let listed = OF_SHAPES.iter().any(|(op, inputs)| *op == node.op_type && inputs.contains(&at));
            input == name && (listed || (at == 1 && SECOND.contains(&node.op_type.as_str())))
        },
    )
}

fn may_be_shape(model: &ModelProto, name: &str, tensor: &TensorProto) -> bool {
    is_shape_by_table(model, name, tensor)
        || (tensor.data_type == DataType::Int64 as i32 && tensor.dims.len() < 2)
        || (tensor.dims.is_empty() && tensor.data_type != DataType::Bool as i32)
}

/// All outputs, as the engine computes them, and whether they were constants.
fn outputs(
    model: &[u8],
    given: &[TensorProto],
    inputs: Inputs,
    is_shape: IsShape,
) -> Result<(Vec<Numbers>, bool), CompileError> {
    let mut proto = ModelProto::decode(model).map_err(|_| unsupported("a file that is no model", "save it again"))?;
    let whole = proto.clone();
    let Some(graph) = proto.graph.as_mut() else { return Err(unsupported("a model without a graph", "save it again")) };
    // Older files name what they have learnt among the inputs.
    let is_learnt = |name: &String| graph.initializer.iter().any(|tensor| tensor.name == *name);
    let names: Vec<String> = graph.input.iter().map(|input| input.name.clone()).collect();
    let names: Vec<String> = names.into_iter().filter(|name| !is_learnt(name)).collect();
    types::check(graph)?;
    let mut numbers = Vec::new();
    let mut bound = BTreeSet::new();
    for (name, tensor) in names.iter().zip(given) {
        if is_shape(&whole, name, tensor) {
            graph.initializer.push(TensorProto { name: name.clone(), ..tensor.clone() });
            bound.insert(name.clone());
        } else {
            numbers.push(Numbers::of(tensor)?);
        }
    }
    let is_given = |name: &String| names.contains(name) && !bound.contains(name);
    graph.input.retain(|input| is_given(&input.name));
    fix_shapes(graph, &numbers);
    if values_of(&numbers).count() > MAX_NUMBERS {
        return Err(unsupported(format!("more than {MAX_NUMBERS} numbers of inputs"), "make the inputs smaller"));
    }
    let model = OnnxModel::import(&proto.encode_to_vec(), Output::default(), &Alone)?;
    let values: Vec<f32> = values_of(&numbers).collect();
    let (parts, shapes, is_folded) = lower(&model, &numbers, inputs)?;
    let mut scores = Vec::new();
    for (section, ranked) in parts {
        scores.extend(rank(&section, &values, ranked)?);
    }
    let mut scores = scores.into_iter().map(f64::from);
    let numbers = shapes.into_iter().map(|(ty, shape)| {
        let size = shape.iter().product();
        Numbers { ty, values: scores.by_ref().take(size).collect(), shape }
    });
    Ok((numbers.collect(), is_folded))
}

fn values_of(numbers: &[Numbers]) -> impl Iterator<Item = f32> {
    numbers.iter().flat_map(|numbers| &numbers.values).map(|value| *value as f32)
}

/// What the file says about shapes may be wider than what is given.
fn fix_shapes(graph: &mut GraphProto, given: &[Numbers]) {
    graph.value_info.clear();
    for (input, numbers) in graph.input.iter_mut().zip(given) {
        if let Some(type_proto::Value::TensorType(tensor)) = input.r#type.as_mut().and_then(|ty| ty.value.as_mut()) {
            let size = |size: &usize| Dimension {
                value: Some(dimension::Value::DimValue(*size as i64)),
                ..Dimension::default()
            };
            tensor.shape = Some(TensorShapeProto { dim: numbers.shape.iter().map(size).collect() });
        }
    }
}

/// A program, and how many numbers of an output it is asked for.
type Part = (Vec<u8>, usize);
type Typed = (DataType, Vec<usize>);

/// A program for each part of the outputs, and the outputs' shapes: its score is the number of its part that the last feature
/// names. Also whether all outputs are constants.
fn lower(model: &OnnxModel, given: &[Numbers], inputs: Inputs) -> Result<(Vec<Part>, Vec<Typed>, bool), CompileError> {
    let failed = |error: TractError| model.refused(&error);
    let mut parsed = model.parse(&model.proto)?.model;
    let mut known = Vec::new();
    for (outlet, numbers) in parsed.input_outlets().map_err(failed)?.iter().zip(given) {
        let ty = parsed.outlet_fact(*outlet).map_err(failed)?.datum_type.concretize();
        let name = parsed.node(outlet.node).name.clone();
        let ty = ty.unwrap_or_else(f32::datum_type);
        known.push(Known { name, ty, shape: numbers.shape.clone(), rows: None });
    }
    if let Some(decided) = model.decided(&known)? {
        parsed = model.parse(&decided)?.model;
    }
    let (typed, rows) = Known::typed(parsed, &known).map_err(failed)?;
    let typed = typed.into_decluttered().map_err(failed)?;
    let (mut bound, mut at) = (Vec::new(), 0);
    for (outlet, numbers) in typed.input_outlets().map_err(failed)?.iter().zip(given) {
        let view = features(at, numbers.shape.clone(), None, inputs == Inputs::OfRequest);
        bound.push((*outlet, Value::View(view)));
        at += numbers.values.len();
    }
    let (mut shapes, mut parts, mut is_folded) = (Vec::new(), Vec::new(), true);
    for output in typed.output_outlets().map_err(failed)? {
        let fact = typed.outlet_fact(*output).map_err(failed)?;
        is_folded &= fact.konst.is_some();
        let shape: TractResult<Vec<usize>> = fact.shape.iter().map(|dim| Ok(dim.to_usize()?)).collect();
        let shape = shape.map_err(failed)?;
        let numbers: usize = shape.iter().product();
        shapes.push((data_type(fact.datum_type)?, shape));
        // What is empty is refused by the lowering.
        for from in (0..numbers.max(1)).step_by(PART) {
            let range = from..numbers.min(from + PART);
            let lowering = Lowering::new(&typed, rows.clone());
            parts.push((lowering.run_part(bound.clone(), *output, range.clone(), at)?, range.len()));
        }
    }
    Ok((parts, shapes, is_folded))
}

/// Scores of as many candidates as there are numbers to read: all have the same features besides the last.
fn rank(section: &[u8], values: &[f32], ranked: usize) -> Result<Vec<f32>, CompileError> {
    let declared = ModelV1 { kind: ModelKindV1::Graph, link: Link::Identity };
    let model = Model::load(&declared, section, values.len() + 1)
        .map_err(|error| unsupported(format!("a bundle that is refused: {error}"), "make the model smaller"))?;
    let stride = stride(ranked);
    let mut matrix = Vec::with_capacity((values.len() + 1) * stride);
    values.iter().for_each(|value| matrix.extend(std::iter::repeat_n(*value, stride)));
    matrix.extend((0..stride).map(|row| row as f32));
    let mut scores = vec![0.0; stride];
    model.raw_scores(&matrix, stride, &mut ModelScratch::default(), &mut scores);
    scores.truncate(ranked);
    Ok(scores)
}

fn data_type(ty: DatumType) -> Result<DataType, CompileError> {
    Ok(match ty {
        DatumType::Bool => DataType::Bool,
        DatumType::U8 => DataType::Uint8,
        DatumType::U16 => DataType::Uint16,
        DatumType::U32 => DataType::Uint32,
        DatumType::U64 => DataType::Uint64,
        DatumType::I8 => DataType::Int8,
        DatumType::I16 => DataType::Int16,
        DatumType::I32 => DataType::Int32,
        DatumType::I64 | DatumType::TDim => DataType::Int64,
        DatumType::F16 => DataType::Float16,
        DatumType::F32 => DataType::Float,
        DatumType::F64 => DataType::Double,
        other => return Err(unsupported(format!("an output of type {other:?}"), "use float32, integers or booleans")),
    })
}

fn compare(found: &[Numbers], expected: &[TensorProto], absolute: f64, is_folded: bool) -> Outcome {
    if found.len() < expected.len() {
        return Outcome::Wrong(format!("{} outputs where {} are expected", found.len(), expected.len()));
    }
    let mut difference = 0.0_f64;
    for (output, (found, expected)) in found.iter().zip(expected).enumerate() {
        let expected = match Numbers::of(expected) {
            Ok(expected) => expected,
            Err(error) => return Outcome::Refused(error.message().to_owned()),
        };
        if (&found.shape, found.ty) != (&expected.shape, expected.ty) {
            let [is, was] = [found, &expected].map(|numbers| format!("{:?} {:?}", numbers.ty, numbers.shape));
            return Outcome::Wrong(format!("output {output} is {is} where {was} is expected"));
        }
        let is_float = matches!(expected.ty, DataType::Float | DataType::Double | DataType::Float16);
        for (at, (value, wanted)) in found.values.iter().zip(&expected.values).enumerate() {
            if value == wanted || (value.is_nan() && wanted.is_nan()) {
                continue;
            }
            let apart = (value - wanted).abs();
            let is_near = is_float && apart <= absolute + RELATIVE * wanted.abs();
            if !is_near {
                return Outcome::Wrong(format!("output {output}, number {at}: {value} where {wanted} is expected"));
            }
            difference = difference.max(apart / wanted.abs().max(1.0));
        }
    }
    Outcome::Equal { difference, is_folded }
}

impl Numbers {
    fn of(tensor: &TensorProto) -> Result<Self, CompileError> {
        let help = "use float32, integers or booleans";
        types::of(tensor.data_type)?;
        let ty = DataType::try_from(tensor.data_type).unwrap_or_default();
        let shape: Option<Vec<usize>> = tensor.dims.iter().map(|dim| usize::try_from(*dim).ok()).collect();
        let shape = shape.ok_or_else(|| unsupported("a negative dimension", help))?;
        let refused = || unsupported("a tensor with another number of values than its shape says", help);
        let values = if tensor.raw_data.is_empty() { typed(ty, tensor) } else { raw(ty, &tensor.raw_data) };
        let values = values.filter(|values| values.len() == shape.iter().product::<usize>()).ok_or_else(refused)?;
        if !matches!(ty, DataType::Float | DataType::Double | DataType::Float16)
            && values.iter().any(|value| value.abs() > EXACT)
        {
            return Err(unsupported("an integer beyond 2^24", help));
        }
        Ok(Self { ty, shape, values })
    }
}

fn typed(ty: DataType, tensor: &TensorProto) -> Option<Vec<f64>> {
    Some(match ty {
        DataType::Float => tensor.float_data.iter().map(|value| f64::from(*value)).collect(),
        DataType::Double => tensor.double_data.clone(),
        DataType::Int64 => tensor.int64_data.iter().map(|value| *value as f64).collect(),
        DataType::Uint32 | DataType::Uint64 => tensor.uint64_data.iter().map(|value| *value as f64).collect(),
        DataType::Float16 => {
            tensor.int32_data.iter().map(|bits| f64::from(f16::from_bits(*bits as u16).to_f32())).collect()
        }
        DataType::Bool | DataType::Int8 | DataType::Uint8 | DataType::Int16 | DataType::Uint16 | DataType::Int32 => {
            tensor.int32_data.iter().map(|value| f64::from(*value)).collect()
        }
        _ => return None,
    })
}

fn raw(ty: DataType, bytes: &[u8]) -> Option<Vec<f64>> {
    fn each<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
        bytes.as_chunks::<N>().0.iter().map(|chunk| read(*chunk)).collect()
    }
    Some(match ty {
        DataType::Float => each(bytes, |chunk| f32::from_le_bytes(chunk).into()),
        DataType::Double => each(bytes, f64::from_le_bytes),
        DataType::Float16 => each(bytes, |chunk| f16::from_le_bytes(chunk).to_f32().into()),
        DataType::Int8 => each(bytes, |chunk| i8::from_le_bytes(chunk).into()),
        DataType::Int16 => each(bytes, |chunk| i16::from_le_bytes(chunk).into()),
        DataType::Int32 => each(bytes, |chunk| i32::from_le_bytes(chunk).into()),
        DataType::Int64 => each(bytes, |chunk| i64::from_le_bytes(chunk) as f64),
        DataType::Uint8 | DataType::Bool => each(bytes, |[byte]| byte.into()),
        DataType::Uint16 => each(bytes, |chunk| u16::from_le_bytes(chunk).into()),
        DataType::Uint32 => each(bytes, |chunk| u32::from_le_bytes(chunk).into()),
        DataType::Uint64 => each(bytes, |chunk| u64::from_le_bytes(chunk) as f64),
        _ => return None,
    })
}
