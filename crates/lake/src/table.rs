//! The lake's tables: opening, creating, evolving, and what this process knows of each.

use crate::catalog::{self, Catalog};
use crate::files;
use crate::options::CatalogPlace;
use crate::store::Store;
use crate::values::schema;
use crate::values::types;
use crate::write::commits::Alteration;
use crate::write::partition::{self, Partition};
use crate::{LakeError, LakeOptions, OFFSETS_PROPERTY, Offsets};
use affluent_model::Column;
use futures::future::BoxFuture;
use iceberg::spec::NestedFieldRef;
use iceberg::table::Table;
use iceberg::{NamespaceIdent, TableIdent, TableRequirement, TableUpdate};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// One snapshot of a table's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    pub id: i64,
    /// Grows with every snapshot of the table.
    pub sequence: i64,
    /// Commit time, milliseconds UTC.
    pub timestamp_ms: i64,
    /// Iceberg's operation: `append`, `replace`, …
    pub operation: String,
    /// Rows and files of the whole table at this snapshot, and the size of the files.
    pub rows: u64,
    pub files: u64,
    pub bytes: u64,
    /// Offsets stored with the snapshot, where it is one of ours.
    pub offsets: Option<Offsets>,
}

/// Iceberg tables in a directory or a bucket, and their catalog. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lake {
    catalog: Arc<dyn Catalog>,
    options: Arc<LakeOptions>,
    tables: Arc<Mutex<HashMap<TableIdent, LakeTable>>>,
}

/// One table. Cheap to clone; clones share what they know of the table's state.
#[derive(Debug, Clone)]
pub struct LakeTable(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) catalog: Arc<dyn Catalog>,
    pub(crate) options: Arc<LakeOptions>,
    pub(crate) ident: TableIdent,
    /// The newest state this process knows of; another process may be ahead.
    known: Mutex<Table>,
    /// One commit of this process at a time, so that only other processes are races.
    committing: tokio::sync::Mutex<()>,
    pub(crate) directories: files::KnownDirs,
}

