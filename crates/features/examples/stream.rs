//! Measures the engine as a stream uses it: fifty features of seven-day windows, an event at a time, on one core.
//!
//! `cargo run --release -p affluent-features --example stream -- [CUSTOMERS] [EVENTS]`
//!
//! A million customers make thirteen payments a week at 20,000 terminals. First the state is filled with a week of payments, then `EVENTS`
//! payments are applied and their fifty features read, then the state is stored and restored.

#![allow(clippy::print_stdout, reason = "what this program is for")]

mod process;

use affluent_features::definition::Definitions;
use affluent_features::event::{DAY, fingerprint};
use affluent_features::{Engine, Event, Key, Options, Plan};
use process::{busy_seconds, memory_mib};
use std::error::Error;
use std::io::{BufReader, BufWriter};
use std::sync::Arc;
use std::time::Instant;

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

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let customers = numbers.next().transpose()?.unwrap_or(1_000_000);
    let events = numbers.next().transpose()?.unwrap_or(500_000);
    let plan = Arc::new(Plan::new(&definitions()?)?);
    let width = plan.source_shape(plan.source("payments").ok_or("no source")?).row.len();
    let mut engine = Engine::new(Arc::clone(&plan), Options::default());
    let mut payments = Payments::new(&plan, customers)?;
    let mut row = vec![0.0; width];

    let week = customers * 13;
    let (started, busy) = (Instant::now(), busy_seconds());
    for _ in 0..week {
        payments.next(|event| engine.apply(event))?;
    }
    report("filled", week, started, busy_seconds() - busy);
    println!("{} keys, {} MiB resident", engine.keys(), memory_mib("VmRSS:"));

    let (started, busy) = (Instant::now(), busy_seconds());
    let mut sum = 0.0;
    for _ in 0..events {
        payments.next(|event| {
            engine.apply(event)?;
            engine.row(event, &mut row);
            sum += row[0];
            Ok::<_, affluent_features::engine::EventError>(())
        })?;
    }
    report(&format!("{width} features"), events, started, busy_seconds() - busy);
    println!("checksum {sum}, {} MiB resident", memory_mib("VmRSS:"));

    let file = std::env::temp_dir().join(format!("affluent-features-{}.snapshot", std::process::id()));
    let (started, busy) = (Instant::now(), busy_seconds());
    engine.snapshot(b"", &mut BufWriter::new(std::fs::File::create(&file)?))?;
    let size = std::fs::metadata(&file)?.len();
    report(&format!("stored, {} MiB", size >> 20), engine.keys() as u64, started, busy_seconds() - busy);
    let (keys, counters) = (engine.keys(), engine.counters());
    drop(engine);
    let (started, busy) = (Instant::now(), busy_seconds());
    let restored =
        Engine::restore(plan, Options::default(), &mut BufReader::new(std::fs::File::open(&file)?));
    let (engine, _) = restored.inspect_err(|_| drop(std::fs::remove_file(&file)))?;
    report("restored", keys as u64, started, busy_seconds() - busy);
    std::fs::remove_file(&file)?;
    if (engine.keys(), engine.counters()) != (keys, counters) {
        return Err("what was restored is not what was stored".into());
    }
    Ok(())
}

fn definitions() -> Result<Definitions, Box<dyn Error>> {
    let mut views = [("customer", String::new()), ("terminal", String::new())];
    for (nth, (entity, aggregate, rest, windows)) in FEATURES.iter().enumerate() {
        let view = views.iter_mut().find(|(name, _)| name == entity).ok_or("no view")?;
        let windows = windows.iter().map(|window| format!("'{window}'")).collect::<Vec<_>>().join(", ");
        view.1 += &format!(
            "[[features]]\nname = 'f{nth}'\nversion = 1\ndescription = 'd'\naggregate = '{aggregate}'\n{rest}\nwindows = [{windows}]\n"
        );
    }
    let views = views.map(|(entity, features)| {
        let head = format!(
            "entity = '{entity}'\nsource = 'payments'\nowner = 'o'\nfreshness = 'stream'\ndescription = 'd'\n"
        );
        head + &features
    });
    let files = [("sources/payments.toml", SOURCE), ("a.toml", &views[0]), ("b.toml", &views[1])];
    Ok(Definitions::from_files(files.map(|(path, text)| (path, path, text)))?)
}

/// Payments in the order of time, at equal steps.
struct Payments {
    source: affluent_features::SourceId,
    customers: u64,
    step: i64,
    made: u64,
    random: u64,
    countries: [i64; 8],
}

impl Payments {
    fn new(plan: &Plan, customers: u64) -> Result<Self, Box<dyn Error>> {
        let countries = ["DE", "FR", "IT", "ES", "NL", "PL", "AT", "US"].map(fingerprint);
        let step = 7 * DAY / i64::try_from(customers * 13)?.max(1);
        let source = plan.source("payments").ok_or("no source")?;
        Ok(Payments { source, customers, step, made: 0, random: 42, countries })
    }

    /// Source: xorshift64*, S. Vigna.
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below
    }

    fn next<T, E>(&mut self, then: impl FnOnce(&Event) -> Result<T, E>) -> Result<T, E> {
        self.made += 1;
        let (customer, terminal) =
            (self.random(self.customers).cast_signed(), self.random(20_000).cast_signed());
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

fn report(what: &str, count: u64, started: Instant, busy: f64) {
    let seconds = started.elapsed().as_secs_f64();
    let rate = count as f64 / busy.max(0.01);
    println!("{what}: {count} in {seconds:.2} s, {busy:.2} s of them on the processor: {rate:.0}/s of it");
}
