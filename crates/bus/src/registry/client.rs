//! The client of a Confluent-compatible schema registry.
//!
//! Ids and schemas never change once given, so both are cached for good, up to a bound.

use super::schema::{Named, Schema, SchemaReference, SchemaType};
use affluent_model::Reason;
use parking_lot::Mutex;
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Tries of one call, in quick succession; longer waits are the caller's policy.
const TRIES: u32 = 3;
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Cached ids and schemas; a platform has one a table and version.
const CACHE_ENTRIES: usize = 10_000;
/// Schemas that one schema needs, all together.
const MAX_REFERENCES: usize = 256;
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Where the schema registry is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryOptions {
    /// Base URL of a registry that is already there; absent: the built-in one.
    pub url: Option<String>,
    pub user: Option<String>,
    pub password: Option<String>,
    /// PEM file of certificates that are trusted beside the system's, for `https` URLs.
    pub ca_file: Option<PathBuf>,
}

/// Why the registry did not give what was asked for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    #[error("schema registry: invalid options: {0}")]
    Options(String),
    /// No connection, a timeout, or an error on the server's side: passing.
    #[error("schema registry unreachable: {0}")]
    Unreachable(String),
    #[error("schema registry refuses: {status} {message}")]
    Refused { status: u16, message: String },
    #[error("schema of subject {subject} is incompatible with its earlier versions: {message}")]
    Incompatible { subject: String, message: String },
    #[error("unknown {0}")]
    NotFound(String),
}

impl RegistryError {
    /// As [`crate::codec::CodecError::reason`]. Refused credentials count as passing: an operator
    /// mends them, and the records wait.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            RegistryError::Options(_) | RegistryError::Unreachable(_) => None,
            RegistryError::Refused { status, .. } => {
                (*status == StatusCode::UNPROCESSABLE_ENTITY.as_u16()).then_some(Reason::IncompatibleSchema)
            }
            RegistryError::Incompatible { .. } => Some(Reason::IncompatibleSchema),
            RegistryError::NotFound(_) => Some(Reason::UnknownSchema),
        }
    }
}

/// A registry's client. Cheap to clone; clones share the cache.
#[derive(Clone)]
pub struct RegistryClient {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    url: String,
    options: RegistryOptions,
    ids: Mutex<HashMap<(String, Schema), u32>>,
    schemas: Mutex<HashMap<u32, Arc<Schema>>>,
}

impl std::fmt::Debug for RegistryClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryClient").field("url", &self.inner.url).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Failure {
    #[serde(default)]
    error_code: u32,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct SchemaId {
    id: u32,
}

