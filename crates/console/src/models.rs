//! The models: their versions and which of them serves, what each was found to be worth, whether what the serving one sees has moved.

use crate::frame::{self, NOTHING, Section, State, Viewer, form, hidden, numbers, state, table, time, words};
use crate::lang::{Lang, Text, text};
use crate::path;
use crate::units::number;
use maud::{Markup, PreEscaped, html};

/// A model with its versions, the newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub name: String,
    /// The version that serves, the one that asks to, and the one that served before.
    pub champion: Option<u64>,
    pub challenger: Option<u64>,
    pub previous: Option<u64>,
    pub versions: Vec<Version>,
    pub drift: Drift,
}

/// A version as it is listed.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    pub version: u64,
    /// Microseconds UTC.
    pub registered_at: i64,
    pub figures: Vec<(String, f64)>,
    /// Gates that it did not pass.
    pub failed: Vec<String>,
}

/// What the last look at a model in use found.
#[derive(Debug, Clone, PartialEq)]
pub enum Drift {
    /// Nobody has looked yet.
    Never,
    /// Why it is not known.
    Unknown(String),
    Found {
        state: State,
        version: u64,
        period: String,
        /// SVG of our own making.
        plots: Vec<String>,
    },
}

const ABOUT: Text = text(
    "The champion judges payments; the challenger is compared in its shadow. Promoting changes names alone, so it can be taken back.",
    "Le champion juge les paiements ; le challenger lui est comparé dans l’ombre. Promouvoir ne change que des noms et se défait donc.",
);
const UNKNOWN: Text = text("The registry of models does not answer", "Le registre des modèles ne répond pas");
const NO_MODEL: Text = text(
    "There is no model yet: affluent train --help",
    "Aucun modèle pour l’instant : affluent train --help",
);
const VERSION: Text = text("version", "version");
const VERSIONS: Text = text("Versions of", "Versions de");
const NAMES: Text = text("name", "nom");
const REGISTERED: Text = text("registered", "enregistrée");
const FIGURES: Text = text("figures", "mesures");
const FAILED: Text = text("failed gates", "contrôles échoués");
const ACTION: Text = text("action", "action");
const REPORT: Text = text("report", "rapport");
const CHAMPION: Text = text("champion", "champion");
const CHALLENGER: Text = text("challenger", "challenger");
const PREVIOUS: Text = text("previous", "précédent");
const PROMOTE: Text = text("Promote", "Promouvoir");
const NEVERTHELESS: Text = text("although it failed its gates", "malgré les contrôles échoués");
const ROLL_BACK: Text = text("Roll back", "Revenir au précédent");
const DRIFT: Text = text("Drift", "Dérive");
const OF_VERSION: Text = text("of version", "de la version");
const WHOLE_PAGE: Text = text("Open the report alone", "Ouvrir le rapport seul");
const BACK: Text = text("All models", "Tous les modèles");
const NO_REPORT: Text = text(
    "It has no page: it was learned elsewhere and not judged here.",
    "Pas de page : ce modèle vient d’ailleurs et n’a pas été jugé ici.",
);

/// All models; `problem` says why they are not known.
#[must_use]
pub fn list(viewer: &Viewer, models: &[Model], problem: Option<&str>) -> String {
    let lang = viewer.lang;
    let body = html! {
        p { (lang.say(ABOUT)) }
        @if let Some(problem) = problem {
            p.notice.bad role="alert" { (state(lang, State::Bad)) " " (lang.say(UNKNOWN)) ": " (problem) }
        } @else if models.is_empty() {
            p.quiet { (lang.say(NO_MODEL)) }
        }
        @for model in models {
            section aria-label=(model.name) {
                h2 { (model.name) }
                (versions(viewer, model))
                @if model.previous.is_some() {
                    (form(viewer, viewer.may_change, &action(&model.name, "rollback"), html! {}, ROLL_BACK))
                }
                h3 { (lang.say(DRIFT)) }
                (drift(lang, &model.drift))
            }
        }
    };
    frame::page(viewer, Section::Models, body)
}

/// The report of a version, in a frame of its own; without one where it `has_report` not.
#[must_use]
pub fn version(viewer: &Viewer, model: &str, version: u64, has_report: bool) -> String {
    let lang = viewer.lang;
    let (title, report) = (format!("{model} {version}"), report_path(model, version));
    let body = html! {
        p {
            a href=(Section::Models.path()) { (lang.say(BACK)) }
            @if has_report { " · " a href=(report) { (lang.say(WHOLE_PAGE)) } }
        }
        h2 { (title) }
        @if has_report { iframe.report src=(report) title={ (lang.say(REPORT)) " " (title) } sandbox="" {} }
        @else { p.quiet { (lang.say(NO_REPORT)) } }
    };
    frame::page(viewer, Section::Models, body)
}

/// Where the page of a version is.
#[must_use]
pub fn version_path(model: &str, version: u64) -> String {
    format!("{}/{}/{version}", Section::Models.path(), path::part(model))
}

