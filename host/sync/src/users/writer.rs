//! The one thread that changes anything.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use selvedge_engine::state::{Event, ItemKeys, UserState};
use selvedge_format::key;
use selvedge_format::program::ProgramV1;
use tokio::sync::oneshot;

use super::backfill::{self, Plan};
use super::entry::{Happened, Logged, Record, pseudonym, read_entry, write_entry};
use super::{CHUNK, Deployed, Incoming, Ingested, Shared, UsersError};
use crate::refresh::SharedCounters;
use crate::store::{Batch, Position, StoreError};

/// Names of values in the store.
const FLOOR: &str = "users-floor";
const COUNTERS: &str = "users-counters";
const COUNTERS_AT: &str = "users-counters-at";
const PROGRAM: &str = "users-program";
const ERASED: &str = "users-erased";

/// How long the writer waits for work before it tidies up.
const IDLE: Duration = Duration::from_millis(20);
/// How often it tidies up under load.
const TIDY_EVERY: Duration = Duration::from_secs(1);
/// States that change often are written so much later, once instead of each time.
const SETTLES: Duration = Duration::from_secs(2);
/// Entries after which the counters over all users are written: what a start counts again at most.
const COUNTERS_EVERY: u64 = 2000;
/// Users that are looked at, per second, for whether they were heard of.
const SWEPT: usize = 512;

type Reply<T> = oneshot::Sender<Result<T, UsersError>>;

pub(super) enum Command {
    Ingest {
        events: Vec<Incoming>,
        reply: Reply<Ingested>,
    },
    Put {
        user: String,
        state: Box<UserState>,
        reply: Reply<()>,
    },
    Merge {
        user: String,
        from: String,
        reply: Reply<()>,
    },
    Erase {
        user: String,
        reply: Reply<()>,
    },
    Deploy {
        deployed: Deployed,
        reply: Reply<()>,
    },
    SharedState {
        reply: Reply<Vec<u8>>,
    },
    /// Counters of some users, or over all users, counted from the log up to a position.
    Adopt {
        plan: Arc<Plan>,
        counted: backfill::Counted,
        done: std::sync::mpsc::Sender<()>,
    },
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    queue: Receiver<Command>,
    sender: Option<SyncSender<Command>>,
    /// Position of the newest entry.
    position: Position,
    counters: Option<SharedCounters>,
    counters_at: Position,
    tidied: Instant,
    /// The last user whom the sweep for the unheard of has seen.
    swept: String,
    /// The next entry from which erased users are removed.
    cleaned: Position,
    plan: Option<Arc<Plan>>,
}

impl Writer {
    /// Reads what is stored and counts what was logged after it.
    pub(super) fn open(shared: Arc<Shared>, queue: Receiver<Command>) -> Result<Self, StoreError> {
        let store = &shared.store;
        let position_of = |name| -> Result<Position, StoreError> {
            let value = store.value(name)?;
            Ok(value.and_then(|value| value.try_into().ok()).map_or(0, u64::from_le_bytes))
        };
        let (floor, counters_at, position) = (position_of(FLOOR)?, position_of(COUNTERS_AT)?, store.log_end()?);
        let erased = store.value(ERASED)?.unwrap_or_default();
        *shared.erased() = read_erased(&erased);
        let mut writer = Self {
            position,
            counters: None,
            counters_at: 0,
            tidied: Instant::now(),
            swept: String::new(),
            cleaned: 0,
            plan: None,
            sender: None,
            queue,
            shared: Arc::clone(&shared),
        };
        if let Some(deployed) = shared.deployed() {
            let program = &deployed.program;
            let stored = shared.store.value(COUNTERS)?;
            let stored = stored.and_then(|bytes| SharedCounters::decode(program, &bytes));
            writer.counters_at = if stored.is_some() { counters_at } else { position };
            writer.counters = Some(stored.unwrap_or_else(|| SharedCounters::new(program)));
            writer.replay(floor.min(writer.counters_at) + 1, &deployed)?;
        }
        writer.tell();
        Ok(writer)
    }

