//! The host over HTTP. One file per resource; the OpenAPI document is made from the same handlers.

mod access;
mod channels;
mod cors;
mod error;
mod limits;
mod offers;
mod operate;
#[cfg(test)]
mod tests;
mod users;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::{from_fn, from_fn_with_state};
use tokio::sync::{Semaphore, watch};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::timeout::RequestBodyTimeoutLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::channel::Channels;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::users::Users;
pub(crate) use users::ITEMS;

use access::Access;

/// Content type of a head.
pub const HEAD_TYPE: &str = "application/vnd.selvedge.head";
/// Content type of a delta.
pub const DELTA_TYPE: &str = "application/vnd.selvedge.delta";
/// Content type of a bundle or shared state.
pub const CONTAINER_TYPE: &str = "application/vnd.selvedge.container";
/// Content type of a user's state.
pub const STATE_TYPE: &str = "application/vnd.selvedge.user-state";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What handlers share.
pub(crate) struct App {
    pub(crate) channels: Channels,
    pub(crate) users: Arc<Users>,
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    access: Access,
    in_flight: Arc<Semaphore>,
    followers: AtomicUsize,
    pub(crate) ready: AtomicBool,
    /// True once the host is ending: long polls and event streams end then.
    pub(crate) ending: watch::Receiver<bool>,
    /// Wakes whoever refreshes the shared state: items have changed.
    pub(crate) refresh: tokio::sync::Notify,
    pub(crate) store: Arc<dyn crate::store::Store>,
    pub(crate) offers: Option<Arc<crate::offers::Offers>>,
}

impl App {
    pub(crate) fn new(
        config: Config,
        channels: Channels,
        users: Arc<Users>,
        store: Arc<dyn crate::store::Store>,
        offers: Option<Arc<crate::offers::Offers>>,
        ending: watch::Receiver<bool>,
    ) -> Self {
        Self {
            access: Access::new(&config.tokens),
            in_flight: Arc::new(Semaphore::new(config.limits.in_flight)),
            followers: AtomicUsize::new(0),
            ready: AtomicBool::new(false),
            metrics: Metrics::new(),
            refresh: tokio::sync::Notify::new(),
            channels,
            users,
            config,
            store,
            offers,
            ending,
        }
    }

    pub(crate) fn now_ms() -> i64 {
        jiff::Timestamp::now().as_millisecond()
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Selvedge host", description = "Channels of bundles, users' states, shared state."),
    modifiers(&Bearer),
    tags(
        (name = "channels", description = "Signed heads and immutable blobs: public, for every edge"),
        (name = "users", description = "Events, states, rights of users"),
        (name = "offers", description = "Budgets, leases, offers, redemption"),
        (name = "operate", description = "Health, metrics")
    )
)]
struct Document;

struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        document.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

/// Routes that every page and every edge may read.
fn public() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(channels::get_head))
        .routes(routes!(channels::get_blob, channels::head_blob))
}

/// Routes that want a token.
fn private() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(channels::put_head))
        .routes(routes!(channels::list))
        .routes(routes!(channels::history))
        .routes(routes!(channels::put_blob))
        .routes(routes!(users::post_events))
        .routes(routes!(users::get_state, users::put_state))
        .routes(routes!(users::merge))
        .routes(routes!(users::export))
        .routes(routes!(users::erase))
        .routes(routes!(users::put_items))
        .routes(routes!(offers::get_budgets))
        .routes(routes!(offers::put_budget))
        .routes(routes!(offers::post_lease))
        .routes(routes!(offers::post_report))
        .routes(routes!(offers::post_offer))
        .routes(routes!(offers::post_redeem))
}

fn operation() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(operate::healthz))
        .routes(routes!(operate::readyz))
        .routes(routes!(operate::metrics))
}

/// The OpenAPI document.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    public().merge(private()).merge(operation()).split_for_parts().1
}

/// All routes, with everything around them.
pub(crate) fn router(app: Arc<App>) -> Router {
    let limits = &app.config.limits;
    let origins = app.config.origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    let from_origins = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, header::IF_NONE_MATCH])
        .expose_headers([header::ETAG, header::RETRY_AFTER])
        .max_age(Duration::from_secs(3600));
    let (public, _) = public().split_for_parts();
    let (private, _) = private().split_for_parts();
    let (operation, _) = operation().split_for_parts();
    let document = Router::new().route("/openapi.json", axum::routing::get(|| async { axum::Json(openapi()) }));
    public
        .merge(private)
        .merge(operation)
        .merge(document)
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::not_allowed)
        .layer(from_fn_with_state(Arc::clone(&app), limits::bounded))
        .layer(from_origins)
        .layer(from_fn(cors::for_every_page))
        .layer(RequestBodyTimeoutLayer::new(Duration::from_secs(limits.request_timeout_s)))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn_with_state(Arc::clone(&app), operate::observe))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .with_state(app)
}
