//! Every panel of the dashboards shows something of a running platform.

use super::{LIMIT, RATE, bus, feed_garbage, watched};
use crate::installation::turn;
use crate::load::Load;
use affluent_testkit::Postgres;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Panels that have nothing to show while all is well, or without models, TLS and traces. Their queries have to be understood.
const QUIET: &[&str] = &[
    "Skew: served values that the lake recomputes otherwise",
    "Drift since the training, psi",
    "Model in use",
    "Champion and challenger disagree",
    "Older models or rules judge",
    "Stores that differ",
    "What needed a person, last day",
    "Firing, as Prometheus sees it",
    "Seconds until a certificate ends",
    "Spans and own log lines",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_has_data_of_a_running_platform() {
    let _turn = turn().await;
    let database = Postgres::shared().fresh_database().await.unwrap();
    let load = Load::start(&database, RATE, 32).await;
    let sections = "[schedule.raw_to_dwh]\ncron = \"* * * * *\"\n";
    let (installation, monitors) = watched(&database, sections).await;
    assert!(installation.click("018f4d2e-7c1b-7a55-9d0e-0123456789ab").await);
    // Something is refused, something set aside.
    let client = reqwest::Client::new();
    let garbage = client.post(format!("{}/collect/events", installation.http_url()));
    let answer =
        garbage.header("content-type", "application/json").body("[{\"event_type\": 7}]").send().await;
    answer.unwrap();
    feed_garbage(&bus(&installation), 3).await;

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/grafana/dashboards");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let dashboard: Value = serde_json::from_str(&text).unwrap();
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            for target in panel["targets"].as_array().unwrap() {
                let query = target["expr"].as_str().unwrap().replace("$__rate_interval", "1m");
                let query = query.replace("$instance", ".*").replace("$pipeline", ".*");
                if QUIET.contains(&title) {
                    monitors.query(&query).await.unwrap_or_else(|error| panic!("{title}: {query}: {error}"));
                } else {
                    // A batch run comes once a minute, and takes its time beside the load.
                    monitors.until_data(&query, LIMIT + Duration::from_secs(90)).await;
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 40, "only {seen} queries");
    load.stop().await;
}
