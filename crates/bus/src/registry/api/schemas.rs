//! Schemas by their ids.

use super::{Answer, Failure, Parameter, Shared, answer, find, formatted, plain};
use axum::extract::{Path, Query, State};
use serde::Serialize;
use serde_json::{Value as Json, json};

/// All versions of all subjects, or with `latestOnly` one of each.
pub(super) async fn list(State(registry): Shared, Query(parameters): Parameter) -> Answer {
    registry.read(|state| {
        let (show, prefix) = (parameters.show(), parameters.text("subjectPrefix").unwrap_or_default());
        let mut found = Vec::new();
        for subject in state.subjects(show).into_iter().filter(|subject| subject.starts_with(prefix)) {
            let mut versions = state.versions(subject, show);
            if parameters.flag("latestOnly") {
                versions = versions.pop().into_iter().collect();
            }
            for version in versions {
                found.push(find(state, subject, &version.to_string(), show)?);
            }
        }
        Ok(answer(&parameters.page(found)))
    })
}

#[derive(Serialize)]
struct ById {
    #[serde(flatten)]
    schema: crate::registry::Schema,
    #[serde(rename = "maxId", skip_serializing_if = "Option::is_none")]
    max_id: Option<u32>,
}

pub(super) async fn schema(
    State(registry): Shared,
    Path(id): Path<u32>,
    Query(parameters): Parameter,
) -> Answer {
    registry.read(|state| {
        let schema = state.schema(id).ok_or_else(Failure::schema)?;
        let schema = formatted(state, schema.as_ref().clone(), &parameters)?;
        let max_id = parameters.flag("fetchMaxId").then(|| state.last_id());
        Ok(answer(&ById { schema, max_id }))
    })
}

pub(super) async fn text(
    State(registry): Shared,
    Path(id): Path<u32>,
    Query(parameters): Parameter,
) -> Answer {
    registry.read(|state| {
        let schema = state.schema(id).ok_or_else(Failure::schema)?;
        formatted(state, schema.as_ref().clone(), &parameters).map(|schema| plain(&schema.text))
    })
}

pub(super) async fn versions(
    State(registry): Shared,
    Path(id): Path<u32>,
    Query(parameters): Parameter,
) -> Answer {
    registry.read(|state| {
        state.schema(id).ok_or_else(Failure::schema)?;
        let only = parameters.text("subject");
        let uses = state.uses(id, parameters.show());
        let uses: Vec<Json> = uses
            .iter()
            .filter(|(subject, _)| only.is_none_or(|only| only == *subject))
            .map(|(subject, version)| json!({"subject": subject, "version": version}))
            .collect();
        Ok(answer(&parameters.page(uses)))
    })
}

pub(super) async fn subjects(
    State(registry): Shared,
    Path(id): Path<u32>,
    Query(parameters): Parameter,
) -> Answer {
    registry.read(|state| {
        state.schema(id).ok_or_else(Failure::schema)?;
        let only = parameters.text("subject");
        let uses = state.uses(id, parameters.show());
        let mut subjects: Vec<&str> = uses.into_iter().map(|(subject, _)| subject).collect();
        subjects.dedup();
        subjects.retain(|subject| only.is_none_or(|only| only == *subject));
        Ok(answer(&parameters.page(subjects)))
    })
}
