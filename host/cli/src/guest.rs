//! The sandbox that `rank` and `replay` decide in: where its module is found, and what its errors mean here.

use std::path::{Path, PathBuf};

use clap::Args;
use selvedge_runner::{GuestModule, ModuleError, RunError, RunnerLimits, TrapCause};

use crate::error::{CliError, Exit};
use crate::file;

/// Names the guest module where no argument does.
pub(crate) const GUEST_VARIABLE: &str = "SELVEDGE_GUEST";
/// Where `cargo xtask wasm` puts it, under the checkout.
const BUILT: &str = "target/guest/selvedge-guest.wasm";

/// The guest module and its limits.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sandbox")]
pub(crate) struct GuestArgs {
    /// The guest module; otherwise $SELVEDGE_GUEST, or target/guest/selvedge-guest.wasm here or in a parent directory.
    #[arg(long, value_name = "WASM")]
    guest: Option<PathBuf>,
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

    /// The limits of an instance.
    pub(crate) fn limits(&self) -> RunnerLimits {
        let memory_bytes = usize::try_from(u64::from(self.memory) << 20).unwrap_or(usize::MAX);
        RunnerLimits { fuel_per_decision: self.fuel, memory_bytes, ..RunnerLimits::default() }
    }

    /// Where the module is.
    pub(crate) fn path(&self) -> Result<PathBuf, CliError> {
        let named = self.guest.clone().or_else(|| std::env::var_os(GUEST_VARIABLE).map(PathBuf::from));
        if let Some(path) = named {
            return Ok(path);
        }
        let here = std::env::current_dir().unwrap_or_default();
        let built = here.ancestors().map(|directory| directory.join(BUILT)).find(|path| path.is_file());
        built.ok_or_else(|| {
            let message = format!("there is no guest module: no --guest, no ${GUEST_VARIABLE}, no {BUILT}");
            CliError::new(Exit::Usage, message).hint(BUILD_IT)
        })
    }
}

const BUILD_IT: &str = "`cargo xtask wasm` builds the guest module into target/guest";

/// What a failed call means to whoever typed the command. `source` is the file that was loaded or asked about.
pub(crate) fn failed(error: &RunError, source: &Path) -> CliError {
    match error {
        RunError::Refused(refusal) => {
            let code = refusal.code();
            let name = code.map_or("unknown", selvedge_format::ErrorCode::name);
            let message = format!("{}: {refusal} [{name}]", source.display());
            let refused = CliError::new(Exit::Refused, message);
            match code {
                Some(code) => refused.hint(file::hint_for(code)),
                None => refused,
            }
        }
        RunError::Trapped(trap) => CliError::new(Exit::Trap, trap).hint(hint_for(&trap.cause)),
        RunError::Module(ModuleError::Start(cause)) => CliError::new(Exit::Trap, error).hint(hint_for(cause)),
        other => CliError::new(Exit::Refused, other).hint(BUILD_IT),
    }
}

/// What to do about a call that broke off.
const fn hint_for(cause: &TrapCause) -> &'static str {
    match cause {
        TrapCause::OutOfFuel { .. } => "a healthy decision stays far below the default of --fuel",
        TrapCause::OutOfMemory { .. } => "module, bundle, shared state and request must fit into --memory",
        _ => "this is a bug: please report it with the bundle and the saved request",
    }
}
