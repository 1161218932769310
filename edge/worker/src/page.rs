//! Pages that carry the user's state and the bundle's address, so that the browser ranks without a request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join;
use worker::{Context, Env, Request, Response, Result};

use crate::config::Config;
use crate::{Asked, isolate, origin};

/// Answers a GET for a page. The script stands at the end of the head; a page without one, or that is too large, goes
/// out as it is.
pub(crate) async fn answer(request: Request, env: &Env, context: &Context, config: &Config) -> Result<Response> {
    let asked = Asked::of(&request, env, config);
    let (answer, state) = join(origin::fetch(config, request), asked.state(env, config)).await;
    let mut answer = answer?;
    let content_type = answer.headers().get("content-type")?.unwrap_or_default();
    if answer.status_code() != 200 || !content_type.to_ascii_lowercase().contains("text/html") {
        return Ok(answer);
    }
    let untouched = answer.cloned()?;
    let body = origin::within(config.limits.origin_ms, origin::read(&mut answer, config.limits.body_bytes)).await;
    let outcome = match body {
        None => Err("origin-slow"),
        Some(Err(reason)) => Err(reason),
        Some(Ok(body)) => match crate::ready(env, context, config).await {
            Ok(()) => with_script(body, asked.user.as_deref().unwrap_or_default(), &state.unwrap_or_default()),
            Err(reason) => Err(reason),
        },
    };
    match outcome {
        Ok(page) => {
            let response = origin::replace(&untouched, page, &config.cache_control)?;
            response.headers().set(origin::STATUS, "inlined")?;
            Ok(response)
        }
        Err(reason) => origin::fall_back(untouched, reason),
    }
}

fn with_script(body: Vec<u8>, user: &str, state: &[u8]) -> std::result::Result<String, &'static str> {
    let page = String::from_utf8(body).map_err(|_| "invalid-utf-8")?;
    let end = page.find("</head>").ok_or("no-head")?;
    let (bundle, shared) = isolate::with(|isolate| isolate.for_user(user, |isolate| isolate.ids()));
    let script = script(bundle, shared, state);
    Ok(format!("{}{script}{}", &page[..end], &page[end..]))
}

/// Ids are hexadecimal and states base64: nothing in it can end the script.
fn script(bundle: Option<String>, shared: Option<String>, state: &[u8]) -> String {
    let address = |id: String| format!("/v1/bundles/{id}");
    let inlined = serde_json::json!({
        "bundle": bundle.map(address),
        "shared": shared.map(address),
        "state": (!state.is_empty()).then(|| STANDARD.encode(state)),
    });
    format!("<script type=\"application/json\" id=\"selvedge-state\">{inlined}</script>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_says_where_the_bundle_is_and_holds_the_state() {
        assert_eq!(
            script(Some("ab".to_owned()), None, b"\xff\xfe"),
            "<script type=\"application/json\" id=\"selvedge-state\">{\"bundle\":\"/v1/bundles/ab\",\"shared\":null,\"state\":\"//4=\"}</script>"
        );
    }
}
