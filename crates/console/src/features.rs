//! The features: every view with its definitions, how fresh its values are, whether what was served is what the lake gives; and one
//! feature with how its values lie.

use crate::distribution::{self, Distribution};
use crate::frame::{self, NOTHING, Section, State, Viewer, numbers, state, table, time, words};
use crate::lang::{Lang, Text, text};
use crate::path;
use crate::units::{duration, percent};
use maud::{Markup, html};

/// A file of definitions. Times are microseconds UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    pub name: String,
    pub description: String,
    pub entity: String,
    pub source: String,
    pub owner: String,
    /// The newest instant of its vectors in the lake; none before the first.
    pub newest: Option<i64>,
}

/// A definition in short.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    pub name: String,
    /// The view's name.
    pub view: String,
    pub description: String,
    /// Such as `mean(amount)`.
    pub computes: String,
    pub window: String,
    pub sources: String,
    /// How often it is computed: `stream`, `1h`, …
    pub class: &'static str,
    pub version: u32,
    /// How old its values are, seconds: of the stream the 99th percentile from commit to the store, else the age of the newest vectors.
    pub age: Option<f64>,
    /// The part of the last sample that the lake gives otherwise.
    pub skew: Option<f64>,
}

/// All definitions.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    pub now: i64,
    pub views: Vec<View>,
    pub features: Vec<Feature>,
    /// Why it is not known what is in the lake.
    pub problem: Option<String>,
}

/// One feature.
#[derive(Debug, Clone, PartialEq)]
pub struct One {
    pub view: View,
    pub feature: Feature,
    /// Its definition, key by key.
    pub definition: Vec<(String, String)>,
    /// Values of payments that were scored last, and of the newest vectors in the lake.
    pub served: Option<Distribution>,
    pub stored: Option<Distribution>,
    pub problem: Option<String>,
}

const ABOUT: Text = text(
    "One definition a feature: the stream, the lake and training compute it alike. Skew is the part of what was served that the lake gives otherwise.",
    "Une définition par variable : le flux, le lac et l’apprentissage la calculent de même. L’écart est la part de ce qui fut servi que le lac donne autrement.",
);
const UNKNOWN: Text = text("What is in the lake is not known", "Le contenu du lac n’est pas connu");
const ENTITY: Text = text("entity", "entité");
const SOURCE: Text = text("source", "source");
const OWNER: Text = text("owner", "responsable");
const NEWEST: Text = text("newest vectors in the lake", "derniers vecteurs dans le lac");
const NEVER: Text = text("none yet", "aucun pour l’instant");
const AGO: Text = text("old", "d’âge");
const FEATURES: Text = text("Features of", "Variables de");
const FEATURE: Text = text("feature", "variable");
const COMPUTES: Text = text("computes", "calcule");
const WINDOW: Text = text("window", "fenêtre");
const SOURCES: Text = text("sources", "sources");
const CLASS: Text = text("class", "classe");
const VERSION: Text = text("version", "version");
const FRESHNESS: Text = text("freshness", "fraîcheur");
const SKEW: Text = text("skew", "écart");
const BACK: Text = text("All features", "Toutes les variables");
const DEFINITION: Text = text("Definition", "Définition");
const DISTRIBUTION: Text = text("Distribution", "Distribution");
const SERVED: Text = text("Of the payments that were scored last", "Des derniers paiements évalués");
const STORED: Text = text("Of the newest vectors in the lake", "Des derniers vecteurs du lac");

/// Every view with its features.
#[must_use]
pub fn list(viewer: &Viewer, all: &Features) -> String {
    let lang = viewer.lang;
    let body = html! {
        p { (lang.say(ABOUT)) }
        (problem(lang, all.problem.as_deref()))
        @for view in &all.views {
            section aria-label=(view.name) {
                h2 { (view.name) }
                p { (view.description) }
                (facts(lang, view, all.now))
                (features(lang, view, &all.features))
            }
        }
    };
    frame::page(viewer, Section::Features, body)
}

/// One feature; `now` is microseconds UTC.
#[must_use]
pub fn one(viewer: &Viewer, one: &One, now: i64) -> String {
    let lang = viewer.lang;
    let distributions: Vec<(Text, &Distribution)> = [(SERVED, &one.served), (STORED, &one.stored)]
        .into_iter()
        .filter_map(|(t, d)| Some((t, d.as_ref()?)))
        .collect();
    let body = html! {
        p { a href=(Section::Features.path()) { (lang.say(BACK)) } }
        h2 { (one.feature.name) }
        p { (one.feature.description) }
        (facts(lang, &one.view, now))
        ul.facts {
            li { (lang.say(FRESHNESS)) " " (age(lang, one.feature.age)) }
            li { (lang.say(SKEW)) " " (skew(lang, one.feature.skew)) }
        }
        (problem(lang, one.problem.as_deref()))
        h2 { (lang.say(DISTRIBUTION)) }
        @if distributions.is_empty() { p.quiet { (lang.say(NOTHING)) } }
        div.parts { @for (title, found) in distributions { div { (distribution::show(lang, lang.say(title), found)) } } }
        h2 { (lang.say(DEFINITION)) }
        dl.pairs { @for (name, value) in &one.definition { div { dt { (name) } dd { (value) } } } }
    };
    frame::page(viewer, Section::Features, body)
}

