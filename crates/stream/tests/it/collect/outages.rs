//! The bus goes away under load: clients are told to wait, and nothing acknowledged is lost.

use super::{Rig, read_topic, until};
use affluent_bus::{Bus, BusOptions};
use affluent_testkit::Broker;
use parking_lot::Mutex;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_broker_restarts() {
    let broker = Arc::new(Broker::start().unwrap());
    let options =
        BusOptions { bootstrap_servers: broker.bootstrap_servers().to_owned(), ..BusOptions::default() };
    let bus = Bus::new(options).unwrap();
    let rig = Rig::start(bus.clone(), |options| options.ack_timeout_ms = 1_000).await;
    rig.is_ready().await;

    let (acked, refused) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(AtomicUsize::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (acked, refused, stop) = (Arc::clone(&acked), Arc::clone(&refused), Arc::clone(&stop));
            let (http, url) = (rig.http.clone(), format!("{}/collect/events", rig.url));
            tokio::spawn(async move {
                while !stop.load(Ordering::Acquire) {
                    let ids: Vec<String> = (0..10).map(|_| uuid::Uuid::now_v7().to_string()).collect();
                    let body: Vec<_> = ids
                        .iter()
                        .map(|id| json!({"event_id": id, "event_type": "x", "user_id": id}))
                        .collect();
                    // As clients do: the same events again, until they are acknowledged.
                    while !stop.load(Ordering::Acquire) {
                        let sent = http.post(&url).json(&body).send().await.unwrap();
                        match sent.status().as_u16() {
                            202 => {
                                acked.lock().extend(ids.iter().cloned());
                                break;
                            }
                            429 | 503 => {
                                assert!(sent.headers().contains_key("retry-after"));
                                refused.fetch_add(1, Ordering::AcqRel);
                                tokio::time::sleep(Duration::from_millis(20)).await;
                            }
                            other => panic!("{other}"),
                        }
                    }
                }
            })
        })
        .collect();

    until("some are acknowledged", async || acked.lock().len() > 200).await;
    let stopping = Arc::clone(&broker);
    tokio::task::spawn_blocking(move || stopping.stop().unwrap()).await.unwrap();
    let before = refused.load(Ordering::Acquire);
    until("clients are told to wait", async || refused.load(Ordering::Acquire) > before + 40).await;
    // Once the bus is known to be away, refusing takes no time.
    let asked = Instant::now();
    let answer = rig.post("/collect/events", &[], r#"{"event_type":"x"}"#).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (503, json!("bus_away")));
    assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());

    let during = acked.lock().len();
    let starting = Arc::clone(&broker);
    tokio::task::spawn_blocking(move || starting.start_again().unwrap()).await.unwrap();
    until("acknowledged again", async || acked.lock().len() > during + 200).await;
    stop.store(true, Ordering::Release);
    for sender in senders {
        sender.await.unwrap();
    }
    rig.is_ready().await;
    let topic = rig.events_topic.clone();
    rig.stop().await;
    let stored: BTreeSet<String> = read_topic(&bus, &topic)
        .await
        .into_iter()
        .map(|(_, event)| event["event_id"].as_str().unwrap().to_owned())
        .collect();
    let lost: Vec<_> = acked.lock().difference(&stored).cloned().collect();
    assert!(lost.is_empty(), "{} of {} lost", lost.len(), acked.lock().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_waits_for_a_bus_that_is_not_there_yet() {
    let broker = Arc::new(Broker::start().unwrap());
    let options =
        BusOptions { bootstrap_servers: broker.bootstrap_servers().to_owned(), ..BusOptions::default() };
    let stopping = Arc::clone(&broker);
    tokio::task::spawn_blocking(move || stopping.stop().unwrap()).await.unwrap();
    let rig = Rig::start(Bus::new(options).unwrap(), |_| {}).await;
    let answer = rig.post("/collect/events", &[], r#"{"event_type":"x"}"#).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (503, json!("not_running")));
    let starting = Arc::clone(&broker);
    tokio::task::spawn_blocking(move || starting.start_again().unwrap()).await.unwrap();
    rig.is_ready().await;
    assert_eq!(rig.post("/collect/events", &[], r#"{"event_type":"x"}"#).await.status, 202);
    rig.stop().await;
}
