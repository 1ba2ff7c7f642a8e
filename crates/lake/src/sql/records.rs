//! A set of Kafka records that a query can ask for: rows are kept by a bit each, not held and joined.

use super::SqlError;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow_schema::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use roaring::RoaringTreemap;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Of the form in which a set travels.
const VERSION: u8 = 1;

/// Records by topic, partition and offset. Memory: some bits a record, where offsets are dense.
#[derive(Debug, Clone, Default)]
pub struct RecordSet {
    partitions: Vec<RoaringTreemap>,
    /// Place in `partitions`.
    places: BTreeMap<(String, i32), usize>,
}

/// Topic, partition and offset of some rows.
struct Columns<'a> {
    topics: &'a StringArray,
    partitions: &'a arrow_array::PrimitiveArray<Int32Type>,
    offsets: &'a arrow_array::PrimitiveArray<Int64Type>,
}

impl<'a> Columns<'a> {
    fn of(arrays: &'a [ArrayRef]) -> Option<Self> {
        let [topics, partitions, offsets] = arrays else { return None };
        Some(Columns {
            topics: topics.as_string_opt()?,
            partitions: partitions.as_primitive_opt()?,
            offsets: offsets.as_primitive_opt()?,
        })
    }

    /// `None` where any of them is null.
    fn row(&self, row: usize) -> Option<(&'a str, i32, i64)> {
        let whole = self.topics.is_valid(row) && self.partitions.is_valid(row) && self.offsets.is_valid(row);
        whole.then(|| (self.topics.value(row), self.partitions.value(row), self.offsets.value(row)))
    }

    fn len(&self) -> usize {
        self.topics.len()
    }
}

fn types() -> Vec<DataType> {
    vec![DataType::Utf8, DataType::Int32, DataType::Int64]
}

impl RecordSet {
    /// Takes in the records of a batch of topic, partition and offset, in this order; rows with a null name none.
    ///
    /// # Errors
    /// Columns of other types.
    pub fn insert(&mut self, batch: &RecordBatch) -> std::result::Result<(), SqlError> {
        let refused =
            || SqlError::Execution(format!("{:?} is no topic, partition and offset", batch.schema_ref()));
        let columns = Columns::of(batch.columns()).ok_or_else(refused)?;
        let mut last = None;
        for (topic, partition, offset) in (0..columns.len()).filter_map(|row| columns.row(row)) {
            let place = match last.filter(|last: &(&str, i32, usize)| (last.0, last.1) == (topic, partition))
            {
                Some((_, _, place)) => place,
                None => self.place(topic, partition),
            };
            last = Some((topic, partition, place));
            // Kafka has no offset below 0.
            if let Ok(offset) = u64::try_from(offset) {
                self.partitions[place].insert(offset);
            }
        }
        Ok(())
    }

    fn place(&mut self, topic: &str, partition: i32) -> usize {
        let RecordSet { partitions, places } = self;
        *places.entry((topic.to_owned(), partition)).or_insert_with(|| {
            partitions.push(RoaringTreemap::new());
            partitions.len() - 1
        })
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.partitions.iter().map(RoaringTreemap::len).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every partition: its topic and number, the length of its offsets, these.
    fn write(&self, message: &mut Vec<u8>) -> std::io::Result<()> {
        for ((topic, partition), &place) in &self.places {
            let offsets = &self.partitions[place];
            message.extend((topic.len() as u64).to_le_bytes());
            message.extend(topic.as_bytes());
            message.extend(partition.to_le_bytes());
            message.extend((offsets.serialized_size() as u64).to_le_bytes());
            offsets.serialize_into(&mut *message)?;
        }
        Ok(())
    }

    fn read(mut message: &[u8]) -> std::io::Result<Self> {
        let mut set = RecordSet::default();
        while !message.is_empty() {
            let length = u64::from_le_bytes(taken(&mut message)?);
            let topic =
                std::str::from_utf8(cut(&mut message, length)?).map_err(std::io::Error::other)?.to_owned();
            let partition = i32::from_le_bytes(taken(&mut message)?);
            let length = u64::from_le_bytes(taken(&mut message)?);
            let place = set.place(&topic, partition);
            set.partitions[place] = RoaringTreemap::deserialize_from(cut(&mut message, length)?)?;
        }
        Ok(set)
    }

    fn hold(&self, columns: &Columns<'_>) -> BooleanArray {
        let mut last: Option<(&str, i32, Option<&RoaringTreemap>)> = None;
        let one = |row| {
            let Some((topic, partition, offset)) = columns.row(row) else { return false };
            let records = match last.filter(|last| (last.0, last.1) == (topic, partition)) {
                Some((_, _, records)) => records,
                None => self.places.get(&(topic.to_owned(), partition)).map(|&place| &self.partitions[place]),
            };
            last = Some((topic, partition, records));
            records.zip(u64::try_from(offset).ok()).is_some_and(|(records, offset)| records.contains(offset))
        };
        BooleanArray::from((0..columns.len()).map(one).collect::<Vec<bool>>())
    }
}

/// The next `length` bytes of a message.
fn cut<'a>(message: &mut &'a [u8], length: u64) -> std::io::Result<&'a [u8]> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let (head, rest) = message.split_at_checked(length).ok_or(std::io::ErrorKind::UnexpectedEof)?;
    *message = rest;
    Ok(head)
}

