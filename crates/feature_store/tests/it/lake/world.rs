//! A lake with a history of payments that was imported from a file, the warehouse over it, and the offline store.

use affluent_feature_store::event::References;
use affluent_feature_store::history::{History, HistoryError};
use affluent_feature_store::offline::{Offline, ViewPlan, Writer};
use affluent_features::definition::Definitions;
use affluent_features::event::{DAY, HOUR, SECOND};
use affluent_lake::sql::{Engine, EngineOptions, Pins, Renderer, TextFormat};
use affluent_lake::{Advance, Lake, LakeOptions, Partition, RowBatch};
use affluent_model::{Column, ColumnType, Row, Value};
use affluent_warehouse::batch::{Batch, BatchOptions, Models, RawToDwh, Seeds, TASKS, Unfenced};
use affluent_warehouse::import::{FileKind, Import, Imported, Mapping};
use async_trait::async_trait;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// 2018-06-01T00:00:00Z.
pub(crate) const BEGIN: i64 = 1_527_811_200 * SECOND;
pub(crate) const DAYS: i64 = 40;
/// The end of the history.
pub(crate) const END: i64 = BEGIN + DAYS * DAY;
/// Days from a payment until its fraud is known.
pub(crate) const LABEL_DAYS: i64 = 7;

/// A payment of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Payment {
    pub(crate) id: i64,
    pub(crate) time: i64,
    pub(crate) customer: i64,
    pub(crate) terminal: i64,
    pub(crate) cents: i64,
    pub(crate) fraud: bool,
}

/// Some payments a day, always the same ones.
pub(crate) fn payments() -> Vec<Payment> {
    let mut state: u64 = 7;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((state >> 33) % below).unwrap()
    };
    let mut payments = Vec::new();
    for day in 0..DAYS {
        for _ in 0..25 {
            let time = BEGIN + day * DAY + next(86_400) * SECOND;
            let (customer, terminal) = (next(12) + 1, next(6) + 1);
            payments.push(Payment {
                id: 0,
                time,
                customer,
                terminal,
                cents: next(20_000) + 1,
                fraud: next(9) == 0,
            });
        }
    }
    payments.sort_by_key(|payment| payment.time);
    for (payment, id) in payments.iter_mut().zip(1..) {
        payment.id = id;
    }
    payments
}

pub(crate) struct World {
    pub(crate) lake: Lake,
    pub(crate) batch: Batch,
    pub(crate) offline: Offline,
    dir: tempfile::TempDir,
}

impl World {
    /// An empty lake. The state of a view may take `memory_bytes`.
    pub(crate) async fn empty(memory_bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = LakeOptions { warehouse: dir.path().join("lake"), ..LakeOptions::default() };
        let lake = Lake::open(options).await.unwrap();
        let batch = Batch::new(lake.clone(), BatchOptions::default()).unwrap();
        let offline = offline(&lake, memory_bytes);
        World { lake, batch, offline, dir }
    }

    /// With all payments, up to the warehouse.
    pub(crate) async fn with_payments(memory_bytes: u64) -> Self {
        let world = Self::empty(memory_bytes).await;
        world.import(&payments()).await;
        world.run().await;
        world
    }

    /// Imports payments by the shipped mapping.
    pub(crate) async fn import(&self, payments: &[Payment]) -> Imported {
        let file = self.file(payments);
        let kind = FileKind::of(&file).unwrap();
        let (_, mapping) =
            Mapping::shipped_for("transactions", &kind.columns(&file).unwrap()).unwrap().unwrap();
        let import = Import { file, kind, mapping, source: "oltp".to_owned() };
        import.run(&self.lake, self.batch.models(), |_| {}).await.unwrap()
    }

