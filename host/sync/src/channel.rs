//! Channels: one signed head each, and immutable blobs that heads name.
//!
//! A head is believed here for the reasons that a follower believes it, and for two more: everything that it names is
//! stored, and an engine loads it. So what a host serves can be fetched and decides.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use selvedge_engine::{Engine, Limits};
use selvedge_follow::{Keys, Refusal};
use selvedge_format::container::{self, Container, ContentId, Kind};
use selvedge_format::head::{BlobV1, HeadV1, HeadView};
use selvedge_format::{AlignedBytes, DecodeError, delta};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::store::{ChannelStore, StoreError};

/// Above this share of the full bundle a delta is not worth its risk: the full bundle is sent.
const DELTA_PAYS_BELOW: f64 = 0.7;

/// Bounds of what is served.
#[derive(Clone, Copy, Debug)]
pub struct ChannelOptions {
    /// Largest blob in bytes.
    pub max_blob: usize,
    /// Bytes of blobs and deltas, plain and compressed, that are kept in memory.
    pub cache: usize,
    /// Most channels.
    pub max_channels: usize,
}

impl Default for ChannelOptions {
    fn default() -> Self {
        Self { max_blob: 64 << 20, cache: 256 << 20, max_channels: 1024 }
    }
}

/// A head that is served.
#[derive(Clone, Debug)]
pub struct Published {
    /// The signed bytes.
    pub bytes: Bytes,
    /// Its entity tag, with quotes.
    pub etag: String,
    /// What it says.
    pub head: HeadV1,
}

impl Published {
    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let head = HeadView::parse(bytes)?.head;
        let digest = Sha256::digest(bytes);
        let hash: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { bytes: Bytes::copy_from_slice(bytes), etag: format!("\"{}-{hash}\"", head.sequence), head })
    }
}

/// Bytes to send, as they are and compressed.
#[derive(Clone, Debug)]
pub struct Blob {
    /// The container.
    pub plain: Bytes,
    /// The same, gzipped, if that is shorter.
    pub gzip: Option<Bytes>,
}

/// What is sent to someone who holds another container.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A delta, gzipped.
    Delta(Bytes),
    /// The whole.
    Full(Blob),
}

/// Why a head or a blob was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// A follower would not believe the head, or it could not be deployed.
    #[error("{message}")]
    Refused {
        /// Stable name of the reason.
        code: &'static str,
        /// What was wrong, and what to do.
        message: String,
    },
    /// The sequence is not above the newest.
    #[error("sequence {newest} or above is published already; read the head again and go on from it")]
    Conflict {
        /// Sequence of the newest head.
        newest: u64,
    },
    /// The head names something that is not stored.
    #[error("blob {} is not stored; upload it first", hex(.0))]
    MissingBlob(ContentId),
    /// Above a limit.
    #[error("{found} bytes are above the limit of {limit}")]
    TooLarge {
        /// The limit in force.
        limit: u64,
        /// What came.
        found: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

impl ChannelError {
    /// Stable name of the error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused { code, .. } => code,
            Self::Conflict { .. } => "sequence-conflict",
            Self::MissingBlob(_) => "blob-missing",
            Self::TooLarge { .. } => "too-large",
            Self::Store(_) => "store-failed",
        }
    }

    fn refused(code: &'static str, message: impl ToString) -> Self {
        Self::Refused { code, message: message.to_string() }
    }
}

impl From<StoreError> for ChannelError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { newest } => Self::Conflict { newest },
            error => Self::Store(error),
        }
    }
}

/// How often what was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelStats {
    /// Heads taken.
    pub heads: u64,
    /// Deltas made.
    pub deltas: u64,
    /// Answers from memory.
    pub hits: u64,
    /// Deltas that did not pay, or could not be made.
    pub full: u64,
    /// Bytes kept in memory.
    pub cached: u64,
}

type Watched = watch::Sender<Option<Arc<Published>>>;

/// All channels of a host.
#[derive(Clone)]
pub struct Channels(Arc<Inner>);

struct Inner {
    store: Arc<dyn ChannelStore>,
    keys: Keys,
    options: ChannelOptions,
    heads: RwLock<BTreeMap<String, Watched>>,
    cache: Mutex<Cache>,
    /// One at a time: compressing is the one thing here that costs processor time, and everyone wants the same.
    making: Mutex<()>,
    published: AtomicU64,
    deltas: AtomicU64,
    hits: AtomicU64,
    full: AtomicU64,
}

