//! An installation under load whose pipelines run on demand: asked for runs, told to die in them, and read as
//! its users read it.
//!
//! Invariant that [`Trial::read`] holds after whatever was done: readers see one published version whose tables
//! agree, and a version never changes.

use crate::installation::{Begun, Installation, turn};
use crate::kill::rounds;
use crate::load::Load;
use affluent_lake::{Lake, LakeOptions, Partition, RowBatch};
use affluent_model::time::now_micros;
use affluent_model::{Column, ColumnType, Value};
use affluent_testkit::{Database, Postgres};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Far more than a run takes: what hangs fails, what is slow does not.
pub(crate) const RUN: Duration = Duration::from_secs(600);
/// Short, since what was killed is taken over after it; long enough for two busy processors.
const LEASE_S: u32 = 3;
/// Row changes a second.
const RATE: u32 = 60;
/// Changes between two runs.
const NEWS: u64 = 40;
const ARRIVAL: Duration = Duration::from_secs(60);

/// 2026-11-22T00:00:00Z; the intervals asked for follow on it.
const FIRST_S: i64 = 1_795_305_600;

/// What is wrong in the tables that a reader sees, by name; nothing may be.
pub(crate) const WRONG: &str = "
    select 'payment doubled' as what, count(*) - count(distinct transaction_id) as n from dwh.fact_transactions
    union all select 'refund doubled', count(*) - count(distinct refund_id) from dwh.fact_refunds
    union all select 'dispute doubled', count(*) - count(distinct dispute_id) from dwh.fact_disputes
    union all select 'customer version doubled', count(*) - count(distinct customer_key) from dwh.dim_customer
    union all select 'refund without its payment', count(*) from dwh.fact_refunds r
        left join dwh.fact_transactions t on t.transaction_id = r.transaction_id
        where r.is_payment_known and t.transaction_id is null
    union all select 'dispute without its payment', count(*) from dwh.fact_disputes d
        left join dwh.fact_transactions t on t.transaction_id = d.transaction_id
        where d.is_payment_known and t.transaction_id is null
    union all select 'payment without customer', count(*) from dwh.fact_transactions t
        left join dwh.dim_customer c on c.customer_key = t.customer_key where c.customer_key is null
    union all select 'payment without merchant', count(*) from dwh.fact_transactions t
        left join dwh.dim_merchant m on m.merchant_key = t.merchant_key where m.merchant_key is null
    union all select 'refunds of payments and refunds', count(*) from
        (select coalesce(sum(refunded_amount), 0) as amount from dwh.fact_transactions) t cross join
        (select coalesce(sum(amount), 0) as amount from dwh.fact_refunds
            where status = 'paid' and is_payment_known) r where t.amount <> r.amount";

/// What a version is known by.
pub(crate) const SEEN: &str = "
    select 'payments' as what, currency, count(*) as n, sum(amount) as amount, sum(refunded_amount) as other
        from dwh.fact_transactions group by currency
    union all select 'refunds', currency, count(*), sum(amount), sum(amount_reporting) from dwh.fact_refunds group by currency
    union all select 'disputes', currency, count(*), sum(amount), sum(lost_amount) from dwh.fact_disputes group by currency
    order by 1, 2";

/// The installation, its load, and what has been seen of it.
pub(crate) struct Trial {
    pub(crate) installation: Installation,
    database: Database,
    load: Option<Load>,
    pub(crate) rng: SmallRng,
    intervals: i64,
    /// Published versions with what their readers saw.
    versions: BTreeMap<i64, Vec<String>>,
    _turn: tokio::sync::MutexGuard<'static, ()>,
}

