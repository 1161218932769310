//! What must be known of a guest module before something is added to it: what it exports, and how many of everything it has.
//!
//! The module is not run. That it speaks this ABI is read off: `abi_version` is a function that answers a constant.

use wasmparser::types::Types;
use wasmparser::{ExternalKind, FunctionBody, Operator, Parser, Payload, ValType, Validator};

use crate::{ABI_VERSION, EmitError};

/// The memory's exported name.
const MEMORY: &str = "memory";
/// Bytes of a page.
const PAGE: u64 = 1 << 16;

/// A guest module that was checked.
pub(crate) struct Guest<'a> {
    /// The module.
    pub(crate) bytes: &'a [u8],
    /// Function that hands out buffers.
    pub(crate) alloc: u32,
    /// Function that loads a container.
    pub(crate) load: u32,
    /// How many types there are.
    pub(crate) types: u32,
    /// How many functions.
    pub(crate) functions: u32,
    /// How many data segments.
    pub(crate) segments: u32,
    memory: wasmparser::MemoryType,
}

impl<'a> Guest<'a> {
    /// Validates a module.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, EmitError> {
        let types = Validator::new().validate_all(bytes)?;
        let parts = Parts::read(bytes)?;
        let alloc = parts.function(&types, "alloc", "(i32) -> i32", &[ValType::I32])?;
        let load = parts.function(&types, "load", "(i32, i32) -> i32", &[ValType::I32; 2])?;
        let version = parts.function(&types, "abi_version", "() -> i32", &[])?;
        let expected = "a function that answers a constant";
        let found = parts.constant(version)?.ok_or(EmitError::Export { name: "abi_version", expected })?;
        if found != ABI_VERSION as i32 {
            return Err(EmitError::AbiVersion { found });
        }
        let types = types.as_ref();
        match parts.export(MEMORY) {
            Some((ExternalKind::Memory, 0)) if !types.memory_at(0).memory64 => {}
            _ => return Err(EmitError::Export { name: MEMORY, expected: "its memory of 32 bits" }),
        }
        Ok(Self {
            bytes,
            alloc,
            load,
            types: types.core_type_count_in_module(),
            functions: types.function_count(),
            segments: parts.segments,
            memory: types.memory_at(0),
        })
    }

    /// Refuses a bundle that a limited memory has no room for.
    pub(crate) fn refuse_if_full(&self, bundle: u64) -> Result<(), EmitError> {
        let most = self.memory.maximum.map_or(1 << 32, |pages| pages * PAGE);
        let needed = self.memory.initial * PAGE + bundle;
        if needed > most { Err(EmitError::Memory { most, needed }) } else { Ok(()) }
    }
}

/// What the sections say.
#[derive(Default)]
struct Parts<'a> {
    exports: Vec<(&'a str, ExternalKind, u32)>,
    bodies: Vec<FunctionBody<'a>>,
    segments: u32,
}

impl<'a> Parts<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, EmitError> {
        let mut parts = Self::default();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::ImportSection(imports) => {
                    if let Some(import) = imports.into_imports().next() {
                        let import = import?;
                        return Err(EmitError::Import {
                            module: import.module.to_owned(),
                            name: import.name.to_owned(),
                        });
                    }
                }
                Payload::StartSection { .. } => return Err(EmitError::Start),
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        parts.exports.push((export.name, export.kind, export.index));
                    }
                }
                Payload::CodeSectionEntry(body) => parts.bodies.push(body),
                Payload::DataSection(data) => parts.segments = data.count(),
                _ => {}
            }
        }
        Ok(parts)
    }

    fn export(&self, name: &str) -> Option<(ExternalKind, u32)> {
        self.exports.iter().find(|export| export.0 == name).map(|export| (export.1, export.2))
    }

    /// The exported function of this name, which answers one `i32`.
    fn function(
        &self,
        types: &Types,
        name: &'static str,
        expected: &'static str,
        parameters: &[ValType],
    ) -> Result<u32, EmitError> {
        let found = match self.export(name) {
            Some((ExternalKind::Func, index)) => {
                let ty = types[types.as_ref().core_function_at(index)].unwrap_func();
                (ty.params() == parameters && ty.results() == [ValType::I32]).then_some(index)
            }
            _ => None,
        };
        found.ok_or(EmitError::Export { name, expected })
    }

    /// What a function without imports before it answers, if that is all it does.
    fn constant(&self, function: u32) -> Result<Option<i32>, EmitError> {
        let Some(body) = self.bodies.get(function as usize) else { return Ok(None) };
        let mut operators = body.get_operators_reader()?;
        let answer = match operators.read()? {
            Operator::I32Const { value } => value,
            _ => return Ok(None),
        };
        let is_all = matches!(operators.read()?, Operator::End);
        Ok(is_all.then_some(answer))
    }
}
