//! The twelve window features of the Fraud Detection Handbook (Le Borgne, Siblini, Lebichot, Bontempi: Reproducible Machine
//! Learning for Credit Card Fraud Detection, 2022, chapter 3) for each row of a Parquet file.
//!
//! The file is read into columns before the clock starts: what is measured is the computing of features.

use super::{Took, mebibytes, timed};
use crate::bench::Report;
use crate::bench::process::usage;
use crate::card_payments::{CardPayments, source};
use affluent_features::{Definitions, Plan};
use anyhow::bail;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

/// Each over one, seven and thirty days.
const FEATURES: [&str; 4] = [
    "card_customer_payments",
    "card_customer_amount_mean",
    "card_terminal_payments",
    "card_terminal_fraud_rate",
];
const WINDOWS: [&str; 3] = ["1d", "7d", "30d"];
/// Values of a row.
pub(super) const WIDTH: usize = FEATURES.len() * WINDOWS.len();

/// What was measured, and what is needed to compute the values once more.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) replayed: Took,
    read: Took,
    /// Bytes of resident memory at the most, the columns of the file included.
    resident_max: u64,
    payments: CardPayments,
}

/// Computes the features of every row and forgets them.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn measure(file: &Path) -> anyhow::Result<Measured> {
    let (read, payments) = timed(|| CardPayments::read(file))?;
    let mut sum = 0.0;
    let (replayed, ()) = timed(|| payments.replay(plan()?, |_, values| sum += values[0]))?;
    // Where nothing is done with values, nothing need be computed.
    std::hint::black_box(sum);
    let resident_max = usage(std::process::id())?.resident_max;
    Ok(Measured { replayed, read, resident_max, payments })
}

impl Measured {
    pub(super) fn rows(&self) -> usize {
        self.payments.len()
    }

    pub(super) fn tell(&self, report: &mut Report) {
        report.at_most("features.handbook", 2.0, self.replayed.processor_seconds, "s");
        report.at_most("features.handbook.memory", 1024.0, mebibytes(self.resident_max), "MiB");
        report.note(format!(
            "the {WIDTH} features of the Fraud Detection Handbook for {} payments on one core: {}; before that the file was \
             read in {:.2} s",
            self.rows(),
            self.replayed,
            self.read.seconds
        ));
    }

    /// Computes once more and writes all values, row by row as they stand in the file, as little-endian doubles.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let mut all = vec![f64::NAN; self.rows() * WIDTH];
        self.payments.replay(plan()?, |row, values| all[row * WIDTH..][..WIDTH].copy_from_slice(values))?;
        let mut out = BufWriter::new(std::fs::File::create(file)?);
        for value in all {
            out.write_all(&value.to_le_bytes())?;
        }
        Ok(out.flush()?)
    }
}

fn plan() -> anyhow::Result<Arc<Plan>> {
    let name = |feature: &str| WINDOWS.map(|window| format!("{feature}_{window}"));
    let names: Vec<String> = FEATURES.into_iter().flat_map(name).collect();
    let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    let plan = Arc::new(Plan::new(&Definitions::load(None)?.select(&wanted)?)?);
    let row = &plan.source_shape(source(&plan)?).row;
    if *row != names {
        bail!("a row is not in the order of the handbook: {row:?}");
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_the_rows_stand_in_the_file() {
        // The second row happened first: of the first, the day holds both.
        let payments = CardPayments {
            id: vec![2, 1],
            time: vec![2_000_000, 1_000_000],
            customer: vec![7, 7],
            terminal: vec![9, 9],
            amount: vec![300, 100],
            fraud: vec![0, 1],
            pattern: Vec::new(),
        };
        let took = Took { seconds: 0.0, processor_seconds: 0.0 };
        let measured = Measured { replayed: took, read: took, resident_max: 0, payments };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("values");
        measured.write(&file).unwrap();
        let bytes = std::fs::read(&file).unwrap();
        let values: Vec<f64> =
            bytes.chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect();
        assert_eq!(values.len(), 2 * WIDTH);
        assert_eq!((values[0], values[3], values[6]), (2.0, 200.0, 0.0));
        assert_eq!((values[WIDTH], values[WIDTH + 3]), (1.0, 100.0));
    }
}
