//! One call of MLflow's REST interface: sent, tried again where the server does not answer or says it is overloaded, and read.

use super::super::RegistryError;
use super::MlflowOptions;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::Value;
use std::time::Duration;

/// Files, and pages of a list, that one answer may be followed by.
const PAGES_MAX: usize = 1_000;
const FILES_MAX: usize = 10_000;

/// The connection.
#[derive(Debug, Clone)]
pub(super) struct Rest {
    client: Client,
    url: String,
    token: String,
    attempts: u32,
    first: Duration,
}

/// A body to be sent, kept for another attempt.
enum Body<'a> {
    None,
    Json(&'a Value),
    Bytes(&'a [u8]),
}

impl Rest {
    pub(super) fn new(options: &MlflowOptions) -> Result<Self, RegistryError> {
        let url = options.url.trim_end_matches('/').to_owned();
        let client = Client::builder().timeout(Duration::from_millis(options.timeout_ms)).build();
        let client = client.map_err(|error| RegistryError::Unreachable {
            url: url.clone(),
            attempts: 0,
            message: error.to_string(),
        })?;
        Ok(Rest {
            client,
            url,
            token: options.token.clone(),
            attempts: options.attempts.max(1),
            first: Duration::from_millis(options.retry_first_ms),
        })
    }

    pub(super) async fn get(
        &self,
        path: &str,
        query: &[(&str, &str)],
        what: &str,
    ) -> Result<Value, RegistryError> {
        let bytes = self.send(&Method::GET, &api(path), query, &Body::None, what).await?;
        read(&bytes, what)
    }

    pub(super) async fn post(&self, path: &str, body: &Value, what: &str) -> Result<Value, RegistryError> {
        read(&self.send(&Method::POST, &api(path), &[], &Body::Json(body), what).await?, what)
    }

    pub(super) async fn delete(&self, path: &str, body: &Value, what: &str) -> Result<Value, RegistryError> {
        read(&self.send(&Method::DELETE, &api(path), &[], &Body::Json(body), what).await?, what)
    }

    /// All entries of a list that comes in pages.
    pub(super) async fn pages(
        &self,
        path: &str,
        query: &[(&str, &str)],
        pointer: &str,
        what: &str,
    ) -> Result<Vec<Value>, RegistryError> {
        let (mut found, mut token) = (Vec::new(), String::new());
        for _ in 0..PAGES_MAX {
            let mut query = query.to_vec();
            if !token.is_empty() {
                query.push(("page_token", token.as_str()));
            }
            let page = self.get(path, &query, what).await?;
            found.extend(page.pointer(pointer).and_then(Value::as_array).into_iter().flatten().cloned());
            match page.get("next_page_token").and_then(Value::as_str) {
                Some(next) if !next.is_empty() => token = next.to_owned(),
                Some(_) | None => break,
            }
        }
        Ok(found)
    }

    pub(super) async fn put_artefact(&self, path: &str, bytes: Vec<u8>) -> Result<(), RegistryError> {
        let what = format!("store {path}");
        self.send(&Method::PUT, &artefact(path), &[], &Body::Bytes(&bytes), &what).await.map(drop)
    }

    pub(super) async fn get_artefact(&self, path: &str) -> Result<Vec<u8>, RegistryError> {
        self.send(&Method::GET, &artefact(path), &[], &Body::None, &format!("fetch {path}")).await
    }

    /// The files under a path of the artefact store, by their paths inside it.
    pub(super) async fn list_artefacts(&self, root: &str) -> Result<Vec<String>, RegistryError> {
        let (mut found, mut open) = (Vec::new(), vec![String::new()]);
        while let Some(folder) = open.pop() {
            let path = if folder.is_empty() { root.to_owned() } else { format!("{root}/{folder}") };
            let query = [("path", path.as_str())];
            let address = "/api/2.0/mlflow-artifacts/artifacts";
            let list = self.send(&Method::GET, address, &query, &Body::None, "list files").await?;
            let list = read(&list, "list files")?;
            for file in list.get("files").and_then(Value::as_array).into_iter().flatten() {
                let name = text(file, "/path", "list files")?;
                // A name is joined to a folder of this machine.
                if name.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
                    return Err(RegistryError::Answer { what: "list files".to_owned(), message: name });
                }
                let inner = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                let list = if file["is_dir"] == true { &mut open } else { &mut found };
                list.push(inner);
            }
            if found.len() > FILES_MAX {
                let message = format!("more than {FILES_MAX} files");
                return Err(RegistryError::Answer { what: "list files".to_owned(), message });
            }
        }
        Ok(found)
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        query: &[(&str, &str)],
        body: &Body<'_>,
        what: &str,
    ) -> Result<Vec<u8>, RegistryError> {
        let mut pause = self.first;
        let mut message = String::new();
        for attempt in 1..=self.attempts {
            match self.once(self.request(method, path, query, body)).await {
                Ok((status, bytes)) if status.is_success() => return Ok(bytes),
                Ok((status, bytes)) if !again(status) => {
                    let message = String::from_utf8_lossy(&bytes).chars().take(500).collect();
                    let (url, what) = (self.url.clone(), what.to_owned());
                    return Err(RegistryError::Refused { url, what, status: status.as_u16(), message });
                }
                Ok((status, _)) => message = format!("{what}: {status}"),
                Err(error) => message = format!("{what}: {error}"),
            }
            if attempt < self.attempts {
                tracing::warn!(attempt, url = self.url, message, "registry does not answer, trying again");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
        Err(RegistryError::Unreachable { url: self.url.clone(), attempts: self.attempts, message })
    }

    fn request(&self, method: &Method, path: &str, query: &[(&str, &str)], body: &Body) -> RequestBuilder {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.url)).query(query);
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        match body {
            Body::None => request,
            Body::Json(value) => request.json(value),
            Body::Bytes(bytes) => request.body(bytes.to_vec()),
        }
    }

    async fn once(&self, request: RequestBuilder) -> reqwest::Result<(StatusCode, Vec<u8>)> {
        let answer = request.send().await?;
        let status = answer.status();
        Ok((status, answer.bytes().await?.to_vec()))
    }
}

