//! One table at one snapshot, as the engine reads it.
//!
//! The manifests say which files there are and which of them a filter needs; the engine's Parquet reader
//! does the rest: row groups, pages and Bloom filters, columns, and filters that are only known while
//! the query runs (the other side of a join, the rows that lead an ordering).

use super::bounds::BoundedColumns;
use super::columns::{self, ByFieldId};
use super::files::{self, LiveFile, ManifestCache};
use super::sought::Chosen;
use super::{SqlError, pins};
use crate::{LakeError, store};
use arrow_schema::{DataType, SchemaRef};
use async_trait::async_trait;
use chrono::DateTime;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DFSchema, Statistics, exec_err};
use datafusion::config::TableParquetOptions;
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::object_store::ObjectMeta;
use datafusion::physical_optimizer::pruning::PruningPredicate;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use iceberg::io::FileIO;
use iceberg::spec::SnapshotRef;
use iceberg::table::Table;
use std::sync::Arc;

/// A table at a snapshot. Without one it has no rows.
#[derive(Debug)]
pub(crate) struct SnapshotTable {
    table: Table,
    snapshot: Option<SnapshotRef>,
    arrow: SchemaRef,
    bounded: BoundedColumns,
    by_field_id: Arc<ByFieldId>,
    manifests: Arc<ManifestCache>,
    /// Of a part of a table: the files and row groups that it is.
    chosen: Option<Chosen>,
}

impl SnapshotTable {
    /// # Errors
    /// Metadata that is not whole.
    pub(crate) fn new(state: &pins::Pinned, manifests: Arc<ManifestCache>) -> Result<Self, LakeError> {
        let arrow = columns::arrow_schema(&state.schema)?;
        Ok(SnapshotTable {
            bounded: BoundedColumns::new(&state.schema, &arrow),
            by_field_id: Arc::new(ByFieldId::new(&state.schema, state.table.metadata().properties())?),
            table: state.table.clone(),
            snapshot: state.snapshot.clone(),
            arrow,
            manifests,
            chosen: None,
        })
    }

    /// These files and row groups of it alone.
    pub(crate) fn part(self, chosen: Chosen) -> Self {
        SnapshotTable { chosen: Some(chosen), ..self }
    }

    /// The type of a column.
    pub(crate) fn data_type(&self, column: &str) -> Option<DataType> {
        self.arrow.field_with_name(column).ok().map(|field| field.data_type().clone())
    }

    /// The way to its files.
    pub(crate) fn file_io(&self) -> FileIO {
        self.table.file_io().clone()
    }

    /// Where it stands.
    pub(crate) fn snapshot_id(&self) -> Option<i64> {
        self.snapshot.as_ref().map(|snapshot| snapshot.snapshot_id())
    }

    /// The field id of a column that has bounds.
    pub(crate) fn field_id(&self, column: &str) -> Option<i32> {
        self.bounded.get(column).map(|column| column.id)
    }

    /// The data files that may hold rows for which `wanted` is true.
    pub(crate) async fn files(&self, wanted: Option<&PruningPredicate>) -> Result<Vec<LiveFile>, SqlError> {
        match &self.snapshot {
            None => Ok(Vec::new()),
            Some(snapshot) => {
                files::live_files(&self.table, snapshot, &self.manifests, &self.bounded, wanted).await
            }
        }
    }

    /// The filters in the form in which they are judged against bounds; `None` where they say nothing.
    fn pruning(&self, state: &dyn Session, filters: &[Expr]) -> Option<PruningPredicate> {
        let filter = conjunction(filters.iter().cloned())?;
        let schema = DFSchema::try_from(Arc::clone(&self.arrow)).ok()?;
        let physical = state.create_physical_expr(filter, &schema).ok()?;
        let pruning = PruningPredicate::try_new(physical, Arc::clone(&self.arrow)).ok()?;
        (!pruning.always_true()).then_some(pruning)
    }

    fn partitioned(
        &self,
        file: &LiveFile,
        projection: Option<&Vec<usize>>,
        url: &ObjectStoreUrl,
    ) -> Result<PartitionedFile> {
        let data = file.file();
        let path = data.file_path();
        let (place, location) = store::object_of(path)?;
        if place != *url {
            return exec_err!("the data file {path} is not in {url}, where its table is");
        }
        let meta = ObjectMeta {
            location,
            // Data files never change, so what is kept of their footers holds for ever.
            last_modified: DateTime::UNIX_EPOCH,
            size: data.file_size_in_bytes(),
            e_tag: None,
            version: None,
        };
        let statistics = self.statistics_of(file, projection);
        let mut whole = PartitionedFile::new_from_meta(meta).with_statistics(Arc::new(statistics));
        // Where the scan leaves this process, its columns go with it; which row groups were chosen does not: all of them hold
        // what is sought, too.
        whole.extensions.insert_arc(Arc::clone(&self.by_field_id));
        let groups = self.chosen.as_ref().and_then(|chosen| chosen.get(path)?.as_ref());
        Ok(match groups {
            Some(groups) => whole.with_extension(groups.clone()),
            None => whole,
        })
    }

