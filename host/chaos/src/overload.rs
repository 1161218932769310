//! More than the host can do.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use selvedge_sync::users::Incoming;

use crate::host::{Site, now_ms};
use crate::report::Outcome;
use crate::shop;

const CLIENTS: u32 = 32;
const LASTS: Duration = Duration::from_secs(2);
/// What the host may take: the program, its caches, and what is in flight.
const MOST_KB: u64 = 512 * 1024;

pub(crate) fn run(rounds: u32, seed: u64) -> Result<Vec<Outcome>> {
    let fault = "overload: 32 clients, batches of 1,000, 4 MiB for states";
    let promise = "200, 429 or 503 is answered, memory stays below 512 MiB, nothing acknowledged is lost";
    let mut outcome = Outcome::new(fault, promise);
    let directory = tempfile::tempdir()?;
    let site = Site::new(directory.path(), "cache_mb = 4")?;
    let host = site.start()?;
    host.client.deploy(&shop::bundle(1)?)?;
    for round in 0..rounds.min(10) {
        let (last, refused) = (Mutex::new(Vec::new()), AtomicU64::new(0));
        let held = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let (to, last, refused) = (host.client.clone(), &last, &refused);
                    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ u64::from(round) << 20 ^ u64::from(client));
                    scope.spawn(move || -> Result<bool> {
                        let started = Instant::now();
                        let mut mine: Vec<Incoming> = Vec::new();
                        for batch in 0.. {
                            if started.elapsed() > LASTS {
                                break;
                            }
                            let id = |event: u32| format!("{round}-{client}-{batch}-{event}");
                            let events: Vec<Incoming> =
                                (0..1000).map(|event| shop::event(&mut rng, id(event), 1_000_000, now_ms())).collect();
                            match to.send(&events)?.status {
                                200 => mine = events,
                                429 | 503 => {
                                    refused.fetch_add(1, Ordering::Relaxed);
                                }
                                _ => return Ok(false),
                            }
                        }
                        if let Ok(mut last) = last.lock() {
                            last.extend(mine);
                        }
                        Ok(true)
                    })
                })
                .collect();
            clients.into_iter().all(|client| matches!(client.join(), Ok(Ok(true))))
        });
        let last = last.into_inner().unwrap_or_default();
        outcome.held &= held && host.memory_kb()? < MOST_KB;
        outcome.checked += last.len() as u64;
        // What was refused for being too much is asked again until there is room.
        for batch in last.chunks(500) {
            let mut answer = host.client.send(batch)?;
            for _ in 0..1000 {
                if answer.status == 200 {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
                answer = host.client.send(batch)?;
            }
            outcome.lost += answer.ok()?.json()?["accepted"].as_u64().unwrap_or(u64::MAX);
        }
        outcome.rounds += 1;
    }
    Ok(vec![outcome])
}
