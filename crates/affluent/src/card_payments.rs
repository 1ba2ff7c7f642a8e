//! Card payments at terminals, each with its label, from a Parquet file in the shape of the Fraud Detection Handbook's data (the source
//! `card_transactions`): read into columns, and replayed through the engine of features.

use affluent_features::replay::{Columns, KeyColumn, replay};
use affluent_features::{Engine, NULL, Options, Plan, SourceId};
use affluent_lake::ParquetFile;
use affluent_model::Value;
use anyhow::Context as _;
use std::path::Path;
use std::sync::Arc;

/// The source by whose definition the columns are read.
pub(crate) const SOURCE: &str = "card_transactions";
const COLUMNS: [&str; 6] =
    ["transaction_id", "occurred_at", "customer_id", "terminal_id", "amount_minor", "fraud"];
/// Which kind of fraud a payment is; a file may lack it.
const PATTERN: &str = "fraud_scenario";

/// The columns of a file, in the order of its rows.
#[derive(Debug, Default)]
pub(crate) struct CardPayments {
    pub(crate) id: Vec<u64>,
    pub(crate) time: Vec<i64>,
    pub(crate) customer: Vec<i64>,
    pub(crate) terminal: Vec<i64>,
    pub(crate) amount: Vec<i64>,
    pub(crate) fraud: Vec<i64>,
    /// Empty where the file does not say.
    pub(crate) pattern: Vec<i64>,
}

impl CardPayments {
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        Self::columns(file, &COLUMNS)
    }

    /// As [`CardPayments::read`], with the kind of fraud where the file has it.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn read_with_pattern(file: &Path) -> anyhow::Result<Self> {
        let with: Vec<&str> = COLUMNS.into_iter().chain([PATTERN]).collect();
        if ParquetFile::open(file, &with).is_ok() { Self::columns(file, &with) } else { Self::read(file) }
    }

    fn columns(file: &Path, columns: &[&str]) -> anyhow::Result<Self> {
        let mut payments = CardPayments::default();
        let shown = file.display();
        for rows in ParquetFile::open(file, columns).with_context(|| format!("read {shown}"))? {
            for row in rows.with_context(|| format!("read {shown}"))? {
                let cell = |column: usize| {
                    number(&row[column]).with_context(|| {
                        format!("read {shown}: column {}: {:?}", columns[column], row[column])
                    })
                };
                payments.id.push(cell(0)?.cast_unsigned());
                payments.time.push(cell(1)?);
                payments.customer.push(cell(2)?);
                payments.terminal.push(cell(3)?);
                payments.amount.push(cell(4)?);
                payments.fraud.push(cell(5)?);
                if columns.len() > COLUMNS.len() {
                    payments.pattern.push(cell(6)?);
                }
            }
        }
        Ok(payments)
    }

    pub(crate) fn len(&self) -> usize {
        self.time.len()
    }

    /// Hands each row's place in the file and the values of the plan's features to `sink`, in the order of time.
    ///
    /// # Errors
    /// A row that the engine refuses.
    pub(crate) fn replay(&self, plan: Arc<Plan>, mut sink: impl FnMut(usize, &[f64])) -> anyhow::Result<()> {
        let inputs = [Columns {
            source: source(&plan)?,
            time: &self.time,
            arrived: &self.time,
            order: &self.id,
            keys: &[KeyColumn::Numbers(&self.customer), KeyColumn::Numbers(&self.terminal)],
            cells: &[&self.amount, &self.fraud],
            version: None,
            removed: None,
            rows: true,
        }];
        let mut engine = Engine::new(plan, Options::default());
        replay(&mut engine, &inputs, |row| sink(row.event, row.values))?;
        Ok(())
    }
}

/// The source of a plan.
///
/// # Errors
/// No feature of the plan is computed of it.
pub(crate) fn source(plan: &Plan) -> anyhow::Result<SourceId> {
    plan.source(SOURCE).with_context(|| format!("no source {SOURCE}"))
}

/// The cell of a value; none where it is no whole number, truth or time.
fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Null => Some(NULL),
        Value::Int(number) => Some(*number),
        Value::Bool(truth) => Some(i64::from(*truth)),
        Value::Timestamp(micros) | Value::TimestampTz(micros) => Some(*micros),
        Value::Float(_)
        | Value::Decimal(_)
        | Value::NumericSpecial(_)
        | Value::Text(_)
        | Value::Bytes(_)
        | Value::Date(_)
        | Value::Time(_)
        | Value::Uuid(_)
        | Value::Json(_)
        | Value::Array(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_are_cells() {
        assert_eq!(number(&Value::Null), Some(NULL));
        assert_eq!(number(&Value::Bool(true)), Some(1));
        assert_eq!(number(&Value::Timestamp(5)), Some(5));
        assert_eq!(number(&Value::Float(1.0)), None);
    }
}
