//! What a comparison found: for people a table and the differences, for machines one JSON object.

use super::digest::Sums;
use crate::output;
use serde::Serialize;
use std::collections::BTreeMap;

/// The measure of the column that the demo and the dashboards speak of.
const AMOUNT: &str = "amount";
/// Differences that are listed; all are counted.
const LISTED: usize = 50;

/// Where rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Store {
    Postgresql,
    Kafka,
    Mirrors,
    Lake,
    /// What the collector has acknowledged: the source of clicks and log lines.
    Collector,
    Documents,
}

impl Store {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Store::Postgresql => "postgresql",
            Store::Kafka => "kafka",
            Store::Mirrors => "mirrors",
            Store::Lake => "lake",
            Store::Collector => "collector",
            Store::Documents => "documents",
        }
    }
}

/// One table in one store.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Reconciled {
    pub(crate) table: String,
    pub(crate) store: Store,
    pub(crate) rows: u64,
    /// Sums of the column `amount` (empty where the table has none), exact, as text.
    pub(crate) amount_by_currency: BTreeMap<String, String>,
    /// Sums of every other summed column.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) sums: BTreeMap<String, BTreeMap<String, String>>,
    /// Every row is there, none beside them, all columns equal.
    pub(crate) equal: bool,
}

/// In what way a row differs from the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The row is not there.
    Missing,
    /// An older state of the row is there.
    Stale,
    /// These columns have other values.
    Differs(Vec<String>),
    /// A row that the source does not have.
    Extra,
    /// The same change or record more than once.
    Duplicate,
}

/// One difference. Names the row by its key, never by its values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    pub(crate) table: String,
    pub(crate) store: Store,
    pub(crate) key: String,
    pub(crate) kind: Kind,
}

/// The outcome of a comparison.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Report {
    /// Position of the source up to which everything was compared.
    pub(crate) barrier: String,
    pub(crate) reconciliation: Vec<Reconciled>,
    /// Rows that a store lacks, has in an older state, or has with other values.
    pub(crate) lost: u64,
    /// Changes, records or rows that a store has more than once or beyond the source's.
    pub(crate) duplicated: u64,
    /// The first differences.
    pub(crate) differences: Vec<Difference>,
    pub(crate) notes: Vec<String>,
    /// How many the listed ones stand for.
    #[serde(skip)]
    pub(super) listed: u64,
}

impl Reconciled {
    pub(super) fn new(table: String, store: Store, rows: u64, sums: &Sums, equal: bool) -> Self {
        // A currency whose amounts cancel out is not there at all in a store that never had one.
        let text = |groups: &BTreeMap<String, bigdecimal::BigDecimal>| -> BTreeMap<String, String> {
            let nonzero = groups.iter().filter(|(_, sum)| **sum != bigdecimal::BigDecimal::default());
            nonzero.map(|(currency, sum)| (currency.clone(), sum.normalized().to_plain_string())).collect()
        };
        let amount_by_currency = sums.get(AMOUNT).map(text).unwrap_or_default();
        let others = sums.iter().filter(|(measure, _)| *measure != AMOUNT);
        let sums = others.map(|(measure, groups)| (measure.clone(), text(groups))).collect();
        Reconciled { table, store, rows, amount_by_currency, sums, equal }
    }
}

impl Report {
    /// Everything is equal everywhere.
    pub(crate) fn is_exact(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.reconciliation.iter().all(|r| r.equal)
    }

    /// Adds the events of one kind in one store, counted elsewhere.
    pub(crate) fn add_events(&mut self, table: &str, store: Store, rows: u64, lost: u64, duplicated: u64) {
        let equal = lost == 0 && duplicated == 0;
        self.reconciliation.push(Reconciled::new(table.to_owned(), store, rows, &Sums::new(), equal));
        for (kind, count) in [(Kind::Missing, lost), (Kind::Duplicate, duplicated)] {
            if count > 0 {
                let key = format!("{count} events");
                self.add_all(Difference { table: table.to_owned(), store, key, kind }, count);
            }
        }
    }

