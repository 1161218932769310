//! Deciding cannot fail: whatever the bytes, the answer is a decision with a documented status.

use proptest::prelude::*;
use selvedge_engine::{Engine, Limits};
use selvedge_format::decision::{DecisionStatus, DecisionView, FallbackReason, canonical};
use selvedge_format::model::ModelKindV1;
use selvedge_format::policy::{AtMostV1, DiversityV1, ExcludeV1, PolicyV1};
use selvedge_format::program::{
    By, CounterRef, Decay, Measure, OpV1, Overlap, ProgramV1, Scope, TableRef, TimePart, TokensOf,
};
use selvedge_format::shared::{SharedParts, TableParts};
use selvedge_format::{AlignedBytes, key};
use selvedge_wire::{RequestBuilder, Values};

use crate::support::*;
use crate::trees::{Draw, tree};

const SLATE: u32 = 6;
const REASONS: u32 = 3;

/// An engine with everything on: counters of this user and of all, history, words, times, rules, diversity, trees; and
/// requests to it.
pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) request: fn(usize) -> RequestBuilder,
}

fn busy_program() -> ProgramV1 {
    let columns = vec![
        column(Measure::Count, Decay::HalfLife { half_life_s: 86_400 }),
        column(Measure::Value, Decay::Window { bucket_s: 604_800, buckets: 4 }),
    ];
    let counter = |column| CounterRef { table: TableRef::User(0), column };
    let of_all = |column| CounterRef { table: TableRef::Global(0), column };
    let mut program = program([
        OpV1::Number { field: PRICE },
        OpV1::TimeDifference { field: SINCE, unit_s: 3_600 },
        OpV1::Counter(counter(0)),
        OpV1::Share(counter(1)),
        OpV1::Recency { table: TableRef::User(0), unit_s: 3_600 },
        OpV1::Rate { numerator: of_all(1), denominator: of_all(0), weight: 2.0, prior: 0.5 },
        OpV1::Share(of_all(0)),
        OpV1::Recency { table: TableRef::Global(0), unit_s: 3_600 },
        OpV1::InteractedWith { event: key(b"buy"), by: By::Field(BRAND), within_s: u32::MAX, last: 20 },
        OpV1::TokenOverlap { field: NAME, with: TokensOf::Context { field: QUERY }, metric: Overlap::Jaccard },
        OpV1::TokenOverlap {
            field: NAME,
            with: TokensOf::History { event: key(b"buy"), last: 9 },
            metric: Overlap::Containment,
        },
        OpV1::LocalTime { part: TimePart::Hour },
        OpV1::Position,
    ]);
    program.user_tables = vec![table("user", "buy", By::Field(BRAND), columns.clone())];
    program.global_tables = vec![table("global", "buy", By::Item, columns)];
    program.history_events = 20;
    program
}

fn busy_policy() -> PolicyV1 {
    PolicyV1 {
        slate_size: SLATE,
        exclude: vec![ExcludeV1 { field: BRAND, value: key(b"b3") }],
        at_most: vec![AtMostV1 { field: BRAND, count: 2, window: 3 }],
        diversity: Some(DiversityV1 { lambda: 0.7, fields: vec![(BRAND, 1.0)] }),
    }
}

fn busy_bundle() -> Vec<u8> {
    let program = busy_program();
    let mut draw = Draw::new(3);
    let trees: Vec<_> = (0..20).map(|_| tree(&mut draw, 15, program.features.len(), 40)).collect();
    let weights = selvedge_format::model::TreeNodes::encode(&trees);
    bundle(&program, &busy_policy(), ModelKindV1::Trees { base: 0.5 }, weights)
}

fn stocked() -> Catalogue {
    let item = |at: usize| Item { price: at as f32, brand: at % 4, words: vec![at % 6, at % 5], since: NOW_MS - 1_000 };
    Catalogue { items: (0..ITEMS.len()).map(|at| (at != 5).then(|| item(at))).collect() }
}

