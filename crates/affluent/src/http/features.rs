//! `GET /v1/features?entity=customer&key=42`: the newest values of a key, from the online store.

use super::{Problem, Shared, documents};
use affluent_documents::DocumentError;
use affluent_feature_store::online::{self, Served};
use affluent_model::time::format_micros;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whose values.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    entity: String,
    key: String,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeyValues {
    pub(crate) entity: String,
    pub(crate) key: String,
    pub(crate) features: BTreeMap<String, KeyValue>,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeyValue {
    /// Null where the feature has no value.
    pub(crate) value: Option<f64>,
    pub(crate) version: u32,
    pub(crate) freshness: String,
    /// RFC 3339, UTC.
    pub(crate) as_of: String,
    /// False where a window reaches events that were let go.
    pub(crate) is_exact: bool,
}

/// The newest values of a key.
pub(super) async fn get(
    State(shared): State<Shared>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<KeyValues>, Problem> {
    let Query(Asked { entity, key }) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    let store = documents::store(&shared).await?;
    let served = match online::read(store.as_ref(), &entity, &key).await {
        Ok(served) => served,
        // Nothing was ever written.
        Err(DocumentError::UnknownCollection(_)) => Vec::new(),
        Err(error) => return Err(documents::problem(error)),
    };
    if served.is_empty() {
        return Err(Problem::not_found(format!("no features of {entity} {key:?} are stored")));
    }
    let value = |Served { name, version, value, class, as_of, is_exact }| {
        let (freshness, as_of) = (class.as_str().to_owned(), format_micros(as_of, true));
        (name, KeyValue { value, version, freshness, as_of, is_exact })
    };
    Ok(Json(KeyValues { entity, key, features: served.into_iter().map(value).collect() }))
}
