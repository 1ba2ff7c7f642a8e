//! Where a plan runs: on the cluster, or in the process that asks.
//!
//! A plan that opens no data file is done before a message would be there. And some plans are only right where one
//! process runs all of their parts; what they are is listed here.

use super::joins::keeps_held_rows;
use super::scan::{TravellingScan, files_of};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
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
    /// # Errors
    /// A plan that cannot be taken apart.
    pub(crate) fn of(plan: &Arc<dyn ExecutionPlan>) -> Result<Self> {
        if let Some(reason) = kept(plan.as_ref()) {
            return Ok(Placement::Here(reason));
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