impl std::fmt::Debug for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channels").field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl Channels {
    /// The channels of `store`; new heads must be signed by one of `keys`.
    ///
    /// # Errors
    /// The store fails, or holds a head that is damaged.
    pub fn open(store: Arc<dyn ChannelStore>, keys: Keys, options: ChannelOptions) -> Result<Self, ChannelError> {
        let mut heads = BTreeMap::new();
        for channel in store.channels()? {
            let Some(bytes) = store.head(&channel)? else { continue };
            let head = Published::read(&bytes)
                .map_err(|error| StoreError::Corrupt(format!("the head of channel {channel}: {error}")))?;
            heads.insert(channel, watch::Sender::new(Some(Arc::new(head))));
        }
        Ok(Self(Arc::new(Inner {
            store,
            keys,
            options,
            heads: RwLock::new(heads),
            cache: Mutex::new(Cache { limit: options.cache, ..Cache::default() }),
            making: Mutex::new(()),
            published: AtomicU64::new(0),
            deltas: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            full: AtomicU64::new(0),
        })))
    }

    /// The newest head of a channel.
    #[must_use]
    pub fn head(&self, channel: &str) -> Option<Arc<Published>> {
        let heads = self.0.heads.read().unwrap_or_else(PoisonError::into_inner);
        heads.get(channel)?.borrow().clone()
    }

    /// Tells of every new head of a channel. Of a channel that does not exist nothing is ever told.
    #[must_use]
    pub fn watch(&self, channel: &str) -> watch::Receiver<Option<Arc<Published>>> {
        let heads = self.0.heads.read().unwrap_or_else(PoisonError::into_inner);
        heads.get(channel).map_or_else(|| watch::channel(None).1, watch::Sender::subscribe)
    }

    /// The newest heads of all channels, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Published>> {
        let heads = self.0.heads.read().unwrap_or_else(PoisonError::into_inner);
        heads.values().filter_map(|head| head.borrow().clone()).collect()
    }

    /// The `most` newest heads of a channel, newest first, and after them the newest with another bundle, if none of them has.
    ///
    /// # Errors
    /// The store fails, or holds a head that is damaged.
    pub fn history(&self, channel: &str, most: usize) -> Result<Vec<Published>, ChannelError> {
        let mut heads = self.read_history(channel, most)?;
        // What going back goes back to must be among them, however often a host has renewed, refreshed and priced since.
        let mut looked = heads.len();
        while looked >= most.max(1) && heads.iter().all(|head| head.head.bundle.id == heads[0].head.bundle.id) {
            let more = self.read_history(channel, looked.saturating_mul(2))?;
            let is_other = |head: &&Published| head.head.bundle.id != heads[0].head.bundle.id;
            let (other, found) = (more.iter().skip(looked).find(is_other).cloned(), more.len());
            heads.extend(other);
            if found < looked * 2 {
                break;
            }
            looked = found;
        }
        Ok(heads)
    }

    fn read_history(&self, channel: &str, most: usize) -> Result<Vec<Published>, ChannelError> {
        let heads = self.0.store.history(channel, most)?;
        let read = |bytes: &Vec<u8>| Published::read(bytes);
        let heads: Result<_, _> = heads.iter().map(read).collect();
        heads.map_err(|error| StoreError::Corrupt(format!("the history of channel {channel}: {error}")).into())
    }

    /// Takes a new head, at the time `now_ms`, once it is stored durably. Blocks.
    ///
    /// # Errors
    /// The head is not believed, does not go on from the newest, names what is not stored or does not load; or the store
    /// fails.
    pub fn put(&self, channel: &str, bytes: &[u8], now_ms: i64) -> Result<Arc<Published>, ChannelError> {
        let newest = self.head(channel);
        let held = newest.as_ref().map(|newest| newest.bytes.as_ref());
        let head = match selvedge_follow::judge(held, channel, &self.0.keys, bytes, now_ms) {
            Ok(Some(head)) => head,
            // The same bytes again: a publisher that did not hear the first answer.
            Ok(None) => return newest.ok_or_else(|| ChannelError::refused("malformed", "there is no such head")),
            Err(Refusal::SequenceLower | Refusal::SequenceReused) => {
                let newest = newest.map_or(0, |newest| newest.head.sequence);
                return Err(ChannelError::Conflict { newest });
            }
            Err(refusal) => return Err(ChannelError::refused(refusal.code(), refusal)),
        };
        self.check_deployable(&head)?;
        let published = Arc::new(Published::read(bytes).map_err(|error| ChannelError::refused("malformed", error))?);
        // The lock is held over the write: heads reach watchers in the order in which they were stored.
        let mut heads = self.0.heads.write().unwrap_or_else(PoisonError::into_inner);
        if !heads.contains_key(channel) && heads.len() >= self.0.options.max_channels {
            let message = format!("there are {} channels already, the most that are kept", heads.len());
            return Err(ChannelError::refused("too-many-channels", message));
        }
        self.0.store.put_head(channel, head.sequence, bytes)?;
        heads.entry(channel.to_owned()).or_default().send_replace(Some(Arc::clone(&published)));
        self.0.published.fetch_add(1, Ordering::Relaxed);
        Ok(published)
    }

    /// Everything that the head names is there, is what it should be, and is loaded by an engine.
    fn check_deployable(&self, head: &HeadV1) -> Result<(), ChannelError> {
        let mut deployed = vec![(head.bundle, head.shared)];
        deployed.extend(head.rollout.map(|rollout| (rollout.bundle, rollout.shared)));
        for (bundle, shared) in deployed {
            let mut engine = Engine::new(Limits::default());
            for (blob, kind) in [(Some(bundle), Kind::Bundle), (shared, Kind::SharedState)] {
                let Some(blob) = blob else { continue };
                let bytes = self.stored(blob, kind)?;
                engine.load(AlignedBytes::copy_of(&bytes)).map_err(|error| {
                    let message = format!("blob {} does not load: {error}", hex(&blob.id));
                    ChannelError::refused("load-failed", message)
                })?;
            }
        }
        Ok(())
    }

    fn stored(&self, blob: BlobV1, kind: Kind) -> Result<Bytes, ChannelError> {
        let bytes = self.0.store.blob(&blob.id)?.ok_or(ChannelError::MissingBlob(blob.id))?;
        let found = Kind::of(&bytes).map_err(|error| ChannelError::refused("blob-mismatch", error))?;
        if bytes.len() != blob.size as usize || found != kind {
            let message = format!(
                "blob {} is a {found:?} of {} bytes, the head says a {kind:?} of {}",
                hex(&blob.id),
                bytes.len(),
                blob.size
            );
            return Err(ChannelError::refused("blob-mismatch", message));
        }
        Ok(bytes)
    }

    /// A blob, from memory if it was asked for before. Blocks.
    ///
    /// # Errors
    /// The store fails.
    pub fn blob(&self, id: &ContentId) -> Result<Option<Blob>, ChannelError> {
        match self.made((*id, None), || {
            let Some(plain) = self.0.store.blob(id)? else { return Ok(None) };
            let gzip = Some(gzip(&plain)).filter(|gzip| gzip.len() < plain.len());
            Ok(Some(Made::Blob(Blob { plain, gzip })))
        })? {
            Some(Made::Blob(blob)) => Ok(Some(blob)),
            _ => Ok(None),
        }
    }

    /// What to send to someone who wants `id` and holds `base`. Blocks.
    ///
    /// # Errors
    /// The store fails.
    pub fn answer(&self, id: &ContentId, base: Option<&ContentId>) -> Result<Option<Answer>, ChannelError> {
        let Some(full) = self.blob(id)? else { return Ok(None) };
        let Some(base) = base.filter(|base| *base != id) else { return Ok(Some(Answer::Full(full))) };
        let made = self.made((*id, Some(*base)), || {
            let Some(base) = self.0.store.blob(base)? else { return Ok(None) };
            let most = full.gzip.as_ref().map_or(full.plain.len(), Bytes::len) as f64 * DELTA_PAYS_BELOW;
            let delta = delta::encode(&base, &full.plain).map(|delta| gzip(&delta));
            self.0.deltas.fetch_add(1, Ordering::Relaxed);
            Ok(Some(match delta {
                Ok(delta) if delta.len() as f64 <= most => Made::Delta(delta),
                _ => Made::NotWorthIt,
            }))
        })?;
        Ok(Some(match made {
            Some(Made::Delta(delta)) => Answer::Delta(delta),
            _ => {
                self.0.full.fetch_add(1, Ordering::Relaxed);
                Answer::Full(full)
            }
        }))
    }

    /// Stores a container durably. Again is no mistake. Blocks.
    ///
    /// # Errors
    /// The bytes are not the container `id`, or too large; or the store fails.
    pub fn put_blob(&self, id: &ContentId, bytes: &[u8]) -> Result<(), ChannelError> {
        if bytes.len() > self.0.options.max_blob {
            let (limit, found) = (self.0.options.max_blob as u64, bytes.len() as u64);
            return Err(ChannelError::TooLarge { limit, found });
        }
        let checked = Kind::of(bytes).and_then(|kind| Container::parse(bytes, kind));
        let found = checked.and_then(|_| container::verify_id(bytes));
        let found = found.map_err(|error| ChannelError::refused("malformed", format!("not a container: {error}")))?;
        if found != *id {
            let message = format!("the bytes are those of {}, not of {}", hex(&found), hex(id));
            return Err(ChannelError::refused("blob-mismatch", message));
        }
        Ok(self.0.store.put_blob(id, bytes)?)
    }

    /// How often what was done.
    #[must_use]
    pub fn stats(&self) -> ChannelStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ChannelStats {
            heads: of(&self.0.published),
            deltas: of(&self.0.deltas),
            hits: of(&self.0.hits),
            full: of(&self.0.full),
            cached: lock(&self.0.cache).bytes as u64,
        }
    }

    fn made(
        &self,
        key: CacheKey,
        make: impl FnOnce() -> Result<Option<Made>, ChannelError>,
    ) -> Result<Option<Made>, ChannelError> {
        let cached = || lock(&self.0.cache).get(&key);
        if let Some(made) = cached() {
            self.0.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(Some(made));
        }
        let _making = lock(&self.0.making);
        // Somebody may have made it while this one waited.
        if let Some(made) = cached() {
            self.0.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(Some(made));
        }
        let made = make()?;
        if let Some(made) = &made {
            lock(&self.0.cache).put(key, made.clone());
        }
        Ok(made)
    }
}

