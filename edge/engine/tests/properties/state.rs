//! User state: what an event changes, what a merge keeps, and what no event can break.

use std::collections::BTreeMap;

use proptest::prelude::*;
use selvedge_engine::state::{Event, ItemKeys, UserState, seconds};
use selvedge_format::program::{
    By, ColumnV1, CounterRef, Decay, FeatureV1, Measure, OpV1, ProgramV1, TableRef, TransformV1,
};
use selvedge_format::state::{
    FIRST_OPAQUE, MAX_CELLS, MAX_PARTS, MAX_PROFILE, ProfileValue, SectionView, StateView, StateWriter,
};
use selvedge_format::{ErrorCode, key, key32};
use selvedge_wire::RequestBuilder;

use crate::support::*;

const LIFETIME: ColumnV1 = ColumnV1 { id: 1, measure: Measure::Count, decay: Decay::Lifetime };

/// Counters of every decay by item, by brand and over all, and a history.
fn busy_program() -> ProgramV1 {
    let columns = || {
        vec![
            column(Measure::Count, Decay::HalfLife { half_life_s: 86_400 }),
            column(Measure::Value, Decay::Window { bucket_s: 604_800, buckets: 4 }),
            column(Measure::Value, Decay::Lifetime),
        ]
    };
    let tables = [By::Item, By::Field(BRAND), By::All].map(|by| table("user", "buy", by, columns()));
    ProgramV1 { user_tables: tables.into(), history_events: 8, ..program([]) }
}

/// A program that counts purchases by item and reads the first of these columns.
fn counting(columns: Vec<ColumnV1>) -> ProgramV1 {
    let table = table("user", "buy", By::Item, columns);
    let read = OpV1::Counter(CounterRef { table: TableRef::User(0), column: 0 });
    ProgramV1 { user_tables: vec![table], ..program([read]) }
}

fn event_at(time_ms: i64, item: usize, value: f32) -> Event {
    Event { event: key(b"buy"), time_ms, item: key(ITEMS[item].as_bytes()), value }
}

fn apply(state: &mut UserState, device: u64, program: &ProgramV1, event: &Event) {
    state.apply(device, program, &ItemKeys::new(program, None), event).expect("few devices");
}

/// Value of the first feature for the first item.
fn first_value(program: &ProgramV1, state: &UserState, time_ms: i64) -> f32 {
    let request = RequestBuilder::new([0; 16], time_ms, [ITEMS[0]]).state(&state.encode()).build();
    features(&mut first_feature_engine(program, &policy(1)), &request)[0][0]
}

fn rows(state: &UserState) -> BTreeMap<u32, f32> {
    let bytes = state.encode();
    let view = StateView::parse(&bytes).expect("a valid state");
    let mut rows = BTreeMap::new();
    for part in view.parts() {
        for section in part.sections() {
            if let SectionView::Table(table) = section {
                rows.extend(table.keys.iter().zip(table.cells.iter()));
            }
        }
    }
    rows
}

fn hostile_number() -> impl Strategy<Value = f32> {
    prop_oneof![
        any::<f32>(),
        prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e-45])
    ]
}

fn hostile_time() -> impl Strategy<Value = i64> {
    let edge = i64::from(u32::MAX) * 1000;
    prop_oneof![any::<i64>(), -5_000_i64..5_000, edge - 9_000..edge + 9_000]
}

/// States of one user as three devices may hold them: prefixes of each device's own events.
fn versions() -> impl Strategy<Value = [UserState; 3]> {
    let prefixes = prop::collection::vec(prop::array::uniform3(0..12_usize), 3);
    (catalogue(), happenings(), prefixes).prop_map(|(catalogue, events, prefixes)| {
        let (program, shared) = (busy_program(), catalogue.shared());
        std::array::from_fn(|version| {
            let mut kept = Vec::new();
            for device in 0..2 {
                let own = events.iter().filter(|event| event.device == device);
                kept.extend(own.take(prefixes[version][device as usize]).copied());
            }
            state_after(&program, Some(&shared), &kept)
        })
    })
}