/// Whether the same call may be answered later.
fn again(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || matches!(
            status,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
        )
}

fn api(path: &str) -> String {
    format!("/api/2.0/mlflow/{path}")
}

fn artefact(path: &str) -> String {
    format!("/api/2.0/mlflow-artifacts/artifacts/{path}")
}

/// The path in the artefact proxy of a place that the server names.
pub(super) fn artefact_path(uri: &str) -> Result<String, RegistryError> {
    match uri.strip_prefix("mlflow-artifacts:") {
        // With or without the server's name: `mlflow-artifacts:/0/…`, `mlflow-artifacts://host:5000/0/…`.
        Some(rest) => Ok(match rest.strip_prefix("//") {
            Some(with_host) => with_host.split_once('/').map_or("", |(_, path)| path).to_owned(),
            None => rest.trim_start_matches('/').to_owned(),
        }),
        None => Err(RegistryError::Answer {
            what: "name a place for files".to_owned(),
            message: format!(
                "{uri} is not behind the server's artefact proxy: start the server with --serve-artifacts"
            ),
        }),
    }
}

fn read(bytes: &[u8], what: &str) -> Result<Value, RegistryError> {
    serde_json::from_slice(bytes)
        .map_err(|source| RegistryError::Json { what: format!("answer to {what}"), source })
}

/// The text at a place of an answer.
pub(super) fn text(value: &Value, pointer: &str, what: &str) -> Result<String, RegistryError> {
    let found = value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| RegistryError::Answer {
        what: what.to_owned(),
        message: format!("there is no {pointer}"),
    })
}

/// The number at a place of an answer, which may be a text.
pub(super) fn number(value: &Value, pointer: &str, what: &str) -> Result<u64, RegistryError> {
    let found = value.pointer(pointer);
    let found = found.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    found.ok_or_else(|| RegistryError::Answer {
        what: what.to_owned(),
        message: format!("there is no number {pointer}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_the_proxy() {
        assert_eq!(artefact_path("mlflow-artifacts:/1/ab/artifacts").unwrap(), "1/ab/artifacts");
        assert_eq!(artefact_path("mlflow-artifacts://host:5000/1/ab").unwrap(), "1/ab");
        artefact_path("s3://bucket/1").unwrap_err();
    }
}
