//! Section `[alerts]`.

use serde::Deserialize;
use std::time::Duration;

/// How a process watches itself, and whom it tells.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AlertOptions {
    pub enabled: bool,
    /// Name of the process in its alerts.
    pub instance: String,
    /// Time between two looks.
    pub every_ms: u64,
    /// Factor on every window and waiting time of the rules.
    pub scale: f64,
    /// Gets a POST of JSON in Slack's form for what begins and ends; empty: none.
    pub webhook_url: String,
    pub webhook_timeout_ms: u64,
    /// So often a message is tried, once a look; then it is given up, and logged.
    pub webhook_attempts: u32,
    /// In front of `NAME.md` in what is told.
    pub runbook: String,
}

impl Default for AlertOptions {
    fn default() -> Self {
        AlertOptions {
            enabled: true,
            instance: "affluent".to_owned(),
            every_ms: 15_000,
            scale: 1.0,
            webhook_url: String::new(),
            webhook_timeout_ms: 5_000,
            webhook_attempts: 20,
            runbook: "docs/runbook/".to_owned(),
        }
    }
}

impl AlertOptions {
    /// # Errors
    /// The first key whose value cannot work, and why.
    pub fn check(&self) -> Result<(), String> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if self.instance.is_empty() || !self.instance.chars().all(is_name) {
            return Err(format!("instance = \"{}\": letters, digits, - and _ make a name", self.instance));
        }
        if self.every_ms < 100 {
            return Err(format!("every_ms = {}: at least 100", self.every_ms));
        }
        if !(self.scale > 0.0 && self.scale <= 1.0) {
            return Err(format!("scale = {}: more than 0 and at most 1", self.scale));
        }
        if self.webhook_timeout_ms == 0 || self.webhook_attempts == 0 {
            return Err("webhook_timeout_ms and webhook_attempts: at least 1".to_owned());
        }
        let is_url = |url: &str| url.starts_with("http://") || url.starts_with("https://");
        if !self.webhook_url.is_empty() && !is_url(&self.webhook_url) {
            // It is a secret: not shown.
            return Err("webhook_url: begins with http:// or https://".to_owned());
        }
        Ok(())
    }

    /// Time between two looks.
    #[must_use]
    pub fn every(&self) -> Duration {
        Duration::from_millis(self.every_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_by_its_key() {
        let default = AlertOptions::default;
        assert_eq!(default().check(), Ok(()));
        for (options, key) in [
            (AlertOptions { instance: "a b".to_owned(), ..default() }, "instance"),
            (AlertOptions { every_ms: 5, ..default() }, "every_ms"),
            (AlertOptions { scale: 0.0, ..default() }, "scale"),
            (AlertOptions { scale: f64::NAN, ..default() }, "scale"),
            (AlertOptions { webhook_attempts: 0, ..default() }, "webhook_attempts"),
            (AlertOptions { webhook_url: "hooks.example/secret".to_owned(), ..default() }, "webhook_url"),
        ] {
            let message = options.check().unwrap_err();
            assert!(message.starts_with(key) || message.contains(key), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
