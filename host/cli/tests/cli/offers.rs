//! `uplift`, `plan`, and `compile` with campaigns: from a trial to offers, and what is wrong with either.

use std::fmt::Write as _;

use crate::shop::{Shop, assert_shown, transcript};

const FEATURES: &str = r#"version = 1
[fields.user]
visits = "number"
basket = "number"
tier = "string"
[fields.item]
price = "number"
[[feature]]
name = "visits"
kind = "number"
field = "user.visits"
[[feature]]
name = "basket"
kind = "number"
field = "user.basket"
[[feature]]
name = "price"
kind = "number"
field = "item.price"
"#;

const MODEL: &str = r#"version = 1
[model]
name = "offers"
kind = "linear"
objective = "logistic"
features = "user-features.toml"
"#;

const CAMPAIGN: &str = r#"version = 1
currency = "EUR"
[budgets.spring]
total = 30_000
highest_price = 4.0
[[campaign]]
name = "spring"
response = "response.json"
from = 2026-11-01T00:00:00Z
until = 2026-12-01T00:00:00Z
goal = "revenue"
margin = 1200
epoch = "7d"
eligible = "visits >= 1 and not (basket is missing or user.tier == \"staff\")"
funders = { spring = 1.0 }
[[campaign.caps]]
count = 2
period = "30d"
[[campaign.offer]]
name = "five_off"
amount = 500
min_spend = 2000
discount = 400
ladder = "amount"
life = "7d"
[[campaign.offer]]
name = "ten_off"
amount = 1000
min_spend = 2000
discount = 800
ladder = "amount"
life = "7d"
"#;

const LINE: &str = "uplift --campaigns campaign.toml --trial trial.csv --outcome bought";

/// Rows in which offers move those who come seldom, `effect` more for each step, by a generator that every machine has.
fn trial(rows: usize, effect: f64) -> String {
    let mut state = 7_u64;
    let mut draw = move || {
        state = state * 16_807 % 2_147_483_647;
        state as f64 / 2_147_483_647.0
    };
    let mut csv = "visits,basket,arm,bought\n".to_owned();
    for _ in 0..rows {
        let (visits, basket) = ((draw() * 10.0).floor(), (draw() * 80.0).floor());
        let arm = (draw() * 3.0) as usize;
        let chance = 0.1 + 0.03 * visits + if visits < 4.0 { effect * arm as f64 } else { 0.0 };
        let bought = u8::from(draw() < chance);
        // Writing to a string does not fail.
        let _ = writeln!(csv, "{visits},{basket},{},{bought}", ["none", "five_off", "ten_off"][arm]);
    }
    csv
}

fn shop(rows: usize, effect: f64) -> Shop {
    let shop = Shop::new();
    shop.write("user-features.toml", FEATURES);
    shop.write("offers.toml", MODEL);
    shop.write("campaign.toml", CAMPAIGN);
    shop.write("ranking.json", r#"{"kind": "linear", "bias": 0, "weights": {"price": -1}}"#);
    shop.write("trial.csv", trial(rows, effect));
    shop
}

const COMPILE: &str = "compile --model offers.toml --trained ranking.json --campaigns campaign.toml --out offers.svb";

#[test]
fn a_trial_becomes_offers_within_a_budget() {
    let shop = shop(1_800, 0.25);
    let compared = shop.run(&format!("{LINE} --report uplift.html --json"));
    assert_eq!(compared.code, Some(0), "{compared}");
    let compared = compared.json();
    assert_eq!((&compared["rows"], &compared["wrote"]), (&1_800.into(), &"response.json".into()));
    assert_ne!(compared["finding"], "not-from-nothing");
    let page = String::from_utf8(shop.read("uplift.html")).expect("a page");
    assert!(page.contains("Does `spring` pay?") && page.contains("<svg"));

    let planned = shop.run("plan --campaigns campaign.toml --users trial.csv --report plan.html --json").json();
    let number = |value: &serde_json::Value| value.as_f64().expect("a number");
    assert!(number(&planned["planned"]["spend"]) <= 30_000.0, "{planned}");
    assert!(number(&planned["planned"]["value"]) > 0.0 && number(&planned["gap"]) >= 0.0);
    assert!(number(&planned["planned"]["value"]) <= number(&planned["bound"]) + 1e-6);
    let prices = planned["prices"].as_array().expect("prices");
    assert!(prices.windows(2).all(|pair| number(&pair[0]["spend"]) <= number(&pair[1]["spend"])), "{planned}");
    assert!(String::from_utf8(shop.read("plan.html")).expect("a page").matches("<svg").count() == 2);

    assert_eq!(shop.run(COMPILE).code, Some(0));
    let asked = |visits: u8| {
        format!(
            r#"{{"time": "2026-11-23T12:00:00Z", "candidates": [{{"id": "a"}}], "user": {{"fields": {{"visits": {visits}, "basket": 30}}}},
                "offer": {{"campaign": "spring", "budgets": {{"spring": {{"price": 1.0, "left": 30000}}}}}}}}"#
        )
    };
    shop.write("seldom.json", asked(1));
    shop.write("never.json", asked(0));
    let offer = |request: &str| shop.run(&format!("rank --bundle offers.svb --request {request} --json")).json();
    let seldom = offer("seldom.json");
    assert_eq!(seldom["offer"]["status"], "offered", "those who come seldom are moved: {seldom}");
    let never = offer("never.json");
    assert_eq!(never["offer"]["reason"], "not-eligible", "{never}");
}

