//! `+ - *` of whole numbers, checked.
//!
//! The engine's planner gives its operators no way to fail on overflow, so after types are settled each
//! such operator is replaced by a function of the same meaning. Names of columns stay as they were.

use arrow_schema::{ArrowError, DataType, Field, FieldRef};
use datafusion::arrow::compute::kernels::numeric;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_expr_common::datum::apply;
use std::sync::Arc;

/// Replaces the operators in a plan.
#[derive(Debug)]
pub(crate) struct Arithmetic;

impl AnalyzerRule for Arithmetic {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(replaced).data()
    }

    fn name(&self) -> &'static str {
        "checked_arithmetic"
    }
}

/// The functions that take the operators' place, for nodes that are handed finished plans.
pub(crate) fn operators() -> [ScalarUDF; 3] {
    [Operation::Add, Operation::Subtract, Operation::Multiply].map(|operation| Checked::new(operation).into())
}

fn replaced(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    let plan = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let checked = expr.transform_up(|expr| {
            let Some(function) = function(&expr, &schema) else { return Ok(Transformed::no(expr)) };
            let Expr::BinaryExpr(BinaryExpr { left, right, .. }) = expr else {
                return Ok(Transformed::no(expr));
            };
            Ok(Transformed::yes(ScalarUDF::from(function).call(vec![*left, *right])))
        })?;
        Ok(checked.update_data(|expr| name.restore(expr)))
    })?;
    plan.map_data(LogicalPlan::recompute_schema)
}

/// What takes the place of the expression, where it is one of these operators over whole numbers.
fn function(expr: &Expr, schema: &datafusion::common::DFSchema) -> Option<Checked> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
    let operation = match op {
        Operator::Plus => Operation::Add,
        Operator::Minus => Operation::Subtract,
        Operator::Multiply => Operation::Multiply,
        _ => return None,
    };
    let (left, right) = (left.get_type(schema).ok()?, right.get_type(schema).ok()?);
    (left.is_integer() && left == right).then(|| Checked::new(operation))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
}

/// One operator as a function.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operation: Operation,
    signature: Signature,
}

impl Checked {
    fn new(operation: Operation) -> Self {
        Checked { operation, signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &'static str {
        match self.operation {
            Operation::Add => "checked_add",
            Operation::Subtract => "checked_subtract",
            Operation::Multiply => "checked_multiply",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments.first().cloned().unwrap_or(DataType::Null))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        let data_type = args.arg_fields.first().map_or(DataType::Null, |field| field.data_type().clone());
        Ok(Arc::new(Field::new(self.name(), data_type, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return datafusion::common::internal_err!("{} takes two values", self.name());
        };
        let kernel = match self.operation {
            Operation::Add => numeric::add,
            Operation::Subtract => numeric::sub,
            Operation::Multiply => numeric::mul,
        };
        // Values may stand in the message of the kernel; they may be personal.
        let quiet = |error: ArrowError| match error {
            ArrowError::ArithmeticOverflow(_) => ArrowError::ArithmeticOverflow(format!(
                "{} overflows its type {}",
                self.name(),
                args.return_type()
            )),
            other => other,
        };
        apply(left, right, |left, right| kernel(left, right).map_err(quiet))
    }
}
