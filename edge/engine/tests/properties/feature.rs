//! Every extractor equals a straightforward computation over the same world.

use proptest::prelude::*;
use selvedge_engine::Engine;
use selvedge_engine::state::UserState;
use selvedge_format::program::{
    By, CombineOp, CounterRef, Decay, FeatureV1, Measure, OpV1, Overlap, ProgramV1, Scope, TableRef, TimePart,
    TokensOf, TransformV1,
};
use selvedge_format::shared::{SharedState, TableParts};
use selvedge_format::state::ProfileValue;
use selvedge_format::{AlignedBytes, key};
use selvedge_wire::{RequestBuilder, Values};

use crate::support::*;

const CASES: u32 = 64;
const DAY_S: u32 = 86_400;

/// The eight items as candidates.
fn request() -> RequestBuilder {
    RequestBuilder::new([1; 16], NOW_MS, ITEMS)
}

fn engine_with(program: &ProgramV1, catalogue: &Catalogue) -> Engine {
    let mut engine = first_feature_engine(program, &policy(4));
    load_shared(&mut engine, &catalogue.parts());
    engine
}

fn finite(value: f32) -> f32 {
    if value.is_finite() { value } else { f32::NAN }
}

/// The words whose bits are set.
fn words_of(bits: u8) -> Vec<&'static str> {
    WORDS.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1).map(|(_, word)| *word).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn a_number_is_the_sent_value_else_the_stored_one_else_missing(
        catalogue in catalogue(),
        sent in prop::option::of(prop::collection::vec(number(), ITEMS.len())),
        budget in prop::option::of(number()),
        (age_sent, age_stored) in (prop::option::of(number()), prop::option::of(number())),
    ) {
        let program = program([PRICE, BUDGET, AGE].map(|field| OpV1::Number { field }));
        let mut request = request();
        if let Some(sent) = &sent {
            request = request.column(Scope::Item, "price", Values::Numbers(sent));
        }
        for (scope, name, value) in [(Scope::Context, "budget", budget), (Scope::User, "age", age_sent)] {
            if let Some(value) = value {
                request = request.column(scope, name, Values::Numbers(&[value]));
            }
        }
        let mut state = UserState::new();
        if let Some(age) = age_stored {
            // The newer value counts, whichever device is first.
            state.set(1, id_of(AGE), 5_000, ProfileValue::Number(age)).unwrap();
            state.set(2, id_of(AGE), 4_000, ProfileValue::Number(-1.0)).unwrap();
            state.set(1, id_of(AGE), 3_000, ProfileValue::Number(-2.0)).unwrap();
        }
        let found = features(&mut engine_with(&program, &catalogue), &request.state(&state.encode()).build());
        let price: Vec<f32> = (0..ITEMS.len()).map(|item| match &sent {
            Some(sent) => finite(sent[item]),
            None => catalogue.items[item].as_ref().map_or(f32::NAN, |item| finite(item.price)),
        }).collect();
        assert_same(&found[0], &price);
        assert_same(&found[1], &[finite(budget.unwrap_or(f32::NAN)); 8]);
        assert_same(&found[2], &[finite(age_sent.or(age_stored).unwrap_or(f32::NAN)); 8]);
    }

    #[test]
    fn strings_are_positions_in_a_list_or_hashes_in_buckets(
        catalogue in catalogue(),
        home in prop::option::of(0..BRANDS.len()),
        buckets in 1_u32..1000,
    ) {
        let mut values: Vec<(u64, u32)> = vec![(key(b"b2"), 0), (key(b"b1"), 1), (key(b"b9"), 2)];
        values.sort_unstable();
        let program = program([
            OpV1::Category { field: BRAND, values },
            OpV1::Bucket { fields: vec![BRAND], buckets },
            OpV1::Bucket { fields: vec![BRAND, HOME], buckets },
            OpV1::Bucket { fields: vec![HOME, BRAND], buckets: 1 << 24 },
        ]);
        let mut state = UserState::new();
        if let Some(home) = home {
            state.set(0, id_of(HOME), 0, ProfileValue::String(key(BRANDS[home].as_bytes()))).unwrap();
        }
        let found = features(&mut engine_with(&program, &catalogue), &request().state(&state.encode()).build());
        let mix = |mut hash: u64| {
            for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
                hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
            }
            hash ^ (hash >> 33)
        };
        let bucket = |keys: &[u64], buckets: u32| {
            if keys.contains(&0) { return f32::NAN; }
            (keys.iter().fold(0, |hash, key| mix(hash ^ key)) % u64::from(buckets)) as f32
        };
        let home = home.map_or(0, |home| key(BRANDS[home].as_bytes()));
        for item in 0..ITEMS.len() {
            let brand = catalogue.brand_key(item);
            let position = [key(b"b2"), key(b"b1")].iter().position(|value| *value == brand);
            let expected = [
                position.map_or(f32::NAN, |position| position as f32),
                bucket(&[brand], buckets),
                bucket(&[brand, home], buckets),
                bucket(&[home, brand], 1 << 24),
            ];
            assert_same(&of_item(&found, item), &expected);
        }
    }

    #[test]
    fn a_time_difference_is_now_minus_the_field_in_units(catalogue in catalogue(), unit_s in 1_u32..=604_800) {
        let program = program([OpV1::TimeDifference { field: SINCE, unit_s }]);
        let found = features(&mut engine_with(&program, &catalogue), &request().build());
        let expected: Vec<f32> = catalogue.items.iter().map(|item| match item {
            Some(item) if item.since != i64::MIN => {
                ((i128::from(NOW_MS) - i128::from(item.since)).clamp(i64::MIN.into(), i64::MAX.into()) as f64
                    / (f64::from(unit_s) * 1000.0)) as f32
            }
            _ => f32::NAN,
        }).collect();
        assert_same(&found[0], &expected);
    }

    #[test]
    fn local_time_is_that_of_the_calendar(time_ms in 0_i64..253_370_764_800_000, offset in -1440_i32..=1440) {
        let parts = [TimePart::MinuteOfDay, TimePart::Hour, TimePart::Weekday, TimePart::Day, TimePart::Month];
        let program = program(parts.map(|part| OpV1::LocalTime { part }));
        let request = RequestBuilder::new([0; 16], time_ms, ["a", "b"]).utc_offset_min(offset).build();
        let found = features(&mut first_feature_engine(&program, &policy(1)), &request);
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::Offset::from_seconds(offset * 60).unwrap());
        let local = jiff::Timestamp::from_millisecond(time_ms).unwrap().to_zoned(zone);
        let expected = [
            f32::from(local.hour()) * 60.0 + f32::from(local.minute()),
            local.hour().into(),
            local.weekday().to_monday_zero_offset().into(),
            local.day().into(),
            local.month().into(),
        ];
        for (found, expected) in found.iter().zip(expected) {
            assert_same(found, &[expected; 2]);
        }
    }

    #[test]
    fn position_and_number_of_candidates_are_counted(n in 1_usize..60) {
        let ids: Vec<String> = (0..n).map(|at| at.to_string()).collect();
        let program = program([OpV1::Position, OpV1::Candidates]);
        let request = RequestBuilder::new([0; 16], 0, ids.iter().map(String::as_str)).build();
        let found = features(&mut first_feature_engine(&program, &policy(1)), &request);
        assert_same(&found[0], &(0..n).map(|at| at as f32).collect::<Vec<_>>());
        assert_same(&found[1], &vec![n as f32; n]);
    }

    #[test]
    fn interactions_are_counted_among_the_last_events_on_items_alike(
        catalogue in catalogue(),
        events in happenings(),
        within_s in prop_oneof![Just(u32::MAX), 0..10_000_000_u32],
        last in 0_u16..20,
        history_events in 20_u16..40,
    ) {
        let event = key(b"buy");
        let ops = [By::Item, By::Field(BRAND), By::All].map(|by| OpV1::InteractedWith { event, by, within_s, last });
        let program = ProgramV1 { history_events, ..program(ops) };
        let state = state_after(&program, Some(&catalogue.shared()), &events);
        let found = features(&mut engine_with(&program, &catalogue), &request().state(&state.encode()).build());
        let recent = recent(&events, history_events, "buy", last);
        let recent: Vec<_> = recent.iter().filter(|event| NOW_S - event.time_s <= within_s).collect();
        let count = |is_alike: &dyn Fn(usize) -> bool| recent.iter().filter(|event| is_alike(event.item)).count() as f32;
        for item in 0..ITEMS.len() {
            let brand = catalogue.brand(item);
            let expected = [
                count(&|other| other == item),
                count(&|other| brand != 0 && catalogue.brand(other) == brand),
                count(&|_| true),
            ];
            assert_same(&of_item(&found, item), &expected);
        }
    }

    #[test]
    fn recent_items_are_those_of_the_last_events_one_by_one_and_none_is_missing(
        catalogue in catalogue(),
        events in happenings(),
        within_s in prop_oneof![Just(u32::MAX), 0..10_000_000_u32],
        (last, second) in (1_u16..20, 1_u16..20),
        history_events in 20_u16..40,
        buckets in prop_oneof![1_u32..50, Just(1 << 24)],
    ) {
        let event = key(b"buy");
        let places = |event, last| (0..last).map(move |at| OpV1::RecentItem { at, event, within_s, buckets });
        // The second sequence starts anew, and nothing that stands between two places moves them.
        let mut ops: Vec<OpV1> = [OpV1::ItemId { buckets }].into_iter().chain(places(event, last)).collect();
        ops.insert(2, OpV1::InteractedWith { event, by: By::Item, within_s, last: 3 });
        ops.extend(places(0, second));
        let program = ProgramV1 { history_events, ..program(ops) };
        let state = state_after(&program, Some(&catalogue.shared()), &events);
        let mut found = features(&mut engine_with(&program, &catalogue), &request().state(&state.encode()).build());
        found.remove(2);
        let number = |item: &str| (key(item.as_bytes()) % u64::from(buckets) + 1) as f32;
        assert_same(&found[0], &ITEMS.map(number));
        let mut columns = found[1..].iter();
        let mut are_those_of = |events: &[Happening], last: u16| {
            for at in 0..usize::from(last) {
                let event = events.get(at).filter(|event| NOW_S - event.time_s <= within_s);
                let expected = event.map_or(f32::NAN, |event| number(ITEMS[event.item]));
                assert_same(columns.next().unwrap(), &[expected; ITEMS.len()]);
            }
        };
        are_those_of(&recent(&events, history_events, "buy", last), last);
        are_those_of(&recent_of_any(&events, history_events), second);
    }

    #[test]
    fn token_overlap_is_that_of_sets(
        catalogue in catalogue(),
        events in happenings(),
        query: u8,
        last in 0_u16..8,
    ) {
        let with = [TokensOf::Context { field: QUERY }, TokensOf::History { event: key(b"buy"), last }];
        let ops = with.into_iter().flat_map(|with| {
            [Overlap::Jaccard, Overlap::Containment].map(|metric| OpV1::TokenOverlap { field: NAME, with, metric })
        });
        let program = ProgramV1 { history_events: 30, ..program(ops) };
        let state = state_after(&program, Some(&catalogue.shared()), &events);
        let query = words_of(query);
        let sent = request().column(Scope::Context, "query", Values::Tokens(&[&query])).state(&state.encode());
        let found = features(&mut engine_with(&program, &catalogue), &sent.build());
        let query: std::collections::BTreeSet<&str> = query.into_iter().collect();
        let words = |item: usize| catalogue.words(item).iter().map(|word| WORDS[*word]).collect();
        let seen = recent(&events, 30, "buy", last).iter().flat_map(|event| {
            let words: std::collections::BTreeSet<&str> = words(event.item);
            words
        }).collect();
        for item in 0..ITEMS.len() {
            let words: std::collections::BTreeSet<&str> = words(item);
            let expected = [&query, &seen].map(|other| {
                let common = words.intersection(other).count() as f32;
                let overlap = |all: usize| if words.is_empty() || other.is_empty() { f32::NAN } else { common / all as f32 };
                [overlap(words.union(other).count()), overlap(words.len())]
            });
            assert_same(&of_item(&found, item), expected.as_flattened());
        }
    }

    #[test]
    fn user_counters_are_sums_over_the_events(
        catalogue in catalogue(),
        events in happenings(),
        by in prop::sample::select(vec![By::Item, By::Field(BRAND), By::All]),
        measure in prop::sample::select(vec![Measure::Count, Measure::Value]),
        decay in decay(),
        weight in 0.0_f32..5.0,
        unit_s in prop::sample::select(vec![1, 3_600, DAY_S]),
    ) {
        // Beside another column, whose cells must not be taken for its own.
        let mut columns = vec![column(measure, decay), column(Measure::Count, Decay::Window { bucket_s: 60, buckets: 3 })];
        columns.dedup();
        let table = |event| table("user", event, by, columns.clone());
        let counter = |table| CounterRef { table: TableRef::User(table), column: 0 };
        let mut program = program([
            OpV1::Counter(counter(0)),
            OpV1::Share(counter(0)),
            OpV1::Rate { numerator: counter(0), denominator: counter(1), weight, prior: 0.25 },
            OpV1::Recency { table: TableRef::User(0), unit_s },
        ]);
        program.user_tables = vec![table("buy"), table("view")];
        let state = state_after(&program, Some(&catalogue.shared()), &events);
        let found = features(&mut engine_with(&program, &catalogue), &request().state(&state.encode()).build());
        let key_of = |item: usize| match by {
            By::All => 1,
            By::Item => item as u64 + 1,
            By::Field(_) => catalogue.brand_key(item),
        };
        let worth = |event: &Happening| {
            let amount = if measure == Measure::Count { 1.0 } else { f64::from(event.value) };
            amount * remaining(decay, event.time_s, NOW_S)
        };
        let counted = |name: &'static str, key: Option<u64>| events.iter().filter(move |event| {
            event.event == name && key_of(event.item) != 0 && key.is_none_or(|key| key == key_of(event.item))
        });
        let value = |name, key: u64| match counted(name, Some(key)).count() {
            // Everything together has been counted, and counted to 0.
            0 if by != By::All => f64::NAN,
            _ => counted(name, Some(key)).map(worth).sum(),
        };
        let columns: [Vec<f64>; 4] = std::array::from_fn(|feature| (0..ITEMS.len()).map(|item| {
            let key = key_of(item);
            let bought = if key == 0 { f64::NAN } else { value("buy", key) };
            match feature {
                0 => bought,
                1 => {
                    let total: f64 = counted("buy", None).map(worth).sum();
                    if total > 0.0 { bought / total } else { f64::NAN }
                }
                2 => {
                    let known = |value: f64| if value.is_nan() { 0.0 } else { value };
                    let viewed = if key == 0 { 0.0 } else { known(value("view", key)) };
                    let events = viewed + f64::from(weight);
                    if events > 0.0 { (known(bought) + f64::from(weight) * 0.25) / events } else { f64::NAN }
                }
                _ => {
                    let last = counted("buy", Some(key)).map(|event| event.time_s).max().filter(|_| key != 0);
                    last.map_or(f64::NAN, |last| f64::from(NOW_S - last) / f64::from(unit_s))
                }
            }
        }).collect());
        // A share or rate of next to nothing is next to anything.
        let is_tiny = |sum: f64| sum != 0.0 && sum.abs() < 1e-3;
        prop_assume!(!is_tiny(counted("buy", None).map(worth).sum()) && (weight > 1e-3 || weight == 0.0));
        prop_assume!(weight > 0.0 || !(0..ITEMS.len()).any(|item| is_tiny(value("view", key_of(item)))));
        for (found, expected) in found.iter().zip(&columns) {
            assert_close(found, expected);
        }
    }

    #[test]
    fn global_counters_are_those_of_the_shared_state_decayed_since(
        catalogue in catalogue(),
        rows in prop::collection::btree_map(0..ITEMS.len(), (0.0_f32..100.0, 0.0_f32..100.0, 0_u32..10_000_000), 0..8),
        ago_s in 0_u32..5_000_000,
        half_life_s in 3_600_u32..5_000_000,
        by_item: bool,
    ) {
        let by = if by_item { By::Item } else { By::All };
        let columns = [column(Measure::Count, Decay::HalfLife { half_life_s }), column(Measure::Value, Decay::Lifetime)];
        let counter = |column| CounterRef { table: TableRef::Global(0), column };
        let mut program = program([
            OpV1::Counter(counter(0)),
            OpV1::Counter(counter(1)),
            OpV1::Share(counter(0)),
            OpV1::Rate { numerator: counter(0), denominator: counter(1), weight: 2.0, prior: 0.5 },
            OpV1::Recency { table: TableRef::Global(0), unit_s: DAY_S },
        ]);
        program.global_tables = vec![table("global", "buy", by, columns.to_vec())];
        let mut sorted: Vec<_> = rows.iter().map(|(item, row)| (key(ITEMS[*item].as_bytes()), *row)).collect();
        sorted.sort_by_key(|(key, _)| *key);
        let total_last = rows.values().map(|row| NOW_S - row.2).max().unwrap_or(0);
        let totals = [rows.values().map(|row| row.0).sum(), rows.values().map(|row| row.1).sum::<f32>()];
        let mut parts = catalogue.parts();
        parts.as_of_ms = NOW_MS - i64::from(ago_s) * 1000;
        parts.tables = vec![TableParts {
            id: program.global_tables[0].id,
            columns: columns.iter().map(|column| (column.id, column.decay)).collect(),
            keys: sorted.iter().map(|(key, _)| *key).collect(),
            last: sorted.iter().map(|(_, row)| NOW_S - row.2).collect(),
            values: vec![sorted.iter().map(|(_, row)| row.0).collect(), sorted.iter().map(|(_, row)| row.1).collect()],
            total_last,
            totals: totals.to_vec(),
        }];
        let mut engine = first_feature_engine(&program, &policy(4));
        load_shared(&mut engine, &parts);
        let found = features(&mut engine, &request().build());
        let factor = 0.5_f64.powf(f64::from(ago_s) / f64::from(half_life_s));
        for item in 0..ITEMS.len() {
            let row = if by_item { rows.get(&item).copied() } else { Some((totals[0], totals[1], NOW_S - total_last)) };
            let row = row.map(|row| (f64::from(row.0) * factor, f64::from(row.1), row.2));
            let (a, n) = row.map_or((f64::NAN, f64::NAN), |row| (row.0, row.1));
            let total = f64::from(totals[0]) * factor;
            let known = |value: f64| if value.is_nan() { 0.0 } else { value };
            prop_assume!(total == 0.0 || total > 1e-3);
            let expected = [
                a,
                n,
                if total > 0.0 { a / total } else { f64::NAN },
                (known(a) + 1.0) / (known(n) + 2.0),
                row.filter(|_| !rows.is_empty()).map_or(f64::NAN, |row| f64::from(row.2) / f64::from(DAY_S)),
            ];
            assert_close(&of_item(&found, item), &expected);
        }
    }

    #[test]
    fn a_combination_is_missing_where_an_operand_is(
        left in prop::collection::vec(number(), 20),
        right in prop::collection::vec(number(), 20),
    ) {
        let ops = [CombineOp::Ratio, CombineOp::Product, CombineOp::Difference, CombineOp::Min, CombineOp::Max];
        let mut program = program([OpV1::Number { field: PRICE }, OpV1::Number { field: WEIGHT }]);
        // What counts of an operand is its final value.
        program.features[1].transforms.push(TransformV1::Neg);
        program.features.extend(ops.map(|op| FeatureV1 {
            op: OpV1::Combine { op, left: 0, right: 1 },
            default: f32::NAN,
            transforms: vec![],
        }));
        let ids: Vec<String> = (0..20).map(|at| at.to_string()).collect();
        let request = RequestBuilder::new([0; 16], 0, ids.iter().map(String::as_str))
            .column(Scope::Item, "price", Values::Numbers(&left))
            .column(Scope::Item, "weight", Values::Numbers(&right));
        let found = features(&mut first_feature_engine(&program, &policy(1)), &request.build());
        for (row, (a, b)) in left.iter().zip(&right).enumerate() {
            let (a, b) = (finite(*a), -finite(*b));
            let expected = if a.is_nan() || b.is_nan() { [f32::NAN; 5] } else {
                [if b == 0.0 { f32::NAN } else { finite(a / b) }, finite(a * b), finite(a - b), a.min(b), a.max(b)]
            };
            // Which of two zeros is smaller is nobody's business.
            let found: Vec<f32> = found[2..].iter().map(|column| column[row] + 0.0).collect();
            assert_same(&found, &expected.map(|value| value + 0.0));
        }
    }

    #[test]
    fn defaults_come_first_then_transforms_in_order(
        sent in prop::collection::vec(number(), ITEMS.len()),
        default in prop_oneof![Just(f32::NAN), -2.0_f32..2.0],
        transforms in prop::collection::vec(transform(), 0..5),
    ) {
        let mut program = program([OpV1::Number { field: PRICE }]);
        program.features[0] = FeatureV1 { op: OpV1::Number { field: PRICE }, default, transforms: transforms.clone() };
        let sent_request = request().column(Scope::Item, "price", Values::Numbers(&sent)).build();
        let found = features(&mut first_feature_engine(&program, &policy(1)), &sent_request);
        let expected: Vec<f64> = sent.iter().map(|value| {
            let value = finite(*value);
            let start = if value.is_nan() { default } else { value };
            let last = transforms.iter().fold(start, |x, transform| match *transform {
                TransformV1::Log1p => f64::from(x).ln_1p() as f32,
                TransformV1::Sqrt => x.sqrt(),
                TransformV1::Abs => x.abs(),
                TransformV1::Neg => -x,
                TransformV1::Square => x * x,
                TransformV1::Clip(low, high) => if x.is_nan() { x } else { x.max(low).min(high) },
                TransformV1::Scale(factor) => x * factor,
                TransformV1::Shift(term) => x + term,
            });
            f64::from(finite(last))
        }).collect();
        // Near a pole or an overflow a rounding error decides; anywhere else it must not.
        prop_assume!(expected.iter().all(|value| value.is_nan() || value.abs() < 1e30));
        for (found, expected) in found[0].iter().zip(&expected) {
            if found.is_nan() != expected.is_nan() {
                continue;
            }
            assert_close(&[*found], &[*expected]);
        }
        prop_assert!(found[0].iter().all(|value| value.is_finite() || value.to_bits() == 0x7fc0_0000));
    }
}

