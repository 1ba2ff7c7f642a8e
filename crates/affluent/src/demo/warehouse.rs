//! The demo's warehouse: the pipeline runs again and again beside the load, at the end everything is computed
//! once more from the raw zone and compared, and questions are asked of what was published, over the PostgreSQL protocol.

use super::report::Answer;
use super::wire::Wire;
use crate::batch;
use crate::platform::Platform;
use crate::sql::rows;
use affluent_lake::sql::{Engine, EngineOptions, Session};
use affluent_model::time::now_micros;
use affluent_schedule::{
    Interval, Pipeline, RAW_TO_DWH, REBUILD, Reason, Request, RunEnd, RunRecord, Runner,
};
use affluent_testkit::Database;
use affluent_warehouse::batch::{Batch, QUESTIONS, versions};
use anyhow::{Context as _, bail};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Between two runs beside the load.
const PAUSE: Duration = Duration::from_secs(10);
/// Money that is there, by currency: payments and their sum, as text with every digit.
type Balance = BTreeMap<String, (i64, String)>;

const BALANCE_SOURCE: &str =
    "select currency, count(*), sum(amount)::numeric(38, 4)::text from transactions group by currency";
const BALANCE_WAREHOUSE: &str = "select currency, cast(count(*) as varchar), cast(cast(sum(amount) as decimal(38, 4)) as varchar) \
     from dwh.fact_transactions group by currency";

/// What the warehouse showed.
#[derive(Debug, Default)]
pub(super) struct Warehouse {
    pub(super) freshness: Freshness,
    /// The same until an answer over the PostgreSQL protocol has it.
    pub(super) freshness_wire: Freshness,
    /// Runs of the pipeline that published something, and of all runs the longest, seconds.
    pub(super) runs: u32,
    pub(super) longest_s: f64,
    /// Payments by currency that the warehouse has otherwise than the database.
    pub(super) unbalanced: Vec<String>,
    /// Tables whose rebuild differs from the increments, and where.
    pub(super) different: Vec<String>,
    /// Rows that were computed again and compared.
    pub(super) compared: u64,
    pub(super) rebuild_s: f64,
    pub(super) answers: Vec<Answer>,
}

/// How long the oldest change waited until it could be queried.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(super) struct Freshness {
    /// The newest change that could be queried after the last run, microseconds.
    newest: Option<i64>,
    /// Seconds; `None` before the second run.
    pub(super) worst_s: Option<f64>,
}

impl Freshness {
    /// Takes in what could be queried at `now` (both microseconds): whatever is newer than what could be queried
    /// before has waited for at most the time since.
    fn observe(&mut self, now: i64, newest: i64) {
        if let Some(before) = self.newest
            && newest > before
        {
            let waited = (now - before) as f64 / 1e6;
            self.worst_s = Some(self.worst_s.map_or(waited, |worst| worst.max(waited)));
        }
        self.newest = self.newest.max(Some(newest));
    }
}

/// The pipelines of the demo.
pub(super) struct Runs {
    runner: Runner,
    pipelines: Vec<Pipeline>,
    engine: Engine,
    lake: affluent_lake::Lake,
    wire: Wire,
    /// Where the next interval begins, microseconds.
    from: i64,
    found: Warehouse,
}

impl Runs {
    /// The pipelines, and one run for what was there before the load.
    pub(super) async fn begin(platform: &Platform, wire: Wire) -> anyhow::Result<Runs> {
        let (config, lake) = (platform.config(), platform.lake().await?);
        let engine = Batch::new(lake.clone(), config.batch.clone())?;
        let pipelines = batch::pipelines(&config.schedule, &engine, false, None)?;
        let ledger = batch::ledger(&config.schedule).await?;
        let runner = Runner::new(ledger, config.schedule.clone());
        let engine = Engine::new(lake.clone(), EngineOptions::default())?;
        let from = now_micros();
        let mut runs = Runs { runner, pipelines, engine, lake, wire, from, found: Warehouse::default() };
        runs.increment().await?;
        Ok(runs)
    }

    /// Runs the pipeline until `stop`, with pauses.
    pub(super) fn beside(mut self, stop: CancellationToken) -> JoinHandle<anyhow::Result<Runs>> {
        tokio::spawn(async move {
            while stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_some() {
                self.increment().await?;
            }
            Ok(self)
        })
    }

    /// The last increment, when everything has arrived; then the rebuild, the comparison with `database`, and the
    /// questions.
    pub(super) async fn end(mut self, database: &Database) -> anyhow::Result<Warehouse> {
        self.increment().await?;
        let rebuild = self.run(REBUILD).await?;
        self.found.rebuild_s = seconds(&rebuild);
        self.found.compared = rebuild.tasks.iter().map(|task| task.rows_in).sum();
        let session = self.published().await?;
        let different = format!(
            "select detail from ops.checks where run = {} and \"check\" = 'rebuild_equal' and failures > 0",
            rebuild.id
        );
        self.found.different = rows(&session, &different).await?.into_iter().flatten().collect();
        let (source, warehouse) = (in_database(database).await?, in_warehouse(&session).await?);
        self.found.unbalanced = unbalanced(&source, &warehouse);
        for (name, text) in QUESTIONS {
            let answer = self.wire.answer(text).await.with_context(|| format!("ask {name}"))?;
            self.found.answers.push(answer);
        }
        Ok(self.found)
    }

