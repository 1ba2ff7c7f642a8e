//! The catalog: at which metadata each table stands.
//!
//! Here live the port that writers, readers and upkeep go through, and the choice between its two
//! implementations: SQLite (`sqlite`) and Iceberg's REST protocol (`rest`). Invariant: a table changes
//! only by compare-and-swap: a commit is stored on the state that it was decided on, or not at all.

mod rest;
mod sqlite;

use crate::options::CatalogPlace;
use crate::store::Store;
use crate::{LakeError, LakeOptions};
use async_trait::async_trait;
use iceberg::io::FileIO;
use iceberg::spec::TableMetadata;
use iceberg::table::Table;
use iceberg::{
    Error, ErrorKind, NamespaceIdent, Runtime, TableCreation, TableIdent, TableRequirement, TableUpdate,
};
use sqlx::sqlite::SqlitePool;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// What the lake needs of a catalog.
#[async_trait]
pub(crate) trait Catalog: std::fmt::Debug + Send + Sync {
    /// Every table.
    async fn tables(&self) -> Result<Vec<TableIdent>, LakeError>;

    /// Every table as it stands; those of `known` that have not moved are given back as they are.
    async fn load_all(&self, known: &HashMap<TableIdent, Table>) -> Result<Vec<Table>, LakeError>;

    /// The table as it stands; `known` itself, where it has not moved since.
    ///
    /// # Errors
    /// [`LakeError::NotFound`].
    async fn load(&self, ident: &TableIdent, known: Option<&Table>) -> Result<Table, LakeError>;

    /// Creates the table and its namespace, or returns the table that somebody created first.
    async fn create(&self, namespace: &NamespaceIdent, creation: TableCreation) -> Result<Table, LakeError>;

    /// Moves the table from `base` to `base` with `updates`. What the updates were computed from has to be
    /// among the requirements, unless it is the table's properties of ours: they count as one with `main`.
    ///
    /// # Errors
    /// One that [`is_conflict`] knows, where the table has moved: load it again and decide again. After
    /// [`LakeError::Unsettled`] the commit may be stored, now or a little later; after every other error it
    /// is not and never will be.
    async fn commit(
        &self,
        base: &Table,
        requirements: &[TableRequirement],
        updates: Vec<TableUpdate>,
    ) -> Result<Table, LakeError>;

    /// Takes the table out of the catalog. Its files stay.
    ///
    /// # Errors
    /// [`LakeError::NotFound`].
    async fn drop_table(&self, ident: &TableIdent) -> Result<(), LakeError>;

    /// The object store that the tables lie in, if they do.
    fn store(&self) -> Option<&Store>;

    /// Where `clean` keeps what it has seen unreferenced.
    async fn sightings(&self) -> Result<SqlitePool, LakeError>;
}

/// Opens the catalog that the options name, creating what is missing of it.
pub(crate) async fn open(options: &LakeOptions) -> Result<Arc<dyn Catalog>, LakeError> {
    match options.catalog_place()? {
        CatalogPlace::Sqlite(path) => Ok(Arc::new(sqlite::SqliteCatalog::open(&path, options).await?)),
        CatalogPlace::Rest(url) => Ok(Arc::new(rest::RestCatalog::open(&url, options).await?)),
    }
}

/// True where the table moved under a commit: refresh and decide again.
pub(crate) fn is_conflict(error: &LakeError) -> bool {
    matches!(error, LakeError::Iceberg(error) if error.kind() == ErrorKind::CatalogCommitConflicts)
}

fn conflict(ident: &TableIdent) -> LakeError {
    let message = format!("table {ident} was changed by another writer");
    Error::new(ErrorKind::CatalogCommitConflicts, message).with_retryable(true).into()
}

/// What tables are made with: files of the local disk, or of an object store.
#[derive(Debug, Clone)]
struct Ground {
    /// Absolute path of the warehouse, or its location in the store.
    warehouse: String,
    store: Option<Store>,
    file_io: FileIO,
    runtime: Runtime,
}

impl Ground {
    /// # Errors
    /// [`LakeError::Store`] where the object store is not to be used.
    async fn new(options: &LakeOptions) -> Result<Self, LakeError> {
        let runtime = Runtime::try_current()?;
        let Some(place) = options.bucket()? else {
            let warehouse = absolute(&options.warehouse)?;
            return Ok(Ground { warehouse, store: None, file_io: FileIO::new_with_fs(), runtime });
        };
        let (store, warehouse) = (Store::new(&place.bucket, &options.s3)?, place.location());
        store.reach(&warehouse).await?;
        Ok(Ground { warehouse, file_io: store.file_io(), store: Some(store), runtime })
    }

    /// Where a new table lies.
    fn location(&self, namespace: &NamespaceIdent, name: &str) -> String {
        format!("{}/{}/{name}", self.warehouse, namespace.join("/"))
    }

    fn table(
        &self,
        ident: &TableIdent,
        location: Option<String>,
        metadata: Arc<TableMetadata>,
    ) -> Result<Table, LakeError> {
        let files = metadata.location();
        let (is_ours, ours) = match &self.store {
            Some(store) => (store.holds(files), "in the bucket that lake.warehouse names"),
            None => {
                let is_local = !files.contains("://") || files.starts_with("file://");
                (is_local, "on local disk, as lake.warehouse says")
            }
        };
        if !is_ours {
            return Err(LakeError::Options(format!(
                "table {ident} lies at {files}: the lake's files have to be {ours}"
            )));
        }
        let mut table = Table::builder()
            .file_io(self.file_io.clone())
            .identifier(ident.clone())
            .metadata(metadata)
            .runtime(self.runtime.clone());
        if let Some(location) = location {
            table = table.metadata_location(location);
        }
        Ok(table.build()?)
    }
}

fn absolute(path: &Path) -> Result<String, LakeError> {
    let absolute = std::path::absolute(path).map_err(|source| LakeError::Io {
        action: "resolve",
        path: path.display().to_string(),
        source,
    })?;
    absolute.into_os_string().into_string().map_err(|path| {
        LakeError::Options(format!("warehouse {} is not UTF-8: Iceberg stores paths as text", path.display()))
    })
}
