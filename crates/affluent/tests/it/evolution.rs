//! A schema that evolves while clicks come in: Confluent's own Python serializer registers the next
//! version, and both stores have what it added.

use crate::installation::{Installation, turn};
use affluent_model::EventKind;
use affluent_testkit::events::{Events, EventsOptions};
use serde_json::Value as Json;
use std::time::Duration;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(60);

/// Takes the newest version of the click's schema, adds an optional field and sends clicks in it, one a
/// line of its output; then tries a change that is not compatible.
const SCRIPT: &str = r#"
import json, sys, time, uuid
from confluent_kafka import Producer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

bootstrap, registry, topic = sys.argv[1:]
client = SchemaRegistryClient({"url": registry})
subject = f"{topic}-value"
latest = client.get_latest_version(subject)
schema = json.loads(latest.schema.schema_str)
schema["fields"].append({"name": "campaign", "type": ["null", "string"], "default": None})
serializer = AvroSerializer(client, json.dumps(schema))
context = SerializationContext(topic, MessageField.VALUE)
producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
now = int(time.time() * 1e6)
absent = {f["name"]: None for f in schema["fields"] if isinstance(f["type"], list) and "null" in f["type"]}
sent = []
for n in range(200):
    event = dict(absent, event_id=str(uuid.uuid4()), event_type="page_view", occurred_at=now, received_at=now,
                 user_id=f"evolved-{n}", is_bot=False, is_late=False, properties='{"page": %d}' % n,
                 campaign="spring" if n % 2 == 0 else None)
    event = {f["name"]: event[f["name"]] for f in schema["fields"]}
    producer.produce(topic, serializer(event, context), key=event["user_id"])
    sent.append(event["event_id"])
assert producer.flush(30) == 0
# The client remembers what was newest.
grown = SchemaRegistryClient({"url": registry}).get_latest_version(subject)
try:
    client.register_schema(subject, Schema(json.dumps({**schema, "fields": schema["fields"] + [{"name": "n", "type": "int"}]}), "AVRO"))
    refused = None
except SchemaRegistryError as error:
    refused = error.http_status_code
print(json.dumps({"versions": [latest.version, grown.version], "refused": refused, "sent": sent}))
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_of_the_schema_arrives_while_the_old_goes_on() {
    let _turn = turn().await;
    let mut installation = Installation::of_events();
    installation.start(None);
    installation.wait_ready().await;
    let (shutdown, url) = (CancellationToken::new(), installation.http_url());
    let kind = EventKind::Clicks;
    let old = Events::new(EventsOptions { kind, url, token: None, rate: 500, seed: 3, patience: PATIENCE });
    let progress = old.progress();
    let old = tokio::spawn(old.run(shutdown.clone()));
    while progress.accepted() < 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let python = std::env::var("AFFLUENT_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let (bootstrap, registry) = (installation.bootstrap(), installation.registry_url());
    let mut command = Command::new(&python);
    command.args(["-c", SCRIPT, &bootstrap, &registry, "clickstream.events"]).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{python}: {said}\n{}", installation.tail());
    let said: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["versions"], &said["refused"]), (&serde_json::json!([1, 2]), &409.into()));

    let sent: Vec<&str> = said["sent"].as_array().unwrap().iter().filter_map(Json::as_str).collect();
    assert_eq!(sent.len(), 200);
    for (n, id) in sent.iter().enumerate() {
        let page = format!("/v1/documents/clickstream_events/{id}");
        installation.wait_page(&page, PATIENCE, |status, _| status == 200).await;
        let (_, document) = installation.get(&page).await.unwrap();
        let document: Json = serde_json::from_str(&document).unwrap();
        let properties = match &document["properties"] {
            Json::String(text) => serde_json::from_str(text).unwrap(),
            other => other.clone(),
        };
        assert_eq!(document["user_id"], format!("evolved-{n}"), "{document}");
        assert_eq!(properties["page"], n, "what it sent before is kept: {document}");
        let expected = if n % 2 == 0 { Json::from("spring") } else { Json::Null };
        assert_eq!(properties.get("campaign").cloned().unwrap_or_default(), expected, "{document}");
    }
    let before = progress.accepted();
    while progress.accepted() < before + 500 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    shutdown.cancel();
    let outcome = old.await.unwrap().unwrap();
    assert!(outcome.unanswered.is_empty());
    let last = outcome.acknowledged.last().unwrap();
    let page = format!("/v1/documents/clickstream_events/{last}");
    installation.wait_page(&page, PATIENCE, |status, _| status == 200).await;
    let (_, letters) = installation.run(&["dead-letters", "list"], PATIENCE).await;
    assert!(!letters.contains("clickstream.events/"), "{letters}");
    installation.terminate(Duration::from_secs(15)).await;
}
