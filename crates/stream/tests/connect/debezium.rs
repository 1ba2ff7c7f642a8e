//! Debezium's topics through our sinks are our own topics through our sinks, row for row.

use crate::rig::{PATIENCE, Rig, Stores, registry, until};
use affluent_model::Value;
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
    let Some(url) = std::env::var("AFFLUENT_TEST_REGISTRY").ok().filter(|url| !url.is_empty()) else {
        eprintln!("skipped: AFFLUENT_TEST_REGISTRY names no Apicurio; `make interop` starts one");
        return;
    };
    let own_api = url.replace("/apis/ccompat/v7", "/apis/registry/v2");
    let mut more = json!({"schema.name.adjustment.mode": "avro"});
    for part in ["key", "value"] {
        for (name, value) in [
            ("", "io.apicurio.registry.utils.converter.AvroConverter"),
            (".apicurio.registry.url", own_api.as_str()),
            (".apicurio.registry.auto-register", "true"),
            (".apicurio.registry.as-confluent", "true"),
            (".apicurio.registry.use-id", "contentId"),
            (".apicurio.registry.headers.enabled", "false"),
        ] {
            more[format!("{part}.converter{name}")] = value.into();
        }
    }
    let mut rig = Rig::start().await;
    let theirs = rig.debezium(&more).await;
    let ours = rig.ours.clone();
    let stores = [rig.stores(&ours, None).await, rig.stores(&theirs, Some(registry(&url))).await];
    rig.change(&[&ours, &theirs]).await;
    are_equal(&rig, &stores).await;
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
