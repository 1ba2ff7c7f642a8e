//! After every kind of write pyiceberg and DuckDB read what we wrote, now and at older snapshots.

use crate::python;
use crate::tables::{column, options, payment_batch_of, payments_table};
use affluent_lake::{Commit, Lake, LakeTable, Overwrite, Partition, Remove, Upsert};
use affluent_model::ColumnType;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const A_DAY: i64 = 86_400;

/// Rows by number: their amounts in ten-thousandths.
type Model = BTreeMap<i64, i64>;

fn expected(model: &Model) -> Value {
    let mut sums: BTreeMap<&str, i128> = BTreeMap::new();
    for (id, amount) in model {
        let currency = ["EUR", "USD", "JPY"][usize::try_from(id % 3).unwrap()];
        *sums.entry(currency).or_default() += i128::from(*amount);
    }
    let text = |sum: i128| bigdecimal::BigDecimal::new(sum.into(), 4).to_plain_string();
    json!(sums.into_iter().map(|(currency, sum)| (currency, text(sum))).collect::<BTreeMap<_, _>>())
}

/// Both engines, asked for the table as it is (`None`) or was.
fn check(warehouse: &Path, what: &str, snapshot: Option<i64>, model: &Model) {
    let mut ask = json!({"table": "raw.payments", "sum": ["currency", "amount"], "duckdb": true});
    if let Some(snapshot) = snapshot {
        ask["snapshot"] = snapshot.into();
    }
    let seen = python::ask(warehouse, ask);
    for (engine, seen) in [("pyiceberg", &seen), ("DuckDB", &seen["duckdb"])] {
        assert_eq!(seen["rows"], model.len(), "{what}: rows by {engine}");
        assert_eq!(seen["sums"], expected(model), "{what}: sums by {engine}");
    }
}

async fn overwrite(
    table: &LakeTable,
    remove: Remove,
    rows: std::ops::Range<i64>,
    factor: i64,
    model: &mut Model,
) -> i64 {
    let batch = payment_batch_of(rows.clone(), |n| n * factor + 1);
    match &remove {
        Remove::Nothing => {}
        Remove::Table => model.clear(),
        Remove::PartitionsOfRows => model.retain(|id, _| !rows.clone().any(|row| row / A_DAY == id / A_DAY)),
        Remove::Days(_) => model.retain(|id, _| id / A_DAY != 0),
    }
    model.extend(rows.map(|n| (n, n * factor + 1)));
    let done = table.overwrite(Commit::default(), Overwrite { remove, rows: vec![batch] }).await.unwrap();
    done.committed().unwrap().snapshot.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_engines_read_every_kind_of_write() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.maintenance.compact_files_min = 2;
    options.maintenance.keep_all_s = 0;
    options.maintenance.keep_age_s = 0;
    options.maintenance.keep_min = 1;
    options.maintenance.grace_s = 0;
    let lake = Lake::open(options).await.unwrap();
    let table = payments_table(&lake).await;
    let mut model = Model::new();
    let first = overwrite(&table, Remove::Nothing, 0..2_000, 12_345, &mut model).await;
    overwrite(&table, Remove::Nothing, A_DAY..A_DAY + 3_000, 54_321, &mut model).await;
    check(dir.path(), "append", None, &model);
    let appended = (table.tags().await.unwrap()["main"], model.clone());
    table.tag("before", first).await.unwrap();
    let at_first: Model = model.range(..A_DAY).map(|(id, amount)| (*id, *amount)).collect();

    overwrite(&table, Remove::PartitionsOfRows, A_DAY..A_DAY + 1_000, 7, &mut model).await;
    check(dir.path(), "overwrite", None, &model);
    check(dir.path(), "before the overwrite", Some(appended.0), &appended.1);

    // A column is added and the amount widened.
    let columns =
        [column("amount", ColumnType::Decimal { precision: 24, scale: 4 }), column("note", ColumnType::Text)];
    let wider = lake.ensure_table("raw", "payments", &columns, &Partition::None).await.unwrap();
    overwrite(&wider, Remove::Nothing, 5_000..5_100, 1_000_000_000_000, &mut model).await;
    check(dir.path(), "schema change", None, &model);

    let rows = payment_batch_of((100..110).chain([9_999]), |n| -n);
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(200..300));
    let upsert = Upsert {
        rows: vec![rows],
        delete: vec![RecordBatch::try_from_iter([("id", ids)]).unwrap()],
        key: vec!["id".to_owned()],
        ..Upsert::default()
    };
    let done = table.upsert(Commit::default(), upsert).await.unwrap().committed().unwrap();
    assert_eq!((done.rows_updated, done.rows_inserted, done.rows_deleted), (10, 1, 100));
    model.retain(|id, _| !(200..300).contains(id));
    model.extend((100..110).chain([9_999]).map(|n| (n, -n)));
    check(dir.path(), "upsert", None, &model);

    overwrite(&table, Remove::Days([20_779].into()), 0..0, 1, &mut Model::new()).await;
    model.retain(|id, _| id / A_DAY != 0);
    check(dir.path(), "removal", None, &model);

    overwrite(&table, Remove::Nothing, A_DAY + 5_000..A_DAY + 5_050, 3, &mut model).await;
    assert!(table.compact(CancellationToken::new()).await.unwrap().merges > 0);
    check(dir.path(), "compaction", None, &model);
    table.expire().await.unwrap();
    for _ in 0..2 {
        table.clean().await.unwrap();
    }
    check(dir.path(), "expiry", None, &model);
    check(dir.path(), "a tagged snapshot after expiry", Some(first), &at_first);
    table.rollback_to(first).await.unwrap();
    check(dir.path(), "return", None, &at_first);
}
