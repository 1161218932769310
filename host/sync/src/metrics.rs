//! Figures for Prometheus. What the services count themselves is read when somebody asks.

use std::fmt::Write;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::channel::ChannelStats;
use crate::users::UsersStats;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: String,
    method: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Budget {
    budget: String,
}

/// All figures of a host.
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<Request, Counter>,
    seconds: Family<Route, Histogram>,
    /// By budget: what the head says, and what the controller would say.
    prices: [Family<Budget, Gauge<u64, AtomicU64>>; 2],
    price_steps: Counter,
    prices_published: Counter,
    read: Vec<(Gauge<u64, AtomicU64>, Of)>,
}

/// What is read when somebody asks.
struct Read<'a> {
    users: &'a UsersStats,
    channels: &'a ChannelStats,
    followers: u64,
}

type Of = fn(&Read<'_>) -> u64;
type Figure = (&'static str, &'static str, Of);

const FIGURES: [Figure; 23] = [
    ("events_accepted", "Events taken", |read| read.users.accepted),
    ("events_duplicate", "Events that had been taken before", |read| read.users.duplicates),
    ("events_unplaced", "Events of users with too many devices", |read| read.users.unplaced),
    ("events_queued", "Events that wait for the writer", |read| read.users.queued),
    ("commits", "Durable commits of the event log", |read| read.users.commits),
    ("commit_microseconds", "Time that durable commits took, in all", |read| read.users.commit_micros),
    ("commit_failures", "Commits that failed", |read| read.users.failures),
    ("log_position", "Newest entry of the event log", |read| read.users.position),
    ("log_floor", "Entry up to which all states are written", |read| read.users.floor),
    ("log_trimmed", "Entries dropped because they were old", |read| read.users.trimmed),
    ("states_written", "Records of users written", |read| read.users.checkpointed),
    ("states_dirty_bytes", "Bytes of states that wait to be written", |read| read.users.dirty_bytes),
    ("states_cached_bytes", "Bytes of states in memory", |read| read.users.cached_bytes),
    ("states_cached", "Users in memory", |read| read.users.cached_users),
    ("states_backfilled", "Users whose counters were filled from the log", |read| read.users.backfilled),
    ("states_expired", "Users dropped because they were not heard of", |read| read.users.expired),
    ("erasures_pending", "Erased users whose events are being removed", |read| read.users.erasures_pending),
    ("heads_published", "Heads taken", |read| read.channels.heads),
    ("deltas_made", "Deltas made", |read| read.channels.deltas),
    ("blob_cache_hits", "Answers with blobs and deltas from memory", |read| read.channels.hits),
    ("blobs_full", "Whole blobs sent to those who asked for a delta", |read| read.channels.full),
    ("blob_cache_bytes", "Bytes of blobs and deltas in memory", |read| read.channels.cached),
    ("followers", "Long polls and event streams that are connected", |read| read.followers),
];

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("selvedge");
        let requests = Family::default();
        registry.register("http_requests", "Requests", requests.clone());
        let seconds =
            Family::<Route, Histogram>::new_with_constructor(|| Histogram::new(exponential_buckets(0.0005, 2.0, 16)));
        registry.register_with_unit("http_request", "Time of requests", Unit::Seconds, seconds.clone());
        let prices = [Family::default(), Family::default()];
        registry.register(
            "budget_price_micros",
            "Price of a budget in the newest head, in millionths",
            prices[0].clone(),
        );
        let help = "Price of a budget that the host's controller holds, in millionths";
        registry.register("budget_paced_micros", help, prices[1].clone());
        let (price_steps, prices_published) = (Counter::default(), Counter::default());
        registry.register("price_steps", "Looks of the controller at what was spent", price_steps.clone());
        registry.register("prices_published", "Prices that the host has published", prices_published.clone());
        let mut read = Vec::with_capacity(FIGURES.len());
        for (name, help, of) in FIGURES {
            let gauge = Gauge::<u64, AtomicU64>::default();
            registry.register(name, help, gauge.clone());
            read.push((gauge, of));
        }
        Self { registry: Mutex::new(registry), requests, seconds, prices, price_steps, prices_published, read }
    }

    /// Counts a request.
    pub(crate) fn request(&self, route: &str, method: &str, status: u16, took: Duration) {
        // Methods are a client's choice: without a bound on them there would be none on the number of series.
        let method = match method {
            "GET" | "HEAD" | "PUT" | "POST" | "DELETE" | "OPTIONS" => method,
            _ => "other",
        };
        let labels = Request { route: route.to_owned(), method: method.to_owned(), status };
        self.requests.get_or_create(&labels).inc();
        self.seconds.get_or_create(&Route { route: route.to_owned() }).observe(took.as_secs_f64());
    }

    /// Counts a step of the controller.
    pub(crate) fn price_step(&self) {
        self.price_steps.inc();
    }

    /// Counts prices that the host has published.
    pub(crate) fn prices_published(&self, prices: u64) {
        self.prices_published.inc_by(prices);
    }

    /// Sets what is told of prices: the head's, and the controller's where there is one.
    pub(crate) fn set_prices<'b>(&self, prices: impl Iterator<Item = (&'b str, u64, Option<u64>)>) {
        // A budget that has no price any more is not told of.
        self.prices.iter().for_each(Family::clear);
        for (budget, published, paced) in prices {
            let label = Budget { budget: budget.to_owned() };
            self.prices[0].get_or_create(&label).set(published);
            if let Some(paced) = paced {
                self.prices[1].get_or_create(&label).set(paced);
            }
        }
    }

    /// The figures as text.
    pub(crate) fn text(&self, users: &UsersStats, channels: &ChannelStats, followers: u64) -> String {
        let now = Read { users, channels, followers };
        for (gauge, of) in &self.read {
            gauge.set(of(&now));
        }
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if encode(&mut text, &registry).is_err() {
            // Writing to a string does not fail; a scrape with a remark beats a panic if it ever does.
            let _ = writeln!(text, "# the figures could not be written");
        }
        text
    }
}
