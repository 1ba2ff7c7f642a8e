//! Several writers on one table.

use crate::tables::{column, options};
use affluent_lake::{Advance, Lake, LakeError, Partition, RowBatch, Scan};
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
