//! Users' states from their events.
//!
//! One thread writes. It takes what has queued up, finds repeats, appends the rest to the log in one durable commit, counts
//! it with the engine's own `apply`, and only then answers: an answer means that the events survive a power cut and that
//! the state has them. States live in a bounded cache and are written behind the log (docs/decisions/0013).

mod backfill;
mod cache;
mod entry;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;

use bytes::Bytes;
use selvedge_engine::state::UserState;
use selvedge_format::key;
use selvedge_format::program::ProgramV1;
use selvedge_format::shared::SharedState;
use tokio::sync::oneshot;

use crate::store::{Position, StoreError, UserStore};
use cache::Cache;
use entry::{Happened, Logged, pseudonym, read_entry};
use writer::{Command, Writer};

/// Longest id of a user, an event, an item or a device, in bytes.
pub const MAX_ID: usize = 256;
/// How far in the future an event may be: clocks differ.
pub const MAX_AHEAD_MS: i64 = 3_600_000;
/// Entries of the log that are read at a time.
const CHUNK: usize = 256;

/// What time it is, in milliseconds since 1970-01-01 UTC.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Bounds and terms.
#[derive(Clone)]
pub struct UsersOptions {
    /// Requests that wait for the writer.
    pub queue: usize,
    /// Events that wait for the writer.
    pub queue_events: u64,
    /// Events in one request.
    pub batch_events: usize,
    /// Events in one commit, about.
    pub group_events: usize,
    /// Memory for states, in bytes, about.
    pub cache_bytes: usize,
    /// Of that, what may wait to be written.
    pub dirty_bytes: usize,
    /// How long events are kept; 0 is for ever.
    pub retention_ms: i64,
    /// How long a user who is not heard of is kept; 0 is for ever.
    pub ttl_ms: i64,
    /// The clock.
    pub clock: Clock,
}

impl std::fmt::Debug for UsersOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UsersOptions").field("cache_bytes", &self.cache_bytes).finish_non_exhaustive()
    }
}

impl Default for UsersOptions {
    fn default() -> Self {
        const DAY_MS: i64 = 86_400_000;
        Self {
            queue: 1024,
            queue_events: 100_000,
            batch_events: 1000,
            group_events: 4000,
            cache_bytes: 256 << 20,
            dirty_bytes: 128 << 20,
            retention_ms: 90 * DAY_MS,
            ttl_ms: 400 * DAY_MS,
            clock: Arc::new(|| jiff::Timestamp::now().as_millisecond()),
        }
    }
}

/// An event as it comes in.
#[derive(Clone, Debug, PartialEq)]
pub struct Incoming {
    /// The event's own id: a repeat of it changes nothing.
    pub id: String,
    /// Who did it.
    pub user: String,
    /// Name of the event.
    pub event: String,
    /// To which item; may be empty.
    pub item: String,
    /// What counters of values add.
    pub value: f32,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub time_ms: i64,
    /// On which device, if devices are told apart.
    pub device: Option<String>,
}

/// What came of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ingested {
    /// Events that count from now on.
    pub accepted: u64,
    /// Events that counted before.
    pub duplicates: u64,
}

/// A state to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateCopy {
    /// The encoded state.
    pub bytes: Bytes,
    /// Equal for equal bytes.
    pub tag: u64,
}

/// Everything that is known of a user.
#[derive(Clone, Debug)]
pub struct Export {
    /// When the user was last heard of.
    pub seen_ms: i64,
    /// The encoded state.
    pub state: Bytes,
    /// The events that are still kept, oldest first.
    pub events: Vec<Incoming>,
}

/// Why something was not done. Nothing of it has happened then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsersError {
    /// Too much is waiting.
    #[error("too much is waiting to be written; try again in {retry_after_s} s")]
    Busy {
        /// Seconds to wait.
        retry_after_s: u32,
    },
    /// Above a limit.
    #[error("{what}: {found} is above the limit of {limit}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// The limit in force.
        limit: u64,
        /// What came.
        found: u64,
    },
    /// Something in the request cannot be used.
    #[error("{place}: {what}")]
    Invalid {
        /// Where, as a path in the request.
        place: String,
        /// What was wrong, and what is expected.
        what: String,
    },
    /// No bundle says what to count.
    #[error("no bundle is deployed yet, so it is not known what to count; publish one in the channel of `[users]`")]
    NoProgram,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The service is ending.
    #[error("the host is shutting down")]
    Closed,
}