    pub(super) fn add(&mut self, difference: Difference) {
        self.add_all(difference, 1);
    }

    /// Adds `count` differences that are told as one.
    pub(super) fn add_all(&mut self, difference: Difference, count: u64) {
        match difference.kind {
            Kind::Missing | Kind::Stale | Kind::Differs(_) => self.lost += count,
            Kind::Extra | Kind::Duplicate => self.duplicated += count,
        }
        if count > 0 && self.differences.len() < LISTED {
            self.differences.push(difference);
            self.listed += count;
        }
    }

    /// The report for people.
    pub(crate) fn text(&self) -> String {
        let mut text = output::table(
            &["table", "store", "rows", "amount by currency", ""],
            self.reconciliation.iter().map(|r| {
                vec![
                    r.table.clone(),
                    r.store.name().to_owned(),
                    r.rows.to_string(),
                    amounts(r),
                    if r.equal { "equal" } else { "DIFFERS" }.to_owned(),
                ]
            }),
        );
        text.push_str(&format!(
            "\nCompared up to {} in the source's log: {} lost, {} duplicated.\n",
            self.barrier, self.lost, self.duplicated
        ));
        for difference in &self.differences {
            let Difference { table, store, key, kind } = difference;
            let what = match kind {
                Kind::Missing => "is missing".to_owned(),
                Kind::Stale => "is an older state".to_owned(),
                Kind::Differs(columns) => format!("differs in {}", columns.join(", ")),
                Kind::Extra => "is not in the source".to_owned(),
                Kind::Duplicate => "is there more than once".to_owned(),
            };
            text.push_str(&format!("  {}: {table} {key} {what}\n", store.name()));
        }
        let unlisted = (self.lost + self.duplicated).saturating_sub(self.listed);
        if unlisted > 0 {
            text.push_str(&format!("  and {unlisted} more\n"));
        }
        for note in &self.notes {
            text.push_str(&format!("  note: {note}\n"));
        }
        text
    }
}

fn amounts(reconciled: &Reconciled) -> String {
    let list = |groups: &BTreeMap<String, String>| {
        let parts =
            groups.iter().map(
                |(currency, sum)| if currency.is_empty() { sum.clone() } else { format!("{currency} {sum}") },
            );
        parts.collect::<Vec<_>>().join(", ")
    };
    if !reconciled.amount_by_currency.is_empty() {
        return list(&reconciled.amount_by_currency);
    }
    let sums = reconciled.sums.iter().filter(|(_, groups)| !groups.is_empty());
    sums.map(|(measure, groups)| format!("{measure}: {}", list(groups))).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_counted_beyond_what_is_listed() {
        let mut report = Report { barrier: "0/10".to_owned(), ..Report::default() };
        assert!(report.is_exact());
        for key in 0..60 {
            report.add(Difference {
                table: "public.payments".to_owned(),
                store: Store::Mirrors,
                key: format!("id={key}"),
                kind: Kind::Missing,
            });
        }
        report.add(Difference {
            table: "public.payments".to_owned(),
            store: Store::Kafka,
            key: "id=1".to_owned(),
            kind: Kind::Duplicate,
        });
        assert_eq!((report.lost, report.duplicated, report.differences.len()), (60, 1, LISTED));
        assert!(!report.is_exact());
        let text = report.text();
        assert!(text.contains("60 lost, 1 duplicated") && text.contains("and 11 more"), "{text}");
        assert!(text.contains("mirrors: public.payments id=7 is missing"), "{text}");
    }

    #[test]
    fn sums_are_plain_text() {
        let mut sums = Sums::new();
        sums.entry(AMOUNT.to_owned())
            .or_default()
            .insert("EUR".to_owned(), "12.3400".parse().expect("a number"));
        sums.entry("fee".to_owned()).or_default().insert(String::new(), "0.0".parse().expect("a number"));
        let reconciled = Reconciled::new("t".to_owned(), Store::Lake, 1, &sums, true);
        assert_eq!(reconciled.amount_by_currency["EUR"], "12.34");
        assert_eq!(amounts(&reconciled), "EUR 12.34");
    }
}
