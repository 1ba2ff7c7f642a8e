//! Rows of a training set in columns.

use crate::history::Events;
use affluent_features::event::fingerprint;
use affluent_features::replay::Row;
use affluent_model::{Column, ColumnType};
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow_schema::ArrowError;
use std::sync::Arc;

const LABEL: &str = "label";

/// The columns of a set's table.
pub(super) fn columns(features: &[(String, usize)], labelled: bool) -> Vec<Column> {
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type, nullable: true };
    let mut columns = vec![
        column("id", ColumnType::Text),
        column("event_time", ColumnType::TimestampTz),
        column("arrived_at", ColumnType::TimestampTz),
    ];
    columns.extend(features.iter().map(|(name, _)| column(name, ColumnType::Float64)));
    if labelled {
        columns.push(column(LABEL, ColumnType::Bool));
    }
    columns
}

/// Rows that are still to be written.
#[derive(Debug)]
pub(super) struct Rows {
    names: Vec<String>,
    places: Vec<usize>,
    ids: Vec<String>,
    time: Vec<i64>,
    arrived: Vec<i64>,
    values: Vec<Vec<f64>>,
    /// None where the set has no label.
    labels: Option<Vec<Option<bool>>>,
    /// How often every other row was let go.
    halvings: u32,
}

/// Rows in memory, in the order of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrainingColumns {
    pub features: Vec<String>,
    pub ids: Vec<String>,
    /// Microseconds UTC.
    pub time: Vec<i64>,
    /// One a feature; NaN where there is no value.
    pub values: Vec<Vec<f64>>,
    /// None where it is not known yet; empty where the set has no label.
    pub labels: Vec<Option<bool>>,
    /// One of so many rows is here, by the hash of its id; 0 where there is none at all.
    pub one_of: u64,
}

/// At most so often every other row is let go.
const HALVINGS_MAX: u32 = 32;

