//! What needs a person, as the topic `ops.alerts` has it: one record each time an alert begins to fire, grows worse or is over.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How soon somebody should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Warning,
    Critical,
}

/// Whether it still is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    Firing,
    Resolved,
}

/// The value of a record of the topic; its key is the rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// What is watched; the newest record of a rule says how it stands.
    pub rule: String,
    pub severity: Severity,
    pub state: AlertState,
    pub labels: BTreeMap<String, String>,
    /// What was measured.
    pub value: f64,
    /// Since when it fires, microseconds UTC.
    pub since: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_has_the_form_of_the_contract() {
        let alert = Alert {
            rule: "drift.fraud.amount".to_owned(),
            severity: Severity::Critical,
            state: AlertState::Firing,
            labels: [("model".to_owned(), "fraud".to_owned())].into(),
            value: 0.5,
            since: 7,
        };
        let text = serde_json::to_string(&alert).unwrap();
        assert_eq!(
            text,
            r#"{"rule":"drift.fraud.amount","severity":"critical","state":"firing","labels":{"model":"fraud"},"value":0.5,"since":7}"#
        );
        assert_eq!(serde_json::from_str::<Alert>(&text).unwrap(), alert);
    }
}
