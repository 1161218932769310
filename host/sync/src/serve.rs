//! A running host: started, kept fresh, and ended without losing anything.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use selvedge_format::container::{Container, Kind, verify_id};
use selvedge_format::head::{BlobV1, HeadV1};
use selvedge_format::meta::{self, MetaV1};
use selvedge_format::program::{self, ProgramV1};
use selvedge_format::shared::SharedState;
use selvedge_format::{AlignedBytes, DecodeError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::channel::{ChannelError, ChannelOptions, Channels, hex};
use crate::config::{Config, Offers as OffersConfig};
use crate::http::{App, ITEMS, router};
use crate::key::SigningKey;
use crate::offers::{Offers, OffersError, OffersOptions};
use crate::pace::keep_prices;
use crate::publish::{Change, Terms, next};
use crate::refresh::Catalogue;
use crate::store::{ChannelStore, RedbStore, Store, StoreError, UserStore};
use crate::users::{Deployed, Users, UsersError, UsersOptions};

/// How often it is looked at whether a head must be renewed.
const RENEWAL_CHECK: Duration = Duration::from_secs(60);
/// A shared state is made at most so often, whatever a bundle declares.
const LEAST_REFRESH: Duration = Duration::from_secs(1);

/// Why a host does not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// A file of the configuration cannot be used.
    #[error("{}: {what}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What was wrong.
        what: String,
    },
    /// It cannot listen.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The channels cannot be opened.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The server ended.
    #[error("the server ended: {0}")]
    Server(std::io::Error),
}

/// A host that runs.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    ending: watch::Sender<bool>,
    handle: Handle<SocketAddr>,
    drain: Duration,
    server: JoinHandle<std::io::Result<()>>,
    keeper: JoinHandle<()>,
    pacer: Option<JoinHandle<()>>,
    users: Arc<Users>,
}

impl Running {
    /// Ends the host: what runs may finish, what waits is written.
    ///
    /// # Errors
    /// The server had ended before.
    pub async fn shutdown(self) -> Result<(), HostError> {
        // Nobody may listen any more; that is what this tells them.
        let _ = self.ending.send(true);
        self.handle.graceful_shutdown(Some(self.drain));
        self.finish().await
    }

    /// Waits until the server ends by itself, which it does only when something is wrong.
    ///
    /// # Errors
    /// Always the reason.
    pub async fn wait(&mut self) -> Result<(), HostError> {
        match (&mut self.server).await {
            Ok(ended) => ended.map_err(HostError::Server),
            Err(error) => Err(HostError::Server(std::io::Error::other(error))),
        }
    }

    async fn finish(self) -> Result<(), HostError> {
        let Self { server, keeper, pacer, users, .. } = self;
        let ended = server.await.map_err(|error| HostError::Server(std::io::Error::other(error)));
        keeper.abort();
        pacer.inspect(JoinHandle::abort);
        let closed = tokio::task::spawn_blocking(move || users.close()).await;
        closed.map_err(|error| HostError::Server(std::io::Error::other(error)))?;
        ended?.map_err(HostError::Server)
    }
}

/// Runs a host until the process is told to end (SIGTERM, SIGINT).
///
/// # Errors
/// It does not start, or ends by itself.
pub fn run_until_signal(config: Config, started: impl FnOnce(SocketAddr)) -> Result<(), HostError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(HostError::Server)?;
    runtime.block_on(async {
        let mut running = start(config).await?;
        // Before anybody knows the address: who does may end the host at once.
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(HostError::Server)?;
        started(running.address);
        tokio::select! {
            ended = running.wait() => return ended,
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("ending: requests may finish, states are written");
        running.shutdown().await
    })
}

/// Starts a host. It is ready when this returns.
///
/// # Errors
/// A file cannot be used, the store cannot be opened, or the address is taken.
pub async fn start(config: Config) -> Result<Running, HostError> {
    let path = config.data.join("selvedge.redb");
    let at = |path: PathBuf| move |error: std::io::Error| HostError::File { path, what: error.to_string() };
    make_private(&config.data).map_err(at(config.data.clone()))?;
    let store: Arc<dyn Store> = Arc::new(RedbStore::open(&path)?);
    start_with(config, store).await
}

