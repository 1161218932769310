//! Whatever happens in between, acknowledged events are counted once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use selvedge_engine::state::{Event, ItemKeys, UserState};
use selvedge_format::key;
use selvedge_format::state::{SectionView, StateView};

use super::*;
use crate::sample;
use crate::store::fault::FaultyDisk;
use crate::store::{RedbStore, UserStore};

const NOW_MS: i64 = 1_700_000_000_000;

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn options() -> UsersOptions {
    UsersOptions { clock: Arc::new(|| NOW_MS), ..UsersOptions::default() }
}

fn deployed() -> Deployed {
    Deployed { program: Arc::new(sample::program()), shared: None }
}

fn open(disk: &FaultyDisk, options: UsersOptions) -> Users {
    let store = RedbStore::with_backend(disk.clone()).unwrap();
    Users::open(Arc::new(store), options, Some(deployed())).unwrap()
}

fn event(user: u8, id: u16) -> Incoming {
    Incoming {
        id: format!("e{id}"),
        user: format!("user-{user}"),
        event: if id.is_multiple_of(3) { "view" } else { "purchase" }.to_owned(),
        item: format!("item-{}", id % 7),
        value: f32::from(id % 5),
        time_ms: NOW_MS - i64::from(id) * 1000,
        device: id.is_multiple_of(2).then(|| format!("phone-{user}")),
    }
}

/// Counts an event into the state of its user, as the engine does.
fn count(states: &mut BTreeMap<String, UserState>, incoming: &Incoming, program: &ProgramV1, items: &ItemKeys<'_>) {
    let event = Event {
        event: key(incoming.event.as_bytes()),
        time_ms: incoming.time_ms,
        item: key(incoming.item.as_bytes()),
        value: incoming.value,
    };
    let device = incoming.device.as_ref().unwrap_or(&incoming.user);
    let state = states.entry(incoming.user.clone()).or_default();
    state.apply(key(device.as_bytes()), program, items, &event).unwrap();
}

/// A plain model: every acknowledged event once, in order.
#[derive(Clone, Default)]
struct Model {
    states: BTreeMap<String, UserState>,
    ids: BTreeMap<String, Vec<String>>,
}

impl Model {
    fn ingest(&mut self, events: &[Incoming]) -> Ingested {
        let program = sample::program();
        let items = ItemKeys::new(&program, None);
        let mut ingested = Ingested::default();
        for incoming in events {
            let ids = self.ids.entry(incoming.user.clone()).or_default();
            if ids.contains(&incoming.id) {
                ingested.duplicates += 1;
                continue;
            }
            ids.push(incoming.id.clone());
            ingested.accepted += 1;
            count(&mut self.states, incoming, &program, &items);
        }
        ingested
    }

    fn merge(&mut self, user: u8, from: u8) {
        let (user, from) = (format!("user-{user}"), format!("user-{from}"));
        if user == from {
            return;
        }
        if let Some(other) = self.states.remove(&from) {
            self.states.entry(user.clone()).or_default().merge(&other).unwrap();
            let ids = self.ids.remove(&from).unwrap_or_default();
            self.ids.entry(user).or_default().extend(ids);
        }
    }

    fn erase(&mut self, user: u8) {
        self.states.remove(&format!("user-{user}"));
        self.ids.remove(&format!("user-{user}"));
    }

