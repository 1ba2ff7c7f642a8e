//! Columns that came later, were widened, renamed, or dropped and added again.

use super::{lake, one, rows, session};
use crate::python;
use crate::tables::column;
use affluent_lake::sql::{Engine, EngineOptions, Pins};
use affluent_lake::{Partition, RowBatch};
use affluent_model::{Column, ColumnType, Row, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

fn batch(columns: &[Column], rows: Vec<Row>) -> Arc<RowBatch> {
    Arc::new(RowBatch { columns: columns.into(), rows })
}

fn decimal(unscaled: i64, precision: u32) -> (Value, ColumnType) {
    (
        Value::Decimal(bigdecimal::BigDecimal::new(unscaled.into(), 2)),
        ColumnType::Decimal { precision, scale: 2 },
    )
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_age_are_read_in_the_columns_of_today() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(dir.path()).await;
    let (small, narrow) = decimal(1_234, 6);
    let old = [
        column("id", ColumnType::Int32),
        column("note", ColumnType::Text),
        column("amount", narrow),
        column("ratio", ColumnType::Float32),
        column("tags", ColumnType::Array(Box::new(ColumnType::Int32))),
    ];
    let table = lake.ensure_table("raw", "changing", &old, &Partition::None).await.unwrap();
    let tags = |n: i64| Value::Array(vec![Value::Int(n), Value::Null]);
    let first = vec![Value::Int(1), text("first"), small, Value::Float(0.5), tags(7)];
    let first = table.append(batch(&old, vec![first]), vec![]).await.unwrap().snapshot.unwrap();

    let (large, wide) = decimal(99_999_999_999, 20);
    let new = [
        column("id", ColumnType::Int64),
        column("note", ColumnType::Text),
        column("amount", wide),
        column("ratio", ColumnType::Float64),
        column("tags", ColumnType::Array(Box::new(ColumnType::Int64))),
        column("added", ColumnType::Text),
    ];
    let second =
        vec![Value::Int(1 << 40), text("second"), large, Value::Float(0.25), tags(1 << 40), text("new")];
    table.append(batch(&new, vec![second]), vec![]).await.unwrap();
    let session_now = session(&lake).await;
    let all = "select * from raw.changing order by id";
    let expected =
        ["1,first,12.34,0.5,\"[7, ]\",", "1099511627776,second,999999999.99,0.25,\"[1099511627776, ]\",new"];
    assert_eq!(rows(&session_now, all).await, expected);
    // Filters on widened and added columns leave out no row that they want.
    for (filter, count) in [
        ("id = 1", "1"),
        ("id > 0", "2"),
        ("id = 1099511627776", "1"),
        ("amount = 12.34", "1"),
        ("amount > 12.33 and amount < 1000000000", "2"),
        ("ratio < 0.3", "1"),
        ("added is null", "1"),
        ("added = 'new'", "1"),
        ("added = 'old'", "0"),
        ("coalesce(added, note) in ('first', 'new')", "2"),
        ("note >= 'second'", "1"),
    ] {
        let count_where = format!("select count(*) from raw.changing where {filter}");
        assert_eq!(one(&session_now, &count_where).await, count, "{filter}");
    }

    // Another engine renames a column, and drops one to add another of its name.
    python::change(
        dir.path(),
        "raw.changing",
        "from pyiceberg.types import StringType
with table.update_schema() as update:
    update.rename_column('note', 'remark')
    update.delete_column('added')
with table.update_schema() as update:
    update.add_column('added', StringType())
    update.add_column('note', StringType())
",
    );
    let engine = Engine::new(lake.clone(), EngineOptions::default()).unwrap();
    let renamed = engine.session(Pins::default()).await.unwrap();
    let columns = "select id, remark, added, note from raw.changing order by id";
    assert_eq!(rows(&renamed, columns).await, ["1,first,,", "1099511627776,second,,"]);
    assert_eq!(one(&renamed, "select id from raw.changing where remark = 'second'").await, "1099511627776");
    assert_eq!(one(&renamed, "select count(*) from raw.changing where note = 'second'").await, "0");
    assert_eq!(one(&renamed, "select count(*) from raw.changing where note is null").await, "2");
    let mut third = new[..1].to_vec();
    third.extend([column("remark", ColumnType::Text), column("note", ColumnType::Text)]);
    let row = vec![Value::Int(3), text("renamed"), text("another")];
    table.append(batch(&third, vec![row]), vec![]).await.unwrap();
    let renamed = engine.session(Pins::default()).await.unwrap();
    let expected = ["1,first,,", "3,renamed,,another", "1099511627776,second,,"];
    assert_eq!(rows(&renamed, columns).await, expected);
    // The session that began before knows nothing of it; the first snapshot has its own columns.
    assert_eq!(one(&session_now, "select count(*) from raw.changing where note = 'first'").await, "1");
    let snapshots = BTreeMap::from([("raw.changing".to_owned(), first)]);
    let then = engine.session(Pins { snapshots, ..Pins::default() }).await.unwrap();
    assert_eq!(rows(&then, all).await, ["1,first,12.34,0.5,\"[7, ]\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_another_engine_are_read_and_pruned() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(dir.path()).await;
    let columns = [column("id", ColumnType::Int64), column("at", ColumnType::TimestampTz)];
    let table = lake.ensure_table("raw", "theirs", &columns, &Partition::None).await.unwrap();
    table.append(batch(&columns, vec![vec![Value::Int(1), Value::TimestampTz(1)]]), vec![]).await.unwrap();
    python::change(
        dir.path(),
        "raw.theirs",
        "import datetime, pyarrow
at = datetime.datetime(2026, 11, 22, tzinfo=datetime.timezone.utc)
table.append(pyarrow.table({'id': [2, 3], 'at': [at, at]}, schema=table.schema().as_arrow()))
",
    );
    let session = session(&lake).await;
    assert_eq!(
        rows(&session, "select * from raw.theirs order by id").await,
        ["1,1970-01-01T00:00:00.000001Z", "2,2026-11-22T00:00:00Z", "3,2026-11-22T00:00:00Z"]
    );
    let late = "select count(*) from raw.theirs where at >= '2026-01-01T00:00:00Z'";
    assert_eq!(one(&session, late).await, "2");
    let late = "select id from raw.theirs where at >= '2026-01-01T00:00:00Z'";
    assert_eq!(super::files_opened(&session, late).await, 1);
}
