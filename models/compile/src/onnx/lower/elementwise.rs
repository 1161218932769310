//! Functions of one value, of two, and the choice between two. What the engine has no function for is composed of those it has;
//! a bias, a scale or a function after a dense layer becomes a part of the layer.

use selvedge_format::graph::{Combination, Function};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::nn::LeakyRelu;

use super::super::emit::View;
use super::{Lowered, Lowering, Value, refuse};

impl Lowering<'_> {
    pub(super) fn binary(&mut self, node: &TypedNode, name: &str) -> Lowered<Value> {
        if let Some(view) = self.composed(node, name)? {
            return Ok(Value::View(view));
        }
        // Which function, with the operands in which order, and whether its answer is turned round.
        let (function, swapped, negated) = match name {
            "Add" => (Function::Add, false, false),
            "Sub" => (Function::Subtract, false, false),
            "SubF" => (Function::Subtract, true, false),
            "Mul" | "And" => (Function::Multiply, false, false),
            "Div" => (Function::Divide, false, false),
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

    /// Functions of two values that are composed of others: powers, and what divides whole numbers.
    fn composed(&mut self, node: &TypedNode, name: &str) -> Lowered<Option<View>> {
        let is_float = |input: &OutletId| self.model.outlet_fact(*input).is_ok_and(|fact| fact.datum_type.is_float());
        let [is_float, is_float_power] = [&node.inputs[0], &node.inputs[1]].map(is_float);
        if !(matches!(name, "Pow" | "Rem") || (name == "Div" && !is_float)) {
            return Ok(None);
        }
        let (left, right) = (self.view(node.inputs[0])?, self.view(node.inputs[1])?);
        Ok(Some(match name {
            "Div" => self.quotient(&left, &right)?,
            "Rem" => {
                let whole = self.quotient(&left, &right)?;
                let whole = self.apply(Function::Multiply, &whole, &right)?;
                self.apply(Function::Subtract, &left, &whole)?
            }
            _ => match right.values().as_deref() {
                Some([exponent]) if whole_power(*exponent) => self.power(&left, *exponent)?,
                _ if is_float_power => self.float_power(&left, &right)?,
                _ => self.integer_power(&left, &right)?,
            },
        }))
    }

    /// The quotient without its fraction: exact for whole numbers up to 2^24, whose quotient is never rounded up to the next.
    fn quotient(&mut self, left: &View, right: &View) -> Lowered<View> {
        let quotient = self.apply(Function::Divide, left, right)?;
        self.truncated(&quotient)
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
        if let Some(op) = op.0.downcast_ref::<ops::math::IsInf>() {
            return self.is_infinite(&x, op);
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
            "IsNan" => {
                let is_itself = self.apply(Function::Equal, &x, &x)?;
                self.not(&is_itself)
            }
            "Sin" => self.sine(&x, 0.0),
            // A quarter of a turn ahead.
            "Cos" => self.sine(&x, 0.5),
            _ => Err(refuse(node)),
        }
    }

    fn is_infinite(&mut self, x: &View, op: &ops::math::IsInf) -> Lowered<View> {
        let x = match (op.detect_positive, op.detect_negative) {
            (true, true) => self.unary(Function::Abs, x)?,
            (true, false) => x.clone(),
            (false, true) => self.with(Function::Multiply, x, -1.0)?,
            (false, false) => self.with(Function::Multiply, x, 0.0)?,
        };
        self.with(Function::Equal, &x, f32::INFINITY)
    }

    /// Any power that is one number: a whole one by squares.
    fn power(&mut self, x: &View, exponent: f32) -> Lowered<View> {
        if exponent == 0.5 {
            return self.unary(Function::Sqrt, x);
        }
        if !whole_power(exponent) {
            return self.float_power(x, &View::scalar(exponent, x.shape.len()));
        }
        let power = self.whole(x, exponent.abs() as usize)?;
        if exponent > 0.0 {
            return Ok(View { layer: None, ..power });
        }
        self.apply(Function::Divide, &View::scalar(1.0, x.shape.len()), &power)
    }

    fn whole(&mut self, x: &View, exponent: usize) -> Lowered<View> {
        if exponent < 2 {
            return Ok(x.clone());
        }
        let half = self.whole(x, exponent / 2)?;
        let square = self.apply(Function::Multiply, &half, &half)?;
        if exponent.is_multiple_of(2) { Ok(square) } else { self.apply(Function::Multiply, &square, x) }
    }

    /// `e^(y ln |x|)`, with the sign of an odd power; NaN for a broken power of a negative number, 1 for the power 0.
    fn float_power(&mut self, x: &View, exponent: &View) -> Lowered<View> {
        let size = self.unary(Function::Abs, x)?;
        let size = self.unary(Function::Log, &size)?;
        let size = self.apply(Function::Multiply, &size, exponent)?;
        let size = self.unary(Function::Exp, &size)?;
        let half = self.with(Function::Multiply, exponent, 0.5)?;
        let half = self.unary(Function::Floor, &half)?;
        let half = self.with(Function::Multiply, &half, 2.0)?;
        // 0 for an even power, 1 for an odd one, and between for a broken one.
        let odd = self.apply(Function::Subtract, exponent, &half)?;
        let signed = self.with(Function::Multiply, &odd, -2.0)?;
        let signed = self.with(Function::Add, &signed, 1.0)?;
        let is_whole = self.unary(Function::Abs, &signed)?;
        let is_whole = self.with(Function::Equal, &is_whole, 1.0)?;
        // 1 by 1, and 0 by 0 where the power is broken.
        let sign = self.apply(Function::Multiply, &signed, &is_whole)?;
        let sign = self.apply(Function::Divide, &sign, &is_whole)?;
        let negative = self.apply(Function::Multiply, &size, &sign)?;
        let is_negative = self.with(Function::Less, x, 0.0)?;
        let out = self.selected_over(&is_negative, &negative, &size)?;
        let is_none = self.with(Function::Equal, exponent, 0.0)?;
        self.selected_over(&is_none, &View::scalar(1.0, x.shape.len()), &out)
    }

    /// A power of whole numbers by squares, which is exact as long as the result is; powers from 0 to 31.
    fn integer_power(&mut self, x: &View, exponent: &View) -> Lowered<View> {
        let one = View::scalar(1.0, x.shape.len());
        let (mut power, mut square, mut rest) = (one.clone(), x.clone(), exponent.clone());
        for _ in 0..5 {
            let half = self.with(Function::Multiply, &rest, 0.5)?;
            let half = self.unary(Function::Floor, &half)?;
            let twice = self.apply(Function::Add, &half, &half)?;
            let bit = self.apply(Function::Subtract, &rest, &twice)?;
            let factor = self.selected_over(&bit, &square, &one)?;
            power = self.apply(Function::Multiply, &power, &factor)?;
            square = self.apply(Function::Multiply, &square, &square)?;
            rest = half;
        }
        Ok(power)
    }

    /// `then` where `condition` is not 0, else `other`.
    pub(super) fn selected_over(&mut self, condition: &View, then: &View, other: &View) -> Lowered<View> {
        let views = [condition, then, other];
        let size = |axis: usize| views.iter().map(|view| view.shape[axis]).max().unwrap_or(1);
        let shape: Vec<usize> = (0..then.shape.len()).map(size).collect();
        let of_candidates = views.iter().any(|view| view.is_of_candidates());
        let rows = views.iter().find_map(|view| view.rows);
        let out = self.emitter.allocate(of_candidates, &shape, rows);
        self.emitter.copy(&out, &other.broadcast(&shape))?;
        let (condition, then) = (condition.broadcast(&shape), then.broadcast(&shape));
        self.emitter.each(Function::Left, Combination::Select, &out, &condition, &then)?;
        Ok(out)
    }

    /// The sine: the angle is brought into half a turn around 0, whose series is short.
    fn sine(&mut self, x: &View, ahead: f32) -> Lowered<View> {
        let turns = self.with(Function::Multiply, x, std::f32::consts::FRAC_1_PI)?;
        let turns = self.with(Function::Add, &turns, ahead)?;
        let turns = self.unary(Function::Round, &turns)?;
        let back = self.with(Function::Add, &turns, -ahead)?;
        // Pi as three numbers of few bits: their products with a small whole number are exact.
        let mut angle = x.clone();
        for part in [3.140_625, 9.675_026e-4, 1.509_958e-7] {
            let by = self.with(Function::Multiply, &back, part)?;
            angle = self.apply(Function::Subtract, &angle, &by)?;
        }
        let square = self.apply(Function::Multiply, &angle, &angle)?;
        let mut series = self.with(Function::Multiply, &square, -2.505_210_8e-8)?;
        for factor in [2.755_731_9e-6, -1.984_127e-4, 8.333_333e-3, -0.166_666_67] {
            series = self.with(Function::Add, &series, factor)?;
            series = self.apply(Function::Multiply, &series, &square)?;
        }
        let series = self.with(Function::Add, &series, 1.0)?;
        let sine = self.apply(Function::Multiply, &angle, &series)?;
        // Every half turn changes the sign.
        let pairs = self.with(Function::Multiply, &turns, 0.5)?;
        let pairs = self.unary(Function::Floor, &pairs)?;
        let pairs = self.apply(Function::Add, &pairs, &pairs)?;
        let odd = self.apply(Function::Subtract, &turns, &pairs)?;
        let sign = self.with(Function::Multiply, &odd, -2.0)?;
        let sign = self.with(Function::Add, &sign, 1.0)?;
        self.apply(Function::Multiply, &sine, &sign)
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
        self.truncated(&x)
    }

    /// Without its fraction.
    fn truncated(&mut self, x: &View) -> Lowered<View> {
        let size = self.unary(Function::Abs, x)?;
        let out = self.unary(Function::Floor, &size)?;
        let (is_below, negative) = (self.with(Function::Less, x, 0.0)?, self.with(Function::Multiply, &out, -1.0)?);
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

/// A power that is a few multiplications.
fn whole_power(exponent: f32) -> bool {
    exponent == 0.5 || (exponent.fract() == 0.0 && (1.0..=64.0).contains(&exponent.abs()))
}
