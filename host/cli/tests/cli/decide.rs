//! `rank` and `replay`: decisions in the sandbox, requests that cannot be used, logs that are damaged or disagree.

use selvedge_format::container::{Container, ContainerBuilder, Kind};
use selvedge_format::record::RecordView;
use serde_json::{Value, json};

use crate::shop::{REQUEST, Shop, assert_shown, transcript};

const RANK: &str = "rank --bundle bundle.svb --shared shared-state.bin --state user-state.bin";

/// The request of the shop, changed.
fn request(change: impl FnOnce(&mut Value)) -> String {
    let mut request = serde_json::from_str(REQUEST).expect("a request");
    change(&mut request);
    request.to_string()
}

#[test]
fn a_request_is_ranked_with_reasons() {
    let shop = Shop::new();
    assert_shown!(transcript(
        &shop,
        &[&format!("{RANK} --request request.json --reasons 3"), "rank --bundle bundle.svb --request request.json",],
    ));
}

#[test]
fn a_decision_has_a_form_for_scripts() {
    let shop = Shop::new();
    assert_shown!(shop.feed(&format!("{RANK} --request - --reasons 1 --json"), REQUEST.as_bytes()));
}

#[test]
fn an_unknown_user_and_missing_fields_are_no_errors() {
    let shop = Shop::new();
    shop.write("bare.json", r#"{"time": 0, "candidates": [{"id": "new"}, {"id": "newer"}]}"#);
    assert_shown!(shop.run("rank --bundle bundle.svb --request bare.json"));
}

#[test]
fn what_is_probably_not_meant_is_warned_of() {
    let shop = Shop::new();
    shop.write(
        "odd.json",
        request(|request| {
            request["candidates"][0]["prize"] = json!(1);
            request["candidates"][1]["id"] = json!("bread");
            request["user"] = json!({"fields": {"home_store": "12"}});
        }),
    );
    assert_shown!(shop.run("rank --bundle bundle.svb --request odd.json"));
}

#[test]
fn requests_that_cannot_be_ranked_keep_their_order_and_say_why() {
    let shop = Shop::new();
    shop.write("none.json", r#"{"time": 0, "candidates": []}"#);
    let many: Vec<Value> = (0..10_000).map(|id| json!({"id": format!("p{id}")})).collect();
    shop.write("many.json", json!({"time": 0, "candidates": many}).to_string());
    assert_shown!(transcript(
        &shop,
        &["rank --bundle bundle.svb --request none.json", "rank --bundle bundle.svb --request many.json"],
    ));
}

#[test]
fn mistakes_in_a_request_are_named_with_their_place() {
    let shop = Shop::new();
    let cases = [
        ("type", request(|request| request["candidates"][2]["price"] = json!("cheap"))),
        ("brand", request(|request| request["candidates"][4]["brand"] = json!(7))),
        ("negative", request(|request| request["time"] = json!(-1))),
        ("nan", REQUEST.replace("3.5", "NaN")),
        ("huge", REQUEST.replace("3.5", "1e99")),
        ("timeless", request(|request| request["time"] = Value::Null)),
        ("nameless", request(|request| request["candidates"][3] = json!({"price": 1}))),
        ("candidateless", r#"{"time": 0}"#.to_owned()),
        ("unknown", request(|request| request["candidate"] = json!([]))),
        ("pin", request(|request| request["pins"] = json!([{"id": "egg", "slot": 0}]))),
        ("cut", REQUEST[..90].to_owned()),
        ("state", request(|request| request["state"] = json!("c3Bvb2Y="))),
    ];
    let lines: Vec<String> = cases
        .iter()
        .map(|(name, text)| {
            shop.write(&format!("{name}.json"), text);
            format!("rank --bundle bundle.svb --request {name}.json")
        })
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_shown!(transcript(&shop, &lines));
}

#[test]
fn a_huge_string_costs_no_more_than_its_bytes() {
    let shop = Shop::new();
    shop.write("long.json", request(|request| request["candidates"][0]["brand"] = json!("x".repeat(100_000))));
    shop.write("longer.json", request(|request| request["candidates"][0]["brand"] = json!("x".repeat(5_000_000))));
    let long = shop.run("rank --bundle bundle.svb --request long.json --json");
    assert_eq!(long.json()["status"], "personalized", "{long}");
    assert_shown!(transcript(&shop, &["rank --bundle bundle.svb --request longer.json"]));
}

#[test]
fn files_of_another_kind_are_refused() {
    let shop = Shop::new();
    let bundle = shop.read("bundle.svb");
    shop.write("cut.svb", &bundle[..bundle.len() - 1]);
    shop.write("not.wasm", "\0asm but not really");
    assert_shown!(transcript(
        &shop,
        &[
            "rank --bundle cut.svb --request request.json",
            "rank --bundle shared-state.bin --request request.json",
            "rank --bundle bundle.svb --shared bundle.svb --request request.json",
            "rank --bundle bundle.svb --state bundle.svb --request request.json",
            "rank --bundle bundle.svb --request request.json --guest not.wasm",
        ],
    ));
}

/// The shop's bundle, with so many bytes more that nobody has to read.
fn padded(shop: &Shop, bytes: usize) -> Vec<u8> {
    let bundle = shop.read("bundle.svb");
    let container = Container::parse(&bundle, Kind::Bundle).expect("a bundle");
    let small = container.sections().iter().fold(ContainerBuilder::new(Kind::Bundle), |builder, section| {
        builder.required(section.tag, section.version, bundle[section.range.clone()].to_vec())
    });
    small.optional(0x99, 1, vec![0; bytes]).build()
}

#[test]
fn an_oversized_bundle_is_refused() {
    let shop = Shop::new();
    shop.write("large.svb", padded(&shop, 65 << 20));
    assert_shown!(transcript(&shop, &["rank --bundle large.svb --request request.json"]));
}

#[test]
fn a_trap_is_reported_and_its_request_can_be_run_again() {
    let shop = Shop::new();
    shop.write("wide.svb", padded(&shop, 1 << 20));
    let rank = "rank --bundle bundle.svb --request";
    assert_shown!(transcript(
        &shop,
        &[
            &format!("{rank} request.json --fuel 1000 --traps broken"),
            &format!("{rank} broken/trap-00112233445566778899aabbccddeeff.svrq --quiet"),
            "rank --bundle wide.svb --request request.json --memory 1",
        ],
    ));
}

#[test]
fn a_recorded_decision_is_reproduced_to_the_byte() {
    let shop = Shop::new();
    for line in [
        format!("{RANK} --request request.json --record decisions.log --reasons 2"),
        "rank --bundle bundle.svb --request request.json --record decisions.log".to_owned(),
    ] {
        assert_eq!(shop.run(&line).code, Some(0));
    }
    assert_shown!(transcript(
        &shop,
        &[
            "replay --bundle bundle.svb --shared shared-state.bin decisions.log",
            "replay --bundle bundle.svb decisions.log",
            "replay --bundle bundle.svb --shared shared-state.bin decisions.log --json",
        ],
    ));
}

#[test]
fn a_decision_that_differs_is_shown_field_by_field() {
    let shop = Shop::new();
    shop.run(&format!("{RANK} --request request.json --record decisions.log --reasons 2"));
    let log = shop.read("decisions.log");
    let (RecordView::Full { request, decision: recorded }, _) = RecordView::read(&log).expect("a record") else {
        panic!("`rank` records requests as well");
    };
    let mut decision = recorded.to_vec();
    let view = selvedge_format::decision::DecisionView::parse(recorded).expect("a decision");
    let scores: Vec<u8> = view.scores.iter().flat_map(f32::to_le_bytes).collect();
    let at = decision.windows(scores.len()).position(|window| window == scores).expect("the scores");
    decision[at + 4] ^= 1;
    let mut changed = Vec::new();
    RecordView::Full { request, decision: &decision }.write(&mut changed);
    shop.write("changed.log", [changed, log].concat());
    assert_shown!(transcript(&shop, &["replay --bundle bundle.svb --shared shared-state.bin changed.log"]));
}

#[test]
fn damage_to_a_log_loses_no_other_record() {
    let shop = Shop::new();
    for _ in 0..3 {
        shop.run(&format!("{RANK} --request request.json --record decisions.log"));
    }
    let log = shop.read("decisions.log");
    let mut damaged = log.clone();
    damaged[log.len() / 2] ^= 1;
    shop.write("damaged.log", damaged);
    shop.write("cut.log", &log[..log.len() - 9]);
    shop.write("none.log", "");
    let replay = "replay --bundle bundle.svb --shared shared-state.bin";
    assert_shown!(transcript(
        &shop,
        &[&format!("{replay} damaged.log"), &format!("{replay} cut.log"), &format!("{replay} none.log")],
    ));
}
