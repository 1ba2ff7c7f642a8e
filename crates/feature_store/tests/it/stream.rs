//! Invariant: after the same records, whatever was killed, repeated or moved meanwhile, the values in the store are the same; and what
//! was logged can be computed again from the records below its offsets.

use crate::rig::{PATIENCE, Payment, Rig, SECOND, bus, documents, open, until};
use affluent_bus::codec::{ChangeDecoder, Decoded};
use affluent_bus::{BatchLimits, ConsumerOptions, Polled, TopicPartition, TopicSpec};
use affluent_documents::DocumentStore;
use affluent_feature_store::event::topic::Changes;
use affluent_feature_store::event::{Fit, Mapped, Mapping};
use affluent_feature_store::online::{self, log};
use affluent_features::{Engine, Key, Options};
use affluent_model::{Reason, Value};
use affluent_stream::dead_letters::{DeadLetters, Filter};
use affluent_testkit::{Broker, unique};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Payments that come out of order within the lateness.
fn payments(from: i64, count: i64) -> Vec<Payment> {
    let payment = |id: i64| {
        let (second, delay) = (id * 40 - id * id % 17 * 90, id % 5 * 60);
        Payment { id, customer: id * id % 7, terminal: id % 5, second, delay }
    };
    (from..from + count).map(payment).collect()
}

