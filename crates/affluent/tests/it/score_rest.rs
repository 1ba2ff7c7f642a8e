//! A payment that is asked about over HTTP has the score that the stream gives it once it is in the database; a label that somebody gives it is in the
//! warehouse, among the disputes, and loses none of them.

use crate::installation::{Installation, turn};
use affluent_features::Definitions;
use affluent_learning::dataset::{Dataset, FeatureVersion, Rows};
use affluent_learning::fit::boost::Target;
use affluent_learning::fit::{
    BoostOptions, Calibration, CalibrationKind, Ensemble, Learner, Logistic, Model, Transforms,
};
use affluent_model::time::{format_micros, now_micros};
use affluent_testkit::Postgres;
use affluent_testkit::payments::SCHEMA;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::time::Duration;
use tokio_postgres::Client;
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(60);
const RUN: Duration = Duration::from_secs(120);
const ROWS: usize = 1_000;
const FEATURES: [&str; 4] =
    ["payment_amount", "customer_payments_1h", "customer_amount_to_mean", "card_payments_1h"];

/// A champion in the registry of an installation that is not yet started.
pub(crate) fn serve_a_model(data: &Path) {
    let definitions = Definitions::load(None).unwrap();
    let version = |name: &str| definitions.feature(name).unwrap().version;
    let features: Vec<FeatureVersion> = FEATURES
        .iter()
        .map(|name| FeatureVersion { name: (*name).to_owned(), version: version(name) })
        .collect();
    let mut rng = SmallRng::seed_from_u64(5);
    let (mut columns, mut rows) = (vec![Vec::new(); FEATURES.len()], Rows::default());
    for _ in 0..ROWS {
        let values = [
            rng.random_range(0.0..200_000.0),
            f64::from(rng.random_range(1..12)),
            rng.random_range(0.0..5.0),
            f64::from(rng.random_range(1..12)),
        ];
        rows.label.push(values[0] > 150_000.0 || values[1] + values[3] > 16.0);
        columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
    }
    let dataset = Dataset { features, columns, rows };
    let all: Vec<usize> = (0..ROWS).collect();
    let (matrix, labels) = (dataset.gather(&all), dataset.rows.labels(&all));
    let target: Vec<f64> = labels.iter().map(|&label| f64::from(u8::from(label))).collect();
    let names = FEATURES.map(str::to_owned);
    let options =
        BoostOptions { budget: 0.3, max_bin: 255, boosters: 1, threads: 1, ..BoostOptions::default() };
    let mut model = Model {
        name: "fraud".to_owned(),
        features: dataset.features.clone(),
        transforms: Transforms::default(),
        learner: Learner::Boosted {
            ensemble: Ensemble::fit(&names, &matrix, &target, Target::Class, &options).unwrap(),
            linear: Logistic::fit(&matrix, &labels, 1.0).unwrap(),
            boost_share: 0.7,
        },
        calibration: None,
        threshold: None,
    };
    let scores = model.score(&dataset, &all).unwrap();
    model.calibration = Some(Calibration::fit(CalibrationKind::Platt, &scores, &labels));
    model.threshold = Some(0.5);
    let folder = data.join("models/fraud");
    let files = folder.join("versions/1/data");
    std::fs::create_dir_all(&files).unwrap();
    model.write(&files).unwrap();
    let aliases = json!({"champion": 1, "challenger": null, "previous": null});
    std::fs::write(folder.join("aliases.json"), aliases.to_string()).unwrap();
}

/// A payment, as the database and as a request have it.
#[derive(Debug, Clone)]
struct Payment {
    id: Uuid,
    /// Microseconds UTC.
    at: i64,
    amount: &'static str,
    currency: &'static str,
    customer: i64,
    card: Uuid,
    terminal: Option<&'static str>,
    ip: Option<&'static str>,
}