impl Trial {
    /// With raw rows of every payment made so far, and an empty warehouse.
    pub(crate) async fn begin() -> Self {
        let turn = turn().await;
        let seed = match std::env::var("AFFLUENT_SEED") {
            Ok(text) => text.parse().expect("AFFLUENT_SEED is a number"),
            Err(_) => rand::random::<u32>().into(),
        };
        eprintln!("AFFLUENT_SEED={seed}, {} rounds", rounds());
        let database = Postgres::shared().fresh_database().await.unwrap();
        let load = Load::start(&database, RATE, seed).await;
        let sections = format!(
            "[schedule]\nlease_s = {LEASE_S}\npoll_ms = 50\n[schedule.raw_to_dwh]\ncron = \"\"\n\
             [schedule.rebuild]\ncron = \"\"\n[schedule.features_5m]\ncron = \"\"\n\
             [schedule.features_1h]\ncron = \"\"\n[schedule.features_nightly]\ncron = \"\"\n\
             [schedule.features_parity]\ncron = \"\"\n[schedule.train_fraud]\ncron = \"\"\n\
             [schedule.train_churn]\ncron = \"\"\n[schedule.train_score]\ncron = \"\"\n[schedule.drift]\ncron = \"\"\n[batch]\nrows_max = 1000\n\
             openlineage_url = \"http://127.0.0.1:9/nobody/is/there\"\n"
        );
        let mut installation = Installation::with_sections(&database, &sections);
        installation.start(None);
        installation.wait_ready().await;
        let mut trial = Trial {
            installation,
            database,
            load: Some(load),
            rng: SmallRng::seed_from_u64(seed),
            intervals: 0,
            versions: BTreeMap::new(),
            _turn: turn,
        };
        trial.news().await;
        trial
    }