fn merged(states: &[&UserState]) -> Vec<u8> {
    let mut sum = UserState::new();
    for state in states {
        sum.merge(state).expect("few devices");
    }
    sum.encode()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_state_survives_its_bytes_and_equal_states_have_equal_bytes(catalogue in catalogue(), events in happenings()) {
        let mut state = state_after(&busy_program(), Some(&catalogue.shared()), &events);
        state.set(3, id_of(AGE), 7_000, ProfileValue::Number(f32::NAN)).unwrap();
        state.set(3, id_of(HOME), 7_000, ProfileValue::String(u64::MAX)).unwrap();
        state.set(3, id_of(SINCE), 7_000, ProfileValue::Time(i64::MIN)).unwrap();
        let bytes = state.encode();
        let again = UserState::decode(&bytes).unwrap();
        prop_assert_eq!(again.encode(), bytes);
    }

    #[test]
    fn merging_is_commutative_associative_and_idempotent(states in versions()) {
        let [a, b, c] = &states;
        prop_assert_eq!(merged(&[a, b]), merged(&[b, a]));
        let ab = UserState::decode(&merged(&[a, b])).unwrap();
        let bc = UserState::decode(&merged(&[b, c])).unwrap();
        prop_assert_eq!(merged(&[&ab, c]), merged(&[a, &bc]));
        prop_assert_eq!(merged(&[a, b, a, a, b]), merged(&[a, b]));
    }

    #[test]
    fn two_histories_of_one_device_merge_to_the_same_whoever_begins(left in 0..8_usize, right in 0..8_usize) {
        // Equal sequences with other contents: a device that broke the rules.
        let program = busy_program();
        let [a, b] = [left, right].map(|item| {
            let mut state = UserState::new();
            apply(&mut state, 5, &program, &event_at(NOW_MS, item, 1.0));
            state
        });
        prop_assert_eq!(merged(&[&a, &b]), merged(&[&b, &a]));
    }

    #[test]
    fn the_least_counted_key_goes_when_a_table_is_full(
        items in prop::collection::vec(0..ITEMS.len(), 0..60),
        capacity in 1_u16..6,
    ) {
        let mut program = counting(vec![LIFETIME]);
        program.user_tables[0].capacity = capacity;
        let mut state = UserState::new();
        let mut kept = BTreeMap::new();
        for item in items {
            apply(&mut state, 0, &program, &event_at(NOW_MS, item, 1.0));
            *kept.entry(key32(key(ITEMS[item].as_bytes()))).or_insert(0.0_f32) += 1.0;
            if kept.len() > usize::from(capacity) {
                let least = kept.iter().map(|(key, count)| (*count as u32, *key)).min().expect("a full table");
                kept.remove(&least.1);
            }
            prop_assert_eq!(rows(&state), kept.clone());
        }
    }

    #[test]
    fn a_retrain_keeps_old_counts_and_starts_new_ones_cold(before in 0..20_usize, after in 1..20_usize) {
        let new = ColumnV1 { id: 2, measure: Measure::Value, decay: Decay::Window { bucket_s: 604_800, buckets: 3 } };
        let (old_program, new_program) = (counting(vec![LIFETIME]), counting(vec![new, LIFETIME]));
        let mut state = UserState::new();
        for _ in 0..before {
            apply(&mut state, 0, &old_program, &event_at(NOW_MS, 0, 2.0));
        }
        state = UserState::decode(&state.encode()).unwrap();
        for _ in 0..after {
            apply(&mut state, 0, &new_program, &event_at(NOW_MS, 0, 2.0));
        }
        state = UserState::decode(&state.encode()).unwrap();
        prop_assert_eq!(first_value(&old_program, &state, NOW_MS), (before + after) as f32);
        prop_assert_eq!(first_value(&new_program, &state, NOW_MS), 2.0 * after as f32);
        // Rolled back: the old program goes on counting, and the new column is still there.
        apply(&mut state, 0, &old_program, &event_at(NOW_MS, 0, 2.0));
        prop_assert_eq!(first_value(&old_program, &state, NOW_MS), (before + after + 1) as f32);
        prop_assert_eq!(first_value(&new_program, &state, NOW_MS), 2.0 * after as f32);
    }

    #[test]
    fn a_window_holds_what_its_buckets_cover_at_any_time_in_any_order(
        times in prop::collection::vec(hostile_time(), 1..12),
        now in 0_i64..253_402_300_799_999,
        bucket_s in prop_oneof![Just(1_u32), 1_u32..100, Just(604_800), Just(u32::MAX)],
        buckets in 1_u8..=64,
    ) {
        let window = Decay::Window { bucket_s, buckets };
        let program = counting(vec![ColumnV1 { id: 3, measure: Measure::Count, decay: window }]);
        let mut state = UserState::new();
        let bucket = |time: i64| i64::from(seconds(time) / bucket_s);
        let width = i64::from(buckets);
        for time in &times {
            apply(&mut state, 0, &program, &event_at(*time, 0, 1.0));
        }
        let newest = times.iter().map(|time| bucket(*time)).max().unwrap();
        let now_bucket = bucket(now).max(newest);
        let expected = times.iter().filter(|time| bucket(**time) > now_bucket - width).count();
        prop_assert_eq!(first_value(&program, &state, now), expected as f32);
    }

    #[test]
    fn no_event_makes_a_state_that_its_decoder_refuses(
        events in prop::collection::vec((0_u64..3, any::<u64>(), hostile_time(), hostile_number()), 0..40),
        profile in prop::collection::vec((any::<u64>(), hostile_time(), hostile_number()), 0..4),
    ) {
        let program = busy_program();
        let mut state = UserState::new();
        for (device, item, time_ms, value) in events {
            apply(&mut state, device, &program, &Event { event: key(b"buy"), time_ms, item, value });
            apply(&mut state, device, &program, &Event { event: item, time_ms, item, value });
        }
        for (field, time, number) in profile {
            state.set(0, field, time, ProfileValue::Number(number)).unwrap();
        }
        let bytes = state.encode();
        prop_assert_eq!(UserState::decode(&bytes).map(|state| state.encode()), Ok(bytes));
    }

    #[test]
    fn cells_of_another_width_are_neither_read_nor_written(stored in 1_usize..70, declared in 1_u8..=64) {
        // The same id with another width: a state that no honest device writes.
        let window = Decay::Window { bucket_s: 86_400, buckets: declared };
        let program = counting(vec![ColumnV1 { id: 3, measure: Measure::Count, decay: window }]);
        let cells = vec![1.0_f32; stored];
        let mut writer = StateWriter::default();
        writer.part(0, u64::MAX);
        let row = (key32(key(ITEMS[0].as_bytes())), NOW_S, cells.as_slice());
        writer.table(program.user_tables[0].id, &[(3, stored)], (NOW_S, &cells), [row].into_iter());
        let mut state = UserState::decode(&writer.finish()).unwrap();
        for _ in 0..2 {
            let found = first_value(&program, &state, NOW_MS);
            prop_assert!(stored == usize::from(declared) || found.is_nan());
            apply(&mut state, 0, &program, &event_at(NOW_MS, 0, 1.0));
            state = UserState::decode(&state.encode()).unwrap();
        }
    }
}

