//! The catalog: which metadata file each table stands at, in SQLite.
//!
//! It wraps Iceberg's own SQL catalog and keeps its tables, so other engines open the same file.
//! Creating and committing are ours: the stock catalog ignores the outcome of its SQL commit and
//! does not flush what it points at. Invariant: the row of a table changes only by
//! compare-and-swap, and only after the new metadata file is on disk.

use crate::{LakeError, LakeOptions, files};
use async_trait::async_trait;
use iceberg::io::{FileIO, LocalFsStorageFactory};
use iceberg::spec::{TableMetadata, TableMetadataBuilder};
use iceberg::table::Table;
use iceberg::{
    Catalog, CatalogBuilder, Error, ErrorKind, MetadataLocation, Namespace, NamespaceIdent, Result, Runtime,
    TableCommit, TableCreation, TableIdent, TableRequirement, TableUpdate,
};
use iceberg_catalog_sql::{SqlBindStyle, SqlCatalog, SqlCatalogBuilder};
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

/// Iceberg's catalog over SQLite with commits that hold. Also a [`Catalog`], for stock
/// transactions and query engines.
#[derive(Debug, Clone)]
pub struct LakeCatalog {
    stock: Arc<SqlCatalog>,
    pool: SqlitePool,
    name: String,
    warehouse: String,
    file_io: FileIO,
    runtime: Runtime,
}