type CacheKey = (ContentId, Option<ContentId>);

#[derive(Clone)]
enum Made {
    Blob(Blob),
    Delta(Bytes),
    NotWorthIt,
}

impl Made {
    fn len(&self) -> usize {
        const ENTRY: usize = 128;
        ENTRY
            + match self {
                Self::Blob(blob) => blob.plain.len() + blob.gzip.as_ref().map_or(0, Bytes::len),
                Self::Delta(delta) => delta.len(),
                Self::NotWorthIt => 0,
            }
    }
}

/// The least recently used goes first.
#[derive(Default)]
struct Cache {
    entries: HashMap<CacheKey, (u64, Made)>,
    bytes: usize,
    limit: usize,
    clock: u64,
}

impl Cache {
    fn get(&mut self, key: &CacheKey) -> Option<Made> {
        self.clock += 1;
        let (used, made) = self.entries.get_mut(key)?;
        *used = self.clock;
        Some(made.clone())
    }

    fn put(&mut self, key: CacheKey, made: Made) {
        self.clock += 1;
        self.bytes += made.len();
        if let Some((_, old)) = self.entries.insert(key, (self.clock, made)) {
            self.bytes -= old.len();
        }
        while self.bytes > self.limit {
            let Some(oldest) = self.entries.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key) else {
                break;
            };
            if let Some((_, old)) = self.entries.remove(&oldest) {
                self.bytes -= old.len();
            }
        }
    }
}

