//! The scan of a table's files as it travels.
//!
//! DataFusion's own form of a Parquet scan forgets how columns are found by field id, and its scan hands a file to
//! whichever part of the query asks first, which on several machines reads it several times. This node keeps the first
//! and forbids the second. Bounds of files stay behind: they have done their work when the plan is made.

use super::super::columns::ByFieldId;
use crate::store::Store;
use affluent_telemetry::failpoint;
use datafusion::common::Statistics;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::TryStreamExt;
use std::fmt;
use std::sync::Arc;

/// Files of a table, some in each part of the query.
#[derive(Debug)]
pub(super) struct TravellingScan {
    /// The scan of the engine, with what its own form would forget.
    scan: Arc<dyn ExecutionPlan>,
    by_field_id: Arc<ByFieldId>,
    /// On a node: where its files are, if that is no file system.
    store: Option<Store>,
}

/// The files that a node of a plan reads, if it is a scan of files.
pub(super) fn files_of(plan: &dyn ExecutionPlan) -> Option<&FileScanConfig> {
    plan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()
}

impl TravellingScan {
    /// Of a scan of this engine's tables.
    ///
    /// # Errors
    /// Files of which it is not known how their columns are found.
    pub(super) fn of(files: &FileScanConfig) -> Result<Self> {
        let known = files.file_groups.iter().flat_map(FileGroup::iter);
        let by_field_id = known.filter_map(|file| file.extensions.get_arc::<ByFieldId>()).next();
        match by_field_id {
            Some(by_field_id) => Ok(Self::new(files, by_field_id, None)),
            None => datafusion::common::internal_err!("a scan of files without the ids of their columns"),
        }
    }

    /// Of a scan that has come back from its form as a message.
    ///
    /// # Errors
    /// Another plan than a scan of files.
    pub(super) fn arrived(
        plan: &dyn ExecutionPlan,
        by_field_id: ByFieldId,
        store: Option<Store>,
    ) -> Result<Self> {
        match files_of(plan) {
            Some(files) => Ok(Self::new(files, Arc::new(by_field_id), store)),
            None => datafusion::common::internal_err!("{} came in the place of a scan of files", plan.name()),
        }
    }

    fn new(files: &FileScanConfig, by_field_id: Arc<ByFieldId>, store: Option<Store>) -> Self {
        let bare = |file: &PartitionedFile| PartitionedFile { statistics: None, ..file.clone() };
        let groups = files.file_groups.iter().map(|group| FileGroup::new(group.iter().map(bare).collect()));
        let unknown = Statistics::new_unknown(files.file_source().table_schema().table_schema());
        let config = FileScanConfigBuilder::from(files.clone())
            .with_file_groups(groups.collect())
            .with_statistics(unknown)
            .with_expr_adapter(Some(Arc::clone(&by_field_id) as _))
            .with_partitioned_by_file_group(true)
            .build();
        TravellingScan { scan: DataSourceExec::from_data_source(config), by_field_id, store }
    }

    /// The two halves of its form as a message.
    pub(super) fn halves(&self) -> (&Arc<dyn ExecutionPlan>, &ByFieldId) {
        (&self.scan, &self.by_field_id)
    }
}

impl DisplayAs for TravellingScan {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TravellingScan: ")?;
        self.scan.fmt_as(kind, f)
    }
}

impl ExecutionPlan for TravellingScan {
    fn name(&self) -> &str {
        "TravellingScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.scan.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        failpoint("cluster::before_scan");
        if let Some(store) = &self.store {
            // The runtime that runs a plan need not be the one that it was read for.
            store.register(&context.runtime_env())?;
            return self.scan.execute(partition, context);
        }
        let rows = self.scan.execute(partition, context)?;
        let schema = rows.schema();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows.map_err(explained))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.scan.metrics()
    }
}

/// A file that is not there mostly is a warehouse that this node does not see.
fn explained(error: DataFusionError) -> DataFusionError {
    match missing(&error) {
        Some(path) => DataFusionError::Execution(format!(
            "an executor does not see the data file {path}: every node of the cluster must have the warehouse under the \
             same path as the process that asks, on a file system that they share"
        )),
        None => error,
    }
}

/// The file that is not there, if that is the error: by the words of `object_store`, since on its way through Parquet and Arrow an error becomes text.
fn missing(error: &DataFusionError) -> Option<String> {
    let text = error.to_string();
    let (_, place) = text.split_once("Object at location ")?;
    place.split_once(" not found").map(|(path, _)| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::object_store;

    #[test]
    fn a_missing_file_tells_what_to_do() {
        let missing =
            || object_store::Error::NotFound { path: "lake/a.parquet".to_owned(), source: "gone".into() };
        for error in [
            DataFusionError::ObjectStore(Box::new(missing())).context("read"),
            DataFusionError::Execution(format!("External: {}", missing())),
        ] {
            let told = explained(error).to_string();
            assert!(told.contains("data file lake/a.parquet:") && told.contains("same path"), "{told}");
        }
        let other = explained(DataFusionError::Execution("no".to_owned())).to_string();
        assert!(!other.contains("warehouse"), "{other}");
    }
}
