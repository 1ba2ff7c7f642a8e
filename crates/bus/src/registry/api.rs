//! The registry's routes, requests, answers and error codes: Confluent's.

use super::compatibility::{CompatibilityLevel, ParsedSchema};
use super::server::Registry;
use super::state::{State as Schemas, canonical};
use crate::BusError;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::sync::Arc;

const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

type Shared = State<Arc<Registry>>;
type Answer = Result<Response, Failure>;

pub(super) fn router(registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/", get(async || answer(&json!({}))))
        .route("/subjects", get(subjects))
        .route("/subjects/{subject}", post(lookup))
        .route("/subjects/{subject}/versions", get(versions).post(register))
        .route("/subjects/{subject}/versions/{version}", get(version))
        .route("/subjects/{subject}/versions/{version}/schema", get(version_schema))
        .route("/schemas/types", get(async || answer(&["AVRO"])))
        .route("/schemas/ids/{id}", get(schema))
        .route("/schemas/ids/{id}/schema", get(schema_text))
        .route("/schemas/ids/{id}/versions", get(schema_versions))
        .route("/schemas/ids/{id}/subjects", get(schema_subjects))
        .route("/compatibility/subjects/{subject}/versions", post(check_all))
        .route("/compatibility/subjects/{subject}/versions/{version}", post(check_version))
        .route("/config", get(global_level).put(set_global_level))
        .route("/config/{subject}", get(level).put(set_level))
        .route("/mode", get(async || answer(&json!({"mode": "READWRITE"}))))
        .route("/mode/{subject}", get(async || answer(&json!({"mode": "READWRITE"}))))
        .fallback(async || Failure::new(StatusCode::NOT_FOUND, 404, "no such resource"))
        .with_state(registry)
}

/// An error with Confluent's code.
struct Failure {
    status: StatusCode,
    code: u32,
    message: String,
}

impl Failure {
    fn new(status: StatusCode, code: u32, message: impl Into<String>) -> Self {
        Failure { status, code, message: message.into() }
    }

    fn subject(subject: &str) -> Self {
        Failure::new(StatusCode::NOT_FOUND, 40401, format!("Subject '{subject}' not found."))
    }

    fn version(version: &str) -> Self {
        Failure::new(StatusCode::NOT_FOUND, 40402, format!("Version {version} not found."))
    }

    fn schema() -> Self {
        Failure::new(StatusCode::NOT_FOUND, 40403, "Schema not found")
    }

    fn invalid(code: u32, message: impl Into<String>) -> Self {
        Failure::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }
}

impl From<BusError> for Failure {
    fn from(error: BusError) -> Self {
        tracing::warn!(%error, "schema registry cannot write");
        Failure::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            50001,
            format!("Error in the backend data store: {error}"),
        )
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = json!({"error_code": self.code, "message": self.message});
        (self.status, [(header::CONTENT_TYPE, MEDIA_TYPE)], body.to_string()).into_response()
    }
}

