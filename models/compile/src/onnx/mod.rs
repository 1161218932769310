//! ONNX models: parsed, typed and simplified by tract, lowered to a tensor program here.
//!
//! What a model must look like is what exporters write: the first axis of every input is the batch, which holds the
//! candidates of a request, or, as rerankers have it, a batch of one list whose candidates the second axis holds. One input
//! `[N, F]` or `[1, N, F]` takes the F declared features in their order. Of several inputs each takes the feature of its name,
//! or the features `name_0`, `name_1` and so on; ids are integer inputs. The output is the only one, or the one named `score`,
//! with one number per candidate.
//!
//! Which parts are the same for all candidates is not asked but found: a feature made of context and user alone is, and so
//! is what is computed from such features. That an embedding of the user is computed once, and not for each of five hundred
//! candidates, is what ranking services do by hand with a model in two halves.
//!
//! tract evaluates the same graph for the proof, so a mistake of the lowering cannot pass.

mod branch;
mod classic;
#[cfg(feature = "coverage")]
pub mod coverage;
mod emit;
mod external;
mod lower;
mod plan;
mod recurrent;
mod rewrite;
mod transposed;
mod types;
mod unroll;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use selvedge_format::program::{By, OpV1, ProgramV1, Scope, TableRef, TokensOf};
use selvedge_spec::FeatureSpec;
use tract_onnx::model::ParseResult;
use tract_onnx::pb::{ModelProto, NodeProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::{DimFact, Factoid};
use tract_onnx::tract_hir::internal::{DimLike, ToDim};

use crate::error::{CompileError, CompileErrorKind};
use crate::import::{Output, Siblings};
use crate::lower::lower_program;
use lower::{Lowering, Value, features as feature_view, unsupported};

/// The largest ONNX file: a bundle holds no more weights than this.
pub const MAX_ONNX_BYTES: usize = 256 << 20;
/// Most operators; exporters of ranking models write hundreds.
const MAX_NODES: usize = 20_000;
/// Output that is the score when there are several.
const SCORE: &str = "score";

/// An ONNX model that has been parsed, and not yet bound to features.
#[derive(Clone)]
pub struct OnnxModel {
    proto: Arc<ModelProto>,
    trainer: String,
}

impl std::fmt::Debug for OnnxModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnnxModel").field("trainer", &self.trainer).finish_non_exhaustive()
    }
}

impl PartialEq for OnnxModel {
    fn eq(&self, other: &Self) -> bool {
        self.proto == other.proto
    }
}

/// A lowered model beside the graph that it must agree with.
#[derive(Clone)]
pub(crate) struct BoundGraph {
    /// The weight section.
    pub(crate) section: Vec<u8>,
    /// Features of which all candidates have the same value.
    pub(crate) of_request: Vec<bool>,
    /// By feature: how many rows the smallest table has that it names a row of.
    pub(crate) ids: Vec<Option<usize>>,
    inputs: Vec<Input>,
    reference: Arc<TypedRunnableModel>,
}

impl PartialEq for BoundGraph {
    fn eq(&self, other: &Self) -> bool {
        self.section == other.section
    }
}

/// An input and the features that it takes, in their order.
#[derive(Clone, Debug)]
struct Input {
    features: Vec<usize>,
    shape: Vec<usize>,
    /// The axis of the candidates.
    rows: Option<usize>,
    ty: DatumType,
}

/// What is known of an input before tract types the graph.
#[derive(Clone, Debug)]
struct Known {
    name: String,
    ty: DatumType,
    shape: Vec<usize>,
    /// The axis of the candidates.
    rows: Option<usize>,
}

