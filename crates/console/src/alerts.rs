//! The page of alerts: what the topic `ops.alerts` says of each rule, and what the run ledger says of batch runs.

use crate::frame::{self, Section, State, Viewer, numbers, words};
use crate::lang::{Lang, Text, text};
use crate::units;
use affluent_model::{Alert, AlertState, Severity};
use maud::{Markup, html};

/// What the page shows.
#[derive(Debug, Clone)]
pub struct Alerts {
    /// How each rule stands; or why that is not known.
    pub rules: Result<Vec<Alert>, String>,
    /// The newest first; or why they are not known.
    pub batch: Result<Vec<BatchAlert>, String>,
}

/// Something about a batch run that needed a person.
#[derive(Debug, Clone)]
pub struct BatchAlert {
    /// Microseconds UTC.
    pub at_us: i64,
    pub pipeline: String,
    pub kind: String,
    pub interval: String,
    pub detail: String,
}

/// Rules that one page shows: those that fire first.
const SHOWN_MAX: usize = 500;

const RULES: Text = text("Rules", "Règles");
const RULE: Text = text("rule", "règle");
const STATE: Text = text("state", "état");
const SINCE: Text = text("since", "depuis");
const VALUE: Text = text("value", "valeur");
const LABELS: Text = text("labels", "étiquettes");
const BATCH: Text = text("Batch runs, the newest first", "Traitements, les plus récents d’abord");
const PIPELINE: Text = text("pipeline", "traitement");
const KIND: Text = text("kind", "genre");
const INTERVAL: Text = text("interval", "intervalle");
const DETAIL: Text = text("detail", "détail");
const AT: Text = text("at", "à");
const FIRING: Text = text("firing", "active");
const RESOLVED: Text = text("resolved", "résolue");
const UNKNOWN: Text = text("Not known:", "Inconnu :");

/// The page.
#[must_use]
pub fn page(viewer: &Viewer, model: &Alerts) -> String {
    let lang = viewer.lang;
    let body = html! {
        @match &model.rules {
            Ok(rules) => (rules_table(lang, rules)),
            Err(why) => (unknown(lang, RULES, why)),
        }
        @match &model.batch {
            Ok(batch) => (batch_table(lang, batch)),
            Err(why) => (unknown(lang, BATCH, why)),
        }
    };
    frame::page(viewer, Section::Alerts, body)
}

/// Firing ones are bad or at risk by their severity.
#[must_use]
pub fn state(alert: &Alert) -> State {
    match (alert.state, alert.severity) {
        (AlertState::Resolved, _) => State::Good,
        (AlertState::Firing, Severity::Warning) => State::Warn,
        (AlertState::Firing, Severity::Critical) => State::Bad,
    }
}

fn rules_table(lang: Lang, rules: &[Alert]) -> Markup {
    let mut rules: Vec<&Alert> = rules.iter().collect();
    rules.sort_by_key(|alert| (std::cmp::Reverse(state(alert)), std::cmp::Reverse(alert.since)));
    let columns = [words(RULE), words(STATE), words(SINCE), numbers(VALUE), words(LABELS)];
    let rows = rules.into_iter().take(SHOWN_MAX).map(|alert| {
        let state = state(alert);
        let word = match alert.state {
            AlertState::Firing => FIRING,
            AlertState::Resolved => RESOLVED,
        };
        let labels: Vec<String> = alert.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        vec![
            html! { code { (alert.rule) } },
            html! { span.state.(state.class()) { span aria-hidden="true" { (state.shape()) } " " (lang.say(word)) } },
            frame::time(alert.since),
            html! { (units::short(lang, alert.value)) },
            html! { (labels.join(", ")) },
        ]
    });
    frame::table(lang, lang.say(RULES), &columns, rows)
}

fn batch_table(lang: Lang, batch: &[BatchAlert]) -> Markup {
    let columns = [words(AT), words(PIPELINE), words(KIND), words(INTERVAL), words(DETAIL)];
    let rows = batch.iter().map(|alert| {
        vec![
            frame::time(alert.at_us),
            html! { (alert.pipeline) },
            html! { code { (alert.kind) } },
            html! { (alert.interval) },
            html! { (alert.detail) },
        ]
    });
    frame::table(lang, lang.say(BATCH), &columns, rows)
}

fn unknown(lang: Lang, what: Text, why: &str) -> Markup {
    html! { h2 { (lang.say(what)) } p.notice.warn { (lang.say(UNKNOWN)) " " (why) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(rule: &str, state: AlertState, severity: Severity) -> Alert {
        Alert { rule: rule.to_owned(), severity, state, labels: [].into(), value: 1.0, since: 0 }
    }

    #[test]
    fn what_fires_comes_first() {
        let rules = vec![
            alert("over", AlertState::Resolved, Severity::Critical),
            alert("slight", AlertState::Firing, Severity::Warning),
            alert("grave", AlertState::Firing, Severity::Critical),
        ];
        let page =
            page(&Viewer::default(), &Alerts { rules: Ok(rules), batch: Err("no <ledger>".to_owned()) });
        let place = |text: &str| page.find(text).unwrap();
        assert!(place(">grave<") < place(">slight<") && place(">slight<") < place(">over<"));
        assert!(page.contains("no &lt;ledger&gt;"));
        let mut many = vec![alert("over", AlertState::Resolved, Severity::Critical); 2 * SHOWN_MAX];
        many.push(alert("grave", AlertState::Firing, Severity::Critical));
        let page = super::page(&Viewer::default(), &Alerts { rules: Ok(many), batch: Ok(Vec::new()) });
        assert!(page.contains(">grave<") && page.matches(">over<").count() == SHOWN_MAX - 1);
    }
}
