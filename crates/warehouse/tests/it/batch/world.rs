//! A lake with raw changes of payments and merchants as the sink writes them, five small models over it, and a
//! run that can be killed before any of its commits.

use affluent_lake::sql::{Engine, EngineOptions, Pins, Renderer, TextFormat};
use affluent_lake::{Advance, Lake, Partition, RowBatch};
use affluent_model::{Column, ColumnType, Row, Value};
use affluent_warehouse::batch::{Batch, BatchError, BatchOptions, Fence, Models, RawToDwh, TASKS, Unfenced};
use async_trait::async_trait;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tempfile::TempDir;

/// 2026-11-22T12:00:00Z.
pub(crate) const NOON: i64 = 1_795_348_800_000_000;
pub(crate) const DAY: i64 = 86_400_000_000;

const COMMON: &str =
    "_op, _lsn, _ordinal, _commit_ts, _unchanged, _kafka_topic, _kafka_partition, _kafka_offset, _kafka_ts";

/// Path and text of every model.
pub(crate) fn files() -> Vec<(String, String)> {
    let newest = |columns: &str, from: &str| {
        format!(
            "select {columns} from (select *, row_number() over (partition by id order by _lsn desc, _ordinal desc) as newest \
             from staged.{from}) as s where newest = 1 and _op <> 'd'"
        )
    };
    let staged = |own: &str, from: &str| format!("select {COMMON}, {own} from raw.{from}");
    let file = |path: &str, header: &str, body: &str| {
        (path.to_owned(), format!("/*\ndescription = \"d\"\n{header}\n*/\n{body}\n"))
    };
    let clean = "task = \"clean\"\nstrategy = \"incremental\"\nkey = [\"_kafka_topic\", \"_kafka_partition\", \"_kafka_offset\"]";
    vec![
        file(
            "staged/transactions.sql",
            &format!(
                "{clean}\n[columns]\nid = \"bigint\"\nmerchant_id = \"bigint\"\namount = \"decimal(18, 4)\"\ncurrency = \"text\"\n\
                 created_at = \"timestamptz\"\nmemo = \"text\"\n[[rules]]\nname = \"amount_negative\"\nwhen = \"_op <> 'd' and amount < 0\"\n\
                 [[rules]]\nname = \"currency_unknown\"\nwhen = \"_op <> 'd' and currency not in (select code from seed.currencies)\""
            ),
            &staged("id, merchant_id, amount, upper(currency) as currency, created_at, memo", "transactions"),
        ),
        file(
            "staged/merchants.sql",
            &format!("{clean}\n[columns]\nid = \"bigint\"\nname = \"text\"\n"),
            &staged("id, name", "merchants"),
        ),
        file(
            "curated/payments.sql",
            "task = \"deduplicate\"\nstrategy = \"upsert\"\nkey = [\"id\"]\nfrom = \"staged.transactions\"\npartition = \"created_at\"\n\
             accepted = { currency = [\"EUR\", \"JPY\"] }",
            &newest("id, merchant_id, amount, currency, created_at", "transactions"),
        ),
        file(
            "curated/merchants.sql",
            "task = \"deduplicate\"\nstrategy = \"upsert\"\nkey = [\"merchant_id\"]\nfrom = \"staged.merchants\"\nunit = { id = \"merchant_id\" }",
            &newest("id as merchant_id, name", "merchants"),
        ),
        file(
            "dwh/fact_payments.sql",
            "task = \"load\"\nstrategy = \"upsert\"\nkey = [\"payment\"]\nfrom = \"curated.payments\"\nunit = { id = \"payment\" }\n\
             changes = \"select id from delta.transactions union select id from curated.payments where merchant_id in (select id from delta.merchants)\"\n\
             partition = \"created_at\"\nsort = [\"merchant_id\"]",
            "select p.id as payment, p.merchant_id, coalesce(m.name, 'unknown') as merchant, p.amount, p.currency, p.created_at \
             from curated.payments p left join curated.merchants m on m.merchant_id = p.merchant_id",
        ),
        file(
            "dwh/dim_merchant.sql",
            "task = \"load\"\nstrategy = \"scd2\"\nkey = [\"merchant_id\", \"valid_from\"]\nfrom = \"staged.merchants\"\nunit = { id = \"merchant_id\" }",
            "select id as merchant_id, name, _commit_ts as valid_from, \
             lead(_commit_ts) over (partition by id order by _lsn, _ordinal) as valid_to from \
             (select distinct id, name, _op, _commit_ts, _lsn, _ordinal from staged.merchants) as v",
        ),
        file(
            "dwh/totals.sql",
            "task = \"load\"\nstrategy = \"rebuild\"\nkey = [\"currency\"]\nreferences = { currency = \"dwh.currencies.code\" }",
            "select currency, count(*) as payments, sum(amount) as amount from dwh.fact_payments group by currency",
        ),
        file(
            "dwh/currencies.sql",
            "task = \"load\"\nstrategy = \"rebuild\"\nkey = [\"code\"]",
            "select code, cast(digits as int) as digits from seed.currencies",
        ),
    ]
}