impl Known {
    /// The typed graph, and the number of its candidates.
    fn typed(mut model: InferenceModel, known: &[Self]) -> TractResult<(TypedModel, Symbol)> {
        let rows = model.symbols.sym("selvedge_candidates");
        let names: Vec<String> = model.input_outlets()?.iter().map(|at| model.node(at.node).name.clone()).collect();
        for (slot, name) in names.iter().enumerate() {
            let Some(input) = known.iter().find(|known| known.name == *name) else { continue };
            let mut shape: Vec<TDim> = input.shape.iter().map(|dim| dim.to_dim()).collect();
            if let Some(axis) = input.rows {
                shape[axis] = rows.clone().into();
            }
            model.set_input_fact(slot, InferenceFact::dt_shape(input.ty, shape))?;
        }
        Ok((model.into_typed()?, rows))
    }
}

impl OnnxModel {
    /// Parses a file, with the weights that it has in `siblings`; of the classes of a linear classifier `output` chooses.
    ///
    /// # Errors
    /// Too large, no ONNX, without a graph, or with weights in other files that cannot be read.
    pub(crate) fn import(bytes: &[u8], output: Output, siblings: &dyn Siblings) -> Result<Self, CompileError> {
        if bytes.len() > MAX_ONNX_BYTES {
            let message =
                format!("the ONNX file has {} bytes, of which at most {MAX_ONNX_BYTES} are read", bytes.len());
            return Err(CompileError::new(CompileErrorKind::TooLarge, "", message, "train smaller embeddings"));
        }
        let mut proto = reader().proto_model_for_read(&mut &*bytes).map_err(|error| {
            let help = "save the model again with `torch.onnx.export` or `onnx.save`";
            CompileError::new(CompileErrorKind::Malformed, "", format!("not an ONNX model: {error}"), help)
        })?;
        let opset = proto.opset_import.iter().find(|set| matches!(&*set.domain, "" | "ai.onnx"));
        let opset = opset.map_or(0, |set| set.version);
        let Some(graph) = &mut proto.graph else {
            let help = "save the whole model, not a part of it";
            return Err(CompileError::new(CompileErrorKind::Malformed, "graph", "the file has no graph", help));
        };
        if graph.node.len() > MAX_NODES {
            let message = format!("{} operators, of which at most {MAX_NODES} are read", graph.node.len());
            return Err(CompileError::new(CompileErrorKind::TooLarge, "graph", message, "export a smaller model"));
        }
        for tensor in &graph.initializer {
            let place = || format!("graph.initializer.{}", tensor.name);
            let size = tensor.dims.iter().try_fold(1_i64, |size, dim| size.checked_mul(*dim).filter(|size| *size >= 0));
            if size.is_none_or(|size| size > 1 << 28) {
                let message = format!("a tensor of shape {:?}", tensor.dims);
                return Err(CompileError::new(CompileErrorKind::TooLarge, place(), message, "save the model again"));
            }
        }
        external::inline(graph, bytes.len(), siblings)?;
        check_order(graph)?;
        classic::rewrite(graph, opset, output)?;
        types::check(graph)?;
        let known = reader().op_register;
        let is_known =
            |op_type: &String| known.0.contains_key(op_type) || rewrite::REPLACED.contains(&op_type.as_str());
        if let Some((at, node)) = graph.node.iter().enumerate().find(|(_, node)| !is_known(&node.op_type)) {
            let place = format!("graph.node[{at}]");
            return Err(lower::refused_operator(&node.op_type).within(&place));
        }
        rewrite::rewrite(&mut proto)?;
        let parts = ["onnx", &proto.producer_name, &proto.producer_version].map(str::trim);
        let trainer = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
        Ok(Self { trainer, proto: Arc::new(proto) })
    }

    /// Program that exported it.
    pub(crate) fn trainer(&self) -> &str {
        &self.trainer
    }

