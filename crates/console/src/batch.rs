//! The page of batch pipelines: where they stand, a calendar of their runs, the tasks of a run over time, running again, how fresh the
//! tables are and what the checks found.

use crate::frame::{self, NOTHING, Section, State, Viewer, numbers, words};
use crate::lang::{Lang, Text, text};
use crate::units;
use affluent_model::time::{format_date, format_micros};
use maud::{Markup, html};

/// Where a run is asked for.
pub const RUN: &str = "/console/batch/run";
/// Where the runs of a range are asked for.
pub const BACKFILL: &str = "/console/batch/backfill";

/// What the page shows. Times are microseconds UTC.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub now_us: i64,
    pub pipelines: Vec<Pipeline>,
    /// Whose calendar and runs are shown.
    pub chosen: String,
    /// The oldest first, without gaps.
    pub days: Vec<Day>,
    /// The newest first.
    pub runs: Vec<Run>,
    /// Whose tasks are drawn.
    pub opened: Option<Run>,
    pub tables: Vec<Table>,
    /// What is wrong first.
    pub checks: Vec<Check>,
    /// Why tables and checks are not known.
    pub lake_error: Option<String>,
}

/// Where a pipeline stands.
#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    pub name: String,
    pub done_to_us: Option<i64>,
    pub running: usize,
    /// What went wrong last and is not made good.
    pub open_failure: Option<String>,
}

/// A day of the calendar: runs of the intervals that began on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Day {
    /// Days since 1970-01-01.
    pub day: i32,
    pub good: u64,
    pub bad: u64,
    pub running: u64,
}

/// A run, or a task of it.
#[derive(Debug, Clone)]
pub struct Run {
    pub id: i64,
    pub pipeline: String,
    pub from_us: i64,
    pub to_us: i64,
    /// The ledger's word.
    pub word: String,
    pub state: State,
    pub started_us: i64,
    pub ended_us: Option<i64>,
    pub note: String,
    pub tasks: Vec<Task>,
}

/// An attempt of a task.
#[derive(Debug, Clone)]
pub struct Task {
    pub name: String,
    pub attempt: u32,
    pub word: String,
    pub state: State,
    pub started_us: i64,
    pub ended_us: Option<i64>,
    pub rows_in: u64,
    pub rows_out: u64,
    pub note: String,
}

/// A table of the lake.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub name: String,
    pub rows: u64,
    /// What has arrived by then is in it.
    pub fresh_us: Option<i64>,
}

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct Check {
    pub table: String,
    pub check: String,
    pub severity: String,
    pub failures: u64,
    pub checked_at: i64,
    pub detail: String,
}

impl Day {
    #[must_use]
    pub fn state(self) -> State {
        match self {
            Day { bad: 1.., good: 0, .. } => State::Bad,
            Day { bad: 1.., .. } | Day { running: 1.., .. } => State::Warn,
            Day { good: 1.., .. } => State::Good,
            Day { .. } => State::Idle,
        }
    }
}

const PIPELINES: Text = text("Where the pipelines stand", "Où en sont les traitements");
const PIPELINE: Text = text("pipeline", "traitement");
const DONE_TO: Text = text("done up to", "fait jusqu’à");
const RUNNING: Text = text("running", "en cours");
const OPEN: Text = text("open failure", "échec ouvert");
const CALENDAR: Text =
    text("Calendar, by the day of the interval (UTC)", "Calendrier, par jour d’intervalle (UTC)");
