//! Compatibility levels, and the mode, which is always the same.

use super::{Answer, Failure, Parameter, Shared, answer};
use crate::registry::compatibility::CompatibilityLevel;
use crate::registry::server::Registry;
use crate::registry::state::State as Schemas;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct LevelRequest {
    compatibility: String,
}

pub(super) async fn mode() -> Response {
    answer(&json!({"mode": "READWRITE"}))
}

pub(super) async fn global(State(registry): Shared) -> Response {
    registry.read(|state| answer(&json!({"compatibilityLevel": state.level_set(None)})))
}

pub(super) async fn subject(
    State(registry): Shared,
    Path(subject): Path<String>,
    Query(parameters): Parameter,
) -> Answer {
    let level = registry.read(|state| match state.level_set(Some(&subject)) {
        None if parameters.flag("defaultToGlobal") => Some(state.level(&subject)),
        set => set,
    });
    let missing = || {
        let message = format!("Subject '{subject}' does not have subject-level compatibility configured");
        Failure::new(StatusCode::NOT_FOUND, 40408, message)
    };
    level.map(|level| answer(&json!({"compatibilityLevel": level}))).ok_or_else(missing)
}

pub(super) async fn set_global(State(registry): Shared, body: Bytes) -> Answer {
    set_level(&registry, None, &body).await
}

pub(super) async fn set(State(registry): Shared, Path(subject): Path<String>, body: Bytes) -> Answer {
    set_level(&registry, Some(&subject), &body).await
}

pub(super) async fn delete_global(State(registry): Shared) -> Answer {
    delete_level(&registry, None).await
}

pub(super) async fn delete(State(registry): Shared, Path(subject): Path<String>) -> Answer {
    delete_level(&registry, Some(&subject)).await
}

async fn set_level(registry: &Registry, subject: Option<&str>, body: &[u8]) -> Answer {
    let invalid = |text: &str| {
        Failure::invalid(
            42203,
            format!(
                "Invalid compatibility level {text}. Valid values are NONE, BACKWARD, FORWARD, FULL, and their _TRANSITIVE forms"
            ),
        )
    };
    let request: LevelRequest = serde_json::from_slice(body).map_err(|error| invalid(&error.to_string()))?;
    let name = request.compatibility.to_ascii_uppercase();
    let level: CompatibilityLevel =
        serde_json::from_value(name.as_str().into()).map_err(|_| invalid(&request.compatibility))?;
    let decide = |_: &Schemas| Ok::<_, Failure>(((), vec![Schemas::set_level(subject, level)]));
    registry.change(decide).await??;
    Ok(answer(&json!({"compatibility": level})))
}

/// Answers with the level that was.
async fn delete_level(registry: &Registry, subject: Option<&str>) -> Answer {
    let decide = |state: &Schemas| match (state.level_set(subject), state.delete_level(subject)) {
        (Some(level), Some(record)) => Ok((level, vec![record])),
        _ => Err(Failure::subject(subject.unwrap_or_default())),
    };
    let level = registry.change(decide).await??;
    Ok(answer(&json!({"compatibilityLevel": level})))
}