    /// Binds the inputs to declared features and lowers the graph.
    pub(crate) fn bind(&self, spec: &FeatureSpec) -> Result<BoundGraph, CompileError> {
        let program = lower_program(spec)?;
        let of_request = same_for_all(&program);
        let failed = |error: TractError| self.refused(&error);
        let mut parsed = self.parse(&self.proto)?;
        let (mut inputs, mut known) = (Vec::new(), Vec::new());
        let sources = parsed.model.input_outlets().map_err(failed)?.to_vec();
        let mut declared = Vec::with_capacity(sources.len());
        for outlet in &sources {
            let name = parsed.model.node(outlet.node).name.clone();
            let fact = parsed.model.outlet_fact(*outlet).map_err(failed)?.clone();
            let ty = fact.datum_type.concretize().unwrap_or_else(f32::datum_type);
            let dims: Option<Vec<Option<usize>>> =
                fact.shape.rank().concretize().map(|_| fact.shape.dims().map(known_size).collect());
            declared.push((name, ty, dims.unwrap_or_default()));
        }
        // A second axis that is dynamic holds a list: the first is a batch of one.
        let is_list = declared.iter().any(|(_, _, dims)| dims.get(1) == Some(&None));
        let axis = if is_list { 1 } else { 0 };
        for (name, ty, dims) in declared {
            let input = self.input(&name, (dims, axis), ty, sources.len(), spec, &of_request)?;
            known.push(Known { name, ty, shape: input.shape.clone(), rows: input.rows });
            inputs.push(input);
        }
        if let Some(decided) = self.decided(&known)? {
            parsed = self.parse(&decided)?;
        }
        let output = self.output()?;
        let output = parsed.outlets_by_name.get(output).copied();
        let output = output.ok_or_else(|| unsupported("an output that nothing computes", "export the model again"))?;
        parsed.model.select_output_outlets(&[output]).map_err(failed)?;
        let (model, rows) = Known::typed(parsed.model, &known).map_err(failed)?;
        // Before tract changes anything, so that its own mistakes show as well.
        let reference = model.clone().into_runnable().map_err(failed)?;
        let model = model.into_decluttered().map_err(failed)?;
        let score = model.output_outlets().map_err(failed)?[0];
        let lowered = Lowering::new(&model, rows);
        let bound: Vec<(OutletId, Value)> = model
            .input_outlets()
            .map_err(failed)?
            .iter()
            .zip(&inputs)
            .map(|(outlet, input)| (*outlet, input.value(&of_request)))
            .collect();
        let section = lowered.run(bound, score)?;
        let ids = ids(&self.proto, &inputs, spec.features.len());
        Ok(BoundGraph { section, of_request, ids, inputs, reference })
    }

    /// The graph as tract reads it, before anything is known about its inputs.
    fn parse(&self, proto: &ModelProto) -> Result<ParseResult, CompileError> {
        let onnx = reader().with_ignore_output_shapes(true);
        let parsed = onnx.parse(proto, None).map_err(|error| self.refused(&error))?;
        if let Some(name) = parsed.unresolved_inputs.first() {
            let message = format!("the value `{name}` is read and nothing computes it");
            return Err(CompileError::new(CompileErrorKind::Malformed, "graph", message, "export the model again"));
        }
        Ok(parsed)
    }

    /// The file without its branches and loops, if it has some.
    fn decided(&self, known: &[Known]) -> Result<Option<ModelProto>, CompileError> {
        let mut nodes = self.proto.graph.iter().flat_map(|graph| &graph.node);
        nodes.any(branch::is_decided).then(|| branch::decide(&self.proto, known)).transpose()
    }

