//! The shipped models through the engine: a small history in increments, killed in between, against the same
//! history at once, and against the rebuild.

use super::world::{DAY, Dying, NOON, World};
use affluent_lake::{Advance, Lake, Partition, RowBatch};
use affluent_model::{Column, ColumnType, Row, Value};
use affluent_warehouse::batch::{Batch, BatchOptions, Models, Task, Unfenced};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A change: table, `_op`, and columns as text.
type Change = (&'static str, &'static str, Vec<(&'static str, String)>);

fn change(table: &'static str, op: &'static str, columns: &[(&'static str, &str)]) -> Change {
    (table, op, columns.iter().map(|(name, text)| (*name, (*text).to_owned())).collect())
}

fn payment(op: &'static str, number: u64, status: &str, amount: &str, days_ago: u64) -> Change {
    let id = format!("00000000-0000-4000-8000-{number:012}");
    let (customer, merchant, device) =
        ((number % 4).to_string(), (number % 3).to_string(), format!("d{}", number % 5));
    let created = format!("-{days_ago}");
    change(
        "transactions",
        op,
        &[
            ("id", &id),
            ("customer_id", &customer),
            ("merchant_id", &merchant),
            ("amount", amount),
            ("currency", if number.is_multiple_of(7) { "JPY" } else { "eur" }),
            ("status", status),
            ("payment_method", "card"),
            ("card_bin", "424242"),
            ("device_id", &device),
            ("ip", "203.0.113.9"),
            ("created_at", &created),
        ],
    )
}

fn child(table: &'static str, number: u64, of: u64, status: &str) -> Change {
    let (id, of) = (format!("1-{number}"), format!("00000000-0000-4000-8000-{of:012}"));
    let reason = if table == "refunds" { "reason" } else { "reason_code" };
    let own = [
        ("id", id.as_str()),
        ("transaction_id", &of),
        ("amount", "1"),
        ("currency", "EUR"),
        ("status", status),
    ];
    let mut all = own.to_vec();
    all.push((reason, "10.4"));
    change(table, "c", &all)
}

fn history() -> Vec<Change> {
    let mut changes = Vec::new();
    let customer = |id: &str, level: &str| {
        change("customers", "c", &[("id", id), ("country", "de"), ("kyc_level", level), ("status", "active")])
    };
    let merchant = |id: &str, code: &str| {
        let own = [
            ("id", id),
            ("name", "Shop"),
            ("category_code", code),
            ("country", "FR"),
            ("currency", "EUR"),
            ("status", "active"),
        ];
        change("merchants", "c", &own)
    };
    changes.extend([customer("1", "0"), customer("2", "1"), merchant("0", "5411"), merchant("1", "5732")]);
    for number in 0..40 {
        changes.push(payment("c", number, "authorized", "100", number % 9));
        if number % 3 == 0 {
            changes.push(payment("u", number, "captured", "100", number % 9));
        }
        match number {
            5 => changes.push(customer("1", "2")),
            9 => changes.push(child("refunds", 1, 3, "requested")),
            12 => changes.push(merchant("1", "5411")),
            15 => changes.push(child("refunds", 1, 3, "paid")),
            18 => changes.push(child("disputes", 1, 6, "opened")),
            // Refused: nobody knows this status, yen have no decimals.
            20 => changes.push(payment("u", 4, "nonsense", "100", 4)),
            21 => changes.push(payment("u", 7, "captured", "1.5", 4)),
            25 => changes.push(child("disputes", 1, 6, "lost")),
            // 40 days late.
            30 => changes.push(payment("c", 200, "captured", "12", 40)),
            33 => changes.push(payment("d", 10, "captured", "100", 1)),
            36 => changes.push(change("customers", "d", &[("id", "2")])),
            _ => {}
        }
    }
    changes
}

struct Shop {
    lake: Lake,
    batch: Batch,
    models: Models,
    positions: i64,
    _dir: tempfile::TempDir,
}

impl Shop {
    async fn new(rows_max: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = crate::lake_options(&dir.path().join("lake"));
        let lake = Lake::open(options).await.unwrap();
        let batch = Batch::new(lake.clone(), BatchOptions { rows_max, ..BatchOptions::default() }).unwrap();
        Shop { lake, batch, models: Models::load(None).unwrap(), positions: 0, _dir: dir }
    }

    /// Appends changes to their raw tables, whose columns are those that the models count on.
    async fn append(&mut self, changes: &[Change]) {
        for model in self.models.of(Task::Clean) {
            let name = model.raw().unwrap();
            let mut columns = model.raw_columns().unwrap();
            columns.retain(|column| column.name != "_kafka_ts");
            columns.push(Column {
                name: "_kafka_ts".into(),
                column_type: ColumnType::TimestampTz,
                nullable: true,
            });
            let topic = format!("oltp.public.{name}");
            let day = Partition::Day("_kafka_ts".to_owned());
            let raw = self.lake.ensure_table("raw", name, &columns, &day).await.unwrap();
            let expected = raw.offsets().await.unwrap().get(&topic, 0);
            let mut next = expected.unwrap_or(0);
            let mut rows: Vec<Row> = Vec::new();
            for (place, (table, op, cells)) in changes.iter().enumerate() {
                if *table == name {
                    let lsn = self.positions + i64::try_from(place).unwrap() + 1;
                    rows.push(row(&columns, op, cells, lsn, (&topic, next)));
                    next += 1;
                }
            }
            if !rows.is_empty() {
                let advance = Advance { topic: topic.as_str().into(), partition: 0, expected, next };
                raw.append(Arc::new(RowBatch { columns: columns.into(), rows }), vec![advance])
                    .await
                    .unwrap();
            }
        }
        self.positions += i64::try_from(changes.len()).unwrap();
    }

    /// The rows of every table above the staged zone.
    async fn tables(&self) -> BTreeMap<String, Vec<String>> {
        let world = World::of(self.lake.clone(), self.batch.clone());
        let mut tables = BTreeMap::new();
        for model in self.models.iter().filter(|model| model.zone != "staged") {
            let table = model.table();
            tables.insert(table.clone(), world.rows(&format!("select * from {table}")).await);
        }
        tables
    }
}

fn row(columns: &[Column], op: &str, cells: &[(&'static str, String)], lsn: i64, at: (&str, i64)) -> Row {
    let value = |column: &Column| match column.name.as_str() {
        "_op" => Value::Text(op.into()),
        "_lsn" => Value::Int(lsn),
        "_ordinal" | "_kafka_partition" => Value::Int(0),
        "_commit_ts" | "_kafka_ts" => Value::TimestampTz(NOON + lsn * 1_000_000),
        "_kafka_topic" => Value::Text(at.0.into()),
        "_kafka_offset" => Value::Int(at.1),
        name => {
            let cell = cells.iter().find(|(cell, _)| *cell == name).map(|(_, text)| text.as_str());
            match (&column.column_type, cell) {
                // Times are given in days.
                (ColumnType::TimestampTz, Some(days)) => {
                    Value::TimestampTz(NOON + days.parse::<i64>().unwrap() * DAY)
                }
                (ColumnType::TimestampTz, None) if op != "d" && name != "risk_scored_at" => {
                    Value::TimestampTz(NOON)
                }
                (_, None) => Value::Null,
                (ColumnType::Int64 | ColumnType::Int32, Some(text)) => Value::Int(text.parse().unwrap()),
                (ColumnType::Decimal { .. }, Some(text)) => Value::Decimal(text.parse().unwrap()),
                (_, Some(text)) => Value::Text(text.into()),
            }
        }
    };
    columns.iter().map(value).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shipped_models_by_increments_equal_their_rebuild() {
    let changes = history();
    let mut cut = Shop::new(17).await;
    let run = async |shop: &Shop, commits: i64| {
        World::of(shop.lake.clone(), shop.batch.clone()).run(&Dying::after(commits)).await
    };
    for (part, commits) in changes.chunks(changes.len() / 3 + 1).zip([7, 1000, 12]) {
        cut.append(part).await;
        let ended = run(&cut, commits).await;
        assert!(ended.is_ok() || commits < 1000, "{ended:?}");
    }
    run(&cut, 1000).await.unwrap();
    let mut once = Shop::new(100_000).await;
    once.append(&changes).await;
    run(&once, 1000).await.unwrap();
    let (found, expected) = (cut.tables().await, once.tables().await);
    for (table, rows) in &expected {
        assert_eq!(&found[table], rows, "{table}");
    }
    assert!(!expected["dwh.fact_transactions"].is_empty());
    for task in [Task::Clean, Task::Deduplicate, Task::Enrich, Task::Load] {
        let (_, differences) = cut.batch.rebuild(task, &Unfenced).await.unwrap();
        assert_eq!(differences, [], "{task:?}");
    }
}
