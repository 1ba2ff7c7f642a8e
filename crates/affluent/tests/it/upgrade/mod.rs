//! What the previous version has written is read by this one: the stores of `tests/fixtures/state/VERSION` are opened, hold
//! the same values, are read once more from the first record of the broker's log, and go on.
//!
//! A fixture is made by the version that writes it, before it is released (CONTRIBUTING.md):
//! `AFFLUENT_MAKE_FIXTURES=crates/affluent/tests/fixtures/state cargo test -p affluent --test it upgrade:: -- --nocapture`.
//! It holds `state.tar.xz` (broker log, schema registry, document store, lake, snapshots of features, scores, a model,
//! protect.key), `expected.json` (what is in them, see `read`) and `affluent.toml` (every key of the version).

mod read;

use crate::installation::{Installation, turn};
use crate::kill::clicks_are_staged_once;
use crate::platform::affluent;
use crate::score_rest::serve_a_model;
use affluent_bus::{Bus, TopicPartition};
use affluent_model::names::TOPIC_DEAD_LETTERS;
use affluent_testkit::payments::SCHEMA;
use affluent_testkit::{Database, Postgres};
use read::{TOPICS, everything};
use serde_json::{Value as Json, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Tables of the lake hold absolute paths, so that fixtures are opened where they were made.
const ROOT: &str = "/tmp/affluent-fixture-state";
const MAKE: &str = "AFFLUENT_MAKE_FIXTURES";
const BYTES_MAX: u64 = 800_000;
const PATIENCE: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// How long a state stands still before it counts as written.
const STILL: Duration = Duration::from_secs(3);
/// All that keep something, but those that work by the calendar.
const ROLES: [&str; 10] = [
    "broker",
    "registry",
    "api",
    "collect",
    "sink-documents",
    "sink-events",
    "sink-lake",
    "features",
    "score",
    "stage",
];

/// The directory of all fixtures, one at a time on a machine.
struct Root(File);

impl Root {
    fn take() -> Self {
        let lock = File::create(format!("{ROOT}.lock")).unwrap();
        lock.lock().unwrap();
        let _ = std::fs::remove_dir_all(ROOT);
        std::fs::create_dir_all(ROOT).unwrap();
        Root(lock)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// An installation in [`ROOT`] in which nothing is too old to be kept.
fn lasting(database: Option<&Database>) -> Installation {
    let data = Path::new(ROOT).join("data");
    let mut installation = match database {
        Some(database) => Installation::with_data_in(&data, ROOT.into(), database, ""),
        None => Installation::of_events_in(&data, ROOT.into()),
    };
    for (key, value) in [
        ("broker.retention_ms", "-1"),
        ("broker.offsets_retention_ms", "3153600000000"),
        ("events.clicks_days", "36500"),
        ("events.app_days", "36500"),
        ("events.error_days", "36500"),
        ("events.error_groups_days", "36500"),
        ("score.stream.ttl_days", "0"),
        ("features.stream.snapshot_interval_s", "1"),
    ] {
        installation.set(key, Some(value));
    }
    installation
}

const BEFORE: &str = "
    insert into customers (id, email, full_name, phone, country, preferences)
        select i, 'c' || i || '@example.com', 'Customer ' || i, '+33 1 0' || i, 'FR', '{\"lang\": \"fr\"}'
        from generate_series(1, 12) i;
    insert into merchants (id, name, category_code, country, currency, fee_rate, tags)
        select i, 'Shop ' || i, '5411', 'DE', 'EUR', 0.0125, '{a,\"b c\"}' from generate_series(1, 4) i";

/// Amounts with all their decimals, a text that is too long to be sent again, every operation.
const CHANGES: &[&str] = &[
    "insert into transactions (id, customer_id, merchant_id, amount, currency, status, payment_method, card_number, card_token, \
         card_bin, ip) \
     select gen_random_uuid(), 1 + i % 12, 1 + i % 4, 100.01 * i + 0.0001, case when i % 5 = 0 then 'KWD' else 'EUR' end, \
         'authorized', 'card', '4242424242424242', md5('card' || i % 7)::uuid, '424242', '203.0.113.9' from generate_series(1, 40) i",
    "update transactions set status = 'captured' where customer_id % 2 = 0",
    "insert into refunds (id, transaction_id, amount, currency, reason, status) \
     select gen_random_uuid(), id, 1.5, currency, 'late', 'requested' from transactions where customer_id = 3",
    "insert into disputes (id, transaction_id, amount, currency, reason_code, status, evidence) \
     select gen_random_uuid(), id, 2.25, currency, 'fraud', 'opened', \
         (select string_agg(md5(i::text), '') from generate_series(1, 100) i) from transactions where customer_id = 5",
    "update disputes set status = 'evidence'",
    "delete from customers where id = 12",
];

/// Writes the fixture of this version into `directory`.
async fn make(directory: &Path) {
    let _root = Root::take();
    let database = Postgres::shared().fresh_database().await.unwrap();
    let client = database.connect().await.unwrap();
    client.batch_execute(SCHEMA).await.unwrap();
    client.batch_execute(BEFORE).await.unwrap();
    let mut installation = lasting(Some(&database));
    serve_a_model(&installation.data());
    let mut roles = ROLES.to_vec();
    roles.push("cdc");
    installation.start_roles(&roles);
    installation.wait_ready().await;
    for sql in CHANGES {
        client.batch_execute(sql).await.unwrap();
    }
    for _ in 0..12 {
        assert!(installation.click(&Uuid::now_v7().to_string()).await, "{}", installation.tail());
    }
    log_lines(&installation).await;
    installation.verify().await;
    let expected = standing_still(&installation, |seen| {
        let count = |name: &str| seen["documents"][name].as_array().map_or(0, Vec::len);
        let of_lake = |query: &str| {
            let found = seen["lake"].as_object().unwrap().iter().find(|(sql, _)| sql.contains(query));
            found.map_or(0, |(_, rows)| rows.as_array().unwrap().len().saturating_sub(1))
        };
        count("fraud_events") == 40
            && count("clickstream_events") == 12
            && count("logs") == 8
            && count("features") > 0
            && of_lake("staged.clickstream_events") == 12
            && of_lake("staged.logs") == 8
    })
    .await;
    installation.terminate(STOP_LIMIT).await;

    let fixture = directory.join(env!("CARGO_PKG_VERSION"));
    std::fs::create_dir_all(&fixture).unwrap();
    let archive = fixture.join("state.tar.xz");
    tar(&["--create", "--xz", "--sparse", "--owner=0", "--group=0"], &archive, &["data"]);
    std::fs::write(fixture.join("expected.json"), serde_json::to_string_pretty(&expected).unwrap()).unwrap();
    let defaults = include_str!("../../../../../config/affluent.toml");
    std::fs::write(fixture.join("affluent.toml"), defaults).unwrap();
    let bytes = std::fs::metadata(&archive).unwrap().len();
    eprintln!("{}: {bytes} bytes", archive.display());
    assert!(bytes < BYTES_MAX, "{bytes} bytes are too many for a repository");
}

async fn log_lines(installation: &Installation) {
    let lines: Vec<Json> = (0..8)
        .map(|i| {
            json!({"event_id": Uuid::now_v7(), "service": "payments", "severity": if i % 4 == 0 { 17 } else { 9 },
                "message": format!("payment {i} refused"), "attributes": {"exception.type": "Refused"}})
        })
        .collect();
    let url = format!("{}/collect/logs", installation.http_url());
    let answer = reqwest::Client::new().post(url).json(&lines).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 202);
}

/// Everything, once it is as it should be and has not changed for a while.
async fn standing_still(installation: &Installation, is_whole: impl Fn(&Json) -> bool) -> Json {
    let deadline = Instant::now() + PATIENCE;
    let (mut seen, mut since) = (everything(installation).await, Instant::now());
    while !is_whole(&seen) || since.elapsed() < STILL {
        assert!(Instant::now() < deadline, "it does not come to rest: {seen:#}\n{}", installation.tail());
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = everything(installation).await;
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    seen
}

fn tar(how: &[&str], archive: &Path, what: &[&str]) {
    let mut command = Command::new("tar");
    command.args(how).arg("--file").arg(archive).args(["--directory", ROOT]).args(what);
    let said = command.output().expect("tar with xz");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

/// Holds this version against what another one has written.
async fn check(fixture: &Path) {
    eprintln!("{}", fixture.display());
    configuration_is_understood(&fixture.join("affluent.toml"));
    let _root = Root::take();
    tar(&["--extract", "--xz", "--no-same-owner"], &fixture.join("state.tar.xz"), &[]);
    let text = std::fs::read_to_string(fixture.join("expected.json")).unwrap();
    let expected: Json = serde_json::from_str(&text).unwrap();

    // As it was left.
    let mut installation = lasting(None);
    installation.start_roles(&ROLES);
    installation.wait_ready().await;
    assert_same(&expected, &standing_still(&installation, |_| true).await);
    a_model_scores(&installation).await;
    installation.terminate(STOP_LIMIT).await;

    // Every record of the old log, read with the schemas of the old registry: nothing is new in them.
    installation.set("sink_documents.group", Some("read-again"));
    installation.set("sink_events.group", Some("read-again-events"));
    installation.start_roles(&ROLES);
    installation.wait_ready().await;
    let admin = Bus::new(installation.bus()).unwrap().admin().unwrap();
    let deadline = Instant::now() + PATIENCE;
    for (group, topics) in [("read-again", &TOPICS[..5]), ("read-again-events", &TOPICS[5..7])] {
        while admin.group_lag(group, topics).await.map_or(true, |lag| lag.values().any(|&lag| lag > 0)) {
            assert!(Instant::now() < deadline, "{group} does not arrive\n{}", installation.tail());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    assert_same(&expected, &standing_still(&installation, |_| true).await);
    let letters = admin.partitions(TOPIC_DEAD_LETTERS).await.unwrap().unwrap_or(0);
    for number in 0..letters {
        let partition = TopicPartition::new(TOPIC_DEAD_LETTERS, number);
        let (from, to) = admin.watermarks(&partition).await.unwrap();
        assert_eq!(from, to, "records of the old version cannot be read\n{}", installation.tail());
    }

    // And it goes on.
    let id = Uuid::now_v7().to_string();
    assert!(installation.click(&id).await);
    let page = format!("/v1/documents/clickstream_events/{id}");
    installation.wait_page(&page, PATIENCE, |status, _| status == 200).await;
    clicks_are_staged_once(&installation, &[id]).await;
    installation.terminate(STOP_LIMIT).await;
}

/// Compares part by part: a difference shows where it is.
fn assert_same(expected: &Json, found: &Json) {
    for (part, names) in expected.as_object().unwrap() {
        for (name, values) in names.as_object().unwrap() {
            assert_eq!(values, &found[part][name], "{part}: {name}");
        }
    }
}

fn configuration_is_understood(file: &Path) {
    let directory = tempfile::tempdir().unwrap();
    let mut command = affluent(directory.path());
    let said = command.args(["config", "check", "--config"]).arg(file).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

/// The model of the old version is read, over features that the old version has kept.
async fn a_model_scores(installation: &Installation) {
    let payment =
        json!({"transaction_id": Uuid::new_v4(), "amount": "12.34", "currency": "EUR", "customer_id": 1});
    let url = format!("{}/v1/score", installation.http_url());
    let answer = reqwest::Client::new().post(url).json(&payment).send().await.unwrap();
    let answer: Json = answer.json().await.unwrap();
    assert_eq!(answer["model"], json!({"name": "fraud", "version": 1}), "{answer}");
    assert!(answer["score"].is_number(), "{answer}");
}

/// Capture reads what the old version remembered of its source: it tells another server from that.
async fn capture_remembers(fixture: &Path) {
    let _root = Root::take();
    tar(&["--extract", "--xz", "--no-same-owner"], &fixture.join("state.tar.xz"), &[]);
    let database = Postgres::shared().fresh_database().await.unwrap();
    let mut installation = lasting(Some(&database));
    installation.start_roles(&["broker", "registry", "cdc"]);
    let ended = installation.wait_end(PATIENCE).await;
    assert!(ended.is_some_and(|status| !status.success()), "{}", installation.tail());
    let deadline = Instant::now() + PATIENCE;
    while !installation.log().contains("the server is another one") {
        assert!(Instant::now() < deadline, "{}", installation.tail());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_previous_version_wrote_is_read_and_goes_on() {
    let _turn = turn().await;
    if affluent_testkit::java::Java::named_by("AFFLUENT_TEST_KAFKA_JARS").is_some() {
        eprintln!("left out: fixtures hold the log of the embedded broker, and Apache Kafka is asked for");
        return;
    }
    if let Some(directory) = std::env::var_os(MAKE) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        Box::pin(make(&root.join(directory))).await;
        return;
    }
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state");
    let entries =
        std::fs::read_dir(&all).unwrap_or_else(|error| panic!("{}: {error}; see {MAKE}", all.display()));
    let mut fixtures: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    fixtures.sort();
    assert!(!fixtures.is_empty(), "no fixture in {}; see {MAKE}", all.display());
    for fixture in &fixtures {
        Box::pin(check(fixture)).await;
        Box::pin(capture_remembers(fixture)).await;
    }
}
