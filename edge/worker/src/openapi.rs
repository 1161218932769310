//! The OpenAPI document of the API, made from the table of its paths and checked in as `openapi.json`.

/// What `/v1/openapi.json` answers.
pub(crate) const DOCUMENT: &str = include_str!("../openapi.json");

/// Paths with one method each: path, method, summary.
pub(crate) const PATHS: [(&str, &str, &str); 6] = [
    ("/v1/rank", "post", "Rank candidates"),
    ("/v1/events", "post", "Count what a user did"),
    ("/v1/offer", "post", "Ask whether the user is made an offer"),
    ("/v1/status", "get", "What is loaded, and what was counted"),
    ("/v1/bundles/{id}", "get", "The bytes of the bundle or shared state in use"),
    ("/v1/openapi.json", "get", "This document"),
];

/// Whether a path is one of them, whatever the method.
pub(crate) fn is_known(path: &str) -> bool {
    PATHS.iter().any(|(known, ..)| known.split_once('{').map_or(*known == path, |(start, _)| path.starts_with(start)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{DECISION_TYPE, REQUEST_TYPE};

    fn reference(name: &str) -> Value {
        json!({ "schema": { "$ref": format!("#/components/schemas/{name}") } })
    }

    fn bytes() -> Value {
        json!({ "schema": { "type": "string", "format": "binary" } })
    }

    fn operation(path: &str, summary: &str) -> Value {
        let error = json!({ "description": "What is wrong, and what to do", "content": { "application/json": reference("Error") } });
        let (takes, gives) = match path {
            "/v1/rank" => (
                Some(json!({ "application/json": reference("RankRequest"), REQUEST_TYPE: bytes() })),
                json!({ "application/json": reference("Decision"), DECISION_TYPE: bytes() }),
            ),
            "/v1/events" => (
                Some(json!({ "application/json": reference("Events") })),
                json!({ "application/json": reference("Applied") }),
            ),
            "/v1/offer" => (
                Some(json!({ "application/json": reference("OfferQuestion") })),
                json!({ "application/json": reference("OfferAnswer") }),
            ),
            "/v1/status" => (None, json!({ "application/json": reference("Status") })),
            "/v1/bundles/{id}" => (None, json!({ "application/octet-stream": bytes() })),
            _ => (None, json!({ "application/json": { "schema": { "type": "object" } } })),
        };
        let mut operation = json!({
            "summary": summary,
            "responses": { "200": { "description": "Done", "content": gives }, "default": error },
        });
        if let Some(takes) = takes {
            operation["requestBody"] = json!({ "required": true, "content": takes });
        }
        if path.contains("{id}") {
            let id = json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" });
            operation["parameters"] = json!([{ "name": "id", "in": "path", "required": true, "schema": id }]);
        }
        operation
    }

    fn document() -> Value {
        let text = json!({ "type": "string" });
        let number = json!({ "type": "number" });
        let integer = json!({ "type": "integer" });
        let nullable_text = json!({ "type": ["string", "null"] });
        let object = |required: &[&str], properties: Value| json!({ "type": "object", "required": required, "properties": properties });
        let list = |items: Value| json!({ "type": "array", "items": items });
        let count = json!({ "type": "integer", "minimum": 0 });
        let closed = |mut object: Value| {
            object["additionalProperties"] = json!(false);
            object
        };
        let mut paths = serde_json::Map::new();
        for (path, method, summary) in PATHS {
            paths.insert(path.to_owned(), json!({ method: operation(path, summary) }));
        }
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Selvedge",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "Personalized ranking at the edge",
                "license": { "name": "MIT OR Apache-2.0" },
            },
            "paths": paths,
            "components": { "schemas": {
                "Error": object(&["error"], json!({ "error": object(&["code", "message"], json!({ "code": text, "message": text })) })),
                "RankRequest": closed(object(&["time", "candidates"], json!({
                    "request_id": nullable_text, "time": { "type": ["string", "integer"] },
                    "utc_offset_min": { "type": "integer", "minimum": -1440, "maximum": 1440 },
                    "slate_size": count, "reasons": count,
                    "user": closed(object(&[], json!({ "fields": { "type": "object" } }))),
                    "state": { "type": ["string", "null"], "contentEncoding": "base64" },
                    "context": { "type": "object" },
                    "candidates": list(object(&["id"], json!({ "id": { "type": "string", "minLength": 1 } }))),
                    "pins": list(closed(object(&["slot"], json!({ "id": text, "candidate": count, "slot": count })))),
                    "exclude": list(text.clone()),
                }))),
                "Decision": object(&["request_id", "status", "candidates", "cost", "slots"], json!({
                    "request_id": text, "status": { "enum": ["personalized", "control", "fallback"] }, "reason": text,
                    "error": text, "bundle_id": text, "shared_state_id": text, "candidates": integer, "cost": integer,
                    "base": number,
                    "slots": list(object(&["id", "candidate", "score", "propensity", "rules", "reasons"], json!({
                        "id": text, "candidate": integer, "score": { "type": ["number", "null"] }, "propensity": number,
                        "rules": list(text.clone()),
                        "reasons": list(object(&["feature", "effect"], json!({ "feature": text, "effect": number }))),
                    }))),
                })),
                "Events": closed(object(&["events"], json!({ "events": { "type": "array", "maxItems": 100, "items":
                    closed(object(&["event", "item"], json!({
                        "id": nullable_text, "event": text, "item": text, "value": number,
                        "time": { "type": ["integer", "null"] },
                        "request_id": { "type": ["string", "null"], "pattern": "^[0-9a-fA-F]{32}$" },
                    }))) } }))),
                "Applied": object(&["applied"], json!({ "applied": integer })),
                "OfferQuestion": closed(object(&[], json!({
                    "user": nullable_text, "device": nullable_text, "campaign": nullable_text,
                    "utc_offset_min": { "type": "integer", "minimum": -1440, "maximum": 1440 },
                    "fields": { "type": "object" }, "context": { "type": "object" }, "preview": { "type": "boolean" },
                }))),
                "OfferAnswer": object(&["status", "repeated"], json!({
                    "campaign": text, "status": { "enum": ["offered", "held-out", "none"] }, "reason": text,
                    "repeated": { "type": "boolean" },
                    "offer": object(&["offer", "terms", "currency", "disclosed", "token", "expires_ms"], json!({
                        "offer": text, "terms": { "type": "object" }, "currency": text,
                        "disclosed": { "type": "boolean" }, "token": nullable_text, "expires_ms": integer,
                    })),
                })),
                "Status": object(&["version", "bundle_id", "shared_state_id", "channel", "refusal", "problems", "counters"], json!({
                    "version": text, "bundle_id": nullable_text, "shared_state_id": nullable_text,
                    "channel": object(&["state", "sequence"], json!({ "state": text, "sequence": integer })),
                    "refusal": nullable_text, "problems": list(text.clone()),
                    "counters": { "type": "object", "additionalProperties": integer },
                })),
            } },
        })
    }

    #[test]
    fn the_document_is_that_of_the_paths() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
        if std::env::var_os("SELVEDGE_BLESS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), text, "write it anew with SELVEDGE_BLESS=1");
    }
}