/// Makes a directory that nobody else on the machine can read, unless it is there: it holds what users did.
fn make_private(path: &std::path::Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Starts a host on a store.
///
/// # Errors
/// As [`start`].
pub async fn start_with(config: Config, store: Arc<dyn Store>) -> Result<Running, HostError> {
    let signing = config.signing.as_ref().map(|signing| read_signing(&signing.key).map(Arc::new)).transpose()?;
    let tls = config.tls.as_ref().map(|(cert, key)| server_config(cert, key)).transpose()?;
    let keys = config.keys.with(signing.as_ref().map(|key| key.public()));
    let options = ChannelOptions { max_blob: config.limits.blob, ..ChannelOptions::default() };
    let channels = Channels::open(Arc::clone(&store) as Arc<dyn ChannelStore>, keys, options)?;
    let deployed =
        channels.head(&config.users.channel).map(|published| deployed(&*store, &published.head)).transpose()?;
    let users = {
        let (store, options) = (Arc::clone(&store) as Arc<dyn UserStore>, users_options(&config));
        let opened = tokio::task::spawn_blocking(move || Users::open(store, options, deployed)).await;
        opened.map_err(|error| HostError::Server(std::io::Error::other(error)))??
    };
    let users = Arc::new(users);
    let offers = config.offers.as_ref().map(|offers| open_offers(offers, &store)).transpose()?;
    if let (Some(offers), Some(published)) = (&offers, channels.head(&config.users.channel)) {
        deploy_offers(offers, &published.head);
    }
    let (ending, is_ending) = watch::channel(false);
    let listener = listen(config.listen)?;
    let address = listener.local_addr().map_err(HostError::Server)?;
    let drain = Duration::from_secs(config.drain_s);
    let header_timeout = Duration::from_secs(config.limits.header_timeout_s);
    let app = Arc::new(App::new(config, channels, Arc::clone(&users), store, offers, is_ending));
    let handle = Handle::new();
    let service = router(Arc::clone(&app)).into_make_service();
    let server = match tls {
        None => {
            let server = axum_server::from_tcp(listener).map_err(HostError::Server)?;
            tokio::spawn(server.handle(handle.clone()).first_request_timeout(header_timeout).serve(service))
        }
        Some(tls) => {
            let server = axum_server::from_tcp_rustls(listener, tls).map_err(HostError::Server)?;
            tokio::spawn(server.handle(handle.clone()).first_request_timeout(header_timeout).serve(service))
        }
    };
    app.ready.store(true, Ordering::SeqCst);
    let pacer = match (app.config.prices.clone(), app.offers.clone(), signing.clone()) {
        (Some(prices), Some(offers), Some(key)) => {
            Some(tokio::spawn(keep_prices(Arc::clone(&app), offers, prices, key)))
        }
        _ => None,
    };
    let keeper = tokio::spawn(keep(Arc::clone(&app), signing));
    tracing::info!(%address, "ready");
    Ok(Running { address, ending, handle, drain, server, keeper, pacer, users })
}

/// The key that signs heads, if nobody but its owner, and readers of its group, can have seen it or put another in its place.
fn read_signing(path: &PathBuf) -> Result<SigningKey, HostError> {
    let refused = |what: String| HostError::File { path: path.clone(), what };
    #[cfg(unix)]
    {
        /// Written by its group, or open to everybody.
        const OPEN: u32 = 0o027;
        let file = std::fs::metadata(path).map_err(|error| refused(error.to_string()))?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.permissions());
        if mode & OPEN != 0 {
            let what = format!(
                "others on this machine can read or change this key (mode {:03o}): `chmod 600` it, and make a new one if \
                 they may have",
                mode & 0o777
            );
            return Err(refused(what));
        }
    }
    let pem = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    SigningKey::from_pem(&pem).map_err(|error| refused(error.to_string()))
}

/// Shortest secret that offers may have.
const LEAST_SECRET: usize = 32;

fn open_offers(config: &OffersConfig, store: &Arc<dyn Store>) -> Result<Arc<Offers>, HostError> {
    let refused = |path: &PathBuf, what: String| HostError::File { path: path.clone(), what };
    let pem = std::fs::read_to_string(&config.key).map_err(|error| refused(&config.key, error.to_string()))?;
    let key = SigningKey::from_pem(&pem).map_err(|error| refused(&config.key, error.to_string()))?;
    let secret = std::fs::read(&config.secret).map_err(|error| refused(&config.secret, error.to_string()))?;
    let secret = secret.trim_ascii().to_vec();
    if secret.len() < LEAST_SECRET {
        let what = format!(
            "the secret has {} bytes, fewer than {LEAST_SECRET}: `openssl rand -hex 32` makes one",
            secret.len()
        );
        return Err(refused(&config.secret, what));
    }
    let options = OffersOptions {
        key,
        previous: config.previous.iter().map(|key| *key.as_bytes()).collect(),
        secret,
        issuer: config.issuer.clone(),
        audience: config.audience.clone(),
        rules: config.rules,
    };
    let offers = Offers::new(Arc::clone(store), options).map_err(|what| refused(&config.key, what))?;
    Ok(Arc::new(offers))
}