const RUNS: Text = text("Runs, the newest first", "Exécutions, les plus récentes d’abord");
const ID: Text = text("run", "exécution");
const INTERVAL: Text = text("interval", "intervalle");
const STATE: Text = text("state", "état");
const TOOK: Text = text("took", "durée");
const NOTE: Text = text("note", "note");
const TASKS: Text = text("Tasks of run", "Tâches de l’exécution");
const TASK: Text = text("task", "tâche");
const IN: Text = text("rows in", "lignes lues");
const OUT: Text = text("rows out", "lignes écrites");
const AGAIN: Text = text("Run this interval again", "Relancer cet intervalle");
const NOW: Text = text("Run the last interval now", "Lancer le dernier intervalle");
const FILL: Text = text("Backfill", "Rattraper");
const FROM: Text = text("from, as 2026-11-22T00:00:00Z", "de, comme 2026-11-22T00:00:00Z");
const TO: Text = text("to", "à");
const START: Text = text("Run and make good", "Lancer et rattraper");
const FRESH: Text = text("Freshness of the tables", "Fraîcheur des tables");
const TABLE: Text = text("table", "table");
const ROWS: Text = text("rows", "lignes");
const AGE: Text = text("age", "âge");
const UP_TO: Text = text("holds what came up to", "contient ce qui est arrivé jusqu’à");
const CHECKS: Text =
    text("Checks before publication, latest results", "Contrôles avant publication, derniers résultats");
const CHECK: Text = text("check", "contrôle");
const SEVERITY: Text = text("severity", "gravité");
const FAILURES: Text = text("wrong rows", "lignes fautives");
const AT: Text = text("checked at", "contrôlé à");
const NO_LAKE: Text = text("Tables are not known:", "Tables inconnues :");

/// The page.
#[must_use]
pub fn page(viewer: &Viewer, model: &Batch) -> String {
    let lang = viewer.lang;
    let body = html! {
        (pipelines(lang, model))
        h2 { (model.chosen) }
        (calendar(lang, model))
        (actions(viewer, model))
        @if let Some(run) = &model.opened { (opened(viewer, run, model.now_us)) }
        (runs(lang, model))
        @if let Some(error) = &model.lake_error { p.notice.warn { (lang.say(NO_LAKE)) " " (error) } }
        (tables(lang, model))
        (checks(lang, &model.checks))
    };
    frame::page(viewer, Section::Batch, body)
}

fn pipelines(lang: Lang, model: &Batch) -> Markup {
    let columns = [words(PIPELINE), words(STATE), words(DONE_TO), numbers(RUNNING), words(OPEN)];
    let rows = model.pipelines.iter().map(|pipeline| {
        let state = match (&pipeline.open_failure, pipeline.done_to_us) {
            (Some(_), _) => State::Bad,
            (None, Some(_)) => State::Good,
            (None, None) => State::Idle,
        };
        let link = frame::link(Section::Batch.path(), &[("pipeline", &pipeline.name)]);
        vec![
            html! { a href=(link) { (pipeline.name) } },
            frame::state(lang, state),
            pipeline.done_to_us.map(frame::time).unwrap_or_default(),
            html! { (pipeline.running) },
            html! { (pipeline.open_failure.as_deref().unwrap_or_default()) },
        ]
    });
    frame::table(lang, lang.say(PIPELINES), &columns, rows)
}

fn calendar(lang: Lang, model: &Batch) -> Markup {
    html! {
        h3 { (lang.say(CALENDAR)) }
        @if model.days.is_empty() { p.quiet { (lang.say(NOTHING)) } }
        ol.days {
            @for day in &model.days {
                @let date = format_date(day.day);
                @let state = day.state();
                @let said = format!("{date}: {} +{} −{}", lang.say(state.word()), day.good, day.bad);
                li {
                    a.(state.class()) href=(frame::link(Section::Batch.path(), &[("pipeline", &model.chosen), ("day", &date)]))
                        title=(said) aria-label=(said) { (state.shape()) }
                }
            }
        }
    }
}

fn actions(viewer: &Viewer, model: &Batch) -> Markup {
    let (lang, may, pipeline) = (viewer.lang, viewer.may_change, || frame::hidden("pipeline", &model.chosen));
    html! {
        @if !model.chosen.is_empty() {
            (frame::form(viewer, may, RUN, pipeline(), NOW))
            @if may {
                details {
                    summary { (lang.say(FILL)) }
                    (frame::form(viewer, may, BACKFILL, html! {
                        (pipeline())
                        (frame::input(lang, FROM, "from", ""))
                        (frame::input(lang, TO, "to", ""))
                    }, START))
                }
            }
        }
    }
}

