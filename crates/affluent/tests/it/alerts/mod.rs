//! Something breaks, and whoever should know is told, and told again when it is over: by Prometheus and Alertmanager, and by the platform
//! itself. Needs Debian's `prometheus` and `prometheus-alertmanager`.

mod dashboards;
mod drift;
mod monitors;

use crate::installation::{Installation, turn};
use crate::load::Load;
use affluent_bus::{Bus, Outgoing, ProducerOptions, TopicPartition};
use affluent_model::names::{TOPIC_ALERTS, TOPIC_CLICKS};
use affluent_model::{Alert, AlertState};
use affluent_testkit::{Database, Postgres};
use monitors::{Messages, Monitors, SHORTER, take_messages};
use std::time::{Duration, Instant};

const RATE: u32 = 200;
const LIMIT: Duration = Duration::from_secs(90);

/// An installation that will watch itself, with hours of a minute, and where messages are taken; `sections` are further ones of its config
/// file. Nothing is started.
async fn installed(database: &Database, sections: &str) -> (Installation, u16, Messages) {
    let (hooks, messages) = take_messages().await;
    let scale = 1.0 / SHORTER;
    let alerts = format!(
        "[alerts]\nevery_ms = 250\nscale = {scale}\nwebhook_url = \"http://127.0.0.1:{hooks}/self\"\n{sections}"
    );
    (Installation::with_sections(database, &alerts), hooks, messages)
}

/// Watches an installation that has been started.
async fn monitored(installation: &mut Installation, hooks: u16, messages: Messages) -> Monitors {
    installation.wait_ready().await;
    let monitors = Monitors::start(&installation.http_url(), hooks, messages);
    monitors.until_data("up{job=\"affluent\"} == 1", LIMIT).await;
    monitors
}

/// One that runs and is watched.
async fn watched(database: &Database, sections: &str) -> (Installation, Monitors) {
    let (mut installation, hooks, messages) = installed(database, sections).await;
    installation.start(None);
    let monitors = monitored(&mut installation, hooks, messages).await;
    (installation, monitors)
}

fn bus(installation: &Installation) -> Bus {
    Bus::new(installation.bus()).unwrap()
}

/// Records that nobody can read, past the collector.
async fn feed_garbage(bus: &Bus, count: usize) {
    let producer = bus.producer(ProducerOptions::default()).unwrap();
    for number in 0..count {
        let record = Outgoing {
            topic: TOPIC_CLICKS.into(),
            partition: None,
            key: Some(format!("garbage-{number}").into()),
            value: Some("no click".into()),
            headers: Vec::new(),
            timestamp_ms: None,
        };
        producer.send(record).await.unwrap();
    }
    producer.flush(Duration::from_secs(20)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_is_told_once_and_so_is_its_end() {
    let _turn = turn().await;
    let database = Postgres::shared().fresh_database().await.unwrap();
    let load = Load::start(&database, RATE, 31).await;
    let (mut installation, monitors) = watched(&database, "").await;
    // A click makes the topic.
    assert!(installation.click("018f4d2e-7c1b-7a55-9d0e-0123456789ab").await);

    // Garbage.
    feed_garbage(&bus(&installation), 5).await;
    monitors.until_own("AffluentDeadLetters (warning)", LIMIT).await;
    monitors.until_managed("channel", "AffluentDeadLetters", "firing", LIMIT).await;
    monitors.until_own("AffluentDeadLetters (resolved)", LIMIT).await;
    monitors.until_managed("channel", "AffluentDeadLetters", "resolved", LIMIT).await;
    // The topic is told beside the webhook, not before it.
    let (bus, deadline) = (bus(&installation), Instant::now() + LIMIT);
    loop {
        let told = newest_alert(&bus, "AffluentDeadLetters.").await.map(|alert| alert.state);
        if told == Some(AlertState::Resolved) {
            break;
        }
        assert!(Instant::now() < deadline, "ops.alerts says {told:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The console tells the same.
    let is_told =
        |code, page: &str| code == 200 && page.contains("AffluentDeadLetters.") && page.contains("resolved");
    installation.wait_page("/console/alerts", LIMIT, is_told).await;

    // Nothing runs for so long that its records come late.
    installation.terminate(Duration::from_secs(15)).await;
    monitors.until_managed("duty", "AffluentDown", "firing", LIMIT).await;
    let (target, deadline) = (load.changes() + u64::from(20 * RATE), Instant::now() + LIMIT);
    while load.changes() < target {
        assert!(Instant::now() < deadline, "the load stands still");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    installation.start(None);
    installation.wait_ready().await;
    monitors.until_managed("duty", "AffluentDown", "resolved", LIMIT).await;
    monitors.until_own("AffluentSloBurnFast (critical)", LIMIT).await;
    monitors.until_managed("duty", "AffluentSloBurnFast", "firing", LIMIT).await;
    monitors.until_own("AffluentSloBurnFast (resolved)", LIMIT).await;
    monitors.until_managed("duty", "AffluentSloBurnFast", "resolved", LIMIT).await;
    load.stop().await;

    // Once each, although it was looked at four times a second: five records of garbage in two groups of sinks have one reason.
    let letters: Vec<String> =
        monitors.own_titles().into_iter().filter(|title| title.starts_with("AffluentDeadLetters")).collect();
    let (firing, resolved): (Vec<&String>, Vec<&String>) =
        letters.iter().partition(|title| title.ends_with("(warning)"));
    assert_eq!(firing.len(), resolved.len(), "{:#?}", monitors.own());
    assert!(firing.len() <= 3, "{:#?}", monitors.own());
    installation.verify().await;
}

/// The newest state of an alert whose rule begins like this, from its topic.
async fn newest_alert(bus: &Bus, rule: &str) -> Option<Alert> {
    let (admin, partition) = (bus.admin().unwrap(), TopicPartition::new(TOPIC_ALERTS, 0));
    let (low, high) = admin.watermarks(&partition).await.unwrap();
    let records = admin.read_range(&partition, low, high).await.unwrap();
    let alerts =
        records.iter().filter_map(|record| serde_json::from_slice::<Alert>(record.value.as_ref()?).ok());
    alerts.filter(|alert| alert.rule.starts_with(rule)).last()
}