pub(crate) const TABLES: &[&str] = &[
    "curated.payments",
    "curated.merchants",
    "dwh.fact_payments",
    "dwh.dim_merchant",
    "dwh.totals",
    "dwh.currencies",
];

/// A change of a payment or a merchant.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) table: &'static str,
    pub(crate) op: &'static str,
    pub(crate) id: i64,
    pub(crate) lsn: i64,
    pub(crate) merchant: i64,
    /// Ten-thousandths.
    pub(crate) amount: i64,
    pub(crate) currency: &'static str,
    /// Days before noon.
    pub(crate) days_ago: i64,
}

impl Change {
    pub(crate) fn payment(op: &'static str, id: i64, lsn: i64, amount: i64) -> Self {
        let table = "transactions";
        Change { table, op, id, lsn, merchant: id % 3, amount, currency: "eur", days_ago: id % 3 }
    }

    pub(crate) fn merchant(op: &'static str, id: i64, lsn: i64) -> Self {
        Change { table: "merchants", ..Change::payment(op, id, lsn, 0) }
    }
}

pub(crate) struct World {
    pub(crate) dir: Option<TempDir>,
    pub(crate) lake: Lake,
    pub(crate) batch: Batch,
}

/// May commit so many times.
pub(crate) struct Dying(AtomicI64);

impl Dying {
    pub(crate) fn after(commits: i64) -> Self {
        Dying(AtomicI64::new(commits))
    }
}

#[async_trait]
impl Fence for Dying {
    async fn check(&self) -> Result<(), BatchError> {
        if self.0.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Ok(());
        }
        Err(BatchError::Stopped { message: "killed".to_owned(), retryable: true })
    }

    fn token(&self) -> Option<i64> {
        None
    }
}

impl World {
    pub(crate) async fn new(rows_max: u64) -> Self {
        Self::with(rows_max, &files()).await
    }

