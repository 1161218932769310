//! Heads and blobs are for every page. The answer is the same for all of them, so that a cache may keep it: with `*`, and
//! without a `Vary` by origin.

use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Opens what is public to every page. Everything else is left to the configured origins.
pub(super) async fn for_every_page(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_public = path.starts_with("/v1/blobs/") || path.starts_with("/v1/channels/") && path.ends_with("/head");
    let reads = |method: &[u8]| matches!(method, b"GET" | b"HEAD");
    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_METHOD);
    let is_preflight = request.method() == Method::OPTIONS && asked.is_some_and(|method| reads(method.as_bytes()));
    if !is_public || !is_preflight && !reads(request.method().as_str().as_bytes()) {
        return next.run(request).await;
    }
    let mut response = if is_preflight { StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let mut set = |name, value| response.headers_mut().insert(name, HeaderValue::from_static(value));
    set(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(header::ACCESS_CONTROL_EXPOSE_HEADERS, "etag");
    if is_preflight {
        set(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD");
        set(header::ACCESS_CONTROL_ALLOW_HEADERS, "if-none-match, accept");
        set(header::ACCESS_CONTROL_MAX_AGE, "86400");
    }
    response
}
