//! A row reduced to what comparing needs: one fingerprint a column, and the exact amounts.
//!
//! A table of millions of rows is compared in memory this way, and no value of a protected or personal
//! column is ever kept or shown.

use super::canonical::{ABSENT, Kind, NULL, fingerprint};
use affluent_model::{Currency, TableId};
use bigdecimal::BigDecimal;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A column of a captured table.
#[derive(Debug, Clone)]
pub(super) struct ColumnShape {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Transformed or left out by capture: equal in every store but the source.
    pub(super) protected: bool,
}

/// A captured table, and where its rows are in every store.
#[derive(Debug, Clone)]
pub(super) struct TableShape {
    pub(super) table: TableId,
    pub(super) topic: String,
    pub(super) columns: Vec<ColumnShape>,
    /// Indexes of the key's columns; empty where rows have no key.
    pub(super) key: Vec<usize>,
}

/// The columns whose values are summed, and the one that groups them.
#[derive(Debug, Clone)]
pub(super) struct Measures {
    columns: Vec<usize>,
    currency: Option<usize>,
}

/// An exact number: `units` / 10^`scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Amount {
    units: i128,
    scale: u32,
}

/// What is kept of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Digest {
    /// One fingerprint a column of the shape.
    pub(super) columns: Box<[u64]>,
    /// One amount a measure; `None` for null and for what is no finite number of 128 bits.
    amounts: Box<[Option<Amount>]>,
    currency: Option<Currency>,
}

/// Exact sums: measure, currency (empty where the table has none), sum.
pub(super) type Sums = BTreeMap<String, BTreeMap<String, BigDecimal>>;

impl TableShape {
    pub(super) fn measures(&self) -> Measures {
        let summed = |(index, column): &(usize, &ColumnShape)| {
            column.kind.is_number() && !column.protected && !self.key.contains(index)
        };
        // Sums of references to other tables mean nothing; their fingerprints are compared anyway.
        let reference = |column: &ColumnShape| column.name.ends_with("_id");
        let columns = self.columns.iter().enumerate().filter(summed);
        Measures {
            columns: columns.filter(|(_, c)| !reference(c)).map(|(index, _)| index).collect(),
            currency: self.columns.iter().position(|c| c.name == "currency" && !c.protected),
        }
    }

    /// The digest of a row whose columns `cell` knows: `None` for a column that the record lacks,
    /// `Some(None)` for null, else the canonical text.
    pub(super) fn digest<'a>(
        &self,
        measures: &Measures,
        cell: impl Fn(usize, &ColumnShape) -> Option<Option<Cow<'a, str>>>,
    ) -> Digest {
        let mut amounts = vec![None; measures.columns.len()].into_boxed_slice();
        let mut currency = None;
        let fingerprints = self.columns.iter().enumerate().map(|(index, column)| {
            let Some(text) = cell(index, column) else { return ABSENT };
            if let Some(text) = text.as_deref() {
                if let Some(measure) = measures.columns.iter().position(|&m| m == index) {
                    amounts[measure] = Amount::parse(text);
                }
                if measures.currency == Some(index) {
                    currency = text.parse().ok();
                }
            }
            fingerprint(text.as_deref())
        });
        Digest { columns: fingerprints.collect(), amounts, currency }
    }

    /// `id=17`, for people; the key's values as given.
    pub(super) fn describe(&self, key: &str) -> String {
        if self.key.is_empty() {
            return key.to_owned();
        }
        let names = self.key.iter().map(|&index| self.columns[index].name.as_str());
        let parts: Vec<String> =
            names.zip(key.split(KEY_SEPARATOR)).map(|(n, v)| format!("{n}={v}")).collect();
        parts.join(" ")
    }
}

/// Between the canonical texts of a key of several columns (the ASCII unit separator).
pub(super) const KEY_SEPARATOR: char = '\u{1f}';

