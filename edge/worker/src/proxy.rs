//! Proxy mode: the origin's feed, its array in the user's order.

use futures_util::future::join;
use worker::{Context, Date, Env, Request, Response, Result};

use crate::config::{Config, Feed};
use crate::rank::{Asker, Ranked, Reason};
use crate::splice::{Items, Unfit};
use crate::{Asked, isolate, journal, origin, rank, record};

/// Most items of a feed; the engine ranks as many.
const MAX_ITEMS: usize = 2_000;

/// Answers a GET for a feed. Whatever goes wrong, the shopper gets the origin's answer.
pub(crate) async fn answer(
    request: Request,
    env: &Env,
    context: &Context,
    config: &Config,
    feed: &Feed,
) -> Result<Response> {
    let began = Date::now().as_millis();
    let asked = Asked::of(&request, env, config);
    let (answer, state) = join(origin::fetch(config, request), asked.state(env, config)).await;
    let mut answer = answer?;
    if answer.status_code() != 200 || answer.headers().has("content-range")? {
        return Ok(answer);
    }
    let content_type = answer.headers().get("content-type")?.unwrap_or_default();
    if !content_type.to_ascii_lowercase().contains("json") {
        return origin::fall_back(answer, "not-json");
    }
    let spent = Date::now().as_millis().saturating_sub(began);
    let Some(left) = config.limits.origin_ms.checked_sub(spent).filter(|left| *left > 0) else {
        return origin::fall_back(answer, "origin-slow");
    };
    // What is read to be reranked is kept for the shopper as well, in case it cannot be.
    let untouched = answer.cloned()?;
    let body = origin::within(left, origin::read(&mut answer, config.limits.body_bytes)).await;
    let outcome = match (body, state) {
        (None, _) => Err("origin-slow"),
        (Some(Err(reason)), _) | (Some(Ok(_)), Err(reason)) => Err(reason),
        (Some(Ok(body)), Ok(state)) => {
            crate::ready(env, context, config).await.and_then(|()| rerank(feed, &body, &asked, &state))
        }
    };
    match outcome {
        Ok((body, ranked)) => {
            let response = origin::replace(&untouched, body, &config.cache_control)?;
            response.headers().set(origin::STATUS, &origin::personalized(ranked.degraded))?;
            response.headers().set(origin::REQUEST_ID, &isolate::hexadecimal(&asked.request_id))?;
            let wait_until = |write| context.wait_until(write);
            journal::append(env, wait_until, config.log, |share| record::decision(&ranked, share));
            Ok(response)
        }
        Err(reason) => origin::fall_back(untouched, reason),
    }
}

fn rerank(feed: &Feed, body: &[u8], asked: &Asked, state: &[u8]) -> std::result::Result<(String, Ranked), Reason> {
    let document = std::str::from_utf8(body).map_err(|_| "invalid-utf-8")?;
    let items = Items::find(document, &feed.items, MAX_ITEMS).map_err(|unfit| match unfit {
        Unfit::Malformed => "malformed-json",
        Unfit::TooManyItems => "too-many-items",
    })?;
    let user = asked.user.as_deref().unwrap_or_default();
    let asker = Asker { user, request_id: asked.request_id, time_ms: asked.time_ms, state, query: &asked.query };
    let ranked = rank::items(feed, items.iter(), &asker)?;
    Ok((items.reordered(&ranked.slate), ranked))
}
