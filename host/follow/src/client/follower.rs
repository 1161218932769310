//! A thread that follows a channel, and what it has to offer.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use selvedge_format::container::{ContentId, verify_id};
use selvedge_format::delta;
use selvedge_format::head::{BlobV1, HeadV1, MAX_LEN, RolloutV1};

use super::api::{Api, ApiError, hex};
use super::saved::{self, Saved};
use super::sse::{Said, Stream};
use crate::{Keys, Known, POLL_MS, Refusal, State, Tally, in_rollout, judge, next_poll_ms, status};

/// A host says that it lives every fifteen seconds: three times as long is silence.
const SILENCE: Duration = Duration::from_secs(45);
/// How long whoever drops a follower waits for a question that is under way.
const END: Duration = Duration::from_secs(1);
/// Content type of a delta.
const DELTA: &str = "application/vnd.selvedge.delta";

/// What heads name, by content id.
type Blobs = HashMap<ContentId, Arc<Vec<u8>>>;

/// Makes what decides from a bundle and a shared state, or says why it does not load. What is deployed is only replaced
/// by what loads.
pub type Prepare<T> = Box<dyn Fn(&[u8], Option<&[u8]>) -> Result<T, String> + Send + Sync>;

/// How to follow.
#[derive(Clone, Debug)]
pub struct FollowOptions {
    /// Address of the host, or of a CDN in front of it.
    pub url: String,
    /// Name of the channel.
    pub channel: String,
    /// Whose heads are believed.
    pub keys: Keys,
    /// The bundle that decides until the host was heard, and the shared state that goes with it.
    pub bootstrap: Option<(Vec<u8>, Option<Vec<u8>>)>,
    /// Where the last good head and its blobs are kept over a restart.
    pub directory: Option<PathBuf>,
    /// Milliseconds between two questions.
    pub poll_ms: u64,
    /// Milliseconds without an answer after which this follower is stale.
    pub stale_after_ms: i64,
    /// Whether to hold a stream of events, and to ask only where that fails.
    pub stream: bool,
    /// Largest blob that is taken.
    pub max_blob: usize,
}

impl FollowOptions {
    /// Follows `channel` at `url`, for heads of `keys`.
    #[must_use]
    pub fn new(url: impl Into<String>, channel: impl Into<String>, keys: Keys) -> Self {
        Self {
            url: url.into(),
            channel: channel.into(),
            keys,
            bootstrap: None,
            directory: None,
            poll_ms: POLL_MS,
            stale_after_ms: 10 * POLL_MS as i64,
            stream: true,
            max_blob: 64 << 20,
        }
    }
}

/// What decides, from one head.
#[derive(Debug)]
pub struct Deployment<T> {
    /// The head; none is the bundle that the follower came with.
    pub head: Option<HeadV1>,
    main: Placed<T>,
    rollout: Option<(RolloutV1, Placed<T>)>,
    is_killed: bool,
}

/// What was made from a bundle and a shared state; the bundle that a follower came with has no names.
#[derive(Debug)]
struct Placed<T> {
    names: Option<(BlobV1, Option<BlobV1>)>,
    made: Arc<T>,
}

impl<T> Clone for Placed<T> {
    fn clone(&self) -> Self {
        Self { names: self.names, made: Arc::clone(&self.made) }
    }
}

impl<T> Deployment<T> {
    /// What decides for the user `unit`.
    #[must_use]
    pub fn for_user(&self, unit: &str) -> &T {
        match &self.rollout {
            Some((rollout, theirs)) if in_rollout(rollout.salt, unit, rollout.share) => &theirs.made,
            _ => &self.main.made,
        }
    }

    /// Whether candidates are to be answered in the order of the request.
    #[must_use]
    pub const fn is_killed(&self) -> bool {
        self.is_killed
    }

    /// What was made from these two, if it is here.
    fn placed(&self, bundle: BlobV1, shared: Option<BlobV1>) -> Option<Placed<T>> {
        let rollout = self.rollout.iter().map(|(_, placed)| placed);
        std::iter::once(&self.main).chain(rollout).find(|placed| placed.names == Some((bundle, shared))).cloned()
    }

