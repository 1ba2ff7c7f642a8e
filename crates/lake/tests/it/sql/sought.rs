//! The part of a table that may hold certain keys: no row of theirs is missing, and what cannot hold one is not read.

use super::{files_opened, lake, one, rows, session};
use crate::tables::column;
use affluent_lake::sql::Pins;
use affluent_lake::{Partition, RowBatch};
use affluent_model::{ColumnType, Value};
use arrow_array::{ArrayRef, Int64Array, StringArray};
use std::sync::Arc;

/// Key `n`: scattered, as random ids are.
fn key(n: i64) -> String {
    format!("{:016x}", n.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn keys(numbers: &[i64]) -> Vec<ArrayRef> {
    let arrays = numbers.chunks(2).map(|numbers| numbers.iter().map(|&n| Some(key(n))).collect());
    arrays.map(|array: StringArray| Arc::new(array) as ArrayRef).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_the_keys_are_all_there_and_other_files_are_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(dir.path()).await;
    let columns = [column("key", ColumnType::Text), column("n", ColumnType::Int64)];
    let table = lake.ensure_table("staged", "keyed", &columns, &Partition::None).await.unwrap();
    for part in 0..6 {
        if part == 1 {
            // The first file has no filter: it is always read.
            table.keep_filter("key").await.unwrap();
        }
        let numbers = part * 500..(part + 1) * 500;
        let rows = numbers.map(|n| vec![Value::Text(key(n)), Value::Int(n)]).collect();
        let columns = columns.clone().into();
        table.append(Arc::new(RowBatch { columns, rows }), vec![]).await.unwrap();
    }
    let session = session(&lake).await;
    let state = session.tables().iter().find(|state| state.name == "staged.keyed").unwrap();
    let before = state.snapshot.unwrap();
    let sought = async |name: &str, keys: &[ArrayRef]| {
        session.register_sought(name, "staged.keyed", "key", keys).await.unwrap()
    };
    // In the first file, in the fifth, in none.
    let wanted = [7, 499, 2_000, 2_001, 2_499, 77_777];
    assert!(sought("sought.keyed", &keys(&wanted)).await);
    assert_eq!(files_opened(&session, "select n from sought.keyed").await, 2);
    let listed: Vec<String> = wanted.iter().map(|&n| format!("'{}'", key(n))).collect();
    let find = |from: &str| format!("select n from {from} where key in ({}) order by n", listed.join(", "));
    assert_eq!(rows(&session, &find("sought.keyed")).await, ["7", "499", "2000", "2001", "2499"]);
    assert_eq!(rows(&session, &find("staged.keyed")).await, rows(&session, &find("sought.keyed")).await);
    assert_eq!(
        rows(&session, "select n from sought.keyed order by n").await,
        ["7", "499", "2000", "2001", "2499"]
    );
    assert_eq!(one(&session, "select count(*) from sought.keyed").await, "5", "no row beside them is read");
    assert_eq!(rows(&session, "select n from sought.keyed limit 4").await.len(), 4);

    // The same keys again, in another order; then those of a table that has changed meanwhile.
    let again = [77_777, 2_499, 2_001, 2_000, 499, 7];
    assert!(sought("sought.again", &keys(&again)).await);
    assert_eq!(rows(&session, &find("sought.again")).await, rows(&session, &find("staged.keyed")).await);
    let late = vec![vec![Value::Text(key(77_777)), Value::Int(77_777)]];
    table.append(Arc::new(RowBatch { columns: columns.clone().into(), rows: late }), vec![]).await.unwrap();
    let engine = super::engine(&lake);
    for _ in 0..2 {
        let later = engine.session(Pins::default()).await.unwrap();
        assert!(later.register_sought("sought.keyed", "staged.keyed", "key", &keys(&again)).await.unwrap());
        let found = rows(&later, "select n from sought.keyed order by n").await;
        assert_eq!(found, ["7", "499", "2000", "2001", "2499", "77777"]);
    }
    assert_eq!(rows(&session, "select n from sought.keyed").await.len(), 5, "as it began");
    let pins = Pins { snapshots: [("staged.keyed".to_owned(), before)].into(), ..Pins::default() };
    let earlier = engine.session(pins).await.unwrap();
    assert!(earlier.register_sought("sought.keyed", "staged.keyed", "key", &keys(&again)).await.unwrap());
    assert_eq!(rows(&earlier, "select n from sought.keyed").await.len(), 5, "another snapshot's are its own");

    assert!(!sought("sought.all", &keys(&[7, 600, 1_100, 2_100])).await, "most of the table");
    let numbers: [ArrayRef; 1] = [Arc::new(Int64Array::from(vec![7]))];
    assert!(!sought("sought.all", &numbers).await, "of another type than the column");
    assert!(!session.register_sought("sought.all", "staged.keyed", "no", &keys(&[7])).await.unwrap());
    assert!(!sought("sought.all", &[]).await, "no keys");
    session.register_view("staged.keyed", "select * from staged.keyed where n < 100").await.unwrap();
    assert!(!sought("sought.all", &keys(&[7])).await, "a view hides the table");
    session.collect("select * from sought.all").await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_read_by_their_paths_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(dir.path()).await;
    let columns = [column("n", ColumnType::Int64)];
    let table = lake.ensure_table("staged", "parts", &columns, &Partition::None).await.unwrap();
    for part in 0..3 {
        let rows = (part * 10..part * 10 + 10).map(|n| vec![Value::Int(n)]).collect();
        table.append(Arc::new(RowBatch { columns: columns.clone().into(), rows }), vec![]).await.unwrap();
    }
    let session = session(&lake).await;
    let paths = rows(&session, "select path from staged.\"parts$files\"").await;
    assert_eq!(paths.len(), 3);
    let mut sums = Vec::new();
    for path in &paths {
        let elsewhere = format!("{path}.not");
        assert!(session.register_files("part.one", "staged.parts", [path.clone(), elsewhere]).unwrap());
        assert_eq!(files_opened(&session, "select n from part.one").await, 1);
        sums.push(one(&session, "select sum(n) from part.one").await);
    }
    sums.sort();
    assert_eq!(sums, ["145", "245", "45"]);
    assert!(session.register_files("part.none", "staged.parts", Vec::new()).unwrap());
    assert_eq!(one(&session, "select count(*) from part.none").await, "0");
    assert!(!session.register_files("part.one", "staged.nothing", paths.clone()).unwrap());
    session.register_view("staged.parts", "select * from staged.parts where n < 5").await.unwrap();
    assert!(!session.register_files("part.one", "staged.parts", paths).unwrap(), "a view hides the table");
}
