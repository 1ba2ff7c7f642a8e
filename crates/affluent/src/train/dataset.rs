//! The dataset of the fraud model: features by the one engine, labels from the file.
//!
//! Invariant: no feature looks at labels before they are known: one whose delay is shorter than that of the labels is refused.

use crate::card_payments::{CardPayments, SOURCE, source};
use crate::output;
use affluent_features::definition::Compute;
use affluent_features::{Definitions, NULL, Plan};
use affluent_learning::DAY;
use affluent_learning::dataset::{Dataset, FeatureVersion, Manifest, Rows};
use affluent_learning::split::Period;
use anyhow::{Context as _, bail};
use std::sync::Arc;

/// What the model reads, by the names of the definitions.
const FEATURES: &[&str] = &[
    "card_payment_amount",
    "card_customer_payments_1d",
    "card_customer_payments_7d",
    "card_customer_amount_to_mean_30d",
    "card_customer_amount_to_mean_90d",
    "card_customer_amount_to_genuine_mean",
    "card_customer_amount_zscore_90d",
    "card_customer_max_to_genuine_mean_7d",
    "card_customer_max_to_genuine_mean_14d",
    "card_customer_mean_to_genuine_mean_7d",
    "card_terminal_payments_7d",
    "card_terminal_fraud_rate_1d",
    "card_terminal_fraud_rate_7d",
    "card_terminal_fraud_rate_28d",
    "card_terminal_fraud_7d",
    "card_terminal_fraud_28d",
    "card_terminal_small_fraud_7d",
    "card_terminal_small_fraud_28d",
    "card_terminal_last_fraud_1",
    "card_terminal_last_fraud_2",
    "card_terminal_last_fraud_3",
    "card_terminal_seconds_since_fraud",
    "card_terminal_seconds_since_genuine",
];

/// The label's column in the source.
const LABEL: &str = "fraud";

/// How rows are computed.
#[derive(Debug)]
pub(super) struct FraudFeatures {
    plan: Arc<Plan>,
    features: Vec<FeatureVersion>,
    /// Where each stands in a row of the engine.
    places: Vec<usize>,
}

impl FraudFeatures {
    /// # Errors
    /// A feature that is not defined, or looks at labels too early.
    pub(super) fn new(definitions: &Definitions, label_delay: i64) -> anyhow::Result<Self> {
        let missing = |error| output::usage(format!("the fraud model needs it: {error}"));
        let selected = definitions.select(FEATURES).map_err(missing)?;
        check_labels(&selected, label_delay)?;
        let plan = Arc::new(Plan::new(&selected)?);
        let row = &plan.source_shape(source(&plan)?).row;
        let (mut features, mut places) = (Vec::new(), Vec::new());
        for &name in FEATURES {
            let place = row.iter().position(|other| other == name);
            let place = place.with_context(|| format!("feature {name} is not computed of {SOURCE}"))?;
            let version = selected.feature(name).map_or(0, |feature| feature.version);
            features.push(FeatureVersion { name: name.to_owned(), version });
            places.push(place);
        }
        Ok(FraudFeatures { plan, features, places })
    }

    /// The rows of a period; all earlier ones are their history.
    pub(super) fn dataset(
        &self,
        payments: &CardPayments,
        span: Period,
        source: &str,
    ) -> anyhow::Result<(Dataset, Manifest)> {
        let mut rows = Rows::default();
        let mut columns = vec![Vec::new(); self.places.len()];
        let mut unlabelled = 0usize;
        payments.replay(Arc::clone(&self.plan), |place, values| {
            let time = payments.time[place];
            if time < span.from || time >= span.to {
                return;
            }
            let label = payments.fraud[place];
            unlabelled += usize::from(label == NULL);
            rows.time.push(time);
            rows.card.push(payments.customer[place]);
            rows.amount.push(payments.amount[place]);
            rows.label.push(label == 1);
            rows.pattern.push(payments.pattern.get(place).copied().filter(|&p| p != NULL).unwrap_or(0));
            for (column, &at) in columns.iter_mut().zip(&self.places) {
                column.push(values[at]);
            }
        })?;
        if unlabelled > 0 {
            bail!("{source}: {unlabelled} rows between {span} have no label: leave them out, or label them");
        }
        let dataset = Dataset { features: self.features.clone(), columns, rows };
        let manifest = Manifest::of(&dataset, source.to_owned(), payments.len());
        Ok((dataset, manifest))
    }
}

/// Windows over the label have to end before labels are unknown.
fn check_labels(definitions: &Definitions, label_delay: i64) -> anyhow::Result<()> {
    let columns = &definitions.sources.get(SOURCE).with_context(|| format!("no source {SOURCE}"))?.columns;
    let label = columns.iter().position(|column| column.name == LABEL);
    for feature in &definitions.features {
        let Compute::Window { window, .. } = &feature.compute else { continue };
        let reads = label.is_some_and(|label| feature.compute.reads().contains(&label));
        if reads && window.delay < label_delay {
            return Err(output::usage(format!(
                "feature {} sees labels after {} days, but they are known only after {}: give it a longer delay in the definitions, or the \
                 command a shorter --label-delay",
                feature.name,
                window.delay / DAY,
                label_delay / DAY
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payments() -> CardPayments {
        CardPayments {
            id: (0..4).collect(),
            time: [40, 10, 20, 30].map(|day| day * DAY).to_vec(),
            customer: vec![1, 1, 1, 2],
            terminal: vec![5, 5, 5, 5],
            amount: vec![400, 100, 200, 300],
            fraud: vec![0, 1, 0, 1],
            pattern: vec![0, 2, 0, 3],
        }
    }

    #[test]
    fn rows_come_in_the_order_of_time_with_all_their_history() {
        let definitions = Definitions::load(None).unwrap();
        let features = FraudFeatures::new(&definitions, 7 * DAY).unwrap();
        let span = Period { from: 15 * DAY, to: 41 * DAY };
        let (dataset, manifest) = features.dataset(&payments(), span, "f").unwrap();
        assert_eq!(dataset.rows.time, [20, 30, 40].map(|day| day * DAY));
        assert_eq!((dataset.rows.label, dataset.rows.pattern), (vec![false, true, false], vec![0, 3, 0]));
        let column = |name: &str| {
            let place = dataset.features.iter().position(|feature| feature.name == name).unwrap();
            dataset.columns[place].clone()
        };
        assert_eq!(column("card_customer_payments_7d"), [1.0, 1.0, 1.0]);
        assert_eq!(column("card_terminal_fraud_rate_28d"), [1.0, 0.5, 2.0 / 3.0]);
        assert_eq!((manifest.source_rows, manifest.rows, manifest.positives), (4, 3, 1));
    }

    #[test]
    fn labels_are_not_seen_before_they_are_known() {
        let definitions = Definitions::load(None).unwrap();
        let error = FraudFeatures::new(&definitions, 8 * DAY).unwrap_err().to_string();
        assert!(error.contains("known only after 8"), "{error}");
        let mut payments = payments();
        payments.fraud[0] = NULL;
        let features = FraudFeatures::new(&definitions, 7 * DAY).unwrap();
        let all = Period { from: 0, to: 41 * DAY };
        assert!(features.dataset(&payments, all, "f").unwrap_err().to_string().contains("1 rows"));
    }
}