/// The shared state: what is stocked, and how often every second item was bought.
fn published() -> SharedParts {
    let declared = &busy_program().global_tables[0];
    let mut keys: Vec<u64> = ITEMS.iter().step_by(2).map(|item| key(item.as_bytes())).collect();
    keys.sort_unstable();
    let bought: Vec<f32> = (1..=keys.len()).map(|at| at as f32).collect();
    let total = bought.iter().sum();
    let counters = TableParts {
        id: declared.id,
        columns: declared.columns.iter().map(|column| (column.id, column.decay)).collect(),
        last: vec![NOW_S - 1_000; keys.len()],
        keys,
        values: vec![bought.clone(), bought],
        total_last: NOW_S - 1_000,
        totals: vec![total, total],
    };
    SharedParts { tables: vec![counters], ..stocked().parts() }
}

/// What the user did.
fn past() -> Vec<u8> {
    let event = |at: usize| Happening {
        device: at as u64 % 2,
        event: "buy",
        item: at % ITEMS.len(),
        time_s: NOW_S - 1_000 * at as u32,
        value: 1.0,
    };
    state_after(&busy_program(), Some(&stocked().shared()), &(0..30).map(event).collect::<Vec<_>>()).encode()
}

pub(crate) fn world() -> World {
    let mut engine = engine(&busy_bundle(), Limits::default());
    load_shared(&mut engine, &published());
    World { engine, request: busy_request }
}

fn busy_request(candidates: usize) -> RequestBuilder {
    // Some are in the catalogue and some are not; the last repeats the first.
    let ids: Vec<String> =
        (0..candidates).map(|at| format!("i{}", if at + 1 == candidates { 0 } else { at })).collect();
    RequestBuilder::new([9; 16], NOW_MS, ids.iter().map(String::as_str)).reasons(REASONS).state(&past()).column(
        Scope::Context,
        "query",
        Values::Tokens(&[&["w1", "w2"]]),
    )
}

fn decided(engine: &mut Engine, request: &[u8]) -> (DecisionStatus, Vec<u32>) {
    let decision = DecisionView::parse(engine.decide(request)).expect("every decision parses");
    (decision.status, decision.slots.iter().collect())
}

