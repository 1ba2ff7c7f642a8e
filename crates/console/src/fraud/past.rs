//! One payment: its decision and the reasons, what happened to it, what it says itself, and what people say of it.

use super::{LABEL, Label, PAYMENT, SCORE, SCORED, decided, label_path};
use crate::frame::{self, NOTHING, Section, Viewer, form, hidden, numbers, table, time, words};
use crate::lang::{Lang, Text, text};
use crate::units::{duration, number};
use affluent_model::score::{Decision, Degraded};
use maud::{Markup, html};

/// A payment and its past. Times are microseconds UTC.
#[derive(Debug, Clone, PartialEq)]
pub struct Payment {
    pub id: String,
    /// None where it was not scored.
    pub judged: Option<Judged>,
    pub label: Option<Label>,
    /// What happened to it, the oldest first.
    pub moments: Vec<Moment>,
    /// Why moments of the lake are missing.
    pub problem: Option<String>,
    /// Name and value of what it says itself.
    pub facts: Vec<(String, String)>,
}

/// Its score of record.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    pub decision: Decision,
    pub score: Option<f64>,
    /// Name and version.
    pub model: Option<(String, u64)>,
    pub degraded: Option<Degraded>,
    /// From commit to score, seconds.
    pub took: f64,
    /// Rules that it fulfils, in words.
    pub rules: Vec<String>,
    /// What speaks for fraud, and by how much it raises the log odds.
    pub reasons: Vec<(String, f64)>,
    /// Name with version, and value.
    pub features: Vec<(String, Option<f64>)>,
}

/// Something that happened to a payment.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    pub at: i64,
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Occurred,
    Scored(Decision),
    Labelled(Label),
    /// A row of this table was written, with this status.
    Changed {
        table: String,
        change: Change,
        status: String,
    },
}

/// How a row was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Created,
    Updated,
    Deleted,
    /// It was there before the platform.
    Read,
}

const CONFIRM: Text = text("Confirm fraud", "Confirmer la fraude");
const CLEAR: Text = text("Clear", "Lever le doute");
const WHY: Text = text("Why", "Pourquoi");
const HISTORY: Text = text("History", "Historique");
const SAYS: Text = text("What it says itself", "Ce qu’il dit lui-même");
const KNEW: Text = text("Features at the time", "Variables à cet instant");
const CONTRIBUTION: Text = text("raises the log odds by", "augmente le log-odds de");
const NOT_SCORED: Text = text("It was not scored.", "Il n’a pas été évalué.");
const NO_REASON: Text = text("Nothing speaks for fraud.", "Rien n’indique une fraude.");
const RULE: Text = text("rule", "règle");
const JUDGED_BY: Text = text("judged by", "jugé par");
const RULES_ALONE: Text = text("rules alone", "les règles seules");
const AFTER: Text = text("after", "après");
const FEATURE: Text = text("feature", "variable");
const VALUE: Text = text("value", "valeur");
const PARTLY: Text =
    text("The lake’s part of the history is missing", "La partie de l’historique issue du lac manque");
const BACK: Text = text("All alerts", "Toutes les alertes");

/// One payment.
#[must_use]
pub fn payment(viewer: &Viewer, payment: &Payment) -> String {
    let lang = viewer.lang;
    // Who may not is told so once.
    let offered = Label::ALL.into_iter().filter(|label| payment.label != Some(*label));
    let offered = offered.take(if viewer.may_label { Label::ALL.len() } else { 1 });
    let body = html! {
        p { a href=(Section::Fraud.path()) { (lang.say(BACK)) } }
        h2 #payment { (lang.say(PAYMENT)) " " (payment.id) }
        p #label {
            (lang.say(LABEL)) ": "
            @if let Some(label) = payment.label { strong { (lang.say(label.word())) } } @else { (lang.say(NOTHING)) }
        }
        div.actions { @for label in offered { (labelling(viewer, &payment.id, label)) } }
        h2 { (lang.say(WHY)) }
        @match &payment.judged {
            Some(judged) => (why(lang, judged)),
            None => p { (lang.say(NOT_SCORED)) },
        }
        h2 { (lang.say(HISTORY)) }
        @if let Some(problem) = &payment.problem { p.quiet { (lang.say(PARTLY)) ": " (problem) } }
        ol.history { @for moment in &payment.moments { li { (time(moment.at)) " " (happened(lang, &moment.what)) } } }
        h2 { (lang.say(SAYS)) }
        dl.pairs { @for (name, value) in &payment.facts { div { dt { (name) } dd { (value) } } } }
        @if let Some(judged) = &payment.judged { (features(lang, judged)) }
    };
    frame::page(viewer, Section::Fraud, body)
}

fn labelling(viewer: &Viewer, id: &str, label: Label) -> Markup {
    let button = match label {
        Label::Confirmed => CONFIRM,
        Label::Cleared => CLEAR,
    };
    form(viewer, viewer.may_label, &label_path(id), hidden("label", label.name()), button)
}