    fn file(&self, payments: &[Payment]) -> PathBuf {
        let mut text = "transaction_id,occurred_at,customer_id,terminal_id,amount_minor,fraud\n".to_owned();
        for payment in payments {
            let time = affluent_model::time::format_micros(payment.time, true);
            let Payment { id, customer, terminal, cents, fraud, .. } = payment;
            writeln!(text, "{id},{time},{customer},{terminal},{cents},{fraud}").unwrap();
        }
        let path = self.dir.path().join(format!("{}.csv", affluent_testkit::unique("payments")));
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Every task of the warehouse.
    pub(crate) async fn run(&self) {
        let work = RawToDwh::increments(self.batch.clone());
        for task in TASKS {
            work.task(task, 1, &Unfenced).await.unwrap_or_else(|error| panic!("{task}: {error}"));
        }
    }

    /// A record of a raw table, as the sink writes it: table, `_op`, position, when it was committed, the row's columns.
    pub(crate) async fn append(
        &self,
        table: &str,
        op: &str,
        position: i64,
        committed: i64,
        cells: &[(&str, Value)],
    ) {
        let model = Models::load(None).unwrap();
        let model = model.get(&format!("staged.{table}")).unwrap();
        let columns = model.raw_columns().unwrap();
        let day = Partition::Day("_kafka_ts".to_owned());
        let raw = self.lake.ensure_table("raw", table, &columns, &day).await.unwrap();
        let topic = format!("oltp.public.{table}");
        let expected = raw.offsets().await.unwrap().get(&topic, 0);
        let offset = expected.unwrap_or(0);
        let value = |column: &Column| match column.name.as_str() {
            "_op" => Value::Text(op.to_owned()),
            "_lsn" => Value::Int(position),
            "_ordinal" | "_kafka_partition" => Value::Int(0),
            "_kafka_offset" => Value::Int(offset),
            "_kafka_topic" => Value::Text(topic.clone()),
            "_commit_ts" | "_kafka_ts" => Value::TimestampTz(committed),
            name => {
                cells.iter().find(|(cell, _)| *cell == name).map_or(Value::Null, |(_, value)| value.clone())
            }
        };
        let rows: Vec<Row> = vec![columns.iter().map(value).collect()];
        let advance = Advance { topic: topic.as_str().into(), partition: 0, expected, next: offset + 1 };
        raw.append(Arc::new(RowBatch { columns: columns.into(), rows }), vec![advance]).await.unwrap();
    }

    /// A click in the raw zone.
    pub(crate) async fn click(&self, number: i64, time: i64, user: &str, kind: &str) {
        let text = ColumnType::Text;
        let columns: Vec<Column> = [
            ("event_id", text.clone()),
            ("user_id", text.clone()),
            ("anonymous_id", text.clone()),
            ("session_id", text.clone()),
            ("event_type", text.clone()),
            ("url", text.clone()),
            ("occurred_at", ColumnType::TimestampTz),
            ("received_at", ColumnType::TimestampTz),
            ("is_bot", ColumnType::Bool),
            ("_kafka_topic", text),
            ("_kafka_partition", ColumnType::Int32),
            ("_kafka_offset", ColumnType::Int64),
            ("_kafka_ts", ColumnType::TimestampTz),
        ]
        .into_iter()
        .map(|(name, column_type)| Column { name: name.to_owned(), column_type, nullable: true })
        .collect();
        let day = Partition::Day("_kafka_ts".to_owned());
        let raw = self.lake.ensure_table("raw", "clickstream_events", &columns, &day).await.unwrap();
        let of = |text: &str| Value::Text(text.to_owned());
        let at = Value::TimestampTz(time);
        let row = vec![
            of(&format!("00000000-0000-4000-8000-{number:012}")),
            of(user),
            Value::Null,
            of("s"),
            of(kind),
            of("https://shop.example/cart?x=1"),
            at.clone(),
            at.clone(),
            Value::Bool(false),
            of("clickstream.events"),
            Value::Int(0),
            Value::Int(number),
            at,
        ];
        raw.append(Arc::new(RowBatch { columns: columns.into(), rows: vec![row] }), Vec::new())
            .await
            .unwrap();
    }

    pub(crate) fn view(&self, name: &str) -> ViewPlan {
        ViewPlan::new(self.offline.history().definitions(), name).unwrap()
    }

    /// The rows of a query as CSV, sorted.
    pub(crate) async fn rows(&self, text: &str) -> Vec<String> {
        let engine = Engine::new(self.lake.clone(), EngineOptions::default()).unwrap();
        let session = engine.session(Pins::default()).await.unwrap();
        let mut rows = session.sql(text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut renderer = Renderer::new(TextFormat::Csv, rows.schema());
        let mut csv = String::new();
        while let Some(batch) = rows.next_batch().await {
            csv += &renderer.batch(&batch.unwrap()).unwrap();
        }
        csv += &renderer.finish().unwrap();
        let mut lines: Vec<String> = csv.lines().skip(1).map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

/// The offline store with the shipped definitions.
fn offline(lake: &Lake, memory_bytes: u64) -> Offline {
    let seeds = Seeds::load(&BatchOptions::default()).unwrap();
    let references = Arc::new(References::new(|name| seeds.get(name)).unwrap());
    let definitions = Arc::new(Definitions::load(None).unwrap());
    let engine = Arc::new(Engine::new(lake.clone(), EngineOptions::default()).unwrap());
    Offline::new(lake.clone(), History::new(engine, definitions, references), memory_bytes)
}

/// May write so often, then is told to stop, as a run that is killed before a commit.
pub(crate) struct Dying(AtomicI64);

impl Dying {
    pub(crate) fn after(commits: i64) -> Self {
        Dying(AtomicI64::new(commits))
    }

    pub(crate) fn never() -> Self {
        Dying::after(i64::MAX)
    }
}

#[async_trait]
impl Writer for Dying {
    async fn permit(&self) -> Result<(), HistoryError> {
        if self.0.fetch_sub(1, Ordering::Relaxed) > 0 {
            return Ok(());
        }
        Err(HistoryError::Stopped { message: "told to stop".to_owned(), retryable: true })
    }

    fn fence(&self) -> Option<i64> {
        None
    }
}

/// Payments that a customer made in `(at - window, at]`.
pub(crate) fn of_customer(payments: &[Payment], customer: i64, at: i64, window: i64) -> Vec<Payment> {
    let inside =
        |payment: &&Payment| payment.customer == customer && payment.time <= at && payment.time > at - window;
    payments.iter().filter(inside).copied().collect()
}

/// Where nothing else is said: an hour.
pub(crate) const TICK: i64 = HOUR;
