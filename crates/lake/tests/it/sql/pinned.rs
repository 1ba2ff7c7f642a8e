//! A session sees one state, whatever happens meanwhile.

use super::{engine, lake, one, rows, session, try_rows};
use crate::tables::{advance, expected_sums, payments, payments_table};
use affluent_lake::sql::{At, Pins, SqlError};
use affluent_lake::{LakeError, LakeTable};
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;

const COUNT: &str = "select count(*), sum(amount) from raw.payments";

fn expected(rows: i64) -> String {
    let (count, sums) = expected_sums(0..rows);
    let total: bigdecimal::BigDecimal =
        sums.values().map(|sum| sum.parse::<bigdecimal::BigDecimal>().unwrap()).sum();
    format!("{count},{}", total.to_plain_string())
}

async fn append(table: &LakeTable, from: i64, to: i64) -> i64 {
    let expected = (from > 0).then_some(from);
    table.append(payments(from..to), advance(expected, to)).await.unwrap().snapshot.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_and_compaction_change_nothing_in_a_session() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(dir.path()).await;
    let table = payments_table(&lake).await;
    let engine = engine(&lake);
    let empty = engine.session(Pins::default()).await.unwrap();
    append(&table, 0, 1_000).await;
    let before = engine.session(Pins::default()).await.unwrap();
    append(&table, 1_000, 2_000).await;
    append(&table, 2_000, 3_000).await;
    let merged = table.compact(CancellationToken::new()).await.unwrap();
    assert_eq!((merged.files_before, merged.files_after), (3, 1));
    let after = engine.session(Pins::default()).await.unwrap();
    assert_eq!(one(&empty, "select count(*), sum(amount) from raw.payments").await, "0,");
    assert_eq!(one(&before, COUNT).await, expected(1_000));
    assert_eq!(one(&after, COUNT).await, expected(3_000));
    // Both in one query: what one session saw, handed to another.
    let old = before.collect("select id from raw.payments").await.unwrap();
    after.register_batches("old.payments", old[0].schema(), old).unwrap();
    let joined = "select count(*) from raw.payments where id not in (select id from old.payments)";
    assert_eq!(one(&after, joined).await, "2000");
    after.register_view("large", "select * from raw.payments where id >= 2500").await.unwrap();
    assert_eq!(one(&after, "select count(*) from large").await, "500");
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_and_times_are_seen_again() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(dir.path()).await;
    let table = payments_table(&lake).await;
    let engine = engine(&lake);
    let first = append(&table, 0, 100).await;
    let seen = engine.session(Pins::default()).await.unwrap().tables().to_vec();
    assert_eq!((seen[0].name.as_str(), seen[0].snapshot, seen[0].rows), ("raw.payments", Some(first), 100));
    let committed = seen[0].committed_ms.unwrap();
    // Commit times count milliseconds.
    while affluent_model::time::now_micros() / 1_000 <= committed {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    append(&table, 100, 300).await;
    let at = |at| engine.session(Pins { at, ..Pins::default() });
    assert_eq!(one(&at(At::Time(committed)).await.unwrap(), COUNT).await, expected(100));
    assert_eq!(one(&at(At::Time(i64::MAX)).await.unwrap(), COUNT).await, expected(300));
    let early = at(At::Time(committed - 1)).await.unwrap();
    assert!(matches!(try_rows(&early, COUNT).await, Err(SqlError::TooEarly { .. })));
    let pins =
        |name: &str, id| Pins { snapshots: BTreeMap::from([(name.to_owned(), id)]), ..Pins::default() };
    let pinned = engine.session(pins("raw.payments", first)).await.unwrap();
    assert_eq!(one(&pinned, COUNT).await, expected(100));
    let unknown = engine.session(pins("raw.payments", 17)).await.unwrap_err();
    assert!(matches!(unknown, SqlError::Lake(LakeError::NoSnapshot { .. })), "{unknown}");
    let unknown = engine.session(pins("raw.nothing", 17)).await.unwrap_err();
    assert!(matches!(unknown, SqlError::Lake(LakeError::NotFound(_))), "{unknown}");

    let session = session(&lake).await;
    let history = "select sequence_number, operation, rows, files, read_here from raw.\"payments$snapshots\"";
    assert_eq!(rows(&session, history).await, ["1,append,100,1,false", "2,append,300,2,true"]);
    let files = "select count(*), sum(rows), count(distinct added_by) from raw.payments$files";
    assert_eq!(one(&session, files).await, "2,300,2");
    assert_eq!(one(&pinned, files).await, "1,100,1");
}
