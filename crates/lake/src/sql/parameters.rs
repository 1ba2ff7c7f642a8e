//! What a statement lacks: the values of `$1`, `$2`, ….

use super::SqlError;
use arrow_array::ArrayRef;
use arrow_schema::{DataType, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Cast, Expr, LogicalPlan, TryCast};
use std::collections::HashMap;
use std::sync::Arc;

/// Parameters of a statement at most.
const PARAMETERS_MAX: usize = 65_535;

/// A statement that was understood and not run.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The types of `$1`, `$2`, …: text where nothing tells.
    pub parameters: Vec<DataType>,
    /// The columns of its rows.
    pub schema: SchemaRef,
}

/// The types that the parameters of a plan should have.
///
/// # Errors
/// [`SqlError::Plan`]: parameters with names.
pub(crate) fn types(plan: &LogicalPlan) -> Result<Vec<DataType>, SqlError> {
    let mut types = Vec::new();
    let casts = cast_types(plan)?;
    for (id, data_type) in plan.get_parameter_types()? {
        let data_type = data_type.or_else(|| casts.get(&id).cloned());
        let place = id.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
        let place = place.filter(|place| (1..=PARAMETERS_MAX).contains(place));
        let place = place.ok_or_else(|| SqlError::Plan(format!("parameters are $1, $2, …, not {id}")))?;
        if types.len() < place {
            types.resize(place, DataType::Utf8);
        }
        if let Some(data_type) = data_type.filter(|data_type| *data_type != DataType::Null) {
            types[place - 1] = data_type;
        }
    }
    Ok(types)
}

/// The types that parameters are cast to, which are theirs where nothing else tells: `$1::bigint`.
fn cast_types(plan: &LogicalPlan) -> Result<HashMap<String, DataType>, SqlError> {
    let mut types = HashMap::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field }) = expr
                    && let Expr::Placeholder(Placeholder { id, field: None }) = expr.as_ref()
                {
                    types.entry(id.clone()).or_insert_with(|| field.data_type().clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(types)
}

/// The plan with values, each an array of one row, in the places of its parameters.
pub(crate) fn filled(plan: LogicalPlan, values: &[ArrayRef]) -> Result<LogicalPlan, SqlError> {
    let wanted = types(&plan)?.len();
    if wanted == 0 {
        return Ok(plan);
    }
    if values.len() < wanted || values.iter().any(|value| value.len() != 1) {
        return Err(SqlError::Plan(format!("{wanted} parameters are needed, {} are given", values.len())));
    }
    let scalar = |value: &ArrayRef| ScalarValue::try_from_array(Arc::as_ref(value), 0);
    let scalars = values.iter().map(scalar).collect::<Result<Vec<_>, _>>()?;
    Ok(plan.with_param_values(scalars)?)
}