fn gzip(bytes: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default().into()
}

/// A panic while one of these locks is held leaves nothing half done that matters: the cache is a cache.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An id as people read it.
#[must_use]
pub fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::DirectoryStore;
    use crate::key::SigningKey;
    use crate::publish::{Change, Terms, next};
    use crate::sample;
    use selvedge_format::container::ContainerBuilder;
    use std::io::Read;

    const NOW_MS: i64 = 1_700_000_000_000;
    const HOUR_MS: i64 = 3_600_000;

    struct Shop {
        channels: Channels,
        key: SigningKey,
        _directory: tempfile::TempDir,
    }

    impl Shop {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let key = SigningKey::from_seed(&[1; 32]);
            let store = Arc::new(DirectoryStore::new(directory.path()));
            let keys = Keys::new([key.public()]);
            let channels = Channels::open(store, keys, ChannelOptions::default()).unwrap();
            Self { channels, key, _directory: directory }
        }

        fn upload(&self, bytes: &[u8]) -> BlobV1 {
            let id = container::verify_id(bytes).unwrap();
            self.channels.put_blob(&id, bytes).unwrap();
            BlobV1 { id, size: bytes.len() as u32 }
        }

        fn head(&self, change: Change<'_>) -> HeadV1 {
            let previous = self.channels.head("shop").map(|published| published.head.clone());
            let terms = Terms { valid_ms: HOUR_MS, ..Terms::default() };
            next("shop", previous.as_ref(), change, &terms, NOW_MS).unwrap()
        }

        fn put(&self, head: &HeadV1) -> Result<Arc<Published>, ChannelError> {
            self.channels.put("shop", &self.key.sign(head).unwrap(), NOW_MS)
        }
    }

    fn unzipped(gzip: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(gzip).read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_published_head_is_served_watched_and_kept() {
        let shop = Shop::new();
        let bundle = shop.upload(&sample::bundle(1));
        let first = shop.put(&shop.head(Change::Deploy { bundle, shared: None })).unwrap();
        let mut watched = shop.channels.watch("shop");
        assert_eq!(watched.borrow_and_update().as_ref().unwrap().bytes, first.bytes);
        let second = shop.put(&shop.head(Change::Kill)).unwrap();
        assert!(watched.has_changed().unwrap());
        assert_ne!(first.etag, second.etag);
        let history = shop.channels.history("shop", 10).unwrap();
        assert_eq!(history.iter().map(|head| head.head.sequence).collect::<Vec<_>>(), [2, 1]);
        let store = Arc::clone(&shop.channels.0.store);
        let again = Channels::open(store, Keys::default(), ChannelOptions::default()).unwrap();
        assert_eq!(again.head("shop").unwrap().bytes, second.bytes, "it is there after a restart");
    }

    #[test]
    fn the_bundle_before_is_in_the_history_however_often_the_head_was_renewed() {
        let shop = Shop::new();
        let [old, new] = [1, 2].map(|number| shop.upload(&sample::bundle(number)));
        shop.put(&shop.head(Change::Deploy { bundle: old, shared: None })).unwrap();
        shop.put(&shop.head(Change::Deploy { bundle: new, shared: None })).unwrap();
        for _ in 0..9 {
            shop.put(&shop.head(Change::Renew)).unwrap();
        }
        for most in 1..12 {
            let history: Vec<_> =
                shop.channels.history("shop", most).unwrap().iter().map(|it| it.head.clone()).collect();
            assert_eq!(history.len(), if most < 11 { most + 1 } else { 11 });
            assert_eq!(crate::publish::before(&history).map(|head| head.sequence), Some(1), "of {most}");
        }
    }

    #[test]
    fn heads_never_go_back_and_a_repeated_one_is_no_mistake() {
        let shop = Shop::new();
        let bundle = shop.upload(&sample::bundle(1));
        let first = shop.head(Change::Deploy { bundle, shared: None });
        shop.put(&first).unwrap();
        shop.put(&first).unwrap();
        let other = HeadV1 { killed: true, ..first.clone() };
        assert!(matches!(shop.put(&other), Err(ChannelError::Conflict { newest: 1 })));
        shop.put(&shop.head(Change::Renew)).unwrap();
        assert!(matches!(shop.put(&first), Err(ChannelError::Conflict { newest: 2 })));
        assert_eq!(shop.channels.stats().heads, 2);
    }

    #[test]
    fn what_cannot_be_deployed_is_refused() {
        let shop = Shop::new();
        let bundle = shop.upload(&sample::bundle(1));
        let head = shop.head(Change::Deploy { bundle, shared: None });
        let code = |head: &HeadV1| shop.put(head).unwrap_err().code();
        let missing = BlobV1 { id: [9; 32], size: 100 };
        assert_eq!(code(&HeadV1 { bundle: missing, ..head.clone() }), "blob-missing");
        assert_eq!(code(&HeadV1 { shared: Some(bundle), ..head.clone() }), "blob-mismatch");
        assert_eq!(code(&HeadV1 { bundle: BlobV1 { size: 64, ..bundle }, ..head.clone() }), "blob-mismatch");
        let empty = shop.upload(&ContainerBuilder::new(Kind::Bundle).build());
        assert_eq!(code(&HeadV1 { bundle: empty, ..head.clone() }), "load-failed");
        assert_eq!(code(&HeadV1 { channel: "other".into(), ..head.clone() }), "other-channel");
        assert_eq!(code(&HeadV1 { not_after_ms: NOW_MS, ..head.clone() }), "expired");
        let foreign = SigningKey::from_seed(&[2; 32]).sign(&head).unwrap();
        assert_eq!(shop.channels.put("shop", &foreign, NOW_MS).unwrap_err().code(), "unknown-key");
        assert!(shop.channels.head("shop").is_none(), "nothing of it is served");
        let wrong = shop.channels.put_blob(&[0; 32], &sample::bundle(1));
        assert_eq!(wrong.unwrap_err().code(), "blob-mismatch");
        assert_eq!(shop.channels.put_blob(&[0; 32], b"hello").unwrap_err().code(), "malformed");
    }

    #[test]
    fn whoever_holds_a_base_gets_a_delta_once_it_pays() {
        let shop = Shop::new();
        let (old, new) = (sample::bundle(1), sample::bundle(2));
        let (base, target) = (shop.upload(&old), shop.upload(&new));
        for _ in 0..2 {
            let Some(Answer::Delta(gzip)) = shop.channels.answer(&target.id, Some(&base.id)).unwrap() else {
                panic!("a delta is smaller");
            };
            assert_eq!(delta::apply(&unzipped(&gzip), &old, new.len()).unwrap(), new);
        }
        assert_eq!(shop.channels.stats().deltas, 1, "made once");
        let unlike: Vec<u8> = noise().take(5000).collect();
        let unlike = shop.upload(&ContainerBuilder::new(Kind::Bundle).optional(9, 1, unlike).build());
        for base in [None, Some(&[7; 32]), Some(&base.id), Some(&unlike.id)] {
            let answer = shop.channels.answer(&unlike.id, base).unwrap();
            assert!(matches!(answer, Some(Answer::Full(_))), "{base:?}");
        }
        assert!(shop.channels.answer(&[7; 32], Some(&base.id)).unwrap().is_none());
    }

    #[test]
    fn the_cache_stays_within_its_limit() {
        let mut cache = Cache { limit: 1000, ..Cache::default() };
        for first in 0..100 {
            cache.put(([first; 32], None), Made::Delta(Bytes::from(vec![0; 200])));
            assert!(cache.bytes <= 1000);
        }
        assert!(cache.get(&([99; 32], None)).is_some());
        assert!(cache.get(&([0; 32], None)).is_none());
    }

    fn noise() -> impl Iterator<Item = u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
    }

    /// Codes as a quantiser leaves them: near zero more often than far from it.
    fn codes(count: usize) -> Vec<u8> {
        let mut noise = noise();
        let mut next = || i32::from(noise.next().unwrap_or(0) as i8);
        (0..count).map(|_| ((next() + next() + next() + next()) / 5).clamp(-127, 127) as i8 as u8).collect()
    }

    fn shares(old: Vec<u8>, new: Vec<u8>, head: &[u8]) -> f64 {
        let container = |codes, head: &[u8]| {
            ContainerBuilder::new(Kind::Bundle).required(2, 1, head.to_vec()).required(16, 1, codes).build()
        };
        let (old, new) = (container(old, b"head"), container(new, head));
        let delta = gzip(&delta::encode(&old, &new).unwrap());
        delta.len() as f64 / gzip(&new).len() as f64
    }

    #[test]
    fn a_warm_started_model_costs_a_fifth_of_itself_and_another_head_a_fiftieth() {
        let old = codes(200_000);
        let mut noise = noise().skip(1 << 20);
        let mut new = old.clone();
        for code in &mut new {
            if noise.next().unwrap_or(0) < 50 {
                let step = if noise.next().unwrap_or(0) < 128 { 1 } else { -1 };
                *code = (*code as i8).saturating_add(step) as u8;
            }
        }
        let changed = old.iter().zip(&new).filter(|(old, new)| old != new).count();
        assert!((38_000..=40_000).contains(&changed), "{changed} of 200,000 codes changed");
        let warm = shares(old.clone(), new, b"head");
        assert!(warm <= 0.2, "{warm}");
        let rules = shares(old.clone(), old, b"another head, of another length");
        assert!(rules <= 0.02, "{rules}");
    }
}