    /// The same for when the head after it is given up, which was no kill.
    fn again(&self) -> Self {
        Self { head: self.head.clone(), main: self.main.clone(), rollout: self.rollout.clone(), is_killed: false }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Another head is in force.
    Deployed {
        /// Its sequence.
        sequence: u64,
    },
    /// A head, or what it names, was refused; what was in force goes on.
    Refused(Refusal),
    /// The source could not be asked.
    Unreachable(String),
    /// Too many decisions fell back: what was in force before is again.
    RolledBack {
        /// Sequence of the head that was given up.
        sequence: u64,
    },
    /// What was saved could not be used, or could not be saved.
    NotSaved(String),
}

/// How a follower does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its state.
    pub state: State,
    /// Sequence of the head that is held; 0 without one.
    pub sequence: u64,
    /// The bundle that decides for most users; none is the one that it came with.
    pub bundle: Option<ContentId>,
    /// Whether prices may be used.
    pub prices_valid: bool,
    /// Why the newest head was refused, if it was.
    pub refusal: Option<Refusal>,
}

struct Inner<T> {
    current: Option<Arc<Deployment<T>>>,
    previous: Option<Arc<Deployment<T>>>,
    held: Option<(Vec<u8>, HeadV1)>,
    etag: Option<String>,
    blobs: Blobs,
    tally: Tally,
    rolled_back: bool,
    heard_ms: i64,
    refusal: Option<Refusal>,
    ending: bool,
}

struct Shared<T> {
    inner: Mutex<Inner<T>>,
    changed: Condvar,
    options: FollowOptions,
    api: Api,
    prepare: Prepare<T>,
    tell: Box<dyn Fn(Event) + Send + Sync>,
}

/// Follows a channel on a thread of its own, until it is dropped.
pub struct Follower<T: Send + Sync + 'static> {
    shared: Arc<Shared<T>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + Sync + 'static> fmt::Debug for Follower<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Follower<T> {
    /// Starts with the last good head if there is one, else with the bundle that it came with, and follows.
    ///
    /// # Errors
    /// The address is none, or the bundle that it came with does not load.
    pub fn start(
        options: FollowOptions,
        prepare: Prepare<T>,
        tell: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let api = Api::new(&options.url, None).map_err(|error| error.to_string())?;
        let mut inner = Inner {
            current: None,
            previous: None,
            held: None,
            etag: None,
            blobs: HashMap::new(),
            tally: Tally::default(),
            rolled_back: false,
            heard_ms: now_ms(),
            refusal: None,
            ending: false,
        };
        if let Some((bundle, shared)) = &options.bootstrap {
            let main = Placed { names: None, made: Arc::new(prepare(bundle, shared.as_deref())?) };
            inner.current = Some(Arc::new(Deployment { head: None, main, rollout: None, is_killed: false }));
            for blob in std::iter::once(bundle).chain(shared) {
                // A bundle that loads and has a wrong id is no base for deltas, and no harm.
                inner.blobs.extend(verify_id(blob).ok().map(|id| (id, Arc::new(blob.clone()))));
            }
        }
        let shared = Arc::new(Shared {
            inner: Mutex::new(inner),
            changed: Condvar::new(),
            options,
            api,
            prepare,
            tell: Box::new(tell),
        });
        shared.restore();
        let thread = std::thread::Builder::new().name("selvedge-follow".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run()
        });
        let thread = thread.map_err(|error| format!("cannot start the thread that follows: {error}"))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What decides now. Whoever has it may go on with it after it was replaced.
    #[must_use]
    pub fn current(&self) -> Option<Arc<Deployment<T>>> {
        self.shared.lock().current.clone()
    }

    /// How it does.
    #[must_use]
    pub fn status(&self) -> Status {
        let inner = self.shared.lock();
        let head = inner.held.as_ref().map(|(_, head)| head);
        let known = Known { head, heard_ms: inner.heard_ms, rolled_back: inner.rolled_back };
        let (state, prices_valid) = status(known, self.shared.options.stale_after_ms, now_ms());
        let decides = inner.current.as_ref().and_then(|current| current.main.names);
        Status {
            state,
            sequence: head.map_or(0, |head| head.sequence),
            bundle: decides.map(|(bundle, _)| bundle.id),
            prices_valid,
            refusal: inner.refusal,
        }
    }

    /// Counts a decision for the guard: whether it fell back or failed. Under a kill nothing counts.
    pub fn decided(&self, fell_back: bool) {
        self.shared.decided(fell_back);
    }

    /// Waits until a head of at least this sequence is in force.
    #[must_use]
    pub fn wait_for(&self, sequence: u64, longest: Duration) -> bool {
        let is_there = |inner: &Inner<T>| inner.held.as_ref().is_some_and(|(_, head)| head.sequence >= sequence);
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), longest, |inner| !is_there(inner));
        waited.is_ok_and(|(inner, _)| is_there(&inner))
    }
}

