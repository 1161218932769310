//! One running guest: the exported names of the ABI as functions, under limits.
//!
//! An answer is a range of the guest's memory, which the next call may move or overwrite. It is read through
//! [`Guest::bytes`], whose borrow ends before the next call can begin.

use std::ops::Range;

use wasmtime::{Instance, Memory, ResourceLimiter, Store, TypedFunc, WasmParams, WasmResults};

use crate::module::{ABI_VERSION, GuestModule};
use crate::{Input, ModuleError, RunnerLimits, TrapCause};

/// Fuel to start with: the module has no start function to speak of.
const START_FUEL: u64 = 1_000_000;

/// The calls that read a buffer and answer with bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Question {
    Decide,
    Features,
    Score,
    Predict,
}

impl Question {
    /// What it is about.
    pub(crate) const fn input(self) -> Input {
        match self {
            Self::Decide | Self::Features | Self::Score => Input::Request,
            Self::Predict => Input::Matrix,
        }
    }
}

pub(crate) struct Guest {
    store: Store<MemoryLimit>,
    memory: Memory,
    alloc: TypedFunc<u32, u32>,
    free: TypedFunc<(u32, u32), ()>,
    load: TypedFunc<(u32, u32), u32>,
    decide: TypedFunc<(u32, u32), u64>,
    features: TypedFunc<(u32, u32), u64>,
    score: TypedFunc<(u32, u32), u64>,
    predict: TypedFunc<(u32, u32), u64>,
    last_error: TypedFunc<(), u64>,
    request: Buffer,
}

/// A buffer in the guest, kept from request to request.
#[derive(Clone, Copy, Default)]
struct Buffer {
    address: u32,
    capacity: u32,
}

/// Why a call has no answer.
pub(crate) enum Stop {
    Trap(TrapCause),
    /// The guest has no room for its input.
    NoRoom,
}

impl From<TrapCause> for Stop {
    fn from(cause: TrapCause) -> Self {
        Self::Trap(cause)
    }
}

impl Guest {
    pub(crate) fn start(module: &GuestModule, limits: RunnerLimits) -> Result<Self, ModuleError> {
        let mut store = Store::new(&module.engine, MemoryLimit { bytes: limits.memory_bytes, refused: None });
        store.limiter(|limit| limit);
        let fueled = store.set_fuel(START_FUEL);
        let started = fueled.and_then(|()| Instance::new(&mut store, &module.module, &[]));
        let instance = started.map_err(|error| ModuleError::Start(cause(&store, START_FUEL, &error)))?;
        let memory = instance.get_memory(&mut store, "memory");
        let memory =
            memory.ok_or_else(|| ModuleError::Export { name: "memory", detail: "no such memory".to_owned() })?;
        let abi_version: TypedFunc<(), u32> = export(&mut store, &instance, "abi_version")?;
        let found = abi_version.call(&mut store, ());
        let found = found.map_err(|error| ModuleError::Start(cause(&store, START_FUEL, &error)))?;
        if found != ABI_VERSION {
            return Err(ModuleError::AbiVersion { found });
        }
        Ok(Self {
            memory,
            alloc: export(&mut store, &instance, "alloc")?,
            free: export(&mut store, &instance, "free")?,
            load: export(&mut store, &instance, "load")?,
            decide: export(&mut store, &instance, "decide")?,
            features: export(&mut store, &instance, "features")?,
            score: export(&mut store, &instance, "score")?,
            predict: export(&mut store, &instance, "predict")?,
            last_error: export(&mut store, &instance, "last_error")?,
            request: Buffer::default(),
            store,
        })
    }

    /// Hands over a container. `Ok(0)` if it is loaded, else the number of the error.
    pub(crate) fn load(&mut self, container: &[u8], fuel: u64) -> Result<u32, Stop> {
        let call = Call::begin(&mut self.store, fuel)?;
        let buffer = self.allocate(container.len(), &call)?;
        self.write(buffer.address, container)?;
        let load = self.load.clone();
        Ok(call.run(&mut self.store, &load, (buffer.address, buffer.capacity))?)
    }

    /// Asks about a request or a matrix. Returns where the answer is, and the fuel that it took.
    pub(crate) fn ask(&mut self, question: Question, request: &[u8], fuel: u64) -> Result<(Range<usize>, u64), Stop> {
        let call = Call::begin(&mut self.store, fuel)?;
        if request.len() > self.request.capacity as usize || self.request.address == 0 {
            self.grow_request_buffer(request.len(), &call)?;
        }
        self.write(self.request.address, request)?;
        let function = match question {
            Question::Decide => &self.decide,
            Question::Features => &self.features,
            Question::Score => &self.score,
            Question::Predict => &self.predict,
        };
        let answer = call.run(&mut self.store, function, (self.request.address, request.len() as u32))?;
        Ok((self.unpack(answer)?, call.used(&self.store)?))
    }