impl RegistryClient {
    /// A client of the registry at `options.url`.
    ///
    /// # Errors
    /// [`RegistryError::Options`] without a valid URL.
    pub fn new(options: RegistryOptions) -> Result<Self, RegistryError> {
        let url = options.url.clone().unwrap_or_default().trim_end_matches('/').to_owned();
        if reqwest::Url::parse(&url).is_err() {
            return Err(RegistryError::Options(format!("registry.url {url:?} is not a URL")));
        }
        let mut http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT);
        if let Some(file) = &options.ca_file {
            let invalid = |error: String| {
                RegistryError::Options(format!("registry.ca_file {}: {error}", file.display()))
            };
            let pem = std::fs::read(file).map_err(|error| invalid(error.to_string()))?;
            let certificates =
                reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| invalid(e.to_string()))?;
            if certificates.is_empty() {
                return Err(invalid("holds no certificate".to_owned()));
            }
            http = certificates.into_iter().fold(http, reqwest::ClientBuilder::add_root_certificate);
        }
        let http = http.build().map_err(|error| RegistryError::Options(error.to_string()))?;
        Ok(RegistryClient {
            inner: Arc::new(Inner { http, url, options, ids: Mutex::default(), schemas: Mutex::default() }),
        })
    }

    /// Registers an Avro schema that refers to no other; as [`RegistryClient::register_schema`].
    ///
    /// # Errors
    /// [`RegistryError::Incompatible`] where the subject's compatibility level forbids it.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        self.register_schema(subject, &Schema::new(SchemaType::Avro, schema)).await
    }

    /// Registers a schema under a subject (again, where it is registered already) and returns its id.
    ///
    /// # Errors
    /// [`RegistryError::Incompatible`] where the subject's compatibility level forbids it.
    pub async fn register_schema(&self, subject: &str, schema: &Schema) -> Result<u32, RegistryError> {
        let key = (subject.to_owned(), schema.clone());
        if let Some(&id) = self.inner.ids.lock().get(&key) {
            return Ok(id);
        }
        let path = format!("/subjects/{}/versions", encode_path(subject));
        let SchemaId { id } = self.call(Method::POST, &path, Some(body(schema)), subject).await?;
        remember(&mut self.inner.ids.lock(), key, id);
        Ok(id)
    }

    /// The Avro schema with this id, as text.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] for an id that the registry never gave, or gave to another type.
    pub async fn schema(&self, id: u32) -> Result<Arc<str>, RegistryError> {
        let schema = self.schema_by_id(id).await?;
        match schema.schema_type {
            SchemaType::Avro => Ok(Arc::clone(&schema.text)),
            SchemaType::Protobuf | SchemaType::Json => {
                Err(RegistryError::NotFound(format!("Avro schema with id {id}")))
            }
        }
    }

    /// The schema with this id, of any type.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] for an id that the registry never gave.
    pub async fn schema_by_id(&self, id: u32) -> Result<Arc<Schema>, RegistryError> {
        if let Some(schema) = self.inner.schemas.lock().get(&id) {
            return Ok(Arc::clone(schema));
        }
        let path = format!("/schemas/ids/{id}");
        let schema: Schema = self.call(Method::GET, &path, None, &format!("schema id {id}")).await?;
        let schema = Arc::new(schema);
        remember(&mut self.inner.schemas.lock(), id, Arc::clone(&schema));
        Ok(schema)
    }

    /// The schemas that `schema` refers to, each after those that it needs itself.
    pub(crate) async fn references(&self, schema: &Schema) -> Result<Vec<Named>, RegistryError> {
        let mut found: Vec<Named> = Vec::new();
        // What is still to be fetched, the next one last; a fetched one waits for its own references.
        let mut waiting: Vec<Step> = schema.references.iter().rev().cloned().map(Step::Fetch).collect();
        let mut fetched = 0;
        while let Some(step) = waiting.pop() {
            match step {
                Step::Fetch(reference) if found.iter().any(|named| named.name == reference.name) => {}
                Step::Fetch(SchemaReference { name, subject, version }) => {
                    fetched += 1;
                    if fetched > MAX_REFERENCES {
                        return Err(RegistryError::NotFound(format!(
                            "reference {name}: more than {MAX_REFERENCES}, or in a circle"
                        )));
                    }
                    let path = format!("/subjects/{}/versions/{version}?deleted=true", encode_path(&subject));
                    let what = format!("version {version} of subject {subject}");
                    let schema: Schema = self.call(Method::GET, &path, None, &what).await?;
                    waiting.push(Step::Take(Named { name, text: schema.text }));
                    waiting.extend(schema.references.into_iter().rev().map(Step::Fetch));
                }
                Step::Take(named) => found.push(named),
            }
        }
        Ok(found)
    }

    /// The subjects that the registry knows.
    ///
    /// # Errors
    /// [`RegistryError::Unreachable`], [`RegistryError::Refused`].
    pub async fn subjects(&self) -> Result<Vec<String>, RegistryError> {
        self.call(Method::GET, "/subjects", None, "subjects").await
    }

    /// Sets the compatibility level of a subject (`BACKWARD`, `FULL`, `NONE`, …).
    ///
    /// # Errors
    /// [`RegistryError::Refused`] for an unknown level.
    pub async fn set_compatibility(&self, subject: &str, level: &str) -> Result<(), RegistryError> {
        let path = format!("/config/{}", encode_path(subject));
        let body = serde_json::json!({ "compatibility": level });
        let _: serde_json::Value = self.call(Method::PUT, &path, Some(body), subject).await?;
        Ok(())
    }

    async fn call<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<serde_json::Value>,
        what: &str,
    ) -> Result<T, RegistryError> {
        let mut tried = 1;
        loop {
            match self.call_once(method.clone(), path, body.as_ref(), what).await {
                Err(RegistryError::Unreachable(reason)) if tried < TRIES => {
                    tracing::debug!(path, reason, tried, "schema registry call failed, trying again");
                    tried += 1;
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn call_once<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
        what: &str,
    ) -> Result<T, RegistryError> {
        let unreachable = |error: reqwest::Error| RegistryError::Unreachable(error.without_url().to_string());
        let mut request = self.inner.http.request(method, format!("{}{path}", self.inner.url));
        request = request.header("Accept", MEDIA_TYPE);
        if let Some(user) = &self.inner.options.user {
            request = request.basic_auth(user, self.inner.options.password.as_ref());
        }
        if let Some(body) = body {
            request = request.header("Content-Type", MEDIA_TYPE).body(body.to_string());
        }
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(unreachable)?;
        if status.is_success() {
            return serde_json::from_slice(&bytes)
                .map_err(|error| RegistryError::Unreachable(format!("unexpected answer: {error}")));
        }
        let failure: Failure = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Failure { error_code: 0, message: String::new() });
        Err(match status {
            StatusCode::CONFLICT => {
                RegistryError::Incompatible { subject: what.to_owned(), message: failure.message }
            }
            // The registry's own codes; a proxy's 404 carries none of them.
            StatusCode::NOT_FOUND if failure.error_code / 100 == 404 => {
                RegistryError::NotFound(what.to_owned())
            }
            _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                RegistryError::Unreachable(format!("{status} {}", failure.message))
            }
            _ => RegistryError::Refused { status: status.as_u16(), message: failure.message },
        })
    }
}

