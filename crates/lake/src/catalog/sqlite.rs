//! The catalog in one SQLite file of this machine.
//!
//! Its tables are those of Iceberg's SQL catalogs, so other engines open the same file. Creating and
//! committing are ours: the stock catalog ignores the outcome of its SQL commit and does not flush what
//! it points at. Invariant: the row of a table changes only by compare-and-swap, and only after the
//! new metadata file is on disk, or acknowledged by the object store.

use super::{Catalog, Ground, conflict};
use crate::store::Store;
use crate::upkeep::clean;
use crate::{LakeError, LakeOptions, files};
use affluent_telemetry::failpoint;
use async_trait::async_trait;
use iceberg::spec::{TableMetadata, TableMetadataBuilder};
use iceberg::table::Table;
use iceberg::{MetadataLocation, NamespaceIdent, TableCreation, TableIdent, TableRequirement, TableUpdate};
use sqlx::Row as _;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for another process's transaction on the catalog file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Table property: delete metadata files that fall out of the metadata log.
const DELETE_AFTER_COMMIT: &str = "write.metadata.delete-after-commit.enabled";
/// The tables of every Iceberg SQL catalog.
const SCHEMA: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS iceberg_tables (
         catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL,
         table_name VARCHAR(255) NOT NULL, metadata_location VARCHAR(1000),
         previous_metadata_location VARCHAR(1000), iceberg_type VARCHAR(5),
         PRIMARY KEY (catalog_name, table_namespace, table_name))",
    "CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
         catalog_name VARCHAR(255) NOT NULL, namespace VARCHAR(255) NOT NULL,
         property_key VARCHAR(255), property_value VARCHAR(1000),
         PRIMARY KEY (catalog_name, namespace, property_key))",
];
/// Readings of a table whose metadata file vanishes meanwhile, before that is an error.
const LOADS_MAX: u32 = 10;

/// Iceberg's catalog over SQLite with commits that hold.
#[derive(Debug)]
pub(super) struct SqliteCatalog {
    pool: SqlitePool,
    name: String,
    ground: Ground,
}

/// A pool on a SQLite file, flushed at every commit. Missing directories and file are created.
pub(super) async fn connect(path: &Path) -> Result<SqlitePool, LakeError> {
    if let Some(parent) = path.parent() {
        files::create_dirs(parent)?;
    }
    let connect = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT);
    Ok(SqlitePoolOptions::new().max_connections(4).connect_with(connect).await?)
}

impl SqliteCatalog {
    /// Opens the catalog, creating file and tables where they are missing.
    pub(super) async fn open(path: &Path, options: &LakeOptions) -> Result<Self, LakeError> {
        files::create_dirs(options.directory())?;
        let pool = connect(path).await?;
        for table in SCHEMA {
            sqlx::query(table).execute(&pool).await?;
        }
        clean::prepare(&pool).await?;
        Ok(SqliteCatalog { pool, name: options.catalog_name.clone(), ground: Ground::new(options).await? })
    }

    /// Where every table stands, at one moment: one read of the catalog.
    async fn locations(&self) -> Result<Vec<(TableIdent, String)>, LakeError> {
        let rows = sqlx::query(
            "SELECT table_namespace, table_name, metadata_location FROM iceberg_tables
             WHERE catalog_name = ? ORDER BY table_namespace, table_name",
        )
        .bind(&self.name)
        .fetch_all(&self.pool)
        .await?;
        let mut tables = Vec::with_capacity(rows.len());
        for row in rows {
            let (namespace, name, location): (String, String, String) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let ident = TableIdent::new(NamespaceIdent::from_strs(namespace.split('.'))?, name);
            tables.push((ident, location));
        }
        Ok(tables)
    }

    /// The table as the metadata file at `location` has it.
    async fn at(&self, ident: &TableIdent, location: String) -> Result<Table, LakeError> {
        let metadata = TableMetadata::read_from(&self.ground.file_io, &location).await?;
        self.ground.table(ident, Some(location), Arc::new(metadata))
    }

    async fn write_metadata(&self, location: &str, metadata: &TableMetadata) -> Result<(), LakeError> {
        let json = serde_json::to_vec(metadata).map_err(|error| LakeError::Malformed {
            what: "table metadata".into(),
            error: error.to_string(),
        })?;
        files::write(&self.ground.file_io, location, json).await
    }

    /// Where the table stands.
    async fn location(&self, ident: &TableIdent) -> Result<String, LakeError> {
        let row = sqlx::query(
            "SELECT metadata_location FROM iceberg_tables
             WHERE catalog_name = ? AND table_namespace = ? AND table_name = ?",
        )
        .bind(&self.name)
        .bind(ident.namespace().join("."))
        .bind(ident.name())
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.ok_or_else(|| LakeError::NotFound(ident.to_string()))?.try_get(0)?)
    }

    /// The compare-and-swap. True when the table stands at `new` because of this call.
    async fn swap(&self, ident: &TableIdent, old: &str, new: &str) -> Result<bool, LakeError> {
        let swapped = sqlx::query(
            "UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = ?
             WHERE catalog_name = ? AND table_namespace = ? AND table_name = ? AND metadata_location = ?",
        )
        .bind(new)
        .bind(old)
        .bind(&self.name)
        .bind(ident.namespace().join("."))
        .bind(ident.name())
        .bind(old)
        .execute(&self.pool)
        .await;
        match swapped {
            Ok(result) => Ok(result.rows_affected() == 1),
            // The statement may have been stored all the same: the table's history tells.
            Err(error) => {
                tracing::warn!(table = %ident, %error, "outcome of a commit unknown, looking");
                let table = self.load(ident, None).await.map_err(|looking| LakeError::Unsettled {
                    table: ident.to_string(),
                    error: format!("{error}; {looking}"),
                })?;
                let stored = table.metadata_location() == Some(new)
                    || table.metadata().metadata_log().iter().any(|log| log.metadata_file == new);
                if stored { Ok(true) } else { Err(error.into()) }
            }
        }
    }
}

