//! The `selvedge` command; everything is in the library, where tests and the reference reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    selvedge_cli::run()
}
