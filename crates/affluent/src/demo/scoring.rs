//! The demo's fraud: a model learned before the first payment, alerts as they come, and at the end how much of what was planted was caught.

use crate::champion;
use crate::features;
use crate::output;
use crate::platform::Platform;
use affluent_documents::{DocumentError, DocumentStore, Range, Scan};
use affluent_model::Value;
use affluent_scoring::Decision;
use affluent_scoring::record::{COLLECTION, Record};
use affluent_testkit::Database;
use affluent_testkit::payments::{FraudPattern, Planted};
use anyhow::{Context as _, ensure};
use chrono::DateTime;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Which part of the payments is fraud: enough that every pattern shows within a minute.
pub(super) const FRAUD_SHARE: f64 = 0.04;
/// Models and scores have this long.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// Records of one read.
const PAGE: usize = 1_000;
/// Alerts that are shown at the end.
const SHOWN: usize = 10;
/// Reasons of an alert that are shown.
const REASONS: usize = 2;

const UNSCORED: &str = "select count(*) from transactions where risk_scored_at is null and created_at >= $1";

/// What was found of fraud.
#[derive(Debug)]
pub(super) struct Found {
    /// By pattern: how many payments were reviewed or declined, of how many.
    pub(super) caught: BTreeMap<FraudPattern, (u64, u64)>,
    /// Payments that were scored, and alerts among them.
    pub(super) scored: u64,
    pub(super) alerts: u64,
    /// The last ones, the newest last.
    pub(super) last: Vec<Alert>,
}

impl Found {
    /// Which part of what was planted was caught; 0 where nothing was planted.
    pub(super) fn caught_share(&self) -> f64 {
        let sum = |of: fn(&(u64, u64)) -> u64| self.caught.values().map(of).sum::<u64>() as f64;
        let planted = sum(|(_, planted)| *planted);
        if planted == 0.0 { 0.0 } else { sum(|(caught, _)| *caught) / planted }
    }
}

/// An alert, for people.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Alert {
    pub(super) transaction_id: String,
    pub(super) decision: &'static str,
    /// Probability of fraud.
    pub(super) score: Option<f64>,
    pub(super) reasons: Vec<String>,
}

impl Alert {
    fn of(record: &Record) -> Self {
        let rules = record.hits.iter().map(|hit| hit.words.to_string());
        let reasons = record.reasons.iter().map(|reason| reason.words.clone());
        Alert {
            transaction_id: record.transaction_id.clone(),
            decision: record.decision.as_str(),
            score: record.score,
            reasons: rules.chain(reasons).take(REASONS).collect(),
        }
    }

    /// As cells of a table.
    pub(super) fn row(&self) -> Vec<String> {
        let score = self.score.map_or("-".to_owned(), |score| format!("{score:.3}"));
        vec![self.decision.to_owned(), score, self.transaction_id.clone(), self.reasons.join("; ")]
    }
}

/// Scores as they are recorded.
pub(super) struct Alerts {
    store: Arc<dyn DocumentStore>,
    /// When the newest that was read was made, microseconds UTC.
    read_to: i64,
    scored: u64,
    alerts: u64,
    last: Vec<Alert>,
}

/// Learns a model of simulated payments and lets it serve.
///
/// # Errors
/// Definitions without its features, a registry that does not answer.
pub(super) async fn learn(platform: &Platform) -> anyhow::Result<()> {
    let config = platform.config();
    let trained = champion::learned(&features::streamed(config)?).await?;
    champion::serve(config, &trained).await?;
    Ok(())
}

