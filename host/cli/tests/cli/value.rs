//! `eval --log`: what a bundle would have earned, from the log of another one.

use selvedge_compile::{compile, import};
use selvedge_engine::{Engine, Limits};
use selvedge_format::decision::DecisionView;
use selvedge_format::record::{DigestView, Outcome, RecordView};
use selvedge_format::{AlignedBytes, U64s, key};
use selvedge_spec::{FeatureSpec, ModelSpec};

use crate::shop::{FEATURES, MODEL, REQUEST, Shop, assert_shown, transcript};

const EXPLORE: &str = "[slate.explore]\nepsilon = 0.5\nseed = 7\n";
/// Likes what is cheap, as `TRAINED` does, and what is dear.
const CHEAP: &str = r#"{"kind": "linear", "bias": 0.5, "weights": {"price": -0.25, "bought": 0.1, "sold": 0.1}}"#;
const DEAR: &str = r#"{"kind": "linear", "bias": 0.5, "weights": {"price": 0.25, "bought": 0.1, "sold": 0.1}}"#;
/// How often a shopper takes what stands first.
const TAKEN: [(&str, f64); 5] = [("apple", 0.1), ("bread", 0.4), ("cider", 0.8), ("dates", 0.3), ("eggs", 0.2)];
const IDS: [&str; 5] = ["bread", "apple", "cider", "dates", "eggs"];
const DRAWS: u32 = 8_000;

fn bundle(explore: &str, trained: &str) -> Vec<u8> {
    let features = FeatureSpec::parse("features.toml", FEATURES).expect("valid features");
    let model = ModelSpec::parse("model.toml", &format!("{MODEL}{explore}")).expect("a valid model");
    compile(&features, &model, &import(trained.as_bytes()).expect("a valid trained model")).expect("a bundle").bytes
}

fn request(shop: &Shop, number: u32) -> Vec<u8> {
    let id = format!("{number:032x}");
    shop.write("one.json", REQUEST.replace("00112233445566778899aabbccddeeff", &id));
    let ran = shop.run("rank --bundle cheap.svb --shared shared-state.bin --request one.json --record one.log --quiet");
    assert_eq!(ran.code, Some(0), "{ran}");
    let log = shop.read("one.log");
    std::fs::remove_file(shop.path().join("one.log")).expect("the log was written");
    match RecordView::read(&log) {
        Ok((RecordView::Full { request, .. }, _)) => request.to_vec(),
        other => panic!("{other:?}"),
    }
}

/// A log of `DRAWS` decisions with outcomes, by an engine here: the command would take minutes to start that often.
fn log(shop: &Shop, logged: &[u8]) -> Vec<u8> {
    let mut engine = Engine::new(Limits::default());
    engine.load(AlignedBytes::copy_of(logged)).expect("the bundle loads");
    engine.load(AlignedBytes::copy_of(&shop.read("shared-state.bin"))).expect("the shared state loads");
    let mut request = request(shop, 1);
    let at = request.windows(16).position(|bytes| bytes == 1_u128.to_be_bytes()).expect("the request id");
    let mut log = Vec::new();
    for number in 0..DRAWS {
        // Any bits will do, as long as they are the same every time.
        let id = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes();
        request[at..at + 16].copy_from_slice(&id);
        let decision = engine.decide(&request).to_vec();
        RecordView::Full { request: &request, decision: &decision }.write(&mut log);
        let view = DecisionView::parse(&decision).expect("a decision");
        let first = IDS[view.slots.get(0) as usize];
        let (_, taken) = TAKEN.iter().find(|(item, _)| *item == first).expect("an item of the shop");
        if f64::from(key(&id) as u32) / f64::from(u32::MAX) < *taken {
            let outcome = Outcome {
                request_id: id,
                time_ms: 1_795_392_001_000,
                item: key(first.as_bytes()),
                event: key(b"purchase"),
                id: u64::from(number) + 1,
                value: 2.0,
            };
            // Sent twice, as a client does that saw no answer.
            RecordView::Outcome(outcome).write(&mut log);
            RecordView::Outcome(outcome).write(&mut log);
        }
    }
    log
}

