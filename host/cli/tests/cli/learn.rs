//! `train` and `eval`, and the whole chain between them, on made-up data.

use crate::shop::{Shop, assert_shown, transcript};

const FEATURES: &str = r#"version = 1
[fields.item]
product_category = "string"
[events]
purchase = {}
[[feature]]
name = "item_bought"
kind = "lifetime_count"
scope = "user"
event = "purchase"
by = "item"
transform = ["log1p"]
[[feature]]
name = "category_share"
kind = "share"
scope = "user"
event = "purchase"
by = "product_category"
half_life = "56d"
[[feature]]
name = "item_sold"
kind = "decayed_count"
scope = "global"
event = "purchase"
by = "item"
half_life = "28d"
transform = ["log1p"]
"#;

fn model(kind: &str, training: &str) -> String {
    format!(
        "version = 1\n[model]\nname = \"small\"\nkind = \"{kind}\"\nobjective = \"lambdarank\"\n\
         features = \"small-features.toml\"\n[train]\n{training}\n"
    )
}

fn shop() -> Shop {
    let shop = Shop::new();
    shop.write("small-features.toml", FEATURES);
    shop.write("trees.toml", model("trees", "rounds = 10\nmax_depth = 3"));
    shop.write("linear.toml", model("linear", "rounds = 40"));
    shop
}

const DATA: &str = "--data synthetic-small";

#[test]
fn a_model_is_trained_compiled_judged_and_decides() {
    let shop = shop();
    for kind in ["trees", "linear"] {
        let trained =
            shop.run(&format!("train --model {kind}.toml {DATA} --weeks 4..14 --tune 15..17 --out {kind} --json"));
        assert_eq!(trained.code, Some(0), "{trained}");
        let compiled =
            shop.run(&format!("compile --model {kind}.toml --trained {kind}/model.json --out {kind}/bundle.svb"));
        assert_eq!(compiled.code, Some(0), "{compiled}");

        let judged = shop.run(&format!("eval --bundle {kind}/bundle.svb {DATA} --weeks 15..17 --fold 0 --json")).json();
        assert_eq!(judged, trained.json()["tuning"], "the engine that is judged is the engine that was trained");
        let ndcg = |ranker: usize| judged["rankers"][ranker]["reached"]["ndcg@10"]["mean"].as_f64().expect("a mean");
        assert!(ndcg(0) > ndcg(1), "{kind} is better than no order at all: {judged}");

        let ranked = shop.run(&format!(
            "rank --bundle {kind}/bundle.svb --shared {kind}/shared-state.bin --state {kind}/user-state.bin \
             --request {kind}/request.json --json"
        ));
        assert_eq!(ranked.json()["status"], "personalized", "{ranked}");
        assert!(ranked.stderr.is_empty(), "{ranked}");
    }
}

#[test]
fn training_is_reproducible_to_the_byte() {
    let shop = shop();
    let line = |out: &str| {
        format!("train --model trees.toml {DATA} --weeks 4..10 --tune 11..12 --holdout-fold none --out {out}")
    };
    shop.run(&line("first"));
    shop.run(&line("second"));
    for file in ["model.json", "shared-state.bin", "request.json", "user-state.bin"] {
        assert!(shop.read(&format!("first/{file}")) == shop.read(&format!("second/{file}")), "{file}");
    }
}

#[test]
fn what_is_trained_and_judged_is_told() {
    let shop = shop();
    let shown = transcript(
        &shop,
        &[
            &format!("train --model linear.toml {DATA} --weeks 4..14 --tune 15..17 --out small"),
            "compile --model linear.toml --trained small/model.json --out small/bundle.svb --quiet",
            &format!("eval --bundle small/bundle.svb {DATA} --weeks 18..20"),
        ],
    );
    // Figures of made-up data say nothing; their places do.
    assert_shown!(shown, (r"[-+]?\d\.\d{4}", "#.####"), (r"\b\d+ (rows|queries)", "[number] $1"));
}

#[test]
fn what_cannot_be_trained_or_judged_is_refused() {
    let shop = shop();
    shop.write("logistic.toml", model("linear", "rounds = 5").replace("lambdarank", "logistic"));
    assert_shown!(transcript(
        &shop,
        &[
            &format!("train --model trees.toml {DATA} --out small"),
            &format!("train --model trees.toml {DATA} --weeks 4..14 --tune 14..17 --out small"),
            &format!("train --model logistic.toml {DATA} --weeks 4..6 --tune 7..8 --out small"),
            &format!("eval --bundle bundle.svb {DATA}"),
            &format!("eval --bundle trained.json {DATA} --weeks 15..17"),
        ],
    ));
}
