//! What a webhook gets: JSON as Slack's incoming webhooks take it.

use crate::rules::RULES;
use affluent_model::{Alert, AlertState, Severity};
use serde_json::{Value, json};

/// Attachments of a message at most; the text says how many there are.
const SHOWN: usize = 20;

/// One message for what begins and ends together. `runbook` stands in front of `NAME.md`.
#[must_use]
pub fn slack_message(alerts: &[Alert], runbook: &str) -> Value {
    let count = |state: AlertState| alerts.iter().filter(|alert| alert.state == state).count();
    let text =
        format!("affluent: {} firing, {} resolved", count(AlertState::Firing), count(AlertState::Resolved));
    let attachments: Vec<Value> = alerts.iter().take(SHOWN).map(|alert| attachment(alert, runbook)).collect();
    json!({"text": text, "attachments": attachments})
}

fn attachment(alert: &Alert, runbook: &str) -> Value {
    let name = alert.labels.get("alertname").map_or(alert.rule.as_str(), String::as_str);
    let summary = RULES.iter().find(|rule| rule.name == name).map_or("", |rule| rule.summary);
    let (color, state) = match (alert.state, alert.severity) {
        (AlertState::Resolved, _) => ("good", "resolved"),
        (AlertState::Firing, Severity::Warning) => ("warning", "warning"),
        (AlertState::Firing, Severity::Critical) => ("danger", "critical"),
    };
    let labels = alert.labels.iter().filter(|(label, _)| *label != "alertname");
    let fields: Vec<Value> = labels
        .map(|(title, value)| json!({"title": title, "value": escaped(value), "short": true}))
        .collect();
    json!({
        "color": color,
        "title": format!("{name} ({state})"),
        "title_link": format!("{runbook}{name}.md"),
        "text": format!("{summary}: {}", alert.value),
        "fallback": format!("{name} ({state}): {summary}"),
        "fields": fields,
        "ts": alert.since / 1_000_000,
    })
}

/// What Slack would read as markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_what_and_where_to_read_on() {
        let labels = [("alertname", "AffluentDrift"), ("feature", "<amount>")];
        let firing = Alert {
            rule: "AffluentDrift.amount.a".to_owned(),
            severity: Severity::Warning,
            state: AlertState::Firing,
            labels: labels.map(|(label, value)| (label.to_owned(), value.to_owned())).into(),
            value: 0.5,
            since: 7_000_000,
        };
        let resolved = Alert { state: AlertState::Resolved, ..firing.clone() };
        let message = slack_message(&[firing, resolved], "https://example.org/runbook/");
        assert_eq!(message["text"], "affluent: 1 firing, 1 resolved");
        let first = &message["attachments"][0];
        assert_eq!(
            (&first["color"], &first["title"]),
            (&json!("warning"), &json!("AffluentDrift (warning)"))
        );
        assert_eq!(first["title_link"], "https://example.org/runbook/AffluentDrift.md");
        assert_eq!(first["text"], "what a model sees has moved: 0.5");
        assert_eq!(first["fields"], json!([{"title": "feature", "value": "&lt;amount&gt;", "short": true}]));
        assert_eq!((&message["attachments"][1]["color"], &first["ts"]), (&json!("good"), &json!(7)));
    }
}
