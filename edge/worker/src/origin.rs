//! The origin: asked once, its answer passed on or read within limits.

use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::{StreamExt as _, pin_mut};
use wasm_bindgen::JsCast as _;
use worker::worker_sys::web_sys;
use worker::{Delay, Fetch, Headers, Request, Response, Result};

use crate::config::Config;
use crate::isolate;
use crate::rank::Reason;

/// The header that says what became of a request.
pub(crate) const STATUS: &str = "Selvedge-Status";
/// The header with the request's id, sent and received.
pub(crate) const REQUEST_ID: &str = "Selvedge-Request-Id";

/// What no longer holds of a body in another order, and what would let a cache keep it for others (RFC 9213).
const OF_THE_BODY: [&str; 12] = [
    "etag",
    "content-md5",
    "digest",
    "content-digest",
    "repr-digest",
    "content-encoding",
    "content-length",
    "transfer-encoding",
    "expires",
    "cdn-cache-control",
    "cloudflare-cdn-cache-control",
    "surrogate-control",
];

/// Path and query of an absolute address. The platform has parsed and normalised it: to do so again would cost a tenth of
/// the module.
pub(crate) fn target(address: &str) -> &str {
    let after_scheme = address.find("://").map_or(0, |at| at + 3);
    let path = address[after_scheme..].find('/').map_or(address.len(), |at| after_scheme + at);
    address[path..].split('#').next().unwrap_or_default()
}

/// Path, and query without the question mark.
pub(crate) fn path_and_query(address: &str) -> (&str, &str) {
    let target = target(address);
    target.split_once('?').unwrap_or((target, ""))
}

/// Sends the request on. An origin that cannot be reached is answered for: the request is not sent twice.
pub(crate) async fn fetch(config: &Config, request: Request) -> Result<Response> {
    let request = match &config.origin {
        None => request,
        Some(origin) => {
            let address = format!("{}{}", origin.trim_end_matches('/'), target(&request.inner().url()));
            // Method, headers and body of the one are the settings of the other.
            web_sys::Request::new_with_str_and_init(&address, request.inner().unchecked_ref())?.into()
        }
    };
    match Fetch::Request(request).send().await {
        Ok(answer) => Ok(answer),
        Err(error) => {
            worker::console_error!("the origin cannot be reached: {error}");
            pass(Response::empty()?.with_status(502), "fallback; reason=\"origin-unreachable\"")
        }
    }
}

/// A request that posts a document to this address and to no other: it may carry a token. Made without `worker::RequestInit`,
/// which brings 3 KB about pictures, mail and caches along.
pub(crate) fn post(address: &str, document: &str) -> Result<Request> {
    let init = web_sys::RequestInit::new();
    init.set_method("POST");
    init.set_body(&document.into());
    init.set_redirect(web_sys::RequestRedirect::Manual);
    Ok(web_sys::Request::new_with_str_and_init(address, &init)?.into())
}

/// Waits at most so long.
pub(crate) async fn within<T>(ms: u64, future: impl Future<Output = T>) -> Option<T> {
    let delay = Delay::from(Duration::from_millis(ms));
    pin_mut!(future, delay);
    match select(future, delay).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

/// The answer as it is, with a word on what became of it.
pub(crate) fn pass(response: Response, status: &str) -> Result<Response> {
    let headers = own_headers(&response)?;
    headers.set(STATUS, status)?;
    Ok(response.with_headers(headers))
}

/// What the header says of a personalized order, perhaps without the last stages of a cascade.
pub(crate) fn personalized(degraded: Option<Reason>) -> String {
    degraded.map_or_else(|| "personalized".to_owned(), |reason| format!("personalized; reason=\"{reason}\""))
}

/// The answer as it is, and why it is not another.
pub(crate) fn fall_back(response: Response, reason: Reason) -> Result<Response> {
    isolate::with(|isolate| isolate.counters.fallbacks += 1);
    pass(response, &format!("fallback; reason=\"{reason}\""))
}

/// The answer with another body.
pub(crate) fn replace(response: &Response, body: String, cache_control: &str) -> Result<Response> {
    let headers = own_headers(response)?;
    for name in OF_THE_BODY {
        headers.delete(name)?;
    }
    headers.set("cache-control", cache_control)?;
    headers.set("content-length", &body.len().to_string())?;
    Ok(Response::from_bytes(body.into_bytes())?.with_headers(headers))
}

/// Headers that can be changed: those of an answer from outside cannot.
fn own_headers(response: &Response) -> Result<Headers> {
    Ok(Headers(web_sys::Headers::new_with_headers(&response.headers().0)?))
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// Why it was not read to its end.
pub(crate) async fn read(response: &mut Response, limit: usize) -> std::result::Result<Vec<u8>, &'static str> {
    let length = response.headers().get("content-length").ok().flatten();
    if length.and_then(|length| length.parse().ok()).is_some_and(|length: usize| length > limit) {
        return Err("body-too-large");
    }
    let mut stream = response.stream().map_err(|_| "origin-body")?;
    let mut body = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| "origin-body")?;
        if body.len() + chunk.len() > limit {
            return Err("body-too-large");
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_path_and_a_query() {
        assert_eq!(path_and_query("https://shop.example/a/b?q=1&r=?#x"), ("/a/b", "q=1&r=?"));
        assert_eq!(path_and_query("https://shop.example/"), ("/", ""));
        assert_eq!(path_and_query("https://shop.example"), ("", ""));
    }
}
