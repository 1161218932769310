//! The sandbox that `rank` and `replay` decide in: its module, its limits, and what its errors mean here.

use std::path::{Path, PathBuf};

use clap::Args;
use selvedge_runner::{GuestModule, ModuleError, RunError, RunnerLimits, TrapCause};

use crate::error::{CliError, Exit};
use crate::file;
use crate::module::{BUILD_IT, ModuleArgs};

/// The guest module and its limits.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sandbox")]
pub(crate) struct GuestArgs {
    #[command(flatten)]
    module: ModuleArgs,
    /// Most fuel of one decision; a unit is about one WebAssembly instruction.
    #[arg(long, value_name = "UNITS", default_value_t = RunnerLimits::default().fuel_per_decision)]
    fuel: u64,
    /// Most memory of the guest, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = (RunnerLimits::default().memory_bytes >> 20) as u32)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=4096))]
    memory: u32,
}

impl GuestArgs {
    /// Compiles the module.
    pub(crate) fn module(&self) -> Result<GuestModule, CliError> {
        let path = self.path()?;
        GuestModule::read(&path).map_err(|error| match &error {
            ModuleError::Read { source, .. } => file::cannot_read(&path, source).hint(BUILD_IT),
            _ => CliError::new(Exit::Refused, format_args!("{}: {error}", path.display())).hint(BUILD_IT),
        })
    }

    /// Where the module is.
    pub(crate) fn path(&self) -> Result<PathBuf, CliError> {
        self.module.path()
    }

    /// The limits of an instance.
    pub(crate) fn limits(&self) -> RunnerLimits {
        let memory_bytes = usize::try_from(u64::from(self.memory) << 20).unwrap_or(usize::MAX);
        RunnerLimits { fuel_per_decision: self.fuel, memory_bytes, ..RunnerLimits::default() }
    }
}

/// What a failed call means to whoever typed the command. `source` is the file that was loaded or asked about.
pub(crate) fn failed(error: &RunError, source: &Path) -> CliError {
    match error {
        RunError::Refused(refusal) => {
            let code = refusal.code();
            let name = code.map_or("unknown", selvedge_format::ErrorCode::name);
            let message = format!("{}: {refusal} [{name}]", source.display());
            let refused = CliError::new(Exit::Refused, message);
            match code {
                Some(_) if refusal.is_about_room() => refused.hint(ROOM),
                Some(code) => refused.hint(file::hint_for(code)),
                None => refused,
            }
        }
        RunError::Trapped(trap) => CliError::new(Exit::Trap, trap).hint(hint_for(&trap.cause)),
        RunError::Module(ModuleError::Start(cause)) => CliError::new(Exit::Trap, error).hint(hint_for(cause)),
        other => CliError::new(Exit::Refused, other).hint(BUILD_IT),
    }
}

const ROOM: &str = "module, bundle, shared state and request must fit into --memory";

/// What to do about a call that broke off.
const fn hint_for(cause: &TrapCause) -> &'static str {
    match cause {
        TrapCause::OutOfFuel { .. } => "a healthy decision stays far below the default of --fuel",
        TrapCause::OutOfMemory { .. } => ROOM,
        _ => "this is a bug: please report it with the bundle and the saved request",
    }
}