impl Rows {
    pub(super) fn new(features: &[(String, usize)], labelled: bool) -> Self {
        Rows {
            names: features.iter().map(|(name, _)| name.clone()).collect(),
            places: features.iter().map(|(_, place)| *place).collect(),
            ids: Vec::new(),
            time: Vec::new(),
            arrived: Vec::new(),
            values: vec![Vec::new(); features.len()],
            labels: labelled.then(Vec::new),
            halvings: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.time.len()
    }

    /// Takes in the row of an event, if it belongs to the sample.
    pub(super) fn push(&mut self, events: &Events, row: Row<'_>, label: Option<bool>) {
        let id = events.ids.get(row.event).cloned().unwrap_or_default();
        if !is_sampled(&id, self.halvings) {
            return;
        }
        self.ids.push(id);
        self.time.push(events.time[row.event]);
        self.arrived.push(events.arrived[row.event]);
        for (column, &place) in self.values.iter_mut().zip(&self.places) {
            column.push(row.values[place]);
        }
        if let Some(labels) = &mut self.labels {
            labels.push(label);
        }
    }

    /// Lets every other row go, by the hash of its id, until there are at most `most`: which rows stay depends on nothing but their ids and how many there
    /// are.
    pub(super) fn sample(&mut self, most: usize) {
        while self.len() > most && self.halvings < HALVINGS_MAX {
            self.halvings += 1;
            let kept: Vec<bool> = self.ids.iter().map(|id| is_sampled(id, self.halvings)).collect();
            retain(&mut self.ids, &kept);
            retain(&mut self.time, &kept);
            retain(&mut self.arrived, &kept);
            self.values.iter_mut().for_each(|column| retain(column, &kept));
            if let Some(labels) = &mut self.labels {
                retain(labels, &kept);
            }
        }
    }

    /// Takes the first `count` rows out.
    pub(super) fn take(&mut self, count: usize) -> Self {
        fn front<T>(column: &mut Vec<T>, count: usize) -> Vec<T> {
            let rest = column.split_off(count.min(column.len()));
            std::mem::replace(column, rest)
        }
        Rows {
            names: self.names.clone(),
            places: self.places.clone(),
            ids: front(&mut self.ids, count),
            time: front(&mut self.time, count),
            arrived: front(&mut self.arrived, count),
            values: self.values.iter_mut().map(|column| front(column, count)).collect(),
            labels: self.labels.as_mut().map(|labels| front(labels, count)),
            halvings: self.halvings,
        }
    }

    /// The rows in the order of time, those of one moment in the order of their ids.
    pub(super) fn into_columns(self) -> TrainingColumns {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by(|&a, &b| (self.time[a], &self.ids[a]).cmp(&(self.time[b], &self.ids[b])));
        let labels = self.labels.unwrap_or_default();
        TrainingColumns {
            ids: order.iter().map(|&row| self.ids[row].clone()).collect(),
            time: order.iter().map(|&row| self.time[row]).collect(),
            values: self.values.iter().map(|column| order.iter().map(|&row| column[row]).collect()).collect(),
            labels: if labels.is_empty() { labels } else { order.iter().map(|&row| labels[row]).collect() },
            features: self.names,
            one_of: 1 << self.halvings,
        }
    }

    /// The rows as the table has them.
    ///
    /// # Errors
    /// Columns that do not go together, which these do.
    pub(super) fn batch(&self) -> Result<RecordBatch, ArrowError> {
        let times = |micros: &[i64]| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(micros.to_vec()).with_timezone("+00:00"))
        };
        let mut arrays: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(StringArray::from_iter_values(&self.ids))),
            ("event_time", times(&self.time)),
            ("arrived_at", times(&self.arrived)),
        ];
        for (name, column) in self.names.iter().zip(&self.values) {
            let cells = column.iter().map(|value| Some(*value).filter(|value| !value.is_nan()));
            arrays.push((name, Arc::new(Float64Array::from_iter(cells))));
        }
        if let Some(labels) = &self.labels {
            arrays.push((LABEL, Arc::new(BooleanArray::from_iter(labels.iter().copied()))));
        }
        RecordBatch::try_from_iter_with_nullable(arrays.into_iter().map(|(name, array)| (name, array, true)))
    }
}

/// Whether a row stays once every other one was let go so often.
fn is_sampled(id: &str, halvings: u32) -> bool {
    halvings == 0 || fingerprint(id).trailing_zeros() >= halvings
}

fn retain<T>(column: &mut Vec<T>, kept: &[bool]) {
    let mut kept = kept.iter();
    column.retain(|_| kept.next() == Some(&true));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(ids: impl Iterator<Item = usize>) -> Rows {
        let mut rows = Rows::new(&[("a".to_owned(), 0)], true);
        for id in ids {
            rows.ids.push(id.to_string());
            rows.time.push(i64::try_from(id).unwrap());
            rows.arrived.push(0);
            rows.values[0].push(id as f64);
            rows.labels.as_mut().unwrap().push(Some(id % 2 == 0));
        }
        rows
    }

    #[test]
    fn a_sample_is_that_of_the_ids_in_whatever_order_they_came() {
        let (mut one, mut two) = (rows(0..10_000), rows((0..10_000).rev()));
        one.sample(3_000);
        two.sample(3_000);
        let (one, two) = (one.into_columns(), two.into_columns());
        assert_eq!(one, two);
        assert_eq!(one.one_of, 4);
        assert!((2_000..=3_000).contains(&one.time.len()), "{}", one.time.len());
        let whole = |(time, value): (&i64, &f64)| *time as f64 == *value;
        assert!(one.time.iter().zip(&one.values[0]).all(whole), "columns stay together");
        assert!(one.time.iter().zip(&one.labels).all(|(time, label)| *label == Some(time % 2 == 0)));
        let mut few = rows(0..10);
        few.sample(10);
        assert_eq!(few.into_columns().one_of, 1);
    }
}
