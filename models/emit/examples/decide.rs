//! A whole host of a module that `selvedge compile --emit wasm` wrote, on wasmtime: docs/reference/emit.md.
use std::{env, fs, io, io::Write as _};

use wasmtime::{Engine, Instance, Memory, Module, Result, Store, ensure, format_err};

fn main() -> Result<()> {
    let files = env::args().skip(1).map(fs::read).collect::<io::Result<Vec<_>>>()?;
    let [module, request, ..] = &files[..] else { wasmtime::bail!("give MODULE REQUEST [SHARED]") };
    Ok(io::stdout().write_all(&decide(module, request, files.get(2).map(Vec::as_slice))?)?)
}

pub(crate) fn decide(module: &[u8], request: &[u8], shared: Option<&[u8]>) -> Result<Vec<u8>> {
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &Module::new(&engine, module)?, &[])?; // the bundle is loaded
    let memory = instance.get_memory(&mut store, "memory").ok_or_else(|| format_err!("no memory"))?;
    if let Some(shared) = shared {
        let at = put(&mut store, &instance, &memory, shared)?;
        let load = instance.get_typed_func::<(u32, u32), u32>(&mut store, "load")?;
        ensure!(load.call(&mut store, (at, shared.len() as u32))? == 0, "the shared state is refused");
    }
    let at = put(&mut store, &instance, &memory, request)?;
    let decide = instance.get_typed_func::<(u32, u32), u64>(&mut store, "decide")?;
    let answer = decide.call(&mut store, (at, request.len() as u32))?; // where in the memory, and how long
    let (start, len) = ((answer >> 32) as usize, answer as u32 as usize);
    memory.data(&store).get(start..start + len).map(<[u8]>::to_vec).ok_or_else(|| format_err!("no answer"))
}

fn put(store: &mut Store<()>, instance: &Instance, memory: &Memory, bytes: &[u8]) -> Result<u32> {
    let alloc = instance.get_typed_func::<u32, u32>(&mut *store, "alloc")?;
    let at = alloc.call(&mut *store, bytes.len() as u32)?;
    ensure!(at != 0, "no room in the guest");
    memory.write(store, at as usize, bytes)?;
    Ok(at)
}