/// Where the page of a feature is.
#[must_use]
pub fn feature_path(name: &str) -> String {
    format!("{}/{}", Section::Features.path(), path::part(name))
}

fn problem(lang: Lang, problem: Option<&str>) -> Markup {
    html! {
        @if let Some(problem) = problem {
            p.notice.bad role="alert" { (state(lang, State::Bad)) " " (lang.say(UNKNOWN)) ": " (problem) }
        }
    }
}

fn facts(lang: Lang, view: &View, now: i64) -> Markup {
    html! {
        ul.facts {
            li { (lang.say(ENTITY)) " " (view.entity) }
            li { (lang.say(SOURCE)) " " (view.source) }
            li { (lang.say(OWNER)) " " (view.owner) }
            li {
                (lang.say(NEWEST)) ": "
                @if let Some(newest) = view.newest {
                    (time(newest)) ", " (duration(lang, (now - newest).max(0) as f64 / 1e6)) " " (lang.say(AGO))
                } @else { (lang.say(NEVER)) }
            }
        }
    }
}

fn features(lang: Lang, view: &View, features: &[Feature]) -> Markup {
    let columns = [
        words(FEATURE),
        words(COMPUTES),
        words(WINDOW),
        words(SOURCES),
        words(CLASS),
        numbers(VERSION),
        numbers(FRESHNESS),
        numbers(SKEW),
    ];
    let row = |feature: &Feature| {
        vec![
            html! { a href=(feature_path(&feature.name)) title=(feature.description) { (feature.name) } },
            html! { (feature.computes) },
            html! { (feature.window) },
            html! { (feature.sources) },
            html! { (feature.class) },
            html! { (feature.version) },
            html! { (age(lang, feature.age)) },
            html! { (skew(lang, feature.skew)) },
        ]
    };
    let caption = format!("{} {}", lang.say(FEATURES), view.name);
    table(lang, &caption, &columns, features.iter().filter(|feature| feature.view == view.name).map(row))
}

fn age(lang: Lang, seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "–".to_owned(), |seconds| duration(lang, seconds))
}

fn skew(lang: Lang, ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "–".to_owned(), |ratio| percent(lang, ratio))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        View {
            name: "customers".to_owned(),
            description: "of customers".to_owned(),
            entity: "customer".to_owned(),
            source: "transactions".to_owned(),
            owner: "<script>".to_owned(),
            newest: Some(0),
        }
    }

    fn feature() -> Feature {
        Feature {
            name: "customer_velocity".to_owned(),
            view: "customers".to_owned(),
            description: "\"><script>".to_owned(),
            computes: "ratio".to_owned(),
            window: "1h / 1d".to_owned(),
            sources: "transactions".to_owned(),
            class: "stream",
            version: 2,
            age: Some(0.25),
            skew: Some(0.5),
        }
    }

    #[test]
    fn every_definition_is_there_with_how_fresh_it_is() {
        let problem = Some("no <lake>".to_owned());
        let all = Features { now: 3_600_000_000, views: vec![view()], features: vec![feature()], problem };
        let page = list(&Viewer::default(), &all);
        for said in [
            "href=\"/console/features/customer_velocity\"",
            "1h / 1d",
            "<td class=\"n\">2</td>",
            "<td class=\"n\">250 ms</td>",
            "<td class=\"n\">50.0%</td>",
            "60.0 min old",
            "no &lt;lake&gt;",
            "owner &lt;script&gt;",
        ] {
            assert!(page.contains(said), "{said}: {page}");
        }
        assert!(!page.contains("<script>"), "{page}");
    }

    #[test]
    fn one_is_shown_with_how_its_values_lie() {
        let served = Distribution::of((0..50).map(|n| Some(f64::from(n))));
        let definition = vec![("filter".to_owned(), "a < b".to_owned())];
        let mut asked =
            One { view: view(), feature: feature(), definition, served, stored: None, problem: None };
        let page = one(&Viewer::default(), &asked, 0);
        assert!(page.contains("scored last") && !page.contains("newest vectors in the lake<"), "{page}");
        assert!(page.contains("a &lt; b"));
        asked.served = None;
        assert!(one(&Viewer::default(), &asked, 0).contains("nothing yet"));
    }
}