/// A bundle that cannot decide about offers is no reason not to serve everything else.
fn deploy_offers(offers: &Offers, head: &HeadV1) {
    if let Err(error) = offers.deploy(head) {
        tracing::error!(%error, "the new bundle makes no offers");
    }
}

fn users_options(config: &Config) -> UsersOptions {
    const DAY_MS: i64 = 86_400_000;
    let cache_bytes = config.users.cache_mb.saturating_mul(1 << 20);
    UsersOptions {
        batch_events: config.limits.batch_events,
        cache_bytes,
        dirty_bytes: cache_bytes / 2,
        retention_ms: i64::from(config.users.retention_days) * DAY_MS,
        ttl_ms: i64::from(config.users.ttl_days) * DAY_MS,
        ..UsersOptions::default()
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, HostError> {
    let listener = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|source| HostError::Listen { address, source })
}

fn server_config(cert: &PathBuf, key: &PathBuf) -> Result<RustlsConfig, HostError> {
    let refused = |path: &PathBuf, what: String| HostError::File { path: path.clone(), what };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(cert).map_err(|error| refused(cert, error.to_string()))?.collect();
    let chain = chain.map_err(|error| refused(cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(refused(cert, "there is no certificate in it".to_owned()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| refused(key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| refused(key, error.to_string()))?;
    Ok(RustlsConfig::from_config(Arc::new(config)))
}

/// What a head's bundle counts events by.
fn deployed(store: &dyn Store, head: &HeadV1) -> Result<Deployed, StoreError> {
    let read = |blob: BlobV1| {
        store.blob(&blob.id)?.ok_or_else(|| StoreError::Corrupt(format!("blob {} is not there", hex(&blob.id))))
    };
    let damaged = |error: DecodeError| StoreError::Corrupt(format!("what is deployed does not load: {error}"));
    let bundle = read(head.bundle)?;
    let program = section(&bundle, program::TAG).and_then(ProgramV1::decode).map_err(damaged)?;
    let shared = match head.shared {
        None => None,
        Some(shared) => Some(SharedState::load(AlignedBytes::copy_of(&read(shared)?)).map_err(damaged)?),
    };
    Ok(Deployed { program: Arc::new(program), shared: shared.map(Arc::new) })
}

fn section(bundle: &[u8], tag: u32) -> Result<&[u8], DecodeError> {
    let container = Container::parse(bundle, Kind::Bundle)?;
    let section = container.find(tag).ok_or(DecodeError::invalid("bundle", 0))?;
    Ok(&bundle[section.range.clone()])
}

/// The declared time between refreshes of the shared state; none if the bundle has no names.
fn refresh_every(bundle: &[u8]) -> Option<Duration> {
    let names = section(bundle, meta::TAG).and_then(MetaV1::decode).ok()?;
    (names.shared_refresh_s > 0).then(|| Duration::from_secs(names.shared_refresh_s.into()).max(LEAST_REFRESH))
}

/// Follows the host's own channel: counts by what is deployed, refreshes the shared state, renews the head.
async fn keep(app: Arc<App>, signing: Option<Arc<SigningKey>>) {
    let channel = app.config.users.channel.clone();
    let mut last: Option<(BlobV1, Option<BlobV1>)> =
        app.channels.head(&channel).map(|published| (published.head.bundle, published.head.shared));
    let mut refreshed = tokio::time::Instant::now();
    let mut sequence = None;
    loop {
        let mut heads = app.channels.watch(&channel);
        let every = match (&signing, last) {
            (Some(_), Some((bundle, _))) => {
                app.store.blob(&bundle.id).ok().flatten().and_then(|bundle| refresh_every(&bundle))
            }
            _ => None,
        };
        // A channel that does not exist yet is looked for again; renewal is looked at as often.
        let due = every.map_or(RENEWAL_CHECK, |every| every.saturating_sub(refreshed.elapsed()).min(RENEWAL_CHECK));
        let look = if last.is_none() { Duration::from_millis(200) } else { due };
        let mut asked = false;
        tokio::select! {
            changed = heads.changed(), if last.is_some() => if changed.is_err() { return },
            () = app.refresh.notified() => asked = true,
            () = tokio::time::sleep(look) => {}
        }
        let Some(published) = app.channels.head(&channel) else { continue };
        if let Some(offers) = app.offers.clone().filter(|_| sequence != Some(published.head.sequence)) {
            sequence = Some(published.head.sequence);
            let published = Arc::clone(&published);
            // A panic there is told by the runtime; the old bundle decides on.
            let _ = tokio::task::spawn_blocking(move || deploy_offers(&offers, &published.head)).await;
        }
        let now = (published.head.bundle, published.head.shared);
        if last != Some(now) {
            last = Some(now);
            match deployed(&*app.store, &published.head) {
                Ok(deployed) => {
                    if let Err(error) = app.users.deploy(deployed).await {
                        tracing::error!(%error, "the new bundle is not counted by");
                    }
                }
                Err(error) => tracing::error!(%error, "the new bundle cannot be read"),
            }
        }
        let Some(key) = &signing else { continue };
        let is_due = every.is_some_and(|every| refreshed.elapsed() >= every);
        if is_due || asked {
            refreshed = tokio::time::Instant::now();
            if let Err(error) = refresh(&app, &channel, key).await {
                tracing::error!(%error, "the shared state is not refreshed");
            }
        } else if expires_soon(&published.head) {
            let head = next(&channel, Some(&published.head), Change::Renew, &terms(&app), App::now_ms());
            if let Err(error) = publish(&app, &channel, key, head.ok()).await {
                tracing::error!(%error, "the head is not renewed");
            }
        }
    }
}

pub(crate) fn terms(app: &App) -> Terms {
    const HOUR_MS: i64 = 3_600_000;
    let hours = app.config.signing.as_ref().map_or(1, |signing| i64::from(signing.valid_hours.max(1)));
    Terms { valid_ms: hours * HOUR_MS, ..Terms::default() }
}

/// Whether half of the time that a head is believed is over.
fn expires_soon(head: &HeadV1) -> bool {
    let now_ms = App::now_ms();
    now_ms - head.issued_ms > head.not_after_ms - now_ms
}

/// Why what a host does by itself was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    #[error(transparent)]
    Users(#[from] UsersError),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Offers(#[from] OffersError),
    #[error("{0}")]
    Other(String),
}

/// Makes the shared state as of now and publishes a head that names it.
async fn refresh(app: &Arc<App>, channel: &str, key: &SigningKey) -> Result<(), KeepError> {
    let Some(deployed) = app.users.deployed() else { return Ok(()) };
    let catalogue = {
        let (store, deployed) = (Arc::clone(&app.store), Arc::clone(&deployed));
        blocking(move || {
            let items = store.value(ITEMS)?;
            Ok(match (items, &deployed.shared) {
                (Some(items), _) => {
                    Catalogue::read(&deployed.program, &items).map_err(|error| KeepError::Other(error.to_string()))?
                }
                // Nobody has told of items: those that were published go on.
                (None, Some(shared)) => Catalogue::of(shared),
                (None, None) => Catalogue::default(),
            })
        })
        .await?
    };
    if catalogue.is_empty() && deployed.program.global_tables.is_empty() {
        return Ok(());
    }
    let bytes = app.users.shared_state(Arc::new(catalogue)).await?;
    let id = verify_id(&bytes).map_err(|error| KeepError::Other(error.to_string()))?;
    let shared = BlobV1 { id, size: u32::try_from(bytes.len()).map_err(|error| KeepError::Other(error.to_string()))? };
    {
        let channels = app.channels.clone();
        blocking(move || Ok(channels.put_blob(&id, &bytes)?)).await?;
    }
    // Read now: somebody may have published while the state was made.
    let published = app.channels.head(channel);
    let change = Change::Refresh { shared };
    let head = next(channel, published.as_ref().map(|published| &published.head), change, &terms(app), App::now_ms());
    publish(app, channel, key, head.ok()).await.map(|_| ())
}

/// Signs and publishes a head; whether it is the newest now.
pub(crate) async fn publish(
    app: &Arc<App>,
    channel: &str,
    key: &SigningKey,
    head: Option<HeadV1>,
) -> Result<bool, KeepError> {
    let Some(head) = head else { return Ok(false) };
    let bytes = key.sign(&head).map_err(|error| KeepError::Other(error.to_string()))?;
    let (channels, channel) = (app.channels.clone(), channel.to_owned());
    let published = blocking(move || match channels.put(&channel, &bytes, App::now_ms()) {
        // Somebody else was faster: what they say stands, and the next time comes.
        Err(ChannelError::Conflict { .. }) => Ok(None),
        other => Ok(Some(other?)),
    });
    let published = published.await?;
    if let Some(published) = &published {
        tracing::info!(channel = published.head.channel, sequence = published.head.sequence, "published by the host");
    }
    Ok(published.is_some())
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, KeepError> + Send + 'static,
) -> Result<T, KeepError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(KeepError::Other(error.to_string())))
}
