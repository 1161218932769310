//! Clocks that are wrong by an hour, in both directions.

use std::time::Duration;

use anyhow::{Result, ensure};
use selvedge_follow::client::{FollowOptions, Follower, Prepare};
use selvedge_sync::publish::Change;

use crate::host::{CHANNEL, Site, now_ms};
use crate::report::Outcome;
use crate::shop;

/// An hour, less what a round takes.
const SKEW_MS: i64 = 3_590_000;

pub(crate) fn run(rounds: u32, _seed: u64) -> Result<Vec<Outcome>> {
    let fault = "the publisher's clock is off by an hour, both ways";
    let mut outcome = Outcome::new(fault, "heads are believed, by the host and by followers");
    let directory = tempfile::tempdir()?;
    let site = Site::new(directory.path(), "")?;
    let host = site.start()?;
    host.client.deploy(&shop::bundle(0)?)?;
    let options = FollowOptions::new(&host.client.url, CHANNEL, site.keys());
    let prepare: Prepare<()> = Box::new(|_, _| Ok(()));
    let follower = Follower::start(options, prepare, |_| {}).map_err(anyhow::Error::msg)?;
    ensure!(follower.wait_for(1, Duration::from_secs(30)), "the first head is not followed");
    for round in 0..rounds {
        let skew = if round % 2 == 0 { SKEW_MS } else { -SKEW_MS };
        let previous = host.client.head()?;
        let head = host.client.publish(previous.as_ref(), Change::Renew, now_ms() + skew)?;
        outcome.checked += 1;
        outcome.lost += u64::from(!follower.wait_for(head.sequence, Duration::from_secs(30)));
        outcome.held &= follower.status().prices_valid;
        outcome.rounds += 1;
    }
    Ok(vec![outcome])
}