fn taken<const N: usize>(message: &mut &[u8]) -> std::io::Result<[u8; N]> {
    let (head, rest) = message.split_first_chunk::<N>().ok_or(std::io::ErrorKind::UnexpectedEof)?;
    *message = rest;
    Ok(*head)
}

/// `name(topic, partition, offset)`: whether the record is in the set.
#[derive(Debug)]
pub(crate) struct IsIn {
    name: String,
    signature: Signature,
    records: Arc<RecordSet>,
}

impl IsIn {
    pub(crate) fn new(name: &str, records: RecordSet) -> Self {
        let signature = Signature::exact(types(), Volatility::Immutable);
        IsIn { name: name.to_owned(), signature, records: Arc::new(records) }
    }

    /// The function as it travels to other nodes. Never empty.
    pub(crate) fn write(&self, message: &mut Vec<u8>) -> Result<()> {
        message.push(VERSION);
        Ok(self.records.write(message)?)
    }

    /// The function that has come as `message`.
    pub(crate) fn read(name: &str, message: &[u8]) -> Result<Self> {
        match message.split_first() {
            Some((&VERSION, records)) => Ok(IsIn::new(name, RecordSet::read(records)?)),
            _ => datafusion::common::internal_err!("the records of {name} are of another version"),
        }
    }
}

impl PartialEq for IsIn {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.records, &other.records)
    }
}

impl Eq for IsIn {}

impl Hash for IsIn {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        Arc::as_ptr(&self.records).hash(state);
    }
}

impl ScalarUDFImpl for IsIn {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(columns) = Columns::of(&arrays) else {
            return datafusion::common::internal_err!("{} is asked for other than a record", self.name);
        };
        Ok(ColumnarValue::Array(Arc::new(self.records.hold(&columns))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{Int32Array, Int64Array};

    #[test]
    fn records_are_found_by_topic_partition_and_offset() {
        let batch = |rows: &[(Option<&str>, i32, i64)]| {
            let topics: StringArray = rows.iter().map(|row| row.0).collect();
            let partitions: Int32Array = rows.iter().map(|row| Some(row.1)).collect();
            let offsets: Int64Array = rows.iter().map(|row| Some(row.2)).collect();
            RecordBatch::try_from_iter_with_nullable([
                ("topic", Arc::new(topics) as ArrayRef, true),
                ("partition", Arc::new(partitions), true),
                ("offset", Arc::new(offsets), true),
            ])
            .unwrap()
        };
        let mut set = RecordSet::default();
        let far = 1 << 40;
        set.insert(&batch(&[(Some("a"), 0, 5), (Some("a"), 1, far), (Some("b"), 0, 0), (None, 0, 6)]))
            .unwrap();
        assert_eq!((set.len(), set.is_empty()), (3, false));
        let asked = [
            (Some("a"), 0, 5, true),
            (Some("a"), 0, 6, false),
            (Some("a"), 1, 5, false),
            (Some("a"), 1, far, true),
            (Some("b"), 0, 0, true),
            (Some("b"), 0, -1, false),
            (Some("c"), 0, 5, false),
            (None, 0, 5, false),
        ];
        let rows: Vec<_> = asked.iter().map(|row| (row.0, row.1, row.2)).collect();
        let found = set.hold(&Columns::of(batch(&rows).columns()).unwrap());
        let expected: Vec<bool> = asked.iter().map(|row| row.3).collect();
        assert_eq!(found, BooleanArray::from(expected));
        assert!(set.insert(&batch(&rows).project(&[0, 2, 1]).unwrap()).is_err());

        let mut message = Vec::new();
        IsIn::new("is_new", set).write(&mut message).unwrap();
        let arrived = IsIn::read("is_new", &message).unwrap().records;
        let found = arrived.hold(&Columns::of(batch(&rows).columns()).unwrap());
        assert_eq!((arrived.len(), found), (3, BooleanArray::from(asked.map(|row| row.3).to_vec())));
        assert!(IsIn::read("is_new", &message[..message.len() - 1]).is_err());
        assert!(IsIn::read("is_new", &[9]).is_err());
    }
}
