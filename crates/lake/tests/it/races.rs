//! Several writers on one table.

use crate::tables::{
    DAY, MICROS_A_DAY, amounts, amounts_at, column, options, payment_batch_of, payments_table,
};
use affluent_lake::{
    Advance, Commit, Lake, LakeError, LakeTable, Overwrite, Partition, Remove, RowBatch, Scan,
};
use affluent_model::{ColumnType, Value};
use std::collections::BTreeSet;
use std::sync::Arc;

const COMMITS: i64 = 200;

/// Two writers with their own view of the catalog, each with its own partition; a third replays
/// what the first wrote. No commit is lost, none happens twice.
#[tokio::test(flavor = "multi_thread")]
async fn two_writers_race_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.manifests_max = 20;
    let columns: Arc<[_]> = [column("n", ColumnType::Int64)].into();
    let lake = Lake::open(options.clone()).await.unwrap();
    lake.ensure_table("raw", "race", &columns, &Partition::None).await.unwrap();

    let writer = |partition: i32| {
        let (options, columns) = (options.clone(), Arc::clone(&columns));
        tokio::spawn(async move {
            let table = Lake::open(options).await.unwrap().table("raw", "race").await.unwrap();
            let mut refused = 0;
            let mut expected = table.offsets().await.unwrap().get("t", partition);
            while expected.unwrap_or(0) < COMMITS {
                let from = expected.unwrap_or(0);
                let rows = vec![vec![Value::Int(i64::from(partition) * COMMITS + from)]];
                let batch = Arc::new(RowBatch { columns: Arc::clone(&columns), rows });
                let advance = Advance { topic: "t".into(), partition, expected, next: from + 1 };
                match table.append(batch, vec![advance]).await {
                    Ok(_) => expected = Some(from + 1),
                    Err(LakeError::OffsetConflict(_)) => {
                        refused += 1;
                        expected = table.offsets().await.unwrap().get("t", partition);
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            refused
        })
    };
    // Partition 1 has two owners: what a rebalance with a zombie looks like.
    let writers = [writer(0), writer(1), writer(1)];
    for task in writers {
        task.await.unwrap();
    }
    let table = lake.table("raw", "race").await.unwrap();
    let mut stream = table.scan(Scan::default()).await.unwrap();
    let mut found = Vec::new();
    while let Some(rows) = stream.next().await {
        found.extend(rows.unwrap().into_iter().map(|row| row[0].to_text().parse::<i64>().unwrap()));
    }
    assert_eq!(found.len(), usize::try_from(2 * COMMITS).unwrap());
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), (0..2 * COMMITS).collect());
}

/// Adds one to row 0, and writes every other row of its day as it was read.
async fn add_one(table: &LakeTable) {
    let reader = table.clone();
    let plan = async move |snapshot: Option<i64>| {
        let mut rows = amounts_at(&reader, snapshot).await;
        *rows.entry(0).or_default() += 1;
        let amount = |id| i64::try_from(rows[&id]).unwrap();
        let day = i32::try_from(DAY / MICROS_A_DAY).unwrap();
        Ok(Overwrite {
            remove: Remove::Days([day].into()),
            rows: vec![payment_batch_of(rows.keys().copied(), amount)],
        })
    };
    table.rewrite(Commit::default(), plan).await.unwrap().committed().unwrap();
}

/// Two writers, each with its own view of the catalog: every other commit of each adds a row to a day, the
/// others rewrite that whole day from what they read. No row and no addition is lost.
#[tokio::test(flavor = "multi_thread")]
async fn appends_and_rewrites_of_one_day_race_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.manifests_max = 20;
    let table = payments_table(&Lake::open(options.clone()).await.unwrap()).await;
    let writer = |first: i64| {
        let options = options.clone();
        tokio::spawn(async move {
            let table = Lake::open(options).await.unwrap().table("raw", "payments").await.unwrap();
            for n in 0..COMMITS / 4 {
                let rows = vec![payment_batch_of([first + n], |id| id)];
                let append = Overwrite { remove: Remove::Nothing, rows };
                table.overwrite(Commit::default(), append).await.unwrap();
                add_one(&table).await;
            }
        })
    };
    for task in [writer(1_000), writer(2_000)] {
        task.await.unwrap();
    }
    let found = amounts(&table).await;
    assert_eq!(found[&0], i128::from(COMMITS / 2), "additions");
    let appended = (1_000..1_000 + COMMITS / 4).chain(2_000..2_000 + COMMITS / 4);
    assert_eq!(found.keys().copied().skip(1).collect::<Vec<_>>(), appended.collect::<Vec<_>>());
    assert_eq!(table.snapshots().await.unwrap().len(), usize::try_from(COMMITS).unwrap());
}