    /// What tract refuses, with the operator of the file that it stands at.
    fn refused(&self, error: &TractError) -> CompileError {
        let help = "check the model with `onnx.checker.check_model(model, full_check=True)`, or export it otherwise";
        let (text, cause) = (format!("{error:#}"), error.root_cause().to_string());
        // A node is quoted when it is typed; when it is read, its operator is in brackets.
        let named = text.split('"').nth(1).and_then(|name| self.node_named(name));
        let read = text.strip_prefix("Building node").and_then(|rest| Some(rest.split_once('(')?.1.split_once(')')?.0));
        // A node without a name has one of tract's, with its operator after it.
        let typed = text.split('"').nth(2).and_then(|rest| rest.split_whitespace().next());
        let typed = typed.map(|operator| operator.trim_end_matches(':'));
        let message = match named.or(read).or(typed) {
            Some(operator) => format!("the operator {operator} as it is used here: {}", cause.trim_end_matches('.')),
            None => text.clone(),
        };
        CompileError::new(CompileErrorKind::Unsupported, "graph", message, help)
    }

    /// The operator of a node, or of one whose name begins so.
    fn node_named(&self, name: &str) -> Option<&str> {
        let nodes = || self.proto.graph.iter().flat_map(|graph| &graph.node);
        let names = |node: &NodeProto| node.name == name || node.output.iter().any(|output| output == name);
        let begins = |node: &NodeProto| {
            node.output.iter().chain([&node.name]).any(|output| !output.is_empty() && name.starts_with(output.as_str()))
        };
        let found = nodes().find(|node| names(node)).or_else(|| nodes().find(|node| begins(node)));
        found.map(|node| node.op_type.as_str())
    }

    fn output(&self) -> Result<&str, CompileError> {
        let outputs = self.proto.graph.iter().flat_map(|graph| &graph.output).map(|output| output.name.as_str());
        let outputs: Vec<&str> = outputs.collect();
        match outputs.as_slice() {
            [only] => Ok(only),
            several => several.iter().find(|name| **name == SCORE).copied().ok_or_else(|| {
                let message = format!("the model has the outputs {}", several.join(", "));
                unsupported(message, "name the one that ranks `score`, or export it alone").within("graph.output")
            }),
        }
    }

    fn input(
        &self,
        name: &str,
        (dims, axis): (Vec<Option<usize>>, usize),
        ty: DatumType,
        inputs: usize,
        spec: &FeatureSpec,
        of_request: &[bool],
    ) -> Result<Input, CompileError> {
        let place = format!("graph.input.{name}");
        if !ty.is_float() && !ty.is_integer() && ty != bool::datum_type() {
            let help = "inputs are float32, integers or booleans";
            return Err(unsupported(format!("an input of type {ty:?}"), help).within(&place));
        }
        // Axes before that of the candidates are a batch of one list, dynamic or not.
        let mut shape: Vec<Option<usize>> = dims;
        shape.iter_mut().take(axis).for_each(|size| *size = size.or(Some(1)));
        let rows = shape.get(axis).is_some_and(Option::is_none).then_some(axis);
        if let Some(axis) = rows {
            shape[axis] = Some(1);
        }
        let known: Option<Vec<usize>> = shape.into_iter().collect();
        let Some(shape) = known.filter(|shape| !shape.is_empty()) else {
            let help = "only the axis of the candidates may be dynamic, the first or, behind a batch of one list, the second: \
                export with `dynamic_axes={name: {0: \"batch\"}}`";
            return Err(unsupported("an input with another dynamic axis, or none", help).within(&place));
        };
        let width = shape.iter().skip(1).try_fold(1_usize, |width, dim| width.checked_mul(*dim)).unwrap_or(usize::MAX);
        let features = find(name, width, inputs, spec).map_err(|error| error.within(&place))?;
        let is_shared = features.iter().all(|feature| of_request[*feature]);
        match shape[0] {
            1 if rows.is_some() || is_shared => {}
            size => {
                let message = format!("an input with {size} rows, where the batch must be");
                let help = format!("export with `dynamic_axes={{\"{name}\": {{{axis}: \"batch\"}}}}`");
                return Err(unsupported(message, &help).within(&place));
            }
        }
        Ok(Input { features, shape, rows, ty })
    }
}

/// tract's reader, with the operators that are read here.
fn reader() -> tract_onnx::Onnx {
    let mut onnx = tract_onnx::onnx();
    onnx.op_register.insert("ConvTranspose", transposed::read);
    onnx
}

