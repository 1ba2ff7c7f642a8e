//! The page at `/`: the data's way as a picture, what was promised and what is kept, how the roles do.

use crate::frame::{self, Section, State, Viewer, numbers, words};
use crate::lang::{Lang, Text, text};
use crate::units;
use maud::{Markup, html};

/// Where the parts of the page come from that renew themselves.
pub const LIVE: &str = "/console/live?page=overview";

/// What the page shows.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    pub version: String,
    pub uptime_s: f64,
    pub resident_bytes: f64,
    /// Name, state and what is said of it.
    pub roles: Vec<(String, State, String)>,
    pub arrows: Vec<Arrow>,
    pub promises: Vec<Kept>,
    /// Dead letters that wait; none where the bus does not tell.
    pub dead_letters: Option<u64>,
    /// Replication slots and the bytes of log that they keep.
    pub slots: Vec<(String, f64)>,
}

/// A station of the data's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Database,
    Apps,
    Bus,
    Documents,
    Lake,
    Features,
    Scores,
    Warehouse,
    WrittenBack,
}

/// A stretch of the way, as it was over the last minute.
#[derive(Debug, Clone, Copy)]
pub struct Arrow {
    pub from: Place,
    pub to: Place,
    /// None where it is not counted.
    pub per_second: Option<f64>,
    /// Records that wait; none where nobody counts.
    pub lag: Option<f64>,
    /// 99 of 100 took at most so many seconds.
    pub p99: Option<f64>,
    /// Seconds that were promised.
    pub goal: f64,
}

/// A promise and how it is kept.
#[derive(Debug, Clone)]
pub struct Kept {
    pub name: String,
    pub what: Text,
    pub goal: f64,
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    pub per_second: f64,
}

/// Nothing measured is nothing to judge; nearer than a fifth to the promise is a risk.
#[must_use]
pub fn judge(measured: Option<f64>, goal: f64) -> State {
    match measured {
        None => State::Idle,
        Some(value) if value > goal => State::Bad,
        Some(value) if value > 0.8 * goal => State::Warn,
        Some(_) => State::Good,
    }
}

impl Place {
    const ALL: [Place; 9] = [
        Place::Database,
        Place::Apps,
        Place::Bus,
        Place::Documents,
        Place::Lake,
        Place::Features,
        Place::Scores,
        Place::Warehouse,
        Place::WrittenBack,
    ];

    fn name(self) -> Text {
        match self {
            Place::Database => text("Payments database", "Base des paiements"),
            Place::Apps => text("Apps and services", "Applis et services"),
            Place::Bus => text("Kafka", "Kafka"),
            Place::Documents => text("Documents", "Documents"),
            Place::Lake => text("Lake", "Lac"),
            Place::Features => text("Features", "Variables"),
            Place::Scores => text("Scores", "Scores"),
            Place::Warehouse => text("Warehouse", "Entrepôt"),
            Place::WrittenBack => text("Score in the database", "Score dans la base"),
        }
    }

    /// The middle of its box.
    fn middle(self) -> (f64, f64) {
        match self {
            Place::Database => (95.0, 105.0),
            Place::Apps => (95.0, 275.0),
            Place::Bus => (365.0, 190.0),
            Place::Documents => (640.0, 45.0),
            Place::Lake => (640.0, 140.0),
            Place::Features => (640.0, 235.0),
            Place::Scores => (640.0, 335.0),
            Place::Warehouse => (905.0, 140.0),
            Place::WrittenBack => (905.0, 335.0),
        }
    }
}

impl Arrow {
    #[must_use]
    pub fn state(&self) -> State {
        judge(self.p99, self.goal)
    }
}

const BOX_WIDTH: f64 = 160.0;
const BOX_HEIGHT: f64 = 44.0;
const WAY: Text = text("The data’s way, last minute", "Le trajet des données, dernière minute");
const PROMISES: Text = text("Promises, last minute", "Engagements, dernière minute");
const PROMISE: Text = text("promise", "engagement");
const GOAL: Text = text("goal", "objectif");
const STATE: Text = text("state", "état");
const RATE: Text = text("a second", "par seconde");
const ROLES: Text = text("Roles", "Rôles");
const ROLE: Text = text("role", "rôle");
const DETAIL: Text = text("detail", "détail");
const P50: Text = text("p50", "p50");
const P99: Text = text("p99", "p99");
const FROM: Text = text("from", "de");
const TO: Text = text("to", "vers");
const LAG: Text = text("records waiting", "enregistrements en attente");
const AS_TABLE: Text = text("The same as a table", "Le même en tableau");
const UP: Text = text("up", "en marche depuis");
const RESIDENT: Text = text("resident", "en mémoire");
const WAITING: Text = text("dead letters", "rebuts");
const UNKNOWN: Text = text("unknown", "inconnu");
const KEPT_LOG: Text = text("log kept by", "journal gardé par");
const WAITING_SHORT: Text = text("waiting", "en attente");

