//! Changes of running transactions.

use super::rig::{Rig, run};
use affluent_model::{Op, Position, Value};
use std::collections::BTreeMap;

const TABLE: &str = "CREATE TABLE items (id bigint PRIMARY KEY, name text, amount numeric(18,4))";

fn ops(records: &[super::rig::Record]) -> Vec<&'static str> {
    records.iter().filter_map(|r| r.op()).map(Op::code).collect()
}

#[test]
fn every_kind_of_change_arrives_once_and_in_order() {
    run(async {
        let mut rig = Rig::new(TABLE).await;
        rig.options.partitions = 1;
        rig.start_ready().await;
        rig.sql("INSERT INTO items VALUES (1, 'a', 12.3400)").await;
        rig.sql("UPDATE items SET name = 'b' WHERE id = 1").await;
        rig.sql("UPDATE items SET id = 2 WHERE id = 1").await;
        rig.sql("BEGIN; INSERT INTO items VALUES (3, NULL, 1); DELETE FROM items WHERE id = 2; COMMIT").await;
        rig.sql("BEGIN; INSERT INTO items VALUES (4, 'gone', 1); ROLLBACK").await;
        rig.sql("TRUNCATE items").await;
        let records = rig.await_changes("items", 7).await;
        assert_eq!(ops(&records), ["c", "u", "d", "c", "c", "d", "t"]);
        assert_eq!(records[0].after()[0], Value::Int(1));
        assert_eq!(records[1].column("name"), Value::Text("b".into()));
        assert_eq!(records[3].column("id"), Value::Int(2));
        assert_eq!(records[3].column("name"), Value::Text("b".into()));
        let age = affluent_model::time::now_micros() - records[1].change.as_ref().unwrap().source.ts_us;
        assert!((0..60_000_000).contains(&age), "{age}");
        assert_eq!(records[1].header("event_type").as_deref(), Some("item_updated"));
        // A delete is followed by its tombstone, and positions grow without repeating.
        let mut all = rig.records("items").await;
        // The snapshot of the empty table may have seen the first row.
        all.retain(|record| record.header("chunk").is_none());
        let tombstones =
            all.windows(2).filter(|w| w[0].op() == Some(Op::Delete)).map(|w| w[1].raw.value.is_none());
        assert!(tombstones.eq([true, true]));
        let positions: Vec<Position> =
            all.iter().map(|r| r.header("position").unwrap().parse().unwrap()).collect();
        assert!(positions.windows(2).all(|w| w[0] < w[1]), "{positions:?}");
        rig.stop().await;
    });
}

#[test]
fn a_large_transaction_is_streamed_without_its_rolled_back_parts() {
    run(async {
        let mut rig = Rig::new(TABLE).await;
        rig.sql(&format!("ALTER DATABASE {} SET logical_decoding_work_mem = '64kB'", rig.database.name))
            .await;
        rig.start_ready().await;
        let other = rig.database.connect().await.unwrap();
        rig.sql("BEGIN; INSERT INTO items SELECT i, 'first', i FROM generate_series(1, 5000) i").await;
        rig.sql("SAVEPOINT a; INSERT INTO items SELECT i, 'dropped', i FROM generate_series(5001, 10000) i")
            .await;
        rig.sql("ROLLBACK TO a; ALTER TABLE items ADD COLUMN note text DEFAULT 'n'").await;
        // Another transaction commits in between.
        other.batch_execute("SELECT pg_logical_emit_message(true, 'x', 'y')").await.unwrap();
        rig.sql("INSERT INTO items SELECT i, 'second', i, 'x' FROM generate_series(5001, 9000) i; COMMIT")
            .await;
        other.batch_execute("BEGIN; INSERT INTO items SELECT i, 'never', i, 'x' FROM generate_series(20000, 26000) i; ROLLBACK").await.unwrap();
        rig.sql("INSERT INTO items VALUES (30000, 'last', 1)").await;
        let records = rig.await_changes("items", 9001).await;
        assert_eq!(records.len(), 9001);
        let mut by_name = BTreeMap::new();
        for record in &records {
            *by_name.entry(record.column("name").to_text()).or_insert(0) += 1;
        }
        assert_eq!(
            by_name,
            BTreeMap::from([("first".into(), 5000), ("second".into(), 4000), ("last".into(), 1)])
        );
        rig.stop().await;
    });
}

