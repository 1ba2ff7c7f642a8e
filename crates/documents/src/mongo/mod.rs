//! The MongoDB implementation, with the official driver.
//!
//! Writes are bulk `update` commands, each conditional on the stored version, with majority and journal
//! write concern; so a writer that comes too late, also from another process, changes nothing. Only
//! operations that every server of the protocol has are used: no transactions, no pipeline updates.
//!
//! Differences to the embedded store: timestamps order by millisecond in indexes; documents that are
//! past their time are removed by the server (and by [`DocumentStore::expire`]).

mod read;
mod states;
mod values;
mod write;

use crate::encoding::is_encodable;
use crate::{
    ApplyOutcome, CollectionSpec, Decimals, Document, DocumentError, DocumentStore, InsertOutcome, Inserts,
    MongoOptions, Page, Scan, VersionedWrite,
};
use affluent_model::{Position, Reason};
use async_trait::async_trait;
use mongodb::bson::{DateTime, Document as Bdoc, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClientOptions, IndexOptions, ReadConcern, WriteConcern};
use mongodb::{Client, Collection, Database, IndexModel};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use values::{Dialect, encode_name};

/// Largest document by our estimate; MongoDB's limit is 16 MiB with its own overhead.
const DOCUMENT_MAX: usize = 15 * 1024 * 1024;
/// Longest id in bytes; MongoDB's index keys have room for more.
const ID_MAX: usize = 8 * 1024;
/// Definitions and truncations, one document a collection.
const META: &str = "_affluent";

/// Documents in a MongoDB database.
pub struct MongoStore {
    database: Database,
    dialect: Dialect,
    batch_writes: usize,
    tombstone_ttl_us: i64,
    /// Collections as they were ensured, here or (read from the server) by another process.
    specs: RwLock<BTreeMap<String, CollectionSpec>>,
}

impl MongoStore {
    /// Connects and asks the server who it is.
    ///
    /// # Errors
    /// [`DocumentError::Config`] for an invalid connection string, [`DocumentError::Unavailable`] where
    /// no server answers in time.
    pub async fn connect(options: &MongoOptions, tombstone_ttl_s: u64) -> Result<Self, DocumentError> {
        if options.batch_writes == 0 || options.batch_writes > 100_000 {
            return Err(DocumentError::Config("documents.mongodb.batch_writes: 1 to 100,000".into()));
        }
        let config = |error: Error| DocumentError::Config(format!("documents.mongodb.uri: {error}"));
        let mut client = ClientOptions::parse(&options.uri).await.map_err(config)?;
        let timeout = Duration::from_millis(options.timeout_ms);
        client.app_name.get_or_insert_with(|| "affluent".to_owned());
        client.server_selection_timeout.get_or_insert(timeout);
        client.connect_timeout.get_or_insert(timeout);
        let mut concern = WriteConcern::majority();
        concern.journal = Some(true);
        client.write_concern = Some(concern);
        client.read_concern = Some(ReadConcern::majority());
        // Every write here is conditional and repeated by its caller.
        client.retry_writes = Some(false);
        let database = Client::with_options(client).map_err(config)?.database(&options.database);
        let server = database.run_command(doc! { "buildInfo": 1 }).await.map_err(passing)?;
        let ferretdb = server.contains_key("ferretdb") || server.contains_key("ferretdbVersion");
        let decimal128 = match options.decimals {
            Decimals::Auto => !ferretdb,
            Decimals::Decimal128 => true,
            Decimals::Text => false,
        };
        let version = server.get_str("version").unwrap_or_default();
        tracing::info!(version, ferretdb, decimal128, database = options.database, "mongodb connected");
        Ok(MongoStore {
            database,
            dialect: Dialect { decimal128, complete: !ferretdb },
            batch_writes: options.batch_writes,
            tombstone_ttl_us: i64::try_from(tombstone_ttl_s).unwrap_or(i64::MAX).saturating_mul(1_000_000),
            specs: RwLock::default(),
        })
    }