    /// Takes on what came since, and looks at what can be queried then.
    async fn increment(&mut self) -> anyhow::Result<()> {
        let record = self.run(RAW_TO_DWH).await?;
        self.found.longest_s = self.found.longest_s.max(seconds(&record));
        let session = self.published().await?;
        let newest = "select cast(cast(max(updated_at) as bigint) as varchar) from dwh.fact_transactions";
        let newest = rows(&session, newest).await?.first().and_then(|row| row[0].parse().ok());
        if let Some(newest) = newest {
            self.found.freshness.observe(now_micros(), newest);
            self.wire.sees(newest).await?;
            self.found.freshness_wire.observe(now_micros(), newest);
            self.found.runs += 1;
        }
        Ok(())
    }

    async fn run(&mut self, name: &str) -> anyhow::Result<RunRecord> {
        let pipeline = self.pipelines.iter().find(|pipeline| pipeline.name() == name);
        let pipeline = pipeline.with_context(|| format!("there is no pipeline {name}"))?;
        let interval = Interval::new(self.from, now_micros().max(self.from + 1))?;
        let wait = Duration::from_secs(60);
        let request = Request { interval, only: None, fresh: true, reason: Reason::Manual, wait };
        let end = self.runner.run(pipeline, &request, &CancellationToken::new()).await?;
        self.from = interval.to_us();
        let (RunEnd::Succeeded { run } | RunEnd::Skipped { run }) = end else {
            bail!("{name} ended otherwise than expected: {end:?}");
        };
        self.runner.ledger().run(run).await?.with_context(|| format!("run {run} is not in the ledger"))
    }

    /// What readers see: the version that was published last.
    async fn published(&self) -> anyhow::Result<Session> {
        let version = versions(&self.lake).await?.into_iter().next().context("no version was published")?;
        let session = self.engine.session(version.pins()).await?;
        version.hide_later(&session).await?;
        Ok(session)
    }
}

fn seconds(run: &RunRecord) -> f64 {
    run.ended_us.map_or(0.0, |ended| (ended - run.started_us) as f64 / 1e6)
}

/// The currencies of which one side has other payments than the other.
fn unbalanced(source: &Balance, warehouse: &Balance) -> Vec<String> {
    let currencies = source.keys().chain(warehouse.keys().filter(|currency| !source.contains_key(*currency)));
    let differs = |currency: &&String| source.get(*currency) != warehouse.get(*currency);
    let told = |currency: &String| {
        format!("{currency}: database {:?}, warehouse {:?}", source.get(currency), warehouse.get(currency))
    };
    currencies.filter(differs).map(told).collect()
}

async fn in_database(database: &Database) -> anyhow::Result<Balance> {
    let client = database.connect().await.context("connect to the payments database")?;
    let rows = client.query(BALANCE_SOURCE, &[]).await.context("sum the payments")?;
    Ok(rows.iter().map(|row| (row.get::<_, String>(0), (row.get(1), row.get(2)))).collect())
}

async fn in_warehouse(session: &Session) -> anyhow::Result<Balance> {
    let rows = rows(session, BALANCE_WAREHOUSE).await?.into_iter();
    rows.map(|row| {
        let [currency, payments, sum] = <[String; 3]>::try_from(row).unwrap_or_default();
        Ok((currency, (payments.parse()?, sum)))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_has_waited_since_the_run_before() {
        let mut freshness = Freshness::default();
        freshness.observe(10_000_000, 9_000_000);
        assert_eq!(freshness.worst_s, None, "what the first run found may be older than the demo");
        freshness.observe(12_000_000, 11_500_000);
        assert_eq!(freshness.worst_s, Some(3.0));
        freshness.observe(99_000_000, 11_500_000);
        assert_eq!(freshness.worst_s, Some(3.0), "nothing new has waited");
    }

    #[test]
    fn a_missing_currency_and_another_sum_are_told() {
        let balance = |rows: &[(&str, i64, &str)]| -> Balance {
            rows.iter().map(|(currency, n, sum)| ((*currency).to_owned(), (*n, (*sum).to_owned()))).collect()
        };
        let source = balance(&[("EUR", 2, "3.0000"), ("JPY", 1, "7.0000")]);
        assert!(unbalanced(&source, &source).is_empty());
        assert_eq!(unbalanced(&source, &balance(&[("EUR", 2, "3.0001"), ("USD", 1, "1.0000")])).len(), 3);
    }
}
