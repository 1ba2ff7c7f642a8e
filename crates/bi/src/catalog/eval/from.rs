//! The joined rows of a query's tables.

use super::plan::{Conjunct, Expr, Join, Side, Source, Step};
use super::run::{Frame, Row, Run};
use crate::catalog::value::Value;
use crate::error::PgError;
use std::collections::HashMap;

/// Values that are shared with the catalogue, and not kept, count as one of so many.
const SHARED: usize = 8;

impl Run<'_> {
    /// The rows of the tables for which every filter is true. A filter is judged as soon as its columns are there, unless
    /// a later join keeps rows of its own.
    pub(super) fn from(
        &self,
        steps: &[Step],
        outer: Option<&Frame<'_>>,
        filters: &[Conjunct],
    ) -> Result<Vec<Row>, PgError> {
        let keeps_later = steps.iter().any(|step| matches!(step.join, Join::Right | Join::Full));
        let early: &[Conjunct] = if keeps_later { &[] } else { filters };
        let (mut rows, mut width) = (vec![Vec::new()], 0);
        for step in steps {
            let end = width + step.width;
            let usable: &[Conjunct] = if step.join == Join::Inner { early } else { &[] };
            let keys: Vec<(&Side, &Side)> =
                step.on.iter().chain(usable).filter_map(|conjunct| key_of(conjunct, width, end)).collect();
            rows = self.join(step, rows, width, &keys, outer)?;
            for filter in
                early.iter().filter(|filter| filter.needs <= end && (filter.needs > width || width == 0))
            {
                self.keep(&mut rows, &filter.expr, outer)?;
            }
            width = end;
        }
        if keeps_later || steps.is_empty() {
            for filter in filters {
                self.keep(&mut rows, &filter.expr, outer)?;
            }
        }
        Ok(rows)
    }

    /// Leaves the rows for which the condition is true.
    fn keep(&self, rows: &mut Vec<Row>, condition: &Expr, outer: Option<&Frame<'_>>) -> Result<(), PgError> {
        let mut kept = Vec::with_capacity(rows.len());
        for row in rows.drain(..) {
            self.step(1)?;
            let frame = Frame { row: &row, slots: &[], parent: outer };
            if self.value(condition, &frame)?.truth() == Some(true) {
                kept.push(row);
            }
        }
        *rows = kept;
        Ok(())
    }

    fn join(
        &self,
        step: &Step,
        left: Vec<Row>,
        width: usize,
        keys: &[(&Side, &Side)],
        outer: Option<&Frame<'_>>,
    ) -> Result<Vec<Row>, PgError> {
        let is_used = !left.is_empty() || matches!(step.join, Join::Right | Join::Full);
        let mut right =
            if step.is_lateral || !is_used { Vec::new() } else { self.source(&step.source, outer)? };
        let keys: &[(&Side, &Side)] = if step.is_lateral { &[] } else { keys };
        let index = if keys.is_empty() { HashMap::new() } else { self.index(&right, width, keys, outer)? };
        let every: Vec<usize> = (0..right.len()).collect();
        let mut is_matched = vec![false; right.len()];
        let mut made = Vec::new();
        for row in left {
            let frame = Frame { row: &row, slots: &[], parent: outer };
            let mut lateral = Vec::new();
            let places: &[usize] = if step.is_lateral {
                right = self.source(&step.source, Some(&frame))?;
                lateral.extend(0..right.len());
                &lateral
            } else if keys.is_empty() {
                &every
            } else {
                let key = self.key(keys.iter().map(|(left, _)| &left.expr), &frame)?;
                key.and_then(|key| index.get(&key)).map(Vec::as_slice).unwrap_or_default()
            };
            let before = made.len();
            for place in places {
                self.step(width + step.width)?;
                let joined: Row = row.iter().chain(&right[*place]).cloned().collect();
                let frame = Frame { row: &joined, slots: &[], parent: outer };
                let mut is_wanted = true;
                for on in &step.on {
                    if self.value(&on.expr, &frame)?.truth() != Some(true) {
                        is_wanted = false;
                        break;
                    }
                }
                if is_wanted {
                    if let Some(matched) = is_matched.get_mut(*place) {
                        *matched = true;
                    }
                    made.push(joined);
                }
            }
            if made.len() == before && matches!(step.join, Join::Left | Join::Full) {
                let nulls = std::iter::repeat_n(Value::Null, step.width);
                made.push(row.iter().cloned().chain(nulls).collect());
            }
        }
        if matches!(step.join, Join::Right | Join::Full) && !step.is_lateral {
            let alone = right.iter().zip(&is_matched).filter(|(_, matched)| !**matched);
            let nulls = vec![Value::Null; width];
            made.extend(alone.map(|(row, _)| nulls.iter().chain(row).cloned().collect::<Row>()));
        }
        Ok(made)
    }

    /// Places of the rows by the values of their side of the keys.
    fn index(
        &self,
        rows: &[Row],
        width: usize,
        keys: &[(&Side, &Side)],
        outer: Option<&Frame<'_>>,
    ) -> Result<HashMap<String, Vec<usize>>, PgError> {
        let mut index: HashMap<String, Vec<usize>> = HashMap::new();
        for (place, row) in rows.iter().enumerate() {
            self.step(1 + (width + row.len()) / SHARED)?;
            let padded: Row = std::iter::repeat_n(&Value::Null, width).chain(row).cloned().collect();
            let frame = Frame { row: &padded, slots: &[], parent: outer };
            if let Some(key) = self.key(keys.iter().map(|(_, right)| &right.expr), &frame)? {
                index.entry(key).or_default().push(place);
            }
        }
        Ok(index)
    }

    /// `None` where one is null: it equals nothing.
    fn key<'e>(
        &self,
        sides: impl Iterator<Item = &'e Expr>,
        frame: &Frame<'_>,
    ) -> Result<Option<String>, PgError> {
        let mut values = Vec::new();
        for side in sides {
            let value = self.value(side, frame)?;
            if value.is_null() {
                return Ok(None);
            }
            values.push(value);
        }
        Ok(Some(super::run::key(&values)))
    }

    /// The rows of one table. `frame` is that of the query around it; of what is lateral, the row so far.
    fn source(&self, source: &Source, frame: Option<&Frame<'_>>) -> Result<Vec<Row>, PgError> {
        match source {
            Source::Relation(relation) => {
                self.step(relation.rows.len().saturating_mul(1 + relation.columns.len() / SHARED))?;
                Ok(relation.rows.clone())
            }
            Source::Query(query) => self.query(query, frame),
            Source::Joined(steps) => self.from(steps, frame, &[]),
            Source::Function { call, fields, with_ordinality } => {
                let empty = Frame { row: &[], slots: &[], parent: None };
                let value = self.value(call, frame.unwrap_or(&empty))?;
                let items = match value {
                    Value::Array(items) => items.to_vec(),
                    other => vec![other],
                };
                let row = |(item, number): (Value, i64)| {
                    let mut row = match item {
                        Value::Record(values) if *fields > 0 => {
                            values.iter().map(|(_, value)| value.clone()).collect()
                        }
                        other => vec![other],
                    };
                    if *with_ordinality {
                        row.push(Value::Int(number));
                    }
                    row
                };
                Ok(items.into_iter().zip(1..).map(row).collect())
            }
        }
    }
}

/// An equality that finds the rows of a table (columns from `width` up to `end`) by those before it: (before, table).
fn key_of(conjunct: &Conjunct, width: usize, end: usize) -> Option<(&Side, &Side)> {
    let (a, b) = conjunct.sides.as_deref().map(|(a, b)| (a, b))?;
    let is_right = |side: &Side| side.to > 0 && side.from >= width && side.to <= end;
    let is_left = |side: &Side| side.to <= width;
    if is_left(a) && is_right(b) {
        Some((a, b))
    } else if is_left(b) && is_right(a) {
        Some((b, a))
    } else {
        None
    }
}
