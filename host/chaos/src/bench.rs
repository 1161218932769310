//! Figures of the host: ingest, memory, start, size of states, and how fast a new bundle decides everywhere.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use selvedge_engine::{Engine, Limits};
use selvedge_follow::client::{Event, FollowOptions, Follower, Prepare};
use selvedge_format::AlignedBytes;
use selvedge_format::decision::DecisionView;
use selvedge_sync::publish::Change;
use selvedge_sync::store::RedbStore;
use selvedge_sync::users::{Deployed, Incoming, Users, UsersOptions};
use selvedge_wire::RequestBuilder;
use serde_json::{Value, json};

use crate::host::{CHANNEL, Host, Site, now_ms};
use crate::shop;

const CLIENTS: u64 = 4;
const BATCH: usize = 100;
const FOLLOWERS: usize = 50;
/// Of those, so many are of the npm package, if there is one.
const IN_NODE: usize = 25;
const PUBLISHES: u64 = 20;

pub(crate) fn run(users: u32, seconds: u64, node: Option<&Path>, json: Option<&Path>) -> Result<()> {
    let figures = json!({
        "ingest": ingest(seconds)?,
        "state_of_10000_events": long_state()?,
        "start": start(users)?,
        "publish_to_decision": follow(node)?,
        "machine": { "cores": std::thread::available_parallelism().map_or(0, usize::from) },
    });
    let text = serde_json::to_string_pretty(&figures)?;
    println!("{text}");
    if let Some(path) = json {
        std::fs::write(path, format!("{text}\n"))?;
    }
    Ok(())
}

fn quantiles(micros: &Histogram<u64>) -> Value {
    let at = |quantile| micros.value_at_quantile(quantile) as f64 / 1000.0;
    json!({ "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": micros.max() as f64 / 1000.0, "count": micros.len() })
}

/// Batches of 100 over HTTP, host and load on the same cores.
fn ingest(seconds: u64) -> Result<Value> {
    let directory = tempfile::tempdir()?;
    let site = Site::new(directory.path(), "")?;
    let host = site.start()?;
    host.client.deploy(&shop::bundle(1)?)?;
    let users = 20_000;
    let (count, refused, stale) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let times = Mutex::new(Histogram::<u64>::new(3)?);
    let started = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (to, count, refused, stale, times) = (host.client.clone(), &count, &refused, &stale, &times);
                scope.spawn(move || -> Result<()> {
                    let mut rng = ChaCha8Rng::seed_from_u64(client);
                    let mut mine = Histogram::<u64>::new(3)?;
                    let mut batch = 0_u64;
                    while started.elapsed() < Duration::from_secs(seconds) {
                        let id = |event: usize| format!("{client}-{batch}-{event}");
                        let events: Vec<Incoming> =
                            (0..BATCH).map(|event| shop::event(&mut rng, id(event), users, now_ms())).collect();
                        let sent = Instant::now();
                        let answer = to.send(&events)?;
                        match answer.status {
                            200 => {
                                mine.record(sent.elapsed().as_micros() as u64)?;
                                count.fetch_add(BATCH as u64, Ordering::Relaxed);
                            }
                            _ => {
                                refused.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        // Now and then: the state has what was just acknowledged.
                        if batch.is_multiple_of(50) && answer.status == 200 {
                            let last = events.last().context("a batch has events")?;
                            let state = to.state(&last.user)?.unwrap_or_default();
                            let key = selvedge_format::key32(selvedge_format::key(last.item.as_bytes())).to_le_bytes();
                            let is_there = state.windows(4).any(|window| window == key);
                            stale.fetch_add(u64::from(!is_there), Ordering::Relaxed);
                        }
                        batch += 1;
                    }
                    times.lock().map_err(|_| anyhow::anyhow!("a client panicked"))?.add(&mine)?;
                    Ok(())
                })
            })
            .collect();
        clients.into_iter().try_for_each(|client| client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
    })?;
    let took = started.elapsed().as_secs_f64();
    let times = times.into_inner().map_err(|_| anyhow::anyhow!("a client panicked"))?;
    let count = count.into_inner();
    let metrics = String::from_utf8(host.client.call("GET", "/metrics", b"")?.body)?;
    let figure = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("selvedge_{name} ")));
        line.and_then(|value| value.parse::<f64>().ok()).unwrap_or_default()
    };
    Ok(json!({
        "events_per_s": count as f64 / took,
        "batch": BATCH,
        "clients": CLIENTS,
        "users": users,
        "request_ms": quantiles(&times),
        "refused": refused.into_inner(),
        "stale_reads": stale.into_inner(),
        "commit_ms": figure("commit_microseconds") / 1000.0 / figure("commits").max(1.0),
        "host_memory_mb": host.memory_kb()? / 1024,
        "disk_bytes_per_event": site.disk_kb()? as f64 * 1024.0 / count.max(1) as f64,
    }))
}

/// A user who did ten thousand things.
fn long_state() -> Result<Value> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let events: Vec<Incoming> = (0..10_000)
        .map(|id| Incoming { user: "ann".into(), ..shop::event(&mut rng, id.to_string(), 1, now_ms()) })
        .collect();
    Ok(json!({ "bytes": shop::state(&shop::program()?, &events)?.len() }))
}