fn why(lang: Lang, judged: &Judged) -> Markup {
    html! {
        p {
            (decided(lang, judged.decision))
            @if let Some(score) = judged.score { " · " (lang.say(SCORE)) " " (number(lang, score, 3)) }
            " · " (lang.say(JUDGED_BY)) " "
            @match &judged.model {
                Some((name, version)) => { (name) " " (version) },
                None => (lang.say(RULES_ALONE)),
            }
            " " (lang.say(AFTER)) " " (duration(lang, judged.took))
            @if let Some(degraded) = judged.degraded { " · " (lang.say(without(degraded))) }
        }
        @if judged.rules.is_empty() && judged.reasons.is_empty() { p { (lang.say(NO_REASON)) } }
        ul.reasons {
            @for rule in &judged.rules { li { (lang.say(RULE)) ": " (rule) } }
            @for (words, contribution) in &judged.reasons {
                li { (words) " " span.quiet { "(" (lang.say(CONTRIBUTION)) " " (number(lang, *contribution, 2)) ")" } }
            }
        }
    }
}

/// What a judgement had to do without.
fn without(degraded: Degraded) -> Text {
    match degraded {
        Degraded::NoModel => text("no model serves", "aucun modèle en service"),
        Degraded::LastKnownFeatures => {
            text("by features as known last", "selon les dernières variables connues")
        }
        Degraded::NoFeatures => text("without features", "sans variables"),
        Degraded::Deadline => text("the deadline had passed", "délai dépassé"),
    }
}

fn happened(lang: Lang, what: &What) -> Markup {
    html! {
        @match what {
            What::Occurred => (lang.say(text("occurred", "a eu lieu"))),
            What::Scored(decision) => { (lang.say(SCORED)) ": " (decided(lang, *decision)) },
            What::Labelled(label) => (lang.say(label.word())),
            What::Changed { table, change, status } => {
                (table) " " (lang.say(change.word()))
                @if !status.is_empty() { ": " (status) }
            },
        }
    }
}

impl Change {
    fn word(self) -> Text {
        match self {
            Change::Created => text("created", "créé"),
            Change::Updated => text("updated", "modifié"),
            Change::Deleted => text("deleted", "supprimé"),
            Change::Read => text("found", "trouvé"),
        }
    }
}

fn features(lang: Lang, judged: &Judged) -> Markup {
    let columns = [words(FEATURE), numbers(VALUE)];
    let row = |(name, value): &(String, Option<f64>)| {
        let value = value.map_or_else(|| "–".to_owned(), |value| value.to_string());
        vec![html! { (name) }, html! { (value) }]
    };
    html! {
        details { summary { (lang.say(KNEW)) } (table(lang, lang.say(KNEW), &columns, judged.features.iter().map(row))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn viewer(may_label: bool) -> Viewer {
        Viewer { csrf: "s3cret".to_owned(), may_label, ..Viewer::default() }
    }

    fn judged() -> Judged {
        Judged {
            decision: Decision::Review,
            score: Some(0.75),
            model: Some(("fraud".to_owned(), 3)),
            degraded: None,
            took: 0.012,
            rules: vec!["<b>over the limit</b>".to_owned()],
            reasons: vec![("Payments of the card (1h): 14".to_owned(), 1.25)],
            features: vec![("card_payments_1h@1".to_owned(), Some(14.0)), ("a@2".to_owned(), None)],
        }
    }

    fn asked(label: Option<Label>) -> Payment {
        let changed = What::Changed {
            table: "transactions".to_owned(),
            change: Change::Updated,
            status: "captured".to_owned(),
        };
        Payment {
            id: "a/b".to_owned(),
            judged: Some(judged()),
            label,
            moments: vec![Moment { at: 0, what: What::Occurred }, Moment { at: 9, what: changed }],
            problem: None,
            facts: vec![("ip".to_owned(), "<script>".to_owned())],
        }
    }

    #[test]
    fn who_may_label_can_say_what_was_not_said() {
        let page = |may, label| payment(&viewer(may), &asked(label));
        let fresh = page(true, None);
        for said in
            ["value=\"confirmed\"", "value=\"cleared\"", "action=\"/console/fraud/a%2Fb/label\"", "s3cret"]
        {
            assert!(fresh.contains(said), "{said}: {fresh}");
        }
        let confirmed = page(true, Some(Label::Confirmed));
        assert!(!confirmed.contains("value=\"confirmed\"") && confirmed.contains("value=\"cleared\""));
        assert!(!page(false, None).contains("value=\"confirmed\""));
    }

    #[test]
    fn a_payment_is_told_with_its_reasons_and_its_past() {
        let page = payment(&viewer(true), &asked(None));
        for said in [
            "fraud 3",
            "12.0 ms",
            "&lt;b&gt;over the limit",
            "Payments of the card (1h): 14",
            "transactions updated: captured",
            "card_payments_1h@1",
        ] {
            assert!(page.contains(said), "{said}: {page}");
        }
        assert!(!page.contains("<script>") && page.contains("&lt;script&gt;"));
        let unknown = Payment { judged: None, problem: Some("slow".to_owned()), ..asked(None) };
        let page = payment(&viewer(true), &unknown);
        assert!(page.contains("It was not scored.") && page.contains("is missing: slow"), "{page}");
    }
}