/// The size of an axis, unless it is dynamic.
fn known_size(dim: &DimFact) -> Option<usize> {
    dim.concretize().and_then(|dim| dim.to_usize().ok())
}

/// The features of an input: by its name, or all of them for the only input.
fn find(name: &str, width: usize, inputs: usize, spec: &FeatureSpec) -> Result<Vec<usize>, CompileError> {
    let position = |name: &str| spec.features.iter().position(|feature| feature.name == name);
    if width == 1
        && let Some(at) = position(name)
    {
        return Ok(vec![at]);
    }
    if width <= spec.features.len() {
        let numbered: Option<Vec<usize>> = (0..width).map(|at| position(&format!("{name}_{at}"))).collect();
        if let Some(features) = numbered {
            return Ok(features);
        }
    }
    let declared = spec.features.len();
    if inputs == 1 && width == declared {
        return Ok((0..declared).collect());
    }
    let (kind, message, help) = if inputs == 1 {
        let message = format!("the input takes {width} features and {declared} are declared");
        (CompileErrorKind::FeatureCount, message, "train on exactly the declared features, in their order".to_owned())
    } else {
        let names = if width == 1 { format!("`{name}`") } else { format!("`{name}_0` to `{name}_{}`", width - 1) };
        let message = format!("the input takes the features {names}, which are not declared");
        (CompileErrorKind::UnknownFeature, message, "declare them, or rename the input after features".to_owned())
    };
    Err(CompileError::new(kind, "", message, help))
}

/// A value may only be read after it was computed: what is not so has a cycle or a hole, and tract would not say where.
fn check_order(graph: &tract_onnx::pb::GraphProto) -> Result<(), CompileError> {
    let initial = graph.initializer.iter().map(|tensor| tensor.name.as_str());
    let inputs = graph.input.iter().map(|input| input.name.as_str());
    let mut known: BTreeSet<&str> = initial.chain(inputs).chain([""]).collect();
    for (at, node) in graph.node.iter().enumerate() {
        if let Some(name) = node.input.iter().find(|name| !known.contains(name.as_str())) {
            let message = format!(
                "`{}` reads `{name}`, which nothing before it computes: a cycle, or a part is missing",
                node.op_type
            );
            let help = "operators must be in an order in which they can be computed: save the model again";
            return Err(CompileError::new(CompileErrorKind::Malformed, format!("graph.node[{at}]"), message, help));
        }
        known.extend(node.output.iter().map(String::as_str));
    }
    Ok(())
}

impl Input {
    /// The input as a value: parts of features that lie next to each other and depend on the same.
    fn value(&self, of_request: &[bool]) -> Value {
        let rows = self.rows;
        let run = |range: &Range<usize>| {
            let first = self.features[range.start];
            let mut shape = self.shape.clone();
            if let Some(last) = shape.last_mut() {
                *last = range.len();
            }
            feature_view(first, shape, rows, of_request[first])
        };
        if self.shape.len() == 1 {
            return Value::View(run(&(0..1)));
        }
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for (at, feature) in self.features.iter().enumerate() {
            let follows =
                at > 0 && *feature == self.features[at - 1] + 1 && of_request[*feature] == of_request[*feature - 1];
            match ranges.last_mut() {
                Some(range) if follows => range.end = at + 1,
                _ => ranges.push(at..at + 1),
            }
        }
        match ranges.as_slice() {
            [all] if self.shape.len() > 2 => Value::View(feature_view(
                self.features[all.start],
                self.shape.clone(),
                rows,
                of_request[self.features[0]],
            )),
            [all] => Value::View(run(all)),
            _ => Value::Parts(ranges.iter().map(run).collect()),
        }
    }
}

