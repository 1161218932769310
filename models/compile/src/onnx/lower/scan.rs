//! Loops over an axis of known length: each turn is lowered, one after the other.
//!
//! A loop in the program would need a counter and places that depend on it; the lengths of histories are known when a model is
//! exported, so the turns are written out, and share their weights and their memory. A turn whose input and state are the
//! same for all candidates is done once per request: that is how the interest extractor of a DIEN (Zhou et al., 2019)
//! costs nothing per candidate, while its attention's loop does.
//!
//! tract reads GRU, LSTM and RNN as a loop whose body is a cell, or a GRU as an operator of its own. Gates are in the order
//! of ONNX: z, r, h of a GRU, i, o, f, c of an LSTM.

use std::collections::HashMap;
use std::mem;

use selvedge_format::graph::Function;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::gru_seq::GruSeq;
use tract_onnx::tract_core::ops::scan::{InputMapping, Scan};

use super::super::emit::{View, count};
use super::linear::{Linear, Term};
use super::list::pairs;
use super::{ACROSS, Lowered, Lowering, Value, permuted, refuse, unsupported};

/// Most turns of a loop.
const MAX_TURNS: usize = 512;

impl<'m> Lowering<'m> {
    pub(super) fn scan(&mut self, node: &'m TypedNode, op: &'m Scan) -> Lowered<Vec<Value>> {
        let inputs = node.inputs.iter().map(|input| self.view(*input)).collect::<Lowered<Vec<_>>>()?;
        let turns = turns(&inputs, &op.input_mapping)?;
        let (outer, outer_values) = (mem::replace(&mut self.model, &op.body), mem::take(&mut self.values));
        let (outer_groups, outer_sums) = (mem::take(&mut self.groups), mem::take(&mut self.sums));
        let mut states: Vec<View> = inputs
            .iter()
            .zip(&op.input_mapping)
            .filter(|(_, mapping)| mapping.is_state())
            .map(|(view, _)| view.clone())
            .collect();
        let mut made: Vec<Vec<View>> = Vec::with_capacity(turns);
        for turn in 0..turns {
            let outputs = self.turn(&op.body, &op.input_mapping, &inputs, &states, turn)?;
            let kept = outputs.iter().zip(&op.output_mapping).filter(|(_, mapping)| mapping.state);
            states = kept.map(|(view, _)| view.clone()).collect();
            made.push(outputs);
            self.emitter.bounded()?;
        }
        (self.model, self.values) = (outer, outer_values);
        (self.groups, self.sums) = (outer_groups, outer_sums);
        let mut values: Vec<Option<Value>> = vec![None; node.outputs.len()];
        for (at, mapping) in op.output_mapping.iter().enumerate() {
            if let (Some(slot), Some(last)) = (mapping.last_value_slot, made.last()) {
                values[slot] = Some(Value::View(last[at].clone()));
            }
            if let Some((slot, info)) = mapping.scan {
                let mut parts: Vec<View> = made.iter().map(|outputs| outputs[at].clone()).collect();
                if info.chunk < 0 {
                    parts.reverse();
                }
                let (shape, rows) = self.shape(OutletId::new(node.id, slot))?;
                values[slot] = Some(Value::View(self.side_by_side(&parts, info.axis, &shape, rows)?));
            }
        }
        values.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| refuse(node))
    }

    /// The outputs of one turn. What the body has learnt is kept for the next.
    fn turn(
        &mut self,
        body: &'m TypedModel,
        mappings: &[InputMapping],
        inputs: &[View],
        states: &[View],
        turn: usize,
    ) -> Lowered<Vec<View>> {
        self.values.retain(|outlet, _| body.outlet_fact(*outlet).is_ok_and(|fact| fact.konst.is_some()));
        self.groups = HashMap::new();
        self.sums = HashMap::new();
        let failed = |error: TractError| unsupported(format!("{error}"), "export the model again");
        let mut states = states.iter();
        let mut bound = Vec::new();
        for ((outlet, mapping), view) in body.input_outlets().map_err(failed)?.iter().zip(mappings).zip(inputs) {
            let value = match mapping {
                InputMapping::Full => view.clone(),
                InputMapping::State => states.next().unwrap_or(view).clone(),
                InputMapping::Scan(info) => {
                    let chunk = info.chunk.unsigned_abs();
                    let last = view.shape[info.axis] - chunk;
                    view.slice(info.axis, if info.chunk < 0 { last - turn * chunk } else { turn * chunk }, chunk)
                }
            };
            let (shape, rows) = self.shape(*outlet)?;
            if value.shape != shape {
                return Err(unsupported("a loop whose values change their shape", "export the model again"));
            }
            bound.push((*outlet, Value::View(View { rows, layer: None, ..value })));
        }
        self.nodes(bound)?;
        body.output_outlets().map_err(failed)?.iter().map(|outlet| self.view(*outlet)).collect()
    }

    fn side_by_side(&mut self, parts: &[View], axis: usize, shape: &[usize], rows: Option<usize>) -> Lowered<View> {
        let out = self.emitter.allocate(parts.iter().any(View::is_of_candidates), shape, rows);
        let mut at = 0;
        for part in parts {
            self.emitter.copy(&out.slice(axis, at, part.shape[axis]), part)?;
            at += part.shape[axis];
        }
        Ok(out)
    }

    /// A GRU whose reset gate comes after the recurrent product, over a whole sequence.
    pub(super) fn gru(&mut self, node: &'m TypedNode, op: &GruSeq) -> Lowered<Vec<Value>> {
        let inputs = node.inputs.iter().map(|input| self.view(*input)).collect::<Lowered<Vec<_>>>()?;
        let hidden = op.hidden;
        let (x, first) = (&inputs[0], &inputs[inputs.len() - 1]);
        let recurrent = usize::from(!op.projected) + 1;
        let bias = if op.has_bias { inputs[recurrent + 1].values() } else { Some(vec![0.0; 6 * hidden]) };
        let bias = bias.ok_or_else(|| refuse(node))?;
        // The state's biases of the first two gates are added to the input's, once.
        let (of_gates, of_inner) = (&bias[3 * hidden..5 * hidden], &bias[5 * hidden..]);
        let early: Vec<f32> = of_gates.iter().copied().chain(vec![0.0; hidden]).collect();
        let late: Vec<f32> = vec![0.0; 2 * hidden].into_iter().chain(of_inner.iter().copied()).collect();
        let x = if op.projected {
            self.apply(Function::Add, x, &View::constant(early, vec![1, 1, 3 * hidden]))?
        } else {
            let bias: Vec<f32> = bias.iter().zip(&early).map(|(bias, early)| bias + early).collect();
            self.projected(node, x, &inputs[1], &bias)?
        };
        let weights = learnt(node, &inputs[recurrent])?;
        let turns = x.shape[1];
        bounded(turns)?;
        let mut state =
            View { shape: vec![first.shape[0], hidden], strides: vec![0, first.strides[2]], ..first.clone() };
        let mut made = Vec::with_capacity(turns);
        for turn in 0..turns {
            let at = if op.chunk < 0 { turns - 1 - turn } else { turn };
            let x = permuted(&x.slice(1, at, 1), &[0, 2]);
            let term = Term { input: View { rows: None, layer: None, ..state.clone() }, weights: weights.clone() };
            let sum = Linear::new(vec![term], &[1, 3 * hidden], 1, None).with_bias(&late);
            state = self.gru_turn(Value::View(x), Value::Linear(sum), &state, hidden)?;
            made.push(View { shape: vec![1, 1, hidden], strides: vec![0, 0, 1], ..state.clone() });
        }
        let (shape, rows) = self.shape(OutletId::new(node.id, 1))?;
        let last = made.last().cloned().ok_or_else(|| refuse(node))?;
        let last = Value::View(View { shape, rows, ..last });
        let all = if op.emit_y {
            let (shape, rows) = self.shape(OutletId::new(node.id, 0))?;
            if op.chunk < 0 {
                made.reverse();
            }
            Value::View(self.side_by_side(&made, 1, &shape, rows)?)
        } else {
            last.clone()
        };
        Ok(vec![all, last])
    }

    /// What the input adds to all gates of all turns.
    fn projected(&mut self, node: &TypedNode, x: &View, weights: &View, bias: &[f32]) -> Lowered<View> {
        let weights = learnt(node, weights)?;
        let mut shape = x.shape.clone();
        shape[2] = bias.len();
        let term = Term { input: View { rows: None, layer: None, ..x.clone() }, weights };
        self.compute(&Linear::new(vec![term], &shape, 2, x.rows).with_bias(bias), None)
    }

    pub(super) fn gru_cell(&mut self, node: &TypedNode, hidden: usize) -> Lowered<Value> {
        let [x, sum] = [0, 1].map(|input| self.values[&node.inputs[input]].clone());
        let state = self.view(node.inputs[2])?;
        let (_, rows) = self.shape(node.id.into())?;
        Ok(Value::View(View { rows, ..self.gru_turn(x, sum, &state, hidden)? }))
    }

    /// `h + z (state - h)` with `z, r = sigmoid(x + sum)` and `h = tanh(x + r sum)`, of the input's gates and the state's.
    fn gru_turn(&mut self, x: Value, sum: Value, state: &View, hidden: usize) -> Lowered<View> {
        let gates = self.added(&cut(&x, 0, 2 * hidden), &cut(&sum, 0, 2 * hidden))?;
        let gates = self.activated(&gates, Function::Sigmoid)?;
        let axis = gates.shape.len() - 1;
        let (keep, reset) = (gates.slice(axis, 0, hidden), gates.slice(axis, hidden, hidden));
        let sum = self.of(&cut(&sum, 2 * hidden, hidden))?;
        let x = self.of(&cut(&x, 2 * hidden, hidden))?;
        let inner = self.apply(Function::Multiply, &reset, &sum)?;
        let inner = self.apply(Function::Add, &x, &inner)?;
        let inner = self.unary(Function::Tanh, &inner)?;
        let change = self.apply(Function::Subtract, state, &inner)?;
        let change = self.apply(Function::Multiply, &keep, &change)?;
        self.apply(Function::Add, &inner, &change)
    }

    /// The hidden and the cell's state of an LSTM.
    pub(super) fn lstm_cell(&mut self, node: &TypedNode, hidden: usize) -> Lowered<Vec<Value>> {
        let sum = self.values[&node.inputs[0]].clone();
        let before = self.view(node.inputs[1])?;
        let gates = self.of(&cut(&sum, 0, 3 * hidden))?;
        let gates = self.activated(&gates, Function::Sigmoid)?;
        let inner = self.of(&cut(&sum, 3 * hidden, hidden))?;
        let inner = self.activated(&inner, Function::Tanh)?;
        let axis = gates.shape.len() - 1;
        let [input, output, forget] = [0, 1, 2].map(|at| gates.slice(axis, at * hidden, hidden));
        let kept = self.apply(Function::Multiply, &forget, &before)?;
        let added = self.apply(Function::Multiply, &input, &inner)?;
        let cell = self.apply(Function::Add, &kept, &added)?;
        let shown = self.unary(Function::Tanh, &cell)?;
        let state = self.apply(Function::Multiply, &output, &shown)?;
        let (_, rows) = self.shape(node.id.into())?;
        Ok([state, cell].map(|view| Value::View(View { rows, ..view })).to_vec())
    }

    /// A layer with its function, in one step if it has none yet. Nothing else may read it.
    fn activated(&mut self, view: &View, function: Function) -> Lowered<View> {
        if view.layer.as_ref().is_some_and(|layer| self.emitter.activate(layer, function)) {
            return Ok(view.clone());
        }
        self.unary(function, view)
    }

    fn of(&mut self, value: &Value) -> Lowered<View> {
        match value {
            Value::View(view) => Ok(view.clone()),
            Value::Linear(linear) => self.compute(linear, None),
            Value::Parts(parts) => self.join(parts),
            Value::Meeting(_) => Err(pairs()),
        }
    }

    fn added(&mut self, left: &Value, right: &Value) -> Lowered<View> {
        match (left, right) {
            (Value::Linear(left), Value::Linear(right)) => self.compute(&left.clone().plus(right.clone()), None),
            (Value::View(start), Value::Linear(sum)) | (Value::Linear(sum), Value::View(start)) if !sum.has_bias() => {
                self.compute(sum, Some(start.clone()))
            }
            _ => {
                let (left, right) = (self.of(left)?, self.of(right)?);
                self.apply(Function::Add, &left, &right)
            }
        }
    }
}

