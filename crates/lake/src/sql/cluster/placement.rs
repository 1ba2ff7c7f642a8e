//! Where a plan runs: on the cluster, or in the process that asks.
//!
//! A plan that reads few rows, as most checks do, is done before the nodes have told one another of it, and one that only
//! reads would have each of its rows written and read once more on its way. And some plans are only right where one
//! process runs all of their parts; what they are is listed here.

use super::joins::keeps_held_rows;
use super::scan::{TravellingScan, files_of};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;
use datafusion::datasource::physical_plan::parquet::ParquetAccessPlan;
use datafusion::physical_plan::analyze::AnalyzeExec;
use datafusion::physical_plan::explain::ExplainExec;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, PartitionMode};
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use std::sync::Arc;

/// Where a plan runs.
#[derive(Debug)]
pub(crate) enum Placement {
    /// In this process, for this reason.
    Here(&'static str),
    /// On the cluster, in the form in which it travels.
    Cluster(Arc<dyn ExecutionPlan>),
}

impl Placement {
    /// Plans that read fewer than `rows_min` rows stay here.
    ///
    /// # Errors
    /// A plan that cannot be taken apart.
    pub(crate) fn of(plan: &Arc<dyn ExecutionPlan>, rows_min: u64) -> Result<Self> {
        if let Some(reason) = kept(plan.as_ref()) {
            return Ok(Placement::Here(reason));
        }
        if files_of(plan.as_ref()).is_some() {
            return Ok(Placement::Here("it does nothing with the rows that it reads"));
        }
        if rows_read(plan.as_ref()).is_some_and(|rows| rows < rows_min) {
            return Ok(Placement::Here("it reads few rows"));
        }
        let mut scans = 0;
        let travelling = Arc::clone(plan).transform_up(|node| match files_of(node.as_ref()) {
            Some(files) => {
                scans += 1;
                let scan: Arc<dyn ExecutionPlan> = Arc::new(TravellingScan::of(files)?);
                Ok(Transformed::yes(scan))
            }
            None => Ok(Transformed::no(node)),
        });
        let travelling = travelling.data()?;
        Ok(match scans {
            0 => Placement::Here("it opens no data file"),
            _ => Placement::Cluster(travelling),
        })
    }
}

/// Why the plan, or a part of it, must not be divided among processes.
fn kept(plan: &dyn ExecutionPlan) -> Option<&'static str> {
    reason(plan).or_else(|| plan.children().into_iter().find_map(|child| kept(child.as_ref())))
}

fn reason(plan: &dyn ExecutionPlan) -> Option<&'static str> {
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        if join.null_aware {
            return Some("`not in` must see all rows of both sides");
        }
        let held_whole = *join.partition_mode() != PartitionMode::Partitioned;
        return (held_whole && keeps_held_rows(*join.join_type()))
            .then_some("an outer join holds one side whole");
    }
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        let is_divided = join.right().output_partitioning().partition_count() > 1;
        let is_outer = keeps_held_rows(*join.join_type());
        return (is_divided && is_outer).then_some("an outer join without equal keys holds one side whole");
    }
    if plan.is::<ExplainExec>() || plan.is::<AnalyzeExec>() {
        return Some("it tells of the plan itself");
    }
    if plan.is::<RecursiveQueryExec>() {
        return Some("a recursive query feeds itself");
    }
    plan.is::<ScalarSubqueryExec>().then_some("a subquery's value is shared in memory")
}

/// About how many rows the files of a plan have; `None` where a file does not tell.
fn rows_read(plan: &dyn ExecutionPlan) -> Option<u64> {
    let sum = |sum: u64, rows: Option<u64>| Some(sum.saturating_add(rows?));
    match files_of(plan) {
        Some(files) => files.file_groups.iter().flat_map(FileGroup::iter).map(rows_of).try_fold(0, sum),
        None => plan.children().into_iter().map(|child| rows_read(child.as_ref())).try_fold(0, sum),
    }
}