    /// For those who count from the log and report back.
    pub(super) fn set_sender(&mut self, sender: SyncSender<Command>) {
        self.sender = Some(sender);
    }

    fn replay(&mut self, mut from: Position, deployed: &Deployed) -> Result<(), StoreError> {
        loop {
            let entries = self.shared.store.log(from, CHUNK)?;
            let Some((last, _)) = entries.last() else { return Ok(()) };
            from = last + 1;
            for (position, bytes) in &entries {
                let (at_ms, happened) = read_entry(*position, bytes)?;
                self.count(*position, at_ms, &happened, deployed)?;
            }
        }
    }

    /// Works until it is told to end.
    pub(super) fn run(mut self) {
        self.start_backfill();
        let mut next = None;
        loop {
            let command = match next.take() {
                Some(command) => Some(command),
                None => match self.queue.recv_timeout(IDLE) {
                    Ok(command) => Some(command),
                    Err(RecvTimeoutError::Timeout) if self.shared.closing.load(Ordering::SeqCst) => break,
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => break,
                },
            };
            match command {
                Some(Command::Ingest { events, reply }) => next = self.ingest_with_others(events, reply),
                Some(command) => self.obey(command),
                None => self.rest(),
            }
            if self.tidied.elapsed() > TIDY_EVERY {
                self.tidy();
            }
            self.tell();
        }
        self.write_all();
    }

    fn obey(&mut self, command: Command) {
        // Whoever does not wait for the answer any more does not hear it.
        match command {
            Command::Ingest { events, reply } => drop(self.ingest_with_others(events, reply)),
            Command::Put { user, state, reply } => drop(reply.send(self.put(&user, &state))),
            Command::Merge { user, from, reply } => drop(reply.send(self.merge(user, from))),
            Command::Erase { user, reply } => drop(reply.send(self.erase(&user))),
            Command::Deploy { deployed, reply } => drop(reply.send(self.deploy(deployed))),
            Command::SharedState { reply } => drop(reply.send(self.shared_state())),
            Command::Adopt { plan, counted, done } => {
                let current = self.plan.as_ref().is_some_and(|mine| Arc::ptr_eq(mine, &plan));
                let adopted = if current { self.adopt(&plan, counted) } else { Ok(()) };
                if adopted.is_ok() {
                    let _ = done.send(());
                }
            }
        }
    }

    // Events.