/// Where its report is.
#[must_use]
pub fn report_path(model: &str, version: u64) -> String {
    format!("{}/report", version_path(model, version))
}

fn action(model: &str, what: &str) -> String {
    format!("{}/{}/{what}", Section::Models.path(), path::part(model))
}

fn versions(viewer: &Viewer, model: &Model) -> Markup {
    let lang = viewer.lang;
    let columns = [
        numbers(VERSION),
        words(NAMES),
        words(REGISTERED),
        words(FIGURES),
        words(FAILED),
        words(REPORT),
        words(ACTION),
    ];
    let row = |version: &Version| {
        vec![
            html! { (version.version) },
            html! { (names(lang, model, version.version)) },
            time(version.registered_at),
            html! {
                ul.plain { @for (name, value) in &version.figures { li { (name) " " (number(lang, *value, 4)) } } }
            },
            html! { (version.failed.join(", ")) },
            html! { a href=(version_path(&model.name, version.version)) { (lang.say(REPORT)) " " (version.version) } },
            promotion(viewer, model, version),
        ]
    };
    let caption = format!("{} {}", lang.say(VERSIONS), model.name);
    table(lang, &caption, &columns, model.versions.iter().map(row))
}

/// The names of a version.
fn names(lang: Lang, model: &Model, version: u64) -> String {
    let names = [(CHAMPION, model.champion), (CHALLENGER, model.challenger), (PREVIOUS, model.previous)];
    let names = names.into_iter().filter(|(_, of)| *of == Some(version)).map(|(name, _)| lang.say(name));
    names.collect::<Vec<&str>>().join(", ")
}

/// The form that lets a version serve; nothing for the one that does.
fn promotion(viewer: &Viewer, model: &Model, version: &Version) -> Markup {
    if model.champion == Some(version.version) || !viewer.may_change {
        return html! { "–" };
    }
    let fields = html! {
        (hidden("version", &version.version.to_string()))
        @if !version.failed.is_empty() {
            label { input type="checkbox" name="force" value="yes" required; " " (viewer.lang.say(NEVERTHELESS)) }
        }
    };
    form(viewer, true, &action(&model.name, "promote"), fields, PROMOTE)
}

fn drift(lang: Lang, drift: &Drift) -> Markup {
    html! {
        @match drift {
            Drift::Never => p.quiet { (lang.say(NOTHING)) },
            Drift::Unknown(why) => p { (state(lang, State::Bad)) " " (why) },
            Drift::Found { state: found, version, period, plots } => {
                p { (state(lang, *found)) " · " (lang.say(OF_VERSION)) " " (version) " · " (period) }
                div.plots {
                    @for plot in plots {
                        div.plot role="img" aria-label=(lang.say(DRIFT)) { (PreEscaped(plot)) }
                    }
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        let version = |version, failed: &[&str]| Version {
            version,
            registered_at: 0,
            figures: vec![("auc_roc".to_owned(), 0.98765)],
            failed: failed.iter().map(|&gate| gate.to_owned()).collect(),
        };
        Model {
            name: "fraud".to_owned(),
            champion: Some(2),
            challenger: Some(3),
            previous: Some(1),
            versions: vec![version(3, &["<judged>"]), version(2, &[]), version(1, &[])],
            drift: Drift::Found {
                state: State::Warn,
                version: 2,
                period: "a week".to_owned(),
                plots: vec!["<svg></svg>".to_owned()],
            },
        }
    }

    fn viewer(may_change: bool) -> Viewer {
        Viewer { csrf: "s3cret".to_owned(), may_change, ..Viewer::default() }
    }

    #[test]
    fn what_does_not_serve_can_be_promoted_and_what_failed_only_knowingly() {
        let page = list(&viewer(true), &[model()], None);
        assert_eq!(page.matches("action=\"/console/models/fraud/promote\"").count(), 2);
        assert_eq!(page.matches("name=\"force\"").count(), 1);
        assert!(page.contains("action=\"/console/models/fraud/rollback\"") && page.contains("0.9877"));
        assert!(page.contains("&lt;judged&gt;") && !page.contains("<judged>"));
        assert!(page.contains("<svg></svg>") && page.contains("at risk"));
        let page = list(&viewer(false), &[model()], None);
        assert!(!page.contains("/promote") && !page.contains("/rollback\""), "{page}");
    }

    #[test]
    fn a_report_is_framed_without_any_right() {
        let page = version(&viewer(true), "a b", 3, true);
        assert!(
            page.contains("src=\"/console/models/a%20b/3/report\"") && page.contains("sandbox=\"\""),
            "{page}"
        );
        assert!(!version(&viewer(true), "a b", 3, false).contains("<iframe"));
    }

    #[test]
    fn a_registry_that_does_not_answer_is_told() {
        let page = list(&viewer(true), &[], Some("<refused>"));
        assert!(
            page.contains("does not answer: &lt;refused&gt;") && !page.contains("no model yet"),
            "{page}"
        );
        assert!(list(&viewer(true), &[], None).contains("no model yet"));
    }
}
