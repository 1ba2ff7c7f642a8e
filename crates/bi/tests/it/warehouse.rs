//! A lake with payments and the warehouse that is computed of them, published as often as a test wants.

use affluent_lake::{Advance, Lake, LakeOptions, Partition, RowBatch};
use affluent_model::{Column, ColumnType, Row, Value};
use affluent_warehouse::batch::{Batch, BatchOptions, Models, RawToDwh, TASKS, Unfenced};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tempfile::TempDir;

/// 2026-11-22T12:00:00Z, microseconds.
pub(crate) const NOON: i64 = 1_795_348_800_000_000;

const COMMON: &str =
    "_op, _lsn, _ordinal, _commit_ts, _unchanged, _kafka_topic, _kafka_partition, _kafka_offset, _kafka_ts";

/// A payment: id, memo, amount as text, currency.
pub(crate) type Payment<'a> = (i64, Option<&'a str>, &'a str, &'a str);

pub(crate) struct Warehouse {
    pub(crate) lake: Lake,
    pub(crate) batch: Batch,
    run: AtomicI64,
    _directory: TempDir,
}

impl Warehouse {
    /// Empty; nothing is published.
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = LakeOptions { warehouse: directory.path().join("lake"), ..LakeOptions::default() };
        let lake = Lake::open(options).await.unwrap();
        let batch = batch(&lake, directory.path());
        Warehouse { lake, batch, run: AtomicI64::new(0), _directory: directory }
    }

    /// Payments as they come into the raw zone; one of a known id is its newest state.
    pub(crate) async fn pay(&self, payments: &[Payment<'_>]) {
        let columns: Arc<[Column]> = columns().into();
        let day = Partition::Day("_kafka_ts".to_owned());
        let raw = self.lake.ensure_table("raw", "transactions", &columns, &day).await.unwrap();
        let topic = "oltp.public.transactions";
        let expected = raw.offsets().await.unwrap().get(topic, 0);
        let from = expected.unwrap_or(0);
        let rows: Vec<Row> =
            payments.iter().zip(from..).map(|(payment, offset)| row(&columns, payment, offset)).collect();
        let next = from + i64::try_from(rows.len()).unwrap();
        let advance = Advance { topic: topic.into(), partition: 0, expected, next };
        raw.append(Arc::new(RowBatch { columns, rows }), vec![advance]).await.unwrap();
    }

    /// Computes what has come, and publishes it as the next version.
    pub(crate) async fn publish(&self) {
        let work = RawToDwh::increments(self.batch.clone());
        let run = self.run.fetch_add(1, Ordering::Relaxed) + 1;
        for task in TASKS {
            work.task(task, run, &Unfenced).await.unwrap();
        }
    }
}

fn batch(lake: &Lake, directory: &Path) -> Batch {
    let seeds = directory.join("seeds");
    std::fs::create_dir_all(&seeds).unwrap();
    std::fs::write(seeds.join("currencies.csv"), "code,digits\nEUR,2\nJPY,0\n").unwrap();
    let options = BatchOptions { seeds, partitions: 1, ..BatchOptions::default() };
    let staged = format!(
        "/*\ndescription = \"Every change of a payment.\"\ntask = \"clean\"\nstrategy = \"incremental\"\n\
         key = [\"_kafka_topic\", \"_kafka_partition\", \"_kafka_offset\"]\n[columns]\nid = \"bigint\"\n\
         memo = \"text\"\namount = \"decimal(18, 4)\"\ncurrency = \"text\"\ncreated_at = \"timestamptz\"\n*/\n\
         select {COMMON}, id, memo, amount, currency, created_at from raw.transactions"
    );
    let curated = "/*\ndescription = \"Every payment.\"\ntask = \"deduplicate\"\nstrategy = \"upsert\"\n\
         key = [\"id\"]\nfrom = \"staged.transactions\"\npartition = \"created_at\"\n*/\n\
         select id, memo, amount, currency, created_at from (select *, row_number() over \
         (partition by id order by _lsn desc) as newest from staged.transactions) as s where newest = 1";
    let facts = "/*\ndescription = \"Every payment, as it's told.\"\ntask = \"load\"\nstrategy = \"upsert\"\n\
         key = [\"payment\"]\nfrom = \"curated.payments\"\nunit = { id = \"payment\" }\n\
         changes = \"select id from delta.transactions\"\npartition = \"created_at\"\n*/\n\
         select id as payment, amount, currency, memo, created_at from curated.payments";
    let currencies = "/*\ndescription = \"Every currency.\"\ntask = \"load\"\nstrategy = \"rebuild\"\n\
         key = [\"code\"]\n*/\nselect code, cast(digits as int) as digits from seed.currencies";
    let files = [
        ("staged/transactions.sql", staged.as_str()),
        ("curated/payments.sql", curated),
        ("dwh/fact_payments.sql", facts),
        ("dwh/currencies.sql", currencies),
    ];
    let models = Models::from_files(files.map(|(path, text)| (path, path, text))).unwrap();
    Batch::with_models(lake.clone(), options, models).unwrap()
}

fn columns() -> Vec<Column> {
    [
        ("_op", ColumnType::Text),
        ("_lsn", ColumnType::Int64),
        ("_ordinal", ColumnType::Int64),
        ("_commit_ts", ColumnType::TimestampTz),
        ("_unchanged", ColumnType::Array(Box::new(ColumnType::Text))),
        ("_kafka_topic", ColumnType::Text),
        ("_kafka_partition", ColumnType::Int32),
        ("_kafka_offset", ColumnType::Int64),
        ("_kafka_ts", ColumnType::TimestampTz),
        ("id", ColumnType::Int64),
        ("memo", ColumnType::Text),
        ("amount", ColumnType::Decimal { precision: 18, scale: 4 }),
        ("currency", ColumnType::Text),
        ("created_at", ColumnType::TimestampTz),
    ]
    .map(|(name, column_type)| Column { name: name.to_owned(), column_type, nullable: true })
    .to_vec()
}

fn row(columns: &[Column], (id, memo, amount, currency): &Payment<'_>, offset: i64) -> Row {
    let text = |text: &str| Value::Text(text.to_owned());
    let value = |name: &str| match name {
        "_op" => text("c"),
        "_lsn" => Value::Int(offset + 1),
        "_ordinal" | "_kafka_partition" => Value::Int(0),
        "_commit_ts" | "_kafka_ts" => Value::TimestampTz(NOON + offset),
        "_kafka_topic" => text("oltp.public.transactions"),
        "_kafka_offset" => Value::Int(offset),
        "id" => Value::Int(*id),
        "memo" => memo.map_or(Value::Null, text),
        "amount" => Value::Decimal(amount.parse().unwrap()),
        "currency" => text(currency),
        "created_at" => Value::TimestampTz(NOON + id * 1_000_001),
        _ => Value::Null,
    };
    columns.iter().map(|column| value(&column.name)).collect()
}