    fn check(&self, users: &Users) {
        for user in 0..6 {
            let user = format!("user-{user}");
            let expected = self.states.get(&user).map(UserState::encode);
            let found = users.state(&user).unwrap().map(|copy| copy.bytes.to_vec());
            assert_eq!(found, expected, "{user}");
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Ingest(Vec<(u8, u16)>),
    Merge(u8, u8),
    Erase(u8),
    PowerCut,
    Close,
    DiskFull(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => proptest::collection::vec((0..6_u8, 0..40_u16), 1..12).prop_map(Step::Ingest),
        1 => (0..6_u8, 0..6_u8).prop_map(|(user, from)| Step::Merge(user, from)),
        1 => (0..6_u8).prop_map(Step::Erase),
        2 => Just(Step::PowerCut),
        1 => Just(Step::Close),
        1 => (0..100_000_u64).prop_map(Step::DiskFull),
    ];
    proptest::collection::vec(step, 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_interleaving_equals_the_plain_model(steps in steps()) {
        let mut disk = FaultyDisk::new();
        // Little memory: states come and go.
        let small = || UsersOptions { cache_bytes: 4000, ..options() };
        let mut users = open(&disk, small());
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Ingest(events) => {
                    let events: Vec<Incoming> = events.iter().map(|(user, id)| event(*user, *id)).collect();
                    let ingested = block(users.ingest(events.clone())).unwrap();
                    prop_assert_eq!(ingested, model.ingest(&events));
                }
                Step::Merge(user, from) => {
                    block(users.merge(&format!("user-{user}"), &format!("user-{from}"))).unwrap();
                    model.merge(user, from);
                }
                Step::Erase(user) => {
                    block(users.erase(&format!("user-{user}"))).unwrap();
                    model.erase(user);
                }
                Step::PowerCut => {
                    let after = disk.after_power_cut();
                    drop(users);
                    disk = after;
                    users = open(&disk, small());
                }
                Step::Close => {
                    users.close();
                    drop(users);
                    users = open(&disk, small());
                }
                Step::DiskFull(room) => {
                    disk.set_room(room);
                    for id in 0..40 {
                        let events = vec![event(id as u8 % 6, 1000 + id)];
                        match block(users.ingest(events.clone())) {
                            Ok(ingested) => prop_assert_eq!(ingested, model.ingest(&events)),
                            Err(error) => {
                                prop_assert!(matches!(error, UsersError::Store(_)), "{}", error);
                                break;
                            }
                        }
                    }
                    // A disk that was full is opened again: redb refuses to go on after a failed write.
                    let after = disk.after_power_cut();
                    drop(users);
                    disk = after;
                    users = open(&disk, small());
                }
            }
            model.check(&users);
        }
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_cannot_be_used_is_refused_whole_and_with_its_place() {
    let users = open(&FaultyDisk::new(), options());
    let place = |change: fn(&mut Incoming)| {
        let mut events = vec![event(1, 1), event(1, 2)];
        change(&mut events[1]);
        match block(users.ingest(events)) {
            Err(UsersError::Invalid { place, .. }) => place,
            other => format!("{other:?}"),
        }
    };
    assert_eq!(place(|event| event.user.clear()), "events[1].user");
    assert_eq!(place(|event| event.id = "x".repeat(MAX_ID + 1)), "events[1].id");
    assert_eq!(place(|event| event.value = f32::NAN), "events[1].value");
    assert_eq!(place(|event| event.time_ms = NOW_MS + MAX_AHEAD_MS + 1), "events[1].time");
    assert_eq!(place(|event| event.device = Some(String::new())), "events[1].device");
    let many = vec![event(1, 1); 1001];
    assert!(matches!(block(users.ingest(many)), Err(UsersError::TooLarge { limit: 1000, found: 1001, .. })));
    assert!(users.state("user-1").unwrap().is_none(), "nothing of them counts");
}

#[test]
fn nothing_is_counted_before_a_bundle_says_what_and_nothing_after_the_end() {
    let store = RedbStore::with_backend(FaultyDisk::new()).unwrap();
    let users = Users::open(Arc::new(store), options(), None).unwrap();
    assert_eq!(block(users.ingest(vec![event(1, 1)])), Err(UsersError::NoProgram));
    block(users.deploy(deployed())).unwrap();
    assert_eq!(block(users.ingest(vec![event(1, 1)])).unwrap().accepted, 1);
    users.close();
    assert_eq!(block(users.ingest(vec![event(1, 2)])), Err(UsersError::Closed));
}

#[test]
fn too_much_that_waits_to_be_written_is_refused_until_it_is_written() {
    let users = open(&FaultyDisk::new(), UsersOptions { dirty_bytes: 100, ..options() });
    let mut busy = 0;
    for id in 0..200 {
        match block(users.ingest(vec![event(id as u8 % 50, id)])) {
            Ok(_) => {}
            Err(UsersError::Busy { retry_after_s: 1 }) => busy += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(users.stats().dirty_bytes < 2000, "one request beyond the bound at most");
    }
    assert!(busy > 0, "a bound that is never met is none");
    wait_until("what waits is written", || users.stats().dirty_bytes == 0);
    assert_eq!(block(users.ingest(vec![event(1, 999)])).unwrap().accepted, 1);
}

#[test]
fn a_state_of_elsewhere_is_taken_over_and_a_bad_one_is_not() {
    let users = open(&FaultyDisk::new(), options());
    let mut state = UserState::new();
    let program = sample::program();
    let bought = Event { event: key(b"purchase"), time_ms: NOW_MS, item: 5, value: 1.0 };
    state.apply(77, &program, &ItemKeys::new(&program, None), &bought).unwrap();
    block(users.put_state("ann", &state.encode())).unwrap();
    block(users.put_state("ann", &state.encode())).unwrap();
    assert_eq!(users.state("ann").unwrap().unwrap().bytes, state.encode());
    assert!(matches!(block(users.put_state("ann", b"hello")), Err(UsersError::Invalid { .. })));
}

#[test]
fn an_erased_user_is_gone_from_the_answers_at_once_and_from_the_disk_after_compaction() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = Arc::new(RedbStore::open(&path).unwrap());
    let users = Users::open(Arc::clone(&store) as Arc<dyn UserStore>, options(), Some(deployed())).unwrap();
    let secret = |user: &str, id: u16| Incoming {
        user: user.to_owned(),
        item: format!("secret-item-of-{user}"),
        ..event(1, id)
    };
    for id in 0..20 {
        block(users.ingest(vec![secret("maria", id), secret("nobody", id)])).unwrap();
    }
    assert_eq!(users.export("maria").unwrap().unwrap().events.len(), 20);
    block(users.erase("maria")).unwrap();
    assert!(users.state("maria").unwrap().is_none());
    assert!(users.export("maria").unwrap().is_none());
    block(users.ingest(vec![secret("maria", 100)])).unwrap();
    assert_eq!(users.export("maria").unwrap().unwrap().events.len(), 1, "who comes back is new");
    block(users.erase("maria")).unwrap();
    wait_until("the log is cleaned", || users.stats().erasures_pending == 0);
    users.close();
    drop(users);
    let compacted = directory.path().join("compacted.redb");
    store.compact_into(&compacted).unwrap();
    let holds = |path: &std::path::Path, text: &str| {
        std::fs::read(path).unwrap().windows(text.len()).any(|window| window == text.as_bytes())
    };
    assert!(holds(&path, "secret-item-of-maria"), "the test can see what is there");
    assert!(!holds(&compacted, "maria"));
    assert!(holds(&compacted, "secret-item-of-nobody"), "others stay");
}

type Counts = BTreeMap<(u64, u64, u64, u32), Vec<u32>>;

/// The cells of each device, table, column and key: a state's bytes also tell in which order columns came.
fn counts(state: &[u8]) -> Counts {
    let mut counts = Counts::new();
    for part in StateView::parse(state).unwrap().parts() {
        for section in part.sections() {
            let SectionView::Table(table) = section else { continue };
            let rows = table.keys.len();
            let mut start = 0;
            for (column, width) in table.columns() {
                for row in 0..rows {
                    let cells = (start..start + width).map(|cell| table.cells.get(cell * rows + row).to_bits());
                    let place = (part.device, table.id, column, table.keys.get(row));
                    counts.insert(place, cells.chain([table.last.get(row)]).collect());
                }
                start += width;
            }
        }
    }
    counts
}

#[test]
fn new_counters_are_filled_from_the_log() {
    let disk = FaultyDisk::new();
    let users = open(&disk, options());
    wait_until("the first bundle is counted", || !users.is_backfilling());
    let events: Vec<Incoming> = (0..60).map(|id| event(id as u8 % 6, id)).collect();
    block(users.ingest(events.clone())).unwrap();
    let wider = Arc::new(sample::wider_program());
    block(users.deploy(Deployed { program: Arc::clone(&wider), shared: None })).unwrap();
    wait_until("the log is counted", || !users.is_backfilling());
    let later = Incoming { id: "later".into(), ..event(2, 5) };
    block(users.ingest(vec![later.clone()])).unwrap();
    // As if the wider program had counted from the start.
    let items = ItemKeys::new(&wider, None);
    let mut expected: BTreeMap<String, UserState> = BTreeMap::new();
    for incoming in events.iter().chain([&later]) {
        count(&mut expected, incoming, &wider, &items);
    }
    let check = |users: &Users| {
        for (user, state) in &expected {
            let found = users.state(user).unwrap().unwrap().bytes;
            assert_eq!(counts(&found), counts(&state.encode()), "{user}");
        }
    };
    check(&users);
    assert_eq!(users.stats().backfilled, 6);
    let after = disk.after_power_cut();
    drop(users);
    let store = RedbStore::with_backend(after).unwrap();
    let again = Users::open(Arc::new(store), options(), Some(Deployed { program: wider, shared: None })).unwrap();
    check(&again);
}

#[test]
fn the_shared_state_has_counts_that_survive_a_power_cut() {
    let disk = FaultyDisk::new();
    let users = open(&disk, options());
    wait_until("the bundle is counted", || !users.is_backfilling());
    block(users.ingest((0..60).map(|id| event(id as u8 % 6, id)).collect())).unwrap();
    let catalogue = Arc::new(crate::refresh::Catalogue::default());
    let before = block(users.shared_state(Arc::clone(&catalogue))).unwrap();
    let after = disk.after_power_cut();
    drop(users);
    let again = open(&after, options());
    wait_until("the bundle is counted", || !again.is_backfilling());
    assert_eq!(block(again.shared_state(catalogue)).unwrap(), before);
}

#[test]
fn old_events_and_users_who_are_not_heard_of_go() {
    let disk = FaultyDisk::new();
    let now = Arc::new(AtomicI64::new(NOW_MS));
    let clock = Arc::clone(&now);
    let terms = UsersOptions {
        retention_ms: 1000,
        ttl_ms: 5000,
        clock: Arc::new(move || clock.load(Ordering::SeqCst)),
        ..options()
    };
    let users = open(&disk, terms);
    for id in 0..10 {
        block(users.ingest(vec![event(1, id)])).unwrap();
    }
    now.store(NOW_MS + 2000, Ordering::SeqCst);
    // Counters are written every so many entries: what a start would count again stays.
    for id in 0..2100 {
        block(users.ingest(vec![Incoming { id: format!("more-{id}"), ..event(2, 3) }])).unwrap();
    }
    wait_until("old entries go", || users.stats().trimmed >= 10);
    assert!(users.state("user-1").unwrap().is_some(), "the state stays");
    now.store(NOW_MS + 8000, Ordering::SeqCst);
    block(users.ingest(vec![Incoming { id: "last".into(), ..event(2, 3) }])).unwrap();
    wait_until("the unheard of go", || users.stats().expired == 1);
    assert!(users.state("user-1").unwrap().is_none());
    assert!(users.state("user-2").unwrap().is_some());
}
