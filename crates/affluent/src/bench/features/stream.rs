//! The engine as a stream uses it: a payment at a time through fifty features of windows up to seven days, on one thread.
//!
//! A million customers make thirteen payments a week at 20,000 terminals. First a week of payments fills the state, then payments
//! are applied and their features read, then the state is stored and restored.

use super::{Took, mebibytes, timed};
use crate::bench::Report;
use crate::bench::process::resident;
use affluent_features::event::{DAY, fingerprint};
use affluent_features::{Definitions, Engine, Event, Key, Options, Plan, SourceId};
use anyhow::{Context as _, bail};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::sync::Arc;

/// Payments of a customer in a week.
const WEEKLY: u64 = 13;
const TERMINALS: u64 = 20_000;
/// Payments between two words of progress.
const STEP: u64 = 1 << 16;

const SOURCE: &str = r#"
description = "Payments."
event_time = "t"
arrival_time = "t"
id = "id"
lateness = "1h"
entities = { customer = "customer", terminal = "terminal" }
columns = { amount = "money", merchant = "integer", country = "text", device = "text" }
"#;

/// Entity, aggregate, the rest, windows: fifty features in all.
const FEATURES: &[(&str, &str, &str, &[&str])] = &[
    ("customer", "count", "", &["1h", "1d", "3d", "7d", "day", "session 30m"]),
    ("customer", "sum", "column = 'amount'", &["1h", "1d", "7d", "day", "session 30m"]),
    ("customer", "mean", "column = 'amount'", &["1h", "1d", "3d", "7d"]),
    ("customer", "stddev", "column = 'amount'", &["1d", "7d"]),
    ("customer", "max", "column = 'amount'", &["1d", "7d"]),
    ("customer", "min", "column = 'amount'", &["7d"]),
    ("customer", "distinct", "column = 'merchant'", &["1d", "7d"]),
    ("customer", "distinct", "column = 'country'", &["1h", "7d"]),
    ("customer", "entropy", "column = 'country'", &["7d"]),
    ("customer", "share", "share = \"country = 'DE'\"", &["1d", "7d"]),
    ("customer", "share", "share = 'hour < 6'", &["7d"]),
    ("customer", "is_new", "column = 'device'", &["7d"]),
    ("customer", "is_new", "column = 'country'", &["7d"]),
    ("customer", "to_mean", "column = 'amount'", &["7d"]),
    ("customer", "zscore", "column = 'amount'", &["7d"]),
    ("customer", "since_last", "", &["7d"]),
    ("customer", "last", "column = 'amount'\nn = 3", &["7d"]),
    ("terminal", "count", "", &["1h", "1d", "7d", "day"]),
    ("terminal", "mean", "column = 'amount'", &["1h", "1d", "7d"]),
    ("terminal", "stddev", "column = 'amount'", &["7d"]),
    ("terminal", "zscore", "column = 'amount'", &["7d"]),
    ("terminal", "share", "share = 'amount < 200'", &["1h", "1d", "7d"]),
    ("terminal", "max", "column = 'amount'", &["1d", "7d"]),
];

/// What was measured.
#[derive(Debug)]
pub(super) struct Streamed {
    customers: u64,
    payments: u64,
    width: usize,
    keys: usize,
    filled: Took,
    applied: Took,
    stored: Took,
    restored: Took,
    /// Bytes of resident memory of the whole process: once the week is filled, and after the payments that follow.
    resident_filled: u64,
    resident: u64,
    snapshot_bytes: u64,
}

/// How far [`measure`] counts.
pub(super) fn steps(customers: u64) -> u64 {
    customers * WEEKLY
}

/// Fills a week of `customers`, applies `payments` more, stores and restores. `told` hears how many payments have filled the state.
///
/// # Errors
/// No room for the snapshot; what is restored is not what was stored.
pub(super) fn measure(customers: u64, payments: u64, told: impl Fn(u64)) -> anyhow::Result<Streamed> {
    let plan = Arc::new(Plan::new(&definitions()?)?);
    let source = plan.source("payments").context("no source payments")?;
    let width = plan.source_shape(source).row.len();
    let mut engine = Engine::new(Arc::clone(&plan), Options::default());
    let mut made = Payments::new(source, customers);
    let (filled, ()) = timed(|| {
        for nth in 0..steps(customers) {
            made.next(|event| engine.apply(event))?;
            if nth % STEP == 0 {
                told(nth);
            }
        }
        Ok(())
    })?;
    let resident_filled = resident();
    let (mut row, mut sum) = (vec![0.0; width], 0.0);
    let (applied, ()) = timed(|| {
        for _ in 0..payments {
            made.next(|event| {
                engine.apply(event)?;
                engine.row(event, &mut row);
                sum += row[0];
                anyhow::Ok(())
            })?;
        }
        Ok(())
    })?;
    // Where nothing is done with values, nothing need be computed.
    std::hint::black_box(sum);
    let resident = resident();

    let directory = tempfile::tempdir().context("temporary directory")?;
    let file = directory.path().join("features.snapshot");
    let (stored, ()) = timed(|| {
        let mut out = BufWriter::new(File::create(&file)?);
        engine.snapshot(b"", &mut out)?;
        Ok(out.flush()?)
    })?;
    let (keys, counters) = (engine.keys(), engine.counters());
    drop(engine);
    let (restored, engine) = timed(|| {
        let mut file = BufReader::new(File::open(&file)?);
        Ok(Engine::restore(plan, Options::default(), &mut file)?.0)
    })?;
    if (engine.keys(), engine.counters()) != (keys, counters) {
        bail!("what was restored is not what was stored");
    }
    let snapshot_bytes = std::fs::metadata(&file)?.len();
    Ok(Streamed {
        customers,
        payments,
        width,
        keys,
        filled,
        applied,
        stored,
        restored,
        resident_filled,
        resident,
        snapshot_bytes,
    })
}

