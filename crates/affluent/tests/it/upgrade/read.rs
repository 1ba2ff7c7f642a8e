//! Everything that an installation keeps, as its users read it: one JSON object, the same however often it is asked.

use crate::installation::Installation;
use affluent_bus::{Bus, TopicPartition};
use affluent_model::names::{COLLECTION_CLICKS, COLLECTION_ERROR_GROUPS, COLLECTION_LOGS, COLLECTION_SCORES};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest as _, Sha256};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

const COLLECTIONS: &[&str] = &[
    "mirrors.customers",
    "mirrors.merchants",
    "mirrors.transactions",
    "mirrors.refunds",
    "mirrors.disputes",
    COLLECTION_CLICKS,
    COLLECTION_LOGS,
    COLLECTION_ERROR_GROUPS,
    COLLECTION_SCORES,
    "features",
];

/// Topics that are not compacted.
pub(super) const TOPICS: &[&str] = &[
    "oltp.public.customers",
    "oltp.public.merchants",
    "oltp.public.transactions",
    "oltp.public.refunds",
    "oltp.public.disputes",
    "clickstream.events",
    "logs.events",
    "fraud.scores",
];

const QUERIES: &[&str] = &[
    "select * from raw.transactions order by _lsn, _ordinal, id",
    "select * from raw.customers order by _lsn, _ordinal, id",
    "select event_id, event_type, user_id, occurred_at from raw.clickstream_events order by event_id",
    "select event_id, event_type, user_id, occurred_at from staged.clickstream_events order by event_id",
    "select event_id, service, message, severity from staged.logs order by event_id",
];

/// What is there now.
pub(super) async fn everything(installation: &Installation) -> Json {
    let (mut documents, mut lake) = (Map::new(), Map::new());
    for collection in COLLECTIONS {
        documents.insert((*collection).to_owned(), of_collection(installation, collection).await);
    }
    for query in QUERIES {
        let said = installation.begin(&["sql", "--format", "csv", query], None).end(LIMIT).await;
        // None where there is no such table yet.
        let rows: Vec<&str> = said.out.lines().collect();
        lake.insert((*query).to_owned(), json!(rows));
    }
    json!({"documents": documents, "lake": lake, "topics": of_topics(installation).await})
}

/// Documents by id; none where nobody has written any. The versions of features count writes, not values.
async fn of_collection(installation: &Installation, collection: &str) -> Json {
    let Some((200, page)) = installation.get(&format!("/v1/documents/{collection}?limit=5000")).await else {
        return json!([]);
    };
    let page: Json = serde_json::from_str(&page).unwrap();
    assert!(page["next"].is_null(), "{collection} has more than a page");
    let mut documents = page["documents"].as_array().unwrap().clone();
    if collection == "features" {
        documents.iter_mut().for_each(|document| drop(document.as_object_mut().unwrap().remove("_v")));
    }
    Json::Array(documents)
}

/// Of each record its offset and a digest of key and value, by partition.
async fn of_topics(installation: &Installation) -> Json {
    let admin = Bus::new(installation.bus()).unwrap().admin().unwrap();
    let digest = |bytes: Option<&[u8]>| bytes.map(|bytes| format!("{:x}", Sha256::digest(bytes)));
    let mut topics = Map::new();
    for topic in TOPICS {
        for number in 0..admin.partitions(topic).await.unwrap().unwrap_or(0) {
            let partition = TopicPartition::new(*topic, number);
            let (from, to) = admin.watermarks(&partition).await.unwrap();
            let records = admin.read_range(&partition, from, to).await.unwrap();
            let records = records.iter().map(|record| {
                json!([record.offset, digest(record.key.as_deref()), digest(record.value.as_deref())])
            });
            topics.insert(format!("{topic}/{number}"), records.collect());
        }
    }
    Json::Object(topics)
}
