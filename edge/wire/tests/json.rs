//! JSON documents become the request that the builder would have written, or an error that names the place.
#![cfg(feature = "json")]

use proptest::prelude::*;
use selvedge_format::decision::{
    ArmParts, DecisionParts, DecisionStatus, DecisionView, FallbackReason, NO_FEATURE, NoOffer, OfferParts,
    OfferStatus, arm, rule,
};
use selvedge_format::key;
use selvedge_format::meta::{FeatureName, MetaV1};
use selvedge_format::program::{FieldType, FieldV1, ProgramV1, Scope, field_id};
use selvedge_format::request::{BudgetNow, CapCount, NO_PRICE, RequestLimits, RequestView};
use selvedge_format::terms::{BenefitV1, CampaignTermsV1, FunderV1, OfferV1, SHARE, ScopeV1, StackingV1, TermsV1};
use selvedge_wire::json::{self, JsonErrorKind};
use selvedge_wire::{RequestBuilder, Values};

const LIMITS: RequestLimits = RequestLimits { bytes: 1 << 20, state_bytes: 1 << 16 };

fn program() -> ProgramV1 {
    let field = |scope, name, ty| FieldV1 { id: field_id(scope, name), scope, ty };
    ProgramV1 {
        fields: vec![
            field(Scope::Item, "price", FieldType::Number),
            field(Scope::Item, "brand", FieldType::String),
            field(Scope::Item, "name", FieldType::Tokens),
            field(Scope::Item, "since", FieldType::Time),
            field(Scope::User, "home_store", FieldType::String),
            field(Scope::Context, "query", FieldType::Tokens),
        ],
        user_tables: vec![],
        global_tables: vec![],
        history_events: 0,
        features: vec![],
    }
}

