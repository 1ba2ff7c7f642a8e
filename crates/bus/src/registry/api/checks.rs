//! Whether a schema could be registered.

use super::{Answer, Failure, Parameter, Parameters, Shared, answer, find, requested, version_number};
use crate::registry::state::Show;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde_json::json;

fn checked(violations: &[String], parameters: &Parameters) -> Response {
    let is_compatible = violations.is_empty();
    answer(&if parameters.flag("verbose") {
        json!({"is_compatible": is_compatible, "messages": violations})
    } else {
        json!({"is_compatible": is_compatible})
    })
}

/// Against those versions that the subject's level looks at.
pub(super) async fn all(
    State(registry): Shared,
    Path(subject): Path<String>,
    Query(parameters): Parameter,
    body: Bytes,
) -> Answer {
    let candidate = requested(&registry, &body, &parameters)?;
    let violations = registry.read(|state| state.check(&subject, &candidate.parsed, None));
    Ok(checked(&violations, &parameters))
}

/// Against one version. As in Confluent's registry, anything may follow where there is no latest.
pub(super) async fn version(
    State(registry): Shared,
    Path((subject, version)): Path<(String, String)>,
    Query(parameters): Parameter,
    body: Bytes,
) -> Answer {
    let number = version_number(&version)?;
    let candidate = requested(&registry, &body, &parameters)?;
    let violations = registry.read(|state| {
        if number.is_none() && state.versions(&subject, Show::Live).is_empty() {
            return Ok(Vec::new());
        }
        let found = find(state, &subject, &version, Show::Live)?;
        Ok::<_, Failure>(state.check(&subject, &candidate.parsed, Some(found.version)))
    })?;
    Ok(checked(&violations, &parameters))
}
