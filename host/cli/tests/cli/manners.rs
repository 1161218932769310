//! Help, usage errors, streams, colour; and the reference that is written from the same declarations.

use std::path::Path;

use crate::shop::{Shop, assert_shown, transcript};

#[test]
fn short_help_fits_a_screen() {
    let help = Shop::new().run("-h");
    assert!(help.stdout.lines().count() <= 40, "{help}");
    assert_shown!(help);
}

#[test]
fn every_command_has_help() {
    let shop = Shop::new();
    let on_this_machine =
        ["demo", "train", "uplift", "plan", "compile", "inspect", "rank", "replay", "eval", "features"];
    let at_a_host = ["keygen", "publish", "promote", "rollback", "budgets", "channels", "diff", "serve", "follow"];
    for command in on_this_machine.into_iter().chain(at_a_host) {
        for flag in ["-h", "--help"] {
            let help = shop.run(&format!("{command} {flag}"));
            assert_eq!(help.code, Some(0), "{help}");
            assert!(help.stdout.contains("Usage: selvedge"), "{help}");
            assert!(help.stdout.lines().all(|line| line.chars().count() <= 100), "{help}");
        }
    }
}

#[test]
fn the_reference_is_what_the_help_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md");
    let written = selvedge_cli::reference();
    if std::env::var_os("SELVEDGE_BLESS").is_some() {
        std::fs::write(&page, &written).expect("writing docs/reference/cli.md");
    }
    let found = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(
        found == written,
        "docs/reference/cli.md is not what the commands say: run this test with SELVEDGE_BLESS=1"
    );
}

#[test]
fn wrong_arguments_are_explained() {
    let shop = Shop::new();
    assert_shown!(transcript(
        &shop,
        &[
            "",
            "rnak",
            "rank",
            "rank --bundle bundle.svb --requst request.json",
            "rank --bundle bundle.svb --request request.json --fuel much",
            "rank --bundle bundle.svb --request request.json --memory 0",
            "train --model model.toml --out out --weeks 9-39",
            "train --model model.toml --out out --weeks 39..9",
            "train --model model.toml --out out --holdout-fold 5",
            "train --model model.toml --out out --data groceries",
        ],
    ));
}

#[test]
fn files_that_are_not_there_are_named() {
    let shop = Shop::new();
    assert_shown!(transcript(
        &shop,
        &[
            "inspect nothing.svb",
            "inspect .",
            "rank --bundle nothing.svb --request request.json",
            "rank --bundle bundle.svb --request nothing.json",
            "rank --bundle bundle.svb --request request.json --guest nothing.wasm",
            "compile --model nothing.toml --trained trained.json",
            "compile --model model.toml --trained trained.json --out features.toml/bundle.svb",
        ],
    ));
}

#[test]
fn data_and_talk_keep_to_their_streams() {
    let shop = Shop::new();
    let ranked = shop.run("rank --bundle bundle.svb --request request.json --json");
    assert_eq!(ranked.json()["slots"][0]["id"], "apple", "{ranked}");
    let quiet = shop.run("rank --bundle bundle.svb --shared shared-state.bin --request request.json --quiet");
    assert!(quiet.stderr.is_empty(), "{quiet}");
    let failed = shop.run("inspect trained.json --json");
    assert!(failed.stdout.is_empty(), "{failed}");
}

#[test]
fn colour_is_for_those_who_want_it_and_says_nothing_alone() {
    let shop = Shop::new();
    let plain = shop.run("rank --bundle bundle.svb --request request.json");
    let coloured = shop.run("rank --bundle bundle.svb --request request.json --color always");
    assert!(!plain.stdout.contains('\u{1b}'), "{plain}");
    assert!(coloured.stdout.contains('\u{1b}'), "{coloured}");
    let mut stripped = String::new();
    let mut parts = coloured.stdout.split('\u{1b}');
    stripped.push_str(parts.next().unwrap_or_default());
    parts.for_each(|part| stripped.push_str(part.split_once('m').map_or(part, |(_, text)| text)));
    assert_eq!(stripped, plain.stdout);
}