    /// Waits until something has come since, up to the raw zone.
    pub(crate) async fn news(&mut self) {
        let load = self.load.as_ref().expect("the load goes on until the end");
        let wanted = load.changes() + NEWS;
        let deadline = Instant::now() + ARRIVAL;
        while load.changes() < wanted {
            assert!(Instant::now() < deadline, "the load stands still");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let client = self.database.connect().await.unwrap();
        let newest = "select id::text from transactions order by created_at desc, id limit 1";
        let id: String = client.query_one(newest, &[]).await.unwrap().get(0);
        let arrived = format!("select id from raw.transactions where id = '{id}' limit 1");
        while Instant::now() < deadline {
            let said = self.installation.begin(&["sql", "--format", "csv", &arrived], None).end(RUN).await;
            if said.status.success() && said.out.contains(&id) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("payment {id} does not reach the raw zone\n{}", self.installation.tail());
    }

    /// A merchant whose country no rule lets pass.
    pub(crate) async fn refusable(&self) {
        let client = self.database.connect().await.unwrap();
        let sql = "insert into merchants (name, category_code, country, currency) values ('odd', '5411', 'QQ', 'EUR')
                   returning id";
        let id: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        let arrived = format!("select id from raw.merchants where id = {id}");
        let deadline = Instant::now() + ARRIVAL;
        while self.rows(&arrived).await.is_empty() {
            assert!(Instant::now() < deadline, "merchant {id} does not reach the raw zone");
        }
    }

    /// A row in a table of the warehouse that no change of the source has made.
    async fn tamper(&self, table: &str, partition: &Partition, row: &[(&str, ColumnType, Value)]) {
        let options =
            LakeOptions { warehouse: self.installation.data().join("lake"), ..LakeOptions::default() };
        let lake = Lake::open(options).await.unwrap();
        let columns: Vec<Column> = row
            .iter()
            .map(|(name, column_type, _)| Column {
                name: (*name).to_owned(),
                column_type: column_type.clone(),
                nullable: true,
            })
            .collect();
        let table = lake.ensure_table("dwh", table, &columns, partition).await.unwrap();
        let rows = vec![row.iter().map(|(_, _, value)| value.clone()).collect()];
        table.append(Arc::new(RowBatch { columns: columns.into(), rows }), Vec::new()).await.unwrap();
    }

    /// A payment that nobody has made.
    pub(crate) async fn tamper_facts(&self) {
        let day = Partition::Day("created_at".to_owned());
        let currency = ("currency", ColumnType::Text, Value::Text("EUR".to_owned()));
        let created = ("created_at", ColumnType::TimestampTz, Value::TimestampTz(now_micros()));
        self.tamper("fact_transactions", &day, &[currency, created]).await;
    }

    /// A currency that there is not.
    pub(crate) async fn tamper_dimension(&self) {
        let key = ("currency_key", ColumnType::Text, Value::Text("odd".to_owned()));
        self.tamper("dim_currency", &Partition::None, &[key]).await;
    }

    /// The arguments of a run of the next interval, or of the one before again.
    fn interval(&mut self, pipeline: &str, next: bool) -> Vec<String> {
        self.intervals += i64::from(next);
        let at = |index: i64| {
            let micros = (FIRST_S + 900 * index) * 1_000_000;
            affluent_model::time::format_micros(micros, true)
        };
        [
            "batch",
            "run",
            pipeline,
            "--format",
            "json",
            "--from",
            &at(self.intervals),
            "--to",
            &at(self.intervals + 1),
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// Starts the next interval, with failpoints armed where given.
    pub(crate) fn begin_next(&mut self, pipeline: &str, failpoints: Option<&str>) -> Begun {
        let arguments = self.interval(pipeline, true);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.installation.begin(&arguments, failpoints)
    }

    /// Runs the interval to its end; whatever was killed in it before is taken over.
    pub(crate) async fn complete(&mut self, pipeline: &str, next: bool) -> Json {
        let arguments = self.interval(pipeline, next);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let said = self.installation.begin(&arguments, None).end(RUN).await;
        let code = said.status.code();
        assert!(
            code == Some(0) || code == Some(99),
            "{pipeline} ended with {code:?}\n{}\n{}",
            said.out,
            said.err
        );
        serde_json::from_str(&said.out).unwrap()
    }

    /// What `affluent batch status` says.
    pub(crate) async fn status(&self) -> Json {
        let said = self.installation.begin(&["batch", "status", "--format", "json"], None).end(RUN).await;
        assert!(said.status.success(), "{said:?}");
        serde_json::from_str(&said.out).unwrap()
    }

    /// Holds what readers see against [`WRONG`] and against what they saw of the same version before. The
    /// newest version, 0 before the first.
    pub(crate) async fn read(&mut self) -> i64 {
        let status = self.status().await;
        let versions: Vec<i64> = status["versions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["version"].as_i64().unwrap())
            .collect();
        let Some(&newest) = versions.first() else { return 0 };
        assert!(
            versions.windows(2).all(|two| two[0] == two[1] + 1),
            "versions are missing or twice: {versions:?}"
        );
        let seen = self.rows(SEEN).await;
        let wrong: Vec<String> =
            self.rows(WRONG).await.into_iter().filter(|row| !row.ends_with(",0")).collect();
        assert!(wrong.is_empty(), "version {newest}: {wrong:?}\n{seen:#?}");
        let known = self.versions.entry(newest).or_insert_with(|| seen.clone());
        assert_eq!(*known, seen, "version {newest} has changed");
        newest
    }

    /// The rows of a query as `affluent sql` answers it.
    pub(crate) async fn rows(&self, query: &str) -> Vec<String> {
        let said = self.installation.begin(&["sql", "--format", "csv", query], None).end(RUN).await;
        assert!(said.status.success(), "{query}: {}\n{}", said.out, said.err);
        let all = said.out.lines().skip(1).filter(|line| !line.is_empty());
        all.map(str::to_owned).collect()
    }

    /// Computes every table anew, and compares it with what is there by hashes of its rows, day by day.
    pub(crate) async fn rebuild_is_equal(&mut self) {
        assert_equal(&self.complete("rebuild", true).await);
    }

    /// Stops the load, and waits until all of it is in the raw zone.
    pub(crate) async fn calm(&mut self) {
        let changes = self.load.take().expect("the load goes on until now").stop().await;
        self.installation.verify().await;
        eprintln!("{changes} changes");
    }

    /// Stops the load, takes the rest on, and holds the warehouse against the database to the cent; the rebuild
    /// finds no difference.
    pub(crate) async fn finish(mut self) {
        self.calm().await;
        self.complete("raw-to-dwh", true).await;
        self.read().await;
        self.rebuild_is_equal().await;
        let version = self.read().await;
        let client = self.database.connect().await.unwrap();
        for (table, fact) in [
            ("transactions", "fact_transactions"),
            ("refunds", "fact_refunds"),
            ("disputes", "fact_disputes"),
        ] {
            let sums = |from: &str| {
                format!(
                    "select currency, count(*) as n, cast(sum(amount) as decimal(38, 4)) as amount from {from} group by currency order by 1"
                )
            };
            let expected: Vec<String> = client
                .query(&format!("select concat_ws(',', currency, n, amount) from ({}) s", sums(table)), &[])
                .await
                .unwrap()
                .iter()
                .map(|row| row.get(0))
                .collect();
            assert_eq!(self.rows(&sums(&format!("dwh.{fact}"))).await, expected, "{table}");
        }
        eprintln!("{version} versions, {} intervals", self.intervals);
    }
}

/// A rebuild that said this found what the increments had made.
pub(crate) fn assert_equal(rebuilt: &Json) {
    let tasks = rebuilt["run"]["tasks"].as_array().unwrap();
    for task in ["clean", "deduplicate", "enrich", "load"] {
        // The last attempt is the one that was done.
        let done = tasks.iter().rfind(|one| one["task"] == task);
        assert_eq!(done.unwrap()["notes"], "equal to the increments", "{task}");
    }
}
