//! A model for demo and benches: learned of simulated payments, of which it is known which were fraud, by the features that the stream has.
//!
//! The payments are those of the test kit's load, and their features come from the one engine, so it is a model as any other: judged, registered,
//! promoted. It says nothing about real fraud.

use crate::config::Config;
use crate::http::Payment;
use affluent_feature_store::event::{Fit, Mapped};
use affluent_feature_store::stream::Streamed;
use affluent_features::{Engine, Options};
use affluent_learning::DAY;
use affluent_learning::dataset::{Dataset, FeatureVersion, Manifest, Rows};
use affluent_learning::fit::boost::BoostOptions;
use affluent_learning::registry::{promote, write_folder};
use affluent_learning::split::{Period, Protocol};
use affluent_learning::train::{TrainOptions, Trained, train};
use affluent_model::time::{format_micros, now_micros};
use affluent_scoring::stream::Payments;
use affluent_testkit::payments::{FraudPattern, Simulated, simulated};
use anyhow::{Context as _, ensure};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The name under which fraud models are registered.
pub(crate) const NAME: &str = "fraud";
/// What it reads: what the three patterns show in, whatever the rate of payments.
const FEATURES: [&str; 9] = [
    "payment_amount",
    "payment_amount_log1p",
    "customer_amount_to_mean",
    "card_payments_1h",
    "card_payments_1d",
    "card_seconds_since_payment",
    "terminal_payments_1h",
    "terminal_payments_1d",
    "terminal_cards",
];
const SEED: u64 = 20_261_001;
const FRAUD_SHARE: f64 = 0.02;
const DAYS: i64 = 20;
/// All of a day's payments come within an hour, so that windows are as full as under a load.
const PER_DAY: i64 = 3_000;
const BUSY: i64 = 3_600_000_000;
const HOUR: i64 = 3_600_000_000;

/// Learns a model.
///
/// # Errors
/// Definitions without the features it reads.
pub(crate) async fn learned(streamed: &Streamed) -> anyhow::Result<Trained> {
    let streamed = streamed.clone();
    tokio::task::spawn_blocking(move || learn(&streamed)).await?.context("learn a model")
}

/// Registers a model and lets it serve; its version.
///
/// # Errors
/// A registry that does not answer.
pub(crate) async fn serve(config: &Config, trained: &Trained) -> anyhow::Result<u64> {
    let registry = config.learning.store(&config.data_dir)?;
    let scratch = tempfile::Builder::new().prefix("affluent-model_").tempdir()?;
    write_folder(trained, scratch.path())?;
    let version = registry.register(NAME, scratch.path()).await?;
    // It is learned for a minute's demonstration; gates of long histories do not apply.
    promote(registry.as_ref(), NAME, Some(version), true).await?;
    Ok(version)
}

/// A request for `POST /v1/score`; without a time the payment occurs when it is asked about.
pub(crate) fn request(payment: &Simulated, occurred_at: Option<i64>) -> Map<String, Value> {
    let value = json!({
        "transaction_id": payment.id,
        "amount": payment.amount,
        "currency": payment.currency,
        "customer_id": payment.customer,
        "merchant_id": payment.merchant,
        "payment_method": payment.method,
        "card_token": payment.card_token,
        "card_bin": payment.card_bin,
        "terminal_id": payment.terminal,
        "device_id": payment.device,
        "ip": payment.ip,
        "occurred_at": occurred_at.map(|micros| format_micros(micros, true)),
    });
    match value {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

fn learn(streamed: &Streamed) -> anyhow::Result<Trained> {
    let start = now_micros().div_euclid(DAY) * DAY - (DAYS + 1) * DAY;
    let dataset = dataset(streamed, start)?;
    let manifest = Manifest::of(&dataset, "simulated payments".to_owned(), dataset.rows.len());
    let days = |from: i64, to: i64| Period { from: start + from * DAY, to: start + to * DAY };
    let protocol = Protocol { train: days(9, 15), test: days(16, DAYS), delay: DAY };
    let boost = BoostOptions { budget: 0.3, max_bin: 256, boosters: 1, ..BoostOptions::default() };
    let options = TrainOptions { boost, folds: 1, draws: 20, ..TrainOptions::default() };
    Ok(train(NAME, &dataset, manifest, protocol, &options, None, None)?)
}

/// The payments with their features, in the order of time.
fn dataset(streamed: &Streamed, start: i64) -> anyhow::Result<Dataset> {
    let payments = Payments::new(streamed).context("no feature is of payments")?;
    let (mapping, names) = (payments.mapping(), payments.names());
    let place = |name: &&str| names.iter().position(|feature| feature.name == *name);
    let places: Option<Vec<usize>> = FEATURES.iter().map(place).collect();
    let places = places.with_context(|| format!("the definitions lack one of {}", FEATURES.join(", ")))?;
    let features: Vec<FeatureVersion> = places.iter().map(|&place| names[place].clone()).collect();
    let mut engine = Engine::new(Arc::clone(&streamed.plan), Options::default());
    let (mut rows, mut columns) = (Rows::default(), vec![Vec::new(); places.len()]);
    let (mut mapped, mut row) = (Mapped::default(), vec![f64::NAN; names.len()]);
    let count = usize::try_from(DAYS * PER_DAY)?;
    for (nth, payment) in (0..).zip(simulated(SEED, count, FRAUD_SHARE)) {
        let time = start + nth / PER_DAY * DAY + 12 * HOUR + nth % PER_DAY * (BUSY / PER_DAY);
        let asked = Payment::new(&request(&payment, Some(time)), time).map_err(anyhow::Error::msg)?;
        let fit = mapping.event(&asked.cells(mapping.fields(), time), &mut mapped)?;
        ensure!(fit == Fit::Event, "a simulated payment is {fit:?}");
        let event = mapped.event(mapping.source());
        engine.apply(&event)?;
        engine.row(&event, &mut row);
        rows.time.push(time);
        rows.card.push(payment.customer);
        rows.amount.push(minor_units(&payment));
        rows.label.push(payment.fraud.is_some());
        rows.pattern.push(payment.fraud.map_or(0, number));
        for (column, &place) in columns.iter_mut().zip(&places) {
            column.push(row[place]);
        }
    }
    Ok(Dataset { features, columns, rows })
}

fn minor_units(payment: &Simulated) -> i64 {
    payment.amount.replace('.', "").parse().unwrap_or_default()
}

fn number(pattern: FraudPattern) -> i64 {
    match pattern {
        FraudPattern::AmountOverLimit => 1,
        FraudPattern::CompromisedTerminal => 2,
        FraudPattern::StolenCard => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_the_fraud_that_it_was_shown() {
        let streamed = crate::features::streamed(&Config::builtin().unwrap()).unwrap();
        let trained = learn(&streamed).unwrap();
        let found = &trained.report.evaluation;
        assert!(found.auc_roc > 0.9 && found.average_precision > 0.6, "{found:?}");
        assert!(trained.model.calibration.is_some(), "{:?}", trained.report.notes);
    }
}