impl Lake {
    /// Opens the lake, creating directory and catalog where they are missing.
    ///
    /// # Errors
    /// Options that cannot work; the disk; a catalog that is not one.
    pub fn open(options: LakeOptions) -> BoxFuture<'static, Result<Self, LakeError>> {
        Box::pin(Self::open_catalog(options))
    }

    async fn open_catalog(options: LakeOptions) -> Result<Self, LakeError> {
        options.check()?;
        let catalog = catalog::open(&options).await?;
        Ok(Lake { catalog, options: Arc::new(options), tables: Arc::default() })
    }

    /// Opens a lake that is there already, for readers: creates nothing.
    ///
    /// # Errors
    /// As [`Lake::open`]; [`LakeError::Options`] where there is no catalog.
    pub async fn open_existing(options: LakeOptions) -> Result<Self, LakeError> {
        options.check()?;
        if let CatalogPlace::Sqlite(file) = options.catalog_place()?
            && !file.is_file()
        {
            return Err(LakeError::Options(format!("there is no lake: no file {}", file.display())));
        }
        Self::open(options).await
    }

    /// Tries the object store that the tables are to lie in: a small object is written, read and deleted. Does nothing where
    /// they lie in a directory.
    ///
    /// # Errors
    /// [`LakeError::Options`], [`LakeError::Store`].
    pub fn try_out(options: &LakeOptions) -> BoxFuture<'_, Result<(), LakeError>> {
        Box::pin(async move {
            options.check()?;
            let Some(place) = options.bucket()? else { return Ok(()) };
            Store::new(&place.bucket, &options.s3)?.try_out(&place.location()).await
        })
    }

    pub(crate) fn catalog(&self) -> &dyn Catalog {
        self.catalog.as_ref()
    }

    #[must_use]
    pub fn options(&self) -> &LakeOptions {
        &self.options
    }

    /// Namespace and name of every table.
    ///
    /// # Errors
    /// The catalog cannot be read.
    pub async fn tables(&self) -> Result<Vec<(String, String)>, LakeError> {
        let idents = self.catalog.tables().await?;
        Ok(idents.into_iter().map(|ident| (ident.namespace().join("."), ident.name().to_owned())).collect())
    }

    /// An existing table.
    ///
    /// # Errors
    /// [`LakeError::NotFound`].
    pub fn table<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<LakeTable, LakeError>> {
        Box::pin(self.load(namespace, name))
    }

    async fn load(&self, namespace: &str, name: &str) -> Result<LakeTable, LakeError> {
        let ident = ident(namespace, name)?;
        if let Some(table) = self.tables.lock().get(&ident) {
            return Ok(table.clone());
        }
        let table = self.catalog.load(&ident, None).await?;
        Ok(self.share(table))
    }

    /// The table with at least `columns`, created where it is missing. `partition` counts at
    /// creation alone; so does `nullable`: columns added later are nullable.
    ///
    /// # Errors
    /// [`LakeError::Incompatible`] where a column exists with a type that cannot become the wanted.
    pub async fn ensure_table(
        &self,
        namespace: &str,
        name: &str,
        columns: &[Column],
        partition: &Partition,
    ) -> Result<LakeTable, LakeError> {
        self.ensure_sorted_table(namespace, name, columns, partition, &[]).await
    }

    /// The same, with its rows sorted by the columns `sort_by` inside each file from now on, where the
    /// table has no order yet: ascending, nulls first.
    ///
    /// # Errors
    /// As [`Lake::ensure_table`]; [`LakeError::NoColumn`] and [`LakeError::Options`] for columns that
    /// are not there or have no order (only booleans, whole numbers, texts, dates and times have).
    pub fn ensure_sorted_table<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        columns: &'a [Column],
        partition: &'a Partition,
        sort_by: &'a [&'a str],
    ) -> BoxFuture<'a, Result<LakeTable, LakeError>> {
        Box::pin(self.ensure(namespace, name, columns, partition, sort_by))
    }

    async fn ensure(
        &self,
        namespace: &str,
        name: &str,
        columns: &[Column],
        partition: &Partition,
        sort_by: &[&str],
    ) -> Result<LakeTable, LakeError> {
        let table = match self.table(namespace, name).await {
            Err(LakeError::NotFound(_)) => {
                let creation = partition::creation(namespace, name, columns, partition)?;
                let created = self.catalog.create(ident(namespace, name)?.namespace(), creation).await?;
                self.share(created)
            }
            other => other?,
        };
        table.evolve(columns).await?;
        table.declare_order(sort_by).await?;
        Ok(table)
    }

    /// Takes a table out of the catalog. Its files stay.
    ///
    /// # Errors
    /// [`LakeError::NotFound`]; the catalog fails.
    pub async fn drop_table(&self, namespace: &str, name: &str) -> Result<(), LakeError> {
        let ident = ident(namespace, name)?;
        self.catalog.drop_table(&ident).await?;
        self.tables.lock().remove(&ident);
        Ok(())
    }

    fn share(&self, table: Table) -> LakeTable {
        let ident = table.identifier().clone();
        let fresh = LakeTable(Arc::new(Shared {
            catalog: Arc::clone(&self.catalog),
            options: Arc::clone(&self.options),
            ident: ident.clone(),
            known: Mutex::new(table),
            committing: tokio::sync::Mutex::new(()),
            directories: files::KnownDirs::default(),
        }));
        self.tables.lock().entry(ident).or_insert(fresh).clone()
    }
}

impl LakeTable {
    /// `namespace.name`.
    #[must_use]
    pub fn name(&self) -> String {
        self.0.ident.to_string()
    }

    /// The columns as the lake has them, under their lake names.
    ///
    /// # Errors
    /// The catalog or the metadata cannot be read.
    pub async fn columns(&self) -> Result<Vec<Column>, LakeError> {
        let table = self.refreshed().await?;
        Ok(columns_of(table.metadata().current_schema().as_struct().fields()))
    }

    /// The columns under the names that their source gave them.
    ///
    /// # Errors
    /// The catalog or the metadata cannot be read.
    pub async fn source_columns(&self) -> Result<Vec<Column>, LakeError> {
        let table = self.refreshed().await?;
        let fields = table.metadata().current_schema().as_struct().fields();
        let mut columns = columns_of(fields);
        for column in &mut columns {
            if let Some(field) = fields.iter().find(|field| field.name == column.name) {
                schema::source_name(field).clone_into(&mut column.name);
            }
        }
        Ok(columns)
    }

    /// How far the table has read its topics.
    ///
    /// # Errors
    /// The catalog or the metadata cannot be read.
    pub async fn offsets(&self) -> Result<Offsets, LakeError> {
        Offsets::of(self.refreshed().await?.metadata().properties())
    }

