//! Slots and servers that are not what was saved: the source stops and says so.

use super::rig::{Rig, run};
use affluent_model::{Op, Value};
use affluent_stream::cdc::CdcError;

const TABLE: &str = "CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items VALUES (1)";

async fn captured_once() -> Rig {
    let mut rig = Rig::new(TABLE).await;
    rig.start_ready().await;
    rig.await_rows("items", 1).await;
    rig.sql("INSERT INTO items VALUES (2)").await;
    rig.await_changes("items", 1).await;
    rig.stop().await;
    rig
}

fn identity_error(error: CdcError) -> String {
    let text = error.to_string();
    assert!(matches!(error, CdcError::Identity(_)), "{text}");
    assert!(text.contains("--accept-gap") && text.contains("--resnapshot"), "{text}");
    text
}

#[test]
fn a_slot_that_is_gone_advanced_or_recreated_stops_the_source() {
    run(async {
        let mut rig = captured_once().await;
        let slot = rig.options.slot.clone();
        rig.sql("INSERT INTO items VALUES (3)").await;
        rig.sql(&format!("SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())")).await;
        rig.start();
        let text = identity_error(rig.failure().await);
        assert!(text.contains("recreated or advanced") && text.contains("bytes"), "{text}");

        rig.sql(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
        rig.start();
        assert!(identity_error(rig.failure().await).contains("gone"));

        // One way out: go on without what was missed.
        rig.options.accept_gap = true;
        rig.start_ready().await;
        rig.sql("INSERT INTO items VALUES (4)").await;
        let ids: Vec<_> = rig.await_changes("items", 2).await.iter().map(|r| r.column("id")).collect();
        assert_eq!(ids, vec![Value::Int(2), Value::Int(4)].sorted(&ids));
        rig.stop().await;
        rig.options.accept_gap = false;
        rig.start_ready().await;
        rig.stop().await;

        // The other: read the tables again.
        rig.sql(&format!("SELECT pg_drop_replication_slot('{slot}')")).await;
        rig.options.resnapshot = true;
        rig.start_ready().await;
        let rows = rig.await_rows("items", 5).await;
        let newest = rows.iter().map(|r| r.change.as_ref().unwrap().source.position).max().unwrap();
        let again = rows.iter().filter(|r| r.change.as_ref().unwrap().source.position == newest);
        assert_eq!(again.count(), 4);
        rig.stop().await;
    });
}

trait Sorted {
    fn sorted(self, like: &[Value]) -> Vec<Value>;
}

impl Sorted for Vec<Value> {
    /// In the order of `like`, as partitions are read one after the other.
    fn sorted(mut self, like: &[Value]) -> Vec<Value> {
        self.sort_by_key(|v| like.iter().position(|l| l == v));
        self
    }
}

#[test]
fn another_server_stops_the_source_and_its_positions_go_on_after_the_gap() {
    run(async {
        let mut rig = captured_once().await;
        let other = affluent_testkit::Postgres::start(affluent_testkit::PostgresOptions::default()).unwrap();
        let database = other.fresh_database().await.unwrap();
        let client = database.connect().await.unwrap();
        client
            .batch_execute("CREATE TABLE items (id int PRIMARY KEY); INSERT INTO items VALUES (7)")
            .await
            .unwrap();
        rig.options.connection = database.url.clone();
        rig.start();
        assert!(identity_error(rig.failure().await).contains("another one"));
        rig.options.resnapshot = true;
        rig.start_ready().await;
        rig.await_rows("items", 2).await;
        client.batch_execute("INSERT INTO items VALUES (8)").await.unwrap();
        rig.until("both", async |rig| rig.records("items").await.len() >= 4).await;
        let records = rig.records("items").await;
        let position = |id: i64| {
            let found = records.iter().find(|r| r.column("id") == Value::Int(id)).unwrap();
            (found.change.as_ref().unwrap().source.position, found.op().unwrap())
        };
        assert!(position(2).0 < position(7).0 && position(7).0 < position(8).0);
        assert_eq!((position(7).1, position(8).1), (Op::Read, Op::Create));
        rig.stop().await;
    });
}

#[test]
fn what_is_missing_is_printed_as_sql() {
    run(async {
        let mut rig = Rig::new(TABLE).await;
        rig.options.manage = false;
        rig.start();
        let error = rig.failure().await;
        assert!(matches!(error, CdcError::Setup(_)));
        assert!(error.to_string().contains("CREATE PUBLICATION"), "{error}");
        let publication = rig.options.publication.clone();
        rig.sql(&format!("CREATE PUBLICATION {publication} FOR TABLE items")).await;
        rig.start();
        let error = rig.failure().await;
        assert!(error.to_string().contains("pg_create_logical_replication_slot"), "{error}");
        rig.sql(&format!("SELECT pg_create_logical_replication_slot('{}', 'pgoutput')", rig.options.slot))
            .await;
        rig.start_ready().await;
        rig.await_rows("items", 1).await;
        rig.stop().await;
    });
}

#[test]
fn a_topic_that_changed_its_partitions_stops_the_source() {
    run(async {
        let mut rig = captured_once().await;
        let admin = rig.bus.admin().unwrap();
        let topic = rig.topic("items");
        admin.delete_topic(&topic).await.unwrap();
        rig.until("deleted", async |_| admin.partitions(&topic).await.unwrap().is_none()).await;
        admin.ensure_topic(&topic, &affluent_bus::TopicSpec::new(5)).await.unwrap();
        rig.start();
        rig.sql("INSERT INTO items VALUES (9)").await;
        let error = rig.failure().await;
        assert!(matches!(error, CdcError::Topic(_)), "{error}");
    });
}