#[test]
fn a_comparison_and_a_plan_are_told() {
    let shop = shop(1_800, 0.25);
    let shown = transcript(&shop, &[LINE, "plan --campaigns campaign.toml --users trial.csv"]);
    // Figures of made-up data say nothing; their places do.
    assert_shown!(shown, (r"[-+]?\d+\.\d+", "#.#"), (r" +\d+( %|\b)", " #$1"));
}

#[test]
fn campaigns_are_compiled_and_shown() {
    let shop = shop(1, 0.0);
    let arm = |offer: &str, bias: f32| {
        let model = format!(r#"{{"kind": "linear", "bias": {bias}, "weights": {{"visits": 0.25}}}}"#);
        format!(r#"{{"offer": "{offer}", "scale": 1, "shift": 0, "error": 0.01, "model": {model}}}"#)
    };
    let arms = [arm("none", -1.0), arm("five_off", -0.5), arm("ten_off", -0.5)].join(", ");
    shop.write("response.json", format!(r#"{{"kind": "response", "arms": [{arms}]}}"#));
    assert_eq!(shop.run(COMPILE).code, Some(0));
    assert_shown!(shop.run("inspect offers.svb"));
}

#[test]
fn mistakes_in_campaigns_are_shown_where_they_are() {
    let shop = shop(1, 0.0);
    shop.write("typo.toml", CAMPAIGN.replace("margin = 1200", "margin = -1\nmargn = 1200"));
    shop.write("rule.toml", CAMPAIGN.replace("visits >= 1 and", "vists >= 1 and"));
    let arm = |offer: &str, feature: &str| {
        let model = format!(r#"{{"kind": "linear", "bias": 0, "weights": {{"{feature}": 1}}}}"#);
        format!(r#"{{"offer": "{offer}", "scale": 1, "shift": 0, "error": 0.01, "model": {model}}}"#)
    };
    let response = |arms: &[String]| format!(r#"{{"kind": "response", "arms": [{}]}}"#, arms.join(", "));
    shop.write("few.json", response(&[arm("none", "visits"), arm("five_off", "visits")]));
    shop.write("item.json", response(&["none", "five_off", "ten_off"].map(|offer| arm(offer, "price"))));
    shop.write("few.toml", CAMPAIGN.replace("response.json", "few.json"));
    shop.write("item.toml", CAMPAIGN.replace("response.json", "item.json"));
    shop.write("ranked.toml", CAMPAIGN.replace("response.json", "ranking.json"));
    let line = |file: &str| format!("compile --model offers.toml --trained ranking.json --campaigns {file}");
    let lines = ["typo.toml", "campaign.toml", "rule.toml", "few.toml", "item.toml", "ranked.toml"].map(line);
    assert_shown!(transcript(&shop, &lines.each_ref().map(String::as_str)));
}

#[test]
fn trials_that_are_none_are_refused() {
    let shop = shop(600, 0.25);
    let csv = trial(600, 0.25);
    shop.write("arm.csv", csv.replace("ten_off", "eleven_off"));
    shop.write("text.csv", csv.replacen("\n1,", "\nseldom,", 1));
    shop.write("untried.csv", csv.lines().filter(|line| !line.contains("ten_off")).collect::<Vec<_>>().join("\n"));
    // Those who come often get the larger offer: nobody drew.
    let chosen = csv.lines().map(|line| match line.split_once(',') {
        Some((visits, rest)) if visits.parse().is_ok_and(|visits: u8| visits > 6) => {
            format!("{visits},{}", rest.replace("none", "ten_off").replace("five_off", "ten_off"))
        }
        _ => line.to_owned(),
    });
    shop.write("chosen.csv", chosen.collect::<Vec<_>>().join("\n"));
    shop.write("empty.csv", "visits,basket,arm,bought\n");
    let line = |file: &str| format!("uplift --campaigns campaign.toml --trial {file} --outcome bought");
    assert_shown!(transcript(
        &shop,
        &[
            &line("arm.csv"),
            &line("text.csv"),
            &line("untried.csv"),
            &line("chosen.csv"),
            &line("empty.csv"),
            "uplift --campaigns campaign.toml --trial trial.csv --outcome spent",
            "uplift --campaigns campaign.toml --trial trial.csv --outcome bought --propensity p",
            "uplift --campaigns campaign.toml --campaign summer --trial trial.csv --outcome bought",
            "uplift --campaigns campaign.toml --trial trial.csv --outcome bought --budget 0",
            "plan --campaigns campaign.toml --users trial.csv",
        ],
    ));
}

#[test]
fn a_trial_too_small_to_tell_writes_nothing_and_says_so() {
    let shop = shop(240, 0.0);
    let told = shop.run(LINE);
    assert_eq!(told.code, Some(1), "{told}");
    assert!(told.stdout.contains("too small to tell") && told.stdout.contains("Nobody is treated"), "{told}");
    assert!(told.stderr.contains("rows with"), "how many rows it takes is said: {told}");
    assert!(!shop.path().join("response.json").exists());
    let written = shop.run(&format!("{LINE} --quiet --policy five_off"));
    assert!(written.code == Some(2) && written.stderr.contains("five_off for all"), "{written}");
    assert_eq!(shop.run(&format!("{LINE} --observational --json")).json()["observational"], true);
}

#[test]
fn campaigns_that_were_observed_are_marked_wherever_they_are_shown() {
    let shop = Shop::new();
    let ran = shop.run("demo coupons --quick --report report.html");
    assert_eq!(ran.code, Some(0), "{ran}");
    let page = String::from_utf8(shop.read("redemption.html")).expect("a page");
    for shown in [&ran.stdout, &page] {
        assert!(shown.contains("Observed, not drawn") && shown.contains("(observational)"), "{shown}");
        assert!(shown.contains("made-up households"), "{shown}");
    }
}

#[test]
fn the_demo_of_coupons_runs_and_repeats() {
    let shop = Shop::new();
    let figures = |file: &str| {
        let ran = shop.run(&format!("demo coupons --quick --json {file} --report report.html"));
        assert_eq!(ran.code, Some(0), "{ran}");
        serde_json::from_slice::<serde_json::Value>(&shop.read(file)).expect("figures")
    };
    let first = figures("first.json");
    assert_eq!(first, figures("second.json"));
    let of = |name: &str| {
        let mut figures = first.as_array().expect("a list").iter();
        figures.find(|figure| figure["name"] == name).and_then(|figure| figure["value"].as_f64()).expect("a figure")
    };
    assert!(of("coupons.responses_low") > 0.0, "made-up people are moved by cash: {first}");
    assert!(of("coupons.spent") <= 1.1 * of("coupons.budget"), "people unseen cost about what was planned: {first}");
    assert!(of("coupons.offered") > 0.0 && of("coupons.offered") < of("coupons.people"));
    let page = String::from_utf8(shop.read("report.html")).expect("a page");
    assert!(page.contains("made-up people") && page.contains("Decided by the guest"));
    assert!(of("coupons.observed.lead_over_by_lot_low") > 0.0, "those redeem who buy what the book has: {first}");
    assert!(of("coupons.observed.planned") <= of("coupons.observed.budget"), "{first}");
    let wrong = shop.run("demo coupons --quick --rows rows");
    assert!(wrong.code == Some(2) && wrong.stderr.contains("flyer"), "{wrong}");
}
