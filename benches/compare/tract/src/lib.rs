//! tract as a WebAssembly module: a session with fixed rows, as its users build one.
//!
//! A crate outside the workspace, so that nothing but the comparison builds tract for WebAssembly. It knows no workload:
//! an ONNX model comes in, scores go out. tract plans for known shapes best, so there is a plan per number of rows.

use tract_onnx::prelude::*;
use wasm_bindgen::prelude::*;

/// A plan for so many rows with its buffers, and its inputs.
#[wasm_bindgen]
pub struct Session {
    state: TypedSimpleState,
    inputs: TVec<TValue>,
    widths: Vec<usize>,
    rows: usize,
}

fn told(error: TractError) -> JsError {
    JsError::new(&format!("{error:#}"))
}

#[wasm_bindgen]
impl Session {
    /// Plans `model` for `rows` rows. An input has so many columns as `widths` says, and is of 64-bit integers where `ids` is
    /// not 0.
    #[wasm_bindgen(constructor)]
    pub fn new(model: &[u8], rows: usize, widths: Vec<usize>, ids: &[u8]) -> Result<Session, JsError> {
        let plan = || -> TractResult<_> {
            let mut model = tract_onnx::onnx().model_for_read(&mut std::io::Cursor::new(model))?;
            for (input, width) in widths.iter().enumerate() {
                let ty = if ids[input] == 0 { f32::datum_type() } else { i64::datum_type() };
                model.set_input_fact(input, InferenceFact::dt_shape(ty, [rows, *width]))?;
            }
            model.into_optimized()?.into_runnable()?.spawn()
        };
        Ok(Session { state: plan().map_err(told)?, inputs: tvec![], widths, rows })
    }

    /// The next input, of numbers.
    pub fn numbers(&mut self, values: &[f32]) -> Result<(), JsError> {
        let shape = [self.rows, self.widths[self.inputs.len()]];
        self.inputs.push(Tensor::from_shape(&shape, values).map_err(told)?.into());
        Ok(())
    }

    /// The next input, of ids.
    pub fn ids(&mut self, values: &[i64]) -> Result<(), JsError> {
        let shape = [self.rows, self.widths[self.inputs.len()]];
        self.inputs.push(Tensor::from_shape(&shape, values).map_err(told)?.into());
        Ok(())
    }

    /// Runs on the inputs that were given; the scores.
    pub fn run(&mut self) -> Result<Vec<f32>, JsError> {
        let inputs = std::mem::take(&mut self.inputs);
        let outputs = self.state.run(inputs).map_err(told)?;
        let scores = outputs[0].to_plain_array_view::<f32>().map_err(told)?;
        Ok(scores.iter().copied().collect())
    }
}
