//! Invariant: a payment has one record, one score and, where it is not approved, one alert, whatever is killed, repeated or moved; what is sent and
//! written back is what the record says.

use crate::rig::{LIMIT, PATIENCE, Payment, Rig, TOPIC, until};
use affluent_bus::{BatchLimits, ConsumerOptions, Polled};
use affluent_model::{Op, Snapshot, Value};
use affluent_scoring::record::{Record, TOPIC_ALERTS, TOPIC_SCORES};
use affluent_scoring::{Decision, Degraded};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Payments of which every ninth is reviewed.
fn payments(count: i64) -> Vec<Payment> {
    (0..count)
        .map(|nth| Payment::new(nth % 7, if nth % 9 == 0 { LIMIT + nth + 1 } else { 100 + nth }))
        .collect()
}

/// Values by payment: no payment twice.
async fn once(rig: &Rig, topic: &str) -> BTreeMap<String, Vec<u8>> {
    let mut values = BTreeMap::new();
    for record in rig.topic(topic).await {
        let id = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
        let before = values.insert(id.clone(), record.value.unwrap().to_vec());
        assert_eq!(before, None, "{id} is in {topic} twice");
    }
    values
}

/// Exactly these payments are recorded, sent and written back, and say the same everywhere.
async fn are_scored(rig: &Rig, payments: &[Payment]) {
    until("all are recorded", async || rig.records().await.len() >= payments.len()).await;
    until("all are sent", async || rig.topic(TOPIC_SCORES).await.len() >= payments.len()).await;
    until("all are written back", async || rig.written_back().await.len() >= payments.len()).await;
    let records: BTreeMap<String, Record> = rig
        .records()
        .await
        .iter()
        .map(|document| (document.id.clone(), Record::of(document).unwrap()))
        .collect();
    let ids = |payments: &[Payment]| payments.iter().map(|p| p.id.clone()).collect::<BTreeSet<String>>();
    assert_eq!(records.keys().cloned().collect::<BTreeSet<_>>(), ids(payments));
    for payment in payments {
        let decision = if payment.amount > LIMIT { Decision::Review } else { Decision::Approve };
        assert_eq!(records[&payment.id].decision, decision, "{payment:?}");
    }
    let scores = once(rig, TOPIC_SCORES).await;
    let sent: BTreeMap<String, Vec<u8>> =
        scores.into_iter().map(|(id, value)| (id, value[5..].to_vec())).collect();
    let expected = records.iter().map(|(id, record)| (id.clone(), record.score()));
    assert_eq!(sent, expected.collect::<BTreeMap<_, _>>());
    let alerts = once(rig, TOPIC_ALERTS).await;
    let expected = records.iter().filter(|(_, record)| record.is_alert());
    assert_eq!(
        alerts.into_iter().map(|(id, value)| (id, value[5..].to_vec())).collect::<BTreeMap<_, _>>(),
        expected.map(|(id, record)| (id.clone(), record.alert())).collect::<BTreeMap<_, _>>()
    );
    let decision = |decision: Decision| match decision {
        Decision::Approve => "allow",
        Decision::Review => "review",
        Decision::Decline => "block",
    };
    let expected = records.iter().map(|(id, record)| (id.clone(), decision(record.decision).to_owned()));
    assert_eq!(rig.written_back().await, expected.collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_and_other_processes_score_each_payment_once() {
    let mut rig = Rig::new().await;
    let mut all = Vec::new();
    let mut first = rig.start("first").await;
    let mut second = None;
    for round in 0..6usize {
        let some = payments(120);
        rig.insert(&some).await;
        for payment in &some {
            rig.send(payment).await;
        }
        all.extend(some);
        let recorded = 120 * round + 20;
        until("some are recorded", async || rig.records().await.len() >= recorded).await;
        match round {
            // The leader is killed and comes back.
            0 | 3 => {
                first.kill().await;
                first = rig.start("first").await;
            }
            // Another joins, the leader is killed, the other goes on.
            1 => {
                second = Some(rig.start("second").await);
                rig.caught_up("second").await;
                first.kill().await;
                first = rig.start("first").await;
            }
            // The other leaves.
            4 => second.take().unwrap().stop().await,
            _ => {}
        }
    }
    are_scored(&rig, &all).await;
    first.stop().await;
    // Nothing is scored again by a process that knows of nothing.
    let newcomer = rig.start("newcomer").await;
    rig.caught_up("newcomer").await;
    are_scored(&rig, &all).await;
    newcomer.stop().await;
}

/// Each has all partitions: payments of both are recorded, and judged by the whole state, while both run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_at_once_leave_no_payment_out() {
    let mut rig = Rig::new().await;
    let (first, second) = (rig.start("first").await, rig.start("second").await);
    rig.caught_up("first").await;
    rig.caught_up("second").await;
    let some = payments(90);
    rig.insert(&some).await;
    for payment in &some {
        rig.send(payment).await;
    }
    are_scored(&rig, &some).await;
    let records: Vec<Record> = rig.records().await.iter().filter_map(Record::of).collect();
    // The state is whole; there is no model.
    assert!(records.iter().all(|record| record.degraded == Some(Degraded::NoModel)), "{records:?}");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_new_payment_is_not_scored() {
    let mut rig = Rig::new().await;
    let process = rig.start("only").await;
    let some = payments(30);
    rig.insert(&some).await;
    for payment in &some {
        rig.send(payment).await;
    }
    let read = Payment { op: Op::Read, snapshot: Snapshot::True, ..Payment::new(1, 5) };
    let history = Payment { ago: 2 * 86_400, ..Payment::new(1, 6) };
    let updated = Payment { op: Op::Update, ..some[3].clone() };
    for payment in [&read, &history, &updated] {
        rig.send(payment).await;
    }
    are_scored(&rig, &some).await;
    // Sent again, as dead letters are.
    for payment in &some[..10] {
        rig.send(payment).await;
    }
    let last = Payment::new(2, LIMIT + 7);
    rig.insert(std::slice::from_ref(&last)).await;
    rig.send(&last).await;
    let all: Vec<Payment> = some.into_iter().chain([last]).collect();
    are_scored(&rig, &all).await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_payments_database_is_waited_for_and_one_bad_row_keeps_back_none() {
    let mut rig = Rig::new().await;
    let process = rig.start("only").await;
    let some = payments(60);
    let odd = Payment { id: "no-uuid".to_owned(), ..Payment::new(3, 8) };
    for payment in some.iter().chain([&odd]) {
        rig.send(payment).await;
    }
    until("all are recorded", async || rig.records().await.len() == some.len() + 1).await;
    // Its table is made only now; killed meanwhile, the process reads from the records what it had not written.
    process.kill().await;
    rig.insert(&some).await;
    let process = rig.start("only").await;
    until("all are written back", async || rig.written_back().await.len() == some.len()).await;
    process.stop().await;
}

/// A change is captured when its commit is in the log, which is before everybody sees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_score_that_is_faster_than_its_payment_is_written_back() {
    let mut rig = Rig::new().await;
    let some = payments(60);
    let (visible, late) = some.split_at(59);
    rig.insert(visible).await;
    let process = rig.start("only").await;
    for payment in &some {
        rig.send(payment).await;
    }
    until("all are recorded", async || rig.records().await.len() == some.len()).await;
    until("all others are written back", async || rig.written_back().await.len() == visible.len()).await;
    rig.insert(late).await;
    are_scored(&rig, &some).await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_a_trigger_refuses_or_somebody_holds_are_written_back_later() {
    let mut rig = Rig::new().await;
    let some = payments(60);
    rig.insert(&some).await;
    let (client, mut holding) =
        (rig.database.connect().await.unwrap(), rig.database.connect().await.unwrap());
    let sql = format!(
        "create function refuse() returns trigger language plpgsql as $$ begin \
         if new.id = '{}' then raise exception 'not now'; end if; return new; end $$; \
         create trigger refuse before update on transactions for each row execute function refuse()",
        some[7].id
    );
    client.batch_execute(&sql).await.unwrap();
    let held = holding.transaction().await.unwrap();
    held.execute("select from transactions where id = $1::text::uuid for update", &[&some[31].id])
        .await
        .unwrap();
    let process = rig.start("only").await;
    for payment in &some {
        rig.send(payment).await;
    }
    until("all others are written back", async || rig.written_back().await.len() == some.len() - 2).await;
    held.rollback().await.unwrap();
    client.batch_execute("drop trigger refuse on transactions").await.unwrap();
    are_scored(&rig, &some).await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_with_a_part_of_the_payments_says_so() {
    let mut rig = Rig::new().await;
    let process = rig.start("shared").await;
    rig.caught_up("shared").await;
    let mut stranger = rig.bus.consumer(Some("shared"), ConsumerOptions::default()).unwrap();
    stranger.subscribe(&[TOPIC.to_owned()]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "the stranger gets a partition");
        let linger = Duration::from_millis(100);
        let limits = BatchLimits { max_records: 10, max_bytes: 1 << 20, linger };
        let polled = stranger.poll_batch(limits).await.unwrap();
        if matches!(polled, Polled::Assigned(taken) if !taken.is_empty()) {
            break;
        }
    }
    let some = payments(60);
    rig.insert(&some).await;
    for payment in &some {
        rig.send(payment).await;
    }
    let degraded = async || {
        let records = rig.records().await;
        let is_by_rules = |r: Record| r.degraded == Some(Degraded::NoFeatures);
        !records.is_empty() && records.iter().all(|document| Record::of(document).is_some_and(is_by_rules))
    };
    until("some are scored by rules alone", degraded).await;
    // It heals: the payments of the others' partitions are read from where they were left.
    stranger.close().await;
    are_scored(&rig, &some).await;
    process.stop().await;
}

/// The topic is made anew, between two processes or while one reads it.
async fn made_anew(is_running: bool) {
    let mut rig = Rig::new().await;
    let mut process = rig.start("only").await;
    let some = payments(90);
    rig.insert(&some).await;
    for payment in &some {
        rig.send(payment).await;
    }
    are_scored(&rig, &some).await;
    // Its offsets are those of payments that were scored long ago; while it is read, some are there before that is noticed.
    if is_running {
        rig.make_anew().await;
    } else {
        process.stop().await;
        rig.make_anew().await;
        process = rig.start("only").await;
        until("nothing of it is covered", async || {
            let progress = rig.store.get("score_progress", &["outputs".to_owned()]).await.unwrap();
            let covered = progress.first().and_then(|progress| progress.field("covered")).cloned();
            // Where nothing was kept, everything is read.
            let Some(Value::Json(text)) = covered else { return true };
            let covered: Vec<(String, i32, i64)> = serde_json::from_str(&text).unwrap();
            covered.iter().all(|(_, _, next)| *next == 0)
        })
        .await;
    }
    // Fewer, so that each partition ends before what was scored of it.
    let more = payments(30);
    rig.insert(&more).await;
    for payment in &more {
        rig.send(payment).await;
    }
    let all: Vec<Payment> = some.into_iter().chain(more).collect();
    are_scored(&rig, &all).await;
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_without_features_is_scored_by_rules_all_the_same() {
    let mut rig = Rig::new().await;
    let process = rig.start("only").await;
    // No event of features: its amount has no minor units. It is in the dead letters, too.
    let odd = Payment { currency: "nothing", ..Payment::new(1, 500) };
    let some: Vec<Payment> = payments(9).into_iter().chain([odd.clone()]).collect();
    rig.insert(&some).await;
    for payment in &some {
        rig.send(payment).await;
    }
    are_scored(&rig, &some).await;
    let records = rig.records().await;
    let record = records.iter().find(|document| document.id == odd.id).and_then(Record::of).unwrap();
    assert_eq!(record.degraded, Some(Degraded::NoFeatures));
    assert!(!record.skipped.is_empty(), "the rule needs the amount in minor units");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payments_of_a_topic_that_was_made_anew_are_scored() {
    made_anew(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payments_of_a_topic_that_is_made_anew_while_it_is_read_are_scored() {
    made_anew(true).await;
}
