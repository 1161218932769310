//! The engine as a Cloudflare Worker: a proxy that reranks feeds, and an API.
//!
//! Whatever goes wrong, the shopper gets what the origin said: see `docs/worker.md` for the reasons, which stand in the
//! header `Selvedge-Status`. What is here waits and fetches; the decision itself is `selvedge-engine`.

mod api;
mod budget;
mod bundle;
mod config;
mod decide;
mod head;
mod identity;
mod isolate;
mod journal;
mod member;
mod offer;
mod openapi;
mod origin;
mod page;
mod paths;
mod proxy;
mod rank;
mod record;
mod splice;
mod user;

use wasm_bindgen::prelude::wasm_bindgen;
use worker::{Context, Date, Env, Request, Response, Result, event};

use crate::bundle::Failure;

use crate::config::Config;
use crate::rank::Reason;

#[cfg(target_arch = "wasm32")]
#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = crypto, js_name = getRandomValues)]
    fn random(bytes: &mut [u8]);
}

/// Whether a request is any of our business. What is not goes to the origin without passing through the module.
#[wasm_bindgen]
#[must_use]
pub fn takes(method: &str, address: &str, env: &Env) -> bool {
    let (path, _) = origin::path_and_query(address);
    let is_read = method == "GET";
    path.starts_with(API)
        || is_read && isolate::config(env).map_or(true, |config| config.feed(path).is_some() || config.is_page(path))
}

/// Where the API is.
const API: &str = "/v1/";

#[event(fetch)]
async fn fetch(request: Request, env: Env, context: Context) -> Result<Response> {
    let config = match isolate::config(&env) {
        Ok(config) => config,
        // The shop goes on; the status and the header say what is wrong.
        Err(error) => return unconfigured(request, &error).await,
    };
    let address = request.inner().url();
    let (path, _) = origin::path_and_query(&address);
    if path.starts_with(API) {
        return api::answer(request, &env, &context, &config).await;
    }
    if let Some(feed) = config.feed(path) {
        return proxy::answer(request, &env, &context, &config, feed).await;
    }
    if config.is_page(path) {
        return page::answer(request, &env, &context, &config).await;
    }
    origin::fetch(&config, request).await
}

async fn unconfigured(request: Request, error: &str) -> Result<Response> {
    worker::console_error!("{error}");
    if origin::target(&request.inner().url()).starts_with(API) {
        let body = serde_json::json!({ "error": { "code": "misconfigured", "message": error } });
        return Ok(Response::from_json(&body)?.with_status(503));
    }
    origin::fall_back(worker::Fetch::Request(request).send().await?, "misconfigured")
}

/// Makes sure that there is a bundle: the first requests of an isolate wait for it a while, later ones have it looked
/// after when they are answered. Nobody waits for a bundle of which it is known that it is not to be had.
async fn ready(env: &Env, context: &Context, config: &Config) -> std::result::Result<(), Reason> {
    let is_unknown = isolate::with(|isolate| {
        isolate.engine.snapshot().is_none() && isolate.failure.is_none() && isolate.held.is_none()
    });
    if is_unknown {
        // All who come before it is there fetch it: what is on its way for one may be cancelled with it.
        let _ = bundle::is_stale();
        bundle::refresh_within(env, config, config.limits.bundle_ms).await;
    } else if bundle::is_stale() {
        let (env, config) = (env.clone(), config.clone());
        context.wait_until(async move { bundle::refresh(&env, &config).await });
    }
    isolate::with(|isolate| match (isolate.engine.snapshot(), &isolate.failure) {
        _ if isolate.is_killed() => Err("killed"),
        (Some(_), _) => Ok(()),
        (None, failure) => Err(failure.as_ref().map_or("bundle-missing", Failure::reason)),
    })
}

/// What a request says of itself.
struct Asked {
    request_id: [u8; 16],
    time_ms: i64,
    query: Vec<(String, String)>,
    /// The user's id, if it is to be believed.
    user: Option<String>,
}

impl Asked {
    fn of(request: &Request, env: &Env, config: &Config) -> Self {
        let now = Date::now().as_millis();
        let address = request.inner().url();
        let (path, query) = origin::path_and_query(&address);
        let header = |name: &str| request.headers().get(name).ok().flatten();
        let user = config.user.as_ref().and_then(|user| {
            let trust = user.trust.as_ref()?;
            let shown = user.from.iter().find_map(|place| identity::shown(place, path, header))?;
            let secret = env.secret(trust.secret()).ok()?.to_string();
            identity::trusted(&shown, trust, secret.as_bytes(), now)
        });
        Self {
            request_id: header(origin::REQUEST_ID).and_then(|id| request_id(&id)).unwrap_or_else(|| {
                let mut id = [0; 16];
                random(&mut id);
                id
            }),
            time_ms: now as i64,
            query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            user,
        }
    }

    /// The user's state, in time; that of an unknown user for an id that nothing covers.
    async fn state(&self, env: &Env, config: &Config) -> std::result::Result<Vec<u8>, Reason> {
        let Some(user) = &self.user else { return Ok(Vec::new()) };
        match origin::within(config.limits.state_ms, user::state(env, user)).await {
            Some(Ok(state)) => Ok(state),
            Some(Err(_)) => Err("state-missing"),
            None => Err("state-slow"),
        }
    }
}

/// 32 hexadecimal digits.
fn request_id(text: &str) -> Option<[u8; 16]> {
    let is_id = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)).flatten()
}
