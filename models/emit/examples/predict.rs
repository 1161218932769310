//! Rows of features in, scores out: a module that `selvedge compile --emit wasm` wrote, on wasmtime: docs/reference/emit.md.
use std::{env, fs, io, io::Write as _};

use wasmtime::{Engine, Instance, Module, Result, Store, ensure, format_err};

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().collect();
    let [_, module, rows] = &arguments[..] else { wasmtime::bail!("give MODULE, and rows as 1:2:3,4:5:6") };
    let row = |row: &str| row.split(':').map(str::parse).collect::<Result<Vec<f32>, _>>();
    let rows = rows.split(',').map(row).collect::<Result<Vec<_>, _>>()?;
    let scores = predict(&fs::read(module)?, rows.len() as u32, &rows.concat())?;
    let lines: String = scores.iter().map(|score| format!("{score}\n")).collect();
    Ok(io::stdout().write_all(lines.as_bytes())?)
}

pub(crate) fn predict(module: &[u8], rows: u32, values: &[f32]) -> Result<Vec<f32>> {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &Module::new(&engine, module)?, &[])?; // the bundle is loaded
    let memory = instance.get_memory(&mut store, "memory").ok_or_else(|| format_err!("no memory"))?;
    let mut matrix = [rows, values.len() as u32 / rows].map(u32::to_le_bytes).concat();
    matrix.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    let alloc = instance.get_typed_func::<u32, u32>(&mut store, "alloc")?;
    let at = alloc.call(&mut store, matrix.len() as u32)?; // once: it takes one matrix after the other
    ensure!(at != 0, "no room in the guest");
    memory.write(&mut store, at as usize, &matrix)?;
    let predict = instance.get_typed_func::<(u32, u32), u64>(&mut store, "predict")?;
    let answer = predict.call(&mut store, (at, matrix.len() as u32))?; // where in the memory, and how long
    ensure!(answer != 0, "the rows are refused: last_error says why");
    let (start, len) = ((answer >> 32) as usize, answer as u32 as usize);
    let scores = memory.data(&store).get(start..start + len).ok_or_else(|| format_err!("no answer"))?;
    Ok(scores.as_chunks().0.iter().map(|score| f32::from_le_bytes(*score)).collect())
}
