//! Clicks in every shape a client may send, and log lines over JSON.

use super::{Rig, raw_topic, read_topic};
use affluent_bus::codec::{EventDecoder, EventFormat};
use affluent_stream::collect::{IpPolicy, PartitionBy};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::Write;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accepted_events_are_in_the_topic_once_and_rejected_ones_are_told() {
    let rig = Rig::new(|_| {}).await;
    let ids: Vec<String> = (0..9).map(|_| uuid::Uuid::now_v7().to_string()).collect();
    let event = |i: usize| {
        json!({"event_id": ids[i], "event_type": "page_view", "user_id": "u1", "n": i}).to_string()
    };
    let ndjson = format!("{}\n{{broken\n{}\n", event(2), event(3));
    let array = format!("[{},{{\"event_type\":5}},{}]", event(4), event(5));
    let zstd = zstd::encode_all(event(7).as_bytes(), 3).unwrap();
    for (headers, body, accepted, rejected) in [
        (vec![("content-type", "application/json")], event(0).into_bytes(), 1, json!([])),
        // As navigator.sendBeacon sends a string.
        (vec![("content-type", "text/plain;charset=UTF-8")], event(1).into_bytes(), 1, json!([])),
        (
            vec![("content-type", "application/x-ndjson")],
            ndjson.into_bytes(),
            2,
            json!([{"index": 1, "reason": "bad_json", "error": "not JSON at byte 1 of the item"}]),
        ),
        (
            vec![("content-type", "application/json")],
            array.into_bytes(),
            2,
            json!([{"index": 1, "reason": "wrong_type", "error": "event_type must be a string"}]),
        ),
        (vec![("content-encoding", "gzip")], gzip(event(6).as_bytes()), 1, json!([])),
        (vec![("content-encoding", "zstd")], zstd, 1, json!([])),
        (vec![], b"[]".to_vec(), 0, json!([])),
    ] {
        let answer = rig.post("/collect/events", &headers, body).await;
        assert_eq!(answer.status, 202, "{headers:?}: {}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.json(), json!({"accepted": accepted, "rejected": rejected}));
    }
    let mut message = vec![10, 0, 10, 5, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
    let mut item = vec![10, 36];
    item.extend(ids[8].as_bytes());
    item.extend([42, 10]);
    item.extend(b"conversion");
    message.extend([10, u8::try_from(item.len()).unwrap()]);
    message.extend(item);
    let answer = rig.post("/collect/events", &[("content-type", "application/x-protobuf")], message).await;
    let reasons: Vec<_> =
        answer.json()["rejected"].as_array().unwrap().iter().map(|r| r["reason"].clone()).collect();
    assert_eq!((answer.status, reasons), (202, vec![json!("missing_event_type"), json!("bad_protobuf")]));

    let answer = rig.post("/collect/events", &[], "{}").await;
    assert_eq!((answer.status, answer.json()["accepted"].clone()), (400, json!(0)));
    let answer = rig.post("/collect/events", &[("content-type", "image/png")], "x").await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (415, json!("unsupported_type")));

    let events = rig.events().await;
    let stored: Vec<&str> = events.iter().map(|event| event["event_id"].as_str().unwrap()).collect();
    assert_eq!(stored.len(), ids.len());
    assert_eq!(stored.into_iter().collect::<BTreeSet<_>>(), ids.iter().map(String::as_str).collect());
    let first = events.iter().find(|event| event["event_id"] == ids[0].as_str()).unwrap();
    assert_eq!((&first["ip"], &first["is_late"]), (&json!("127.0.0.0"), &json!(false)));
    assert_eq!(first["properties"], json!({"n": 0}));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_follow_the_visitor_or_the_day() {
    let rig = Rig::new(|options| {
        options.ip = IpPolicy::Keep;
        options.proxies = 1;
    })
    .await;
    let id = uuid::Uuid::now_v7().to_string();
    let body = json!([
        {"event_type": "x", "user_id": "u", "anonymous_id": "a"},
        {"event_type": "x", "anonymous_id": "a"},
        {"event_type": "x", "event_id": id},
    ]);
    let forwarded = [("x-forwarded-for", "6.6.6.6, 198.51.100.7")];
    assert_eq!(rig.post("/collect/events", &forwarded, body.to_string()).await.status, 202);
    let records = read_topic(&super::bus(), &rig.events_topic).await;
    let keys: BTreeSet<&str> = records.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, BTreeSet::from(["u", "a", id.as_str()]));
    assert!(records.iter().all(|(_, event)| event["ip"] == "198.51.100.7"), "{records:?}");
    rig.stop().await;

    let rig = Rig::new(|options| options.partition_by = PartitionBy::Date).await;
    let body = json!({"event_type": "x", "user_id": "u", "occurred_at": "2024-02-29T23:59:59Z"});
    assert_eq!(rig.post("/collect/events", &[], body.to_string()).await.status, 202);
    let records = read_topic(&super::bus(), &rig.events_topic).await;
    assert_eq!(records[0].0, "2024-02-29");
    assert_eq!(records[0].1["is_late"], json!(true));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_lines_arrive_by_service() {
    let rig = Rig::new(|_| {}).await;
    let body = "{\"message\":\"one\",\"level\":\"error\",\"service\":\"pay\"}\n{\"x\":1}\n{\"log\":\"two\",\"date\":1763800000.5}\n";
    let answer = rig.post("/collect/logs?service=shipper", &[], body).await;
    let reasons: Vec<_> =
        answer.json()["rejected"].as_array().unwrap().iter().map(|r| r["reason"].clone()).collect();
    assert_eq!((answer.status, reasons), (202, vec![json!("missing_message")]));
    let mut records = read_topic(&super::bus(), &rig.logs_topic).await;
    records.sort_by(|a, b| a.0.cmp(&b.0));
    let seen: Vec<_> = records
        .iter()
        .map(|(key, log)| (key.as_str(), log["message"].as_str().unwrap(), log["kind"].as_str().unwrap()))
        .collect();
    assert_eq!(seen, [("pay", "one", "error"), ("shipper", "two", "app")]);
    assert_eq!(records[1].1["occurred_at"], json!("2025-11-22T08:26:40.500000Z"));
    assert_eq!(rig.logs().await.len(), 2);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_carry_the_registered_schema() {
    for format in [EventFormat::Avro, EventFormat::Protobuf] {
        let (rig, registry) = Rig::with_registry(format).await;
        let id = uuid::Uuid::now_v7();
        let body = json!({"event_id": id, "event_type": "conversion", "user_id": "u", "value": "1.50"});
        let answer = rig.post("/collect/events", &[], body.to_string()).await;
        assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
        let answer = rig.post("/collect/logs?service=pay", &[], r#"{"message":"m"}"#).await;
        assert_eq!(answer.status, 202);
        let mut subjects = rig.registry.as_ref().unwrap().subjects().await.unwrap();
        subjects.retain(|subject| subject.contains(&rig.events_topic) || subject.contains(&rig.logs_topic));
        assert_eq!(subjects.len(), 2, "{subjects:?}");
        let records = raw_topic(&super::bus(), &rig.events_topic).await;
        let decoded = EventDecoder::new(rig.registry.clone()).click(&records[0]).await.unwrap();
        assert_eq!((decoded.event_id, decoded.user_id.as_deref()), (id, Some("u")));
        assert_eq!(decoded.properties, r#"{"value":"1.50"}"#);
        rig.stop().await;
        registry.cancel();
    }
}
