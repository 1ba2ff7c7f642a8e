//! Alerts on their topic.

use crate::{bus, bus_at, read_topic};
use affluent_bus::Alerts;
use affluent_model::names::TOPIC_ALERTS;
use affluent_model::{Alert, AlertState, Severity};

fn alert(rule: &str, state: AlertState) -> Alert {
    let labels = [("model".to_owned(), "fraud".to_owned())].into();
    Alert { rule: rule.to_owned(), severity: Severity::Critical, state, labels, value: 0.3, since: 7 }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_under_its_rule_and_the_newest_says_how_it_stands() {
    let bus = bus();
    let rule = affluent_testkit::unique("drift");
    let mut alerts = Alerts::new(bus.clone());
    alerts.send(&[]).await.unwrap();
    for state in [AlertState::Firing, AlertState::Resolved] {
        alerts.send(&[alert(&rule, state)]).await.unwrap();
    }
    let records = read_topic(&bus, TOPIC_ALERTS).await;
    let mine = records.iter().filter(|record| record.key.as_deref() == Some(rule.as_bytes()));
    let found: Vec<Alert> =
        mine.map(|r| serde_json::from_slice(r.value.as_ref().unwrap()).unwrap()).collect();
    assert_eq!(found, [alert(&rule, AlertState::Firing), alert(&rule, AlertState::Resolved)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_told_in_time() {
    // A port that was free just now.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut alerts = Alerts::new(bus_at(&format!("127.0.0.1:{port}")));
    let error = alerts.send(&[alert("r", AlertState::Firing)]).await.unwrap_err();
    assert!(error.is_passing(), "{error}");
}