/// The values by id of their document.
pub(crate) async fn values(store: &dyn DocumentStore) -> BTreeMap<String, Vec<(String, Value)>> {
    let found = documents(store, online::COLLECTION).await;
    found.into_iter().map(|document| (document.id, document.fields)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_repeats_and_other_members_change_no_value() {
    let mut rig = Rig::new(3).await;
    let (killed, clean) = (unique("killed"), unique("clean"));
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let store = open(directories[0].path()).await;
    let mut running = rig.start(&killed, &store, directories[0].path());
    for round in 0..5 {
        for payment in payments(1 + round * 120, 120) {
            rig.send(&payment).await;
        }
        // Some come again, long after.
        for payment in payments(1 + round * 60, 30) {
            rig.send(&payment).await;
        }
        until("some values", async || store.count(online::COLLECTION).await.is_ok_and(|n| n > 3)).await;
        running.kill().await;
        running = rig.start(&killed, &store, directories[0].path());
    }
    // A stranger takes a part of the partitions and leaves again.
    let mut stranger = bus().consumer(Some(&killed), ConsumerOptions::default()).unwrap();
    stranger.subscribe(std::slice::from_ref(&rig.topic)).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "the stranger gets a partition");
        let linger = Duration::from_millis(100);
        let limits = BatchLimits { max_records: 10, max_bytes: 1 << 20, linger };
        if matches!(stranger.poll_batch(limits).await.unwrap(), Polled::Assigned(taken) if !taken.is_empty())
        {
            break;
        }
    }
    for payment in payments(700, 60) {
        rig.send(&payment).await;
    }
    stranger.close().await;
    rig.caught_up(&killed).await;

    let fresh = open(directories[1].path()).await;
    let unbroken = rig.start(&clean, &fresh, directories[1].path());
    rig.caught_up(&clean).await;
    let expected = values(fresh.as_ref()).await;
    assert_eq!(expected.len(), 7 + 5 - 3, "squares have four rests by seven, and there are five terminals");
    until("the same values", async || values(store.as_ref()).await == expected).await;
    let served = online::read(store.as_ref(), "customer", "1").await.unwrap();
    let of = |name: &str| served.iter().find(|served| served.name == name).unwrap();
    assert!(of("customer_payments_7d").value.unwrap() > 100.0);
    assert_eq!((of("customer_payments_7d").version, of("customer_amount_mean").version), (2, 1));
    assert!(online::read(store.as_ref(), "customer", "none").await.unwrap().is_empty());
    running.stop().await;
    unbroken.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_do_not_wait_for_a_topic_that_is_not_read_any_more() {
    let (group, directory) = (unique("group"), tempfile::tempdir().unwrap());
    let store = open(directory.path()).await;
    for count in [20, 10] {
        // Other definitions have another topic: their state begins anew, beside the progress of the values.
        let (mut rig, state) = (Rig::new(1).await, tempfile::tempdir().unwrap());
        for payment in payments(1, count) {
            rig.send(&payment).await;
        }
        let running = rig.start(&group, &store, state.path());
        let waits_for = format!("{count} payments of {} in the values that group {group} writes", rig.topic);
        until(&waits_for, async || {
            // Nobody has made the collection before the first values.
            let served = online::read(store.as_ref(), "terminal", "T-1").await.unwrap_or_default();
            let week = served.iter().find(|served| served.name == "terminal_payments_7d");
            week.and_then(|week| week.value) == Some((count / 5) as f64)
        })
        .await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_that_reach_records_that_nobody_has_are_not_exact() {
    // Others let records go at times of their own.
    if !Broker::shared().is_embedded() {
        return;
    }
    let spec = TopicSpec::new(1).set("segment.bytes", "4096").set("retention.bytes", "4096");
    let mut rig = Rig::of(&spec).await;
    let payment = |id: i64, second: i64| Payment { id, customer: 1, terminal: 1, second, delay: 0 };
    for id in 1..=400 {
        rig.send(&payment(id, id * 60)).await;
        if id % 20 == 0 {
            rig.flush().await;
        }
    }
    let (admin, partition) = (bus().admin().unwrap(), TopicPartition::new(rig.topic.as_str(), 0));
    until("the first records are gone", async || admin.watermarks(&partition).await.unwrap().0 > 0).await;
    let (group, directory) = (unique("group"), tempfile::tempdir().unwrap());
    let store = open(directory.path()).await;
    let are_exact = async |expected: bool| {
        let found = values(store.as_ref()).await;
        let is_exact = ("is_exact".to_owned(), Value::Bool(expected));
        found.len() == 2 && found.values().all(|fields| fields.contains(&is_exact))
    };
    let running = rig.start(&group, &store, directory.path());
    rig.caught_up(&group).await;
    until("the values of what is left", async || are_exact(false).await).await;
    running.stop().await;
    // Also after a restart, until no window reaches back to what is missing.
    let running = rig.start(&group, &store, directory.path());
    rig.send(&payment(401, 401 * 60)).await;
    rig.caught_up(&group).await;
    assert!(are_exact(false).await);
    rig.send(&payment(402, 30 * 86_400)).await;
    until("no window reaches back to them", async || are_exact(true).await).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_do_not_go_back_while_a_lost_state_is_read_again() {
    let mut rig = Rig::new(2).await;
    let group = unique("group");
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    for payment in payments(1, 400) {
        rig.send(&payment).await;
    }
    let running = rig.start(&group, &store, directory.path());
    rig.caught_up(&group).await;
    running.kill().await;
    let before = values(store.as_ref()).await;
    std::fs::remove_dir_all(directory.path().join("state")).unwrap();
    let running = rig.start(&group, &store, directory.path());
    // The group's offsets go back to the beginning, and forth again.
    let admin = bus().admin().unwrap();
    until("the topic is read again", async || {
        assert_eq!(values(store.as_ref()).await, before);
        let lag = admin.group_lag(&group, &[&rig.topic]).await.unwrap();
        lag.values().any(|&lag| lag > 0) || directory.path().join("state/state").exists()
    })
    .await;
    for payment in payments(401, 5) {
        rig.send(&payment).await;
    }
    until("the new ones count", async || {
        let now = values(store.as_ref()).await;
        assert!(now.iter().all(|(id, fields)| as_of(fields) >= as_of(&before[id])), "no value goes back");
        rig.caught_up(&group).await;
        now != before
    })
    .await;
    running.stop().await;
}

fn as_of(fields: &[(String, Value)]) -> i64 {
    match fields.iter().find(|(name, _)| name == "as_of") {
        Some((_, Value::TimestampTz(micros))) => *micros,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_logged_can_be_computed_again() {
    let mut rig = Rig::new(3).await;
    let group = unique("group");
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let running = rig.start(&group, &store, directory.path());
    for payment in payments(1, 500) {
        rig.send(&payment).await;
    }
    rig.caught_up(&group).await;
    running.stop().await;

    let events = events(&rig).await;
    let streamed = &rig.streamed;
    let logged = documents(store.as_ref(), log::COLLECTION).await;
    assert!(logged.len() > 50, "{} vectors", logged.len());
    for document in &logged {
        let logged = log::Logged::of(document).unwrap();
        let mut engine =
            Engine::new(Arc::clone(&streamed.plan), Options { any_order: true, ..Options::default() });
        let source = streamed.plan.source(&logged.source).unwrap();
        for (partition, offset, mapped) in &events {
            if logged.applied.get(partition).is_some_and(|next| offset < next) {
                engine.apply(&mapped.event(source)).unwrap();
            }
        }
        let entity = streamed.plan.entity(&logged.entity).unwrap();
        let mut values = vec![0.0; logged.values.len()];
        assert!(engine.vector(entity, Some(Key::text(&logged.key)), logged.at, Some(source), &mut values));
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&values), bits(&logged.values), "{}", document.id);
        assert_eq!(streamed.plan.entity_shape(entity).features, logged.features);
    }
    let keys: BTreeSet<String> = logged.iter().filter_map(log::Logged::of).map(|logged| logged.key).collect();
    assert!(keys.contains("T-0") && keys.contains("1"), "{keys:?}");
}

/// Every event of the topic, with where it stands.
async fn events(rig: &Rig) -> Vec<(TopicPartition, i64, Mapped)> {
    let streamed = &rig.streamed;
    let mapping =
        Mapping::new(&streamed.definitions, &streamed.plan, "payments", &streamed.references).unwrap();
    let (admin, mut decoder, mut changes) =
        (bus().admin().unwrap(), ChangeDecoder::new(None), Changes::default());
    let mut events = Vec::new();
    for number in 0..admin.partitions(&rig.topic).await.unwrap().unwrap() {
        let partition = TopicPartition::new(rig.topic.as_str(), number);
        let (from, to) = admin.watermarks(&partition).await.unwrap();
        for record in admin.read_range(&partition, from, to).await.unwrap() {
            let Decoded::Change(change) = decoder.decode(&record).await.unwrap() else { panic!("a change") };
            let (mut cells, mut mapped) = (Vec::new(), Mapped::default());
            changes.row(&mapping, &change, &mut cells);
            assert_eq!(mapping.event(&cells, &mut mapped), Ok(Fit::Event));
            events.push((partition.clone(), record.offset, mapped));
        }
    }
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_ones_do_not_count_and_unfit_ones_are_kept() {
    let mut rig = Rig::new(1).await;
    let group = unique("group");
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let payment = |id, second, delay| Payment { id, customer: 1, terminal: 1, second, delay };
    rig.send(&payment(1, 0, 0)).await;
    rig.send(&payment(2, 10, 3_601)).await;
    rig.send_bytes(b"{\"not\": \"a change\", ").await;
    // Committed two days before it happened.
    rig.send(&payment(3, 20, -2 * 86_400)).await;
    rig.send(&payment(4, 30, 3_600)).await;
    let running = rig.start(&group, &store, directory.path());
    rig.caught_up(&group).await;
    let served = online::read(store.as_ref(), "customer", "1").await.unwrap();
    let of = |name: &str| served.iter().find(|served| served.name == name).unwrap().value;
    assert_eq!((of("customer_payments_7d"), of("customer_seconds_since_payment")), (Some(2.0), Some(30.0)));
    assert_eq!(served[0].as_of, crate::rig::NOON + 30 * SECOND);
    let filter = Filter { topic: Some(rig.topic.clone()), ..Filter::default() };
    let letters = DeadLetters::new(bus()).unwrap().list(&filter).await.unwrap();
    let found: Vec<_> =
        letters.iter().map(|l| (l.letter.offset, l.letter.reason, l.letter.error.as_str())).collect();
    assert_eq!(found[0].0, 2);
    assert_eq!(found[0].1, Reason::Undecodable);
    let unfit = "payments.created_at: more than a day after its arrival";
    assert_eq!(found[1], (3, Reason::ValueOutOfRange, unfit));
    running.stop().await;
}
