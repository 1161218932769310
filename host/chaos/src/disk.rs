//! A disk that forgets what was not synced, and one that is full.

use std::sync::Arc;

use anyhow::Result;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use selvedge_sync::store::RedbStore;
use selvedge_sync::store::fault::FaultyDisk;
use selvedge_sync::users::{Deployed, Incoming, Users, UsersOptions};
use tokio::runtime::Runtime;

use crate::host::now_ms;
use crate::report::Outcome;
use crate::shop;

const USERS: u32 = 200;
const BATCH: usize = 20;
const BATCHES: usize = 40;

pub(crate) fn run(rounds: u32, seed: u64) -> Result<Vec<Outcome>> {
    let promise = "no acknowledged event is lost, none counts twice";
    let mut cut = Outcome::new("power cut: writes that were not synced are lost", promise);
    let mut full = Outcome::new("the disk is full in the middle of a write", promise);
    for round in 0..rounds {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ u64::from(round) << 8);
        let batches = rng.random_range(1..BATCHES);
        one(&mut cut, &mut rng, batches, u64::MAX)?;
        let room = rng.random_range(0..2_000_000);
        one(&mut full, &mut rng, BATCHES, room)?;
    }
    Ok(vec![cut, full])
}

fn one(outcome: &mut Outcome, rng: &mut ChaCha8Rng, batches: usize, room: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    let disk = FaultyDisk::new();
    let users = open(&disk)?;
    disk.set_room(room);
    let mut acknowledged: Vec<Incoming> = Vec::new();
    for batch in 0..batches {
        let id = |event: usize| format!("{batch}-{event}");
        let events: Vec<Incoming> = (0..BATCH).map(|event| shop::event(rng, id(event), USERS, now_ms())).collect();
        if runtime.block_on(users.ingest(events.clone())).is_ok() {
            acknowledged.extend(events);
        }
    }
    let after = disk.after_power_cut();
    drop(users);
    check(outcome, &runtime, &open(&after)?, &acknowledged, rng)
}

fn open(disk: &FaultyDisk) -> Result<Users> {
    let store = RedbStore::with_backend(disk.clone())?;
    let deployed = Deployed { program: Arc::new(shop::program()?), shared: None };
    // Little memory, so that states are written as well.
    let options = UsersOptions { cache_bytes: 1 << 16, dirty_bytes: 1 << 20, ..UsersOptions::default() };
    Ok(Users::open(Arc::new(store), options, Some(deployed))?)
}

fn check(
    outcome: &mut Outcome,
    runtime: &Runtime,
    users: &Users,
    acknowledged: &[Incoming],
    rng: &mut ChaCha8Rng,
) -> Result<()> {
    for batch in acknowledged.chunks(500) {
        outcome.lost += runtime.block_on(users.ingest(batch.to_vec()))?.accepted;
    }
    outcome.checked += acknowledged.len() as u64;
    let program = shop::program()?;
    for _ in 0..10 {
        let user = format!("user-{}", rng.random_range(0..USERS));
        let events = users.export(&user)?.map(|export| export.events).unwrap_or_default();
        let expected = (!events.is_empty()).then(|| shop::state(&program, &events)).transpose()?;
        outcome.doubled += u64::from(users.state(&user)?.map(|copy| copy.bytes.to_vec()) != expected);
    }
    outcome.rounds += 1;
    Ok(())
}
