//! Joins that keep rows of the side that is held, on a cluster.
//!
//! Parts of a query run as processes of their own. Where each of them holds the whole of one side, none knows which of
//! its rows found a partner elsewhere, and every one would call them unmatched. So such a join is divided by its keys
//! on both sides. (Ballista does that too, but after the rest of the plan has come to rely on how the rows lie.)

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use std::sync::Arc;

/// The rule. It stands behind those that choose the side that is held, before anything is divided.
#[derive(Debug, Default)]
pub(crate) struct DividedOuterJoins;

impl PhysicalOptimizerRule for DividedOuterJoins {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let Some(join) = plan.downcast_ref::<HashJoinExec>().filter(|join| must_be_divided(join)) else {
                return Ok(Transformed::no(plan));
            };
            let divided = join.builder().with_partition_mode(PartitionMode::Partitioned).build_exec()?;
            Ok(Transformed::yes(divided))
        })
        .data()
    }

    fn name(&self) -> &str {
        "divided_outer_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn must_be_divided(join: &HashJoinExec) -> bool {
    let held_whole = *join.partition_mode() != PartitionMode::Partitioned;
    // `not in` must see all rows of both sides: `placement` keeps it here.
    held_whole && !join.null_aware && keeps_held_rows(*join.join_type())
}

/// Rows of the left side, which is held, come out by themselves: once each, if one process joins them all.
pub(super) fn keeps_held_rows(join_type: JoinType) -> bool {
    match join_type {
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark | JoinType::Full => {
            true
        }
        JoinType::Inner
        | JoinType::Right
        | JoinType::RightSemi
        | JoinType::RightAnti
        | JoinType::RightMark => false,
    }
}
