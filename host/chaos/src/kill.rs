//! kill -9 at a moment that nobody knows: of ingest, of publishing, of checkpoints.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use selvedge_format::container::verify_id;
use selvedge_sync::channel::hex;
use selvedge_sync::publish::Change;
use selvedge_sync::users::Incoming;

use crate::host::{Client, Site, now_ms};
use crate::report::Outcome;
use crate::shop;

/// Rounds on the same data: each goes on from what the one before left.
const ROUNDS_PER_SITE: u32 = 10;
const CLIENTS: u32 = 3;
const BATCH: usize = 40;

pub(crate) fn run(rounds: u32, seed: u64) -> Result<Vec<Outcome>> {
    let ingest = "kill -9 of the host during ingest";
    let checkpoint = "kill -9 of the host during checkpoints";
    Ok(vec![
        ingesting(ingest, rounds, seed, 300, "")?,
        // Little memory: states are written all the time.
        ingesting(checkpoint, rounds, seed + 1, 5000, "cache_mb = 1")?,
        publishing(rounds, seed + 2)?,
    ])
}

fn ingesting(fault: &'static str, rounds: u32, seed: u64, users: u32, more: &str) -> Result<Outcome> {
    let mut outcome = Outcome::new(fault, "no acknowledged event is lost, none counts twice");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let program = shop::program()?;
    let mut site: Option<(tempfile::TempDir, Site)> = None;
    for round in 0..rounds {
        if round % ROUNDS_PER_SITE == 0 {
            let directory = tempfile::tempdir()?;
            let new = Site::new(directory.path(), more)?;
            new.start()?.client.deploy(&shop::bundle(1)?)?;
            site = Some((directory, new));
        }
        let (_, site) = site.as_ref().context("a site")?;
        let host = site.start()?;
        let (acknowledged, ending) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        let pause = Duration::from_millis(rng.random_range(20..500));
        std::thread::scope(|scope| -> Result<()> {
            for client in 0..CLIENTS {
                let (to, acknowledged, ending) = (host.client.clone(), &acknowledged, &ending);
                let rng = ChaCha8Rng::seed_from_u64(seed ^ u64::from(round) << 20 ^ u64::from(client) << 10);
                scope.spawn(move || send_until(&to, rng, format!("{round}-{client}"), users, acknowledged, ending));
            }
            std::thread::sleep(pause);
            host.kill()?;
            ending.store(true, Ordering::SeqCst);
            Ok(())
        })?;
        let acknowledged = acknowledged.into_inner().map_err(|_| anyhow::anyhow!("a client panicked"))?;
        let host = site.start()?;
        outcome.checked += acknowledged.len() as u64;
        outcome.lost += acknowledged.len() as u64 - host.client.known(&acknowledged)?;
        // A state is what the log says, each event once: what counted twice, or not at all, would make it another.
        for _ in 0..5 {
            let user = format!("user-{}", rng.random_range(0..users));
            let events = host.client.events_of(&user)?;
            let expected = (!events.is_empty()).then(|| shop::state(&program, &events)).transpose()?;
            outcome.doubled += u64::from(host.client.state(&user)? != expected);
        }
        outcome.rounds += 1;
    }
    Ok(outcome)
}

fn send_until(
    to: &Client,
    mut rng: ChaCha8Rng,
    name: String,
    users: u32,
    acknowledged: &Mutex<Vec<Incoming>>,
    ending: &AtomicBool,
) {
    for batch in 0.. {
        let id = |event: usize| format!("{name}-{batch}-{event}");
        let events: Vec<Incoming> = (0..BATCH).map(|event| shop::event(&mut rng, id(event), users, now_ms())).collect();
        match to.send(&events) {
            Ok(answer) if answer.status == 200 => {
                if let Ok(mut acknowledged) = acknowledged.lock() {
                    acknowledged.extend(events);
                }
            }
            // Refused because too much waits: that is an answer, and nothing was taken.
            Ok(_) => std::thread::sleep(Duration::from_millis(5)),
            Err(_) => return,
        }
        if ending.load(Ordering::SeqCst) {
            return;
        }
    }
}

fn publishing(rounds: u32, seed: u64) -> Result<Outcome> {
    let fault = "kill -9 of the host during publishing";
    let mut outcome = Outcome::new(fault, "heads never go backwards, and what a head names is there");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let directory = tempfile::tempdir()?;
    let site = Site::new(directory.path(), "")?;
    site.start()?.client.deploy(&shop::bundle(1)?)?;
    let published = AtomicU64::new(1);
    for round in 0..rounds {
        let host = site.start()?;
        let client = host.client.clone();
        let published = &published;
        let pause = Duration::from_millis(rng.random_range(5..150));
        std::thread::scope(|scope| -> Result<()> {
            scope.spawn(move || -> Result<()> {
                for number in 0.. {
                    let bundle = client.upload(&shop::bundle(u64::from(round) * 1000 + number)?)?;
                    let previous = client.head()?;
                    let head = client.publish(previous.as_ref(), Change::Deploy { bundle, shared: None }, now_ms())?;
                    published.store(head.sequence, Ordering::SeqCst);
                }
                Ok(())
            });
            std::thread::sleep(pause);
            host.kill()
        })?;
        let host = site.start()?;
        let head = host.client.head()?.context("a head that was acknowledged")?;
        let acknowledged = published.load(Ordering::SeqCst);
        outcome.checked += 1;
        outcome.lost += u64::from(head.sequence < acknowledged);
        // One more may have been stored whose answer was cut off.
        outcome.held &= head.sequence <= acknowledged + 1;
        published.store(head.sequence, Ordering::SeqCst);
        for blob in head.blobs() {
            let bytes = host.client.call("GET", &format!("/v1/blobs/{}", hex(&blob.id)), b"")?.ok()?.body;
            ensure!(verify_id(&bytes)? == blob.id, "a blob is another");
        }
        outcome.rounds += 1;
    }
    Ok(outcome)
}
