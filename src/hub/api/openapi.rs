//! The OpenAPI 3.1 description of the hub's API, written by hand in `openapi.json`. The test below compares its routes with
//! the served ones; `tests/openapi.rs` checks a running hub against its schemas.

use crate::http::Exchange;
use crate::hub::api::embedded::{Embedded, embedded};
use crate::hub::context::HubContext;
use crate::hub::handler::{HandlerResult, PathParams};

static DOCUMENT: Embedded = embedded!("openapi.json", "application/json; charset=utf-8");

/// The description of every hub's API: an OpenAPI 3.1 document in JSON, as served at `GET /openapi.json`.
pub fn openapi() -> &'static str {
    DOCUMENT.text()
}

/// `GET /openapi.json`.
pub fn document(_: &HubContext, exchange: &mut Exchange<'_>, _: &PathParams) -> HandlerResult {
    Ok(DOCUMENT.send(exchange, &[]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::hub::api::routes;

    const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

    fn document() -> Value {
        serde_json::from_str(openapi()).expect("valid JSON")
    }

    /// `/v1/rooms/{code}` and `/v1/rooms/{}` are the same path.
    fn nameless(path: &str) -> String {
        let parts = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
        parts.collect::<Vec<_>>().join("/")
    }

    #[test]
    fn the_document_describes_exactly_the_served_routes() {
        let document = document();
        let paths = document["paths"].as_object().unwrap().iter();
        let described: BTreeSet<(String, String)> = paths
            .flat_map(|(path, item)| {
                let methods = item.as_object().unwrap().keys().filter(|key| METHODS.contains(&key.as_str()));
                methods.map(|method| (nameless(path), method.to_ascii_uppercase())).collect::<Vec<_>>()
            })
            .collect();
        let served: BTreeSet<(String, String)> =
            routes::all().map(|(method, path)| (path, method.to_owned())).collect();
        assert_eq!(described, served);
    }

    #[test]
    fn the_document_has_this_version_and_unique_operation_ids() {
        let document = document();
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
        let items = document["paths"].as_object().unwrap().values().filter_map(Value::as_object);
        let operations: Vec<&Value> =
            items.flat_map(|item| METHODS.into_iter().filter_map(|method| item.get(method))).collect();
        let names: BTreeSet<&str> = operations.iter().filter_map(|o| o["operationId"].as_str()).collect();
        assert_eq!(names.len(), operations.len());
    }
}