    /// Rows and nulls are exact, but not of a part, which may have fewer. Bounds need not be values that occur, so they
    /// are marked inexact: good for leaving files out, not for answering with them.
    fn statistics_of(&self, file: &LiveFile, projection: Option<&Vec<usize>>) -> Statistics {
        let data = file.file();
        let exact = |number| exact(number, self.chosen.is_some());
        let spec = self.table.metadata().partition_spec_by_id(file.spec_id).map(AsRef::as_ref);
        let wanted = |place: &usize| projection.is_none_or(|projection| projection.contains(place));
        let column = |(place, field): (usize, &arrow_schema::FieldRef)| {
            let mut statistics = ColumnStatistics::new_unknown();
            let Some(column) = self.bounded.get(field.name()).filter(|_| wanted(&place)) else {
                return statistics;
            };
            let (low, high) = column.in_file(data, spec);
            statistics.min_value = low.map_or(Precision::Absent, Precision::Inexact);
            statistics.max_value = high.map_or(Precision::Absent, Precision::Inexact);
            statistics.null_count = column.nulls(data).map_or(Precision::Absent, exact);
            statistics
        };
        Statistics {
            num_rows: exact(data.record_count()),
            total_byte_size: Precision::Inexact(to_usize(data.file_size_in_bytes())),
            column_statistics: self.arrow.fields().iter().enumerate().map(column).collect(),
        }
    }
}

#[async_trait]
impl TableProvider for SnapshotTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.arrow)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // Files are left out by them, rows inside a file are the plan's to filter.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted = self.pruning(state, filters);
        let mut files = self.files(wanted.as_ref()).await.map_err(SqlError::external)?;
        match &self.chosen {
            Some(chosen) => files.retain(|file| chosen.contains_key(file.file().file_path())),
            None => {
                if let Some(limit) = limit.filter(|_| filters.is_empty()) {
                    enough(&mut files, limit);
                }
            }
        }
        tracing::debug!(table = %self.table.identifier(), files = files.len(), "scan planned");
        if files.is_empty() {
            let schema = match projection {
                Some(projection) => Arc::new(self.arrow.project(projection)?),
                None => Arc::clone(&self.arrow),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let (url, _) = store::object_of(self.table.metadata().location())?;
        let files = files.iter().map(|file| self.partitioned(file, projection, &url));
        let files = files.collect::<Result<Vec<_>>>()?;
        let options = state.config_options();
        let statistics = merged(&files, &self.arrow)?;
        let groups = FileGroup::new(files).split_files(options.execution.target_partitions);
        let groups = groups.into_iter().map(|group| {
            let statistics = merged(group.files(), &self.arrow)?;
            Ok(group.with_statistics(Arc::new(statistics)))
        });
        let groups = groups.collect::<Result<Vec<_>>>()?;
        let runtime = state.runtime_env();
        let footers = runtime.cache_manager.get_file_metadata_cache();
        let reader = CachedParquetFileReaderFactory::new(runtime.object_store(&url)?, footers);
        let parquet = TableParquetOptions {
            global: options.execution.parquet.clone(),
            ..TableParquetOptions::default()
        };
        let source = ParquetSource::new(Arc::clone(&self.arrow))
            .with_table_parquet_options(parquet)
            .with_parquet_file_reader_factory(Arc::new(reader));
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .with_expr_adapter(Some(Arc::clone(&self.by_field_id) as _))
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// What is known of all the files together.
fn merged(files: &[PartitionedFile], schema: &SchemaRef) -> Result<Statistics> {
    Statistics::try_merge_iter(files.iter().filter_map(|file| file.statistics.as_deref()), schema)
}

/// Leaves as many files as hold `limit` rows.
fn enough(files: &mut Vec<LiveFile>, limit: usize) {
    let mut rows = 0_usize;
    files.retain(|file| {
        let keep = rows < limit;
        rows = rows.saturating_add(to_usize(file.file().record_count()));
        keep
    });
}

fn exact(number: u64, is_part: bool) -> Precision<usize> {
    let number = to_usize(number);
    if is_part { Precision::Inexact(number) } else { Precision::Exact(number) }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
