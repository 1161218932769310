//! Counters that a new bundle declares and the states were not counted by: counted from the log.
//!
//! Reading a long log takes a while, so that is done beside the writer; what was logged meanwhile the writer counts itself
//! when it takes the result. Users are taken in parts, to bound memory.

use std::collections::HashMap;
use std::sync::mpsc::{SyncSender, channel};
use std::sync::{Arc, Weak};

use selvedge_engine::state::ItemKeys;
use selvedge_format::key;
use selvedge_format::program::ProgramV1;

use super::entry::{Happened, pseudonym, read_entry};
use super::writer::{Command, States, apply, event_of};
use super::{CHUNK, Deployed, Shared};
use crate::refresh::SharedCounters;
use crate::store::{Position, StoreError, UserStore};

/// Users that are counted at a time, about.
const USERS_PER_PART: u64 = 50_000;
/// How often a user is followed through merges.
const MAX_MERGES: usize = 16;

/// What is counted, and by what.
pub(super) struct Plan {
    pub(super) deployed: Arc<Deployed>,
    /// Tables and columns per user that are new.
    pub(super) wanted: Vec<(u64, u64)>,
    /// Whether the counters over all users are other ones.
    counters: bool,
}

impl Plan {
    pub(super) fn new(old: Option<&ProgramV1>, deployed: Arc<Deployed>) -> Self {
        let columns = |program: &ProgramV1| -> Vec<(u64, u64)> {
            let tables = program.user_tables.iter();
            tables.flat_map(|table| table.columns.iter().map(|column| (table.id, column.id))).collect()
        };
        let known = old.map(columns).unwrap_or_default();
        let wanted = columns(&deployed.program).into_iter().filter(|column| !known.contains(column)).collect();
        let counters = old.is_none_or(|old| {
            old.global_tables != deployed.program.global_tables || old.fields != deployed.program.fields
        });
        Self { deployed, wanted, counters }
    }
}

/// Some users, counted from the log up to a position.
pub(super) struct Counted {
    pub(super) users: States,
    pub(super) counters: Option<SharedCounters>,
    pub(super) upto: Position,
    part: u64,
    parts: u64,
    /// Into whom others were merged: both must be counted in one part.
    merged: Arc<HashMap<String, String>>,
    /// Whether no part comes after this one.
    pub(super) last: bool,
}

impl Counted {
    fn is_mine(&self, user: &str) -> bool {
        let mut user = user;
        // Bounded: a circle of merges would go round for ever.
        for _ in 0..MAX_MERGES {
            let Some(into) = self.merged.get(user) else { break };
            user = into;
        }
        key(user.as_bytes()) % self.parts == self.part
    }
}

/// Who was merged into whom.
fn merges(store: &dyn UserStore) -> Result<HashMap<String, String>, StoreError> {
    let mut merged = HashMap::new();
    let mut from = 0;
    loop {
        let entries = store.log(from, CHUNK)?;
        let Some((last, _)) = entries.last() else { return Ok(merged) };
        from = last + 1;
        for (position, bytes) in &entries {
            for happened in read_entry(*position, bytes)?.1 {
                if let Happened::Merge { user, from } = happened {
                    merged.insert(from, user);
                }
            }
        }
    }
}

/// Counts all parts, and hands each over before the next.
pub(super) fn run(store: &dyn UserStore, shared: &Weak<Shared>, plan: &Arc<Plan>, sender: &SyncSender<Command>) {
    // A store that fails, and a host that ends, leave the plan undone: it is made again at the next start.
    let Ok(count) = store.record_count() else { return };
    let parts = if plan.wanted.is_empty() { 1 } else { count / USERS_PER_PART + 1 };
    let Ok(merged) = (if parts > 1 { merges(store) } else { Ok(HashMap::new()) }) else { return };
    let merged = Arc::new(merged);
    for part in 0..parts {
        let counters = (part == 0 && plan.counters).then(|| SharedCounters::new(&plan.deployed.program));
        let last = part + 1 == parts;
        let mut counted =
            Counted { users: States::new(), counters, upto: 0, part, parts, merged: Arc::clone(&merged), last };
        if count_on(store, plan, &mut counted).is_err() {
            return;
        }
        let (done, is_done) = channel();
        let gone = || shared.upgrade().is_none_or(|shared| shared.closing.load(std::sync::atomic::Ordering::SeqCst));
        let sent = !gone() && sender.send(Command::Adopt { plan: Arc::clone(plan), counted, done }).is_ok();
        if !sent || is_done.recv().is_err() {
            return;
        }
    }
}

/// Counts what the log has above what is counted.
pub(super) fn count_on(store: &dyn UserStore, plan: &Plan, counted: &mut Counted) -> Result<(), StoreError> {
    let Deployed { program, shared } = &*plan.deployed;
    let items = ItemKeys::new(program, shared.as_deref());
    loop {
        let entries = store.log(counted.upto + 1, CHUNK)?;
        let Some((last, _)) = entries.last() else { return Ok(()) };
        counted.upto = *last;
        for (position, bytes) in &entries {
            for happened in read_entry(*position, bytes)?.1 {
                count(&happened, program, &items, plan, counted);
            }
        }
    }
}

fn count(happened: &Happened, program: &ProgramV1, items: &ItemKeys<'_>, plan: &Plan, counted: &mut Counted) {
    match happened {
        Happened::Event(logged) => {
            let event = event_of(logged);
            if let Some(counters) = &mut counted.counters {
                counters.apply(program, items, &event);
            }
            if !plan.wanted.is_empty() && counted.is_mine(&logged.user) {
                let state = counted.users.entry(logged.user.clone()).or_default();
                apply(state, program, items, logged, &event);
            }
        }
        Happened::Merge { user, from } => {
            if let Some(other) = counted.users.remove(from) {
                // Too many devices were refused when it happened, so they fit.
                let _ = counted.users.entry(user.clone()).or_default().merge(&other);
            }
        }
        Happened::Erase { user } => counted.users.retain(|name, _| pseudonym(name) != *user),
    }
}
