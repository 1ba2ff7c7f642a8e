//! Of what is written to and told: document store, lake, models, copies of the warehouse, traces.

use super::Trial;
use crate::config::Config;
use affluent_documents::{Backend, CollectionSpec, DocumentError, Inserts, Ttl};
use affluent_lake::{Lake, LakeFormat};
use affluent_stream::cdc::{CdcOptions, connect_source};
use anyhow::Context as _;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const DOCUMENTS: &str = "documents";
const LAKE: &str = "lake";
const MODELS: &str = "learning";
const COPIES: &str = "bi.publish";
const TRACES: &str = "telemetry";

/// The collection of the trial; its document is gone after so long.
const COLLECTION: &str = "affluent_check";
const COLLECTION_TTL_S: u64 = 3_600;
const TRACES_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) async fn documents(config: &Config) -> Vec<Trial> {
    let mongodb = &config.documents.mongodb;
    vec![match config.documents.backend {
        Backend::Embedded => Trial::skipped(DOCUMENTS, "the embedded store, which starts with the platform"),
        Backend::Mongodb => match write_a_document(config).await {
            Ok(()) => Trial::ok(
                DOCUMENTS,
                format!("MongoDB, database {}: collection {COLLECTION} written and read", mongodb.database),
            ),
            Err(error) => Trial::failed(
                DOCUMENTS,
                error,
                format!(
                    "is documents.mongodb.uri right, and has its user the role readWrite on database {}?",
                    mongodb.database
                ),
            ),
        },
    }]
}

async fn write_a_document(config: &Config) -> Result<(), DocumentError> {
    let store = affluent_documents::open(&config.documents, &config.data_dir).await?;
    let ttl = Some(Ttl { seconds: COLLECTION_TTL_S, field: None });
    store.ensure(&CollectionSpec { ttl, ..CollectionSpec::new(COLLECTION) }).await?;
    let mut document = Inserts::default();
    document.push("check", |fields| fields.text("by", "affluent config check"));
    store.insert_if_absent(COLLECTION, &[Arc::new(document)]).await?;
    store.get(COLLECTION, &["check".to_owned()]).await.map(drop)
}

/// Whether the directory can be written is tried with the other files.
pub(super) async fn lake(config: &Config) -> Vec<Trial> {
    let catalog = &config.lake.catalog;
    let is_rest = config.lake.format == LakeFormat::Iceberg && catalog.contains("://");
    let mut trials = Vec::new();
    if config.lake.is_remote() {
        trials.push(bucket(config).await);
    }
    if is_rest {
        trials.push(rest_catalog(config).await);
    }
    if trials.is_empty() {
        trials.push(Trial::skipped(LAKE, "files of this machine"));
    }
    trials
}

async fn bucket(config: &Config) -> Trial {
    let place = config.lake.warehouse.display().to_string();
    match Lake::try_out(&config.lake).await {
        Ok(()) => Trial::ok(LAKE, format!("{place}: an object written, read and deleted")),
        // What to do is in the error.
        Err(error) => Trial::failed(
            LAKE,
            format!("{place}: {error}"),
            "is lake.warehouse the place of the tables, and are the keys of [lake.s3] those of its server?",
        ),
    }
}

async fn rest_catalog(config: &Config) -> Trial {
    let catalog = &config.lake.catalog;
    let tables = async {
        let lake = Lake::open_existing(config.lake.clone()).await?;
        lake.tables().await
    };
    match tables.await {
        Ok(tables) => Trial::ok(LAKE, format!("catalog {catalog}: {} tables", tables.len())),
        Err(error) => Trial::failed(
            LAKE,
            format!("catalog {catalog}: {error}"),
            "does lake.catalog name a catalog with Iceberg's REST interface, and do [lake.rest] warehouse, token or client credentials let us in?",
        ),
    }
}

pub(super) async fn models(config: &Config) -> Vec<Trial> {
    let url = &config.learning.mlflow.url;
    if url.is_empty() {
        return vec![Trial::skipped(MODELS, "models are kept in a folder")];
    }
    let listed = async {
        let registry = config.learning.store(&config.data_dir)?;
        anyhow::Ok(registry.models().await?.len())
    };
    vec![match listed.await {
        Ok(count) => Trial::ok(MODELS, format!("MLflow at {url}: {count} models")),
        Err(error) => Trial::failed(
            MODELS,
            format!("{error:#}"),
            "is learning.mlflow.url the address of an MLflow 3 tracking server, and learning.mlflow.token its token?",
        ),
    }]
}

pub(super) async fn copies(config: &Config) -> Vec<Trial> {
    let options = &config.bi.publish;
    if options.postgres.is_empty() {
        return vec![Trial::skipped(COPIES, "bi.publish.postgres is empty: nothing is copied")];
    }
    vec![match may_create(config).await {
        Ok(true) => Trial::ok(COPIES, format!("tables may be made in schema {}", options.schema)),
        Ok(false) => Trial::failed(
            COPIES,
            format!("no tables may be made in schema {}", options.schema),
            "as its owner: GRANT CREATE ON SCHEMA (where the schema is not there yet: ON DATABASE) to the user of bi.publish.postgres",
        ),
        Err(error) => Trial::failed(
            COPIES,
            format!("{error:#}").replace("cdc.connection", "bi.publish.postgres"),
            "does bi.publish.postgres name host, port, database, user and password?",
        ),
    }]
}

/// Whether the user may make tables in the schema, or the schema itself where it is not there.
async fn may_create(config: &Config) -> anyhow::Result<bool> {
    let options = CdcOptions { connection: config.bi.publish.postgres.clone(), ..CdcOptions::default() };
    let client = connect_source(&options).await?;
    let sql = "SELECT coalesce((SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = $1::text), \
               has_database_privilege(current_database(), 'CREATE'))";
    let row = client.query_one(sql, &[&config.bi.publish.schema]).await.context("ask for our rights")?;
    Ok(row.get(0))
}

/// An empty export: a receiver takes it and keeps nothing.
pub(super) async fn traces(config: &Config) -> Vec<Trial> {
    let options = &config.telemetry;
    if options.traces_url.is_empty() {
        return vec![Trial::skipped(TRACES, "no traces are sent")];
    }
    let sent = async {
        let client = reqwest::Client::builder().timeout(TRACES_TIMEOUT).build()?;
        let mut post = client.post(&options.traces_url).json(&json!({"resourceSpans": []}));
        if !options.traces_token.is_empty() {
            post = post.bearer_auth(&options.traces_token);
        }
        post.send().await?.error_for_status()
    };
    vec![match sent.await {
        Ok(_) => Trial::ok(TRACES, "the receiver of traces answers"),
        // The address may hold a password.
        Err(error) => Trial::failed(
            TRACES,
            format!("traces are not taken: {}", error.without_url()),
            "does telemetry.traces_url end in /v1/traces of a receiver of OTLP over HTTP, and is telemetry.traces_token its token?",
        ),
    }]
}