/// Rows of what is read of a file: a range of its bytes, some of its row groups, or all.
fn rows_of(file: &PartitionedFile) -> Option<u64> {
    let mut rows = *file.statistics.as_ref()?.num_rows.get_value()? as u64;
    if let Some(range) = &file.range {
        rows = share(rows, range.start.abs_diff(range.end), file.object_meta.size);
    }
    if let Some(chosen) = file.extension::<ParquetAccessPlan>() {
        rows = share(rows, chosen.row_group_index_iter().count() as u64, chosen.len() as u64);
    }
    Some(rows)
}

/// `part` of `whole` of the rows, rounded up.
fn share(rows: u64, part: u64, whole: u64) -> u64 {
    let rows = (u128::from(rows) * u128::from(part)).div_ceil(u128::from(whole.max(1)));
    u64::try_from(rows).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::super::columns::ByFieldId;
    use super::*;
    use arrow_schema::{DataType, Field, Schema};
    use datafusion::common::Statistics;
    use datafusion::common::stats::Precision;
    use datafusion::datasource::object_store::ObjectStoreUrl;
    use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetSource};
    use datafusion::datasource::source::DataSourceExec;
    use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
    use datafusion::physical_plan::union::UnionExec;

    /// A file of a thousand bytes.
    fn file(rows: Precision<usize>) -> PartitionedFile {
        let schema = Schema::new(vec![Field::new("id", DataType::Int64, true)]);
        let statistics = Statistics { num_rows: rows, ..Statistics::new_unknown(&schema) };
        let mut file = PartitionedFile::new("t/a.parquet", 1_000).with_statistics(Arc::new(statistics));
        let by_field_id: ByFieldId = serde_json::from_str(r#"{"ids": {}, "by_name": {}}"#).unwrap();
        file.extensions.insert_arc(Arc::new(by_field_id));
        file
    }

    fn scan(files: Vec<PartitionedFile>) -> Arc<dyn ExecutionPlan> {
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
        let url = ObjectStoreUrl::local_filesystem();
        let config = FileScanConfigBuilder::new(url, Arc::new(ParquetSource::new(schema)))
            .with_file_groups(files.into_iter().map(|file| FileGroup::new(vec![file])).collect());
        DataSourceExec::from_data_source(config.build())
    }

    /// A plan that does something with the rows of scans.
    fn work(scans: Vec<Arc<dyn ExecutionPlan>>) -> Arc<dyn ExecutionPlan> {
        Arc::new(CoalescePartitionsExec::new(UnionExec::try_new(scans).unwrap()))
    }

    #[test]
    fn rows_are_those_of_what_is_read_of_the_files() {
        let many = || file(Precision::Exact(9_000));
        let mut few_groups = ParquetAccessPlan::new_none(9);
        few_groups.scan(4);
        for (files, rows) in [
            (vec![many()], Some(9_000)),
            (vec![many(), file(Precision::Inexact(7))], Some(9_007)),
            (vec![many().with_range(0, 500), many().with_range(500, 1_000)], Some(9_000)),
            (vec![many().with_extension(few_groups)], Some(1_000)),
            (vec![many(), file(Precision::Absent)], None),
        ] {
            assert_eq!(rows_read(work(vec![scan(files)]).as_ref()), rows);
        }
        assert_eq!((share(5, 1, 2), share(7, 0, 3), share(7, 1, 0)), (3, 0, 7));
        assert_eq!(share(u64::MAX, u64::MAX, 1), u64::MAX);
    }

    #[test]
    fn large_work_goes_to_the_cluster_and_small_stays() {
        let two = || vec![scan(vec![file(Precision::Exact(600))]), scan(vec![file(Precision::Exact(400))])];
        let reason = |plan: &Arc<dyn ExecutionPlan>, rows_min| match Placement::of(plan, rows_min).unwrap() {
            Placement::Here(reason) => Some(reason),
            Placement::Cluster(_) => None,
        };
        assert_eq!(reason(&work(two()), 1_000), None);
        assert_eq!(reason(&work(two()), 1_001), Some("it reads few rows"));
        let unknown = work(vec![scan(vec![file(Precision::Absent)])]);
        assert_eq!(reason(&unknown, 1_000), None, "it may be large");
        let copied = scan(vec![file(Precision::Exact(1_000_000))]);
        assert_eq!(reason(&copied, 0), Some("it does nothing with the rows that it reads"));
    }
}