#[test]
fn left_out_values_are_named_or_taken_from_the_old_row() {
    run(async {
        let sql = "CREATE TABLE docs (id int PRIMARY KEY, n int, body text); ALTER TABLE docs ALTER body SET STORAGE EXTERNAL;
            CREATE TABLE full_docs (LIKE docs INCLUDING ALL); ALTER TABLE full_docs REPLICA IDENTITY FULL";
        let mut rig = Rig::new(sql).await;
        rig.options.partitions = 1;
        rig.start_ready().await;
        rig.until("snapshots done", async |rig| {
            rig.value("SELECT count(*) FROM pg_replication_slots WHERE active").await != "0"
        })
        .await;
        for table in ["docs", "full_docs"] {
            rig.sql(&format!("INSERT INTO {table} VALUES (1, 1, repeat('x', 9000))")).await;
            rig.await_changes(table, 1).await;
            // The snapshot is over for sure when its end was passed by a later transaction.
            tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
            rig.sql(&format!("UPDATE {table} SET n = 2; UPDATE {table} SET id = 5; DELETE FROM {table}"))
                .await;
        }
        let docs = rig.await_changes("docs", 5).await;
        let update = docs[1].change.as_ref().unwrap();
        assert_eq!((update.op, update.unchanged.clone()), (Op::Update, vec![2]));
        let full = rig.await_changes("full_docs", 5).await;
        assert_eq!(ops(&full), ["c", "u", "d", "c", "d"]);
        let body = Value::Text("x".repeat(9000));
        for record in [&full[1], &full[3]] {
            assert_eq!(record.column("body"), body);
            assert!(record.change.as_ref().unwrap().unchanged.is_empty());
        }
        // The whole old row comes with updates and deletes.
        assert_eq!(full[4].change.as_ref().unwrap().before.as_ref().unwrap()[2], body);
        rig.stop().await;
    });
}

#[test]
fn schema_changes_are_followed() {
    run(async {
        let mut rig = Rig::new(TABLE).await;
        rig.options.partitions = 1;
        rig.start_ready().await;
        rig.sql("INSERT INTO items VALUES (1, 'a', 1)").await;
        rig.sql("ALTER TABLE items ADD COLUMN note text; INSERT INTO items VALUES (2, 'b', 1, 'n')").await;
        rig.sql("ALTER TABLE items RENAME COLUMN note TO remark; INSERT INTO items VALUES (3, 'c', 1, 'r')")
            .await;
        rig.sql("ALTER TABLE items DROP COLUMN name; INSERT INTO items VALUES (4, 1, 'r')").await;
        rig.sql("ALTER TABLE items ALTER amount TYPE text; INSERT INTO items VALUES (5, 'much', 'r')").await;
        rig.sql("ALTER TABLE items RENAME TO things; INSERT INTO things VALUES (6, 'x', 'y')").await;
        let records = rig.await_changes("items", 6).await;
        let names = |i: usize| -> Vec<String> {
            records[i].change.as_ref().unwrap().schema.columns.iter().map(|c| c.name.clone()).collect()
        };
        assert_eq!(names(0), ["id", "name", "amount"]);
        assert_eq!(names(1), ["id", "name", "amount", "note"]);
        assert_eq!(names(2), ["id", "name", "amount", "remark"]);
        assert_eq!(names(3), ["id", "amount", "remark"]);
        assert_eq!(records[4].column("amount"), Value::Text("much".into()));
        // A renamed table keeps its topic, unless its changes are to follow the name.
        assert_eq!(records[5].column("id"), Value::Int(6));
        rig.stop().await;
        rig.options.on_rename = affluent_stream::cdc::OnRename::Follow;
        rig.sql("ALTER TABLE things RENAME TO parts; INSERT INTO parts VALUES (7, 'x', 'y')").await;
        rig.start_ready().await;
        let followed = rig.await_changes("parts", 1).await;
        assert_eq!(followed[0].column("id"), Value::Int(7));
        assert_eq!(rig.changes("items").await.len(), 6);
        rig.stop().await;
    });
}