impl Payment {
    fn new(amount: &'static str, currency: &'static str, customer: i64, card: Uuid) -> Self {
        let (id, at) = (Uuid::new_v4(), now_micros());
        Payment { id, at, amount, currency, customer, card, terminal: None, ip: Some("203.0.113.9") }
    }

    fn request(&self) -> Json {
        json!({
            "transaction_id": self.id,
            "occurred_at": format_micros(self.at, true),
            "amount": self.amount,
            "currency": self.currency,
            "customer_id": self.customer,
            "merchant_id": 1,
            "payment_method": "card",
            "card_token": self.card,
            "card_bin": "424242",
            "terminal_id": self.terminal,
            "ip": self.ip,
        })
    }

    async fn insert(&self, client: &Client) {
        let sql = "insert into transactions (id, customer_id, merchant_id, amount, currency, status, payment_method, \
            card_token, card_bin, terminal_id, ip, created_at) \
            values ($1, $2, 1, $3::text::numeric, $4, 'authorized', 'card', $5, '424242', $6, $7::text::inet, $8::text::timestamptz)";
        let at = format_micros(self.at, true);
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 8] = [
            &self.id,
            &self.customer,
            &self.amount,
            &self.currency,
            &self.card,
            &self.terminal,
            &self.ip,
            &at,
        ];
        client.execute(sql, &values).await.unwrap();
    }
}

