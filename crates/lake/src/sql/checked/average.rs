//! `avg` of decimals, checked.
//!
//! The engine's own average divides a sum that wraps around in silence. Here a checked sum goes beside it and
//! fails where that sum would have wrapped; what is returned is the engine's.

use super::distinct;
use super::sum::{total, totals};
use arrow_array::{ArrayRef, BooleanArray};
use arrow_schema::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions_aggregate::average::Avg;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
};

/// Place of the sum in the state of the engine's average; the number of values is before it.
const SUM_PLACE: usize = 1;

/// In the place of the engine's `avg`.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct CheckedAverage {
    inner: Avg,
}

/// The type of the sum, where it is one that can wrap around.
fn guarded(args: &AccumulatorArgs) -> Option<DataType> {
    let input = args.expr_fields.first()?.data_type();
    matches!(input, DataType::Decimal128(..)).then(|| input.clone())
}

impl AggregateUDFImpl for CheckedAverage {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.one(args, false)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let guard = guarded(&args).and_then(|sum| totals(&sum));
        let inner = self.inner.create_groups_accumulator(args)?;
        Ok(match guard {
            Some(guard) => Box::new(Averages { inner, guard }),
            None => inner,
        })
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.one(args, true)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_expr()
    }
}

impl CheckedAverage {
    fn one(&self, args: AccumulatorArgs, sliding: bool) -> Result<Box<dyn Accumulator>> {
        let guard = guarded(&args).and_then(|sum| total(&sum, sliding));
        if guard.is_some() && args.is_distinct {
            return Err(distinct(self.name()));
        }
        let inner = match sliding {
            true => self.inner.create_sliding_accumulator(args)?,
            false => self.inner.accumulator(args)?,
        };
        Ok(match guard {
            Some(guard) => Box::new(Average { inner, guard }),
            None => inner,
        })
    }
}

/// One average and its guard.
#[derive(Debug)]
struct Average {
    inner: Box<dyn Accumulator>,
    guard: Box<dyn Accumulator>,
}

impl Accumulator for Average {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.guard.update_batch(values)?;
        self.inner.update_batch(values)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.guard.retract_batch(values)?;
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.guard.supports_retract_batch() && self.inner.supports_retract_batch()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.guard.merge_batch(&states[SUM_PLACE..=SUM_PLACE])?;
        self.inner.merge_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.inner.evaluate()
    }

    fn size(&self) -> usize {
        self.inner.size() + self.guard.size()
    }
}

/// The averages of groups and their guard.
struct Averages {
    inner: Box<dyn GroupsAccumulator>,
    guard: Box<dyn GroupsAccumulator>,
}

impl GroupsAccumulator for Averages {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_total: usize,
    ) -> Result<()> {
        self.guard.update_batch(values, groups, filter, groups_total)?;
        self.inner.update_batch(values, groups, filter, groups_total)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_total: usize,
    ) -> Result<()> {
        self.guard.merge_batch(&values[SUM_PLACE..=SUM_PLACE], groups, filter, groups_total)?;
        self.inner.merge_batch(values, groups, filter, groups_total)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        // Its groups go as these go; its state is not checked for digits, which a sum may pass on the way.
        self.guard.state(emit)?;
        self.inner.evaluate(emit)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        self.guard.state(emit)?;
        self.inner.state(emit)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn supports_convert_to_state(&self) -> bool {
        self.inner.supports_convert_to_state()
    }

    fn size(&self) -> usize {
        self.inner.size() + self.guard.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::Decimal128Array;
    use std::sync::Arc;

    #[test]
    fn a_sum_that_would_wrap_around_is_an_error() {
        let large: ArrayRef = Arc::new(
            Decimal128Array::from(vec![10_i128.pow(38) - 1; 2]).with_data_type(DataType::Decimal128(38, 0)),
        );
        let data_type = DataType::Decimal128(38, 0);
        let mut guard = totals(&data_type).unwrap();
        guard.update_batch(&[large], &[0, 0], None, 1).unwrap_err();
        assert!(total(&DataType::Float64, false).is_none());
    }
}
