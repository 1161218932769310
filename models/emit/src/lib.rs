//! Bakes a bundle into the guest module: one file of WebAssembly that decides, imports nothing, and needs nobody to load it.
//!
//! The guest is data here, as it is to a runner. Nothing in it is changed or moved; three things are added. The bundle becomes
//! a *passive* data segment, which takes no place in the memory until it is asked for. A function of a dozen instructions asks
//! the guest for a buffer, copies the segment there, drops it and has the guest load it. And that function is the module's
//! start, so an instance that exists has its bundle. What a host calls afterwards are the guest's own exports: the ABI stays as
//! it is, and a guest needs to know nothing of this.
//!
//! A start function that fails leaves no instance to ask why. So whatever would fail is refused here, by the engine that would
//! refuse it there; what remains is a host that grants too little memory.
//!
//! This crate knows sections and function types, no machine code: the sections are copied by `wasm-encoder`, and what is a
//! valid module is for `wasmparser` to say. The idea is that of wizer (Bytecode Alliance), without running the module: the bytes
//! of a bundle are read in place, so a snapshot of the memory after loading would be larger and start no faster.
//!
//! `docs/reference/emit.md` is the page for hosts.
#![forbid(unsafe_code)]

mod guest;

use selvedge_engine::{Limits, Snapshot};
use selvedge_format::{AlignedBytes, DecodeError};
use wasm_encoder::reencode::{self, Reencode, utils};
use wasm_encoder::{
    BlockType, CodeSection, DataCountSection, DataSection, Function, FunctionSection, Instruction, Module, SectionId,
    StartSection, TypeSection, ValType,
};

use crate::guest::Guest;

/// Version of the guest ABI that the added function speaks.
pub const ABI_VERSION: u32 = 1;

/// Why no module was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// Not a valid module of core WebAssembly.
    #[error("the guest is not a valid module: {0}")]
    Module(#[from] wasmparser::Error),
    /// It asks something of its host, and so would what is made of it.
    #[error("the guest imports {module}.{name}: a module that is complete in itself imports nothing")]
    Import {
        /// Module of the import.
        module: String,
        /// Name in it.
        name: String,
    },
    /// An export that the ABI has is not there, or is something else.
    #[error("the guest does not export {name} as {expected}: it is no guest module (docs/format/abi.md)")]
    Export {
        /// The name.
        name: &'static str,
        /// What it is in the ABI.
        expected: &'static str,
    },
    /// Another version of the ABI.
    #[error(
        "the guest speaks version {found} of the ABI, and this is version {ABI_VERSION}: use modules of one release"
    )]
    AbiVersion {
        /// What it answers.
        found: i32,
    },
    /// Something of its own runs at the start.
    #[error("the guest has a start function: a bundle was baked into it before, or it is no guest module")]
    Start,
    /// The memory may not grow to hold the bundle.
    #[error("the guest's memory is limited to {most} bytes, and with the bundle it would begin with {needed}")]
    Memory {
        /// Its limit.
        most: u64,
        /// What it starts with, and the bundle.
        needed: u64,
    },
    /// What the engine in the module would refuse.
    #[error("the bundle is refused: {0}")]
    Bundle(DecodeError),
}

/// A module that is `guest` with `bundle` loaded as soon as there is an instance. Equal inputs give equal bytes.
///
/// # Errors
/// The guest is not a module of this ABI without imports; or an edge with the default limits would refuse the bundle.
pub fn emit(guest: &[u8], bundle: &[u8]) -> Result<Vec<u8>, EmitError> {
    let guest = Guest::read(guest)?;
    Snapshot::load(&AlignedBytes::copy_of(bundle), &Limits::default()).map_err(EmitError::Bundle)?;
    guest.refuse_if_full(bundle.len() as u64)?;
    let mut module = Module::new();
    let copied =
        Baker { guest: &guest, bundle }.parse_core_module(&mut module, wasmparser::Parser::new(0), guest.bytes);
    match copied {
        Ok(()) => Ok(module.finish()),
        Err(reencode::Error::ParseError(error)) => Err(EmitError::Module(error)),
        // What is left are constructs that a valid module of this ABI has no use for.
        Err(_) => Err(EmitError::Export { name: "memory", expected: "the memory of a core module" }),
    }
}

/// Copies the guest section by section, and adds to those that grow.
struct Baker<'a> {
    guest: &'a Guest<'a>,
    bundle: &'a [u8],
}

impl Baker<'_> {
    /// Buffer, copy, load; a trap where one of them fails.
    fn start_function(&self) -> Function {
        let guest = self.guest;
        let len = Instruction::I32Const(self.bundle.len() as i32);
        let mut function = Function::new([(1, ValType::I32)]);
        let instructions = [
            len.clone(),
            Instruction::Call(guest.alloc),
            Instruction::LocalTee(0),
            Instruction::I32Eqz,
            Instruction::If(BlockType::Empty),
            Instruction::Unreachable,
            Instruction::End,
            Instruction::LocalGet(0),
            Instruction::I32Const(0),
            len.clone(),
            Instruction::MemoryInit { mem: 0, data_index: guest.segments },
            // The engine of the host may free its copy.
            Instruction::DataDrop(guest.segments),
            Instruction::LocalGet(0),
            len,
            Instruction::Call(guest.load),
            Instruction::If(BlockType::Empty),
            Instruction::Unreachable,
            Instruction::End,
            Instruction::End,
        ];
        for instruction in &instructions {
            function.instruction(instruction);
        }
        function
    }
}

type Copied = Result<(), reencode::Error>;

impl Reencode for Baker<'_> {
    type Error = std::convert::Infallible;

    fn parse_type_section(&mut self, types: &mut TypeSection, section: wasmparser::TypeSectionReader<'_>) -> Copied {
        utils::parse_type_section(self, types, section)?;
        types.ty().function([], []);
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: wasmparser::FunctionSectionReader<'_>,
    ) -> Copied {
        utils::parse_function_section(self, functions, section)?;
        functions.function(self.guest.types);
        Ok(())
    }

    fn data_count(&mut self, count: u32) -> Result<u32, reencode::Error> {
        Ok(count + 1)
    }

    /// The code of the guest stays what it is to the byte.
    fn parse_function_body(&mut self, code: &mut CodeSection, body: wasmparser::FunctionBody<'_>) -> Copied {
        code.raw(body.as_bytes());
        Ok(())
    }

    fn parse_code_section(&mut self, code: &mut CodeSection, section: wasmparser::CodeSectionReader<'_>) -> Copied {
        utils::parse_code_section(self, code, section)?;
        code.function(&self.start_function());
        Ok(())
    }

    fn parse_data_section(&mut self, data: &mut DataSection, section: wasmparser::DataSectionReader<'_>) -> Copied {
        utils::parse_data_section(self, data, section)?;
        data.passive(self.bundle.iter().copied());
        Ok(())
    }

    /// Sections that the guest has not: the start comes after the exports, the count of segments before the code, the
    /// segments last.
    fn intersperse_section_hook(
        &mut self,
        module: &mut Module,
        after: Option<SectionId>,
        before: Option<SectionId>,
    ) -> Copied {
        if after == Some(SectionId::Export) {
            module.section(&StartSection { function_index: self.guest.functions });
        }
        if before == Some(SectionId::Code) && after != Some(SectionId::DataCount) {
            module.section(&DataCountSection { count: self.guest.segments + 1 });
        }
        if before.is_none() && after == Some(SectionId::Code) {
            let mut data = DataSection::new();
            data.passive(self.bundle.iter().copied());
            module.section(&data);
        }
        Ok(())
    }
}
