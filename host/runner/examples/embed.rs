//! A whole host of the guest module on wasmtime alone, with fuel and a memory cap: docs/guide/embedding.md.
use std::{env, fs, io, io::Write as _};

use wasmtime::{Config, Engine, Instance, Memory, Module, Result, Store, StoreLimits, StoreLimitsBuilder};
use wasmtime::{WasmParams, WasmResults, bail, ensure, format_err};

const FUEL: u64 = 20_000_000_000; // of one call, about one per instruction
const MEMORY: usize = 512 << 20;

struct Guest {
    store: Store<StoreLimits>,
    instance: Instance,
    memory: Memory,
}

impl Guest {
    fn start(wasm: &[u8]) -> Result<Self> {
        let engine = Engine::new(Config::new().consume_fuel(true).wasm_relaxed_simd(false))?;
        let mut store = Store::new(&engine, StoreLimitsBuilder::new().memory_size(MEMORY).build());
        store.limiter(|limits| limits);
        store.set_fuel(FUEL)?;
        let instance = Instance::new(&mut store, &Module::new(&engine, wasm)?, &[])?; // the guest imports nothing
        let memory = instance.get_memory(&mut store, "memory").ok_or_else(|| format_err!("no memory"))?;
        let mut guest = Self { store, instance, memory };
        ensure!(guest.call::<_, u32>("abi_version", ())? == 1, "another ABI");
        Ok(guest)
    }

    fn call<P: WasmParams, R: WasmResults>(&mut self, name: &str, parameters: P) -> Result<R> {
        self.store.set_fuel(FUEL)?;
        self.instance.get_typed_func::<P, R>(&mut self.store, name)?.call(&mut self.store, parameters)
    }

    /// Hands bytes to `load`, which takes the buffer, or to `decide`, which borrows it.
    fn pass<R: WasmResults>(&mut self, name: &str, bytes: &[u8]) -> Result<R> {
        let (at, len): (u32, u32) = (self.call("alloc", bytes.len() as u32)?, bytes.len() as u32);
        ensure!(at != 0, "no room in the guest");
        self.memory.write(&mut self.store, at as usize, bytes)?;
        self.call(name, (at, len))
    }
}

fn main() -> Result<()> {
    let files = env::args().skip(1).map(fs::read).collect::<io::Result<Vec<_>>>()?;
    let [wasm, request, containers @ ..] = &files[..] else { bail!("give GUEST REQUEST BUNDLE") };
    let mut guest = Guest::start(wasm)?;
    for container in containers {
        let code: u32 = guest.pass("load", container)?;
        ensure!(code == 0, "refused: error code {code} of docs/format/README.md");
    }
    let answer: u64 = guest.pass("decide", request)?; // where in the memory, and how long
    let (at, len) = ((answer >> 32) as usize, answer as u32 as usize);
    let decision = guest.memory.data(&guest.store).get(at..at + len).ok_or_else(|| format_err!("no answer"))?;
    let words: Vec<u32> = decision.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let word = |offset: usize| words.get(offset / 4).map_or(0, |word| *word as usize); // docs/format/decision.md
    let slate = words.get(word(144) / 4..word(144) / 4 + word(104)).unwrap_or_default();
    Ok(writeln!(io::stdout(), "status {}, candidates {slate:?}", word(96) & 0xffff)?)
}
