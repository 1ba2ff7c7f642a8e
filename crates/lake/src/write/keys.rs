//! The keys of an upsert, and finding them among the rows of a table, a batch at a time.
//!
//! Keys are compared in Arrow's row encoding, found by hash: no value is looked at by itself.

use crate::LakeError;
use crate::read::sought::Sought;
use crate::values::fit::Target;
use ahash::RandomState;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_row::{RowConverter, Rows, SortField};
use arrow_schema::DataType;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use iceberg::spec::DataFile;

/// The rows of an upsert that count, each under a key of its own.
pub(crate) struct Keys {
    converter: RowConverter,
    hasher: RandomState,
    /// Keys of all rows given, then of all deletions.
    encoded: Rows,
    /// Numbers of those that count, by hash.
    index: HashTable<u32>,
    /// Numbers below are rows, the others deletions.
    rows: usize,
    /// By key column: its field id and its values.
    sought: Vec<(i32, Sought)>,
}

impl Keys {
    /// The keys of `rows` and `deletions`, both of the key columns alone, and of each batch of rows
    /// which rows count. `versions`: of equal keys the last by this column of each batch counts.
    ///
    /// # Errors
    /// [`LakeError::DuplicateKey`], [`LakeError::Value`] for a key that is null (in the table's schema a
    /// key may be), [`LakeError::Options`] for columns that are no keys.
    pub(crate) fn new(
        table: &str,
        (target, places): (&Target<'_>, &[usize]),
        (rows, deletions): (&[RecordBatch], &[RecordBatch]),
        versions: Option<&[ArrayRef]>,
    ) -> Result<(Self, Vec<BooleanArray>), LakeError> {
        let count = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        let (total, rows_count) = (count(rows) + count(deletions), count(rows));
        if u32::try_from(total).is_err() {
            return Err(LakeError::Options(format!("{total} rows are too many for one upsert into {table}")));
        }
        let mut fields = Vec::with_capacity(places.len());
        for &place in places {
            let field = target.field(place);
            if !is_key(field.data_type()) {
                let (name, data_type) = (field.name(), field.data_type());
                return Err(LakeError::Options(format!(
                    "{table}.{name} is a {data_type}: it cannot be a key"
                )));
            }
            fields.push(SortField::new(field.data_type().clone()));
        }
        let converter = RowConverter::new(fields)?;
        let mut encoded = converter.empty_rows(total, 16 * total);
        for batch in rows.iter().chain(deletions) {
            refuse_nulls(batch)?;
            converter.append(&mut encoded, batch.columns())?;
        }
        let sought = (0..places.len()).map(|column| {
            let arrays: Vec<&dyn Array> =
                rows.iter().chain(deletions).map(|batch| batch.column(column).as_ref()).collect();
            Ok((target.id(places[column]), Sought::of(&arrays)?))
        });
        let mut keys = Keys {
            converter,
            hasher: RandomState::new(),
            encoded,
            index: HashTable::with_capacity(total),
            rows: rows_count,
            sought: sought.collect::<Result<_, LakeError>>()?,
        };
        let counts = keys.fill(table, versions)?;
        let mut from = 0;
        let masks = rows.iter().map(|batch| {
            let mask = BooleanArray::from(counts[from..from + batch.num_rows()].to_vec());
            from += batch.num_rows();
            mask
        });
        let masks = masks.collect();
        Ok((keys, masks))
    }

    /// Indexes the keys; which rows count.
    fn fill(&mut self, table: &str, versions: Option<&[ArrayRef]>) -> Result<Vec<bool>, LakeError> {
        let versions = versions.map(encoded_versions).transpose()?;
        let mut counts = vec![true; self.rows];
        for number in 0..self.encoded.num_rows() {
            let key = self.encoded.row(number);
            let hash = self.hasher.hash_one(key.data());
            let (encoded, hasher) = (&self.encoded, &self.hasher);
            let same = |other: &u32| encoded.row(*other as usize) == key;
            let rehash = |other: &u32| hasher.hash_one(encoded.row(*other as usize).data());
            match self.index.entry(hash, same, rehash) {
                Entry::Vacant(free) => {
                    free.insert(u32::try_from(number).unwrap_or(u32::MAX));
                }
                Entry::Occupied(mut taken) => {
                    let other = *taken.get() as usize;
                    if number >= self.rows && other >= self.rows {
                        continue;
                    }
                    let Some(versions) = versions.as_ref().filter(|_| number < self.rows) else {
                        return Err(LakeError::DuplicateKey { table: table.to_owned(), row: number });
                    };
                    let newer = versions.row(number) >= versions.row(other);
                    counts[if newer { other } else { number }] = false;
                    if newer {
                        *taken.get_mut() = u32::try_from(number).unwrap_or(u32::MAX);
                    }
                }
            }
        }
        Ok(counts)
    }

    /// Distinct keys among the rows.
    pub(crate) fn rows_len(&self) -> usize {
        self.index.iter().filter(|&&number| self.is_row(number)).count()
    }

    /// Whether the number is that of a row, not of a deletion.
    pub(crate) fn is_row(&self, number: u32) -> bool {
        (number as usize) < self.rows
    }

    /// Rows and deletions together: numbers are below this.
    pub(crate) fn len(&self) -> usize {
        self.encoded.num_rows()
    }

    /// Calls `hit` with the place and the number of every key among `columns`, the table's key columns.
    pub(crate) fn find(
        &self,
        columns: &[ArrayRef],
        mut hit: impl FnMut(usize, u32),
    ) -> Result<(), LakeError> {
        let probes = self.converter.convert_columns(columns)?;
        for place in 0..probes.num_rows() {
            let probe = probes.row(place);
            let hash = self.hasher.hash_one(probe.data());
            if let Some(&number) = self.index.find(hash, |&other| self.encoded.row(other as usize) == probe) {
                hit(place, number);
            }
        }
        Ok(())
    }

    /// Whether a file may hold one of the keys, judged by the statistics in its manifest.
    pub(crate) fn may_be_in(&self, file: &DataFile) -> bool {
        self.sought.iter().all(|(id, sought)| sought.may_be_in(file, *id))
    }

    /// The values of the first key column with its field id: what row groups are chosen by.
    pub(crate) fn leading(&self) -> Option<(i32, &Sought)> {
        self.sought.first().map(|(id, sought)| (*id, sought))
    }
}

/// Types whose equal values are encoded equally.
fn is_key(data_type: &DataType) -> bool {
    !data_type.is_floating()
        && !data_type.is_nested()
        && RowConverter::supports_fields(&[SortField::new(data_type.clone())])
}

fn refuse_nulls(keys: &RecordBatch) -> Result<(), LakeError> {
    for (field, array) in keys.schema_ref().fields().iter().zip(keys.columns()) {
        if array.null_count() > 0 {
            let row = (0..array.len()).find(|&row| array.is_null(row)).unwrap_or(0);
            let (column, misfit) = (field.name().clone(), crate::Misfit::Null);
            return Err(LakeError::Value { row, column, misfit });
        }
    }
    Ok(())
}

/// Versions in an encoding whose bytes compare as they do; null is the lowest.
fn encoded_versions(arrays: &[ArrayRef]) -> Result<Rows, LakeError> {
    let data_type = arrays.first().map_or(DataType::Null, |array| array.data_type().clone());
    let converter = RowConverter::new(vec![SortField::new(data_type)])?;
    let mut rows = converter.empty_rows(arrays.iter().map(|array| array.len()).sum(), 0);
    for array in arrays {
        converter.append(&mut rows, std::slice::from_ref(array))?;
    }
    Ok(rows)
}