/// How many rows the tables have that integer inputs are gathered from, as far as the graph shows it.
fn ids(proto: &ModelProto, inputs: &[Input], features: usize) -> Vec<Option<usize>> {
    let smallest = proto.graph.iter().flat_map(|graph| {
        let table = |name: &String| graph.initializer.iter().find(|tensor| tensor.name == *name);
        let gathers = graph.node.iter().filter(|node| node.op_type == "Gather");
        gathers.filter_map(move |node| table(node.input.first()?)?.dims.first().copied())
    });
    let smallest = smallest.filter(|rows| *rows > 1).min().and_then(|rows| usize::try_from(rows).ok());
    let mut ids = vec![None; features];
    for input in inputs.iter().filter(|input| !input.ty.is_float()) {
        input.features.iter().for_each(|feature| ids[*feature] = smallest.or(Some(2)));
    }
    ids
}

impl BoundGraph {
    /// Scores by tract's own evaluation; `matrix` holds a column of `rows` values per feature.
    pub(crate) fn reference(&self, matrix: &[f32], rows: usize) -> Result<Vec<f32>, CompileError> {
        let failed = |error: TractError| {
            let help = "the model cannot be run: check it with onnxruntime";
            CompileError::new(CompileErrorKind::Unsupported, "graph", format!("{error:#}"), help)
        };
        let mut values = TVec::new();
        for input in &self.inputs {
            let count = if input.rows.is_some() { rows } else { 1 };
            let row = |row: usize| input.features.iter().map(move |feature| matrix[feature * rows + row]);
            let all: Vec<f32> = (0..count).flat_map(row).collect();
            let mut shape = input.shape.clone();
            shape[input.rows.unwrap_or(0)] = count;
            let tensor =
                Tensor::from_shape(&shape, &all).and_then(|tensor| Ok(tensor.cast_to_dt(input.ty)?.into_owned()));
            values.push(tensor.map_err(failed)?.into_tvalue());
        }
        let outputs = self.reference.run(values).map_err(failed)?;
        let scores = outputs[0].cast_to::<f32>().map_err(failed)?;
        let scores = scores.to_plain_array_view::<f32>().map_err(failed)?;
        let scores: Vec<f32> = scores.iter().copied().collect();
        match scores.len() {
            1 => Ok(vec![scores[0]; rows]),
            found if found == rows => Ok(scores),
            found => {
                let message = format!("{found} numbers for {rows} candidates");
                Err(unsupported(message, "the output must be one number per candidate").within("graph.output"))
            }
        }
    }
}

/// Which features have one value for all candidates of a request.
fn same_for_all(program: &ProgramV1) -> Vec<bool> {
    let shared = |field: u16| program.fields[usize::from(field)].scope != Scope::Item;
    let table = |table: TableRef| program.table(table).is_some_and(|table| table.by == By::All);
    let mut same: Vec<bool> = Vec::with_capacity(program.features.len());
    for feature in &program.features {
        let is_same = match &feature.op {
            OpV1::Number { field } | OpV1::Category { field, .. } | OpV1::TimeDifference { field, .. } => {
                shared(*field)
            }
            OpV1::Bucket { fields, .. } => fields.iter().all(|field| shared(*field)),
            OpV1::LocalTime { .. } | OpV1::Candidates | OpV1::RecentItem { .. } => true,
            OpV1::Recency { table: of, .. } => table(*of),
            OpV1::Counter(counter) | OpV1::Share(counter) => table(counter.table),
            OpV1::Rate { numerator, denominator, .. } => table(numerator.table) && table(denominator.table),
            OpV1::TokenOverlap { field, with, .. } => shared(*field) && matches!(with, TokensOf::Context { .. }),
            OpV1::Combine { left, right, .. } => same[usize::from(*left)] && same[usize::from(*right)],
            OpV1::InteractedWith { by, .. } => *by == By::All,
            OpV1::Position | OpV1::ItemId { .. } => false,
        };
        same.push(is_same);
    }
    same
}
