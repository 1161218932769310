//! `compile` and `features`: declarations, trained models, and what is wrong with them.

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

#[test]
fn the_reference_of_features_is_printed() {
    let printed = Shop::new().run("features");
    assert_eq!(printed.code, Some(0));
    assert!(printed.stdout.contains("# features.toml") && printed.stdout.contains("decayed_count"), "{printed}");
}