/// The last `last` of the events of a name among the last `history` events of each device, newest first.
fn recent(events: &[Happening], history: u16, name: &str, last: u16) -> Vec<Happening> {
    let all = recent_of_any(events, history).into_iter();
    all.filter(|event| event.event == name).take(last.into()).collect()
}

fn recent_of_any(events: &[Happening], history: u16) -> Vec<Happening> {
    // The engine's order among equal times is by event and item; the oracle's keys are the same.
    let order =
        |event: &Happening| (event.time_s, key(event.event.as_bytes()) >> 32, key(ITEMS[event.item].as_bytes()));
    let mut kept = Vec::new();
    for device in 0..2 {
        let mut own: Vec<Happening> = events.iter().filter(|event| event.device == device).copied().collect();
        own.sort_by_key(|event| std::cmp::Reverse(order(event)));
        kept.extend(own.into_iter().take(history.into()));
    }
    kept.sort_by_key(|event| std::cmp::Reverse(order(event)));
    kept
}

fn decay() -> impl Strategy<Value = Decay> {
    prop_oneof![
        Just(Decay::Lifetime),
        (3_600_u32..5_000_000).prop_map(|half_life_s| Decay::HalfLife { half_life_s }),
        (3_600_u32..1_000_000, 1_u8..12).prop_map(|(bucket_s, buckets)| Decay::Window { bucket_s, buckets }),
    ]
}

