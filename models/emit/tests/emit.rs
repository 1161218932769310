//! A bundle in the guest, run where such a file is meant to run; and what nothing is made of.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use selvedge_conformance::{Case, cases, outcome};
use selvedge_emit::{EmitError, emit};
use selvedge_engine::{Engine, Limits};
use selvedge_format::AlignedBytes;
use selvedge_format::container::{Container, ContainerBuilder, Kind};
use selvedge_format::decision::canonical;
use wasmparser::{Parser, Payload, Validator};

#[allow(dead_code, reason = "the example is a program; its `main` is not called here")]
#[path = "../examples/decide.rs"]
mod example;
#[allow(dead_code, reason = "the example is a program; its `main` is not called here")]
#[path = "../examples/predict.rs"]
mod example_of_rows;

const PAGE: &str = include_str!("../../../docs/reference/emit.md");
/// With SIMD and without.
const GUESTS: [&str; 2] = ["selvedge-guest.wasm", "selvedge-guest-plain.wasm"];

fn guest(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guest").join(name);
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!("cannot read {}: {error}; `cargo xtask wasm` builds the guest module", path.display())
    })
}

/// Cases whose names begin so, one of each.
fn given() -> Vec<Case> {
    let kinds = ["model Linear", "model Trees", "model DoubleTrees", "model Network", "offer"];
    let cascades = ["cascade of four stages, softmax, 48", "cascade with a dear stage, 700"];
    let cases = cases();
    let first = |prefix| cases.iter().find(|case| case.name.starts_with(prefix) && outcome(case).refusal == 0);
    kinds.into_iter().chain(cascades).map(|prefix| first(prefix).expect("the corpus has such a case").clone()).collect()
}

fn bundle(case: &Case) -> &[u8] {
    case.bundle.as_deref().expect("the case has a bundle")
}

/// The code block of the page that is this file.
fn quoted(file: &str) -> &'static str {
    let start = PAGE.split_once(&format!("`{file}`, whole:\n\n```")).expect("the page has such a file").1;
    let start = start.split_once('\n').expect("the block has lines").1;
    start.split_once("```").expect("the block ends").0
}

/// Rows of features of a case, how many there are, and their scores as the case has them.
fn rows(case: &Case) -> (u32, Vec<f32>, Vec<f32>) {
    let mut engine = Engine::new(Limits::default());
    for container in [Some(bundle(case)), case.shared.as_deref()].into_iter().flatten() {
        engine.load(AlignedBytes::copy_of(container)).expect("what the case has loads");
    }
    let matrix = engine.features(&case.request).expect("a valid request");
    let row = |row: usize| (0..matrix.features()).map(move |feature| matrix.column(feature)[row]);
    let values = (0..matrix.candidates).flat_map(row).collect();
    let scores = engine.score(&case.request).expect("a valid request").to_vec();
    (scores.len() as u32, values, scores)
}

#[test]
fn a_baked_module_decides_as_guest_and_bundle_do() {
    for name in GUESTS {
        for case in given() {
            let module = emit(&guest(name), bundle(&case)).expect("a module");
            let decision = example::decide(&module, &case.request, case.shared.as_deref()).expect("a decision");
            assert_eq!(decision, outcome(&case).decision, "{name}: {}", case.name);
        }
    }
}

#[test]
fn node_runs_a_baked_module_as_the_page_says() {
    let directory = tempfile::tempdir().expect("a directory for a test");
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes).expect("writing a file");
    write("decide.mjs", quoted("decide.mjs").as_bytes());
    for name in GUESTS {
        for case in given() {
            write("module.wasm", &emit(&guest(name), bundle(&case)).expect("a module"));
            write("request", &case.request);
            write("shared", case.shared.as_deref().expect("the case has a shared state"));
            let mut node = Command::new("node");
            node.current_dir(directory.path()).args(["decide.mjs", "module.wasm", "request", "shared"]);
            let ran = node.output().expect("node starts");
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
            assert_eq!(ran.stdout, outcome(&case).decision, "{name}: {}", case.name);
        }
    }
}

#[test]
fn a_baked_module_scores_rows_of_features_as_their_request() {
    let directory = tempfile::tempdir().expect("a directory for a test");
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes).expect("writing a file");
    write("predict.mjs", quoted("predict.mjs").as_bytes());
    // NaN is NaN, whatever its bits.
    let bits = |scores: &[f32]| scores.iter().map(|score| canonical(*score)).collect::<Vec<_>>();
    for name in GUESTS {
        for case in given().into_iter().filter(|case| !case.name.contains("dear stage")) {
            let module = emit(&guest(name), bundle(&case)).expect("a module");
            let (rows, values, scores) = rows(&case);
            let found = example_of_rows::predict(&module, rows, &values).expect("scores");
            assert_eq!(bits(&found), bits(&scores), "{name}: {}", case.name);
            write("module.wasm", &module);
            write("rows", &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
            let mut node = Command::new("node");
            node.current_dir(directory.path()).args([
                "predict.mjs",
                "module.wasm",
                &(values.len() / rows as usize).to_string(),
            ]);
            node.stdin(File::open(directory.path().join("rows")).expect("the file is there"));
            let ran = node.output().expect("node starts");
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
            assert_eq!(ran.stdout, bits(&scores).concat(), "{name}: {}", case.name);
        }
    }
}

