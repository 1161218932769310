//! How much is done at once.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::error::ApiError;

/// Refuses what is too much at once, and gives up what takes too long. Followers that wait for news, and whoever asks
/// whether the host is well, are not counted here.
pub(super) async fn bounded(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let waits = path.ends_with("/head") && request.method() == axum::http::Method::GET;
    if waits || matches!(path, "/healthz" | "/readyz" | "/metrics") {
        return next.run(request).await;
    }
    let Ok(_permit) = Arc::clone(&app.in_flight).try_acquire_owned() else {
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "too much is asked at once")
            .retry_after(1)
            .into_response();
    };
    let limit = Duration::from_secs(app.config.limits.request_timeout_s);
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "the request took too long")
            .retry_after(1)
            .into_response(),
    }
}
