//! The demo proves itself, and verify tells exactly what was tampered with.

use crate::installation::{AFFLUENT, Installation, turn};
use affluent_bus::{Bus, BusOptions, Incoming, Outgoing, ProducerOptions, TopicPartition};
use affluent_documents::{Action, DocumentStore, EmbeddedOptions, EmbeddedStore, VersionedWrite};
use affluent_model::Position;
use affluent_testkit::payments::{Payments, PaymentsOptions};
use affluent_testkit::{Database, Postgres};
use serde_json::Value as Json;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_loses_and_duplicates_nothing() {
    let _turn = turn().await;
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("report.json");
    let mut command = Command::new(AFFLUENT);
    command.args(["demo", "--seconds", "10", "--rate", "300", "--seed", "7", "--report"]).arg(&file);
    command.current_dir(scratch.path()).env_remove("FAILPOINTS");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let shown =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let report: Json = serde_json::from_slice(&std::fs::read(&file).expect(&shown)).unwrap();
    assert_eq!((report["lost"].as_u64(), report["duplicated"].as_u64()), (Some(0), Some(0)), "{shown}");
    let rows = report["reconciliation"].as_array().unwrap();
    assert_eq!(rows.len(), 5 * 4 + 2 * 3, "five tables in four stores, clicks and logs in three: {shown}");
    for row in rows {
        assert_eq!(row["equal"].as_bool(), Some(true), "{row}");
        assert!(row["rows"].as_u64() > Some(0), "{row}");
    }
    let slos = report["slos"].as_array().unwrap();
    let ids: Vec<&str> = slos.iter().filter_map(|slo| slo["id"].as_str()).collect();
    let expected = [
        "cdc.bus.p99",
        "cdc.documents.p99",
        "cdc.lake_visible.p99",
        "clickstream.documents.p99",
        "logs.documents.p99",
        "logs.lake_visible.p99",
        "features.freshness.p99",
        "score.inference.p99",
        "score.end_to_end.p99",
        "score.oltp_updated.p99",
        "clickstream.rate",
        "fraud.caught_share",
        "batch.freshness",
        "batch.balance",
        "batch.rebuild_equal",
        "bi.freshness",
        "features.computed",
        "features.sources",
        "features.parity",
        "train.fraud.ap_lift_over_baseline",
        "drift.detected_injected",
    ];
    assert_eq!(ids, expected);
    for slo in slos {
        let (id, measured) = (slo["id"].as_str().unwrap(), slo["measured"].as_f64().unwrap());
        let (unit, as_expected) = match id {
            "clickstream.rate" => ("events/s", measured > 0.0),
            "fraud.caught_share" => ("of what was planted", measured > 0.0),
            "batch.balance" => ("currencies that differ", measured == 0.0),
            "batch.rebuild_equal" => ("tables that differ", measured == 0.0),
            "features.computed" => ("features", measured >= 40.0),
            "features.sources" => ("sources", measured >= 5.0 && slo["goal"] == measured),
            "features.parity" => ("values that differ", measured == 0.0),
            "train.fraud.ap_lift_over_baseline" => ("average precision", measured > 0.0),
            "drift.detected_injected" => ("shifted weeks found", measured == 1.0),
            _ => ("s", measured > 0.0),
        };
        assert!(as_expected && slo["unit"] == unit, "{slo}");
    }
    let alerts = report["alerts"].as_array().unwrap();
    assert!(!alerts.is_empty() && alerts.iter().all(|alert| alert["reasons"][0].is_string()), "{alerts:?}");
    assert!(shown.contains("features.parity: 0 of"), "{shown}");
    let answers = report["answers"].as_array().unwrap();
    assert!(
        answers.len() == 3 && answers.iter().all(|a| a["table"].as_str().unwrap().contains("---")),
        "{shown}"
    );
    // A slow machine may miss a goal; the exit code says whether it did.
    let met = slos.iter().all(|slo| slo["met"].as_bool() == Some(true));
    assert_eq!(output.status.code(), Some(if met { 0 } else { 1 }), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_names_a_lost_document_and_a_repeated_change() {
    let _turn = turn().await;
    let database = Postgres::shared().fresh_database().await.unwrap();
    let options =
        PaymentsOptions { customers: 50, merchants: 10, history: 100, ..PaymentsOptions::default() };
    Payments::new(database.clone(), options).prepare().await.unwrap();
    let mut installation = Installation::new(&database, "");
    installation.start(None);
    installation.wait_ready().await;
    change_some(&database).await;
    installation.verify().await;

    let place = Place::of(&installation).await;
    let repeated = repeat_last_change(&place.broker).await;
    let (status, report) = report(&installation).await;
    assert_eq!(status, Some(1), "{report}");
    assert_eq!((report["lost"].as_u64(), report["duplicated"].as_u64()), (Some(0), Some(1)), "{report}");
    let difference = &report["differences"][0];
    assert_eq!(
        (&difference["store"], &difference["kind"]),
        (&"kafka".into(), &"duplicate".into()),
        "{report}"
    );
    assert_eq!(difference["key"].as_str(), Some(format!("id={repeated}").as_str()));

    installation.terminate(Duration::from_secs(10)).await;
    forget_document(place.documents, "3").await;
    installation.start(None);
    installation.wait_ready().await;
    let (status, report) = self::report(&installation).await;
    assert_eq!(status, Some(1), "{report}");
    assert_eq!(report["lost"].as_u64(), Some(1), "{report}");
    let lost = report["differences"].as_array().unwrap().iter().find(|d| d["kind"] == "missing").unwrap();
    assert_eq!(
        (lost["store"].as_str(), lost["table"].as_str(), lost["key"].as_str()),
        (Some("mirrors"), Some("public.merchants"), Some("id=3"))
    );
}

/// Where the installation keeps and serves things, from its own mouth.
struct Place {
    broker: String,
    documents: PathBuf,
}

impl Place {
    async fn of(installation: &Installation) -> Self {
        let (status, printed) = installation.run(&["config", "show", "--format", "json"], LIMIT).await;
        assert!(status.success(), "{printed}");
        let config = &first_json(&printed)["config"];
        let broker = config["broker"]["listen"].as_str().unwrap().to_owned();
        let documents = PathBuf::from(config["data_dir"].as_str().unwrap()).join("documents");
        Place { broker, documents }
    }
}

async fn report(installation: &Installation) -> (Option<i32>, Json) {
    let (status, printed) = installation.run(&["verify", "--format", "json"], LIMIT).await;
    (status.code(), first_json(&printed))
}

/// The JSON object at the beginning of what was printed; log lines follow it.
fn first_json(printed: &str) -> Json {
    serde_json::Deserializer::from_str(printed).into_iter().next().expect(printed).expect(printed)
}

async fn change_some(database: &Database) {
    let client = database.connect().await.unwrap();
    for merchant in 1..=5_i64 {
        let changed =
            client.execute("update merchants set fee_rate = 0.01 where id = $1", &[&merchant]).await;
        assert_eq!(changed.unwrap(), 1);
    }
}

/// Sends the newest change of a merchant once more, byte for byte; the merchant's id.
async fn repeat_last_change(broker: &str) -> i64 {
    let bus = Bus::new(BusOptions { bootstrap_servers: broker.to_owned(), ..BusOptions::default() }).unwrap();
    let admin = bus.admin().unwrap();
    let topic = "oltp.public.merchants";
    for partition in 0..admin.partitions(topic).await.unwrap().unwrap() {
        let partition = TopicPartition::new(topic, partition);
        let (first, next) = admin.watermarks(&partition).await.unwrap();
        let records = admin.read_range(&partition, first, next).await.unwrap();
        let updated =
            |record: &Incoming| record.header("event_type").is_some_and(|kind| *kind == "merchant_updated");
        let Some(last) = records.into_iter().rfind(updated) else { continue };
        // Avro in the Confluent framing: five bytes, then the key's only field as a zig-zag varint.
        let key = last.key.as_ref().unwrap();
        let id = i64::from(key[5] >> 1);
        let producer = bus.producer(ProducerOptions::default()).unwrap();
        let again = Outgoing {
            topic: topic.into(),
            partition: Some(partition.partition),
            key: last.key,
            value: last.value,
            headers: last.headers,
            timestamp_ms: Some(last.timestamp_ms),
        };
        producer.send(again).await.unwrap();
        producer.flush(Duration::from_secs(10)).await.unwrap();
        return id;
    }
    panic!("no update of a merchant in the topic");
}

/// Deletes a merchant's document behind the back of a stopped installation.
async fn forget_document(path: PathBuf, id: &str) {
    let options = EmbeddedOptions { path: Some(path), ..EmbeddedOptions::default() };
    let store = EmbeddedStore::open(options, 3_600).await.unwrap();
    let version = Position::new(u64::MAX >> 8, 1);
    let write = VersionedWrite { id: id.to_owned(), version, action: Action::Delete };
    let outcome = store.apply("mirrors.merchants", vec![write]).await.unwrap();
    assert_eq!(outcome.applied, 1);
}