/// The page.
#[must_use]
pub fn page(viewer: &Viewer, model: &Overview) -> String {
    let body = html! {
        @for (id, part) in parts(viewer.lang, model) { (frame::live(LIVE, id, part)) }
    };
    frame::page(viewer, Section::Overview, body)
}

/// The parts that renew themselves: id and content.
#[must_use]
pub fn parts(lang: Lang, model: &Overview) -> Vec<(&'static str, Markup)> {
    vec![
        ("facts", facts(lang, model)),
        ("way", way(lang, &model.arrows)),
        ("promises", promises(lang, &model.promises)),
        ("roles", roles(lang, &model.roles)),
    ]
}

fn facts(lang: Lang, model: &Overview) -> Markup {
    let letters = model.dead_letters.map_or_else(|| lang.say(UNKNOWN).to_owned(), |count| count.to_string());
    html! {
        ul.facts {
            li { "affluent " (model.version) }
            li { (lang.say(UP)) " " (units::duration(lang, model.uptime_s)) }
            li { (units::bytes(lang, model.resident_bytes)) " " (lang.say(RESIDENT)) }
            li { a href=(Section::DeadLetters.path()) { (lang.say(WAITING)) ": " (letters) } }
            @for (slot, bytes) in &model.slots {
                li { (lang.say(KEPT_LOG)) " " (slot) ": " (units::bytes(lang, *bytes)) }
            }
        }
    }
}

fn way(lang: Lang, arrows: &[Arrow]) -> Markup {
    let said: Vec<String> = arrows.iter().map(|arrow| sentence(lang, arrow)).collect();
    let label = format!("{}. {}", lang.say(WAY), said.join(". "));
    html! {
        h2 { (lang.say(WAY)) }
        div.way role="region" aria-label=(lang.say(WAY)) tabindex="0" {
            svg viewBox="0 0 1000 375" role="img" aria-label=(label) {
                @for arrow in arrows { (drawn(lang, arrow)) }
                @for place in Place::ALL {
                    @let (x, y) = place.middle();
                    rect.node x=(x - BOX_WIDTH / 2.0) y=(y - BOX_HEIGHT / 2.0) width=(BOX_WIDTH) height=(BOX_HEIGHT) rx="8" {}
                    text.node-name x=(x) y=(y + 4.0) text-anchor="middle" { (lang.say(place.name())) }
                }
            }
        }
        details {
            summary { (lang.say(AS_TABLE)) }
            (table_of(lang, arrows))
        }
    }
}

/// An arrow between two boxes, with its figures over its middle.
fn drawn(lang: Lang, arrow: &Arrow) -> Markup {
    let ((from_x, from_y), (to_x, to_y)) = (arrow.from.middle(), arrow.to.middle());
    let (x1, x2) = (from_x + BOX_WIDTH / 2.0, to_x - BOX_WIDTH / 2.0 - 9.0);
    let bend = (x2 - x1) / 2.0;
    let path = format!("M{x1} {from_y}C{} {from_y} {} {to_y} {x2} {to_y}", x1 + bend, x2 - bend);
    let (middle_x, middle_y) = (f64::midpoint(x1, x2), f64::midpoint(from_y, to_y));
    let state = arrow.state();
    let class = state.class();
    let tip = format!("M{x2} {}l9 5l-9 5z", to_y - 5.0);
    let rate = arrow.per_second.map(|rate| format!("{}/s", units::short(lang, rate)));
    let p99 = arrow.p99.map_or_else(|| "–".to_owned(), |p99| units::duration(lang, p99));
    let lag = arrow.lag.filter(|lag| *lag > 0.0);
    html! {
        path class=(format!("arrow {class}")) d=(path) {}
        path class=(format!("tip {class}")) d=(tip) {}
        @if let Some(rate) = rate {
            text x=(middle_x) y=(middle_y - 14.0) text-anchor="middle" { (rate) }
        }
        text class=(class) x=(middle_x) y=(middle_y + 4.0) text-anchor="middle" { (state.shape()) " " (p99) }
        @if let Some(lag) = lag {
            text x=(middle_x) y=(middle_y + 20.0) text-anchor="middle" {
                (units::short(lang, lag)) " " (lang.say(WAITING_SHORT))
            }
        }
    }
}

