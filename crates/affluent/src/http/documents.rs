//! `GET /v1/documents/{collection}[/{id}]`: documents as JSON, exact to the last digit.

use super::{Problem, Shared};
use affluent_documents::{Document, DocumentError, DocumentStore, Range, Scan};
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 5_000;

/// How a collection is read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    /// Documents a page, 1 to 5000.
    limit: Option<usize>,
    /// The `next` of the page before.
    after: Option<String>,
    /// First id, inclusive.
    from: Option<String>,
    /// Last id, exclusive.
    to: Option<String>,
}

/// One page of a collection by id: `{"documents": […], "next": …}`.
pub(super) async fn list(
    State(shared): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    paging: Result<Query<Paging>, QueryRejection>,
) -> Result<Json<Value>, Problem> {
    let Path(collection) = path.map_err(|error| Problem::bad_request(error.body_text()))?;
    let Query(paging) = paging.map_err(|error| Problem::bad_request(error.body_text()))?;
    let limit = paging.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("limit = {limit}: give 1 to {LIMIT_MAX}")));
    }
    let range = Range::Ids { from: paging.from, to: paging.to };
    let scan = Scan { range, limit, after: paging.after };
    let page = store(&shared).await?.scan(&collection, &scan).await.map_err(problem)?;
    let documents: Vec<Value> = page.documents.iter().map(to_json).collect();
    Ok(Json(json!({"documents": documents, "next": page.next})))
}

/// One document.
pub(super) async fn one(
    State(shared): State<Shared>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<Value>, Problem> {
    let Path((collection, id)) = path.map_err(|error| Problem::bad_request(error.body_text()))?;
    let found = store(&shared).await?.get(&collection, std::slice::from_ref(&id)).await.map_err(problem)?;
    let document =
        found.first().ok_or_else(|| Problem::not_found(format!("{collection} has no document {id:?}")))?;
    Ok(Json(to_json(document)))
}

pub(super) async fn store(shared: &Shared) -> Result<Arc<dyn DocumentStore>, Problem> {
    shared.platform.documents().await.map_err(|error| Problem::unavailable(format!("{error:#}")))
}

/// The document's fields between its `_id` and its version `_v` (`LSN+ordinal`).
pub(super) fn to_json(document: &Document) -> Value {
    let mut object = Map::new();
    object.insert("_id".to_owned(), document.id.clone().into());
    object.extend(document.fields.iter().map(|(name, value)| (name.clone(), value.to_json())));
    object.insert("_v".to_owned(), document.version.to_string().into());
    Value::Object(object)
}

pub(super) fn problem(error: DocumentError) -> Problem {
    let text = error.to_string();
    match error {
        DocumentError::UnknownCollection(_) => Problem::not_found(text),
        DocumentError::InvalidCursor(_) | DocumentError::UnknownIndex { .. } => Problem::bad_request(text),
        DocumentError::Unavailable(_) => Problem::unavailable(text),
        DocumentError::Refused { .. } | DocumentError::Corrupt { .. } | DocumentError::Config(_) => {
            Problem::internal(text)
        }
    }
}