/// What holds for every decision, whatever the request.
fn assert_sound(bytes: &[u8]) {
    let decision = DecisionView::parse(bytes).expect("every decision parses");
    let slots: Vec<u32> = decision.slots.iter().collect();
    match decision.status {
        DecisionStatus::Degraded(_) => panic!("there is one stage"),
        DecisionStatus::Personalized => {
            let mut unique = slots.clone();
            unique.sort_unstable();
            unique.dedup();
            assert_eq!(unique.len(), slots.len(), "a candidate stands twice: {slots:?}");
            assert_eq!(decision.error, 0);
        }
        DecisionStatus::Fallback(_) => {
            assert!(slots.windows(2).all(|pair| pair[0] < pair[1]), "a fallback keeps the order: {slots:?}");
            assert!(decision.scores.iter().all(|score| score.to_le_bytes() == canonical(f32::NAN)));
        }
        DecisionStatus::Control(_) => panic!("nobody is held out"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut engine = world().engine;
        assert_sound(engine.decide(&bytes));
        prop_assert_eq!(decided(&mut engine, &bytes), (DecisionStatus::Fallback(FallbackReason::InvalidRequest), vec![]));
    }

    #[test]
    fn a_damaged_request_is_answered(
        candidates in 0_usize..30,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        let mut engine = world().engine;
        let mut request = busy_request(candidates).build();
        for (at, byte) in damage {
            let at = at.index(request.len());
            request[at] = byte;
        }
        if let Some(cut) = cut {
            request.truncate(cut.index(request.len()));
        }
        assert_sound(engine.decide(&request));
        let _ = engine.features(&request);
        let _ = engine.score(&request);
    }

    #[test]
    fn a_damaged_state_is_refused_or_read(at: prop::sample::Index, byte: u8, candidates in 1_usize..20) {
        let mut state = past();
        let at = at.index(state.len());
        state[at] = byte;
        let mut engine = world().engine;
        let bytes = engine.decide(&busy_request(candidates).state(&state).build());
        assert_sound(bytes);
        let status = DecisionView::parse(bytes).unwrap().status;
        prop_assert!(matches!(
            status,
            DecisionStatus::Personalized | DecisionStatus::Fallback(FallbackReason::InvalidState)
        ));
    }

    #[test]
    fn equal_requests_get_equal_bytes_whatever_came_between(
        numbers in prop::collection::vec(number(), 12),
        between in 0_usize..60,
    ) {
        let request = busy_request(12).column(Scope::Item, "price", Values::Numbers(&numbers)).build();
        let mut engine = world().engine;
        let first = engine.decide(&request).to_vec();
        assert_sound(&first);
        engine.decide(&busy_request(between).build());
        prop_assert_eq!(engine.decide(&request), &first);
        let mut fresh = world().engine;
        prop_assert_eq!(fresh.decide(&request), &first);
    }
}

#[test]
fn every_bad_request_ends_in_the_documented_fallback() {
    use FallbackReason::*;
    let many: Vec<String> = (0..10_000).map(|at| at.to_string()).collect();
    let huge = "x".repeat(1 << 20);
    let many = RequestBuilder::new([0; 16], NOW_MS, many.iter().map(String::as_str)).build();
    let oversized = RequestBuilder::new([0; 16], NOW_MS, [huge.as_str(); 5]).build();
    let mut corrupt = past();
    corrupt.truncate(40);
    let wrong_type = busy_request(4).column(Scope::Item, "price", Values::Strings(&["1"; 4])).build();
    let wrong_scope = busy_request(4).column(Scope::User, "price", Values::Numbers(&[1.0])).build();
    let wrong_rows = busy_request(4).column(Scope::Item, "price", Values::Numbers(&[1.0; 3])).build();
    // The last candidate of a busy request repeats the first.
    let cases: [(&str, Vec<u8>, FallbackReason, usize); 9] = [
        ("no candidates", busy_request(0).build(), NoCandidates, 0),
        ("10,000 candidates", many, TooManyCandidates, SLATE as usize),
        ("a request above the limit", oversized, InvalidRequest, 0),
        ("a negative time", RequestBuilder::new([0; 16], -1, ["a"]).build(), InvalidRequest, 0),
        ("an impossible offset", busy_request(2).utc_offset_min(5_000).build(), InvalidRequest, 0),
        ("a corrupt state", busy_request(4).state(&corrupt).build(), InvalidState, 3),
        ("a column of another type", wrong_type, InvalidRequest, 3),
        ("a column with a row too few", wrong_rows, InvalidRequest, 0),
        ("a pin of no candidate", busy_request(2).pin(2, 0).build(), InvalidRequest, 0),
    ];
    let mut engine = world().engine;
    for (name, request, reason, slots) in cases {
        assert_sound(engine.decide(&request));
        let expected = (DecisionStatus::Fallback(reason), (0..slots as u32).collect());
        assert_eq!(decided(&mut engine, &request), expected, "{name}");
        let told = engine.last_error().is_some();
        assert_eq!(told, matches!(reason, InvalidRequest | InvalidState), "{name}: an error says what was refused");
    }
    // Fields are named with their scope, so this is another field, and a client may know more than the bundle.
    assert_eq!(decided(&mut engine, &wrong_scope).0, DecisionStatus::Personalized);
}

#[test]
fn what_is_odd_but_allowed_is_ranked() {
    let huge = "x".repeat(1 << 20);
    let mut engine = world().engine;
    for (name, request) in [
        ("an unknown user", busy_request(7).state(&[]).build()),
        ("one candidate", busy_request(1).build()),
        ("no fields at all", RequestBuilder::new([0; 16], NOW_MS, ITEMS).build()),
        ("missing numbers", busy_request(4).column(Scope::Item, "price", Values::Numbers(&[f32::NAN; 4])).build()),
        (
            "infinite numbers",
            busy_request(2).column(Scope::Item, "price", Values::Numbers(&[f32::INFINITY, f32::MIN])).build(),
        ),
        ("a huge string", RequestBuilder::new([0; 16], NOW_MS, [huge.as_str(), "b"]).build()),
        ("1970", RequestBuilder::new([0; 16], 0, ITEMS).state(&past()).build()),
        ("the year 9999", RequestBuilder::new([0; 16], 253_402_300_799_999, ITEMS).state(&past()).build()),
        ("the most reasons", busy_request(8).reasons(u32::MAX).build()),
        ("the largest slate", busy_request(8).slate_size(u32::MAX).build()),
    ] {
        assert_sound(engine.decide(&request));
        assert_eq!(decided(&mut engine, &request).0, DecisionStatus::Personalized, "{name}");
    }
    let same = RequestBuilder::new([0; 16], NOW_MS, ["i1"; 9]).build();
    assert_eq!(decided(&mut engine, &same), (DecisionStatus::Personalized, vec![0]), "the same item nine times");
}

#[test]
fn limits_on_candidates_and_cost_are_counted() {
    let cost = DecisionView::parse(world().engine.decide(&busy_request(8).build())).expect("a decision").cost;
    for (limits, status) in [
        (Limits { cost, ..Limits::default() }, DecisionStatus::Personalized),
        (Limits { cost: cost - 1, ..Limits::default() }, DecisionStatus::Fallback(FallbackReason::CostLimit)),
        (Limits { candidates: 8, ..Limits::default() }, DecisionStatus::Personalized),
        (Limits { candidates: 7, ..Limits::default() }, DecisionStatus::Fallback(FallbackReason::TooManyCandidates)),
    ] {
        let mut engine = engine(&busy_bundle(), limits);
        load_shared(&mut engine, &published());
        assert_eq!(decided(&mut engine, &busy_request(8).build()).0, status, "{limits:?}");
    }
}

#[test]
fn a_refused_load_keeps_what_was_loaded() {
    let mut engine = world().engine;
    let request = busy_request(8).build();
    let before = engine.decide(&request).to_vec();
    let (bundle, shared) = (busy_bundle(), published().encode());
    for bytes in [&bundle, &shared] {
        let mut flipped = bytes.clone();
        flipped[100] ^= 1;
        for refused in [&bytes[..bytes.len() - 1], &flipped, b"", b"not a bundle"] {
            assert!(engine.load(AlignedBytes::copy_of(refused)).is_err());
            assert!(engine.last_error().is_some());
        }
    }
    let small = Limits { bundle_bytes: 64, ..Limits::default() };
    let mut limited = Engine::new(small);
    for bytes in [&bundle, &shared] {
        let refused = limited.load(AlignedBytes::copy_of(bytes)).expect_err("above the limit");
        assert_eq!(refused.code(), selvedge_format::ErrorCode::TooLarge);
    }
    assert_eq!(engine.decide(&request), &before);
    assert!(engine.load(AlignedBytes::copy_of(&bundle)).is_ok());
    assert_eq!(engine.decide(&request), &before);
}

#[test]
fn nothing_loaded_keeps_the_order() {
    let mut engine = Engine::new(Limits::default());
    let request = busy_request(4).slate_size(3).build();
    let (status, slots) = decided(&mut engine, &request);
    assert_eq!((status, slots), (DecisionStatus::Fallback(FallbackReason::NotLoaded), vec![0, 1, 2]));
    assert!(engine.features(&request).is_err());
}

#[test]
fn a_fallback_leaves_out_what_is_excluded_and_what_is_repeated() {
    let mut engine = Engine::new(Limits::default());
    let request = RequestBuilder::new([1; 16], 1_000, ["a", "b", "a", "c", "d"]).exclude(1).build();
    let decision = DecisionView::parse(engine.decide(&request)).expect("a decision").slots.iter().collect::<Vec<_>>();
    assert_eq!(decision, [0, 3, 4], "nothing loaded, no slate size: all that may stand");
    let request = RequestBuilder::new([1; 16], 1_000, ["a", "b", "a", "c", "d"]).exclude(0).slate_size(2).build();
    let decision = DecisionView::parse(engine.decide(&request)).expect("a decision").slots.iter().collect::<Vec<_>>();
    assert_eq!(decision, [1, 3], "an excluded candidate does not stand in for its equals");
}