impl Measures {
    /// Adds a row's amounts to `sums`.
    pub(super) fn add(&self, shape: &TableShape, row: &Digest, sums: &mut Sums) {
        let currency = row.currency.map(|c| c.to_string()).unwrap_or_default();
        for (&column, amount) in self.columns.iter().zip(&row.amounts) {
            let Some(amount) = amount else { continue };
            let groups = match sums.get_mut(&shape.columns[column].name) {
                Some(groups) => groups,
                None => sums.entry(shape.columns[column].name.clone()).or_default(),
            };
            *groups.entry(currency.clone()).or_default() += amount.to_decimal();
        }
    }
}

impl Digest {
    /// Takes the column `index` from an older state of the row.
    pub(super) fn take(&mut self, measures: &Measures, index: usize, older: &Digest) {
        self.columns[index] = older.columns[index];
        if let Some(measure) = measures.columns.iter().position(|&m| m == index) {
            self.amounts[measure] = older.amounts[measure];
        }
        if measures.currency == Some(index) {
            self.currency = older.currency;
        }
    }

    /// One number for the whole row, for rows without a key.
    pub(super) fn row_fingerprint(&self, skip: impl Fn(usize) -> bool) -> u64 {
        let mut sum = 0u64;
        for (index, &cell) in self.columns.iter().enumerate().filter(|(index, _)| !skip(*index)) {
            let cell = if cell == ABSENT { NULL } else { cell };
            sum = sum.rotate_left(7) ^ cell.wrapping_mul(2 * index as u64 + 1);
        }
        sum
    }
}

impl Amount {
    fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let scale = u32::try_from(fraction.len()).ok()?;
        let units = format!("{whole}{fraction}").parse().ok()?;
        Some(Amount { units, scale })
    }

    fn to_decimal(self) -> BigDecimal {
        BigDecimal::new(self.units.into(), i64::from(self.scale))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// `id int8 key, amount numeric, currency, email protected, note text`.
    pub(in super::super) fn payments() -> TableShape {
        let column = |name: &str, kind: &str, protected| ColumnShape {
            name: name.to_owned(),
            kind: Kind::of_type(kind),
            protected,
        };
        TableShape {
            table: TableId::new("public", "payments"),
            topic: "oltp.public.payments".to_owned(),
            columns: vec![
                column("id", "int8", false),
                column("amount", "numeric", false),
                column("currency", "bpchar", false),
                column("email", "text", true),
                column("note", "text", false),
            ],
            key: vec![0],
        }
    }

    pub(in super::super) fn row(shape: &TableShape, cells: &[Option<&str>]) -> Digest {
        shape.digest(&shape.measures(), |index, _| {
            cells.get(index).map(|cell| cell.map(|c| c.to_owned().into()))
        })
    }

    #[test]
    fn sums_are_exact_a_currency() {
        let shape = payments();
        let measures = shape.measures();
        let mut sums = Sums::new();
        for (amount, currency) in [("0.1", "EUR"), ("0.2", "EUR"), ("1000", "JPY"), ("NaN", "EUR")] {
            let row = row(&shape, &[Some("1"), Some(amount), Some(currency), None, None]);
            measures.add(&shape, &row, &mut sums);
        }
        let amounts = &sums["amount"];
        assert_eq!(amounts["EUR"].to_plain_string(), "0.3");
        assert_eq!(amounts["JPY"].to_plain_string(), "1000");
        assert_eq!(sums.len(), 1, "keys are not summed");
    }

    #[test]
    fn an_absent_column_differs_from_null_and_counts_as_null_for_a_whole_row() {
        let shape = payments();
        let short = row(&shape, &[Some("1")]);
        let null = row(&shape, &[Some("1"), None, None, None, None]);
        assert_eq!((short.columns[4], null.columns[4]), (ABSENT, NULL));
        assert_eq!(short.row_fingerprint(|_| false), null.row_fingerprint(|_| false));
        let other = row(&shape, &[None, Some("1"), None, None, None]);
        assert_ne!(null.row_fingerprint(|_| false), other.row_fingerprint(|_| false));
    }
}