    /// The collection's definition.
    async fn spec(&self, name: &str) -> Result<CollectionSpec, DocumentError> {
        if let Some(spec) = self.specs.read().get(name) {
            return Ok(spec.clone());
        }
        let stored = self.meta().find_one(doc! { "_id": name }).await.map_err(passing)?;
        let json = stored.as_ref().and_then(|stored| stored.get_str("spec").ok());
        let spec: CollectionSpec = json
            .and_then(|json| serde_json::from_str(json).ok())
            .ok_or_else(|| DocumentError::UnknownCollection(name.to_owned()))?;
        self.specs.write().insert(name.to_owned(), spec.clone());
        Ok(spec)
    }

    fn meta(&self) -> Collection<Bdoc> {
        self.database.collection(META)
    }

    fn collection(&self, name: &str) -> Collection<Bdoc> {
        self.database.collection(name)
    }

    /// The position before which everything is gone.
    async fn truncated_at(&self, name: &str) -> Result<Position, DocumentError> {
        let stored = self.meta().find_one(doc! { "_id": name }).await.map_err(passing)?;
        let at = stored.as_ref().and_then(|stored| stored.get_document("truncated_at").ok());
        at.map_or(Ok(Position::default()), |at| {
            states::position_in(at).map_err(|error| corrupt(META, name, error))
        })
    }

