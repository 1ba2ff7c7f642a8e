//! The registry's routes, answers and error codes: Confluent's.
//!
//! What is served and what is not: `docs/schema-registry.md`.

mod checks;
mod config;
mod schemas;
mod subjects;

use super::schema::{Candidate, Schema, SchemaReference, SchemaType};
use super::server::Registry;
use super::state::{Refusal, Show, State as Schemas, SubjectVersion};
use crate::BusError;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;

const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

type Shared = State<Arc<Registry>>;
type Answer = Result<Response, Failure>;

pub(super) fn router(registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/", get(async || answer(&json!({}))))
        .route("/subjects", get(subjects::list))
        .route("/subjects/{subject}", post(subjects::lookup).delete(subjects::delete))
        .route("/subjects/{subject}/versions", get(subjects::versions).post(subjects::register))
        .route(
            "/subjects/{subject}/versions/{version}",
            get(subjects::version).delete(subjects::delete_version),
        )
        .route("/subjects/{subject}/versions/{version}/schema", get(subjects::version_schema))
        .route("/subjects/{subject}/versions/{version}/referencedby", get(subjects::referenced_by))
        .route("/schemas", get(schemas::list))
        .route("/schemas/types", get(async || answer(&SchemaType::ALL)))
        .route("/schemas/ids/{id}", get(schemas::schema))
        .route("/schemas/ids/{id}/schema", get(schemas::text))
        .route("/schemas/ids/{id}/versions", get(schemas::versions))
        .route("/schemas/ids/{id}/subjects", get(schemas::subjects))
        .route("/compatibility/subjects/{subject}/versions", post(checks::all))
        .route("/compatibility/subjects/{subject}/versions/{version}", post(checks::version))
        .route("/config", get(config::global).put(config::set_global).delete(config::delete_global))
        .route("/config/{subject}", get(config::subject).put(config::set).delete(config::delete))
        .route("/mode", get(config::mode))
        .route("/mode/{subject}", get(config::mode))
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

    fn version(version: impl std::fmt::Display) -> Self {
        Failure::new(StatusCode::NOT_FOUND, 40402, format!("Version {version} not found."))
    }

    fn schema() -> Self {
        Failure::new(StatusCode::NOT_FOUND, 40403, "Schema not found")
    }

    fn invalid(code: u32, message: impl Into<String>) -> Self {
        Failure::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }

    /// Why a subject, or one of its versions, is not deleted.
    fn refusal(refusal: Refusal, subject: &str, version: &str) -> Self {
        let not_found = |code, message: String| Failure::new(StatusCode::NOT_FOUND, code, message);
        match refusal {
            Refusal::NoSubject => Failure::subject(subject),
            Refusal::NoVersion => Failure::version(version),
            Refusal::SubjectDeleted => not_found(
                40404,
                format!("Subject '{subject}' was soft deleted. Set permanent=true to delete permanently"),
            ),
            Refusal::SubjectNotDeleted => not_found(
                40405,
                format!("Subject '{subject}' was not deleted first before being permanently deleted"),
            ),
            Refusal::VersionDeleted(version) => not_found(
                40406,
                format!(
                    "Subject '{subject}' Version {version} was soft deleted. Set permanent=true to delete permanently"
                ),
            ),
            Refusal::VersionNotDeleted(version) => not_found(
                40407,
                format!(
                    "Subject '{subject}' Version {version} was not deleted first before being permanently deleted"
                ),
            ),
            Refusal::Referenced(subject, version) => Failure::invalid(
                42206,
                format!(
                    "One or more references exist to the schema of subject '{subject}' version {version}"
                ),
            ),
        }
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

fn plain(schema: &str) -> Response {
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], schema.to_owned()).into_response()
}

/// What stands after the `?`.
#[derive(Deserialize)]
#[serde(transparent)]
struct Parameters(HashMap<String, String>);

type Parameter = Query<Parameters>;

impl Parameters {
    /// A flag; clients write `true`, `True` or nothing.
    fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn show(&self) -> Show {
        match (self.flag("deletedOnly"), self.flag("deleted")) {
            (true, _) => Show::Deleted,
            (false, true) => Show::All,
            (false, false) => Show::Live,
        }
    }

    /// The part of a list that `offset` and `limit` name.
    fn page<T>(&self, items: Vec<T>) -> Vec<T> {
        let number = |name: &str| self.text(name).and_then(|text| text.parse::<usize>().ok());
        let (offset, limit) = (number("offset").unwrap_or(0), number("limit").unwrap_or(usize::MAX));
        items.into_iter().skip(offset).take(limit).collect()
    }
}

/// The body of a registration, a lookup or a check; what else clients send is not used.
#[derive(Deserialize)]
struct SchemaRequest {
    schema: Arc<str>,
    #[serde(rename = "schemaType", default)]
    schema_type: Option<String>,
    #[serde(default)]
    references: Option<Vec<SchemaReference>>,
}

/// The schema that a request is about.
fn requested(registry: &Registry, body: &[u8], parameters: &Parameters) -> Result<Candidate, Failure> {
    let request: SchemaRequest = serde_json::from_slice(body)
        .map_err(|error| Failure::invalid(42201, format!("Invalid request: {error}")))?;
    let schema_type = match request.schema_type.as_deref() {
        None | Some("AVRO") => SchemaType::Avro,
        Some("PROTOBUF") => SchemaType::Protobuf,
        Some("JSON") => SchemaType::Json,
        Some(other) => return Err(Failure::invalid(42201, format!("Invalid schema type {other}"))),
    };
    let references = request.references.unwrap_or_default();
    let invalid = |problem: String| Failure::invalid(42201, format!("Invalid schema: {problem}"));
    let named = registry.read(|state| state.resolve(&references)).map_err(invalid)?;
    let schema = Schema { schema_type, references, text: request.schema };
    Candidate::new(schema, &named, parameters.flag("normalize")).map_err(invalid)
}

/// `latest`, `-1` or a number.
fn version_number(text: &str) -> Result<Option<i32>, Failure> {
    match text {
        "latest" | "-1" => Ok(None),
        _ => match text.parse() {
            Ok(number) if number >= 1 => Ok(Some(number)),
            _ => Err(Failure::invalid(
                42202,
                format!(
                    "The specified version '{text}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\""
                ),
            )),
        },
    }
}

fn find(state: &Schemas, subject: &str, version: &str, show: Show) -> Result<SubjectVersion, Failure> {
    let number = version_number(version)?;
    // The latest is the latest that was not deleted, where there is one.
    let latest = || number.is_none().then(|| state.version(subject, None, Show::Live)).flatten();
    match latest().or_else(|| state.version(subject, number, show)) {
        Some(found) => Ok(found),
        None if state.versions(subject, show).is_empty() => Err(Failure::subject(subject)),
        None => Err(Failure::version(version)),
    }
}

/// With `format=serialized`, a Protobuf schema is shown compiled, in base64.
fn formatted(state: &Schemas, mut schema: Schema, parameters: &Parameters) -> Result<Schema, Failure> {
    if parameters.text("format") == Some("serialized") && schema.schema_type == SchemaType::Protobuf {
        let named = state.resolve(&schema.references);
        let candidate = named.and_then(|named| Candidate::new(schema.clone(), &named, false));
        let broken = |problem| {
            let message = format!("Error while serializing the schema: {problem}");
            Failure::new(StatusCode::INTERNAL_SERVER_ERROR, 50001, message)
        };
        if let Some(serialized) = candidate.map_err(broken)?.parsed.serialized() {
            schema.text = serialized.into();
        }
    }
    Ok(schema)
}
