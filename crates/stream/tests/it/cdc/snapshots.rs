//! Reading the tables themselves.

use super::rig::{Record, Rig, run};
use affluent_model::{Op, Position, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[test]
fn rows_that_were_there_are_read_once_before_all_changes() {
    run(async {
        let sql = "CREATE TABLE items (id bigint PRIMARY KEY, name text);
            INSERT INTO items SELECT i, 'n' || i FROM generate_series(1, 20000) i;
            CREATE TABLE parts (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
            CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
            CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
            INSERT INTO parts SELECT i, '2024-01-01'::date + i FROM generate_series(1, 50) i;
            CREATE TABLE bare (line text); INSERT INTO bare SELECT 'x' FROM generate_series(1, 500)";
        let mut rig = Rig::new(sql).await;
        rig.options.snapshot.chunk_rows = 500;
        rig.start_ready().await;
        rig.sql("INSERT INTO parts VALUES (1000, '2024-01-05')").await;
        let rows = rig.await_rows("items", 20_000).await;
        let ids: BTreeSet<String> = rows.iter().map(|r| r.column("id").to_text()).collect();
        assert_eq!((rows.len(), ids.len()), (20_000, 20_000));
        let chunks: BTreeSet<_> = rows.iter().map(|r| r.header("chunk")).collect();
        assert!(chunks.len() > 10, "{chunks:?}");
        let positions: BTreeSet<Position> =
            rows.iter().map(|r| r.header("position").unwrap().parse().unwrap()).collect();
        assert_eq!(positions.len(), 1);
        assert_eq!(positions.first().unwrap().ordinal, 0);
        // The row inserted meanwhile may have been read too.
        assert!(rig.await_rows("parts", 50).await.len() <= 51);
        assert_eq!(rig.await_changes("parts", 1).await.len(), 1);
        assert_eq!(rig.await_rows("bare", 500).await.len(), 500);
        rig.stop().await;
        // Nothing is read again.
        rig.start_ready().await;
        rig.sql("INSERT INTO items VALUES (0, 'later')").await;
        let changes = rig.await_changes("items", 1).await;
        let change: Position = changes[0].header("position").unwrap().parse().unwrap();
        assert!(&change > positions.last().unwrap());
        assert_eq!(rig.await_rows("items", 20_000).await.len(), 20_000);
        rig.stop().await;
    });
}

#[test]
fn a_killed_snapshot_goes_on_without_repeating_a_row() {
    run(async {
        let sql = "CREATE TABLE items (id bigint PRIMARY KEY, name text);
            INSERT INTO items SELECT i, 'n' || i FROM generate_series(1, 300000) i";
        let mut rig = Rig::new(sql).await;
        rig.options.snapshot.chunk_rows = 4000;
        let mut seen = Vec::new();
        for goal in [20_000, 90_000, 180_000] {
            rig.start();
            rig.until(&format!("{goal} rows"), async |rig| rig.written("items").await >= goal).await;
            rig.kill().await;
            seen.push(rig.written("items").await);
        }
        rig.start_ready().await;
        let rows = rig.await_rows("items", 300_000).await;
        rig.stop().await;
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for row in rig.records("items").await {
            *times.entry(row.column("id").to_text()).or_default() += 1;
        }
        assert_eq!(rows.len(), 300_000);
        assert_eq!(times.len(), 300_000);
        assert!(times.values().all(|&n| n == 1));
        assert!(seen[1] < 300_000, "{seen:?}");
    });
}

#[test]
fn rows_without_a_key_come_once_from_the_reading_or_from_the_stream() {
    run(async {
        let sql = "CREATE TABLE bare (n int); INSERT INTO bare SELECT i FROM generate_series(1, 60000) i";
        let mut rig = Rig::new(sql).await;
        rig.options.snapshot.chunk_rows = 2000;
        let writer = rig.database.connect().await.unwrap();
        let stop = CancellationToken::new();
        let writing = tokio::spawn({
            let stop = stop.clone();
            async move {
                let mut n = 100_000;
                while !stop.is_cancelled() {
                    // Also in a subtransaction, which has an id of its own.
                    let sql = format!(
                        "BEGIN; INSERT INTO bare VALUES ({n}); SAVEPOINT s; INSERT INTO bare VALUES ({}); COMMIT",
                        n + 1
                    );
                    writer.batch_execute(&sql).await.unwrap();
                    n += 2;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        });
        for rows in [1, 20_000] {
            rig.start();
            rig.until(&format!("{rows} rows"), async |rig| rig.written("bare").await >= rows).await;
            rig.kill().await;
        }
        rig.start_ready().await;
        rig.await_rows("bare", 60_000).await;
        // A table that comes later, and is written while it is found and read.
        rig.sql("CREATE TABLE later (n int)").await;
        let mut n = 0;
        while rig.written("later").await < 200 {
            rig.sql(&format!("INSERT INTO later VALUES ({n}); INSERT INTO bare VALUES (-{n})")).await;
            n += 1;
        }
        stop.cancel();
        writing.await.unwrap();
        for table in ["bare", "later"] {
            rig.sql(&format!("INSERT INTO {table} VALUES (-1000000)")).await;
            rig.until("the end", async |rig| {
                let inserts = rig.changes(table).await;
                inserts.iter().any(|r| r.op() == Some(Op::Create) && r.column("n") == Value::Int(-1_000_000))
            })
            .await;
            let records = rig.records(table).await;
            let position = |r: &Record| r.header("position").unwrap().parse::<Position>().unwrap();
            let emptied = records.iter().filter(|r| r.op() == Some(Op::Truncate)).map(position).max();
            let mut found: Vec<String> = records
                .iter()
                .filter(|r| r.op() != Some(Op::Truncate) && emptied.is_none_or(|e| position(r) > e))
                .map(|r| r.column("n").to_text())
                .collect();
            let rows = rig.client.query(&format!("SELECT n::text FROM {table}"), &[]).await.unwrap();
            let mut expected: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            found.sort();
            expected.sort();
            assert!(found == expected, "{table}: {} records of {} rows", found.len(), expected.len());
        }
        rig.stop().await;
    });
}

#[test]
fn a_table_added_later_is_read_while_the_stream_goes_on() {
    run(async {
        let mut rig = Rig::new("CREATE TABLE first (id int PRIMARY KEY)").await;
        rig.start_ready().await;
        rig.sql("CREATE TABLE second (id int PRIMARY KEY, n int); INSERT INTO second SELECT i, 0 FROM generate_series(1, 3000) i").await;
        for i in 0..20 {
            rig.sql(&format!("INSERT INTO first VALUES ({i}); UPDATE second SET n = n + 1 WHERE id <= 100"))
                .await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let rows = rig.await_rows("second", 3000).await;
        assert!(
            rows.iter()
                .all(|r| r.change.as_ref().unwrap().source.snapshot == affluent_model::Snapshot::Incremental)
        );
        rig.await_changes("first", 20).await;
        // The newest record of every row says what the table says.
        rig.sql("UPDATE second SET n = 100 WHERE id = 1").await;
        rig.until("the end", async |rig| {
            rig.changes("second").await.iter().any(|r| r.column("n") == Value::Int(100))
        })
        .await;
        let mut newest: BTreeMap<String, (Position, Value)> = BTreeMap::new();
        for record in rig.records("second").await.iter().filter(|r| r.op().is_some()) {
            let position: Position = record.header("position").unwrap().parse().unwrap();
            let entry = newest.entry(record.column("id").to_text()).or_insert((position, Value::Null));
            if position >= entry.0 {
                *entry = (position, record.column("n"));
            }
        }
        assert_eq!(newest.len(), 3000);
        for (id, (_, n)) in newest {
            let expected = if id == "1" {
                100
            } else if id.parse::<i64>().unwrap() <= 100 {
                20
            } else {
                0
            };
            assert_eq!(n, Value::Int(expected), "{id}");
        }
        rig.stop().await;
    });
}

#[test]
fn values_that_the_stream_leaves_out_are_complete_during_the_snapshot() {
    run(async {
        let sql = "CREATE TABLE docs (id int PRIMARY KEY, n int, body text);
            ALTER TABLE docs ALTER body SET STORAGE EXTERNAL;
            INSERT INTO docs SELECT i, 0, repeat('x', 3000) FROM generate_series(1, 3000) i";
        let mut rig = Rig::new(sql).await;
        rig.options.snapshot.chunk_rows = 200;
        let writer = rig.database.connect().await.unwrap();
        let writing = tokio::spawn(async move {
            for i in 0..300 {
                let id = i * 7 % 3000 + 1;
                let sql = format!(
                    "UPDATE docs SET n = n + 1 WHERE id = {id}; UPDATE docs SET id = id + 10000 WHERE id = {}",
                    id + 1
                );
                writer.batch_execute(&sql).await.unwrap();
            }
        });
        rig.start_ready().await;
        writing.await.unwrap();
        rig.sql("INSERT INTO docs VALUES (-1, 0, 'end')").await;
        rig.until("the end", async |rig| {
            rig.changes("docs").await.iter().any(|r| r.column("id") == Value::Int(-1))
        })
        .await;
        rig.await_rows("docs", 2600).await;
        // Apply as a store that takes only newer positions would.
        let mut mirror: BTreeMap<String, (Position, Option<(Value, Value)>)> = BTreeMap::new();
        for record in rig.records("docs").await {
            let Some(change) = record.change.clone() else { continue };
            let position = change.source.position;
            let id = record.column("id").to_text();
            let stored = mirror.get(&id);
            if stored.is_some_and(|(p, _)| *p >= position) {
                continue;
            }
            let next = match change.op {
                Op::Delete => None,
                _ if change.unchanged.is_empty() => Some((record.column("n"), record.column("body"))),
                _ => {
                    let body =
                        stored.and_then(|(_, row)| row.as_ref()).map_or(Value::Null, |row| row.1.clone());
                    Some((record.column("n"), body))
                }
            };
            mirror.insert(id, (position, next));
        }
        let rows = rig.client.query("SELECT id::text, n, body FROM docs", &[]).await.unwrap();
        let alive = mirror.iter().filter(|(_, (_, row))| row.is_some()).count();
        assert_eq!(alive, rows.len());
        for row in rows {
            let (id, n, body): (String, i32, String) = (row.get(0), row.get(1), row.get(2));
            assert_eq!(mirror[&id].1, Some((Value::Int(n.into()), Value::Text(body))), "{id}");
        }
        rig.stop().await;
    });
}
