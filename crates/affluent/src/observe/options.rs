//! Section `[telemetry]`.

use serde::Deserialize;

/// What is told of this process beside its logs and its metrics, and how often it looks around.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TelemetryOptions {
    /// Where spans are sent (OTLP over HTTP, JSON); empty: nothing is traced.
    pub(crate) traces_url: String,
    /// Bearer token for it; empty: none.
    pub(crate) traces_token: String,
    /// Which part of the changes is followed, 0 to 1.
    pub(crate) sample: f64,
    /// The lines of this process go into the platform's own pipeline of log lines, too.
    pub(crate) own_logs: bool,
    /// Whose lag is told.
    pub(crate) groups: Groups,
    pub(crate) groups_interval_s: u64,
    /// Pairs of group and partition that are looked at, at most.
    pub(crate) groups_partitions_max: usize,
    /// How often tables, files and disks are looked at, seconds.
    pub(crate) stores_interval_s: u64,
}

/// Consumer groups whose lag is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Groups {
    /// Those of which this process is a member.
    #[default]
    Own,
    /// Every group of the cluster.
    All,
}

impl Default for TelemetryOptions {
    fn default() -> Self {
        TelemetryOptions {
            traces_url: String::new(),
            traces_token: String::new(),
            sample: 0.01,
            own_logs: false,
            groups: Groups::Own,
            groups_interval_s: 15,
            groups_partitions_max: 1_000,
            stores_interval_s: 30,
        }
    }
}

impl TelemetryOptions {
    /// # Errors
    /// The key and what it needs.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.sample) {
            return Err(format!("sample = {}: must be from 0 to 1", self.sample));
        }
        let is_http = self.traces_url.starts_with("http://") || self.traces_url.starts_with("https://");
        if !self.traces_url.is_empty() && !is_http {
            return Err("traces_url: write http://collector:4318/v1/traces".to_owned());
        }
        if self.groups_interval_s == 0 || self.stores_interval_s == 0 {
            return Err("groups_interval_s and stores_interval_s must be at least 1".to_owned());
        }
        Ok(())
    }

    pub(super) fn is_traced(&self) -> bool {
        !self.traces_url.is_empty() && self.sample > 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_told_by_its_key() {
        let refused = |change: fn(&mut TelemetryOptions)| {
            let mut options = TelemetryOptions::default();
            change(&mut options);
            options.check().unwrap_err()
        };
        assert!(TelemetryOptions::default().check().is_ok());
        assert!(refused(|options| options.sample = 1.5).contains("sample"));
        assert!(refused(|options| options.sample = f64::NAN).contains("sample"));
        assert!(refused(|options| options.traces_url = "collector:4318".into()).contains("traces_url"));
        assert!(refused(|options| options.stores_interval_s = 0).contains("stores_interval_s"));
    }
}