/// What events are counted by.
#[derive(Clone, Debug)]
pub struct Deployed {
    /// The program of the bundle in force.
    pub program: Arc<ProgramV1>,
    /// The shared state in force: it knows the fields of items.
    pub shared: Option<Arc<SharedState>>,
}

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// How much of what.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct UsersStats { $($(#[$doc])* pub $name: u64,)+ }

        #[derive(Debug, Default)]
        struct Counters { $($name: AtomicU64,)+ }

        impl Counters {
            fn read(&self) -> UsersStats {
                UsersStats { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }
    };
}

stats! {
    /// Events taken.
    accepted,
    /// Events that had been taken before.
    duplicates,
    /// Events of users with too many devices: logged, in no state.
    unplaced,
    /// Durable commits.
    commits,
    /// Microseconds that durable commits took, in all.
    commit_micros,
    /// Commits that failed.
    failures,
    /// Records written.
    checkpointed,
    /// Events that wait.
    queued,
    /// Bytes of states that wait to be written.
    dirty_bytes,
    /// Bytes of states in memory.
    cached_bytes,
    /// Users in memory.
    cached_users,
    /// Position of the newest entry of the log.
    position,
    /// Position up to which all states are written.
    floor,
    /// Erasures whose events are being removed from the log.
    erasures_pending,
    /// Users whose counters were filled from the log.
    backfilled,
    /// Users dropped because they were not heard of.
    expired,
    /// Log entries dropped because they were old.
    trimmed,
}

struct Shared {
    store: Arc<dyn UserStore>,
    options: UsersOptions,
    cache: Mutex<Cache>,
    deployed: RwLock<Option<Arc<Deployed>>>,
    counters: Counters,
    /// Users that were erased, and up to which position their events are void.
    erased: Mutex<Vec<([u8; 16], Position)>>,
    backfilling: AtomicBool,
    closing: AtomicBool,
    /// Shared state as of a time, made by the writer, who has the counters.
    catalogue: Mutex<Arc<crate::refresh::Catalogue>>,
}

impl Shared {
    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn erased(&self) -> MutexGuard<'_, Vec<([u8; 16], Position)>> {
        self.erased.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deployed(&self) -> Option<Arc<Deployed>> {
        self.deployed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn now_ms(&self) -> i64 {
        (self.options.clock)()
    }
}

/// The users of a host. Dropping it, or [`close`](Self::close), writes what is waiting.
pub struct Users {
    shared: Arc<Shared>,
    commands: Option<SyncSender<Command>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Users {
    /// Opens the users of `store` and counts what was logged and is in no record yet.
    ///
    /// # Errors
    /// The store fails, or holds what cannot be read.
    pub fn open(
        store: Arc<dyn UserStore>,
        options: UsersOptions,
        deployed: Option<Deployed>,
    ) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared {
            cache: Mutex::new(Cache::new(options.cache_bytes)),
            store,
            deployed: RwLock::new(deployed.map(Arc::new)),
            counters: Counters::default(),
            erased: Mutex::default(),
            // Until the writer has looked whether there is anything to fill.
            backfilling: AtomicBool::new(true),
            closing: AtomicBool::new(false),
            catalogue: Mutex::default(),
            options,
        });
        let (commands, queue) = sync_channel(shared.options.queue);
        let mut writer = Writer::open(Arc::clone(&shared), queue)?;
        writer.set_sender(commands.clone());
        let thread = std::thread::Builder::new().name("selvedge-users".to_owned());
        let thread = thread
            .spawn(move || writer.run())
            .map_err(|error| StoreError::Io(format!("cannot start the thread that writes states: {error}")))?;
        Ok(Self { shared, commands: Some(commands), writer: Mutex::new(Some(thread)) })
    }

