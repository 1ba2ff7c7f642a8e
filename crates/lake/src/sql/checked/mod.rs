//! Arithmetic that says so when it leaves the range of its type.
//!
//! The engine's own sums and integer operators wrap around in silence: a sum of decimal(38,4) may come
//! out negative, 9223372036854775807 + 1 is a number below zero. Money and counters are summed here, so
//! these are replaced: `sum` and `avg` of whole numbers and decimals, and `+ - *` of whole numbers. Decimal
//! operators and casts check by themselves. Floats stay as they are.
//!
//! Invariant: what comes out is the exact result or an error.

mod arithmetic;
mod average;
mod sum;

pub(crate) use arithmetic::{Arithmetic, operators};

use datafusion::error::DataFusionError;
use datafusion::logical_expr::AggregateUDF;

/// The functions that take the place of the engine's own.
pub(crate) fn aggregates() -> [AggregateUDF; 2] {
    [AggregateUDF::from(sum::CheckedSum::default()), AggregateUDF::from(average::CheckedAverage::default())]
}

/// The error of a result that does not fit.
fn overflow(what: &str, data_type: &datafusion::arrow::datatypes::DataType) -> DataFusionError {
    DataFusionError::Execution(format!("{what} overflows its type {data_type}"))
}

/// The error of distinct values that the engine would add up itself, unchecked. Alone in its query such a
/// sum is planned over a grouping and checked like any other.
fn distinct(function: &str) -> DataFusionError {
    DataFusionError::NotImplemented(format!(
        "{function}(distinct …) beside other aggregates is not checked for overflow: take the distinct values in a \
         subquery"
    ))
}
