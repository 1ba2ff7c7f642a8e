//! The mirrors' side: documents as they are now, through the store or through a running installation.

use super::digest::{Digest, KEY_SEPARATOR, Measures, TableShape};
use crate::config::Config;
use crate::platform::Platform;
use affluent_documents::{Backend, Document, DocumentError, DocumentStore, Scan};
use affluent_model::Position;
use affluent_model::names::mirror_collection;
use anyhow::{Context as _, anyhow, bail};
use serde_json::{Map, Value as Json};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

const PAGE: usize = 2_000;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// A document of a mirror.
pub(super) struct Mirrored {
    pub(super) key: String,
    pub(super) version: Position,
    pub(super) row: Digest,
}

/// How the mirrors are read.
pub(crate) enum Mirrors {
    /// In this process, or a store that takes several.
    Store(Arc<dyn DocumentStore>),
    /// The embedded store belongs to one process: its HTTP interface is asked.
    Http { client: reqwest::Client, base: String, token: Option<String> },
}

impl Mirrors {
    /// A store that takes several processes is opened. For the embedded one, the running installation
    /// is asked; where none answers, its files are opened.
    ///
    /// # Errors
    /// When the store cannot be opened: most likely an installation holds it and its HTTP interface is
    /// configured elsewhere.
    pub(crate) async fn of_installation(platform: &Platform) -> anyhow::Result<Self> {
        if platform.config().documents.backend == Backend::Embedded {
            let client = platform.config().http.client()?.timeout(REQUEST_TIMEOUT).build()?;
            let base = platform.http_url();
            if client.get(format!("{base}/healthz")).timeout(PROBE_TIMEOUT).send().await.is_ok() {
                return Ok(Mirrors::Http { client, base, token: token(platform.config()) });
            }
        }
        let remedy =
            "run verify with the configuration of the running installation (its [http] listen), or stop it";
        Ok(Mirrors::Store(platform.documents().await.context(remedy)?))
    }

    /// Calls `each` with every document of the table's mirror; none where there is no mirror.
    pub(super) async fn read(
        &self,
        shape: &TableShape,
        measures: &Measures,
        mut each: impl FnMut(Mirrored),
    ) -> anyhow::Result<()> {
        let collection = mirror_collection(&shape.topic);
        match self {
            Mirrors::Store(store) => {
                let mut scan = Scan::all(PAGE);
                loop {
                    let page = match store.scan(&collection, &scan).await {
                        Ok(page) => page,
                        Err(DocumentError::UnknownCollection(_)) => return Ok(()),
                        Err(error) => return Err(error).with_context(|| format!("read {collection}")),
                    };
                    page.documents.iter().for_each(|document| each(of_document(shape, measures, document)));
                    scan.after = page.next;
                    if scan.after.is_none() {
                        return Ok(());
                    }
                }
            }
            Mirrors::Http { client, base, token } => {
                let url = format!("{base}/v1/documents/{collection}");
                let mut after: Option<String> = None;
                loop {
                    let mut request = client.get(&url).query(&[("limit", PAGE.to_string())]);
                    if let Some(after) = &after {
                        request = request.query(&[("after", after)]);
                    }
                    if let Some(token) = token {
                        request = request.bearer_auth(token);
                    }
                    let response = request.send().await.with_context(|| format!("ask {url}"))?;
                    if response.status() == reqwest::StatusCode::NOT_FOUND {
                        return Ok(());
                    }
                    let response = response.error_for_status().with_context(|| format!("ask {url}"))?;
                    let page: Json =
                        response.json().await.with_context(|| format!("read the answer of {url}"))?;
                    let Some(documents) = page["documents"].as_array() else {
                        bail!("{url} answered without documents: is that the platform's HTTP interface?")
                    };
                    for document in documents {
                        each(
                            of_json(shape, measures, document)
                                .with_context(|| format!("read {collection}"))?,
                        );
                    }
                    after = page["next"].as_str().map(str::to_owned);
                    if after.is_none() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

fn token(config: &Config) -> Option<String> {
    config.http.reader().map(str::to_owned)
}

fn of_document(shape: &TableShape, measures: &Measures, document: &Document) -> Mirrored {
    let cell = |index: usize| {
        let column = &shape.columns[index];
        document.field(&column.name).map(|value| column.kind.of_value(value))
    };
    mirrored(shape, measures, document.id.clone(), document.version, cell)
}

fn of_json(shape: &TableShape, measures: &Measures, document: &Json) -> anyhow::Result<Mirrored> {
    let object: &Map<String, Json> = document.as_object().context("a document that is no object")?;
    let id = object.get("_id").and_then(Json::as_str).ok_or_else(|| anyhow!("a document without _id"))?;
    let version = object.get("_v").and_then(Json::as_str).unwrap_or_default();
    let version = version.parse().with_context(|| format!("the version of document {id:?}"))?;
    let cell = |index: usize| {
        let column = &shape.columns[index];
        object.get(&column.name).map(|value| column.kind.of_json(value))
    };
    Ok(mirrored(shape, measures, id.to_owned(), version, cell))
}

fn mirrored<'a>(
    shape: &TableShape,
    measures: &Measures,
    id: String,
    version: Position,
    cell: impl Fn(usize) -> Option<Option<Cow<'a, str>>>,
) -> Mirrored {
    let row = shape.digest(measures, |index, _| cell(index));
    let key = if shape.key.is_empty() {
        id
    } else {
        let texts = shape.key.iter().map(|&index| cell(index).flatten().unwrap_or_default());
        texts.collect::<Vec<_>>().join(&KEY_SEPARATOR.to_string())
    };
    Mirrored { key, version, row }
}