    /// Takes a batch of events. When it returns they are durable and the states have them.
    ///
    /// # Errors
    /// One of the events cannot be used, too much is waiting, or the store fails; then none of them was taken.
    pub async fn ingest(&self, events: Vec<Incoming>) -> Result<Ingested, UsersError> {
        let options = &self.shared.options;
        if events.len() > options.batch_events {
            let (limit, found) = (options.batch_events as u64, events.len() as u64);
            return Err(UsersError::TooLarge { what: "events", limit, found });
        }
        let now_ms = self.shared.now_ms();
        for (position, event) in events.iter().enumerate() {
            check(event, now_ms)
                .map_err(|(field, what)| UsersError::Invalid { place: format!("events[{position}].{field}"), what })?;
        }
        if events.is_empty() {
            return Ok(Ingested::default());
        }
        let stats = &self.shared.counters;
        let count = events.len() as u64;
        let waiting = stats.queued.fetch_add(count, Ordering::Relaxed) + count;
        let dirty = stats.dirty_bytes.load(Ordering::Relaxed);
        if waiting > options.queue_events || dirty > options.dirty_bytes as u64 {
            stats.queued.fetch_sub(count, Ordering::Relaxed);
            return Err(UsersError::Busy { retry_after_s: 1 });
        }
        let answer = self.ask(|reply| Command::Ingest { events, reply }).await;
        if matches!(answer, Err(UsersError::Busy { .. } | UsersError::Closed)) {
            stats.queued.fetch_sub(count, Ordering::Relaxed);
        }
        answer
    }

    /// The state of a user, if anything is known. Blocks for a read where the user is not in memory.
    ///
    /// # Errors
    /// The store fails.
    pub fn state(&self, user: &str) -> Result<Option<StateCopy>, UsersError> {
        let cached = self.shared.cache().peek(user).map(|record| record.state.encode());
        let bytes = match cached {
            Some(bytes) => bytes,
            None => match self.shared.store.record(user)? {
                Some(record) => entry::Record::read(user, &record)?.state.encode(),
                None => return Ok(None),
            },
        };
        if bytes == UserState::new().encode() {
            return Ok(None);
        }
        Ok(Some(StateCopy { tag: key(&bytes), bytes: bytes.into() }))
    }

    /// Takes over what a state says that somebody else kept: of each device, whichever is further.
    ///
    /// # Errors
    /// Not a state, too many devices, or the store fails.
    pub async fn put_state(&self, user: &str, bytes: &[u8]) -> Result<(), UsersError> {
        check_id("user", user)?;
        let state = UserState::decode(bytes)
            .map_err(|error| UsersError::Invalid { place: "the state".to_owned(), what: error.to_string() })?;
        let user = user.to_owned();
        self.ask(|reply| Command::Put { user, state: Box::new(state), reply }).await
    }

    /// Makes what `from` did part of what `user` did, and forgets `from`: an anonymous device signed in.
    ///
    /// # Errors
    /// Together they have too many devices, or the store fails.
    pub async fn merge(&self, user: &str, from: &str) -> Result<(), UsersError> {
        check_id("user", user)?;
        check_id("from", from)?;
        if user == from {
            return Ok(());
        }
        let (user, from) = (user.to_owned(), from.to_owned());
        self.ask(|reply| Command::Merge { user, from, reply }).await
    }

    /// Forgets a user: the state at once, the events in the log soon after. What was counted over all users stays.
    ///
    /// # Errors
    /// The store fails.
    pub async fn erase(&self, user: &str) -> Result<(), UsersError> {
        check_id("user", user)?;
        let user = user.to_owned();
        self.ask(|reply| Command::Erase { user, reply }).await
    }