fn shop() -> Shop {
    let shop = Shop::new();
    shop.write("cheap.svb", bundle(EXPLORE, CHEAP));
    shop.write("dear.svb", bundle(EXPLORE, DEAR));
    shop.write("certain.svb", bundle("", CHEAP));
    let mut log = log(&shop, &shop.read("cheap.svb"));
    // A decision that was logged without its request, and one that was sent again.
    let (RecordView::Full { request, decision }, _) = RecordView::read(&log).expect("a record") else {
        panic!("it begins with a decision");
    };
    let mut more = Vec::new();
    RecordView::Full { request, decision }.write(&mut more);
    let digest = DigestView { time_ms: 1_795_392_000_000, request_hash: key(request), items: U64s::new(&[]), decision };
    RecordView::Digest(digest).write(&mut more);
    log.extend(more);
    shop.write("decisions.log", log);
    shop
}

const EVAL: &str =
    "eval --bundle dear.svb --logged cheap.svb --shared shared-state.bin --log decisions.log --event purchase";

#[test]
fn a_bundle_is_judged_on_the_log_of_another() {
    let shop = shop();
    assert_shown!(
        transcript(&shop, &[EVAL]),
        (r"\d\.\d{5}", "[number]"),
        (r"\d+ of 8000|mean \S+ largest .*", "[number]")
    );
    let report = shop.run(&format!("{EVAL} --json")).json();
    // Dear goods first: cider with the probability 0.5 + 0.1, the others with 0.1 each.
    let truth: f64 = TAKEN.iter().map(|(item, taken)| taken * if *item == "cider" { 0.6 } else { 0.1 }).sum();
    let logged: f64 = TAKEN.iter().map(|(item, taken)| taken * if *item == "apple" { 0.6 } else { 0.1 }).sum();
    let estimate = |name: &str| {
        let list = report["estimates"].as_array().expect("estimates");
        let found = list.iter().find(|estimate| estimate["estimator"] == name).expect("an estimator");
        ["low", "mean", "high"].map(|bound| found[bound].as_f64().expect("a number"))
    };
    for (name, expected) in [("logged", logged), ("ips", truth), ("snips", truth), ("doubly_robust", truth)] {
        let [low, mean, high] = estimate(name);
        assert!((mean - expected).abs() < 0.06, "{name}: {mean}, but in truth {expected}");
        assert!(low < mean && mean < high, "{name}: {low}, {mean}, {high}");
    }
    assert_eq!(report["draws"], 8_000);
    assert_eq!(report["passed_over"]["repeated"], 1);
    assert_eq!(report["passed_over"]["digests"], 1);
    let valued = shop.run(&format!("{EVAL} --json --reward value")).json();
    let ratio = valued["estimates"][1]["mean"].as_f64().unwrap() / report["estimates"][1]["mean"].as_f64().unwrap();
    assert!((ratio - 2.0).abs() < 1e-9, "an outcome that was sent twice counts once: {ratio}");
}

#[test]
fn what_a_log_cannot_tell_is_not_estimated() {
    let shop = shop();
    // The same decisions, by a bundle that does not explore: what it never shows cannot be known.
    shop.write("certain.log", log(&shop, &shop.read("certain.svb")));
    let mut forged = shop.read("decisions.log");
    let at = forged.len() / 2;
    forged[at] ^= 1;
    shop.write("damaged.log", forged);
    shop.write("empty.log", "");
    assert_shown!(transcript(
        &shop,
        &[
            "eval --bundle dear.svb --logged certain.svb --shared shared-state.bin --log certain.log",
            "eval --bundle dear.svb --shared shared-state.bin --log decisions.log",
            "eval --bundle dear.svb --logged cheap.svb --log decisions.log",
            "eval --bundle dear.svb --logged cheap.svb --shared shared-state.bin --log decisions.log --event view",
            "eval --bundle dear.svb --logged cheap.svb --shared shared-state.bin --log decisions.log --clip 0",
            "eval --bundle dear.svb --log empty.log",
            "eval --bundle dear.svb --log decisions.log --weeks 1..2",
            "eval --bundle dear.svb --event view",
        ],
    ));
    let damaged = shop.run(&EVAL.replace("decisions.log", "damaged.log"));
    assert_eq!(damaged.code, Some(0), "{damaged}");
    assert!(damaged.stderr.contains("bytes of the logs are no record"), "{damaged}");
}
