//! How long an upsert takes; run by hand, since it takes a minute.

use crate::tables::{amounts, options, payment_batch_of, payments_table};
use affluent_lake::{Commit, Lake, Overwrite, Remove, Upsert};
use std::time::Instant;

const ROWS: i64 = 10_000_000;
const CHANGED: i64 = 600_000;

/// Half of the rows replace ones that are spread over the whole table, half are new.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn upsert_of_600_000_rows_into_ten_million() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(options(dir.path())).await.unwrap();
    let table = payments_table(&lake).await;
    let start = Instant::now();
    for from in (0..ROWS).step_by(1_000_000) {
        let rows = (from..from + 1_000_000)
            .step_by(100_000)
            .map(|from| payment_batch_of(from..from + 100_000, |n| n * 12_345 % 99_991));
        let append = Overwrite { remove: Remove::Nothing, rows: rows.collect() };
        table.overwrite(Commit::default(), append).await.unwrap();
    }
    println!("{ROWS} rows appended in {:.1?}", start.elapsed());
    let old = (0..ROWS)
        .step_by(usize::try_from(ROWS / (CHANGED / 2)).unwrap())
        .take(usize::try_from(CHANGED / 2).unwrap());
    let ids: Vec<i64> = old.chain(ROWS..ROWS + CHANGED / 2).collect();
    let rows = ids.chunks(50_000).map(|ids| payment_batch_of(ids.iter().copied(), |_| 7)).collect();
    let start = Instant::now();
    let upsert = Upsert { rows, key: vec!["id".to_owned()], ..Upsert::default() };
    let done = table.upsert(Commit::default(), upsert).await.unwrap().committed().unwrap();
    println!("{CHANGED} rows upserted in {:.1?}: {done:?}", start.elapsed());
    assert_eq!((done.rows_updated, done.rows_inserted), (300_000, 300_000));
    let found = amounts(&table).await;
    assert_eq!(found.len(), usize::try_from(ROWS + CHANGED / 2).unwrap());
    assert_eq!(found.values().filter(|&&amount| amount == 7).count() / 1_000, 600);
}