fn sentence(lang: Lang, arrow: &Arrow) -> String {
    let p99 = arrow.p99.map_or_else(|| "–".to_owned(), |p99| units::duration(lang, p99));
    let (from, to) = (lang.say(arrow.from.name()), lang.say(arrow.to.name()));
    format!("{from} → {to}: {}, p99 {p99}", lang.say(arrow.state().word()))
}

fn table_of(lang: Lang, arrows: &[Arrow]) -> Markup {
    let columns =
        [words(FROM), words(TO), numbers(RATE), numbers(LAG), numbers(P99), numbers(GOAL), words(STATE)];
    let rows = arrows.iter().map(|arrow| {
        vec![
            html! { (lang.say(arrow.from.name())) },
            html! { (lang.say(arrow.to.name())) },
            known(arrow.per_second, |rate| units::short(lang, rate)),
            known(arrow.lag, |lag| units::short(lang, lag)),
            known(arrow.p99, |p99| units::duration(lang, p99)),
            html! { (units::duration(lang, arrow.goal)) },
            frame::state(lang, arrow.state()),
        ]
    });
    frame::table(lang, lang.say(WAY), &columns, rows)
}

fn promises(lang: Lang, promises: &[Kept]) -> Markup {
    let columns = [
        words(PROMISE),
        words(DETAIL),
        numbers(RATE),
        numbers(P50),
        numbers(P99),
        numbers(GOAL),
        words(STATE),
    ];
    let rows = promises.iter().map(|kept| {
        vec![
            html! { (kept.name) },
            html! { (lang.say(kept.what)) },
            html! { (units::short(lang, kept.per_second)) },
            known(kept.p50, |p50| units::duration(lang, p50)),
            known(kept.p99, |p99| units::duration(lang, p99)),
            html! { (units::duration(lang, kept.goal)) },
            frame::state(lang, judge(kept.p99, kept.goal)),
        ]
    });
    frame::table(lang, lang.say(PROMISES), &columns, rows)
}

fn roles(lang: Lang, roles: &[(String, State, String)]) -> Markup {
    let rows = roles
        .iter()
        .map(|(name, state, detail)| vec![html! { (name) }, frame::state(lang, *state), html! { (detail) }]);
    frame::table(lang, lang.say(ROLES), &[words(ROLE), words(STATE), words(DETAIL)], rows)
}

fn known(value: Option<f64>, show: impl Fn(f64) -> String) -> Markup {
    html! { (value.map_or_else(|| "–".to_owned(), show)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_judged_by_how_near_it_is() {
        for (measured, expected) in [
            (None, State::Idle),
            (Some(0.0), State::Good),
            (Some(2.4), State::Good),
            (Some(2.5), State::Warn),
            (Some(3.0), State::Warn),
            (Some(3.1), State::Bad),
        ] {
            assert_eq!(judge(measured, 3.0), expected, "{measured:?}");
        }
    }

    #[test]
    fn the_way_is_drawn_and_told() {
        let arrow =
            |from, to, p99| Arrow { from, to, per_second: Some(12.0), lag: Some(3.0), p99, goal: 3.0 };
        let model = Overview {
            arrows: vec![
                arrow(Place::Database, Place::Bus, Some(0.05)),
                arrow(Place::Bus, Place::Lake, Some(7.0)),
            ],
            roles: vec![("cdc".to_owned(), State::Bad, "<no slot>".to_owned())],
            ..Overview::default()
        };
        let page = page(&Viewer::default(), &model);
        assert!(page.contains("Payments database → Kafka: good, p99 50.0 ms"), "{page}");
        assert!(page.contains("arrow bad") && page.contains("■ 7.00 s"));
        assert!(page.contains("&lt;no slot&gt;") && page.contains("dead letters: unknown"));
        for (id, _) in parts(Lang::En, &model) {
            assert!(page.contains(&format!("id=\"{id}\" data-live=\"{LIVE}\"")), "{id}");
        }
    }

    #[test]
    fn no_box_lies_on_another() {
        for (at, one) in Place::ALL.iter().enumerate() {
            for other in &Place::ALL[at + 1..] {
                let ((x, y), (u, v)) = (one.middle(), other.middle());
                assert!((x - u).abs() > BOX_WIDTH || (y - v).abs() > BOX_HEIGHT, "{one:?} {other:?}");
            }
        }
    }
}