#[test]
fn the_page_quotes_the_examples_for_wasmtime() {
    assert_eq!(quoted("models/emit/examples/decide.rs"), include_str!("../examples/decide.rs"));
    assert_eq!(quoted("models/emit/examples/predict.rs"), include_str!("../examples/predict.rs"));
}

#[test]
fn a_baked_module_is_valid_imports_nothing_and_exports_what_the_guest_does() {
    let exports = |module: &[u8]| {
        let mut names = Vec::new();
        for payload in Parser::new(0).parse_all(module) {
            match payload.expect("a valid module") {
                Payload::ImportSection(_) => panic!("there is nothing to import"),
                Payload::ExportSection(exports) => {
                    names.extend(exports.into_iter().map(|export| export.expect("an export").name.to_owned()));
                }
                _ => {}
            }
        }
        names
    };
    for name in GUESTS {
        for case in given() {
            let (guest, bundle) = (guest(name), bundle(&case));
            let module = emit(&guest, bundle).expect("a module");
            Validator::new().validate_all(&module).expect("a valid module");
            assert_eq!(exports(&module), exports(&guest));
            let added = module.len() - guest.len() - bundle.len();
            assert!(added < 100, "{added} bytes besides guest and bundle");
            assert_eq!(emit(&guest, bundle).expect("a module"), module, "the same input gives the same bytes");
        }
    }
}

#[test]
fn a_bundle_that_the_engine_would_refuse_is_not_baked() {
    let guest = guest(GUESTS[0]);
    let case = &given()[0];
    let refused = |bundle: &[u8]| emit(&guest, bundle).map(drop).expect_err("such a bundle is refused").to_string();
    let whole = bundle(case);
    assert!(refused(&whole[..whole.len() - 1]).starts_with("the bundle is refused: "));
    assert!(refused(case.shared.as_deref().expect("a shared state")).starts_with("the bundle is refused: "));
    let container = Container::parse(whole, Kind::Bundle).expect("a bundle");
    let copied = container.sections().iter().fold(ContainerBuilder::new(Kind::Bundle), |builder, section| {
        builder.required(section.tag, section.version, whole[section.range.clone()].to_vec())
    });
    let large = copied.optional(0x99, 1, vec![0; 64 << 20]).build();
    assert!(refused(&large).contains("bundle bytes"), "{}", refused(&large));
}

/// A module with the exports that are looked at, in words; `version` is the body of `abi_version`, `more` is anything else.
fn pretender(version: &str, memory: &str, more: &str) -> Vec<u8> {
    let text = format!(
        r#"(module (memory (export "memory") {memory})
            (func (export "abi_version") (result i32) {version})
            (func (export "alloc") (param i32) (result i32) i32.const 0)
            (func (export "load") (param i32 i32) (result i32) i32.const 0) {more})"#
    );
    wat::parse_str(text).expect("valid words")
}

#[test]
fn a_guest_that_is_none_of_this_abi_is_refused_by_name() {
    let case = &given()[0];
    let refused = |guest: &[u8]| emit(guest, bundle(case)).map(drop).expect_err("such a guest is refused");
    let named = |guest: &[u8]| refused(guest).to_string();
    assert!(matches!(refused(b"\0asm but not really"), EmitError::Module(_)));
    assert!(matches!(refused(&pretender("i32.const 2", "1", "")), EmitError::AbiVersion { found: 2 }));
    assert!(named(&pretender("i32.const 1 i32.const 0 i32.add", "1", "")).contains("abi_version"));
    assert!(matches!(refused(&pretender("i32.const 1", "1 1", "")), EmitError::Memory { most: 65_536, .. }));
    let start = "(func $start) (start $start)";
    assert!(matches!(refused(&pretender("i32.const 1", "1", start)), EmitError::Start));
    let twice = emit(&guest(GUESTS[0]), bundle(case)).expect("a module");
    assert!(matches!(refused(&twice), EmitError::Start), "a bundle is baked in once");
    let importing = wat::parse_str(r#"(module (import "env" "clock" (func)))"#).expect("valid words");
    assert!(!named(&importing).contains("alloc") && named(&importing).contains("env.clock"), "{}", named(&importing));
    let other = wat::parse_str(r#"(module (func (export "alloc") (result i32) i32.const 1))"#).expect("valid words");
    assert!(named(&other).contains("does not export alloc as (i32) -> i32"), "{}", named(&other));
}

#[test]
fn sections_that_a_guest_lacks_are_added() {
    let module = emit(&pretender("i32.const 1", "100", ""), bundle(&given()[0])).expect("a module");
    Validator::new().validate_all(&module).expect("a valid module");
}
