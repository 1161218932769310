//! The reference of the command line, written from the same declarations that parse it.

use std::fmt::Write as _;

use clap::CommandFactory;

use crate::Cli;
use crate::error::EXIT_CODES;

const INTRODUCTION: &str = "\
<!-- Generated from host/cli. To change it, change the help texts there and run its tests with SELVEDGE_BLESS=1. -->
# selvedge

Data go to standard output; progress, remarks, warnings, errors and hints go to standard error. Nothing is said by colour
alone; `NO_COLOR` or `--color never` turn it off. Commands that print data print JSON with `--json`.
";

const FILES: &str = "
## Files

| file | written by | format |
|---|---|---|
| `model.json` | `train`, or another library | [a model that compiles](models.md) |
| `response.json` | `uplift` | `{\"kind\": \"response\", \"arms\": [...]}`: per offer a model, its calibration and its error |
| `shared-state.bin` | `train` | [shared state](../format/shared-state.md) |
| `user-state.bin` | `train`, as an example | [user state](../format/user-state.md) |
| `request.json` | you, or `train` as an example | the document that `selvedge rank --help` shows |
| `bundle.svb` | `compile` | [bundle](../format/bundle.md) |
| a decision log | `rank --record` | [decision records](../format/decision-record.md), end to end |
| `traps/trap-*.svrq` | `rank`, when the guest traps | [request](../format/request.md) |

## Environment

| variable | meaning |
|---|---|
| `SELVEDGE_GUEST` | the guest module, where `--guest` is not given |
| `XDG_CACHE_HOME` | where `selvedge/data` keeps what was fetched; otherwise `~/.cache` |
| `NO_COLOR` | no colour |
";

/// The page `docs/reference/cli.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n## Exit codes\n\n| code | meaning |\n|---|---|\n");
    for (code, meaning) in EXIT_CODES {
        // Writing to a string does not fail.
        let _ = writeln!(page, "| {code} | {meaning} |");
    }
    page.push_str(FILES);
    let mut root = Cli::command().disable_help_subcommand(true).term_width(WIDTH);
    root.build();
    let _ = write!(page, "\n## selvedge\n\n{}", fenced(&mut root.clone()));
    for command in root.get_subcommands() {
        let mut command = command.clone().term_width(WIDTH);
        let name = command.get_name().to_owned();
        let _ = write!(page, "\n## selvedge {name}\n\n{}", fenced(&mut command));
    }
    page
}

/// Columns of the page's code blocks.
const WIDTH: usize = 100;

fn fenced(command: &mut clap::Command) -> String {
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    format!("```text\n{}\n```\n", lines.join("\n").trim_end())
}

/// The exit codes, as the end of every long help text.
pub(crate) fn exit_codes() -> String {
    let lines = EXIT_CODES.map(|(code, meaning)| format!("  {code}  {meaning}"));
    format!("Exit codes:\n{}", lines.join("\n"))
}
