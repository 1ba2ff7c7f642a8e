//! `sum` of whole numbers and decimals, checked.
//!
//! Types and names are those of the engine's own `sum`. The result of decimal(p,s) is
//! decimal(min(38, p + 10), s), of whole numbers a 64-bit one.

use super::{distinct, overflow};
use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Decimal128Type, Int64Type, UInt64Type};
use arrow_array::{ArrayRef, ArrowNativeTypeOp, BooleanArray};
use arrow_schema::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, SetMonotonicity, Signature,
};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// In the place of the engine's `sum`.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct CheckedSum {
    inner: Sum,
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.inner.name()
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
        match total(args.return_type(), false) {
            Some(_) if args.is_distinct => Err(distinct(self.name())),
            Some(total) => Ok(total),
            None => self.inner.accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        match totals(args.return_type()) {
            Some(totals) => Ok(totals),
            None => self.inner.create_groups_accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match total(args.return_type(), true) {
            Some(_) if args.is_distinct => Err(distinct(self.name())),
            Some(total) => Ok(total),
            None => self.inner.create_sliding_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.set_monotonicity(data_type)
    }
}

/// The sum of all rows, for the types that are checked here; `sliding`: over a window whose start moves.
pub(super) fn total(data_type: &DataType, sliding: bool) -> Option<Box<dyn Accumulator>> {
    Some(match data_type {
        DataType::Int64 => Box::new(Total::<Int64Type>::new(data_type, sliding)),
        DataType::UInt64 => Box::new(Total::<UInt64Type>::new(data_type, sliding)),
        DataType::Decimal128(..) => Box::new(Total::<Decimal128Type>::new(data_type, sliding)),
        _ => return None,
    })
}

/// The sum of each group.
pub(super) fn totals(data_type: &DataType) -> Option<Box<dyn GroupsAccumulator>> {
    Some(match data_type {
        DataType::Int64 => groups::<Int64Type>(data_type),
        DataType::UInt64 => groups::<UInt64Type>(data_type),
        DataType::Decimal128(..) => groups::<Decimal128Type>(data_type),
        _ => return None,
    })
}

/// One sum.
#[derive(Debug)]
struct Total<T: ArrowPrimitiveType> {
    sum: T::Native,
    /// Values in the sum; it is null where there are none.
    values: u64,
    data_type: DataType,
    /// The state has the number of values behind the sum.
    sliding: bool,
}

impl<T: ArrowPrimitiveType> Total<T>
where
    T::Native: ArrowNativeTypeOp,
{
    fn new(data_type: &DataType, sliding: bool) -> Self {
        Total { sum: T::Native::ZERO, values: 0, data_type: data_type.clone(), sliding }
    }

    fn part(&self, values: &ArrayRef) -> Result<Option<T::Native>> {
        let part = datafusion::arrow::compute::sum_checked(values.as_primitive::<T>());
        part.map_err(|_| overflow("the sum", &self.data_type))
    }
}

impl<T: ArrowPrimitiveType + std::fmt::Debug> Accumulator for Total<T>
where
    T::Native: ArrowNativeTypeOp,
{
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(part) = self.part(&values[0])? else { return Ok(()) };
        self.sum = self.sum.add_checked(part).map_err(|_| overflow("the sum", &self.data_type))?;
        self.values += (values[0].len() - values[0].null_count()) as u64;
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let Some(part) = self.part(&values[0])? else { return Ok(()) };
        self.sum = self.sum.sub_checked(part).map_err(|_| overflow("the sum", &self.data_type))?;
        self.values -= (values[0].len() - values[0].null_count()) as u64;
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        self.sliding
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = (self.values > 0).then_some(self.sum);
        let sum = ScalarValue::new_primitive::<T>(sum, &self.data_type)?;
        fits(sum.to_array()?.as_ref())?;
        Ok(sum)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sums of groups. The engine's loop cannot fail, so it leaves a mark that is looked at after each batch.
struct Totals {
    inner: Box<dyn GroupsAccumulator>,
    overflowed: Arc<AtomicBool>,
    data_type: DataType,
}

fn groups<T: ArrowPrimitiveType + Send>(data_type: &DataType) -> Box<dyn GroupsAccumulator>
where
    T::Native: ArrowNativeTypeOp,
{
    let overflowed = Arc::new(AtomicBool::new(false));
    let mark = Arc::clone(&overflowed);
    let add = move |sum: &mut T::Native, value: T::Native| match sum.add_checked(value) {
        Ok(next) => *sum = next,
        Err(_) => mark.store(true, Ordering::Relaxed),
    };
    let inner = Box::new(PrimitiveGroupsAccumulator::<T, _>::new(data_type, add));
    Box::new(Totals { inner, overflowed, data_type: data_type.clone() })
}

impl Totals {
    fn check(&self) -> Result<()> {
        if self.overflowed.load(Ordering::Relaxed) {
            return Err(overflow("the sum of a group", &self.data_type));
        }
        Ok(())
    }
}

impl GroupsAccumulator for Totals {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_total: usize,
    ) -> Result<()> {
        self.inner.update_batch(values, groups, filter, groups_total)?;
        self.check()
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_total: usize,
    ) -> Result<()> {
        self.inner.merge_batch(values, groups, filter, groups_total)?;
        self.check()
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let sums = self.inner.evaluate(emit)?;
        fits(sums.as_ref())?;
        Ok(sums)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn supports_convert_to_state(&self) -> bool {
        self.inner.supports_convert_to_state()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}

/// Refuses decimals with more digits than their type has.
fn fits(sums: &dyn arrow_array::Array) -> Result<()> {
    match sums.data_type() {
        DataType::Decimal128(precision, _) => {
            let checked = sums.as_primitive::<Decimal128Type>().validate_decimal_precision(*precision);
            checked.map_err(|_| overflow("the sum", sums.data_type()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Decimal128Array, PrimitiveArray};

    fn decimals(values: &[Option<i128>]) -> ArrayRef {
        Arc::new(Decimal128Array::from(values.to_vec()).with_data_type(DataType::Decimal128(38, 0)))
    }

    const NINES: i128 = 10_i128.pow(38) - 1;

    #[test]
    fn one_sum_is_exact_or_an_error() {
        let of = |batches: &[&[Option<i128>]]| {
            let mut total = total(&DataType::Decimal128(38, 0), false).unwrap();
            batches.iter().try_for_each(|batch| total.update_batch(&[decimals(batch)]))?;
            total.evaluate()
        };
        let sum = |value| ScalarValue::Decimal128(value, 38, 0);
        assert_eq!(of(&[]).unwrap(), sum(None));
        assert_eq!(of(&[&[None], &[Some(1), None, Some(2)]]).unwrap(), sum(Some(3)));
        assert_eq!(of(&[&[Some(NINES)], &[Some(-1)]]).unwrap(), sum(Some(NINES - 1)));
        of(&[&[Some(NINES), Some(1)]]).unwrap_err();
        of(&[&[Some(NINES)], &[Some(NINES)]]).unwrap_err();
    }

    #[test]
    fn sums_of_groups_are_exact_or_an_error() {
        let mut totals = totals(&DataType::Decimal128(38, 0)).unwrap();
        let values = decimals(&[Some(5), Some(NINES), None, Some(-5)]);
        totals.update_batch(&[values], &[0, 1, 2, 0], None, 3).unwrap();
        assert_eq!(&totals.evaluate(EmitTo::All).unwrap(), &decimals(&[Some(0), Some(NINES), None]));
        let mut totals = super::totals(&DataType::Decimal128(38, 0)).unwrap();
        totals.update_batch(&[decimals(&[Some(NINES), Some(NINES)])], &[0, 0], None, 1).unwrap_err();
        let mut totals = super::totals(&DataType::Decimal128(38, 0)).unwrap();
        totals.update_batch(&[decimals(&[Some(NINES), Some(1)])], &[0, 0], None, 1).unwrap();
        totals.evaluate(EmitTo::All).unwrap_err();
    }

    #[test]
    fn a_window_moves_without_loss() {
        let mut total = total(&DataType::Int64, true).unwrap();
        let numbers = |values: Vec<i64>| [Arc::new(PrimitiveArray::<Int64Type>::from(values)) as ArrayRef];
        total.update_batch(&numbers(vec![i64::MAX, -7])).unwrap();
        total.retract_batch(&numbers(vec![i64::MAX])).unwrap();
        assert_eq!(total.evaluate().unwrap(), ScalarValue::Int64(Some(-7)));
        total.retract_batch(&numbers(vec![-7])).unwrap();
        assert_eq!(total.evaluate().unwrap(), ScalarValue::Int64(None));
    }
}
