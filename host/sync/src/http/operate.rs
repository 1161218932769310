//! Health, readiness, metrics; and a line and some counts for every request.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::{ApiError, ErrorBody};
use super::{App, REQUEST_ID};

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", tag = "operate", responses((status = 200, description = "It lives", body = String)))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether requests should be sent here.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operate",
    responses(
        (status = 200, description = "Send them", body = String),
        (status = 503, description = "It is starting or ending", body = ErrorBody)
    )
)]
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, ApiError> {
    if *app.ending.borrow() {
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "ending", "the host is shutting down"));
    }
    if !app.ready.load(Ordering::SeqCst) {
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "starting", "the host is starting").retry_after(1));
    }
    Ok("ready\n")
}

/// Figures, in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operate", responses((status = 200, description = "Figures", body = String)))]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    if let Some(published) = app.channels.head(&app.config.users.channel) {
        let paced = |budget: &str| app.offers.as_ref().and_then(|offers| offers.paced(budget));
        let prices = published.head.prices.iter();
        app.metrics.set_prices(prices.map(|price| {
            (price.budget.as_str(), price.price_micros, paced(&price.budget).map(|paced| paced.price_micros))
        }));
    }
    let text =
        app.metrics.text(&app.users.stats(), &app.channels.stats(), app.followers.load(Ordering::Relaxed) as u64);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Counts and logs a request. No token, id of a user or body is ever logged: the route stands for the path.
pub(super) async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_else(|| "unknown".to_owned());
    let method = request.method().clone();
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
    let response = next.run(request).await;
    let (status, took) = (response.status().as_u16(), started.elapsed());
    app.metrics.request(&route, method.as_str(), status, took);
    let micros = took.as_micros() as u64;
    match status {
        500.. => tracing::warn!(%method, route, status, micros, id, "request"),
        _ => tracing::debug!(%method, route, status, micros, id, "request"),
    }
    response
}