    /// Where the last refusal is described; see `docs/format/abi.md`.
    pub(crate) fn last_error(&mut self, fuel: u64) -> Result<Range<usize>, Stop> {
        let call = Call::begin(&mut self.store, fuel)?;
        let answer = call.run(&mut self.store, &self.last_error, ())?;
        Ok(self.unpack(answer)?)
    }

    /// Bytes of an answer.
    pub(crate) fn bytes(&self, answer: Range<usize>) -> &[u8] {
        self.memory.data(&self.store).get(answer).unwrap_or(&[])
    }

    /// Doubles until there is room, so that requests that grow little by little move seldom.
    fn grow_request_buffer(&mut self, len: usize, call: &Call) -> Result<(), Stop> {
        if self.request.address != 0 {
            let free = self.free.clone();
            call.run(&mut self.store, &free, (self.request.address, self.request.capacity))?;
        }
        self.request = Buffer::default();
        self.request = self.allocate(len.next_power_of_two(), call)?;
        Ok(())
    }

    fn allocate(&mut self, len: usize, call: &Call) -> Result<Buffer, Stop> {
        let capacity = u32::try_from(len).map_err(|_| Stop::NoRoom)?;
        let address = call.run(&mut self.store, &self.alloc, capacity)?;
        if address == 0 { Err(Stop::NoRoom) } else { Ok(Buffer { address, capacity }) }
    }

    fn write(&mut self, address: u32, bytes: &[u8]) -> Result<(), Stop> {
        let outside = TrapCause::Abi("a buffer outside of its memory");
        Ok(self.memory.write(&mut self.store, address as usize, bytes).map_err(|_| outside)?)
    }

    /// Splits an answer into address and length, and checks that it is in memory.
    fn unpack(&self, answer: u64) -> Result<Range<usize>, TrapCause> {
        let (start, len) = ((answer >> 32) as usize, answer as u32 as usize);
        let end = start + len;
        if end <= self.memory.data_size(&self.store) {
            Ok(start..end)
        } else {
            Err(TrapCause::Abi("an answer outside of its memory"))
        }
    }
}

/// Some fuel, and the calls that share it.
struct Call {
    fuel: u64,
}

impl Call {
    fn begin(store: &mut Store<MemoryLimit>, fuel: u64) -> Result<Self, TrapCause> {
        store.data_mut().refused = None;
        store.set_fuel(fuel).map_err(|error| TrapCause::Wasm(error.to_string()))?;
        Ok(Self { fuel })
    }

    fn run<P: WasmParams, R: WasmResults>(
        &self,
        store: &mut Store<MemoryLimit>,
        function: &TypedFunc<P, R>,
        parameters: P,
    ) -> Result<R, TrapCause> {
        function.call(&mut *store, parameters).map_err(|error| cause(store, self.fuel, &error))
    }

    fn used(&self, store: &Store<MemoryLimit>) -> Result<u64, TrapCause> {
        let left = store.get_fuel().map_err(|error| TrapCause::Wasm(error.to_string()))?;
        Ok(self.fuel.saturating_sub(left))
    }
}

/// Keeps memory below its limit, and remembers what it refused: a guest that cannot go on without says only
/// `unreachable`.
struct MemoryLimit {
    bytes: usize,
    refused: Option<usize>,
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired > self.bytes {
            self.refused = Some(desired);
        }
        Ok(desired <= self.bytes)
    }

    /// Tables are fixed when the module is compiled; one that grows has no use for it in this ABI.
    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(current == 0 && desired <= MAX_TABLE)
    }
}

/// Most entries of a table: functions called through pointers, a few dozen in the guest.
const MAX_TABLE: usize = 10_000;

fn cause(store: &Store<MemoryLimit>, fuel: u64, error: &wasmtime::Error) -> TrapCause {
    let limit = store.data();
    match (error.downcast_ref::<wasmtime::Trap>(), limit.refused) {
        (Some(wasmtime::Trap::OutOfFuel), _) => TrapCause::OutOfFuel { limit: fuel },
        (_, Some(wanted)) => TrapCause::OutOfMemory { limit: limit.bytes, wanted },
        (Some(trap), None) => TrapCause::Wasm(trap.to_string()),
        (None, None) => TrapCause::Wasm(format!("{error:#}")),
    }
}

fn export<P: WasmParams, R: WasmResults>(
    store: &mut Store<MemoryLimit>,
    instance: &Instance,
    name: &'static str,
) -> Result<TypedFunc<P, R>, ModuleError> {
    instance.get_typed_func(store, name).map_err(|error| ModuleError::Export { name, detail: format!("{error:#}") })
}
