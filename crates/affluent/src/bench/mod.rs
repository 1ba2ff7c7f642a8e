//! `affluent bench NAME`: measures one part of the platform on this machine and judges the figures
//! against the goals.
//!
//! A benchmark is one module with `async fn run(Context) -> Result<Report>` and one line in
//! [`BENCHES`]. Nothing here is copied from elsewhere: a report holds what this run measured.

mod bi;
mod broker;
mod cdc;
mod console;
mod events;
mod features;
mod machine;
mod peers;
mod process;
mod python;
mod score;
mod upsert;
mod warehouse;

use crate::cli::Format;
use crate::output;
use anyhow::Context as _;
use events::Input;
use futures::future::BoxFuture;
use serde::Serialize;
use std::path::PathBuf;

/// Every benchmark, in the order of `affluent bench --help`.
pub(crate) const BENCHES: &[Bench] = &[
    Bench {
        name: "broker",
        about: "the embedded broker under librdkafka: at least 300,000 msg/s in, 500,000 msg/s out",
        run: |context| Box::pin(broker::run(context)),
    },
    Bench {
        name: "cdc",
        about: "change capture: 60,000 changes/s and 200,000 rows/s, p99 under 250 ms, memory under 300 MB",
        run: |context| Box::pin(cdc::run(context)),
    },
    Bench {
        name: "clickstream",
        about: "clicks from HTTP into both stores: 100,000 events/s, none lost or doubled, memory under 600 MB",
        run: |context| Box::pin(events::clickstream(context)),
    },
    Bench {
        name: "logs",
        about: "log lines from HTTP into both stores: 20,000 lines/s, p99 in the document store under 0.5 s",
        run: |context| Box::pin(events::logs(context)),
    },
    Bench {
        name: "features",
        about: "features: 50,000 payments/s through fifty, a million customers in 1.5 GiB; the handbook's twelve of --from in 2 s",
        run: |context| Box::pin(features::run(context)),
    },
    Bench {
        name: "score",
        about: "scores: REST at 3,000/s with p99 under 10 ms, 20,000 judgements/s a core, stream at 2,000/s with p99 under 300 ms",
        run: |context| Box::pin(score::run(context)),
    },
    Bench {
        name: "warehouse",
        about: "the batch pipeline over 10 million payments: 20,000 changes in 10 s and 2 GB, rebuild at 400,000 rows/s",
        run: |context| Box::pin(warehouse::run(context)),
    },
    Bench {
        name: "bi",
        about: "twelve dashboard queries over the wire: 10 times as fast as PostgreSQL with the same tables; 50 connections while a run publishes",
        run: |context| Box::pin(bi::run(context)),
    },
    Bench {
        name: "console",
        about: "console, metrics and scraping: under 2 % of a core and 50 MB, the first page within 300 ms",
        run: |context| Box::pin(console::run(context)),
    },
    Bench {
        name: "peers",
        about: "change capture beside Debezium, from `crates/testkit/interop/connect.sh run`: 3 times its rate, a third of its p99, a quarter of its memory",
        run: |context| Box::pin(peers::run(context)),
    },
    Bench {
        name: "upsert",
        about: "600,000 rows by key into 10 million: faster than deltalake's MERGE (--peers)",
        run: |context| Box::pin(upsert::run(context)),
    },
];

/// A benchmark that can be asked for by name.
pub(crate) struct Bench {
    pub(crate) name: &'static str,
    /// One line for the help text: what is measured, against which goal.
    pub(crate) about: &'static str,
    pub(crate) run: fn(Context) -> BoxFuture<'static, anyhow::Result<Report>>,
}

/// What every benchmark is given.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// Multiplies the amount of work; the goals hold at 1.0.
    pub(crate) scale: f64,
    /// Events a second and seconds, where a benchmark has a rate and the user wants another.
    pub(crate) rate: Option<u64>,
    pub(crate) seconds: Option<u64>,
    /// How events come in.
    pub(crate) input: Input,
    /// Each role in a process of its own.
    pub(crate) processes: bool,
    /// A file that the benchmark reads.
    pub(crate) from: Option<PathBuf>,
    /// The Python with which other engines do the same work.
    pub(crate) peers: Option<PathBuf>,
    /// Progress may be drawn on standard error.
    pub(crate) progress: bool,
}

impl Context {
    /// `count` times the scale, at least one.
    pub(crate) fn scaled(&self, count: u64) -> u64 {
        ((count as f64 * self.scale) as u64).max(1)
    }
}

/// What a benchmark measured: the shape that `bench --json` prints and `demo --report` writes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    pub(crate) name: String,
    /// Processor, cores, memory and kernel.
    pub(crate) machine: String,
    pub(crate) version: String,
    pub(crate) slos: Vec<Slo>,
    pub(crate) notes: Vec<String>,
}

/// One goal, and what was measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Slo {
    pub(crate) id: String,
    pub(crate) goal: f64,
    pub(crate) measured: f64,
    pub(crate) unit: String,
    pub(crate) met: bool,
}