impl Streamed {
    pub(super) fn tell(&self, report: &mut Report) {
        // The time of the processor is counted in hundredths of a second.
        let rate = |count: u64, took: Took| count as f64 / took.processor_seconds.max(0.01);
        report.at_least("features.stream", 50_000.0, rate(self.payments, self.applied), "payments/s");
        report.at_most("features.stream.memory", 1536.0, mebibytes(self.resident), "MiB");
        report.at_most("features.restart", 10.0, self.restored.seconds, "s");
        report.note(format!(
            "{} payments through {} features on one core: {}; before that {} payments of a week filled the state at {:.0}/s of \
             the processor",
            self.payments,
            self.width,
            self.applied,
            steps(self.customers),
            rate(steps(self.customers), self.filled)
        ));
        report.note(format!(
            "state of {} customers and {TERMINALS} terminals ({} keys): {:.0} MiB resident after the week, the whole process; \
             stored in {:.2} s as {:.0} MiB and restored from the page cache: {}",
            self.customers,
            self.keys,
            mebibytes(self.resident_filled),
            self.stored.seconds,
            mebibytes(self.snapshot_bytes),
            self.restored
        ));
    }
}

fn definitions() -> anyhow::Result<Definitions> {
    let view = |entity: &str| {
        let mut text = format!(
            "entity = '{entity}'\nsource = 'payments'\nowner = 'bench'\nfreshness = 'stream'\ndescription = 'd'\n"
        );
        for (nth, (_, aggregate, rest, windows)) in
            FEATURES.iter().enumerate().filter(|(_, feature)| feature.0 == entity)
        {
            let _ = write!(
                text,
                "[[features]]\nname = 'f{nth}'\nversion = 1\ndescription = 'd'\naggregate = '{aggregate}'\n{rest}\nwindows = {windows:?}\n"
            );
        }
        text
    };
    let (customers, terminals) = (view("customer"), view("terminal"));
    let files =
        [("sources/payments.toml", SOURCE), ("customers.toml", &customers), ("terminals.toml", &terminals)];
    Ok(Definitions::from_files(files.map(|(path, text)| (path, path, text)))?)
}

/// Payments in the order of time, at equal steps.
struct Payments {
    source: SourceId,
    customers: u64,
    step: i64,
    made: u64,
    random: u64,
    countries: [i64; 8],
}

impl Payments {
    fn new(source: SourceId, customers: u64) -> Self {
        let countries = ["DE", "FR", "IT", "ES", "NL", "PL", "AT", "US"].map(fingerprint);
        let step = 7 * DAY / steps(customers).cast_signed().max(1);
        Payments { source, customers, step, made: 0, random: 42, countries }
    }

    /// Source: xorshift64*, S. Vigna.
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below
    }

    /// Makes the next payment for `then`.
    fn next<T, E>(&mut self, then: impl FnOnce(&Event) -> Result<T, E>) -> Result<T, E> {
        self.made += 1;
        let (customer, terminal) =
            (self.random(self.customers).cast_signed(), self.random(TERMINALS).cast_signed());
        let (amount, merchant) = (100 + self.random(20_000).cast_signed(), self.random(5_000).cast_signed());
        let country = self.countries[usize::try_from(self.random(64).saturating_sub(56)).unwrap_or(0)];
        let device = customer * 4 + self.random(16).saturating_sub(13).cast_signed();
        then(&Event {
            source: self.source,
            time: 17_600 * DAY + self.made.cast_signed() * self.step,
            order: self.made,
            version: 0,
            removed: false,
            keys: &[Some(Key::from(customer)), Some(Key::from(terminal))],
            cells: &[amount, merchant, country, device],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifty_features_are_filled_stored_and_restored() {
        let streamed = measure(50, 200, |_| {}).unwrap();
        assert_eq!(streamed.width, 50);
        assert!(streamed.keys > 50 && streamed.snapshot_bytes > 0 && streamed.resident > 0, "{streamed:?}");
    }
}