async fn post(installation: &Installation, path: &str, body: &Json) -> (u16, Json) {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    let answer = client.post(format!("{}{path}", installation.http_url())).json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn recorded(installation: &Installation, id: Uuid) -> Json {
    let path = format!("/v1/scores/{id}");
    installation.wait_page(&path, LIMIT, |code, _| code == 200).await;
    serde_json::from_str(&installation.get(&path).await.unwrap().1).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_and_in_the_stream_a_payment_has_one_score_and_its_label_reaches_the_warehouse() {
    let _turn = turn().await;
    let database = Postgres::shared().fresh_database().await.unwrap();
    let client = database.connect().await.unwrap();
    client.batch_execute(SCHEMA).await.unwrap();
    client
        .batch_execute(
            "insert into customers (id, email, full_name, country) select i, 'c' || i, 'Customer', 'DE' from generate_series(1, 9) i; \
             insert into merchants (id, name, category_code, country, currency) values (1, 'Shop', '5411', 'DE', 'EUR')",
        )
        .await
        .unwrap();
    let mut installation = Installation::new(&database, "");
    serve_a_model(&installation.data());
    installation.start(None);
    installation.wait_ready().await;

    let (card, other_card) = (Uuid::new_v4(), Uuid::new_v4());
    let history: Vec<Payment> =
        ["12.34", "20", "1999.99", "3.5", "700"].map(|amount| Payment::new(amount, "EUR", 7, card)).into();
    for payment in &history {
        payment.insert(&client).await;
    }
    for payment in &history {
        recorded(&installation, payment.id).await;
    }
    // A model decides, and the state is whole.
    let probe = Payment::new("1", "EUR", 8, other_card);
    let (_, answer) = post(&installation, "/v1/score", &probe.request()).await;
    assert_eq!(
        (answer["degraded"].clone(), answer["features"]["source"].as_str()),
        (Json::Null, Some("live")),
        "{answer}"
    );
    assert_eq!(answer["model"], json!({"name": "fraud", "version": 1}));

    let mut asked = Vec::new();
    for (amount, currency, customer, card, terminal) in [
        ("15.00", "EUR", 7, card, None),
        ("1999.99", "EUR", 7, card, Some("T 1")),
        ("150000", "JPY", 7, other_card, None),
        ("0.01", "KWD", 8, other_card, Some("T 1")),
        ("1800.5", "USD", 8, card, None),
        ("1999.00", "EUR", 9, Uuid::new_v4(), None),
    ] {
        let payment = Payment { terminal, ..Payment::new(amount, currency, customer, card) };
        let (status, before) = post(&installation, "/v1/score", &payment.request()).await;
        assert_eq!(status, 200, "{before}");
        // Asked again it has not become part of its own history.
        let (_, again) = post(&installation, "/v1/score", &payment.request()).await;
        assert_eq!(before["score"], again["score"]);
        payment.insert(&client).await;
        let record = recorded(&installation, payment.id).await;
        for (of_http, of_stream) in [
            (&before["score"], &record["score"]),
            (&before["decision"], &record["decision"]),
            (&before["model"]["version"], &record["model_version"]),
            (&before["rules_version"], &record["rules_version"]),
            (&before["degraded"], &record["degraded"]),
        ] {
            assert_eq!(of_http, of_stream, "{payment:?}\n{before}\n{record}");
        }
        assert!(record["score"].as_f64().is_some(), "{record}");
        asked.push((payment, record["score"].as_f64().unwrap()));
    }
    let mut scores: Vec<f64> = asked.iter().map(|(_, score)| *score).collect();
    scores.dedup();
    assert!(scores.len() > 1, "every payment has the same score, which proves nothing: {scores:?}");

    labels(&installation, &client, [&asked[0].0, &asked[1].0]).await;
    installation.verify().await;
}

/// One payment is labelled as fraud, one as fraud and then not; of a third the bank says it is in dispute.
async fn labels(installation: &Installation, client: &Client, [fraud, cleared]: [&Payment; 2]) {
    let third = Payment::new("5", "EUR", 9, Uuid::new_v4());
    third.insert(client).await;
    let dispute = "insert into disputes (id, transaction_id, amount, currency, reason_code, status) \
        values (gen_random_uuid(), $1, 5, 'EUR', 'duplicate', 'opened')";
    client.execute(dispute, &[&third.id]).await.unwrap();
    let label = |payment: &Payment, label: &str| json!({"transaction_id": payment.id, "label": label});
    for payment in [fraud, cleared] {
        let mirror = format!("/v1/documents/mirrors.transactions/{}", payment.id);
        installation.wait_page(&mirror, LIMIT, |code, _| code == 200).await;
    }
    let (status, first) = post(installation, "/v1/labels", &label(fraud, "confirmed")).await;
    assert_eq!((status, first["is_new"].as_bool()), (202, Some(true)), "{first}");
    let (_, again) = post(installation, "/v1/labels", &label(fraud, "confirmed")).await;
    assert_eq!((again["is_new"].as_bool(), &again["labelled_at"]), (Some(false), &first["labelled_at"]));
    for said in ["confirmed", "cleared"] {
        let (status, answer) = post(installation, "/v1/labels", &label(cleared, said)).await;
        assert_eq!((status, answer["is_new"].as_bool()), (202, Some(true)), "{answer}");
    }
    let unknown = json!({"transaction_id": Uuid::new_v4(), "label": "confirmed"});
    assert_eq!(post(installation, "/v1/labels", &unknown).await.0, 404);

    // All four of them are in the raw zone before the pipeline runs.
    let count = "select count(*) as n from raw.disputes";
    let deadline = std::time::Instant::now() + LIMIT;
    loop {
        let said = installation.begin(&["sql", "--format", "csv", count], None).end(RUN).await;
        if said.out.lines().nth(1) == Some("4") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{}{}", said.out, said.err);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // The interval names the run; what is read is all that there is.
    let run =
        ["batch", "run", "raw-to-dwh", "--from", "2026-11-22T00:00:00Z", "--to", "2026-11-22T00:15:00Z"];
    let (status, said) = installation.run(&run, RUN).await;
    assert!(status.success(), "{said}");
    let query = "select transaction_id, is_fraud from dwh.fact_fraud order by transaction_id";
    let said = installation.begin(&["sql", "--format", "csv", query], None).end(RUN).await;
    for (payment, is_fraud) in [(fraud, true), (cleared, false), (&third, false)] {
        let line = format!("{},{is_fraud}", payment.id);
        assert!(said.out.lines().any(|found| found == line), "no {line} in\n{}{}", said.out, said.err);
    }
}