impl Report {
    /// An empty report of this machine and version.
    pub(crate) fn new(name: &str) -> Self {
        Report {
            name: name.to_owned(),
            machine: machine::describe(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            slos: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a figure that has to reach `goal`, such as a rate.
    pub(crate) fn at_least(&mut self, id: &str, goal: f64, measured: f64, unit: &str) {
        self.push(id, goal, measured, unit, measured >= goal);
    }

    /// Adds a figure that must not pass `goal`, such as a latency.
    pub(crate) fn at_most(&mut self, id: &str, goal: f64, measured: f64, unit: &str) {
        self.push(id, goal, measured, unit, measured <= goal);
    }

    /// Adds that of `total` events `stored` are in every store and `doubled` more than once: none may be lost
    /// or doubled.
    pub(crate) fn loss(&mut self, name: &str, total: u64, stored: u64, doubled: u64) {
        self.at_most(&format!("{name}.lost"), 0.0, total.saturating_sub(stored) as f64, "events");
        self.at_most(&format!("{name}.duplicated"), 0.0, doubled as f64, "events");
    }

    /// Adds a remark: how it was measured, what it does not show.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Every goal is met.
    pub(crate) fn met(&self) -> bool {
        self.slos.iter().all(|slo| slo.met)
    }

    fn push(&mut self, id: &str, goal: f64, measured: f64, unit: &str, met: bool) {
        let (id, unit) = (id.to_owned(), unit.to_owned());
        self.slos.push(Slo { id, goal, measured, unit, met });
    }

    /// The report as a table for people.
    pub(crate) fn to_text(&self) -> String {
        let rows = self.slos.iter().map(|slo| {
            let met = if slo.met { "met" } else { "MISSED" };
            vec![slo.id.clone(), figure(slo.goal), figure(slo.measured), slo.unit.clone(), met.to_owned()]
        });
        let table = output::table(&["figure", "goal", "measured", "unit", ""], rows);
        let notes: String = self.notes.iter().map(|note| format!("note: {note}\n")).collect();
        format!("{} · affluent {} · {}\n\n{table}{notes}", self.name, self.version, self.machine)
    }
}

/// A number with the digits that matter: whole from 100 up, else three significant.
fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

const EXAMPLES: &str = "\
Examples:
  affluent bench                        which there are
  affluent bench broker
  affluent bench cdc --json > cdc.json
  affluent bench broker --scale 0.1     a quick look; the goals are meant for 1
  affluent bench clickstream --rate 50000 --seconds 20
  affluent bench clickstream --input kafka
  affluent bench clickstream --processes
  affluent bench warehouse --scale 0.1
  affluent bench bi --scale 0.1
  affluent bench console --seconds 120
  affluent bench warehouse --peers .venv/bin/python
  crates/testkit/interop/connect.sh run affluent bench peers
  affluent bench upsert --peers .venv/bin/python
  affluent bench features --from payments.parquet --peers .venv/bin/python
  affluent bench score --rate 3000 --seconds 60 --peers .venv/bin/python

Exit code 1: a goal was missed.";

/// Options of `affluent bench`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Which benchmark; without a name, they are listed.
    name: Option<String>,
    /// Print the report as JSON (the same as --format json).
    #[arg(long)]
    json: bool,
    /// Multiplies the amount of work. The goals are meant for 1.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    scale: f64,
    /// Events a second, of `clickstream`, `logs` and `console`; requests a second, of `score`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Length of the load, of `clickstream`, `logs`, `score` and `console`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// How the events of `clickstream` and `logs` come in.
    #[arg(long, value_enum, default_value_t = Input::Http)]
    input: Input,
    /// Each role of `clickstream` and `logs` in a process of its own: what each costs, instead of latencies.
    #[arg(long)]
    processes: bool,
    /// Card payments of `features`, Parquet: transaction_id, occurred_at, customer_id, terminal_id, amount_minor, fraud.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Do the work of `warehouse`, `upsert`, `features` and `score` in other engines too, from the checkout, with a Python that has
    /// benches/requirements.txt.
    #[arg(long, value_name = "PYTHON")]
    peers: Option<PathBuf>,
}

/// Runs one benchmark and prints its report; a goal that is missed is exit code 1.
///
/// # Errors
/// When the name is unknown or the benchmark cannot be carried out.
pub(crate) async fn run(args: Args, format: Format) -> anyhow::Result<output::Exit> {
    let Some(name) = args.name else {
        let rows = BENCHES.iter().map(|bench| vec![bench.name.to_owned(), bench.about.to_owned()]);
        output::print(&output::table(&["name", "measures"], rows));
        return Ok(output::Exit::Done);
    };
    let known = || BENCHES.iter().map(|bench| bench.name).collect::<Vec<_>>().join(", ");
    let Some(bench) = BENCHES.iter().find(|bench| bench.name == name) else {
        return Err(output::usage(format!("there is no benchmark {name:?}; there are: {}", known())));
    };
    let json = args.json || format == Format::Json;
    let context = Context {
        scale: args.scale,
        rate: args.rate,
        seconds: args.seconds,
        input: args.input,
        processes: args.processes,
        from: args.from,
        peers: args.peers,
        progress: !json && output::is_terminal(),
    };
    let report = (bench.run)(context).await.with_context(|| format!("bench {name}"))?;
    if json {
        output::print_json(&report)?;
    } else {
        output::print(&report.to_text());
    }
    Ok(if report.met() { output::Exit::Done } else { output::Exit::Failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_judges_by_the_direction_of_the_goal() {
        let mut report = Report::new("example");
        report.at_least("rate", 100.0, 120.0, "msg/s");
        report.at_most("latency", 0.015, 0.009, "s");
        assert!(report.met());
        report.at_most("memory", 300.0, 301.0, "MB");
        assert!(!report.met());
        let json = serde_json::to_value(&report).unwrap();
        let slo = &json["slos"][2];
        assert_eq!((slo["id"].as_str(), slo["met"].as_bool()), (Some("memory"), Some(false)));
        for key in ["name", "machine", "version", "slos", "notes"] {
            assert!(json.get(key).is_some(), "{key}");
        }
        assert!(report.to_text().contains("MISSED"));
    }
}