#[test]
fn protected_columns_never_leave_and_tables_without_key_stay_in_order() {
    run(async {
        let sql = "CREATE TABLE people (email text PRIMARY KEY, card text, secret text, name text);
            CREATE TABLE log (line text); INSERT INTO log VALUES ('first')";
        let mut rig = Rig::new(sql).await;
        use affluent_stream::cdc::Protection::{Drop, Hash, Mask, Token};
        let rules = [("email", Token), ("card", Mask), ("secret", Drop), ("name", Hash)];
        rig.options.protect = rules.iter().map(|(c, p)| (format!("public.people.{c}"), *p)).collect();
        rig.options.protect_key = Some("0123456789abcdef".into());
        rig.start_ready().await;
        rig.sql("INSERT INTO people VALUES ('ann@example.org', '4111111111111111', 'hidden', 'Ann')").await;
        rig.sql("UPDATE people SET name = 'Bea'; DELETE FROM people").await;
        // What is inserted before the first reading belongs to it.
        rig.await_rows("log", 1).await;
        for i in 0..20 {
            rig.sql(&format!("INSERT INTO log VALUES ('{i}')")).await;
        }
        let changes = rig.await_changes("people", 3).await;
        let keys: std::collections::BTreeSet<_> =
            rig.records("people").await.iter().map(|r| r.raw.key.clone()).collect();
        assert_eq!(keys.len(), 1, "insert, update, delete and tombstone share the key");
        for record in rig.records("people").await {
            let text = format!("{:?} {:?}", record.raw.key, record.raw.value);
            for leak in ["ann@", "41111", "hidden", "Ann", "Bea"] {
                assert!(!text.contains(leak), "{leak} in {text}");
            }
        }
        assert_eq!(changes[0].column("card"), Value::Text("************1111".into()));
        assert!(changes[0].change.as_ref().unwrap().schema.index_of("secret").is_none());
        let lines: Vec<String> =
            rig.await_changes("log", 20).await.iter().map(|r| r.column("line").to_text()).collect();
        assert_eq!(lines, (0..20).map(|i| i.to_string()).collect::<Vec<_>>());
        rig.stop().await;
    });
}