fn answer(body: &(impl Serialize + ?Sized)) -> Response {
    match serde_json::to_string(body) {
        Ok(body) => ([(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response(),
        Err(error) => {
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, 50001, error.to_string()).into_response()
        }
    }
}

#[derive(Deserialize)]
struct SchemaRequest {
    schema: String,
    #[serde(rename = "schemaType", default)]
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<Json>,
}

/// The canonical text of the requested schema, and the schema itself.
fn requested(body: &[u8]) -> Result<(String, ParsedSchema), Failure> {
    let request: SchemaRequest = serde_json::from_slice(body)
        .map_err(|error| Failure::invalid(42201, format!("Invalid request: {error}")))?;
    if request.schema_type.is_some_and(|t| t != "AVRO") || !request.references.is_empty() {
        return Err(Failure::invalid(42201, "Only AVRO schemas without references are served here"));
    }
    let parsed = ParsedSchema::parse(&request.schema)
        .map_err(|error| Failure::invalid(42201, format!("Invalid schema: {error}")))?;
    // A bare name, as `string`, is valid Avro too; it is kept as it came.
    let text = canonical(&request.schema).unwrap_or(request.schema);
    Ok((text, parsed))
}

/// `latest`, `-1` or a number.
fn version_number(text: &str) -> Result<Option<i32>, Failure> {
    match text {
        "latest" | "-1" => Ok(None),
        _ => match text.parse() {
            Ok(number) if number >= 1 => Ok(Some(number)),
            _ => Err(Failure::invalid(
                42202,
                format!("The specified version '{text}' is not a valid version id."),
            )),
        },
    }
}

async fn subjects(State(registry): Shared) -> Response {
    registry.read(|state| answer(&state.subjects()))
}

async fn versions(State(registry): Shared, Path(subject): Path<String>) -> Answer {
    match registry.read(|state| state.versions(&subject)) {
        versions if versions.is_empty() => Err(Failure::subject(&subject)),
        versions => Ok(answer(&versions)),
    }
}

async fn register(State(registry): Shared, Path(subject): Path<String>, body: Bytes) -> Answer {
    let (schema, parsed) = requested(&body)?;
    match registry.register(&subject, &schema, &parsed).await? {
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

async fn lookup(State(registry): Shared, Path(subject): Path<String>, body: Bytes) -> Answer {
    let (schema, _) = requested(&body)?;
    registry.read(|state| match state.lookup(&subject, &schema) {
        Some(found) => Ok(answer(&found)),
        None if state.versions(&subject).is_empty() => Err(Failure::subject(&subject)),
        None => Err(Failure::schema()),
    })
}

fn find(state: &Schemas, subject: &str, version: &str) -> Result<super::state::SubjectVersion, Failure> {
    let number = version_number(version)?;
    match state.version(subject, number) {
        Some(found) => Ok(found),
        None if state.versions(subject).is_empty() => Err(Failure::subject(subject)),
        None => Err(Failure::version(version)),
    }
}

async fn version(State(registry): Shared, Path((subject, version)): Path<(String, String)>) -> Answer {
    registry.read(|state| find(state, &subject, &version).map(|found| answer(&found)))
}

async fn version_schema(State(registry): Shared, Path((subject, version)): Path<(String, String)>) -> Answer {
    registry.read(|state| find(state, &subject, &version).map(|found| plain(&found.schema)))
}

fn plain(schema: &str) -> Response {
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], schema.to_owned()).into_response()
}

async fn schema(State(registry): Shared, Path(id): Path<u32>) -> Answer {
    registry.read(|state| {
        state.schema(id).map(|schema| answer(&json!({"schema": schema}))).ok_or_else(Failure::schema)
    })
}

async fn schema_text(State(registry): Shared, Path(id): Path<u32>) -> Answer {
    registry.read(|state| state.schema(id).map(|schema| plain(schema)).ok_or_else(Failure::schema))
}

async fn schema_versions(State(registry): Shared, Path(id): Path<u32>) -> Answer {
    registry.read(|state| {
        state.schema(id).ok_or_else(Failure::schema)?;
        let uses = state.uses(id);
        let uses: Vec<Json> =
            uses.iter().map(|(subject, version)| json!({"subject": subject, "version": version})).collect();
        Ok(answer(&uses))
    })
}

async fn schema_subjects(State(registry): Shared, Path(id): Path<u32>) -> Answer {
    registry.read(|state| {
        state.schema(id).ok_or_else(Failure::schema)?;
        let mut subjects: Vec<&str> = state.uses(id).into_iter().map(|(subject, _)| subject).collect();
        subjects.dedup();
        Ok(answer(&subjects))
    })
}

/// A flag in the query; clients write `true`, `True` or nothing.
fn flag(query: &HashMap<String, String>, name: &str) -> bool {
    query.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

fn checked(violations: Vec<String>, query: &HashMap<String, String>) -> Response {
    let is_compatible = violations.is_empty();
    answer(&if flag(query, "verbose") {
        json!({"is_compatible": is_compatible, "messages": violations})
    } else {
        json!({"is_compatible": is_compatible})
    })
}

async fn check_all(
    State(registry): Shared,
    Path(subject): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Answer {
    let (_, parsed) = requested(&body)?;
    Ok(checked(registry.read(|state| state.check(&subject, &parsed, None)), &query))
}

async fn check_version(
    State(registry): Shared,
    Path((subject, version)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
    body: Bytes,
) -> Answer {
    let (_, parsed) = requested(&body)?;
    let violations = registry.read(|state| {
        let found = find(state, &subject, &version)?;
        Ok::<_, Failure>(state.check(&subject, &parsed, Some(found.version)))
    })?;
    Ok(checked(violations, &query))
}

#[derive(Deserialize)]
struct LevelRequest {
    compatibility: String,
}

async fn global_level(State(registry): Shared) -> Response {
    registry.read(|state| answer(&json!({"compatibilityLevel": state.level_set(None)})))
}

async fn level(
    State(registry): Shared,
    Path(subject): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let level = registry.read(|state| match state.level_set(Some(&subject)) {
        None if flag(&query, "defaultToGlobal") => Some(state.level(&subject)),
        set => set,
    });
    let missing = || {
        let message = format!("Subject '{subject}' does not have subject-level compatibility configured");
        Failure::new(StatusCode::NOT_FOUND, 40408, message)
    };
    level.map(|level| answer(&json!({"compatibilityLevel": level}))).ok_or_else(missing)
}

async fn set_global_level(State(registry): Shared, body: Bytes) -> Answer {
    change_level(&registry, None, &body).await
}

async fn set_level(State(registry): Shared, Path(subject): Path<String>, body: Bytes) -> Answer {
    change_level(&registry, Some(&subject), &body).await
}

async fn change_level(registry: &Registry, subject: Option<&str>, body: &[u8]) -> Answer {
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
    registry.record(&Schemas::set_level(subject, level)).await?;
    Ok(answer(&json!({"compatibility": level})))
}