impl<T: Send + Sync + 'static> Drop for Follower<T> {
    fn drop(&mut self) {
        self.shared.lock().ending = true;
        self.shared.changed.notify_all();
        let Some(thread) = self.thread.take() else { return };
        let started = Instant::now();
        while !thread.is_finished() && started.elapsed() < END {
            std::thread::sleep(Duration::from_millis(5));
        }
        // Whatever went wrong on that thread, this one goes on. A source that does not answer is not waited for: the
        // thread tells nothing and keeps nothing any more, and ends with its call.
        if thread.is_finished() {
            let _ = thread.join();
        }
    }
}

impl<T: Send + Sync + 'static> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ending(&self) -> bool {
        self.lock().ending
    }

    fn tell(&self, event: Event) {
        if !self.is_ending() {
            (self.tell)(event);
        }
    }

    fn run(&self) {
        let mut failures = 0_u32;
        while !self.is_ending() {
            let mut retry_after_ms = 0;
            match self.ask() {
                Ok(()) => {
                    failures = 0;
                    if self.options.stream && self.listen() {
                        // It ended after it had been open: ask at once what was missed, without haste after that.
                        failures = 1;
                    }
                }
                Err(Failure::Source(error)) => {
                    failures = failures.saturating_add(1);
                    if let ApiError::Refused { retry_after_s: Some(seconds), .. } = &error {
                        retry_after_ms = seconds.saturating_mul(1000).min(3_600_000);
                    }
                    self.tell(Event::Unreachable(error.to_string()));
                }
                Err(Failure::Refused(_)) => failures = failures.saturating_add(1),
            }
            let wait = next_poll_ms(self.options.poll_ms, failures, random(), retry_after_ms);
            self.sleep(Duration::from_millis(wait));
        }
    }

    fn sleep(&self, pause: Duration) {
        let until = Instant::now() + pause;
        let mut inner = self.lock();
        while !inner.ending {
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                return;
            };
            inner = self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Asks once.
    fn ask(&self) -> Result<(), Failure> {
        let etag = self.lock().etag.clone();
        let headers = etag.as_deref().map(|etag| ("if-none-match", etag));
        let path = format!("/v1/channels/{}/head", self.options.channel);
        let answer = self.api.get(&path, headers.as_slice(), MAX_LEN as u64).map_err(Failure::Source)?;
        if answer.status == 304 {
            self.heard();
            return Ok(());
        }
        self.consider(&answer.body)?;
        // Only now: a head that was refused is asked for again.
        self.lock().etag = answer.etag;
        Ok(())
    }

    /// Holds a stream of events until it ends; whether it had been open.
    fn listen(&self) -> bool {
        let path = format!("/v1/channels/{}/head", self.options.channel);
        let Ok(response) = self.api.stream(&path, SILENCE) else { return false };
        let (send, said) = channel();
        // Reading blocks, and this thread must notice silence and the end. The reader goes with the next word it reads.
        let reader = std::thread::Builder::new().name("selvedge-stream".to_owned()).spawn(move || {
            for said in Stream::new(response.into_body().into_reader()) {
                if send.send(said).is_err() {
                    return;
                }
            }
        });
        if reader.is_err() {
            return false;
        }
        let mut silent_since = Instant::now();
        while !self.is_ending() {
            match said.recv_timeout(Duration::from_millis(200)) {
                Ok(Said::Head(bytes)) => {
                    silent_since = Instant::now();
                    if self.consider(&bytes).is_err() {
                        return true;
                    }
                }
                Ok(Said::Alive) => {
                    silent_since = Instant::now();
                    self.heard();
                }
                Err(RecvTimeoutError::Timeout) if silent_since.elapsed() < SILENCE => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        true
    }

    fn heard(&self) {
        self.lock().heard_ms = now_ms();
    }

    /// Judges a head, gets what it names, and puts it in force.
    fn consider(&self, bytes: &[u8]) -> Result<(), Failure> {
        let taken = self.take(bytes);
        if let Err(Failure::Refused(refusal)) = &taken {
            self.lock().refusal = Some(*refusal);
            self.tell(Event::Refused(*refusal));
        }
        taken
    }

    fn take(&self, bytes: &[u8]) -> Result<(), Failure> {
        let held = self.lock().held.as_ref().map(|(held, _)| held.clone());
        let judged = judge(held.as_deref(), &self.options.channel, &self.options.keys, bytes, now_ms());
        self.heard();
        let Some(head) = judged.map_err(Failure::Refused)? else {
            self.lock().refusal = None;
            return Ok(());
        };
        let blobs = match self.blobs(&head) {
            Ok(blobs) => blobs,
            // A kill is obeyed even where its bundle cannot be had.
            Err(_) if head.killed => HashMap::new(),
            Err(failure) => return Err(failure),
        };
        self.deploy(bytes, head, blobs, |blobs| self.save(bytes, blobs))
    }

    /// Puts a head in force. `keep` is given what it names before anybody can see it: what was seen outlives a restart.
    fn deploy(&self, bytes: &[u8], head: HeadV1, blobs: Blobs, keep: impl FnOnce(&Blobs)) -> Result<(), Failure> {
        let current = self.lock().current.clone();
        let place = |bundle: BlobV1, shared: Option<BlobV1>| -> Result<Placed<T>, Failure> {
            // Another head with the same bundle: new prices, a longer validity, a rollout for all. Nothing is loaded.
            if let Some(placed) = current.as_ref().and_then(|current| current.placed(bundle, shared)) {
                return Ok(placed);
            }
            let bytes = |blob: BlobV1| blobs.get(&blob.id).ok_or(Failure::Refused(Refusal::LoadFailed));
            let shared_bytes = shared.map(bytes).transpose()?.map(|shared| shared.as_slice());
            let made = (self.prepare)(bytes(bundle)?, shared_bytes);
            let made = made.map(Arc::new).map_err(|_| Failure::Refused(Refusal::LoadFailed))?;
            Ok(Placed { names: Some((bundle, shared)), made })
        };
        let main = match (place(head.bundle, head.shared), &current) {
            (Err(_), Some(current)) if head.killed => current.main.clone(),
            (placed, _) => placed?,
        };
        let rollout = match head.rollout.map(|rollout| (rollout, place(rollout.bundle, rollout.shared))) {
            Some((_, Err(_))) if head.killed => None,
            Some((rollout, placed)) => Some((rollout, placed?)),
            None => None,
        };
        let sequence = head.sequence;
        let is_killed = head.killed;
        // Under a kill whose bundle could not be had, what was held goes on being held.
        let blobs = if blobs.is_empty() { self.lock().blobs.clone() } else { blobs };
        keep(&blobs);
        {
            let mut inner = self.lock();
            let is_new = inner.current.as_ref().is_none_or(|current| !Arc::ptr_eq(&current.main.made, &main.made));
            if is_new {
                inner.previous = inner.current.take();
            }
            if is_new || inner.rolled_back {
                inner.tally = Tally::default();
            }
            // The head that was given up is not held any more, whichever bundle this one names.
            inner.rolled_back = false;
            inner.current = Some(Arc::new(Deployment { head: Some(head.clone()), main, rollout, is_killed }));
            inner.held = Some((bytes.to_vec(), head));
            inner.refusal = None;
            inner.blobs = blobs;
        }
        self.changed.notify_all();
        self.tell(Event::Deployed { sequence });
        Ok(())
    }

    /// Everything that the head names: what is held, and what must be fetched.
    fn blobs(&self, head: &HeadV1) -> Result<Blobs, Failure> {
        let held = self.lock().blobs.clone();
        let mut blobs = HashMap::new();
        for blob in head.blobs() {
            let bytes = match held.get(&blob.id) {
                Some(bytes) => Arc::clone(bytes),
                None => Arc::new(self.fetch(blob, &held)?),
            };
            blobs.insert(blob.id, bytes);
        }
        Ok(blobs)
    }

    /// Fetches a blob: as a delta from something that is held, if the source knows how, else whole.
    fn fetch(&self, blob: BlobV1, held: &Blobs) -> Result<Vec<u8>, Failure> {
        if blob.size as usize > self.options.max_blob {
            return Err(Failure::Refused(Refusal::BlobTooLarge));
        }
        // The base that is most alike in length: bundles differ less among each other than from shared states.
        let base = held.iter().min_by_key(|(_, bytes)| bytes.len().abs_diff(blob.size as usize));
        if let Some((id, base)) = base {
            let path = format!("/v1/blobs/{}?base={}", hex(&blob.id), hex(id));
            // What is wrong with a delta does not matter: the whole is fetched then.
            let limit = u64::from(blob.size) * 2 + (1 << 16);
            match self.api.get(&path, &[("accept-encoding", "gzip")], limit) {
                Ok(answer) if answer.kind.starts_with(DELTA) => {
                    let made = delta::apply(&answer.body, base, blob.size as usize);
                    if let Some(made) = made.ok().filter(|made| is_it(made, blob)) {
                        return Ok(made);
                    }
                }
                Ok(answer) if is_it(&answer.body, blob) => return Ok(answer.body),
                _ => {}
            }
        }
        let answer = self.api.get(&format!("/v1/blobs/{}", hex(&blob.id)), &[], u64::from(blob.size) + 1);
        match answer {
            Ok(answer) if is_it(&answer.body, blob) => Ok(answer.body),
            Ok(_) => Err(Failure::Refused(Refusal::BlobMismatch)),
            Err(ApiError::Refused { status: 404, .. }) => Err(Failure::Refused(Refusal::BlobMissing)),
            Err(error) => Err(Failure::Source(error)),
        }
    }

    fn decided(&self, fell_back: bool) {
        let given_up = {
            let mut inner = self.lock();
            let Some((_, head)) = inner.held.as_ref().filter(|(_, head)| !head.killed) else { return };
            let (guard, sequence) = (head.guard, head.sequence);
            inner.tally.count(fell_back);
            if inner.rolled_back || !inner.tally.gives_up(guard) {
                return;
            }
            let Some(previous) = inner.previous.take() else { return };
            inner.rolled_back = true;
            inner.current = Some(Arc::new(previous.again()));
            sequence
        };
        self.tell(Event::RolledBack { sequence: given_up });
    }

    fn save(&self, head: &[u8], blobs: &Blobs) {
        let Some(directory) = self.options.directory.as_ref().filter(|_| !self.is_ending()) else { return };
        let blobs = blobs.values().map(|blob| blob.to_vec()).collect();
        let saved = Saved { head: head.to_vec(), blobs };
        if let Err(error) = saved::write(&saved::path(directory, &self.options.channel), &saved) {
            self.tell(Event::NotSaved(error.to_string()));
        }
    }

    /// Goes on from what was saved, whatever its age: it was believed once, and is better than what came with the program.
    fn restore(&self) {
        let Some(directory) = &self.options.directory else { return };
        let path = saved::path(directory, &self.options.channel);
        let restored = saved::read(&path, self.options.max_blob).and_then(|saved| {
            let Some((Saved { head: bytes, blobs }, head)) = saved else { return Ok(()) };
            // Judged as of when it was made: its age is told by the status.
            judge(None, &self.options.channel, &self.options.keys, &bytes, head.issued_ms)
                .map_err(|refusal| refusal.to_string())?;
            let blobs = blobs.into_iter().filter_map(|blob| Some((verify_id(&blob).ok()?, Arc::new(blob))));
            self.deploy(&bytes, head, blobs.collect(), |_| {}).map_err(|_| Refusal::LoadFailed.to_string())
        });
        if let Err(error) = restored {
            self.tell(Event::NotSaved(format!("{}: {error}", path.display())));
        }
    }
}

/// Why a head was not taken this time.
enum Failure {
    Source(ApiError),
    Refused(Refusal),
}

fn is_it(bytes: &[u8], blob: BlobV1) -> bool {
    bytes.len() == blob.size as usize && verify_id(bytes).is_ok_and(|id| id == blob.id)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// In [0, 1). Without random numbers followers come back together, which is worse than nothing else.
fn random() -> f64 {
    let bits = getrandom::u32().unwrap_or(u32::MAX / 2);
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}
