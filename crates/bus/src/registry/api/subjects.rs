//! Subjects and their versions: listing, registering, finding, deleting.

use super::{Answer, Failure, Parameter, Shared, answer, find, formatted, plain, requested, version_number};
use crate::registry::state::{Refusal, SubjectVersion};
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

pub(super) async fn list(State(registry): Shared, Query(parameters): Parameter) -> Response {
    registry.read(|state| {
        let prefix = parameters.text("subjectPrefix").unwrap_or_default();
        let subjects = state.subjects(parameters.show());
        let subjects = subjects.into_iter().filter(|subject| subject.starts_with(prefix)).collect();
        answer(&parameters.page(subjects))
    })
}

pub(super) async fn versions(
    State(registry): Shared,
    Path(subject): Path<String>,
    Query(parameters): Parameter,
) -> Answer {
    match registry.read(|state| state.versions(&subject, parameters.show())) {
        versions if versions.is_empty() => Err(Failure::subject(&subject)),
        versions => Ok(answer(&parameters.page(versions))),
    }
}

pub(super) async fn register(
    State(registry): Shared,
    Path(subject): Path<String>,
    Query(parameters): Parameter,
    body: Bytes,
) -> Answer {
    let candidate = requested(&registry, &body, &parameters)?;
    match registry.register(&subject, &candidate).await? {
        Ok(id) => Ok(answer(&json!({"id": id}))),
        Err(violations) => Err(Failure::new(
            StatusCode::CONFLICT,
            409,
            format!(
                "Schema being registered is incompatible with an earlier schema for subject \"{subject}\": {}",
                violations.join("; ")
            ),
        )),
    }
}

pub(super) async fn lookup(
    State(registry): Shared,
    Path(subject): Path<String>,
    Query(parameters): Parameter,
    body: Bytes,
) -> Answer {
    let show = parameters.show();
    if registry.read(|state| state.versions(&subject, show)).is_empty() {
        return Err(Failure::subject(&subject));
    }
    let candidate = requested(&registry, &body, &parameters)?;
    registry.read(|state| {
        let found = state.lookup(&subject, &candidate.identity, show).ok_or_else(Failure::schema)?;
        let schema = formatted(state, found.schema.clone(), &parameters)?;
        Ok(answer(&SubjectVersion { schema, ..found }))
    })
}

pub(super) async fn version(
    State(registry): Shared,
    Path((subject, version)): Path<(String, String)>,
    Query(parameters): Parameter,
) -> Answer {
    registry.read(|state| {
        let found = find(state, &subject, &version, parameters.show())?;
        let schema = formatted(state, found.schema.clone(), &parameters)?;
        Ok(answer(&SubjectVersion { schema, ..found }))
    })
}

pub(super) async fn version_schema(
    State(registry): Shared,
    Path((subject, version)): Path<(String, String)>,
    Query(parameters): Parameter,
) -> Answer {
    registry.read(|state| {
        let found = find(state, &subject, &version, parameters.show())?;
        formatted(state, found.schema, &parameters).map(|schema| plain(&schema.text))
    })
}

pub(super) async fn referenced_by(
    State(registry): Shared,
    Path((subject, version)): Path<(String, String)>,
    Query(parameters): Parameter,
) -> Answer {
    registry.read(|state| {
        let found = find(state, &subject, &version, parameters.show())?;
        Ok(answer(&parameters.page(state.referenced_by(&subject, found.version))))
    })
}

/// Answers with the versions that were deleted.
pub(super) async fn delete(
    State(registry): Shared,
    Path(subject): Path<String>,
    Query(parameters): Parameter,
) -> Answer {
    let permanent = parameters.flag("permanent");
    let versions = registry
        .change(|state| state.delete_subject(&subject, permanent))
        .await?
        .map_err(|refusal| Failure::refusal(refusal, &subject, ""))?;
    tracing::info!(subject, permanent, "subject deleted");
    Ok(answer(&versions))
}

/// Answers with the version that was deleted.
pub(super) async fn delete_version(
    State(registry): Shared,
    Path((subject, version)): Path<(String, String)>,
    Query(parameters): Parameter,
) -> Answer {
    let (permanent, number) = (parameters.flag("permanent"), version_number(&version)?);
    let deleted = registry
        .change(|state| {
            let latest = || state.versions(&subject, super::Show::Live).last().copied();
            let number = number.or_else(latest).ok_or(Refusal::NoSubject)?;
            Ok((number, state.delete_version(&subject, number, permanent)?))
        })
        .await?
        .map_err(|refusal| Failure::refusal(refusal, &subject, &version))?;
    tracing::info!(subject, version = deleted, permanent, "version deleted");
    Ok(answer(&deleted))
}