fn opened(viewer: &Viewer, run: &Run, now_us: i64) -> Markup {
    let lang = viewer.lang;
    let columns = [words(TASK), words(STATE), numbers(TOOK), numbers(IN), numbers(OUT), words(NOTE)];
    let rows = run.tasks.iter().map(|task| {
        vec![
            html! { (task.name) " #" (task.attempt) },
            worded(task.state, &task.word),
            html! { (took(lang, task.started_us, task.ended_us)) },
            html! { (units::short(lang, task.rows_in as f64)) },
            html! { (units::short(lang, task.rows_out as f64)) },
            html! { (task.note) },
        ]
    });
    let title = format!("{} {}", lang.say(TASKS), run.id);
    let edges = |micros: i64| format_micros(micros, true);
    html! {
        h3 { (title) }
        p { (worded(run.state, &run.word)) " · " (frame::time(run.from_us)) " – " (frame::time(run.to_us)) " " (run.note) }
        (gantt(lang, &title, run, now_us))
        (frame::table(lang, &title, &columns, rows))
        @if viewer.may_change {
            (frame::form(viewer, true, RUN, html! {
                (frame::hidden("pipeline", &run.pipeline))
                (frame::hidden("from", &edges(run.from_us)))
                (frame::hidden("to", &edges(run.to_us)))
            }, AGAIN))
        }
    }
}

/// Bars of the tasks over the time of the run.
fn gantt(lang: Lang, title: &str, run: &Run, now_us: i64) -> Markup {
    const NAMES: f64 = 140.0;
    const WIDTH: f64 = 720.0;
    const ROW: f64 = 22.0;
    let end_us = run.ended_us.unwrap_or(now_us).max(run.started_us + 1);
    let x = |micros: i64| {
        let part = (micros - run.started_us) as f64 / (end_us - run.started_us) as f64;
        NAMES + part.clamp(0.0, 1.0) * (WIDTH - NAMES - 80.0)
    };
    let height = run.tasks.len() as f64 * ROW;
    let rows = || run.tasks.iter().enumerate().map(|(at, task)| (at as f64 * ROW, task));
    html! {
        @if !run.tasks.is_empty() {
            div.scroll role="region" aria-label=(title) tabindex="0" {
                svg.gantt viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label=(title) {
                    @for (y, task) in rows() {
                        @let (from, to) = (x(task.started_us), x(task.ended_us.unwrap_or(now_us)));
                        text x="0" y=(y + 15.0) { (task.name) }
                        rect class=(task.state.class()) x=(from) y=(y + 4.0) width=((to - from).max(2.0)) height=(ROW - 8.0) rx="2" {}
                        text x=(to + 6.0) y=(y + 15.0) { (task.state.shape()) " " (took(lang, task.started_us, task.ended_us)) }
                    }
                }
            }
        }
    }
}

fn runs(lang: Lang, model: &Batch) -> Markup {
    let columns = [numbers(ID), words(INTERVAL), words(STATE), numbers(TOOK), words(NOTE)];
    let rows = model.runs.iter().map(|run| {
        let id = run.id.to_string();
        let link = frame::link(Section::Batch.path(), &[("pipeline", &model.chosen), ("run", &id)]);
        vec![
            html! { a href=(link) { (id) } },
            html! { (frame::time(run.from_us)) " – " (frame::time(run.to_us)) },
            worded(run.state, &run.word),
            html! { (took(lang, run.started_us, run.ended_us)) },
            html! { (run.note) },
        ]
    });
    frame::table(lang, lang.say(RUNS), &columns, rows)
}

fn tables(lang: Lang, model: &Batch) -> Markup {
    let columns = [words(TABLE), numbers(ROWS), words(UP_TO), numbers(AGE)];
    let rows = model.tables.iter().map(|table| {
        let age =
            table.fresh_us.map(|fresh| units::duration(lang, (model.now_us - fresh).max(0) as f64 / 1e6));
        vec![
            html! { code { (table.name) } },
            html! { (units::short(lang, table.rows as f64)) },
            table.fresh_us.map(frame::time).unwrap_or_default(),
            html! { (age.unwrap_or_default()) },
        ]
    });
    frame::table(lang, lang.say(FRESH), &columns, rows)
}

