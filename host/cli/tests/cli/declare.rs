//! `compile` and `features`: declarations, trained models, and what is wrong with them.

use std::fs;
use std::path::Path;

use crate::shop::{FEATURES, MODEL, Shop, assert_shown, transcript};

#[test]
fn a_bundle_is_compiled_and_reported() {
    let shop = Shop::new();
    assert_shown!(shop.run("compile --model model.toml --trained trained.json --out made.svb"));
    assert_eq!(shop.read("made.svb"), shop.read("bundle.svb"));
}

#[test]
fn the_report_has_a_form_for_scripts() {
    let shop = Shop::new();
    let report = shop.run("compile --model model.toml --trained trained.json --out made.svb --json").json();
    assert_eq!(report["path"], "made.svb");
    assert_eq!(report["features"][1]["weight"], 2.0);
    assert_eq!(report["bytes"], shop.read("made.svb").len());
}

#[test]
fn mistakes_in_declarations_are_shown_where_they_are() {
    let shop = Shop::new();
    shop.write(
        "typo.toml",
        FEATURES.replace("lifetime_count", "lifetime_cuont").replace("\"item.price\"", "\"item.prise\""),
    );
    shop.write("rule.toml", MODEL.replace("\"brand\"", "\"brnad\""));
    shop.write("broken.toml", "version = 1\n[model\n");
    shop.write("latin.toml", b"version = 1 # caf\xe9\n");
    assert_shown!(transcript(
        &shop,
        &[
            "compile --model model.toml --features typo.toml --trained trained.json",
            "compile --model rule.toml --trained trained.json",
            "compile --model broken.toml --trained trained.json",
            "compile --model latin.toml --trained trained.json",
        ],
    ));
}

#[test]
fn trained_models_that_do_not_fit_are_refused_by_name() {
    let shop = Shop::new();
    shop.write("stranger.json", r#"{"kind": "linear", "bias": 0, "weights": {"prize": 1}}"#);
    shop.write("lightgbm.txt", "tree\nversion=v4\nnum_class=1\n");
    shop.write("pickle.json", b"\x80\x04\x95\x00\x00");
    shop.write("cut.json", r#"{"kind": "linear", "bias": 0, "weig"#);
    shop.write("array.json", "[1, 2]");
    assert_shown!(transcript(
        &shop,
        &[
            "compile --model model.toml --trained stranger.json",
            "compile --model model.toml --trained lightgbm.txt",
            "compile --model model.toml --trained pickle.json",
            "compile --model model.toml --trained cut.json",
            "compile --model model.toml --trained array.json",
            "compile --model model.toml --trained bundle.svb",
        ],
    ));
}

/// Whatever the working directory is: the weights lie beside the model, and nowhere else.
#[test]
fn weights_beside_a_network_are_read_from_its_folder() {
    let shop = Shop::new();
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/compile/tests/onnx");
    let copy = |name: &str, to: &str| fs::copy(committed.join(name), shop.path().join(to)).expect("a committed model");
    fs::create_dir(shop.path().join("export")).expect("a folder");
    copy("beside.onnx", "export/net.onnx");
    copy("beside.onnx.data", "beside.onnx.data");
    let (mut fields, mut features) = ("version = 1\n[fields.item]\n".to_owned(), String::new());
    for name in ["f0", "f1", "f2", "f3", "f4", "f5"] {
        fields += &format!("{name} = \"number\"\n");
        features += &format!("[[feature]]\nname = \"{name}\"\nkind = \"number\"\nfield = \"item.{name}\"\n");
    }
    shop.write("network.toml", fields + &features);
    let model = "version = 1\n[model]\nname = \"net\"\nkind = \"graph\"\nobjective = \"logistic\"\n\
        features = \"network.toml\"\n";
    shop.write("net.toml", model);
    let line = "compile --quiet --model net.toml --trained export/net.onnx --out net.svb";
    let refused = shop.run(line);
    copy("beside.onnx.data", "export/beside.onnx.data");
    assert_shown!(format!("{refused}\n{}", shop.run(line)), (r"(?m)^( *\d+ bytes|  weights of.*)$", "[size]"));
    assert!(shop.read("net.svb").len() > 1_000);
}

#[test]
fn a_cascade_is_compiled_shown_and_decided() {
    let shop = Shop::new();
    shop.write("cascade.toml", format!("{MODEL}\n[[stage]]\ntrained = \"cheap.json\"\nkeep = 2\n"));
    shop.write("cheap.json", r#"{"kind": "linear", "bias": 0, "weights": {"price": 1.0}}"#);
    shop.write("strange.toml", format!("{MODEL}\n[[stage]]\ntrained = \"stranger.json\"\nkeep = 2\n"));
    shop.write("stranger.json", r#"{"kind": "linear", "bias": 0, "weights": {"prize": 1}}"#);
    shop.write("more.toml", format!("{MODEL}\n[[stage]]\ntrained = \"none.json\"\nkeep = 2\n"));
    assert_shown!(transcript(
        &shop,
        &[
            "compile --model cascade.toml --trained trained.json --out cascade.svb",
            "inspect cascade.svb",
            "rank --bundle cascade.svb --shared shared-state.bin --state user-state.bin --request request.json --reasons 2",
            "compile --model more.toml --trained trained.json",
            "compile --model strange.toml --trained trained.json",
        ],
    ));
}

#[test]
fn a_bundle_is_baked_into_the_guest() {
    let shop = Shop::new();
    let baked = shop.run("compile --model model.toml --trained trained.json --emit wasm --json").json();
    assert_eq!(baked["path"], "bundle.wasm");
    let module = shop.read("bundle.wasm");
    assert!(module.starts_with(b"\0asm") && module.windows(8).any(|bytes| bytes == b"SELVEDGE"), "the bundle is in it");
    // A module of a bundle is no guest to put a bundle into.
    shop.write("not.wasm", "\0asm but not really");
    assert_shown!(transcript(
        &shop,
        &[
            "compile --model model.toml --trained trained.json --emit wasm --guest bundle.wasm --quiet",
            "compile --model model.toml --trained trained.json --emit wasm --guest not.wasm --quiet",
            "compile --model model.toml --trained trained.json --emit wasm --guest nothing.wasm --quiet",
        ],
    ));
}

#[test]
fn a_network_is_declared_and_not_trained_here() {
    let shop = Shop::new();
    shop.write("graph.toml", MODEL.replace("\"linear\"", "\"graph\""));
    assert_eq!(shop.run("compile --model graph.toml --trained trained.json --out made.svb").code, Some(0));
    assert_shown!(shop.run("train --model graph.toml --weeks 1..2 --tune 3..4 --out out"));
}

#[test]
fn the_reference_of_features_is_printed() {
    let printed = Shop::new().run("features");
    assert_eq!(printed.code, Some(0));
    assert!(printed.stdout.contains("# features.toml") && printed.stdout.contains("decayed_count"), "{printed}");
}