#[test]
fn what_a_reader_does_not_know_survives_it() {
    let program = counting(vec![LIFETIME]);
    let mut writer = StateWriter::default();
    writer.part(9, 4);
    writer.table(77, &[(5, 2)], (NOW_S, &[1.0, 2.0]), [(3, NOW_S, &[1.0, 2.0][..])].into_iter());
    writer.opaque(FIRST_OPAQUE, b"a lifetime sketch");
    let mut state = UserState::decode(&writer.finish()).expect("a valid state");
    apply(&mut state, 9, &program, &event_at(NOW_MS, 0, 1.0));
    let bytes = state.encode();
    let view = StateView::parse(&bytes).expect("a valid state");
    let part = view.parts().next().expect("one part");
    assert_eq!(part.sequence, 5);
    let mut found = (false, false);
    for section in part.sections() {
        match section {
            SectionView::Table(table) if table.id == 77 => {
                found.0 = table.columns().eq([(5, 2)]) && table.cells.iter().eq([1.0, 2.0]);
            }
            SectionView::Opaque { tag: FIRST_OPAQUE, payload } => found.1 = payload == b"a lifetime sketch",
            _ => {}
        }
    }
    assert_eq!(found, (true, true));
}

#[test]
fn one_device_too_many_is_refused_and_changes_nothing() {
    let program = busy_program();
    let mut state = UserState::new();
    for device in 0..MAX_PARTS as u64 {
        apply(&mut state, device, &program, &event_at(NOW_MS, 0, 1.0));
    }
    let before = state.encode();
    let keys = ItemKeys::new(&program, None);
    let refused = state.apply(99, &program, &keys, &event_at(NOW_MS, 0, 1.0)).expect_err("too many devices");
    assert_eq!(refused.code(), ErrorCode::TooLarge);
    let mut other = UserState::new();
    apply(&mut other, 99, &program, &event_at(NOW_MS, 0, 1.0));
    assert_eq!(state.merge(&other).expect_err("too many devices").code(), ErrorCode::TooLarge);
    assert_eq!(state.encode(), before);
    assert!(UserState::decode(&before).is_ok());
}

#[test]
fn a_full_profile_refuses_another_field_and_still_updates() {
    let mut state = UserState::new();
    for field in 0..MAX_PROFILE as u64 {
        state.set(0, field, 1_000, ProfileValue::Time(1)).expect("room");
    }
    assert!(state.set(0, u64::MAX, 1_000, ProfileValue::Time(1)).is_err());
    assert!(state.set(0, 3, 2_000, ProfileValue::Time(2)).is_ok());
    assert!(UserState::decode(&state.encode()).is_ok());
}

#[test]
fn a_table_keeps_no_more_cells_than_its_decoder_accepts() {
    let wide = |id| ColumnV1 { id, measure: Measure::Count, decay: Decay::Window { bucket_s: 60, buckets: 64 } };
    let columns: Vec<ColumnV1> = (0..32).map(wide).collect();
    assert!(columns.iter().map(|column| column.decay.width()).sum::<usize>() > MAX_CELLS);
    let program = counting(columns);
    let mut state = UserState::new();
    apply(&mut state, 0, &program, &event_at(NOW_MS, 0, 1.0));
    let state = UserState::decode(&state.encode()).expect("a valid state");
    assert_eq!(first_value(&program, &state, NOW_MS), 1.0);
}

#[test]
fn a_late_event_is_worth_what_it_would_be_had_it_come_in_time() {
    let half_life = Decay::HalfLife { half_life_s: 86_400 };
    let mut program = counting(vec![column(Measure::Count, half_life)]);
    program.features[0] = FeatureV1 { transforms: vec![TransformV1::Scale(4.0)], ..program.features[0].clone() };
    let day = 86_400_000;
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut state = UserState::new();
        for days in order {
            apply(&mut state, 0, &program, &event_at(NOW_MS - days * day, 0, 1.0));
        }
        assert_eq!(first_value(&program, &state, NOW_MS), 4.0 + 2.0 + 1.0);
    }
}
