//! The table `features.<view>`: its columns, and rows of vectors as batches of Arrow.
//!
//! | column | |
//! |---|---|
//! | `key` | the entity's key as text |
//! | `as_of` | the instant; the day of it divides the table |
//! | one a feature | its value then; null where there is none |
//! | `is_exact` | false where a window reached back to events that had been let go |
//! | `meaning` | names, versions and digests of the view's features |
//! | `computed_at` | when the row was made |

use super::ViewPlan;
use affluent_model::{Column, ColumnType};
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use std::sync::Arc;

pub(crate) const NAMESPACE: &str = "features";
pub(super) const AS_OF: &str = "as_of";
pub(super) const KEY: &str = "key";
pub(super) const MEANING: &str = "meaning";

/// The columns of a view's table.
pub(super) fn columns(view: &ViewPlan) -> Vec<Column> {
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type, nullable: true };
    let mut columns = vec![column(KEY, ColumnType::Text), column(AS_OF, ColumnType::TimestampTz)];
    columns.extend(view.features.iter().map(|(name, _)| column(name, ColumnType::Float64)));
    columns.extend([
        column("is_exact", ColumnType::Bool),
        column(MEANING, ColumnType::Text),
        column("computed_at", ColumnType::TimestampTz),
    ]);
    columns
}

/// Vectors of one instant.
#[derive(Debug)]
pub(crate) struct Vectors {
    keys: Vec<String>,
    exact: Vec<bool>,
    /// By feature; NaN where there is no value.
    values: Vec<Vec<f64>>,
}

impl Vectors {
    pub(super) fn new(view: &ViewPlan) -> Self {
        Vectors { keys: Vec::new(), exact: Vec::new(), values: vec![Vec::new(); view.features.len()] }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// What they take of memory.
    pub(super) fn bytes(&self) -> u64 {
        let text: usize = self.keys.iter().map(|key| key.len() + size_of::<String>()).sum();
        (text + self.keys.len() * (1 + 8 * self.values.len())) as u64
    }

    /// How many are not exact.
    pub(super) fn inexact(&self) -> u64 {
        self.exact.iter().filter(|exact| !**exact).count() as u64
    }

    /// Takes in the vector of a key.
    pub(super) fn push(&mut self, view: &ViewPlan, key: String, vector: &[f64], exact: bool) {
        self.keys.push(key);
        self.exact.push(exact);
        for (column, (_, place)) in self.values.iter_mut().zip(&view.features) {
            column.push(vector[*place]);
        }
    }

    /// Each key with its values in the order of the view's features, and whether they are exact.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, bool, Vec<f64>)> {
        let values = |row: usize| self.values.iter().map(|column| column[row]).collect();
        (0..self.len()).map(move |row| (self.keys[row].as_str(), self.exact[row], values(row)))
    }

    /// The same with the vectors of other keys.
    pub(super) fn append(&mut self, mut other: Vectors) {
        self.keys.append(&mut other.keys);
        self.exact.append(&mut other.exact);
        for (column, mut others) in self.values.iter_mut().zip(other.values) {
            column.append(&mut others);
        }
    }

    /// Rows of the view's table, in the order of their keys.
    ///
    /// # Errors
    /// Columns that do not go together, which these do.
    pub(super) fn batch(
        &self,
        view: &ViewPlan,
        as_of: i64,
        computed_at: i64,
    ) -> Result<RecordBatch, arrow_schema::ArrowError> {
        let mut order: Vec<usize> = (0..self.keys.len()).collect();
        order.sort_by(|&a, &b| self.keys[a].cmp(&self.keys[b]));
        let instants = |micros: i64| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(vec![micros; order.len()]).with_timezone("+00:00"))
        };
        let mut arrays: Vec<(&str, ArrayRef)> = vec![
            (KEY, Arc::new(StringArray::from_iter_values(order.iter().map(|&row| &self.keys[row])))),
            (AS_OF, instants(as_of)),
        ];
        for ((name, _), column) in view.features.iter().zip(&self.values) {
            let cells = order.iter().map(|&row| Some(column[row]).filter(|value| !value.is_nan()));
            arrays.push((name, Arc::new(Float64Array::from_iter(cells))));
        }
        let exact: BooleanArray = order.iter().map(|&row| Some(self.exact[row])).collect();
        let meaning = StringArray::from(vec![view.meaning.as_str(); order.len()]);
        arrays.extend([
            ("is_exact", Arc::new(exact) as ArrayRef),
            (MEANING, Arc::new(meaning) as ArrayRef),
            ("computed_at", instants(computed_at)),
        ]);
        RecordBatch::try_from_iter_with_nullable(arrays.into_iter().map(|(name, array)| (name, array, true)))
    }
}