/// Waits until the model serves.
///
/// # Errors
/// It does not.
pub(super) async fn serves(platform: &Platform) -> anyhow::Result<()> {
    let judge = &platform.scoring().context("this process does not score")?.judge;
    let begun = Instant::now();
    while judge.champion().is_none() {
        ensure!(begun.elapsed() < PATIENCE, "the model does not serve");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Waits until every payment since `begun` (microseconds UTC) has its score in the database, or time is over: then the comparison and the
/// figures tell what is missing.
///
/// # Errors
/// A database that does not answer.
pub(super) async fn settled(database: &Database, begun: i64) -> anyhow::Result<()> {
    let client = database.connect().await.context("connect to the payments database")?;
    let since = DateTime::from_timestamp_micros(begun).context("a time that is none")?;
    let deadline = Instant::now() + PATIENCE;
    while client.query_one(UNSCORED, &[&since]).await?.get::<_, i64>(0) > 0 && Instant::now() < deadline {
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

impl Alerts {
    /// Those of payments that are scored from `begun` (microseconds UTC) on.
    ///
    /// # Errors
    /// A store that cannot be opened.
    pub(super) async fn since(platform: &Platform, begun: i64) -> anyhow::Result<Self> {
        let store = platform.documents().await?;
        Ok(Alerts { store, read_to: begun, scored: 0, alerts: 0, last: Vec::new() })
    }

    /// Reads on; the newest alert, where there is a new one, in a line.
    ///
    /// # Errors
    /// A store that does not answer.
    pub(super) async fn read(&mut self) -> anyhow::Result<Option<String>> {
        let before = self.alerts;
        let range = Range::Index {
            index: "scored_at".to_owned(),
            equal: Vec::new(),
            from: Some(Value::TimestampTz(self.read_to + 1)),
            to: None,
        };
        let mut scan = Scan { range, limit: PAGE, after: None };
        loop {
            let page = match self.store.scan(COLLECTION, &scan).await {
                Ok(page) => page,
                // Nothing was scored yet.
                Err(DocumentError::UnknownCollection(_)) => return Ok(None),
                Err(error) => return Err(error).context("read the scores"),
            };
            page.documents.iter().filter_map(Record::of).for_each(|record| self.note(&record));
            scan.after = page.next;
            if scan.after.is_none() {
                break;
            }
        }
        let newest = self.last.last().filter(|_| self.alerts > before);
        Ok(newest.map(|alert| format!("ALERT {}", alert.row().join("  "))))
    }

    fn note(&mut self, record: &Record) {
        self.read_to = self.read_to.max(record.scored_at);
        self.scored += 1;
        if record.decision == Decision::Approve {
            return;
        }
        self.alerts += 1;
        if self.last.len() == SHOWN {
            self.last.remove(0);
        }
        self.last.push(Alert::of(record));
    }

    /// Looks up what was decided of the payments that are fraud.
    ///
    /// # Errors
    /// A store that does not answer.
    pub(super) async fn end(mut self, planted: &[Planted]) -> anyhow::Result<Found> {
        self.read().await?;
        let mut caught: BTreeMap<FraudPattern, (u64, u64)> = BTreeMap::new();
        for some in planted.chunks(PAGE) {
            let ids: Vec<String> = some.iter().map(|planted| planted.id.to_string()).collect();
            let found = match self.store.get(COLLECTION, &ids).await {
                Ok(found) => found,
                Err(DocumentError::UnknownCollection(_)) => Vec::new(),
                Err(error) => return Err(error).context("read the scores"),
            };
            let decided: BTreeMap<String, Decision> = found
                .iter()
                .filter_map(Record::of)
                .map(|record| (record.transaction_id.clone(), record.decision))
                .collect();
            for (planted, id) in some.iter().zip(&ids) {
                let (stopped, all) = caught.entry(planted.pattern).or_default();
                *all += 1;
                *stopped += u64::from(decided.get(id).is_some_and(|decision| *decision != Decision::Approve));
            }
        }
        let Alerts { scored, alerts, last, .. } = self;
        Ok(Found { caught, scored, alerts, last })
    }
}

/// The last alerts as a table.
pub(super) fn table(last: &[Alert]) -> String {
    output::table(&["decision", "score", "payment", "because"], last.iter().map(Alert::row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_over_all_patterns() {
        let caught = [(FraudPattern::AmountOverLimit, (10, 10)), (FraudPattern::StolenCard, (5, 20))];
        let found = Found { caught: caught.into(), scored: 100, alerts: 15, last: Vec::new() };
        assert_eq!(found.caught_share(), 0.5);
        let nothing = Found { caught: BTreeMap::new(), ..found };
        assert_eq!(nothing.caught_share(), 0.0);
    }
}