    /// The kept snapshots, oldest first; the last one is current.
    ///
    /// # Errors
    /// The catalog or the metadata cannot be read.
    pub async fn snapshots(&self) -> Result<Vec<SnapshotInfo>, LakeError> {
        let table = self.refreshed().await?;
        let mut snapshots: Vec<_> = table.metadata().snapshots().cloned().collect();
        snapshots.sort_by_key(|snapshot| snapshot.sequence_number());
        let number = |summary: &HashMap<String, String>, key: &str| {
            summary.get(key).and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        let info = |snapshot: &iceberg::spec::SnapshotRef| {
            let summary = &snapshot.summary().additional_properties;
            SnapshotInfo {
                id: snapshot.snapshot_id(),
                sequence: snapshot.sequence_number(),
                timestamp_ms: snapshot.timestamp_ms(),
                operation: snapshot.summary().operation.as_str().to_owned(),
                rows: number(summary, "total-records"),
                files: number(summary, "total-data-files"),
                bytes: number(summary, "total-files-size"),
                offsets: summary.get(OFFSETS_PROPERTY).and_then(|text| Offsets::parse(text).ok()),
            }
        };
        Ok(snapshots.iter().map(info).collect())
    }

    /// Whether rows with these columns go into the table, if need be after adding or promoting
    /// columns. Judged on what this process knows; changes nothing.
    ///
    /// # Errors
    /// [`LakeError::Incompatible`].
    pub fn accepts(&self, columns: &[Column]) -> Result<(), LakeError> {
        let table = self.known();
        schema::evolve(
            &self.name(),
            table.metadata().current_schema(),
            table.metadata().last_column_id(),
            columns,
        )
        .map(drop)
    }

    /// Adds and promotes columns until the table has `columns`.
    pub(crate) async fn evolve(&self, columns: &[Column]) -> Result<(), LakeError> {
        if self.evolution(&self.known(), columns).is_ok_and(|evolved| evolved.is_none()) {
            return Ok(());
        }
        let decide = |base: &Table| {
            let Some(schema) = self.evolution(base, columns)? else { return Ok(None) };
            let metadata = base.metadata();
            let current_schema_id = metadata.current_schema_id();
            let last_assigned_field_id = metadata.last_column_id();
            Ok(Some(Alteration {
                requirements: vec![
                    TableRequirement::CurrentSchemaIdMatch { current_schema_id },
                    TableRequirement::LastAssignedFieldIdMatch { last_assigned_field_id },
                ],
                updates: vec![
                    TableUpdate::AddSchema { schema },
                    TableUpdate::SetCurrentSchema { schema_id: -1 },
                ],
            }))
        };
        if self.alter(decide).await? {
            tracing::info!(table = %self.0.ident, "schema of the lake table evolved");
        }
        Ok(())
    }

    fn evolution(
        &self,
        table: &Table,
        columns: &[Column],
    ) -> Result<Option<iceberg::spec::Schema>, LakeError> {
        let metadata = table.metadata();
        schema::evolve(&self.name(), metadata.current_schema(), metadata.last_column_id(), columns)
    }

    pub(crate) fn known(&self) -> Table {
        self.0.known.lock().clone()
    }

    pub(crate) fn know(&self, table: Table) {
        *self.0.known.lock() = table;
    }

    pub(crate) async fn committing(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.0.committing.lock().await
    }

    /// The table as the catalog has it now.
    pub(crate) async fn refreshed(&self) -> Result<Table, LakeError> {
        let table = self.0.catalog.load(&self.0.ident, Some(&self.known())).await?;
        self.know(table.clone());
        Ok(table)
    }

    pub(crate) fn contention(&self) -> LakeError {
        LakeError::Contention { table: self.name(), attempts: self.0.options.commit_attempts }
    }
}

/// Runs disk-bound work on a thread of the blocking pool: flushing a file must not hold up the
/// other roles of this process.
pub(crate) async fn off_worker<F, W, T>(work: W) -> Result<T, LakeError>
where
    W: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<T, LakeError>>,
    T: Send + 'static,
{
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(work())).await?
}

/// A short random wait that grows with the attempts, to 50 ms.
pub(crate) async fn pause(attempt: u32) {
    let spread = uuid::Uuid::new_v4().as_u64_pair().0 % u64::from(attempt.min(50));
    tokio::time::sleep(Duration::from_millis(1 + spread)).await;
}

pub(crate) fn columns_of(fields: &[NestedFieldRef]) -> Vec<Column> {
    let column = |field: &NestedFieldRef| {
        let column_type = types::column_type(&field.field_type)?;
        Some(Column { name: field.name.clone(), column_type, nullable: !field.required })
    };
    fields.iter().filter_map(column).collect()
}

fn ident(namespace: &str, name: &str) -> Result<TableIdent, LakeError> {
    Ok(TableIdent::new(NamespaceIdent::from_strs(namespace.split('.'))?, name.to_owned()))
}