/// How many turns a loop has.
fn turns(inputs: &[View], mappings: &[InputMapping]) -> Lowered<usize> {
    let mut turns = None;
    for (view, mapping) in inputs.iter().zip(mappings) {
        let Some(info) = mapping.as_scan() else { continue };
        if view.rows == Some(info.axis) {
            return Err(unsupported("a loop over the candidates", ACROSS));
        }
        let (length, chunk) = (view.shape[info.axis], info.chunk.unsigned_abs());
        if length % chunk != 0 || turns.is_some_and(|turns| turns != length / chunk) {
            return Err(unsupported("a loop whose last turn is shorter", "export the model again"));
        }
        turns = Some(length / chunk);
    }
    let turns = turns.ok_or_else(|| unsupported("a loop over nothing", "export the model again"))?;
    bounded(turns).map(|()| turns)
}

fn bounded(turns: usize) -> Lowered<()> {
    if turns <= MAX_TURNS {
        return Ok(());
    }
    let message = format!("a loop of {turns} turns, of which at most {MAX_TURNS} are written out");
    Err(unsupported(message, "export the model with a shorter sequence"))
}

/// Some outputs of a value, by its last axis.
fn cut(value: &Value, start: usize, len: usize) -> Value {
    match value {
        Value::View(view) => Value::View(view.slice(view.shape.len() - 1, start, len)),
        Value::Linear(linear) => Value::Linear(linear.slice(start, len)),
        Value::Parts(_) | Value::Meeting(_) => value.clone(),
    }
}

/// Weights `[outputs][inputs]` as a layer has them.
fn learnt(node: &TypedNode, weights: &View) -> Lowered<Vec<f32>> {
    let rank = weights.shape.len();
    let by_input: Vec<usize> = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
    let values = permuted(weights, &by_input).values();
    values.filter(|values| values.len() == count(&weights.shape)).ok_or_else(|| refuse(node))
}
