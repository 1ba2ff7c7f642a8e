//! The lake's tables: opening, evolving, appending.

use crate::batch::{self, Incoming, Partitions};
use crate::files::{self, PartitionWriter};
use crate::partition::{self, Partition};
use crate::snapshot::{self, Change};
use crate::sort::Order;
use crate::{Advance, LakeCatalog, LakeError, LakeOptions, OFFSETS_PROPERTY, Offsets, schema, types};
use affluent_model::{Column, Row};
use affluent_telemetry::failpoint;
use arrow_array::RecordBatch;
use iceberg::spec::{DataFile, NestedFieldRef, Operation, PartitionKey};
use iceberg::table::Table;
use iceberg::{ErrorKind, NamespaceIdent, TableIdent, TableRequirement, TableUpdate};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// zstd level of files that live until the next compaction.
pub(crate) const LEVEL_FRESH: i32 = 1;

/// Rows to append: one value a column each.
#[derive(Debug, Clone, Default)]
pub struct RowBatch {
    pub columns: Arc<[Column]>,
    pub rows: Vec<Row>,
}

/// What an append did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The new snapshot; `None` where there were no rows and only offsets moved.
    pub snapshot: Option<i64>,
    pub rows: usize,
    pub files: usize,
}

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
    /// Rows and files of the whole table at this snapshot.
    pub rows: u64,
    pub files: u64,
    /// Offsets stored with the snapshot, where it is one of ours.
    pub offsets: Option<Offsets>,
}

/// A directory of Iceberg tables with its catalog. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lake {
    catalog: LakeCatalog,
    options: Arc<LakeOptions>,
    tables: Arc<Mutex<HashMap<TableIdent, LakeTable>>>,
}

/// One table. Cheap to clone; clones share what they know of the table's state.
#[derive(Debug, Clone)]
pub struct LakeTable(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) catalog: LakeCatalog,
    pub(crate) options: Arc<LakeOptions>,
    pub(crate) ident: TableIdent,
    /// The newest state this process knows of; another process may be ahead.
    known: Mutex<Table>,
    /// One commit of this process at a time, so that only other processes are races.
    committing: tokio::sync::Mutex<()>,
    directories: files::KnownDirs,
}

impl Lake {
    /// Opens the lake, creating directory and catalog where they are missing.
    ///
    /// # Errors
    /// Options that cannot work; the disk; a catalog that is not one.
    pub async fn open(options: LakeOptions) -> Result<Self, LakeError> {
        options.check()?;
        let catalog = LakeCatalog::open(&options).await?;
        Ok(Lake { catalog, options: Arc::new(options), tables: Arc::default() })
    }

    /// Opens a lake that is there already, for readers: creates nothing.
    ///
    /// # Errors
    /// As [`Lake::open`]; [`LakeError::Options`] where there is no catalog.
    pub async fn open_existing(options: LakeOptions) -> Result<Self, LakeError> {
        options.check()?;
        let catalog = options.catalog_path();
        if !catalog.is_file() {
            return Err(LakeError::Options(format!("there is no lake: no file {}", catalog.display())));
        }
        Self::open(options).await
    }