    /// Everything that is known of a user. Reads the whole log. Blocks.
    ///
    /// # Errors
    /// The store fails.
    pub fn export(&self, user: &str) -> Result<Option<Export>, UsersError> {
        let stored = self.shared.store.record(user)?.map(|record| entry::Record::read(user, &record)).transpose()?;
        let cached = self.shared.cache().peek(user).cloned();
        let Some(record) = cached.or(stored).filter(|record| *record != entry::Record::default()) else {
            return Ok(None);
        };
        let name = pseudonym(user);
        let void = self.shared.erased().iter().filter(|(erased, _)| *erased == name).map(|(_, at)| *at).max();
        let mut events = Vec::new();
        let mut from = void.map_or(0, |at| at + 1);
        loop {
            let entries = self.shared.store.log(from, CHUNK)?;
            let Some((last, _)) = entries.last() else { break };
            from = last + 1;
            for (position, bytes) in &entries {
                let happened = read_entry(*position, bytes)?.1;
                events.extend(happened.into_iter().filter_map(|happened| match happened {
                    Happened::Event(event) if event.user == user => Some(event),
                    _ => None,
                }));
            }
        }
        let name = |hash: u64| format!("#{hash:016x}");
        let incoming = |event: Logged| Incoming {
            id: name(event.id),
            user: event.user,
            event: event.event,
            item: event.item,
            value: event.value,
            time_ms: event.time_ms,
            device: event.device,
        };
        let events = events.into_iter().map(incoming).collect();
        Ok(Some(Export { seen_ms: record.seen_ms, state: record.state.encode().into(), events }))
    }

    /// Counts by another bundle from now on. Counters that are new are filled from the log, in the background.
    ///
    /// # Errors
    /// The store fails.
    pub async fn deploy(&self, deployed: Deployed) -> Result<(), UsersError> {
        self.ask(|reply| Command::Deploy { deployed, reply }).await
    }

    /// The shared state as of now: the items of `catalogue`, and what was counted over all users.
    ///
    /// # Errors
    /// No bundle says what to count.
    pub async fn shared_state(&self, catalogue: Arc<crate::refresh::Catalogue>) -> Result<Vec<u8>, UsersError> {
        *self.shared.catalogue.lock().unwrap_or_else(PoisonError::into_inner) = catalogue;
        self.ask(|reply| Command::SharedState { reply }).await
    }

    /// What is counted by now.
    #[must_use]
    pub fn deployed(&self) -> Option<Arc<Deployed>> {
        self.shared.deployed()
    }

    /// How much of what.
    #[must_use]
    pub fn stats(&self) -> UsersStats {
        self.shared.counters.read()
    }

    /// Whether counters are being filled from the log.
    #[must_use]
    pub fn is_backfilling(&self) -> bool {
        self.shared.backfilling.load(Ordering::Relaxed)
    }

    /// Writes everything that waits, and ends. What comes later is refused. Blocks.
    pub fn close(&self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A writer that panicked has said so; there is nothing more to write.
        let _ = thread.map(JoinHandle::join);
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, UsersError>>) -> Command,
    ) -> Result<T, UsersError> {
        let (reply, answer) = oneshot::channel();
        let Some(commands) = self.commands.as_ref().filter(|_| !self.shared.closing.load(Ordering::SeqCst)) else {
            return Err(UsersError::Closed);
        };
        commands.try_send(command(reply)).map_err(|error| match error {
            TrySendError::Full(_) => UsersError::Busy { retry_after_s: 1 },
            TrySendError::Disconnected(_) => UsersError::Closed,
        })?;
        answer.await.unwrap_or(Err(UsersError::Closed))
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        self.close();
    }
}

/// Refuses an id that is empty or too long.
fn check_id(place: &str, id: &str) -> Result<(), UsersError> {
    check_text(id, 1).map_err(|what| UsersError::Invalid { place: place.to_owned(), what })
}

fn check_text(text: &str, least: usize) -> Result<(), String> {
    if (least..=MAX_ID).contains(&text.len()) {
        return Ok(());
    }
    Err(format!("a text of {least} to {MAX_ID} bytes is expected, this has {}", text.len()))
}

fn check(event: &Incoming, now_ms: i64) -> Result<(), (&'static str, String)> {
    let texts = [("id", &event.id, 1), ("user", &event.user, 1), ("event", &event.event, 1), ("item", &event.item, 0)];
    for (field, text, least) in texts {
        check_text(text, least).map_err(|what| (field, what))?;
    }
    if let Some(device) = &event.device {
        check_text(device, 1).map_err(|what| ("device", what))?;
    }
    if !event.value.is_finite() {
        return Err(("value", "a finite number is expected".to_owned()));
    }
    if event.time_ms < 0 || event.time_ms > now_ms.saturating_add(MAX_AHEAD_MS) {
        return Err(("time", "a time from 1970 on, at most an hour ahead of the host's clock, is expected".to_owned()));
    }
    Ok(())
}
