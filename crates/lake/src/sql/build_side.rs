//! Which side of a join is held in memory: the one with fewer rows at the most.
//!
//! The engine's own choice rests on estimates, and has none behind a window, a group or another join; it then
//! holds whatever stands on the left, such as all payments beside a table of merchants. A join cannot go to disk,
//! so the wrong side is an error. The catalog knows the rows of every table; how many come out of a plan at the most
//! follows from them.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, PartitionMode};
use std::sync::Arc;

/// A side is exchanged for one that has so many times fewer rows.
const FEWER: usize = 2;
/// Rows that every part of a query may hold for itself, which saves dividing the other side.
const COLLECTED_MAX: usize = 200_000;
/// The engine's rule behind which this one stands, before anything is divided among the parts of a query.
pub(crate) const AFTER: &str = "join_selection";

/// The rule.
#[derive(Debug, Default)]
pub(crate) struct BuildSide;

impl PhysicalOptimizerRule for BuildSide {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| match exchanged(&plan)? {
            Some(better) => Ok(Transformed::yes(better)),
            None => Ok(Transformed::no(plan)),
        })
        .data()
    }

    fn name(&self) -> &str {
        "build_side"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The join with its sides exchanged, where the right one has far fewer rows.
fn exchanged(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let children = plan.children();
    let [left, right] = children.as_slice() else { return Ok(None) };
    let (Some(left), Some(right)) = (rows_max(left.as_ref()), rows_max(right.as_ref())) else {
        return Ok(None);
    };
    if left / FEWER <= right {
        return Ok(None);
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        if join.null_aware || !join.join_type().supports_swap() {
            return Ok(None);
        }
        let few = right <= COLLECTED_MAX;
        let mode = if few { PartitionMode::CollectLeft } else { PartitionMode::Partitioned };
        return join.swap_inputs(mode).map(Some);
    }
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        return if join.join_type().supports_swap() { join.swap_inputs().map(Some) } else { Ok(None) };
    }
    // Of a product every row that is held makes a batch of its own.
    plan.downcast_ref::<CrossJoinExec>().map(CrossJoinExec::swap_inputs).transpose()
}

/// Every row of one side is joined with every row of the other.
fn is_product(plan: &dyn ExecutionPlan) -> bool {
    let unfiltered = |join: &NestedLoopJoinExec| join.filter().is_none();
    plan.is::<CrossJoinExec>() || plan.downcast_ref().is_some_and(unfiltered)
}

fn join_type(plan: &dyn ExecutionPlan) -> Option<&JoinType> {
    let by_hash = plan.downcast_ref::<HashJoinExec>().map(HashJoinExec::join_type);
    by_hash.or_else(|| plan.downcast_ref::<NestedLoopJoinExec>().map(NestedLoopJoinExec::join_type))
}

/// Rows at the most, if each row finds one partner: keys are joined with what they refer to. `None`: not known.
fn rows_max(plan: &dyn ExecutionPlan) -> Option<usize> {
    let of = |plan: &Arc<dyn ExecutionPlan>| rows_max(plan.as_ref());
    let rows = match plan.children().as_slice() {
        [] => plan.partition_statistics(None).ok()?.num_rows.get_value().copied(),
        [child] => of(child),
        [left, right] if is_product(plan) => Some(of(left)?.saturating_mul(of(right)?.max(1))),
        [left, right] => match join_type(plan) {
            Some(JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark) => of(left),
            Some(JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark) => {
                of(right)
            }
            Some(JoinType::Inner) => Some(of(left)?.max(of(right)?)),
            Some(JoinType::Full) | None => Some(of(left)?.saturating_add(of(right)?)),
        },
        children => children.iter().try_fold(0, |sum: usize, child| Some(sum.saturating_add(of(child)?))),
    };
    match plan.fetch() {
        Some(fetch) => Some(rows.map_or(fetch, |rows| rows.min(fetch))),
        None => rows,
    }
}