fn read(text: &str) -> json::Request {
    json::request(text.as_bytes(), &program()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn refused(text: &str) -> String {
    json::request(text.as_bytes(), &program()).expect_err(text).to_string()
}

#[test]
fn a_document_becomes_the_request_that_the_builder_writes() {
    let request = read(
        r#"{
          "request_id": "000102030405060708090a0b0c0d0e0f", "time": "2026-11-23T18:30:00+01:00", "slate_size": 2, "reasons": 3,
          "user": {"fields": {"home_store": "12"}}, "state": "U1ZVUwEAAAAMAAAA", "context": {"query": ["fresh", "milk"]},
          "candidates": [{"id": "a", "price": 1.5, "name": ["whole", "milk"], "since": 5},
                         {"id": "b", "brand": "acme", "price": null, "since": "1970-01-01T00:00:01Z"}],
          "pins": [{"id": "b", "slot": 0}, {"candidate": 0, "slot": 1}], "exclude": ["b", "z"]
        }"#,
    );
    let expected = RequestBuilder::new(std::array::from_fn(|at| at as u8), 1_795_455_000_000, ["a", "b"])
        .utc_offset_min(60)
        .slate_size(2)
        .reasons(3)
        .state(b"SVUS\x01\0\0\0\x0c\0\0\0")
        .column(Scope::Item, "brand", Values::Strings(&["", "acme"]))
        .column(Scope::Item, "name", Values::Tokens(&[&["whole", "milk"], &[]]))
        .column(Scope::Item, "price", Values::Numbers(&[1.5, f32::NAN]))
        .column(Scope::Item, "since", Values::Times(&[5, 1000]))
        .column(Scope::User, "home_store", Values::Strings(&["12"]))
        .column(Scope::Context, "query", Values::Tokens(&[&["fresh", "milk"]]))
        .pin(1, 0)
        .pin(0, 1)
        .exclude(1);
    assert_eq!(request.bytes, expected.build());
    assert_eq!(request.ids, ["a", "b"]);
    assert_eq!(request.ignored, [""; 0]);
}

#[test]
fn names_that_the_program_lacks_are_passed_over_and_listed() {
    let request = read(
        r#"{"time": 0, "user": {"fields": {"price": 1}}, "context": {"weather": {"is": "fine"}},
            "candidates": [{"id": "a", "colour": "red"}, {"id": "b", "colour": 7, "Price": 2}]}"#,
    );
    assert_eq!(request.ignored, ["context.weather", "item.Price", "item.colour", "user.price"]);
    let without = read(r#"{"time": 0, "request_id": "x", "candidates": [{"id": "a"}, {"id": "b"}]}"#);
    assert_eq!(request.bytes.len(), without.bytes.len(), "nothing of them is sent");
}

#[test]
fn errors_name_the_place_what_belongs_there_and_what_is_there() {
    let candidates = |candidate: &str| format!(r#"{{"time": 0, "candidates": [{{"id": "a"}}, {candidate}]}}"#);
    let with = |members: &str| format!(r#"{{"time": 0, "candidates": [{{"id": "a"}}], {members}}}"#);
    for (text, message) in [
        (candidates(r#"{"id": "b", "price": "1"}"#), r#"candidates[1].price: expected a number, found the string "1""#),
        (
            candidates(r#"{"id": "b", "price": 1e200}"#),
            "candidates[1].price: expected a number within +-3.4e38, found the number 1e+200",
        ),
        (candidates(r#"{"id": "b", "brand": 7}"#), "candidates[1].brand: expected a string, found the number 7"),
        (
            candidates(r#"{"id": "b", "name": "milk"}"#),
            r#"candidates[1].name: expected a list of strings, found the string "milk""#,
        ),
        (
            candidates(r#"{"id": "b", "name": ["milk", {}]}"#),
            "candidates[1].name[1]: expected a string, found an object",
        ),
        (
            candidates(r#"{"id": "b", "since": "today"}"#),
            r#"candidates[1].since: expected a time as RFC 3339 or in milliseconds since 1970, found the string "today""#,
        ),
        (candidates(r#"{"id": 7}"#), "candidates[1].id: expected a string that is not empty, found the number 7"),
        (candidates(r#"{"id": ""}"#), r#"candidates[1].id: expected a string that is not empty, found the string """#),
        (candidates(r#"{"price": 7}"#), "candidates[1].id: expected a string that is not empty, found nothing"),
        (with(r#""user": {"fields": {"home_store": true}}"#), "user.fields.home_store: expected a string, found true"),
        (with(r#""context": {"query": [1]}"#), "context.query[0]: expected a string, found the number 1"),
        (with(r#""slate_size": -1"#), "slate_size: expected a whole number from 0 to 4294967295, found the number -1"),
        (
            with(r#""utc_offset_min": 1e9"#),
            "utc_offset_min: expected minutes from -1440 to 1440, found the number 1000000000.0",
        ),
        (with(r#""state": "a""#), r#"state: expected base64, found the string "a""#),
        (with(r#""request_id": 7"#), "request_id: expected a string, found the number 7"),
        (with(r#""exclude": [1]"#), "exclude[0]: expected a string, found the number 1"),
        (with(r#""pins": [{"id": "z", "slot": 0}]"#), r#"pins[0].id: no candidate has the id "z""#),
        (
            with(r#""pins": [{"candidate": 1, "slot": 0}]"#),
            "pins[0].candidate: expected the position of a candidate, found the number 1",
        ),
        (with(r#""pins": [{"slot": 0}]"#), "pins[0]: expected either `id` or `candidate`, found nothing"),
        (
            r#"{"candidates": []}"#.into(),
            "time: expected a time as RFC 3339 or in milliseconds since 1970, found nothing",
        ),
        (r#"{"time": -1, "candidates": []}"#.into(), "time: expected a time from 1970 to 9999, found the number -1"),
        (r#"{"time": 0}"#.into(), "candidates: expected a list of objects, found nothing"),
    ] {
        assert_eq!(refused(&text), message, "{text}");
    }
}

#[test]
fn unknown_and_repeated_members_and_broken_json_are_refused() {
    for (text, part) in [
        (r#"{"time": 0, "candidate": []}"#, "unknown field `candidate`, expected one of"),
        (r#"{"time": 0, "time": 1, "candidates": []}"#, "duplicate field `time`"),
        (r#"{"time": 0, "candidates": [{"id": "a", "price": 1, "price": 2}]}"#, "duplicate field `price`"),
        (r#"{"time": 0, "candidates": [], "user": {"field": {}}}"#, "unknown field `field`"),
        (r#"{"time": 0, "candidates": [NaN]}"#, "line 1 column"),
        (r#"{"time": 0, "candidates": [{"id": "a", "price": 1e999}]}"#, "number out of range"),
        ("[]", "invalid length"),
        ("", "EOF"),
    ] {
        let error = json::request(text.as_bytes(), &program()).expect_err(text);
        assert!(matches!(error.kind(), JsonErrorKind::Document { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error} should say {part}");
    }
    let deep =
        format!(r#"{{"time": 0, "context": {{"query": {}{}}}, "candidates": []}}"#, "[".repeat(200), "]".repeat(200));
    assert!(refused(&deep).contains("recursion limit"));
}

#[test]
fn identities_are_hexadecimal_or_hashed_and_never_shared_by_chance() {
    let id = |request_id: &str| {
        let request = read(&format!(r#"{{"request_id": {request_id}, "time": 0, "candidates": []}}"#));
        RequestView::parse(&request.bytes, LIMITS).expect("a valid request").request_id
    };
    assert_eq!(id(r#""8f14e45fceea167a5a36dedd4bea2543""#), id(r#""8f14e45f-ceea-167a-5a36-dedd4bea2543""#));
    assert_eq!(id(r#""8f14e45fceea167a5a36dedd4bea2543""#)[..2], [0x8f, 0x14]);
    assert_eq!(id(r#""visit 7""#), id(r#""visit 7""#));
    assert_ne!(id(r#""visit 7""#), id(r#""visit 8""#));
    assert_ne!(id("null"), id("null "), "documents that differ have other identities");
}

#[test]
fn a_decision_shows_names_rules_and_reasons() {
    let names =
        MetaV1 { features: vec![FeatureName { name: "price".into(), ..FeatureName::default() }], ..MetaV1::default() };
    let mut bytes = Vec::new();
    let parts = DecisionParts {
        request_id: [1; 16],
        bundle_id: [2; 32],
        shared_id: [0; 32],
        status: DecisionStatus::Personalized,
        candidates: 2,
        contributions: 2,
        cost: 9,
        error: 0,
        base: 0.5,
        slots: &[1, 0],
        scores: &[0.25, f32::NAN],
        propensities: &[1.0, 1.0],
        rules: &[rule::PINNED | rule::AT_MOST, 0],
        reason_features: &[0, 7, NO_FEATURE, NO_FEATURE],
        reason_effects: &[0.25, -0.5, 0.0, 0.0],
        offer: None,
    };
    parts.write(&mut bytes);
    let view = DecisionView::parse(&bytes).expect("a valid decision");
    let shown = json::decision(&view, &["a".into(), "b".into()], &names);
    assert_eq!(
        serde_json::to_value(&shown).expect("a document"),
        serde_json::json!({
            "request_id": "01".repeat(16), "status": "personalized", "bundle_id": "02".repeat(32), "candidates": 2, "cost": 9,
            "base": 0.5,
            "slots": [
                {"id": "b", "candidate": 1, "score": 0.25, "propensity": 1.0, "rules": ["pinned", "at-most"],
                 "reasons": [{"feature": "price", "effect": 0.25}, {"feature": "7", "effect": -0.5}]},
                {"id": "a", "candidate": 0, "score": null, "propensity": 1.0, "rules": [], "reasons": []},
            ],
        })
    );
    let fallback = DecisionParts {
        status: DecisionStatus::Fallback(FallbackReason::InvalidState),
        error: 7,
        contributions: 0,
        slots: &[],
        scores: &[],
        propensities: &[],
        rules: &[],
        reason_features: &[],
        reason_effects: &[],
        offer: None,
        ..parts
    };
    fallback.write(&mut bytes);
    let view = DecisionView::parse(&bytes).expect("a valid decision");
    let shown = serde_json::to_value(json::decision(&view, &[], &names)).expect("a document");
    assert_eq!(
        (&shown["status"], &shown["reason"], &shown["error"]),
        (&"fallback".into(), &"invalid-state".into(), &"invalid".into())
    );
}

#[test]
fn a_document_asks_for_an_offer_as_the_builder_does() {
    let request = |offer: &str| {
        let id = "00".repeat(16);
        read(&format!(r#"{{"request_id": "{id}", "time": 0, "candidates": [{{"id": "a"}}], "offer": {offer}}}"#)).bytes
    };
    let built = |campaign: &str, draw, budgets: &[BudgetNow], counts: &[CapCount]| {
        RequestBuilder::new([0; 16], 0, ["a"]).offer(key(campaign.as_bytes()), draw, budgets, counts).build()
    };
    assert_eq!(request("{}"), built("", None, &[], &[]));
    assert_eq!(request(r#"{"campaign": "", "draw": null}"#), built("", None, &[], &[]));
    let now = |name: &str, price_micros, left| BudgetNow { key: key(name.as_bytes()), price_micros, left };
    let mut budgets = [
        now("shop", 1_500_000, 20_000),
        now("brand", NO_PRICE, u64::MAX),
        now("free", 0, 0),
        now("dear", 1_000_000_000_000_000, 1),
    ];
    budgets.sort_unstable_by_key(|budget| budget.key);
    let counts = [
        CapCount { campaign: key(b"spring"), cap: 1, count: 2 },
        CapCount { campaign: key(b"autumn"), cap: 0, count: u32::MAX },
    ];
    let whole = request(
        r#"{"campaign": "spring", "draw": "000102030405060708090a0b0c0d0e0f",
            "budgets": {"shop": {"price": 1.5, "left": 20000}, "brand": {"price": null}, "free": {"price": 0, "left": 0},
                        "dear": {"price": 1e9, "left": 1}},
            "counts": [{"campaign": "spring", "cap": 1, "count": 2}, {"campaign": "autumn", "cap": 0, "count": 4294967295}]}"#,
    );
    assert_eq!(whole, built("spring", Some(std::array::from_fn(|at| at as u8)), &budgets, &counts));
    let not_asked = read(r#"{"time": 0, "candidates": [], "offer": null}"#);
    assert!(RequestView::parse(&not_asked.bytes, LIMITS).unwrap().offer.is_none());
}

#[test]
fn a_question_for_an_offer_that_is_wrong_is_refused_at_its_place() {
    let offer = |offer: &str| format!(r#"{{"time": 0, "candidates": [], "offer": {offer}}}"#);
    let budget = |budget: &str| offer(&format!(r#"{{"budgets": {{"shop": {budget}}}}}"#));
    for (text, message) in [
        (offer(r#"{"draw": "8f14"}"#), r#"offer.draw: expected 32 hexadecimal digits, found the string "8f14""#),
        (offer(r#"{"draw": 7}"#), "offer.draw: expected 32 hexadecimal digits, found the number 7"),
        (
            budget(r#"{"price": -0.5}"#),
            "offer.budgets.shop.price: expected a number from 0 to 1e9, found the number -0.5",
        ),
        (
            budget(r#"{"price": 1e10}"#),
            "offer.budgets.shop.price: expected a number from 0 to 1e9, found the number 10000000000.0",
        ),
        (
            budget(r#"{"price": "1"}"#),
            r#"offer.budgets.shop.price: expected a number from 0 to 1e9, found the string "1""#,
        ),
        (
            budget(r#"{"price": 1, "left": -1}"#),
            "offer.budgets.shop.left: expected minor units, a whole number not below 0, found the number -1",
        ),
        (
            budget(r#"{"price": 1, "left": 0.5}"#),
            "offer.budgets.shop.left: expected minor units, a whole number not below 0, found the number 0.5",
        ),
        (
            offer(&format!(r#"{{"budgets": {{{}}}}}"#, budgets(65))),
            "offer.budgets: expected at most 64 budgets, found 65 of them",
        ),
        (
            offer(&format!(r#"{{"counts": [{}]}}"#, vec![COUNT; 513].join(", "))),
            "offer.counts: expected at most 512 counts, found 513 of them",
        ),
    ] {
        assert_eq!(refused(&text), message, "{text}");
    }
    for (text, part) in [
        (budget(r#"{"left": 5}"#), "missing field `price`"),
        (budget(r#"{"price": 1, "cost": 5}"#), "unknown field `cost`"),
        (offer(r#"{"campaigns": "spring"}"#), "unknown field `campaigns`"),
        (offer(r#"{"counts": [{"campaign": "spring", "cap": 0}]}"#), "missing field `count`"),
        (offer(r#"{"counts": [{"campaign": "spring", "cap": -1, "count": 1}]}"#), "invalid value"),
        (offer(r#"{"campaign": 7}"#), "invalid type"),
        (offer("7"), "invalid type"),
    ] {
        assert!(refused(&text).contains(part), "{text}: {}", refused(&text));
    }
    let most = format!(r#"{{"budgets": {{{}}}, "counts": [{}]}}"#, budgets(64), vec![COUNT; 512].join(", "));
    assert!(RequestView::parse(&read(&offer(&most)).bytes, LIMITS).is_ok(), "the reader takes as many as the document");
}

const COUNT: &str = r#"{"campaign": "spring", "cap": 0, "count": 1}"#;

fn budgets(count: usize) -> String {
    (0..count).map(|at| format!(r#""budget-{at}": {{"price": 1}}"#)).collect::<Vec<_>>().join(", ")
}

/// A decision without slots that answers a question for an offer.
fn with_offer(offer: OfferParts<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    DecisionParts {
        request_id: [1; 16],
        bundle_id: [2; 32],
        shared_id: [0; 32],
        status: DecisionStatus::Personalized,
        candidates: 0,
        contributions: 0,
        cost: 9,
        error: 0,
        base: 0.0,
        slots: &[],
        scores: &[],
        propensities: &[],
        rules: &[],
        reason_features: &[],
        reason_effects: &[],
        offer: Some(offer),
    }
    .write(&mut bytes);
    bytes
}

fn terms() -> TermsV1 {
    let offer = |offer: &str| OfferV1 {
        offer: offer.into(),
        benefit: BenefitV1::FreeShipping,
        cap: 500,
        min_spend: 0,
        scope: ScopeV1::default(),
        stacking: StackingV1::default(),
        life_s: 60,
    };
    let campaign = |campaign: &str| CampaignTermsV1 {
        campaign: campaign.into(),
        funders: vec![FunderV1 { budget: "shop".into(), share: SHARE }],
        margin_floor: 0,
        disclosed: true,
        excluded: vec![],
        offers: vec![offer("small"), offer("large")],
    };
    TermsV1 { currency: "EUR".into(), campaigns: vec![campaign("autumn"), campaign("spring")] }
}

#[test]
fn an_offer_is_shown_by_its_name_with_what_every_arm_would_do() {
    let arm = |masked, response, value, score| ArmParts { masked, response, value, cost: 1.5, score };
    let arms = [
        ArmParts { response: 0.25, ..ArmParts::default() },
        arm(arm::NO_BUDGET | arm::MARGIN_FLOOR, 0.5, 2.5, f32::NAN),
        arm(0, 0.75, 5.0, 3.5),
    ];
    let parts = OfferParts {
        campaign: key(b"spring"),
        epoch: 20_000,
        status: OfferStatus::Offered,
        arm: 2,
        best: 2,
        drawn: true,
        propensity: 0.5,
        arms: &arms,
    };
    let bytes = with_offer(parts);
    let view = DecisionView::parse(&bytes).expect("a valid decision");
    let mut shown = json::decision(&view, &[], &MetaV1::default());
    let key_of_spring = format!("{:016x}", key(b"spring"));
    let expected = |campaign: &str| {
        serde_json::json!({
            "campaign": campaign, "status": "offered", "arm": 2, "best": 2, "preview": false, "propensity": 0.5,
            "epoch": 20_000,
            "arms": [
                {"response": 0.25, "value": 0.0, "cost": 0.0, "score": 0.0, "masked": []},
                {"response": 0.5, "value": 2.5, "cost": 1.5, "score": null, "masked": ["no-budget", "margin-floor"]},
                {"response": 0.75, "value": 5.0, "cost": 1.5, "score": 3.5, "masked": []},
            ],
        })
    };
    assert_eq!(serde_json::to_value(&shown).expect("a document")["offer"], expected(&key_of_spring));
    shown.name_offer(&view, &terms());
    let mut named = expected("spring");
    named["offer"] = "large".into();
    assert_eq!(serde_json::to_value(&shown).expect("a document")["offer"], named);
}

#[test]
fn no_offer_is_shown_with_its_reason_and_a_preview_without_a_propensity() {
    let parts = OfferParts {
        campaign: key(b"spring"),
        epoch: 0,
        status: OfferStatus::None(NoOffer::Capped),
        arm: 0,
        best: 0,
        drawn: false,
        propensity: f32::NAN,
        arms: &[],
    };
    let bytes = with_offer(parts);
    let view = DecisionView::parse(&bytes).expect("a valid decision");
    let mut shown = json::decision(&view, &[], &MetaV1::default());
    shown.name_offer(&view, &terms());
    assert_eq!(
        serde_json::to_value(&shown).expect("a document")["offer"],
        serde_json::json!({
            "campaign": "spring", "status": "none", "reason": "capped", "arm": 0, "best": 0, "preview": true,
            "propensity": null, "epoch": 0, "arms": [],
        })
    );
    let another = TermsV1 { campaigns: terms().campaigns[..1].to_vec(), ..terms() };
    let mut unnamed = json::decision(&view, &[], &MetaV1::default());
    unnamed.name_offer(&view, &another);
    assert_eq!(unnamed.offer.map(|offer| offer.campaign), Some(format!("{:016x}", key(b"spring"))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn times_are_those_of_the_calendar(ms in 0_i64..253_402_300_799_999, hours in -14_i32..=14, minutes in 0_i32..60) {
        let offset = hours * 60 + minutes * hours.signum();
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::Offset::from_seconds(offset * 60).unwrap());
        let zoned = jiff::Timestamp::from_millisecond(ms).unwrap().to_zoned(zone);
        prop_assume!((0..=9999).contains(&zoned.year()));
        let text = zoned.strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string();
        let request = read(&format!(r#"{{"time": "{text}", "candidates": []}}"#));
        let view = RequestView::parse(&request.bytes, LIMITS).unwrap();
        prop_assert_eq!((view.time_ms, view.utc_offset_min), (ms, offset), "{}", text);
    }

    #[test]
    fn a_state_survives_base64(state in prop::collection::vec(any::<u8>(), 0..64), padded: bool) {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for chunk in state.chunks(3) {
            let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
            for digit in 0..=chunk.len() {
                text.push(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize] as char);
            }
            if padded {
                text.extend(std::iter::repeat_n('=', 3 - chunk.len()));
            }
        }
        let request = read(&format!(r#"{{"time": 0, "candidates": [], "state": "{text}"}}"#));
        prop_assert_eq!(RequestView::parse(&request.bytes, LIMITS).unwrap().state, &state);
    }

    #[test]
    fn any_text_is_a_request_or_an_error(text in r#"[\[\]{}",:0-9a-z.+\-Té ]{0,60}"#, at in 0_usize..200, byte: u8) {
        let _ = json::request(text.as_bytes(), &program());
        let _ = json::request(format!(r#"{{"time": "{text}", "candidates": []}}"#).as_bytes(), &program());
        let mut document = br#"{"time": "2026-11-23T18:30:00+01:00", "candidates": [{"id": "a", "price": 1.5, "name": ["b"]}], "state": "U1ZVUwEAAAAMAAAA"}"#.to_vec();
        let at = at % document.len();
        document[at] = byte;
        if let Ok(request) = json::request(&document, &program()) {
            prop_assert!(RequestView::parse(&request.bytes, LIMITS).is_ok());
        }
    }
}
