//! Where the guest module is found: for the sandbox of `rank` and `replay`, and for `compile`, which bakes bundles into it.

use std::path::PathBuf;

use clap::Args;

use crate::error::{CliError, Exit};

/// Names the guest module where no argument does.
const GUEST_VARIABLE: &str = "SELVEDGE_GUEST";
/// Where `cargo xtask wasm` puts it, under the checkout.
const BUILT: &str = "target/guest/selvedge-guest.wasm";
/// What to do without one.
pub(crate) const BUILD_IT: &str = "`cargo xtask wasm` builds the guest module into target/guest";

/// The guest module.
#[derive(Debug, Args)]
pub(crate) struct ModuleArgs {
    /// The guest module; otherwise $SELVEDGE_GUEST, or target/guest/selvedge-guest.wasm here or in a parent directory.
    #[arg(long, value_name = "WASM")]
    guest: Option<PathBuf>,
}

impl ModuleArgs {
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