    pub(crate) async fn with(rows_max: u64, files: &[(String, String)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = crate::lake_options(&dir.path().join("lake"));
        let lake = Lake::open(options).await.unwrap();
        let batch = batch(&lake, dir.path(), rows_max, files);
        World { dir: Some(dir), lake, batch }
    }

    /// A lake and models that somebody else keeps.
    pub(crate) fn of(lake: Lake, batch: Batch) -> Self {
        World { dir: None, lake, batch }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    /// The same tables with other models.
    pub(crate) fn changed(&mut self, files: &[(String, String)]) {
        self.batch = batch(&self.lake, self.directory(), 1000, files);
    }

    /// Appends changes to their raw tables, as records of one partition each.
    pub(crate) async fn append(&self, changes: &[Change]) {
        for table in ["transactions", "merchants"] {
            let own: Vec<&Change> = changes.iter().filter(|change| change.table == table).collect();
            if own.is_empty() {
                continue;
            }
            let columns = columns(table);
            let day = Partition::Day("_kafka_ts".to_owned());
            let raw = self.lake.ensure_table("raw", table, &columns, &day).await.unwrap();
            let topic = format!("oltp.public.{table}");
            let expected = raw.offsets().await.unwrap().get(&topic, 0);
            let from = expected.unwrap_or(0);
            let rows: Vec<Row> = own
                .iter()
                .zip(from..)
                .map(|(change, offset)| row(&columns, change, &topic, offset))
                .collect();
            let next = from + i64::try_from(rows.len()).unwrap();
            let advance = Advance { topic: topic.as_str().into(), partition: 0, expected, next };
            raw.append(Arc::new(RowBatch { columns: columns.into(), rows }), vec![advance]).await.unwrap();
        }
    }

    /// Every task, until the end or the first that fails.
    pub(crate) async fn run(&self, fence: &dyn Fence) -> Result<(), BatchError> {
        let work = RawToDwh::increments(self.batch.clone());
        for task in TASKS {
            work.task(task, fence.token().unwrap_or(1), fence).await?;
        }
        Ok(())
    }

    pub(crate) async fn run_whole(&self) {
        self.run(&Unfenced).await.unwrap();
    }

    /// The rows of a query as CSV, sorted.
    pub(crate) async fn rows(&self, text: &str) -> Vec<String> {
        self.rows_at(text, Pins::default()).await
    }

    pub(crate) async fn rows_at(&self, text: &str, pins: Pins) -> Vec<String> {
        let engine =
            Engine::new(self.lake.clone(), EngineOptions { partitions: 2, ..EngineOptions::default() })
                .unwrap();
        let session = engine.session(pins).await.unwrap();
        let mut rows = session.sql(text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut renderer = Renderer::new(TextFormat::Csv, rows.schema());
        let mut csv = String::new();
        while let Some(batch) = rows.next_batch().await {
            csv += &renderer.batch(&batch.unwrap()).unwrap();
        }
        let mut lines: Vec<String> = csv.lines().skip(1).map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// Every table above the staged zone.
    pub(crate) async fn tables(&self) -> Vec<(String, Vec<String>)> {
        let mut tables = Vec::new();
        for table in TABLES {
            tables.push(((*table).to_owned(), self.rows(&format!("select * from {table}")).await));
        }
        tables
    }
}

fn batch(lake: &Lake, dir: &Path, rows_max: u64, files: &[(String, String)]) -> Batch {
    let seeds = dir.join("seeds");
    std::fs::create_dir_all(&seeds).unwrap();
    std::fs::write(seeds.join("currencies.csv"), "code,digits\nEUR,2\neur,2\nJPY,0\njpy,0\n").unwrap();
    let options = BatchOptions { rows_max, seeds, ..BatchOptions::default() };
    let texts = files.iter().map(|(path, text)| (path.as_str(), path.as_str(), text.as_str()));
    Batch::with_models(lake.clone(), options, Models::from_files(texts).unwrap()).unwrap()
}

fn columns(table: &str) -> Vec<Column> {
    let own: &[(&str, ColumnType)] = match table {
        "merchants" => &[("name", ColumnType::Text)],
        _ => &[
            ("merchant_id", ColumnType::Int64),
            ("amount", ColumnType::Decimal { precision: 18, scale: 4 }),
            ("currency", ColumnType::Text),
            ("created_at", ColumnType::TimestampTz),
        ],
    };
    let common = [
        ("_op", ColumnType::Text),
        ("_lsn", ColumnType::Int64),
        ("_ordinal", ColumnType::Int64),
        ("_commit_ts", ColumnType::TimestampTz),
        ("_kafka_topic", ColumnType::Text),
        ("_kafka_partition", ColumnType::Int32),
        ("_kafka_offset", ColumnType::Int64),
        ("_kafka_ts", ColumnType::TimestampTz),
        ("_unchanged", ColumnType::Array(Box::new(ColumnType::Text))),
        ("id", ColumnType::Int64),
    ];
    let all = common.iter().chain(own);
    all.map(|(name, column_type)| Column {
        name: (*name).to_owned(),
        column_type: column_type.clone(),
        nullable: true,
    })
    .collect()
}

fn row(columns: &[Column], change: &Change, topic: &str, offset: i64) -> Row {
    let amount = || format!("{}.{:04}", change.amount / 10_000, change.amount.unsigned_abs() % 10_000);
    let value = |name: &str| match name {
        "_op" => Value::Text(change.op.into()),
        "_lsn" => Value::Int(change.lsn),
        "_ordinal" | "_kafka_partition" => Value::Int(0),
        "_commit_ts" => Value::TimestampTz(NOON + change.lsn),
        "_kafka_topic" => Value::Text(topic.into()),
        "_kafka_offset" => Value::Int(offset),
        "_kafka_ts" => Value::TimestampTz(NOON + change.lsn),
        "id" => Value::Int(change.id),
        "name" => Value::Text(format!("merchant {}", change.lsn % 5)),
        "merchant_id" => Value::Int(change.merchant),
        "amount" => Value::Decimal(amount().parse().unwrap()),
        "currency" => Value::Text(change.currency.into()),
        "created_at" => Value::TimestampTz(NOON - change.days_ago * DAY),
        _ => Value::Null,
    };
    columns.iter().map(|column| value(&column.name)).collect()
}