/// A start with many users stored, and what the host takes in memory then.
fn start(users: u32) -> Result<Value> {
    let directory = tempfile::tempdir()?;
    let site = Site::new(directory.path(), "")?;
    site.start()?.client.deploy(&shop::bundle(1)?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
    let filled = Instant::now();
    {
        let store = RedbStore::open(&directory.path().join("data/selvedge.redb"))?;
        let deployed = Deployed { program: Arc::new(shop::program()?), shared: None };
        let stored = Users::open(Arc::new(store), UsersOptions::default(), Some(deployed))?;
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for first in (0..users).step_by(1000) {
            let event = |user: u32| Incoming {
                user: format!("user-{user}"),
                ..shop::event(&mut rng, user.to_string(), 1, now_ms())
            };
            let events: Vec<Incoming> = (first..(first + 1000).min(users)).map(event).collect();
            // What is refused because too much waits is sent again.
            while runtime.block_on(stored.ingest(events.clone())).is_err() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        stored.close();
    }
    let filled = filled.elapsed();
    let mut times = Vec::new();
    let mut memory = 0;
    for _ in 0..5 {
        let started = Instant::now();
        let host = site.start()?;
        host.client.call("GET", "/readyz", b"")?.ok()?;
        times.push(started.elapsed().as_secs_f64() * 1000.0);
        memory = host.memory_kb()? / 1024;
        host.kill()?;
    }
    times.sort_by(f64::total_cmp);
    Ok(json!({
        "users": users,
        "ready_ms": { "median": times[times.len() / 2], "max": times.last() },
        "after": "kill -9",
        "host_memory_mb": memory,
        "disk_bytes_per_user": site.disk_kb()? as f64 * 1024.0 / f64::from(users.max(1)),
        "filled_users_per_s": f64::from(users) / filled.as_secs_f64(),
    }))
}

/// What a follower says: the sequence that it decided with, when, and whether it was a decision.
type Decided = (u64, SystemTime, bool);

/// From the moment when the publisher begins to send the head to a decision with the new bundle, on fifty followers.
fn follow(node: Option<&Path>) -> Result<Value> {
    let directory = tempfile::tempdir()?;
    let site = Site::new(directory.path(), "")?;
    let host = site.start()?;
    host.client.deploy(&shop::bundle(0)?)?;
    let (decided, decisions) = channel::<Decided>();
    let in_node = node.map_or(0, |_| IN_NODE);
    let mut package = node.map(|script| followers_in_node(script, &host, &site, decided.clone())).transpose()?;
    let native =
        (in_node..FOLLOWERS).map(|_| native_follower(&host, &site, decided.clone())).collect::<Result<Vec<_>>>()?;
    let wait = Duration::from_secs(30);
    for _ in 0..FOLLOWERS {
        decisions.recv_timeout(wait).context("a follower does not start")?;
    }
    // Streams are opened after the first answer.
    std::thread::sleep(Duration::from_secs(1));
    let mut times = Histogram::<u64>::new(3)?;
    for number in 1..=PUBLISHES {
        let bundle = host.client.upload(&shop::bundle(number)?)?;
        let previous = host.client.head()?;
        let started = SystemTime::now();
        let head = host.client.publish(previous.as_ref(), Change::Deploy { bundle, shared: None }, now_ms())?;
        for _ in 0..FOLLOWERS {
            let (sequence, at, good) = decisions.recv_timeout(wait).context("a follower does not decide")?;
            ensure!(sequence == head.sequence && good, "a follower decided with {sequence}");
            times.record(at.duration_since(started).unwrap_or_default().as_micros() as u64)?;
        }
    }
    if let Some(package) = &mut package {
        package.kill()?;
        package.wait()?;
    }
    native.into_iter().try_for_each(|follower| follower.join().map_err(|_| anyhow::anyhow!("a follower panicked")))?;
    Ok(json!({
        "followers": { "rust": FOLLOWERS - in_node, "npm": in_node },
        "publishes": PUBLISHES,
        "ms": quantiles(&times),
    }))
}

fn native_follower(host: &Host, site: &Site, decided: Sender<Decided>) -> Result<JoinHandle<()>> {
    let request = RequestBuilder::new([1; 16], now_ms(), ["a", "b", "c"]).build();
    let options = FollowOptions::new(&host.client.url, CHANNEL, site.keys());
    let prepare: Prepare<Mutex<Engine>> = Box::new(|bundle, _| {
        let mut engine = Engine::new(Limits::default());
        engine.load(AlignedBytes::copy_of(bundle)).map_err(|error| error.to_string())?;
        Ok(Mutex::new(engine))
    });
    let (event, events) = channel();
    let follower = Follower::start(options, prepare, move |told| drop(event.send(told))).map_err(anyhow::Error::msg)?;
    Ok(std::thread::spawn(move || {
        for told in events {
            let Event::Deployed { sequence } = told else { continue };
            let Some(current) = follower.current() else { continue };
            let good = current.for_user("ann").lock().is_ok_and(|mut engine| {
                let decision = engine.decide(&request);
                DecisionView::parse(decision).is_ok_and(|view| view.status.names().0 == "personalized")
            });
            if decided.send((sequence, SystemTime::now(), good)).is_err() || sequence == PUBLISHES + 1 {
                return;
            }
        }
    }))
}

fn followers_in_node(script: &Path, host: &Host, site: &Site, decided: Sender<Decided>) -> Result<Child> {
    let mut node = Command::new("node")
        .arg(script)
        .args([&IN_NODE.to_string(), &host.client.url, CHANNEL, &site.key.public().to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start node")?;
    let lines = BufReader::new(node.stdout.take().context("a pipe")?).lines();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let Ok(said) = serde_json::from_str::<Value>(&line) else { continue };
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(said["at"].as_u64().unwrap_or_default());
            let sequence = said["sequence"].as_u64().unwrap_or_default();
            if decided.send((sequence, at, said["good"] == true)).is_err() {
                return;
            }
        }
    });
    Ok(node)
}
