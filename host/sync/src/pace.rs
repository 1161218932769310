//! The prices of budgets in the channel's heads, by a host that has the key: a step at each interval, and a head with other
//! prices when one has moved far enough.
//!
//! How a price moves is the matter of [`offers`](crate::offers). Here is only when, and that nobody is pushed aside: the new head
//! is the one that the step looked at with other prices, under the next sequence. Where somebody published meanwhile, that
//! sequence is taken, the store refuses, and the next step starts from what they said.

use std::sync::Arc;

use selvedge_format::head::{HeadV1, PriceV1};
use tokio::time::MissedTickBehavior;

use crate::config::Prices;
use crate::http::App;
use crate::key::SigningKey;
use crate::offers::Offers;
use crate::publish::{Change, Terms, next};
use crate::serve::{KeepError, blocking, publish, terms};

/// Steps until the host ends.
pub(crate) async fn keep_prices(app: Arc<App>, offers: Arc<Offers>, prices: Prices, key: Arc<SigningKey>) {
    let prices = Arc::new(prices);
    let mut ticks = tokio::time::interval(prices.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        app.metrics.price_step();
        if let Err(error) = step(&app, &offers, &prices, &key).await {
            tracing::error!(%error, "the prices of budgets are not set");
        }
    }
}

async fn step(app: &Arc<App>, offers: &Arc<Offers>, prices: &Arc<Prices>, key: &SigningKey) -> Result<(), KeepError> {
    let channel = &app.config.users.channel;
    let Some(published) = app.channels.head(channel) else { return Ok(()) };
    let changed = {
        let (offers, prices, published) = (Arc::clone(offers), Arc::clone(prices), Arc::clone(&published));
        blocking(move || Ok(offers.step_prices(App::now_ms(), &published.head, &prices)?)).await?
    };
    if changed.is_empty() {
        return Ok(());
    }
    let terms = Terms { prices: Some(with(&published.head, &changed)), ..terms(app) };
    let head = next(channel, Some(&published.head), Change::Renew, &terms, App::now_ms());
    if publish(app, channel, key, head.ok()).await? {
        app.metrics.prices_published(changed.len() as u64);
        let offers = Arc::clone(offers);
        blocking(move || Ok(offers.published_prices(&changed)?)).await?;
    }
    Ok(())
}

/// The head's prices with some of them changed, ascending by name.
fn with(head: &HeadV1, changed: &[PriceV1]) -> Vec<PriceV1> {
    let kept = head.prices.iter().filter(|price| changed.iter().all(|other| other.budget != price.budget));
    let mut prices: Vec<PriceV1> = kept.chain(changed).cloned().collect();
    prices.sort_by(|a, b| a.budget.cmp(&b.budget));
    prices
}