impl LakeCatalog {
    /// Opens the catalog, creating file and tables where they are missing.
    pub(crate) async fn open(options: &LakeOptions) -> std::result::Result<Self, LakeError> {
        let path = options.catalog_path();
        files::create_dirs(&options.warehouse)?;
        if let Some(parent) = path.parent() {
            files::create_dirs(parent)?;
        }
        let connect = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(connect).await?;
        sqlx::query(
            "CREATE TABLE IF NOT EXISTS affluent_unreferenced (
                 path TEXT PRIMARY KEY, table_location TEXT NOT NULL, since_ms INTEGER NOT NULL)",
        )
        .execute(&pool)
        .await?;
        let warehouse = absolute(&options.warehouse)?;
        let stock = SqlCatalogBuilder::default()
            .uri(format!("sqlite://{}?mode=rwc", path.display()))
            .warehouse_location(&warehouse)
            .sql_bind_style(SqlBindStyle::QMark)
            .with_storage_factory(Arc::new(LocalFsStorageFactory))
            .load(&options.catalog_name, HashMap::new())
            .await?;
        Ok(LakeCatalog {
            stock: Arc::new(stock),
            pool,
            name: options.catalog_name.clone(),
            warehouse,
            file_io: FileIO::new_with_fs(),
            runtime: Runtime::try_current()?,
        })
    }

    /// The SQLite pool, for the bookkeeping of unreferenced files beside the catalog.
    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Every table of the catalog.
    pub(crate) async fn tables(&self) -> std::result::Result<Vec<TableIdent>, LakeError> {
        Ok(self.locations().await?.into_iter().map(|(ident, _)| ident).collect())
    }

    /// Where every table stands, at one moment: one read of the catalog.
    pub(crate) async fn locations(&self) -> std::result::Result<Vec<(TableIdent, String)>, LakeError> {
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
    pub(crate) async fn at(
        &self,
        ident: &TableIdent,
        location: String,
    ) -> std::result::Result<Table, LakeError> {
        let metadata = TableMetadata::read_from(&self.file_io, &location).await?;
        Ok(self.table(ident, location, Arc::new(metadata))?)
    }

    /// Where the table stands, or `None` where there is no such table.
    pub(crate) async fn location(
        &self,
        ident: &TableIdent,
    ) -> std::result::Result<Option<String>, LakeError> {
        let row = sqlx::query(
            "SELECT metadata_location FROM iceberg_tables
             WHERE catalog_name = ? AND table_namespace = ? AND table_name = ?",
        )
        .bind(&self.name)
        .bind(ident.namespace().join("."))
        .bind(ident.name())
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// The table as it stands now. A metadata file that vanishes between looking and reading was
    /// replaced by newer ones: look again.
    pub(crate) async fn load(&self, ident: &TableIdent) -> std::result::Result<Table, LakeError> {
        let mut attempts = 0;
        loop {
            let location =
                self.location(ident).await?.ok_or_else(|| LakeError::NotFound(ident.to_string()))?;
            match self.at(ident, location.clone()).await {
                Ok(table) => return Ok(table),
                Err(error) => {
                    attempts += 1;
                    let moved = self.location(ident).await?.is_some_and(|now| now != location);
                    if !moved || attempts == 10 {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Creates the table, or returns the one that somebody created first.
    pub(crate) async fn create(
        &self,
        namespace: &NamespaceIdent,
        mut creation: TableCreation,
    ) -> std::result::Result<Table, LakeError> {
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
        let location = match &creation.location {
            Some(location) => location.clone(),
            None => format!("{}/{}/{}", self.warehouse, namespace.join("/"), creation.name),
        };
        creation.location = Some(location.clone());
        let metadata = TableMetadataBuilder::from_table_creation(creation)?.build()?.metadata;
        let path = MetadataLocation::new_with_metadata(&location, &metadata).to_string();
        write_metadata(&path, &metadata)?;
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
            return Ok(self.table(&ident, path, Arc::new(metadata))?);
        }
        files::remove(Path::new(&path))?;
        self.load(&ident).await
    }

    /// Moves the table from `base` to `base` with `updates`. One metadata file, one row.
    ///
    /// # Errors
    /// `CatalogCommitConflicts` (retryable) where the table no longer stands at `base`: load it
    /// again and decide again. Nothing of a failed commit is visible.
    pub(crate) async fn commit(
        &self,
        base: &Table,
        requirements: &[TableRequirement],
        updates: Vec<TableUpdate>,
    ) -> Result<Table> {
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
        write_metadata(&new, &metadata).map_err(|error| storage(&error))?;
        affluent_telemetry::failpoint("lake::before_swap");
        if !self.swap(base.identifier(), &old, &new).await? {
            files::remove(Path::new(&new)).map_err(|error| storage(&error))?;
            return Err(conflict(base.identifier()));
        }
        affluent_telemetry::failpoint("lake::after_swap");
        if metadata.properties().get(DELETE_AFTER_COMMIT).is_some_and(|on| on == "true") {
            for expired in &built.expired_metadata_logs {
                // What stays behind here is found as unreferenced later.
                let _ = files::remove(Path::new(&expired.metadata_file));
            }
        }
        self.table(base.identifier(), new, Arc::new(metadata))
    }

    /// The compare-and-swap. True when the table stands at `new` because of this call.
    async fn swap(&self, ident: &TableIdent, old: &str, new: &str) -> Result<bool> {
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
                let table = self.load(ident).await.map_err(|error| storage(&error))?;
                let stored = table.metadata_location() == Some(new)
                    || table.metadata().metadata_log().iter().any(|log| log.metadata_file == new);
                if stored {
                    return Ok(true);
                }
                files::remove(Path::new(new)).map_err(|error| storage(&error))?;
                Err(Error::new(ErrorKind::Unexpected, format!("commit to {ident}: {error}")))
            }
        }
    }

    fn table(&self, ident: &TableIdent, location: String, metadata: Arc<TableMetadata>) -> Result<Table> {
        Table::builder()
            .file_io(self.file_io.clone())
            .identifier(ident.clone())
            .metadata_location(location)
            .metadata(metadata)
            .runtime(self.runtime.clone())
            .build()
    }
}

/// The stock catalog with our creation, loading and commit.
#[async_trait]
impl Catalog for LakeCatalog {
    async fn list_namespaces(&self, parent: Option<&NamespaceIdent>) -> Result<Vec<NamespaceIdent>> {
        self.stock.list_namespaces(parent).await
    }

    async fn create_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> Result<Namespace> {
        self.stock.create_namespace(namespace, properties).await
    }

    async fn get_namespace(&self, namespace: &NamespaceIdent) -> Result<Namespace> {
        self.stock.get_namespace(namespace).await
    }

    async fn namespace_exists(&self, namespace: &NamespaceIdent) -> Result<bool> {
        self.stock.namespace_exists(namespace).await
    }

    async fn update_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> Result<()> {
        self.stock.update_namespace(namespace, properties).await
    }

    async fn drop_namespace(&self, namespace: &NamespaceIdent) -> Result<()> {
        self.stock.drop_namespace(namespace).await
    }

    async fn list_tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        self.stock.list_tables(namespace).await
    }

    async fn create_table(&self, namespace: &NamespaceIdent, creation: TableCreation) -> Result<Table> {
        let ident = TableIdent::new(namespace.clone(), creation.name.clone());
        if self.table_exists(&ident).await? {
            return Err(Error::new(ErrorKind::TableAlreadyExists, format!("table {ident} exists")));
        }
        self.create(namespace, creation).await.map_err(|error| storage(&error))
    }

    async fn load_table(&self, table: &TableIdent) -> Result<Table> {
        self.load(table).await.map_err(|error| match error {
            LakeError::Iceberg(error) => error,
            LakeError::NotFound(name) => {
                Error::new(ErrorKind::TableNotFound, format!("no table {name} in the lake"))
            }
            other => storage(&other),
        })
    }

    async fn drop_table(&self, table: &TableIdent) -> Result<()> {
        self.stock.drop_table(table).await
    }

    async fn purge_table(&self, table: &TableIdent) -> Result<()> {
        self.stock.purge_table(table).await
    }

    async fn table_exists(&self, table: &TableIdent) -> Result<bool> {
        self.stock.table_exists(table).await
    }

    async fn rename_table(&self, src: &TableIdent, dest: &TableIdent) -> Result<()> {
        self.stock.rename_table(src, dest).await
    }

    async fn register_table(&self, table: &TableIdent, metadata_location: String) -> Result<Table> {
        self.stock.register_table(table, metadata_location).await
    }

    async fn update_table(&self, mut commit: TableCommit) -> Result<Table> {
        let base = self.load_table(commit.identifier()).await?;
        self.commit(&base, &commit.take_requirements(), commit.take_updates()).await
    }
}

fn write_metadata(path: &str, metadata: &TableMetadata) -> std::result::Result<(), LakeError> {
    let json = serde_json::to_vec(metadata)
        .map_err(|error| LakeError::Malformed { what: "table metadata".into(), error: error.to_string() })?;
    files::write_durable(Path::new(path), &json)
}

fn absolute(path: &Path) -> std::result::Result<String, LakeError> {
    let absolute = std::path::absolute(path).map_err(|source| LakeError::Io {
        action: "resolve",
        path: path.display().to_string(),
        source,
    })?;
    absolute.into_os_string().into_string().map_err(|path| {
        LakeError::Options(format!("warehouse {} is not UTF-8: Iceberg stores paths as text", path.display()))
    })
}

fn storage(error: &LakeError) -> Error {
    Error::new(ErrorKind::Unexpected, error.to_string())
}

fn conflict(ident: &TableIdent) -> Error {
    Error::new(ErrorKind::CatalogCommitConflicts, format!("table {ident} was changed by another writer"))
        .with_retryable(true)
}
