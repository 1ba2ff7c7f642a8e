//! The fraud desk: payments that were not approved, as they come, and one payment with all that is known of it (`past`). What is said
//! there of a payment is a label, from which models learn.

mod past;

pub use past::{Change, Judged, Moment, Payment, What, payment};

use crate::frame::{self, Section, State, Viewer, live, numbers, table, time, words};
use crate::lang::{Lang, Text, text};
use crate::path;
use crate::units::number;
use affluent_model::score::Decision;
use maud::{Markup, html};

/// The part of the page that renews itself.
pub const ALERTS: &str = "fraud-alerts";
/// Where fragments of [`ALERTS`] come from.
pub const LIVE: &str = "/console/live?page=fraud";

/// A payment that was reviewed or declined. Times are microseconds UTC.
#[derive(Debug, Clone, PartialEq)]
pub struct Alert {
    pub id: String,
    pub scored_at: i64,
    pub decision: Decision,
    /// Probability of fraud; none where no model judged.
    pub score: Option<f64>,
    /// With its currency.
    pub amount: String,
    /// In words, the weightiest first.
    pub reasons: Vec<String>,
    pub label: Option<Label>,
}

/// What people said of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// It was fraud.
    Confirmed,
    /// It was not.
    Cleared,
}

const ABOUT: Text = text(
    "Payments that were sent to review or declined. What you say of one is a label: it reaches the warehouse, and models learn from it.",
    "Paiements mis en examen ou refusés. Votre avis devient une étiquette : elle rejoint l’entrepôt et les modèles en apprennent.",
);
const CAPTION: Text = text("The newest alerts", "Les alertes les plus récentes");
const PAYMENT: Text = text("payment", "paiement");
const AMOUNT: Text = text("amount", "montant");
const DECISION: Text = text("decision", "décision");
const SCORE: Text = text("score", "score");
const SCORED: Text = text("scored", "évalué");
const REASONS: Text = text("reasons", "raisons");
const LABEL: Text = text("label", "étiquette");
const LOOK_UP: Text = text("Payment’s id", "Identifiant du paiement");
const SHOW: Text = text("Show", "Afficher");

/// The desk.
#[must_use]
pub fn desk(viewer: &Viewer, alerts: &[Alert]) -> String {
    let lang = viewer.lang;
    let body = html! {
        p { (lang.say(ABOUT)) }
        form.act method="get" action=(Section::Fraud.path()) {
            (frame::input(lang, LOOK_UP, "id", ""))
            button type="submit" { (lang.say(SHOW)) }
        }
        (live(LIVE, ALERTS, list(lang, alerts)))
    };
    frame::page(viewer, Section::Fraud, body)
}

/// The newest alerts: the content of [`ALERTS`].
#[must_use]
pub fn list(lang: Lang, alerts: &[Alert]) -> Markup {
    let columns = [
        words(PAYMENT),
        words(SCORED),
        words(DECISION),
        numbers(SCORE),
        numbers(AMOUNT),
        words(REASONS),
        words(LABEL),
    ];
    let row = |alert: &Alert| {
        vec![
            html! { a href=(payment_path(&alert.id)) { (alert.id) } },
            time(alert.scored_at),
            decided(lang, alert.decision),
            html! { (alert.score.map_or_else(|| "–".to_owned(), |score| number(lang, score, 3))) },
            html! { (alert.amount) },
            html! { ul.plain { @for reason in &alert.reasons { li { (reason) } } } },
            html! { @if let Some(label) = alert.label { (lang.say(label.word())) } @else { "–" } },
        ]
    };
    table(lang, lang.say(CAPTION), &columns, alerts.iter().map(row))
}

/// Where the page of a payment is.
#[must_use]
pub fn payment_path(id: &str) -> String {
    format!("{}/{}", Section::Fraud.path(), path::part(id))
}

/// Where a label of a payment is sent to.
#[must_use]
pub fn label_path(id: &str) -> String {
    format!("{}/label", payment_path(id))
}

impl Label {
    pub const ALL: [Label; 2] = [Label::Confirmed, Label::Cleared];

    /// As in forms and APIs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Label::Confirmed => "confirmed",
            Label::Cleared => "cleared",
        }
    }

    #[must_use]
    pub fn word(self) -> Text {
        match self {
            Label::Confirmed => text("confirmed as fraud", "fraude confirmée"),
            Label::Cleared => text("cleared", "doute levé"),
        }
    }
}

/// A decision as shape, colour and word.
fn decided(lang: Lang, decision: Decision) -> Markup {
    let (state, word) = match decision {
        Decision::Approve => (State::Good, text("approve", "accepté")),
        Decision::Review => (State::Warn, text("review", "à examiner")),
        Decision::Decline => (State::Bad, text("decline", "refusé")),
    };
    html! {
        span.state.(state.class()) { span.shape aria-hidden="true" { (state.shape()) } " " (lang.say(word)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_says_why_and_leads_to_its_payment() {
        let alert = Alert {
            id: "a/b".to_owned(),
            scored_at: 0,
            decision: Decision::Decline,
            score: None,
            amount: "12.34 EUR".to_owned(),
            reasons: vec!["<script>".to_owned()],
            label: Some(Label::Confirmed),
        };
        let html = list(Lang::En, &[alert]).into_string();
        for said in ["/console/fraud/a%2Fb", "decline", "12.34 EUR", "&lt;script&gt;", "confirmed as fraud"] {
            assert!(html.contains(said), "{said}: {html}");
        }
        assert!(!html.contains("<script>"));
        assert!(desk(&Viewer::default(), &[]).contains("id=\"fraud-alerts\""));
    }
}