enum Step {
    Fetch(SchemaReference),
    Take(Named),
}

fn body(schema: &Schema) -> serde_json::Value {
    let mut body = serde_json::json!({ "schema": schema.text });
    if !schema.schema_type.is_avro() {
        body["schemaType"] = serde_json::json!(schema.schema_type);
    }
    if !schema.references.is_empty() {
        body["references"] = serde_json::json!(schema.references);
    }
    body
}

fn remember<K: std::hash::Hash + Eq, V>(cache: &mut HashMap<K, V>, key: K, value: V) {
    if cache.len() >= CACHE_ENTRIES {
        cache.clear();
    }
    cache.insert(key, value);
}

/// Percent-encodes a subject as one path segment.
fn encode_path(subject: &str) -> String {
    let mut path = String::with_capacity(subject.len());
    for &byte in subject.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_one_segment() {
        assert_eq!(encode_path("oltp.public.a/b ü-value"), "oltp.public.a%2Fb%20%C3%BC-value");
    }

    #[test]
    fn a_certificate_file_is_read() {
        let file = Some(PathBuf::from("/nonexistent.pem"));
        let url = Some("https://localhost".to_owned());
        let error = RegistryClient::new(RegistryOptions { url, ca_file: file, ..RegistryOptions::default() });
        assert!(error.unwrap_err().to_string().contains("registry.ca_file /nonexistent.pem"));
    }

    #[test]
    fn a_url_is_needed() {
        for url in [None, Some("".to_owned()), Some("localhost".to_owned())] {
            let options = RegistryOptions { url, ..RegistryOptions::default() };
            assert!(matches!(RegistryClient::new(options), Err(RegistryError::Options(_))));
        }
    }
}