    /// The catalog, for engines that plan and read by themselves.
    #[must_use]
    pub fn catalog(&self) -> &LakeCatalog {
        &self.catalog
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
    pub async fn table(&self, namespace: &str, name: &str) -> Result<LakeTable, LakeError> {
        let ident = ident(namespace, name)?;
        if let Some(table) = self.tables.lock().get(&ident) {
            return Ok(table.clone());
        }
        let table = self.catalog.load(&ident).await?;
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
    pub async fn ensure_sorted_table(
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

    fn share(&self, table: Table) -> LakeTable {
        let ident = table.identifier().clone();
        let fresh = LakeTable(Arc::new(Shared {
            catalog: self.catalog.clone(),
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

    /// Appends the rows and advances the offsets, both or neither, in one commit that is on disk
    /// and visible to every reader when this returns. Columns that the table lacks are added.
    /// With no rows only the offsets move.
    ///
    /// Repeating a batch that was stored before is refused as [`LakeError::OffsetConflict`], as
    /// long as it advances an offset.
    ///
    /// # Errors
    /// [`LakeError::OffsetConflict`], [`LakeError::Incompatible`], [`LakeError::Value`]: nothing
    /// was stored. [`LakeError::Contention`] and faults of disk and catalog: nothing is visible,
    /// unless the fault hid the outcome; the offsets tell.
    pub async fn append(&self, batch: Arc<RowBatch>, advance: Vec<Advance>) -> Result<Appended, LakeError> {
        if !batch.rows.is_empty() {
            self.evolve(&batch.columns).await?;
        }
        self.append_incoming(Incoming::Rows(batch), advance).await
    }

    /// The same for Arrow batches. Their columns are found by name, in any order; those that a batch
    /// lacks are null. The table has to have all of them: see [`Lake::ensure_table`].
    ///
    /// # Errors
    /// As [`LakeTable::append`], and [`LakeError::NoColumn`].
    pub async fn append_batches(
        &self,
        batches: Vec<RecordBatch>,
        advance: Vec<Advance>,
    ) -> Result<Appended, LakeError> {
        self.append_incoming(Incoming::Batches(batches), advance).await
    }

    async fn append_incoming(
        &self,
        incoming: Incoming,
        advance: Vec<Advance>,
    ) -> Result<Appended, LakeError> {
        let table = self.clone();
        off_worker(move || async move { table.append_here(&incoming, &advance).await }).await
    }

    async fn append_here(&self, batch: &Incoming, advance: &[Advance]) -> Result<Appended, LakeError> {
        let _turn = self.0.committing.lock().await;
        let mut base = self.known();
        let mut offsets = Offsets::of(base.metadata().properties())?.advanced(advance);
        if offsets.is_err() {
            base = self.refreshed().await?;
            offsets = Offsets::of(base.metadata().properties())?.advanced(advance);
        }
        let mut offsets = offsets?;
        let mut written = (base.metadata().current_schema_id(), self.write(&base, batch).await?);
        failpoint("lake::after_data_files");
        for attempt in 1..=self.0.options.commit_attempts {
            if written.0 != base.metadata().current_schema_id() {
                // Another writer changed the schema: the rows are written again under it.
                discard(&written.1);
                written = (base.metadata().current_schema_id(), self.write(&base, batch).await?);
            }
            match self.commit_append(&base, &written.1, &offsets, !advance.is_empty()).await {
                Ok((table, snapshot)) => {
                    *self.0.known.lock() = table;
                    return Ok(Appended { snapshot, rows: batch.rows(), files: written.1.len() });
                }
                Err(error) if is_conflict(&error) => {
                    pause(attempt).await;
                    base = self.refreshed().await?;
                    match Offsets::of(base.metadata().properties())?.advanced(advance) {
                        Ok(now) => offsets = now,
                        Err(conflict) => {
                            discard(&written.1);
                            return Err(conflict.into());
                        }
                    }
                }
                Err(error) => {
                    // The fault may hide a commit that was stored; only the offsets tell.
                    let now = self.refreshed().await.map(|table| Offsets::of(table.metadata().properties()));
                    if advance.iter().any(|to| to.expected != Some(to.next))
                        && let Ok(Ok(now)) = now
                        && now.advanced(advance).is_ok()
                    {
                        discard(&written.1);
                    }
                    return Err(error);
                }
            }
        }
        discard(&written.1);
        Err(self.contention())
    }

    async fn commit_append(
        &self,
        base: &Table,
        files: &[DataFile],
        offsets: &Offsets,
        moved: bool,
    ) -> Result<(Table, Option<i64>), LakeError> {
        let mut properties = HashMap::new();
        if moved {
            properties.insert(OFFSETS_PROPERTY.to_owned(), offsets.to_text()?);
        }
        let change = Change {
            operation: Operation::Append,
            added: files.to_vec(),
            removed: HashSet::new(),
            summary: properties.clone(),
        };
        let produced = if files.is_empty() {
            None
        } else {
            snapshot::produce(base, &change, self.0.options.manifests_max).await?
        };
        let mut updates = produced.as_ref().map_or_else(Vec::new, |produced| produced.updates.clone());
        if !properties.is_empty() {
            updates.push(TableUpdate::SetProperties { updates: properties });
        }
        if updates.is_empty() {
            return Ok((base.clone(), None));
        }
        let mut requirements = snapshot::requirements(base);
        let current_schema_id = base.metadata().current_schema_id();
        requirements.push(TableRequirement::CurrentSchemaIdMatch { current_schema_id });
        match self.0.catalog.commit(base, &requirements, updates).await {
            Ok(table) => Ok((table, produced.map(|produced| produced.snapshot_id))),
            Err(error) => {
                if let Some(produced) = produced.filter(|_| is_commit_conflict(&error)) {
                    produced.discard();
                }
                Err(error.into())
            }
        }
    }

    /// Writes the rows as data files of `table`'s current schema, flushed with their directories.
    async fn write(&self, table: &Table, incoming: &Incoming) -> Result<Vec<DataFile>, LakeError> {
        if incoming.rows() == 0 {
            return Ok(Vec::new());
        }
        let batches = incoming.batches(&self.name(), table.metadata().current_schema())?;
        self.write_parts(table, batch::partitions(table, batches)?).await
    }

    /// Writes the batches of each partition as data files of `table`'s current schema, flushed with their
    /// directories; after an error nothing is left of them.
    pub(crate) async fn write_parts(
        &self,
        table: &Table,
        parts: Partitions,
    ) -> Result<Vec<DataFile>, LakeError> {
        let mut written = Vec::new();
        for (partition, batches) in parts {
            match self.write_partition(table, partition, batches).await {
                Ok(files) => written.extend(files),
                Err(error) => {
                    discard(&written);
                    return Err(error);
                }
            }
        }
        self.sync(&written)?;
        Ok(written)
    }

    async fn write_partition(
        &self,
        table: &Table,
        partition: Option<PartitionKey>,
        mut batches: Vec<RecordBatch>,
    ) -> Result<Vec<DataFile>, LakeError> {
        let order = Order::of(table);
        if let Some(order) = &order {
            batches = order.sorted(table.metadata().current_schema(), &batches)?;
        }
        let target = self.0.options.target_file_bytes;
        let mut writer = PartitionWriter::new(table, partition, target, LEVEL_FRESH)?;
        for batch in batches {
            writer.write(batch).await?;
        }
        let spec_id = table.metadata().default_partition_spec_id();
        let written = writer.close().await?;
        match order {
            Some(order) => written.iter().map(|file| order.mark(file, spec_id)).collect(),
            None => Ok(written),
        }
    }

    /// Adds and promotes columns until the table has `columns`.
    pub(crate) async fn evolve(&self, columns: &[Column]) -> Result<(), LakeError> {
        let mut base = self.known();
        if self.evolution(&base, columns).is_ok_and(|evolved| evolved.is_none()) {
            return Ok(());
        }
        let _turn = self.0.committing.lock().await;
        base = self.refreshed().await?;
        for attempt in 1..=self.0.options.commit_attempts {
            let Some(evolved) = self.evolution(&base, columns)? else { return Ok(()) };
            let updates = vec![
                TableUpdate::AddSchema { schema: evolved },
                TableUpdate::SetCurrentSchema { schema_id: -1 },
            ];
            match self.0.catalog.commit(&base, &snapshot::requirements(&base), updates).await {
                Ok(table) => {
                    tracing::info!(table = %self.0.ident, "schema of the lake table evolved");
                    *self.0.known.lock() = table;
                    return Ok(());
                }
                Err(error) if is_commit_conflict(&error) => {
                    pause(attempt).await;
                    base = self.refreshed().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(self.contention())
    }

    fn evolution(
        &self,
        table: &Table,
        columns: &[Column],
    ) -> Result<Option<iceberg::spec::Schema>, LakeError> {
        let metadata = table.metadata();
        schema::evolve(&self.name(), metadata.current_schema(), metadata.last_column_id(), columns)
    }

    /// Flushes the directories of data files.
    pub(crate) fn sync(&self, written: &[DataFile]) -> Result<(), LakeError> {
        let table = self.known();
        let root = Path::new(table.metadata().location());
        files::sync_parents(root, written.iter().map(DataFile::file_path), &self.0.directories)
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
        let known = self.known();
        let location = self.0.catalog.location(&self.0.ident).await?;
        if location.is_some() && location.as_deref() == known.metadata_location() {
            return Ok(known);
        }
        let table = self.0.catalog.load(&self.0.ident).await?;
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

/// True where the table moved under a commit: refresh and decide again.
pub(crate) fn is_conflict(error: &LakeError) -> bool {
    matches!(error, LakeError::Iceberg(error) if is_commit_conflict(error))
}

pub(crate) fn is_commit_conflict(error: &iceberg::Error) -> bool {
    error.kind() == ErrorKind::CatalogCommitConflicts
}

/// A short random wait that grows with the attempts, to 50 ms.
pub(crate) async fn pause(attempt: u32) {
    let spread = uuid::Uuid::new_v4().as_u64_pair().0 % u64::from(attempt.min(50));
    tokio::time::sleep(Duration::from_millis(1 + spread)).await;
}

/// Deletes data files that no commit will refer to; what stays behind is found as unreferenced.
pub(crate) fn discard(written: &[DataFile]) {
    for file in written {
        let _ = files::remove(Path::new(file.file_path()));
    }
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