    async fn create_indexes(&self, spec: &CollectionSpec) -> Result<(), DocumentError> {
        let collection = self.collection(&spec.name);
        let mut models: Vec<IndexModel> = spec
            .indexes
            .iter()
            .map(|index| {
                let mut keys: Bdoc =
                    index.fields.iter().map(|f| (encode_name(f).into_owned(), 1.into())).collect();
                keys.insert("_id", 1);
                let options = IndexOptions::builder().name(index.name.clone()).build();
                IndexModel::builder().keys(keys).options(options).build()
            })
            .collect();
        let expiring =
            IndexOptions::builder().name("_expiry".to_owned()).expire_after(Duration::ZERO).build();
        models.push(IndexModel::builder().keys(doc! { "_x": 1 }).options(expiring).build());
        for model in models {
            let name = model.options.as_ref().and_then(|options| options.name.clone()).unwrap_or_default();
            match collection.create_index(model).await {
                Ok(_) => {}
                // Without TTL indexes, `expire` removes what is due.
                Err(error) if name == "_expiry" && is_unsupported(&error) => {
                    tracing::debug!(%error, "no ttl index");
                }
                Err(error) if conflicts(&error) => {
                    return Err(DocumentError::Config(format!(
                        "index {name:?} of {:?} exists with other fields: choose another name ({error})",
                        spec.name
                    )));
                }
                Err(error) => return Err(passing(error)),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl DocumentStore for MongoStore {
    async fn ensure(&self, spec: &CollectionSpec) -> Result<(), DocumentError> {
        self.create_indexes(spec).await?;
        let mut whole = self.spec(&spec.name).await.unwrap_or_else(|_| CollectionSpec::new(&spec.name));
        let known = |name: &str| whole.indexes.iter().any(|index| index.name == name);
        let added: Vec<_> = spec.indexes.iter().filter(|index| !known(&index.name)).cloned().collect();
        whole.indexes.extend(added);
        whole.ttl.clone_from(&spec.ttl);
        let json = serde_json::to_string(&whole).map_err(|error| DocumentError::Config(error.to_string()))?;
        let update = doc! { "$set": { "spec": json } };
        self.meta().update_one(doc! { "_id": &spec.name }, update).upsert(true).await.map_err(passing)?;
        self.specs.write().insert(spec.name.clone(), whole);
        // A crash may have interrupted a truncation.
        let truncated_at = self.truncated_at(&spec.name).await?;
        self.sweep_truncated(&spec.name, truncated_at).await
    }

    fn admit(&self, write: &VersionedWrite) -> Result<(), DocumentError> {
        let refused = |reason, error: String| {
            Err(DocumentError::Refused { id: write.id.chars().take(64).collect(), reason, error })
        };
        if write.id.is_empty() || write.id.len() > ID_MAX {
            return refused(
                Reason::TooLarge,
                format!("id of {} bytes, expected 1 to {ID_MAX}", write.id.len()),
            );
        }
        let size = crate::document::size(write.action.fields());
        if size > DOCUMENT_MAX {
            return refused(Reason::TooLarge, format!("document of {size} bytes, at most {DOCUMENT_MAX}"));
        }
        if let Some((name, _)) = write.action.fields().iter().find(|(_, value)| !is_encodable(value, 0)) {
            return refused(Reason::ValueOutOfRange, format!("field {name:?}: arrays nested too deeply"));
        }
        if i64::try_from(write.version.lsn.0).is_err() || i64::try_from(write.version.ordinal).is_err() {
            return refused(Reason::ValueOutOfRange, format!("version {}: beyond 63 bits", write.version));
        }
        Ok(())
    }

    async fn insert_if_absent(
        &self,
        collection: &str,
        documents: &[Arc<Inserts>],
    ) -> Result<InsertOutcome, DocumentError> {
        self.insert(collection, documents).await
    }

    async fn apply(
        &self,
        collection: &str,
        writes: Vec<VersionedWrite>,
    ) -> Result<ApplyOutcome, DocumentError> {
        self.write(collection, writes).await
    }

    async fn truncate(&self, collection: &str, position: Position) -> Result<(), DocumentError> {
        self.spec(collection).await?;
        let filter = doc! { "_id": collection, "$or": [
            { "truncated_at": { "$exists": false } },
            { "truncated_at.lsn": { "$lt": position.lsn.0 as i64 } },
            { "truncated_at.lsn": position.lsn.0 as i64, "truncated_at.ordinal": { "$lt": position.ordinal as i64 } },
        ] };
        let update = doc! { "$set": { "truncated_at": states::position(position) } };
        self.meta().update_one(filter, update).await.map_err(passing)?;
        let truncated_at = self.truncated_at(collection).await?;
        self.sweep_truncated(collection, truncated_at).await
    }

    async fn get(&self, collection: &str, ids: &[String]) -> Result<Vec<Document>, DocumentError> {
        self.spec(collection).await?;
        self.read_ids(collection, ids).await
    }

    async fn scan(&self, collection: &str, scan: &Scan) -> Result<Page, DocumentError> {
        let spec = self.spec(collection).await?;
        self.read_page(&spec, scan).await
    }

    async fn count(&self, collection: &str) -> Result<u64, DocumentError> {
        self.spec(collection).await?;
        let live = doc! { "_d": { "$exists": false } };
        self.collection(collection).count_documents(live).await.map_err(passing)
    }

    async fn expire(&self, now: i64) -> Result<u64, DocumentError> {
        let names: Vec<String> = self.specs.read().keys().cloned().collect();
        let due = doc! { "_x": { "$lte": DateTime::from_millis(now.div_euclid(1_000)) } };
        let mut expired = 0;
        for name in names {
            let removed = self.collection(&name).delete_many(due.clone()).await.map_err(passing)?;
            expired += removed.deleted_count;
        }
        Ok(expired)
    }
}

/// Faults of the network, of elections and of the server pass; what the configuration is to blame for
/// does not.
fn passing(error: Error) -> DocumentError {
    match &*error.kind {
        ErrorKind::Authentication { .. }
        | ErrorKind::InvalidTlsConfig { .. }
        | ErrorKind::InvalidArgument { .. } => DocumentError::Config(error.to_string()),
        // Unauthorized, AuthenticationFailed.
        ErrorKind::Command(command) if matches!(command.code, 13 | 18) => {
            DocumentError::Config(error.to_string())
        }
        _ => DocumentError::Unavailable(format!("mongodb: {error}")),
    }
}

fn corrupt(collection: &str, id: &str, error: String) -> DocumentError {
    DocumentError::Corrupt { collection: collection.to_owned(), id: id.to_owned(), error }
}

fn is_unsupported(error: &Error) -> bool {
    // CommandNotSupported, NotImplemented.
    matches!(&*error.kind, ErrorKind::Command(command) if matches!(command.code, 115 | 238))
}

fn conflicts(error: &Error) -> bool {
    // IndexOptionsConflict, IndexKeySpecsConflict.
    matches!(&*error.kind, ErrorKind::Command(command) if matches!(command.code, 85 | 86))
}
