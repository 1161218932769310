//! Functions of one value, of two, and the choice between two. What the engine has no function for is composed of those it has;
//! a bias, a scale or a function after a dense layer becomes a part of the layer.

use selvedge_format::graph::{Combination, Function};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::nn::LeakyRelu;

use super::super::emit::View;
use super::{Lowered, Lowering, Value, refuse, unsupported};

impl Lowering<'_> {
    pub(super) fn binary(&mut self, node: &TypedNode, name: &str) -> Lowered<Value> {
        // Which function, with the operands in which order, and whether its answer is turned round.
        if name == "Pow" {
            let exponent = self.view(node.inputs[1])?.values().filter(|values| values.len() == 1);
            let x = self.view(node.inputs[0])?;
            let exponent = exponent.and_then(|values| values.first().copied()).ok_or_else(|| refuse(node))?;
            return self.power(&x, exponent).map(Value::View);
        }
        let (function, swapped, negated) = match name {
            "Add" => (Function::Add, false, false),
            "Sub" => (Function::Subtract, false, false),
            "SubF" => (Function::Subtract, true, false),
            "Mul" | "And" => (Function::Multiply, false, false),
            "Div" if self.model.outlet_fact(node.id.into()).is_ok_and(|fact| fact.datum_type.is_float()) => {
                (Function::Divide, false, false)
            }
            "Max" | "Or" => (Function::Max, false, false),
            "Min" => (Function::Min, false, false),
            "LT" => (Function::Less, false, false),
            "GT" => (Function::Less, true, false),
            "Eq" => (Function::Equal, false, false),
            "NE" | "Xor" => (Function::Equal, false, true),
            "LTE" => (Function::Less, true, true),
            "GTE" => (Function::Less, false, true),
            _ => return Err(refuse(node)),
        };
        let (first, second) = if swapped { (1, 0) } else { (0, 1) };
        if !negated && let Some(sum) = self.binary_of_sums(node, function, (first, second))? {
            return Ok(Value::Linear(sum));
        }
        if let Some(value) = self.by_parts(node, function, (first, second), negated)? {
            return Ok(value);
        }
        let (left, right) = (self.view(node.inputs[first])?, self.view(node.inputs[second])?);
        if !negated && let Some(fused) = self.fuse(node, function, (first, &left), (second, &right)) {
            return Ok(Value::View(fused));
        }
        let view = self.apply(function, &left, &right)?;
        if matches!(function, Function::Add | Function::Subtract) {
            let parts = [(left, false), (right, function == Function::Subtract)];
            self.sums.insert(node.id.into(), parts.map(|(part, is_less)| (part.broadcast(&view.shape), is_less)));
        }
        Ok(Value::View(if negated { self.not(&view)? } else { view }))
    }

    /// What is done to parts with a constant is done to each.
    pub(super) fn by_parts(
        &mut self,
        node: &TypedNode,
        function: Function,
        (first, second): (usize, usize),
        negated: bool,
    ) -> Lowered<Option<Value>> {
        let values = [&self.values[&node.inputs[first]], &self.values[&node.inputs[second]]];
        let (parts, constant, is_first) = match values {
            [Value::Parts(parts), Value::View(view)] if view.is_constant() => (parts.clone(), view.clone(), true),
            [Value::View(view), Value::Parts(parts)] if view.is_constant() => (parts.clone(), view.clone(), false),
            _ => return Ok(None),
        };
        let (shape, _) = self.shape(node.id.into())?;
        let last = shape.len() - 1;
        let mut at = 0;
        let mut lowered = Vec::new();
        for part in &parts {
            let size = part.shape[last];
            let beside = constant.broadcast(&shape).slice(last, at, size);
            let (left, right) = if is_first { (part, &beside) } else { (&beside, part) };
            let view = self.apply(function, left, right)?;
            lowered.push(if negated { self.not(&view)? } else { view });
            at += size;
        }
        Ok(Some(Value::Parts(lowered)))
    }

    /// A rectifier becomes the function of the dense layer before it.
    pub(super) fn fuse(
        &mut self,
        node: &TypedNode,
        function: Function,
        (first, left): (usize, &View),
        (second, right): (usize, &View),
    ) -> Option<View> {
        let (view, constant, input) = match (&left.layer, &right.layer) {
            (Some(_), None) => (left, right, first),
            (None, Some(_)) => (right, left, second),
            _ => return None,
        };
        let is_zero = |values: Vec<f32>| values.iter().all(|value| *value == 0.0);
        let is_rectifier = function == Function::Max && constant.values().is_some_and(is_zero);
        let fuses = is_rectifier && self.is_sole_reader(node, input);
        let fused = fuses && view.layer.as_ref().is_some_and(|layer| self.emitter.activate(layer, Function::Max));
        fused.then(|| view.clone())
    }

    /// A function of two views of one rank, broadcast to each other.
    pub(super) fn apply(&mut self, function: Function, left: &View, right: &View) -> Lowered<View> {
        let shape: Vec<usize> = left.shape.iter().zip(&right.shape).map(|(left, right)| *left.max(right)).collect();
        let of_candidates = left.is_of_candidates() || right.is_of_candidates();
        let out = self.emitter.allocate(of_candidates, &shape, left.rows.or(right.rows));
        let (left, right) = (left.broadcast(&shape), right.broadcast(&shape));
        self.emitter.each(function, Combination::Store, &out, &left, &right)?;
        Ok(out)
    }

    pub(super) fn unary(&mut self, function: Function, view: &View) -> Lowered<View> {
        self.apply(function, view, view)
    }

    pub(super) fn with(&mut self, function: Function, view: &View, value: f32) -> Lowered<View> {
        self.apply(function, view, &View::scalar(value, view.shape.len()))
    }

    pub(super) fn not(&mut self, view: &View) -> Lowered<View> {
        let one = View::scalar(1.0, view.shape.len());
        self.apply(Function::Subtract, &one, view)
    }

    pub(super) fn element_wise(&mut self, node: &TypedNode, op: &ElementWiseOp) -> Lowered<View> {
        let x = self.view(node.inputs[0])?;
        let activation = match op.0.name().as_str() {
            "Sigmoid" => Some(Function::Sigmoid),
            "Tanh" => Some(Function::Tanh),
            "Exp" => Some(Function::Exp),
            "Ln" => Some(Function::Log),
            "Sqrt" => Some(Function::Sqrt),
            "Abs" => Some(Function::Abs),
            "Floor" => Some(Function::Floor),
            "RoundHalfToEven" => Some(Function::Round),
            "Erf" => Some(Function::Erf),
            _ => None,
        };
        if let Some(function) = activation {
            let fuses = x.layer.as_ref().filter(|_| self.is_sole_reader(node, 0));
            if fuses.is_some_and(|layer| self.emitter.activate(layer, function)) {
                return Ok(x);
            }
            return self.unary(function, &x);
        }
        if let Some(LeakyRelu { alpha }) = op.0.downcast_ref::<LeakyRelu>() {
            let low = self.with(Function::Min, &x, 0.0)?;
            let (low, high) = (self.with(Function::Multiply, &low, *alpha)?, self.with(Function::Max, &x, 0.0)?);
            return self.apply(Function::Add, &high, &low);
        }
        if let Some(power) = op.0.downcast_ref::<ops::math::PowConst>() {
            return self.power(&x, power.exponent);
        }
        if let Some(gelu) = op.0.downcast_ref::<ops::nn::gelu_approximate::GeluApproximate>() {
            return self.gelu(&x, if gelu.fast_impl { 2.0 } else { 3.0 });
        }
        let one = View::scalar(1.0, x.shape.len());
        match op.0.name().as_str() {
            "Neg" => self.with(Function::Multiply, &x, -1.0),
            "Square" => self.apply(Function::Multiply, &x, &x),
            "Recip" => self.apply(Function::Divide, &one, &x),
            "Rsqrt" => {
                let root = self.unary(Function::Sqrt, &x)?;
                self.apply(Function::Divide, &one, &root)
            }
            "Ceil" => {
                let below = self.with(Function::Multiply, &x, -1.0)?;
                let below = self.unary(Function::Floor, &below)?;
                self.with(Function::Multiply, &below, -1.0)
            }
            "Sign" => {
                let (above, below) = (self.with(Function::Max, &x, 0.0)?, self.with(Function::Min, &x, 0.0)?);
                let zero = View::scalar(0.0, x.shape.len());
                let (above, below) =
                    (self.apply(Function::Less, &zero, &above)?, self.apply(Function::Less, &below, &zero)?);
                self.apply(Function::Subtract, &above, &below)
            }
            "HardSwish" => {
                let gate = self.with(Function::Add, &x, 3.0)?;
                let gate = self.with(Function::Max, &gate, 0.0)?;
                let gate = self.with(Function::Min, &gate, 6.0)?;
                let gate = self.with(Function::Multiply, &gate, 1.0 / 6.0)?;
                self.apply(Function::Multiply, &x, &gate)
            }
            "Silu" => {
                let gate = self.unary(Function::Sigmoid, &x)?;
                self.apply(Function::Multiply, &x, &gate)
            }
            "GeluExact" => {
                let gate = self.with(Function::Multiply, &x, std::f32::consts::FRAC_1_SQRT_2)?;
                let gate = self.unary(Function::Erf, &gate)?;
                let gate = self.with(Function::Add, &gate, 1.0)?;
                let gate = self.with(Function::Multiply, &gate, 0.5)?;
                self.apply(Function::Multiply, &x, &gate)
            }
            "Not" => self.not(&x),
            _ => Err(refuse(node)),
        }
    }

    /// A whole power by multiplications, or a square root.
    pub(super) fn power(&mut self, x: &View, exponent: f32) -> Lowered<View> {
        if exponent == 0.5 {
            return self.unary(Function::Sqrt, x);
        }
        if exponent.fract() != 0.0 || !(1.0..=8.0).contains(&exponent) {
            let help = "powers are whole numbers from 1 to 8, or one half: transform the feature before";
            return Err(unsupported(format!("the power {exponent}"), help));
        }
        let mut power = x.clone();
        for _ in 1..exponent as usize {
            power = self.apply(Function::Multiply, &power, x)?;
        }
        Ok(View { layer: None, ..power })
    }

    /// The Gaussian linear unit in its approximation by the hyperbolic tangent.
    pub(super) fn gelu(&mut self, x: &View, exponent: f32) -> Lowered<View> {
        let inner = self.power(x, exponent)?;
        let inner = self.with(Function::Multiply, &inner, 0.044_715)?;
        let inner = self.apply(Function::Add, x, &inner)?;
        let inner = self.with(Function::Multiply, &inner, 0.797_884_6)?;
        let inner = self.unary(Function::Tanh, &inner)?;
        let inner = self.with(Function::Add, &inner, 1.0)?;
        let inner = self.with(Function::Multiply, &inner, 0.5)?;
        self.apply(Function::Multiply, x, &inner)
    }

    /// Integers and booleans are floats here: only a float loses its fraction.
    pub(super) fn cast(&mut self, node: &TypedNode, to: DatumType) -> Lowered<View> {
        let x = self.view(node.inputs[0])?;
        let from = self.model.outlet_fact(node.inputs[0]).map_or(to, |fact| fact.datum_type);
        if to == bool::datum_type() && from != to {
            let is_zero = self.with(Function::Equal, &x, 0.0)?;
            return self.not(&is_zero);
        }
        if !from.is_float() || to.is_float() {
            return Ok(x);
        }
        let size = self.unary(Function::Abs, &x)?;
        let out = self.unary(Function::Floor, &size)?;
        let (is_below, negative) = (self.with(Function::Less, &x, 0.0)?, self.with(Function::Multiply, &out, -1.0)?);
        self.emitter.each(Function::Left, Combination::Select, &out, &is_below, &negative)?;
        Ok(out)
    }

    pub(super) fn choose(&mut self, node: &TypedNode) -> Lowered<View> {
        let views = node.inputs.iter().map(|input| self.view(*input)).collect::<Lowered<Vec<_>>>()?;
        let (shape, rows) = self.shape(node.id.into())?;
        let [condition, then, other] = views.as_slice() else { return Err(refuse(node)) };
        let out = self.emitter.allocate(views.iter().any(View::is_of_candidates), &shape, rows);
        self.emitter.copy(&out, &other.broadcast(&shape))?;
        let (condition, then) = (condition.broadcast(&shape), then.broadcast(&shape));
        self.emitter.each(Function::Left, Combination::Select, &out, &condition, &then)?;
        Ok(out)
    }
}
