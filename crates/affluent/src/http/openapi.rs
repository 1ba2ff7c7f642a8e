//! `GET /openapi.json`: what the interface is, for machines. The description is kept by hand beside the handlers; a test holds it against the routes,
//! and `tests/it/score_fuzz` the handlers against it.

use super::Problem;
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::Value;

const DESCRIPTION: &str = include_str!("openapi.json");

/// The description, with the version of this binary.
pub(super) async fn show() -> Result<impl IntoResponse, Problem> {
    let description = description().map_err(|error| Problem::internal(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], description.to_string()))
}

fn description() -> Result<Value, serde_json::Error> {
    let mut description: Value = serde_json::from_str(DESCRIPTION)?;
    description["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    Ok(description)
}

#[cfg(test)]
mod tests {
    use super::super::{Access, routes};
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn it_describes_the_routes_and_whose_they_are() {
        let description = description().unwrap();
        let mut described: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for (path, methods) in description["paths"].as_object().unwrap() {
            for operation in methods.as_object().unwrap().values() {
                let text = operation["description"].as_str().unwrap_or_default();
                let roles = text.trim_start_matches("Roles: ").trim_end_matches('.').split(", ");
                let roles = roles.filter(|role| !role.is_empty()).map(str::to_owned).collect();
                described.insert(path, roles);
            }
        }
        // The collector's own.
        for path in ["/collect/events", "/collect/logs", "/v1/logs"] {
            assert_eq!(described.remove(path), Some(BTreeSet::new()), "{path}");
        }
        let name = |role: &Access| role.as_str().to_owned();
        let served: BTreeMap<&str, BTreeSet<String>> =
            routes().iter().map(|route| (route.path, route.roles.iter().map(name).collect())).collect();
        assert_eq!(described, served);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn check(value: &Value, whole: &Value) {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(to)) = fields.get("$ref") {
                        assert!(whole.pointer(to.trim_start_matches('#')).is_some(), "{to}");
                    }
                    fields.values().for_each(|value| check(value, whole));
                }
                Value::Array(values) => values.iter().for_each(|value| check(value, whole)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        let whole = description().unwrap();
        check(&whole, &whole);
    }
}
