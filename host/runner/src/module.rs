//! A guest module, compiled once and checked against the ABI.

use std::path::Path;

use wasmtime::{Config, Engine, Module, OptLevel};

use crate::guest::Guest;
use crate::{ModuleError, RunnerLimits};

/// Version of the guest ABI that this host speaks.
pub const ABI_VERSION: u32 = 1;

/// Compiled code of a guest. Cheap to clone, and shared by all instances.
#[derive(Clone)]
pub struct GuestModule {
    pub(crate) engine: Engine,
    pub(crate) module: Module,
}

impl std::fmt::Debug for GuestModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuestModule").finish_non_exhaustive()
    }
}

impl GuestModule {
    /// Compiles a module (binary WebAssembly) and starts it once to ask for its ABI version.
    ///
    /// # Errors
    /// It does not compile, imports anything, lacks a name of the ABI, or speaks another version.
    pub fn compile(wasm: &[u8]) -> Result<Self, ModuleError> {
        let engine = Engine::new(&config()).map_err(ModuleError::Compile)?;
        let module = Module::from_binary(&engine, wasm).map_err(ModuleError::Compile)?;
        let imports: Vec<String> =
            module.imports().map(|import| format!("{}.{}", import.module(), import.name())).collect();
        if !imports.is_empty() {
            return Err(ModuleError::Imports(imports));
        }
        let module = Self { engine, module };
        Guest::start(&module, RunnerLimits::default())?;
        Ok(module)
    }

    /// Reads a file and [compiles](Self::compile) it.
    ///
    /// # Errors
    /// It cannot be read, or is refused.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, ModuleError> {
        let path = path.as_ref();
        let wasm = std::fs::read(path).map_err(|source| ModuleError::Read { path: path.to_owned(), source })?;
        Self::compile(&wasm)
    }
}

/// Counted work, no threads, and none of the instructions whose result depends on the processor.
fn config() -> Config {
    let mut config = Config::new();
    config.consume_fuel(true);
    config.cranelift_opt_level(OptLevel::Speed);
    config.wasm_relaxed_simd(false);
    config
}