#[test]
fn restarts_at_any_moment_lose_and_repeat_nothing() {
    run(async {
        let mut rig = Rig::new(TABLE).await;
        let writer = rig.database.connect().await.unwrap();
        let expected = tokio::spawn(async move {
            let mut expected: BTreeMap<i64, Vec<(&str, i64)>> = BTreeMap::new();
            let mut state: u64 = 0x9E37_79B9_7F4A_7C15;
            let mut random = |bound: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % bound
            };
            for step in 0..1500_i64 {
                let mut sql = String::from("BEGIN;");
                for _ in 0..=random(4) {
                    let id = random(40).cast_signed();
                    let history = expected.entry(id).or_default();
                    let present = history.last().is_some_and(|(op, _)| *op != "d");
                    if !present {
                        sql += &format!("INSERT INTO items VALUES ({id}, 'n', {step});");
                        history.push(("c", step));
                    } else if random(4) == 0 {
                        sql += &format!("DELETE FROM items WHERE id = {id};");
                        history.push(("d", 0));
                    } else {
                        sql += &format!("UPDATE items SET amount = {step} WHERE id = {id};");
                        history.push(("u", step));
                    }
                }
                writer.batch_execute(&(sql + "COMMIT")).await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(random(4))).await;
            }
            expected
        });
        rig.options.snapshot.mode = affluent_stream::cdc::SnapshotMode::Never;
        // The slot is there before the first change.
        rig.options.tombstones = true;
        let slot = format!("SELECT pg_create_logical_replication_slot('{}', 'pgoutput')", rig.options.slot);
        let _ = slot;
        for round in 0..12_u64 {
            rig.start();
            tokio::time::sleep(std::time::Duration::from_millis(100 + round * 61 % 400)).await;
            rig.kill().await;
        }
        rig.start_ready().await;
        let expected = expected.await.unwrap();
        rig.sql("INSERT INTO items VALUES (1000, 'end', 0)").await;
        rig.until("the end", async |rig| {
            rig.changes("items").await.iter().any(|r| r.column("id") == Value::Int(1000))
        })
        .await;
        let mut found: BTreeMap<i64, Vec<(&str, i64)>> = BTreeMap::new();
        for record in rig.changes("items").await {
            let change = record.change.as_ref().unwrap();
            let Value::Int(id) = record.column("id") else { panic!() };
            let amount = match (change.op, record.column("amount")) {
                (Op::Delete, _) => 0,
                (_, Value::Decimal(d)) => d.to_string().split('.').next().unwrap().parse().unwrap(),
                (_, Value::Text(t)) => t.split('.').next().unwrap().parse().unwrap(),
                other => panic!("{other:?}"),
            };
            found.entry(id).or_default().push((change.op.code(), amount));
        }
        found.remove(&1000);
        for (id, history) in &expected {
            let found = found.get(id).cloned().unwrap_or_default();
            // What was written before the slot was made is not streamed.
            let tail = &history[history.len().saturating_sub(found.len())..];
            assert_eq!(found, tail, "history of {id}");
        }
        let deletes = rig.records("items").await;
        let count = |f: &dyn Fn(&super::rig::Record) -> bool| deletes.iter().filter(|r| f(r)).count();
        assert_eq!(count(&|r| r.op() == Some(Op::Delete)), count(&|r| r.raw.value.is_none()), "tombstones");
        rig.stop().await;
    });
}

#[test]
fn an_idle_slot_advances_by_heartbeats() {
    run(async {
        let mut rig = Rig::new(TABLE).await;
        rig.options.heartbeat_s = 1;
        rig.start_ready().await;
        let confirmed = format!(
            "SELECT confirmed_flush_lsn > '{}' FROM pg_replication_slots WHERE slot_name = '{}'",
            rig.value("SELECT pg_current_wal_insert_lsn()").await,
            rig.options.slot
        );
        rig.until("the slot advances", async |rig| rig.value(&confirmed).await == "t").await;
        rig.stop().await;
    });
}

#[test]
fn the_transaction_topic_tells_begin_and_end() {
    run(async {
        let mut rig = Rig::new(TABLE).await;
        rig.options.transaction_topic = true;
        rig.start_ready().await;
        rig.sql("BEGIN; INSERT INTO items VALUES (1, 'a', 1); INSERT INTO items VALUES (2, 'a', 1); COMMIT")
            .await;
        let changes = rig.await_changes("items", 2).await;
        let order: std::collections::BTreeSet<u64> = changes
            .iter()
            .map(|r| r.change.as_ref().unwrap().transaction.as_ref().unwrap().total_order)
            .collect();
        assert_eq!(order, [1, 2].into());
        let topic = format!("{}.transaction", rig.options.source);
        let values = async |rig: &Rig| -> Vec<serde_json::Value> {
            let admin = rig.bus.admin().unwrap();
            let partition = affluent_bus::TopicPartition::new(topic.as_str(), 0);
            let (low, high) = admin.watermarks(&partition).await.unwrap();
            let records = admin.read_range(&partition, low, high).await.unwrap();
            records.iter().map(|r| serde_json::from_slice(r.value.as_ref().unwrap()).unwrap()).collect()
        };
        let full = |v: &[serde_json::Value]| v.iter().position(|v| v["event_count"] == 2);
        rig.until("the end record", async |rig| full(&values(rig).await).is_some()).await;
        let values = values(&rig).await;
        let end = full(&values).unwrap();
        assert_eq!(values[end]["status"], "END");
        assert_eq!(values[end - 1]["status"], "BEGIN");
        assert_eq!(values[end - 1]["id"], values[end]["id"]);
        rig.stop().await;
    });
}