#[async_trait]
impl Catalog for SqliteCatalog {
    async fn tables(&self) -> Result<Vec<TableIdent>, LakeError> {
        Ok(self.locations().await?.into_iter().map(|(ident, _)| ident).collect())
    }

    /// All of one moment.
    async fn load_all(&self, known: &HashMap<TableIdent, Table>) -> Result<Vec<Table>, LakeError> {
        let mut tables = Vec::new();
        for (ident, location) in self.locations().await? {
            let same = known.get(&ident).filter(|table| table.metadata_location() == Some(&location));
            tables.push(match same {
                Some(table) => table.clone(),
                None => self.at(&ident, location).await?,
            });
        }
        Ok(tables)
    }

    /// A metadata file that vanishes between looking and reading was replaced by newer ones: it looks again.
    async fn load(&self, ident: &TableIdent, known: Option<&Table>) -> Result<Table, LakeError> {
        let mut attempts = 0;
        loop {
            let location = self.location(ident).await?;
            if let Some(table) = known.filter(|table| table.metadata_location() == Some(&location)) {
                return Ok(table.clone());
            }
            match self.at(ident, location.clone()).await {
                Ok(table) => return Ok(table),
                Err(error) => {
                    attempts += 1;
                    if attempts == LOADS_MAX || self.location(ident).await? == location {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn create(
        &self,
        namespace: &NamespaceIdent,
        mut creation: TableCreation,
    ) -> Result<Table, LakeError> {
        sqlx::query(
            "INSERT INTO iceberg_namespace_properties
                 (catalog_name, namespace, property_key, property_value)
             VALUES (?, ?, 'exists', 'true') ON CONFLICT DO NOTHING",
        )
        .bind(&self.name)
        .bind(namespace.join("."))
        .execute(&self.pool)
        .await?;
        let ident = TableIdent::new(namespace.clone(), creation.name.clone());
        let location = self.ground.location(namespace, &creation.name);
        creation.location = Some(location.clone());
        let metadata = TableMetadataBuilder::from_table_creation(creation)?.build()?.metadata;
        let path = MetadataLocation::new_with_metadata(&location, &metadata).to_string();
        self.write_metadata(&path, &metadata).await?;
        let created = sqlx::query(
            "INSERT INTO iceberg_tables
                 (catalog_name, table_namespace, table_name, metadata_location, iceberg_type)
             VALUES (?, ?, ?, ?, 'TABLE') ON CONFLICT DO NOTHING",
        )
        .bind(&self.name)
        .bind(namespace.join("."))
        .bind(ident.name())
        .bind(&path)
        .execute(&self.pool)
        .await?;
        if created.rows_affected() == 1 {
            return self.ground.table(&ident, Some(path), Arc::new(metadata));
        }
        files::discard(&self.ground.file_io, [path.as_str()]);
        self.load(&ident, None).await
    }

    /// One metadata file, one row. Everything that a table is counts, not the requirements alone.
    async fn commit(
        &self,
        base: &Table,
        requirements: &[TableRequirement],
        updates: Vec<TableUpdate>,
    ) -> Result<Table, LakeError> {
        for requirement in requirements {
            requirement.check(Some(base.metadata()))?;
        }
        let old = base.metadata_location_result()?.to_owned();
        let mut builder = base.metadata().clone().into_builder(Some(old.clone()));
        for update in updates {
            builder = update.apply(builder)?;
        }
        let built = builder.build()?;
        let metadata = built.metadata;
        let new =
            MetadataLocation::from_str(&old)?.with_next_version().with_new_metadata(&metadata).to_string();
        self.write_metadata(&new, &metadata).await?;
        failpoint("lake::before_swap");
        match self.swap(base.identifier(), &old, &new).await {
            Ok(true) => {}
            Ok(false) => {
                files::discard(&self.ground.file_io, [new.as_str()]);
                return Err(conflict(base.identifier()));
            }
            Err(error @ LakeError::Unsettled { .. }) => return Err(error),
            Err(error) => {
                files::discard(&self.ground.file_io, [new.as_str()]);
                return Err(error);
            }
        }
        failpoint("lake::after_swap");
        if metadata.properties().get(DELETE_AFTER_COMMIT).is_some_and(|on| on == "true") {
            let expired = built.expired_metadata_logs.iter().map(|log| log.metadata_file.as_str());
            files::discard(&self.ground.file_io, expired);
        }
        self.ground.table(base.identifier(), Some(new), Arc::new(metadata))
    }

    async fn drop_table(&self, ident: &TableIdent) -> Result<(), LakeError> {
        let dropped = sqlx::query(
            "DELETE FROM iceberg_tables WHERE catalog_name = ? AND table_namespace = ? AND table_name = ?",
        )
        .bind(&self.name)
        .bind(ident.namespace().join("."))
        .bind(ident.name())
        .execute(&self.pool)
        .await?;
        match dropped.rows_affected() {
            0 => Err(LakeError::NotFound(ident.to_string())),
            _ => Ok(()),
        }
    }

    fn store(&self) -> Option<&Store> {
        self.ground.store.as_ref()
    }

    async fn sightings(&self) -> Result<SqlitePool, LakeError> {
        Ok(self.pool.clone())
    }
}
