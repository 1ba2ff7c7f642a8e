//! Rows taken out or changed wherever they lie, and history that ends: nothing of it is left on the disk, everything else is as it was.

use crate::tables::{column, options, parquet_files};
use affluent_lake::{
    Edit, Edited, Lake, LakeTable, ParquetFile, Partition, RowBatch, RowChange, Scan, Sought,
};
use affluent_model::{Column, ColumnType, Row, Value};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

const DAY_MICROS: i64 = 86_400_000_000;

fn columns() -> Arc<[Column]> {
    Arc::new([
        column("id", ColumnType::Int64),
        column("owner", ColumnType::Int64),
        column("name", ColumnType::Text),
        column("at", ColumnType::TimestampTz),
    ])
}

/// Three commits of ten rows, each on two days; `owner` is 0 to 4.
async fn owned(lake: &Lake) -> LakeTable {
    let partition = Partition::Day("at".to_owned());
    let table = lake.ensure_table("raw", "owned", &columns(), &partition).await.unwrap();
    for commit in 0..3 {
        let row = |n: i64| -> Row {
            let id = commit * 10 + n;
            let name = Value::Text(format!("owner {}", n % 5));
            vec![Value::Int(id), Value::Int(n % 5), name, Value::TimestampTz(n % 2 * DAY_MICROS)]
        };
        let batch = RowBatch { columns: columns(), rows: (0..10).map(row).collect() };
        table.append(Arc::new(batch), Vec::new()).await.unwrap();
    }
    table
}

async fn rows(table: &LakeTable) -> Vec<(i64, Option<i64>, String)> {
    let mut stream = table.scan(Scan::default()).await.unwrap();
    let mut rows = Vec::new();
    while let Some(batch) = stream.next().await {
        for row in batch.unwrap() {
            let owner = if let Value::Int(owner) = row[1] { Some(owner) } else { None };
            let Value::Int(id) = row[0] else { panic!("{row:?}") };
            rows.push((id, owner, row[2].to_text()));
        }
    }
    rows.sort();
    rows
}

/// Rows of this owner's name in any data file below.
fn on_disk(directory: &Path, name: &str) -> usize {
    let of_file = |path: &Path| -> usize {
        let rows = ParquetFile::open(path, &["name"]).unwrap().flat_map(Result::unwrap);
        rows.filter(|row| row[0].to_text() == name).count()
    };
    parquet_files(directory).iter().map(|path| of_file(path)).sum()
}

fn edit(column: &str, value: &str, change: RowChange) -> Edit {
    let values = BTreeSet::from([value.to_owned()]);
    Edit { sought: Sought { column: column.to_owned(), member: None, values }, change }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_edited_is_gone_from_the_disk_and_the_rest_is_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(options(dir.path())).await.unwrap();
    let table = owned(&lake).await;
    let before = rows(&table).await;
    assert_eq!(on_disk(dir.path(), "owner 3"), 6);

    let removed = table.edit(edit("owner", "3", RowChange::Remove)).await.unwrap();
    assert_eq!(removed.rows, 6);
    let set = RowChange::Set(vec![("owner".to_owned(), Some(-7)), ("name".to_owned(), None)]);
    assert_eq!(table.edit(edit("owner", "4", set.clone())).await.unwrap().rows, 6);
    let expected: Vec<_> = before
        .into_iter()
        .filter(|row| row.1 != Some(3))
        .map(|row| if row.1 == Some(4) { (row.0, Some(-7), String::new()) } else { row })
        .collect();
    assert_eq!(rows(&table).await, expected);
    for repeated in [edit("owner", "3", RowChange::Remove), edit("owner", "4", set)] {
        assert_eq!(table.edit(repeated).await.unwrap(), Edited::default(), "there is nothing left to do");
    }

    let again = edit("id", "4", RowChange::Set(vec![("name".to_owned(), None)]));
    assert_eq!(table.edit(again).await.unwrap(), Edited::default(), "it has no name already");

    assert!(on_disk(dir.path(), "owner 3") > 0, "older snapshots still have it");
    table.tag("kept-by-name", table.snapshots().await.unwrap().last().unwrap().id).await.unwrap();
    let forgotten = table.forget(|tag| tag == "kept-by-name").await.unwrap();
    assert!(forgotten.snapshots >= 4 && forgotten.files > 0, "{forgotten:?}");
    assert_eq!((on_disk(dir.path(), "owner 3"), on_disk(dir.path(), "owner 4")), (0, 0));
    assert_eq!(rows(&table).await, expected);
    assert_eq!(table.snapshots().await.unwrap().len(), 1);
    assert!(table.tags().await.unwrap().contains_key("kept-by-name"));

    table.forget(|_| false).await.unwrap();
    assert!(!table.tags().await.unwrap().contains_key("kept-by-name"), "a tag that is not kept goes");
    table.edit(edit("nowhere", "3", RowChange::Remove)).await.unwrap_err();
    table
        .edit(edit("owner", "2", RowChange::Set(vec![("at".to_owned(), Some(1))])))
        .await
        .expect_err("a number does not go into a column of times");
    assert_eq!(rows(&table).await, expected, "what failed has changed nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_come_beside_an_edit_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(options(dir.path())).await.unwrap();
    let table = owned(&lake).await;
    let later = async {
        for n in 0..10_i64 {
            let row = vec![
                Value::Int(1_000 + n),
                Value::Int(9),
                Value::Text("later".to_owned()),
                Value::TimestampTz(0),
            ];
            let batch = RowBatch { columns: columns(), rows: vec![row] };
            table.append(Arc::new(batch), Vec::new()).await.unwrap();
        }
    };
    let (edited, ()) = tokio::join!(table.edit(edit("owner", "1", RowChange::Remove)), later);
    assert_eq!(edited.unwrap().rows, 6);
    let rows = rows(&table).await;
    assert_eq!(rows.len(), 24 + 10);
    assert!(rows.iter().all(|row| row.1 != Some(1)));
}