/// What is left at `now` of 1 that was counted at `time`.
fn remaining(decay: Decay, time: u32, now: u32) -> f64 {
    match decay {
        Decay::Lifetime => 1.0,
        Decay::HalfLife { half_life_s } => 0.5_f64.powf(f64::from(now - time) / f64::from(half_life_s)),
        Decay::Window { bucket_s, buckets } => {
            f64::from(u8::from(now / bucket_s - time / bucket_s < u32::from(buckets)))
        }
    }
}

fn transform() -> impl Strategy<Value = TransformV1> {
    prop_oneof![
        prop::sample::select(vec![
            TransformV1::Log1p,
            TransformV1::Sqrt,
            TransformV1::Abs,
            TransformV1::Neg,
            TransformV1::Square,
            TransformV1::Clip(-1.5, 4.0),
        ]),
        (-3.0_f32..3.0).prop_map(TransformV1::Scale),
        (-3.0_f32..3.0).prop_map(TransformV1::Shift),
    ]
}

#[test]
fn a_column_of_another_type_is_refused_and_nothing_else_is_lost() {
    let program = program([OpV1::Number { field: PRICE }]);
    let mut engine = first_feature_engine(&program, &policy(1));
    let wrong = request().column(Scope::Item, "price", Values::Strings(&["1"; 8])).build();
    assert!(engine.features(&wrong).is_err());
    assert_eq!(
        engine.last_error().map(|error| error.place()),
        Some("request column of another type or scope than the bundle's field")
    );
    let right = request().column(Scope::Item, "price", Values::Numbers(&[1.0; 8])).build();
    assert_same(&features(&mut engine, &right)[0], &[1.0; 8]);
}

#[test]
fn a_shared_state_with_another_type_is_as_one_without_the_field() {
    let program = program([OpV1::Number { field: PRICE }]);
    let mut engine = first_feature_engine(&program, &policy(1));
    let mut parts = Catalogue { items: vec![None; ITEMS.len()] }.parts();
    parts.fields[0].1 = selvedge_format::shared::FieldValues::Time(vec![]);
    load_shared(&mut engine, &parts);
    assert_same(&features(&mut engine, &request().build())[0], &[f32::NAN; 8]);
    assert!(SharedState::load(AlignedBytes::copy_of(&parts.encode())).is_ok());
}