fn checks(lang: Lang, checks: &[Check]) -> Markup {
    let columns = [
        words(TABLE),
        words(CHECK),
        words(STATE),
        words(SEVERITY),
        numbers(FAILURES),
        words(AT),
        words(NOTE),
    ];
    let rows = checks.iter().map(|check| {
        let state = match (check.failures, check.severity.as_str()) {
            (0, _) => State::Good,
            (_, "error") => State::Bad,
            (_, _) => State::Warn,
        };
        vec![
            html! { code { (check.table) } },
            html! { (check.check) },
            frame::state(lang, state),
            html! { (check.severity) },
            html! { (check.failures) },
            frame::time(check.checked_at),
            html! { (check.detail) },
        ]
    });
    frame::table(lang, lang.say(CHECKS), &columns, rows)
}

/// The ledger's word with the colour and shape of its state.
fn worded(state: State, word: &str) -> Markup {
    html! { span.state.(state.class()) { span aria-hidden="true" { (state.shape()) } " " (word) } }
}

fn took(lang: Lang, started_us: i64, ended_us: Option<i64>) -> String {
    ended_us.map(|ended| units::duration(lang, (ended - started_us).max(0) as f64 / 1e6)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        let task = |name: &str, started_us, ended_us| Task {
            name: name.to_owned(),
            attempt: 1,
            word: "succeeded".to_owned(),
            state: State::Good,
            started_us,
            ended_us,
            rows_in: 1,
            rows_out: 2,
            note: String::new(),
        };
        Run {
            id: 7,
            pipeline: "raw-to-dwh".to_owned(),
            from_us: 0,
            to_us: 900_000_000,
            word: "running".to_owned(),
            state: State::Warn,
            started_us: 1_000_000,
            ended_us: None,
            note: "<note>".to_owned(),
            tasks: vec![task("clean", 1_000_000, Some(2_000_000)), task("load", 2_000_000, None)],
        }
    }

    #[test]
    fn a_day_is_as_bad_as_its_runs() {
        for (good, bad, running, expected) in [
            (0, 0, 0, State::Idle),
            (3, 0, 0, State::Good),
            (3, 0, 1, State::Warn),
            (3, 1, 0, State::Warn),
            (0, 1, 1, State::Bad),
        ] {
            assert_eq!(Day { day: 0, good, bad, running }.state(), expected, "{good} {bad} {running}");
        }
    }

    #[test]
    fn a_run_is_drawn_and_can_be_run_again() {
        let model = Batch {
            now_us: 3_000_000,
            chosen: "raw-to-dwh".to_owned(),
            days: vec![Day { day: 0, good: 1, ..Day::default() }],
            opened: Some(run()),
            runs: vec![run()],
            tables: vec![Table { name: "dwh.t".to_owned(), rows: 1, fresh_us: Some(1_000_000) }],
            ..Batch::default()
        };
        let reader = page(&Viewer::default(), &model);
        assert!(!reader.contains(RUN) && !reader.contains(BACKFILL) && reader.contains("&lt;note&gt;"));
        assert!(reader.contains("day=1970-01-01") && reader.contains(">2.00 s<"), "{reader}");
        // The second half of the time is that of the second task, which goes on.
        assert!(reader.contains("x=\"390\" y=\"26\" width=\"250\""), "{reader}");
        let admin = page(&Viewer { may_change: true, ..Viewer::default() }, &model);
        assert!(
            admin.contains("name=\"to\" value=\"1970-01-01T00:15:00.000000Z\"") && admin.contains(BACKFILL)
        );
    }

    #[test]
    fn a_run_that_has_just_begun_can_be_drawn() {
        let begun = Run { started_us: 5, tasks: run().tasks, ..run() };
        assert!(!gantt(Lang::En, "t", &begun, 5).into_string().contains("NaN"));
    }
}
