//! Runs the guest module under wasmtime: decisions in a sandbox that can neither hang nor grow nor reach out.
//!
//! The module is data to this crate. What it decides, and how, is not known here; what is known is the guest ABI
//! (`docs/format/abi.md`), how much work and memory one call may take, and what to do when a call breaks off. A module
//! that imports anything is refused, so a decision has no way to the outside.
//!
//! Two kinds of failure are kept apart. *Refused* input is an everyday event: the error says what was wrong with the
//! bundle or request, and the instance goes on with what it had. A *trap* is a bug or a hostile module: the request is
//! saved so that it can be run again, the instance is thrown away, and the next call starts a new one with the same
//! bundle and shared state.
//!
//! Instances live long and are used by one thread at a time; [`Instance::fork`] makes one for the next thread from the
//! same compiled code. Wasmtime's pooling allocator is for hosts that make instances per call. It is left out on purpose:
//! making an instance takes microseconds and loading a bundle into it a thousand times that.
//!
//! ```no_run
//! use selvedge_runner::{GuestModule, Instance, RunnerLimits};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let module = GuestModule::read("target/guest/selvedge-guest.wasm")?;
//! let mut instance = Instance::new(&module, RunnerLimits::default()).save_trapped_requests_in("traps");
//! instance.load(std::fs::read("model.bundle")?)?;
//! let request = std::fs::read("request.svrq")?;
//! let decided = instance.decide(&request)?;
//! println!("{} bytes for {} units of fuel", decided.decision.len(), decided.fuel);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod error;
mod guest;
mod instance;
mod limits;
mod module;

pub use error::{Input, ModuleError, Refusal, RunError, SavedRequest, Trap, TrapCause};
pub use instance::{Decided, Features, Instance};
pub use limits::RunnerLimits;
pub use module::{ABI_VERSION, GuestModule};
