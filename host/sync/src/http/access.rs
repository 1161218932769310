//! Who may do what: tokens, their scopes, their rates.

use axum::http::{HeaderMap, StatusCode, header};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::error::ApiError;
use crate::config::{Scope, Token};

pub(super) struct Access(Vec<(Token, DefaultDirectRateLimiter)>);

impl Access {
    pub(super) fn new(tokens: &[Token]) -> Self {
        let limited = |token: &Token| {
            let quota = Quota::per_second(token.rate).allow_burst(token.burst);
            (token.clone(), RateLimiter::direct(quota))
        };
        Self(tokens.iter().map(limited).collect())
    }

    /// Whether the request's token opens `scope`, and is not over its rate.
    pub(super) fn check(&self, headers: &HeaderMap, scope: Scope) -> Result<(), ApiError> {
        let header = headers.get(header::AUTHORIZATION).and_then(|header| header.to_str().ok());
        let sent = header.and_then(|header| header.split_once(' '));
        let sent = sent.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        let Some(sent) = sent else {
            return Err(ApiError::new(StatusCode::UNAUTHORIZED, "no-token", "this wants a token")
                .hint("send `Authorization: Bearer TOKEN`"));
        };
        // Hashes are compared, all of them and in constant time: neither a byte of a token nor its place shows.
        let hash: [u8; 32] = Sha256::digest(sent.as_bytes()).into();
        let mut found = None;
        for entry in &self.0 {
            if bool::from(entry.0.sha256.ct_eq(&hash)) {
                found = Some(entry);
            }
        }
        let Some((token, limiter)) = found else {
            return Err(ApiError::new(StatusCode::UNAUTHORIZED, "bad-token", "this token is not known here")
                .hint("its hash must stand in selvedge.toml"));
        };
        if !token.scopes.contains(&scope) {
            let message = format!("token {:?} has not the scope {:?}", token.name, scope.name());
            return Err(ApiError::new(StatusCode::FORBIDDEN, "no-scope", message));
        }
        limiter.check().map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now()).as_secs() as u32 + 1;
            let message = format!("token {:?} is over its rate of {} requests a second", token.name, token.rate);
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate", message).retry_after(wait)
        })
    }
}