    /// Commits this request together with those that wait behind it. The command that came after them is handed back.
    fn ingest_with_others(&mut self, events: Vec<Incoming>, reply: Reply<Ingested>) -> Option<Command> {
        let mut count = events.len();
        let mut requests = vec![(events, reply)];
        let mut next = None;
        while count < self.shared.options.group_events {
            match self.queue.try_recv() {
                Ok(Command::Ingest { events, reply }) => {
                    count += events.len();
                    requests.push((events, reply));
                }
                Ok(other) => {
                    next = Some(other);
                    break;
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        let (batches, replies): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
        let ingested = self.ingest(batches);
        self.shared.counters.queued.fetch_sub(count as u64, Ordering::Relaxed);
        match ingested {
            Ok(ingested) => {
                for (reply, ingested) in replies.into_iter().zip(ingested) {
                    let _ = reply.send(Ok(ingested));
                }
            }
            Err(error) => {
                for reply in replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
        next
    }

    fn ingest(&mut self, batches: Vec<Vec<Incoming>>) -> Result<Vec<Ingested>, UsersError> {
        let deployed = self.shared.deployed().ok_or(UsersError::NoProgram)?;
        self.load(batches.iter().flatten().map(|event| event.user.as_str()))?;
        let mut happened = Vec::new();
        let mut ingested = Vec::with_capacity(batches.len());
        {
            let cache = self.shared.cache();
            let mut new = HashSet::new();
            for batch in batches {
                let mut counts = Ingested::default();
                for event in batch {
                    let id = key(event.id.as_bytes());
                    let known = cache.peek(&event.user).is_some_and(|record| record.ids.contains(&id));
                    if known || !new.insert((key(event.user.as_bytes()), id)) {
                        counts.duplicates += 1;
                        continue;
                    }
                    counts.accepted += 1;
                    happened.push(Happened::Event(Logged {
                        id,
                        user: event.user,
                        event: event.event,
                        item: event.item,
                        value: event.value,
                        time_ms: event.time_ms,
                        device: event.device,
                    }));
                }
                ingested.push(counts);
            }
        }
        if !happened.is_empty() {
            let at_ms = self.shared.now_ms();
            let entry = write_entry(at_ms, &happened);
            let position = self.position + 1;
            self.commit(Batch { append: vec![(position, &entry)], durable: true, ..Batch::default() }, self.slice())?;
            self.position = position;
            self.count(position, at_ms, &happened, &deployed)?;
            self.shared.cache().evict();
        }
        let stats = &self.shared.counters;
        stats.accepted.fetch_add(ingested.iter().map(|counts| counts.accepted).sum(), Ordering::Relaxed);
        stats.duplicates.fetch_add(ingested.iter().map(|counts| counts.duplicates).sum(), Ordering::Relaxed);
        Ok(ingested)
    }

    /// Brings records into memory.
    fn load<'a>(&self, users: impl Iterator<Item = &'a str>) -> Result<(), StoreError> {
        let missing: HashSet<&str> = {
            let cache = self.shared.cache();
            users.filter(|user| !cache.contains(user)).collect()
        };
        for user in missing {
            // Read without the lock: readers need not wait for the disk, and only this thread adds records.
            let stored = self.shared.store.record(user)?;
            let length = stored.as_ref().map_or(0, Vec::len);
            let record = stored.map(|bytes| Record::read(user, &bytes)).transpose()?.unwrap_or_default();
            self.shared.cache().insert(user, record, length);
        }
        Ok(())
    }

    /// Counts an entry of the log in the states and counters that do not have it yet.
    fn count(
        &mut self,
        position: Position,
        at_ms: i64,
        happened: &[Happened],
        deployed: &Deployed,
    ) -> Result<(), StoreError> {
        let users = happened.iter().filter_map(|happened| match happened {
            Happened::Event(event) => Some(event.user.as_str()),
            _ => None,
        });
        self.load(users)?;
        let items = ItemKeys::new(&deployed.program, deployed.shared.as_deref());
        let shared = Arc::clone(&self.shared);
        let mut cache = shared.cache();
        let mut touched = HashSet::new();
        for happened in happened {
            match happened {
                Happened::Event(logged) => {
                    let event = event_of(logged);
                    if position > self.counters_at
                        && let Some(counters) = &mut self.counters
                    {
                        counters.apply(&deployed.program, &items, &event);
                    }
                    if cache.peek(&logged.user).is_some_and(|record| record.applied >= position) {
                        continue;
                    }
                    let placed = cache.change(&logged.user, position, |record| {
                        record.remember(logged.id);
                        record.seen_ms = record.seen_ms.max(at_ms);
                        apply(&mut record.state, &deployed.program, &items, logged, &event)
                    });
                    if placed == Some(false) {
                        shared.counters.unplaced.fetch_add(1, Ordering::Relaxed);
                    }
                    touched.insert(logged.user.as_str());
                }
                // The records that these changed were written with them; what is here came back from before.
                Happened::Merge { from, .. } => cache.remove(from),
                Happened::Erase { user } => {
                    let back: Vec<String> = cache.users().filter(|name| pseudonym(name) == *user).cloned().collect();
                    back.iter().for_each(|name| cache.remove(name));
                }
            }
        }
        // Only now: an entry may hold several events of one user.
        for user in touched {
            cache.change(user, position, |record| record.applied = position);
        }
        Ok(())
    }

    // What is asked of one user.

    fn put(&mut self, user: &str, state: &UserState) -> Result<(), UsersError> {
        self.load(std::iter::once(user))?;
        let mut record = self.shared.cache().peek(user).cloned().unwrap_or_default();
        record.state.merge(state).map_err(|error| too_many_devices(&error))?;
        record.seen_ms = record.seen_ms.max(self.shared.now_ms());
        let bytes = record.write();
        self.commit(Batch { records: vec![(user, Some(&bytes))], durable: true, ..Batch::default() }, Vec::new())?;
        self.shared.cache().replace(user, record, bytes.len());
        Ok(())
    }

    fn merge(&mut self, user: String, from: String) -> Result<(), UsersError> {
        self.load([user.as_str(), from.as_str()].into_iter())?;
        let (mut record, other) = {
            let cache = self.shared.cache();
            (cache.peek(&user).cloned().unwrap_or_default(), cache.peek(&from).cloned().unwrap_or_default())
        };
        if other == Record::default() {
            return Ok(());
        }
        record.state.merge(&other.state).map_err(|error| too_many_devices(&error))?;
        other.ids.iter().for_each(|id| record.remember(*id));
        record.seen_ms = record.seen_ms.max(other.seen_ms);
        let position = self.position + 1;
        record.applied = position;
        let entry = write_entry(self.shared.now_ms(), &[Happened::Merge { user: user.clone(), from: from.clone() }]);
        let bytes = record.write();
        let batch = Batch {
            append: vec![(position, &entry)],
            records: vec![(&user, Some(&bytes)), (&from, None)],
            durable: true,
            ..Batch::default()
        };
        self.commit(batch, Vec::new())?;
        self.position = position;
        let mut cache = self.shared.cache();
        cache.replace(&user, record, bytes.len());
        cache.remove(&from);
        Ok(())
    }

    fn erase(&mut self, user: &str) -> Result<(), UsersError> {
        let position = self.position + 1;
        let name = pseudonym(user);
        let entry = write_entry(self.shared.now_ms(), &[Happened::Erase { user: name }]);
        let mut erased = self.shared.erased().clone();
        erased.push((name, position));
        let list = write_erased(&erased);
        let batch = Batch {
            append: vec![(position, &entry)],
            records: vec![(user, None)],
            values: vec![(ERASED, Some(&list))],
            durable: true,
            ..Batch::default()
        };
        self.commit(batch, Vec::new())?;
        self.position = position;
        self.shared.cache().remove(user);
        *self.shared.erased() = erased;
        // From the start: the ones before have been looked at for other users only.
        self.cleaned = 0;
        Ok(())
    }

    // Bundles.

    fn deploy(&mut self, deployed: Deployed) -> Result<(), UsersError> {
        let same = self.shared.deployed().is_some_and(|old| {
            old.program.global_tables == deployed.program.global_tables && old.program.fields == deployed.program.fields
        });
        if !same || self.counters.is_none() {
            self.counters = Some(SharedCounters::new(&deployed.program));
            self.counters_at = self.position;
        }
        *self.shared.deployed.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(deployed));
        self.start_backfill();
        Ok(())
    }

    /// Counts in the background what the bundle counts and the states were not counted by.
    fn start_backfill(&mut self) {
        self.shared.backfilling.store(false, Ordering::Relaxed);
        let (Some(deployed), Some(sender)) = (self.shared.deployed(), &self.sender) else { return };
        let program = deployed.program.encode();
        // A store that fails here fails at the next commit as well, and says so there.
        let stored = self.shared.store.value(PROGRAM).ok().flatten();
        if stored.as_ref() == Some(&program) {
            self.plan = None;
            return;
        }
        let old = stored.and_then(|bytes| ProgramV1::decode(&bytes).ok());
        let plan = Arc::new(Plan::new(old.as_ref(), deployed));
        self.plan = Some(Arc::clone(&plan));
        let store = Arc::clone(&self.shared.store);
        let shared = Arc::downgrade(&self.shared);
        let sender = sender.clone();
        self.shared.backfilling.store(true, Ordering::Relaxed);
        let thread = std::thread::Builder::new().name("selvedge-backfill".to_owned());
        // Without a thread the new counters start cold, as they do where there is no log.
        let _ = thread.spawn(move || backfill::run(&*store, &shared, &plan, &sender));
    }

    fn adopt(&mut self, plan: &Plan, mut counted: backfill::Counted) -> Result<(), StoreError> {
        // What was logged since then; nothing is logged meanwhile, since that is done here.
        backfill::count_on(&*self.shared.store, plan, &mut counted)?;
        if let Some(counters) = counted.counters {
            self.counters = Some(counters);
            self.counters_at = counted.upto;
        }
        let users: Vec<(String, UserState)> = counted.users.into_iter().collect();
        for chunk in users.chunks(CHUNK) {
            self.load(chunk.iter().map(|(user, _)| user.as_str()))?;
            let mut records = Vec::with_capacity(chunk.len());
            {
                let cache = self.shared.cache();
                for (user, fresh) in chunk {
                    let Some(mut record) = cache.peek(user).filter(|record| record.seen_ms > 0).cloned() else {
                        continue;
                    };
                    record.state.adopt(fresh, &plan.wanted);
                    records.push((user, record));
                }
            }
            let bytes: Vec<Vec<u8>> = records.iter().map(|(_, record)| record.write()).collect();
            let batch = records.iter().zip(&bytes).map(|((user, _), bytes)| (user.as_str(), Some(bytes.as_slice())));
            self.commit(Batch { records: batch.collect(), ..Batch::default() }, Vec::new())?;
            self.shared.counters.backfilled.fetch_add(records.len() as u64, Ordering::Relaxed);
            let mut cache = self.shared.cache();
            for ((user, record), bytes) in records.into_iter().zip(&bytes) {
                cache.replace(user, record, bytes.len());
            }
            cache.evict();
        }
        if counted.last {
            let program = plan.deployed.program.encode();
            let values = vec![(PROGRAM, Some(program.as_slice()))];
            self.commit(Batch { values, durable: true, ..Batch::default() }, Vec::new())?;
            self.plan = None;
            self.shared.backfilling.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    fn shared_state(&self) -> Result<Vec<u8>, UsersError> {
        let (Some(deployed), Some(counters)) = (self.shared.deployed(), &self.counters) else {
            return Err(UsersError::NoProgram);
        };
        let catalogue = Arc::clone(&self.shared.catalogue.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(catalogue.shared_state(&deployed.program, counters.counters(), self.shared.now_ms()))
    }

    // Behind the log.

    /// Records to be written with the next commit: more of them, and earlier, the more memory they take.
    fn slice(&self) -> Vec<(String, Vec<u8>)> {
        let cache = self.shared.cache();
        let quarters = cache.dirty_bytes() * 4 / self.shared.options.dirty_bytes.max(1);
        let (most, settled) = match quarters {
            0 => (16, SETTLES),
            1 => (64, SETTLES / 4),
            2 => (256, Duration::ZERO),
            _ => (1024, Duration::ZERO),
        };
        let ready = cache.waiting().iter().take(most).take_while(|waiting| waiting.since.elapsed() >= settled);
        ready
            .map(|waiting| {
                let record = cache.peek(&waiting.user).map(Record::write).unwrap_or_default();
                (waiting.user.clone(), record)
            })
            .collect()
    }

    /// Commits a batch together with records that waited.
    fn commit(&self, batch: Batch<'_>, slice: Vec<(String, Vec<u8>)>) -> Result<(), StoreError> {
        let floor = {
            let cache = self.shared.cache();
            // What is appended now is counted after the commit: until then it is above the floor.
            cache.waiting().get(slice.len()).map_or(self.position, |waiting| waiting.from - 1)
        };
        let floor_bytes = floor.to_le_bytes();
        let mut batch = batch;
        batch.records.extend(slice.iter().map(|(user, record)| (user.as_str(), Some(record.as_slice()))));
        batch.values.push((FLOOR, Some(&floor_bytes)));
        let started = Instant::now();
        let stats = &self.shared.counters;
        if let Err(error) = self.shared.store.commit(&batch) {
            stats.failures.fetch_add(1, Ordering::Relaxed);
            return Err(error);
        }
        if batch.durable {
            stats.commits.fetch_add(1, Ordering::Relaxed);
            stats.commit_micros.fetch_add(started.elapsed().as_micros() as u64, Ordering::Relaxed);
        }
        stats.checkpointed.fetch_add(slice.len() as u64, Ordering::Relaxed);
        stats.floor.store(floor, Ordering::Relaxed);
        self.shared.cache().written(&slice.iter().map(|(_, record)| record.len()).collect::<Vec<_>>());
        Ok(())
    }

    /// Nothing is asked: write what waits, and remove what must go.
    fn rest(&mut self) {
        let slice = self.slice();
        // What fails here is tried again, and fails aloud when somebody waits for it.
        if !slice.is_empty() {
            let _ = self.commit(Batch { durable: true, ..Batch::default() }, slice);
        }
        if !self.shared.erased().is_empty() {
            let _ = self.remove_erased();
        }
    }

    fn tidy(&mut self) {
        self.tidied = Instant::now();
        // As above: what fails stays to be done.
        let _ = self.write_counters(COUNTERS_EVERY);
        let _ = self.remove_erased();
        let _ = self.trim();
        let _ = self.sweep();
    }

    fn write_counters(&mut self, least: u64) -> Result<(), StoreError> {
        let (Some(deployed), Some(counters)) = (self.shared.deployed(), &self.counters) else { return Ok(()) };
        if self.position < self.counters_at + least {
            return Ok(());
        }
        let bytes = counters.encode(&deployed.program);
        let at = self.position.to_le_bytes();
        let values = vec![(COUNTERS, Some(bytes.as_slice())), (COUNTERS_AT, Some(&at))];
        self.commit(Batch { values, ..Batch::default() }, Vec::new())?;
        self.counters_at = self.position;
        Ok(())
    }

    /// Rewrites some entries without the users that were erased.
    fn remove_erased(&mut self) -> Result<(), StoreError> {
        let erased = self.shared.erased().clone();
        let Some(upto) = erased.iter().map(|(_, at)| *at).max() else { return Ok(()) };
        let entries = self.shared.store.log(self.cleaned, CHUNK)?;
        let mut rewritten = Vec::new();
        for (position, bytes) in entries.iter().take_while(|(position, _)| *position <= upto) {
            let (at_ms, happened) = read_entry(*position, bytes)?;
            let stays = |happened: &Happened| match happened {
                // The tombstone goes with the last event that it voids.
                Happened::Erase { user } => !erased.iter().any(|(name, at)| name == user && at == position),
                other => !erased.iter().any(|(name, at)| position <= at && other.is_of(name)),
            };
            let kept: Vec<Happened> = happened.iter().filter(|happened| stays(happened)).cloned().collect();
            if kept.is_empty() {
                rewritten.push((*position, Vec::new()));
            } else if kept.len() < happened.len() {
                rewritten.push((*position, write_entry(at_ms, &kept)));
            }
        }
        let last = entries.last().map_or(upto, |(position, _)| *position);
        // Tombstones are removed in the pass, and void entries below them in the same pass or before: a crash between
        // two steps finds the list of erasures, and goes over the log again.
        let done = last >= upto;
        let rewrite = rewritten.iter().map(|(position, bytes)| (*position, bytes.as_slice())).collect();
        let values = if done { vec![(ERASED, None)] } else { Vec::new() };
        self.commit(Batch { rewrite, values, durable: true, ..Batch::default() }, Vec::new())?;
        self.cleaned = last + 1;
        if done {
            self.shared.erased().retain(|erasure| !erased.contains(erasure));
        }
        Ok(())
    }

    /// Drops some entries that are older than they are kept and that no start needs.
    fn trim(&self) -> Result<(), StoreError> {
        let keep = self.shared.options.retention_ms;
        if keep == 0 {
            return Ok(());
        }
        let before = self.shared.now_ms().saturating_sub(keep);
        let needed = self.shared.counters.floor.load(Ordering::Relaxed).min(self.counters_at);
        let mut old = Vec::new();
        for (position, bytes) in self.shared.store.log(0, CHUNK)? {
            if position > needed || read_entry(position, &bytes)?.0 >= before {
                break;
            }
            old.push((position, &[][..]));
        }
        let dropped = old.len() as u64;
        if dropped > 0 {
            self.commit(Batch { rewrite: old, ..Batch::default() }, Vec::new())?;
            self.shared.counters.trimmed.fetch_add(dropped, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Drops some users who were not heard of for long.
    fn sweep(&mut self) -> Result<(), StoreError> {
        let ttl = self.shared.options.ttl_ms;
        if ttl == 0 {
            return Ok(());
        }
        let before = self.shared.now_ms().saturating_sub(ttl);
        let users = self.shared.store.records(&self.swept, SWEPT)?;
        self.swept = users.last().map_or_else(String::new, |(user, _)| user.clone());
        let unheard = |(user, record): &&(String, Vec<u8>)| {
            // Whoever is in memory may have been heard of since the record was written.
            let newer = self.shared.cache().peek(user).map(|record| record.seen_ms);
            newer.or_else(|| Record::seen_ms_of(record)).is_some_and(|seen| seen < before)
        };
        let gone: Vec<&str> = users.iter().filter(unheard).map(|(user, _)| user.as_str()).collect();
        if gone.is_empty() {
            return Ok(());
        }
        let records = gone.iter().map(|user| (*user, None)).collect();
        self.commit(Batch { records, ..Batch::default() }, Vec::new())?;
        let mut cache = self.shared.cache();
        gone.iter().for_each(|user| cache.remove(user));
        self.shared.counters.expired.fetch_add(gone.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// The end: everything that waits is written.
    fn write_all(&mut self) {
        loop {
            let slice: Vec<(String, Vec<u8>)> = {
                let cache = self.shared.cache();
                let some = cache.waiting().iter().take(1024);
                some.filter_map(|waiting| Some((waiting.user.clone(), cache.peek(&waiting.user)?.write()))).collect()
            };
            // A store that fails now is replayed at the next start.
            if slice.is_empty() || self.commit(Batch { durable: true, ..Batch::default() }, slice).is_err() {
                break;
            }
        }
        let _ = self.write_counters(0);
        let _ = self.commit(Batch { durable: true, ..Batch::default() }, Vec::new());
        self.tell();
    }

    fn tell(&self) {
        let cache = self.shared.cache();
        let stats = &self.shared.counters;
        stats.dirty_bytes.store(cache.dirty_bytes() as u64, Ordering::Relaxed);
        stats.cached_bytes.store(cache.bytes() as u64, Ordering::Relaxed);
        stats.cached_users.store(cache.len() as u64, Ordering::Relaxed);
        stats.position.store(self.position, Ordering::Relaxed);
        stats.erasures_pending.store(self.shared.erased().len() as u64, Ordering::Relaxed);
    }
}

/// The event as the engine knows it.
pub(super) fn event_of(logged: &Logged) -> Event {
    Event {
        event: key(logged.event.as_bytes()),
        time_ms: logged.time_ms,
        item: key(logged.item.as_bytes()),
        value: logged.value,
    }
}

/// Counts an event on its device, which without a name is the user's only one. A user with too many devices gets the
/// events of further ones on that one too; `false` if there is no room for it either.
pub(super) fn apply(
    state: &mut UserState,
    program: &ProgramV1,
    items: &ItemKeys<'_>,
    logged: &Logged,
    event: &Event,
) -> bool {
    let own = key(logged.user.as_bytes());
    let device = logged.device.as_ref().map_or(own, |device| key(device.as_bytes()));
    state.apply(device, program, items, event).is_ok() || state.apply(own, program, items, event).is_ok()
}

fn too_many_devices(error: &selvedge_format::DecodeError) -> UsersError {
    let (limit, found) = error.numbers();
    UsersError::TooLarge { what: "devices of a user", limit, found }
}

fn write_erased(erased: &[([u8; 16], Position)]) -> Vec<u8> {
    erased.iter().flat_map(|(name, at)| name.iter().copied().chain(at.to_le_bytes())).collect()
}

fn read_erased(bytes: &[u8]) -> Vec<([u8; 16], Position)> {
    let (pairs, _) = bytes.as_chunks::<24>();
    let read = |pair: &[u8; 24]| {
        let (name, at): (&[u8; 16], &[u8]) = pair.split_first_chunk()?;
        Some((*name, Position::from_le_bytes(at.try_into().ok()?)))
    };
    pairs.iter().filter_map(read).collect()
}

/// Users by name, for counting from the log.
pub(super) type States = HashMap<String, UserState>;
