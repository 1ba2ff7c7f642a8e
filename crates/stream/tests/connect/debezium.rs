//! Debezium's topics through our sinks are our own topics through our sinks, row for row.

use crate::rig::{PATIENCE, Rig, Stores, avro_converters, registry, registry_url, topic, until};
use affluent_model::Value;
use affluent_testkit::Postgres;
use serde_json::{Value as Json, json};
use std::time::{Duration, Instant};

/// What is compared of each change in the lake: what happened, and the row.
const COLUMNS: &[&str] = &[
    "_op",
    "_unchanged",
    "id",
    "amount",
    "fee",
    "code",
    "attempt",
    "part",
    "is_settled",
    "ratio",
    "at",
    "local",
    "day",
    "clock",
    "token",
    "extra",
    "tags",
    "raw",
    "note",
    "channel",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_json_makes_the_same_mirror_and_lake() {
    let mut rig = Rig::start().await;
    let theirs = rig.debezium(&Json::Null).await;
    let ours = rig.ours.clone();
    let stores = [rig.stores(&ours, None).await, rig.stores(&theirs, None).await];
    rig.change(&[&ours, &theirs]).await;
    are_equal(&rig, &stores).await;
}

/// In Avro, by a registry that both share.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_avro_makes_the_same_mirror_and_lake() {
    let Some(url) = registry_url() else { return };
    let mut more = avro_converters(&url);
    more["schema.name.adjustment.mode"] = "avro".into();
    let mut rig = Rig::start().await;
    let theirs = rig.debezium(&more).await;
    let ours = rig.ours.clone();
    let stores = [rig.stores(&ours, None).await, rig.stores(&theirs, Some(registry(&url))).await];
    rig.change(&[&ours, &theirs]).await;
    are_equal(&rig, &stores).await;
}

/// The other way: Debezium's own sink reads our topics and makes the same table elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_jdbc_sink_makes_the_table_from_our_topic() {
    const ROWS: &str = "select id::text, amount::text, fee::text, attempt::text, part::text, is_settled::text, ratio::text, \
        at::text, local::text, day::text, clock::text, token::text, note from";
    let Some(url) = registry_url() else { return };
    let mut rig = Rig::start_avro(registry(&url)).await;
    // It has no word for "as before": every row has to be whole.
    rig.client.batch_execute("alter table payments replica identity full").await.unwrap();
    let ours = rig.ours.clone();
    rig.change(&[&ours]).await;
    let target = Postgres::shared().fresh_database().await.unwrap();
    let mut config = avro_converters(&url);
    let more = json!({
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": "1",
        "topics": topic(&ours),
        "connection.url": format!("jdbc:postgresql://{}:{}/{}", target.host, target.port, target.name),
        "connection.username": target.user,
        "connection.password": "none is asked for",
        "insert.mode": "upsert",
        "delete.enabled": "true",
        "primary.key.mode": "record_key",
        "schema.evolution": "basic",
        "collection.name.format": "payments",
    });
    config.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    rig.worker.configure("jdbc-sink", &config).await.unwrap();

    let theirs = target.connect().await.unwrap();
    let rows = async |client: &tokio_postgres::Client| -> Vec<Vec<Option<String>>> {
        // The table is there once the sink has made it.
        let Ok(rows) = client.query(&format!("{ROWS} payments order by payments.id"), &[]).await else {
            return Vec::new();
        };
        rows.iter().map(|row| (0..row.len()).map(|column| row.get(column)).collect()).collect()
    };
    let expected = rows(&rig.client).await;
    assert!(expected.len() > 500, "{} rows", expected.len());
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = rows(&theirs).await;
        if found == expected {
            return;
        }
        if Instant::now() > deadline {
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found, expected);
            }
            panic!("{} of {} rows", found.len(), expected.len());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until both have everything, then compares.
async fn are_equal(rig: &Rig, [ours, theirs]: &[Stores; 2]) {
    let rows = usize::try_from(rig.count().await).unwrap();
    until("our own sinks have every row", async || {
        let is_last = |row: &affluent_model::Row| row[0] == Value::Int(9_000);
        ours.mirror().await.len() == rows && ours.raw(&["id"]).await.iter().any(is_last)
    })
    .await;
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    loop {
        let (mirror, raw) = (ours.mirror().await, ours.raw(COLUMNS).await);
        let (their_mirror, their_raw) = (theirs.mirror().await, theirs.raw(COLUMNS).await);
        // Some partition may be behind the others.
        let stands_still = !raw.is_empty() && seen == raw;
        if stands_still && mirror == their_mirror && raw == their_raw {
            eprintln!("{} documents and {} changes are equal", mirror.len(), raw.len());
            assert!(raw.iter().any(|row| matches!(&row[1], Value::Array(items) if !items.is_empty())));
            return;
        }
        if Instant::now() > deadline {
            for (id, fields) in &mirror {
                assert_eq!(their_mirror.get(id), Some(fields), "document {id}");
            }
            assert_eq!(their_mirror.len(), mirror.len());
            for (our_row, their_row) in raw.iter().zip(&their_raw) {
                assert_eq!(their_row, our_row);
            }
            assert_eq!(their_raw.len(), raw.len());
            panic!("what we capture does not come to an end");
        }
        seen = raw;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
