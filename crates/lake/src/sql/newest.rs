//! `newest_change(lsn, ordinal, topic, partition, offset)`: the record of a group's newest change.
//!
//! The change with the highest commit position counts; of a change that is in Kafka more than once the first record,
//! by partition, offset and topic. Positions alone are held, 40 bytes a group, and go to disk where memory ends:
//! whole rows are fetched afterwards by the records that came out (`records`).

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, Int32Array, Int64Array, StringArray, StructArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, FieldRef, Fields};
use arrow_select::nullif::nullif;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature, Volatility,
};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

/// The columns of a record's place, as the result names them.
pub(crate) const RECORD: [&str; 3] = ["topic", "partition", "offset"];

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct NewestChange {
    signature: Signature,
}

impl Default for NewestChange {
    fn default() -> Self {
        let types = arguments().iter().map(|field| field.data_type().clone()).collect();
        NewestChange { signature: Signature::exact(types, Volatility::Immutable) }
    }
}

/// The arguments, which are the state too.
fn arguments() -> [Field; 5] {
    let [topic, partition, offset] = RECORD;
    [
        Field::new("lsn", DataType::Int64, true),
        Field::new("ordinal", DataType::Int64, true),
        Field::new(topic, DataType::Utf8, true),
        Field::new(partition, DataType::Int32, true),
        Field::new(offset, DataType::Int64, true),
    ]
}

fn record() -> Fields {
    arguments().into_iter().skip(2).collect()
}

impl AggregateUDFImpl for NewestChange {
    fn name(&self) -> &str {
        "newest_change"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(record()))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let named = |field: Field| {
            let name = format!("{}[{}]", args.name, field.name());
            Arc::new(field.with_name(name))
        };
        Ok(arguments().map(named).to_vec())
    }

    fn accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(One(Newest::default())))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Newest::default()))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}

/// A change; the greatest is the newest. Without a change the topic is `None`, which is below any other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Change {
    lsn: i64,
    /// Null is taken for the last of its transaction, as `order by … desc` has it.
    ordinal: i64,
    /// Place in [`Newest::topics`].
    topic: Option<u32>,
    partition: i32,
    offset: i64,
}

impl Change {
    fn is_before(&self, other: &Change, topics: &[Arc<str>]) -> bool {
        let order = |change: &Change| {
            (
                change.topic.is_some(),
                change.lsn,
                change.ordinal,
                Reverse(change.partition),
                Reverse(change.offset),
            )
        };
        let name = |change: &Change| change.topic.and_then(|topic| topics.get(topic as usize));
        order(self).cmp(&order(other)).then_with(|| name(other).cmp(&name(self))).is_lt()
    }
}

/// The newest change of each group.
#[derive(Debug, Default)]
struct Newest {
    changes: Vec<Change>,
    topics: Vec<Arc<str>>,
    places: HashMap<Arc<str>, u32>,
}

impl Newest {
    /// The place of a topic; `last` is that of the row before, which mostly is the same.
    fn topic(&mut self, name: &str, last: Option<u32>) -> u32 {
        if let Some(last) = last.filter(|&last| *self.topics[last as usize] == *name) {
            return last;
        }
        if let Some(&place) = self.places.get(name) {
            return place;
        }
        let place = u32::try_from(self.topics.len()).unwrap_or(u32::MAX);
        let name: Arc<str> = name.into();
        self.topics.push(Arc::clone(&name));
        self.places.insert(name, place);
        place
    }

    fn emitted(&mut self, emit: EmitTo) -> [ArrayRef; 5] {
        let changes = emit.take_needed(&mut self.changes);
        let nulls: NullBuffer = changes.iter().map(|change| change.topic.is_some()).collect();
        let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
        let wide = |of: fn(&Change) -> i64| {
            Arc::new(Int64Array::new(changes.iter().map(of).collect::<Vec<_>>().into(), nulls.clone()))
                as ArrayRef
        };
        let mut topics = StringBuilder::with_capacity(changes.len(), 0);
        for change in &changes {
            topics.append_option(change.topic.and_then(|topic| self.topics.get(topic as usize)));
        }
        let partitions = changes.iter().map(|change| change.partition).collect::<Vec<_>>();
        [
            wide(|change| change.lsn),
            wide(|change| change.ordinal),
            Arc::new(topics.finish()),
            Arc::new(Int32Array::new(partitions.into(), nulls.clone())),
            wide(|change| change.offset),
        ]
    }
}

impl GroupsAccumulator for Newest {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_total: usize,
    ) -> Result<()> {
        self.changes.resize(groups_total, Change::default());
        let (lsns, ordinals) = (values[0].as_primitive::<Int64Type>(), values[1].as_primitive::<Int64Type>());
        let topics: &StringArray = values[2].as_string();
        let (partitions, offsets) =
            (values[3].as_primitive::<Int32Type>(), values[4].as_primitive::<Int64Type>());
        let is_there = |array: &dyn Array, row: usize| array.is_valid(row);
        let mut last = None;
        for (row, &group) in groups.iter().enumerate() {
            let is_wanted = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            // What has no position or no record is no change.
            let is_change = is_there(lsns, row)
                && is_there(topics, row)
                && is_there(partitions, row)
                && is_there(offsets, row);
            if !is_wanted || !is_change {
                continue;
            }
            let topic = self.topic(topics.value(row), last);
            last = Some(topic);
            let change = Change {
                lsn: lsns.value(row),
                ordinal: if ordinals.is_valid(row) { ordinals.value(row) } else { i64::MAX },
                topic: Some(topic),
                partition: partitions.value(row),
                offset: offsets.value(row),
            };
            if self.changes[group].is_before(&change, &self.topics) {
                self.changes[group] = change;
            }
        }
        Ok(())
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        groups_total: usize,
    ) -> Result<()> {
        self.update_batch(values, groups, filter, groups_total)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let [_, _, topics, partitions, offsets] = self.emitted(emit);
        let nulls = topics.nulls().cloned();
        Ok(Arc::new(StructArray::try_new(record(), vec![topics, partitions, offsets], nulls)?))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(self.emitted(emit).to_vec())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut state = values.to_vec();
        if let Some(filter) = filter {
            let left_out: BooleanArray = filter.iter().map(|wanted| Some(wanted != Some(true))).collect();
            state[0] = nullif(&values[0], &left_out)?;
        }
        Ok(state)
    }

    fn supports_convert_to_state(&self) -> bool {
        true
    }

    fn size(&self) -> usize {
        self.changes.capacity() * size_of::<Change>()
            + self.topics.iter().map(|topic| 64 + topic.len()).sum::<usize>()
    }
}

/// The newest change of all rows.
#[derive(Debug)]
struct One(Newest);

impl Accumulator for One {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = values.first().map_or(0, |array| array.len());
        self.0.update_batch(values, &vec![0; rows], None, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.changes.resize(1, Change::default());
        let kept = self.0.changes.clone();
        let state = self.0.emitted(EmitTo::All);
        self.0.changes = kept;
        state.iter().map(|array| ScalarValue::try_from_array(array, 0)).collect()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.changes.resize(1, Change::default());
        let kept = self.0.changes.clone();
        let record = self.0.evaluate(EmitTo::All)?;
        self.0.changes = kept;
        ScalarValue::try_from_array(&record, 0)
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}
