//! Whom a change is told: the log at once; the topic `ops.alerts` and the webhook, again and again until they take it.

use affluent_bus::{Alerts, Bus};
use affluent_model::{Alert, AlertState, Severity};
use affluent_watch::{AlertOptions, slack_message};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// What has not been told yet: of each alert the newest state, so that there are never more than alerts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Waiting {
    topic: BTreeMap<String, Alert>,
    webhook: BTreeMap<String, Alert>,
    /// How often the webhook has not taken what waits, since something was added to it.
    attempts: u32,
}

/// Tells changes, oldest state forgotten.
pub(super) struct Teller {
    options: AlertOptions,
    topic: Alerts,
    client: reqwest::Client,
    waiting: Waiting,
}

impl Teller {
    /// Goes on with what `waiting` has.
    ///
    /// # Errors
    /// When TLS cannot be spoken on this machine.
    pub(super) fn new(options: &AlertOptions, bus: Bus, waiting: Waiting) -> anyhow::Result<Self> {
        let limit = Duration::from_millis(options.webhook_timeout_ms);
        let client = reqwest::Client::builder().timeout(limit).build().context("make an HTTP client")?;
        Ok(Teller { options: options.clone(), topic: Alerts::new(bus), client, waiting })
    }

    /// Logs the changes; they are told with the next [`Teller::tell`].
    pub(super) fn add(&mut self, changes: &[Alert]) {
        for alert in changes {
            let (rule, severity, value) = (&alert.rule, word(alert.severity), alert.value);
            match alert.state {
                AlertState::Firing => tracing::warn!(rule, severity, value, "alert fires"),
                AlertState::Resolved => tracing::info!(rule, severity, value, "alert is over"),
            }
            self.waiting.topic.insert(rule.clone(), alert.clone());
            if !self.options.webhook_url.is_empty() {
                self.waiting.webhook.insert(rule.clone(), alert.clone());
                // What is new is tried as often as what was first; there are never more than alerts.
                self.waiting.attempts = 0;
            }
        }
    }

    pub(super) fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    /// Tells what waits; whether anything was told or given up.
    pub(super) async fn tell(&mut self) -> bool {
        let to_topic: Vec<Alert> = self.waiting.topic.values().cloned().collect();
        let to_webhook: Vec<Alert> = self.waiting.webhook.values().cloned().collect();
        let message = slack_message(&to_webhook, &self.options.runbook);
        let (client, url) = (&self.client, &self.options.webhook_url);
        let posting = async {
            if to_webhook.is_empty() {
                return Ok(());
            }
            post(client, url, &message).await
        };
        let (sent, posted) = tokio::join!(self.topic.send(&to_topic), posting);
        let mut has_changed = false;
        match sent {
            Ok(()) => {
                has_changed |= !to_topic.is_empty();
                self.waiting.topic.clear();
            }
            Err(error) => {
                tracing::warn!(%error, waiting = to_topic.len(), "ops.alerts does not take alerts; trying again")
            }
        }
        match posted {
            Ok(()) => {
                has_changed |= !to_webhook.is_empty();
                (self.waiting.webhook, self.waiting.attempts) = (BTreeMap::new(), 0);
            }
            Err(error) => has_changed |= self.not_posted(&error),
        }
        has_changed
    }

    /// Whether what waits for the webhook is given up.
    fn not_posted(&mut self, error: &anyhow::Error) -> bool {
        self.waiting.attempts += 1;
        let (error, waiting) = (format!("{error:#}"), self.waiting.webhook.len());
        if self.waiting.attempts < self.options.webhook_attempts {
            tracing::warn!(error, waiting, "the webhook does not take alerts; trying again");
            return false;
        }
        tracing::error!(error, waiting, "the webhook was not told of alerts");
        (self.waiting.webhook, self.waiting.attempts) = (BTreeMap::new(), 0);
        true
    }
}

/// The URL is a secret, and no part of the error.
async fn post(client: &reqwest::Client, url: &str, message: &serde_json::Value) -> anyhow::Result<()> {
    let answer = client.post(url).json(message).send().await.map_err(reqwest::Error::without_url)?;
    answer.error_for_status().map_err(reqwest::Error::without_url)?;
    Ok(())
}

/// As the metrics have it.
pub(super) fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_bus::BusOptions;

    fn alert(state: AlertState) -> Alert {
        let rule = "AffluentDrift.amount.a".to_owned();
        Alert { rule, severity: Severity::Warning, state, labels: BTreeMap::new(), value: 0.5, since: 7 }
    }

    #[tokio::test]
    async fn a_webhook_that_takes_nothing_is_given_up_and_the_newest_state_waits() {
        // A port that was free just now.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}/secret");
        let options = AlertOptions { webhook_url: url, webhook_attempts: 3, ..AlertOptions::default() };
        let bus = Bus::new(BusOptions::default()).unwrap();
        let mut teller = Teller::new(&options, bus, Waiting::default()).unwrap();
        teller.add(&[alert(AlertState::Firing), alert(AlertState::Resolved)]);
        assert_eq!(teller.waiting().topic.values().collect::<Vec<_>>(), [&alert(AlertState::Resolved)]);
        let error = post(&teller.client, &options.webhook_url, &serde_json::json!({})).await.unwrap_err();
        assert!(!format!("{error:#}").contains("secret"), "{error:#}");
        assert!(!teller.not_posted(&error));
        assert!(!teller.not_posted(&error));
        let other = Alert { rule: "AffluentLagHigh.g.t.a".to_owned(), ..alert(AlertState::Firing) };
        teller.add(&[other]);
        let given_up: Vec<bool> = (0..3).map(|_| teller.not_posted(&error)).collect();
        assert_eq!(given_up, [false, false, true], "the newest alert is tried three times, too");
        assert!(teller.waiting().webhook.is_empty() && !teller.waiting().topic.is_empty());
    }
}
