//! SQL over the warehouse: a question, its answer as a table and a drawing, and the same as CSV.

use crate::chart::{self, Across, Lines, Series, Unit};
use crate::frame::{self, NOTHING, Section, State, Viewer, state, time};
use crate::lang::{Lang, Text, text};
use crate::units::{duration, short};
use maud::{Markup, html};

/// Answers with at most so many rows are drawn as bars; longer ones as lines.
const BARS_MAX: usize = 40;
/// Lines that a drawing tells apart.
const LINES_MAX: usize = 6;
/// Characters of a question: it is part of an address.
pub const SQL_CHARS_MAX: usize = 4_000;

/// A question, and what there is to ask.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query {
    pub sql: String,
    /// Names and rows of the tables.
    pub tables: Vec<(String, u64)>,
    /// The published version of the warehouse, and since when (microseconds UTC); none before the first.
    pub version: Option<(i64, i64)>,
    /// None where nothing was asked; else the answer, or why there is none.
    pub answer: Option<Result<Answer, String>>,
}

/// Rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Cell>>,
    /// There are more.
    pub is_cut: bool,
    /// How long it took.
    pub seconds: f64,
}

/// A column of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Number,
    Time,
}

/// A value, exact as text; null is empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cell {
    pub text: String,
    /// For drawing: a number, or a time in microseconds UTC.
    pub number: Option<f64>,
}

const ABOUT: Text = text(
    "The lake as it is now, the tables dwh.* as they were published last: all of one version. It is only read.",
    "Le lac tel qu’il est, les tables dwh.* telles que publiées en dernier : toutes d’une même version. Il n’est que lu.",
);
const PUBLISHED: Text = text("Published version", "Version publiée");
const SQL: Text = text("SQL", "SQL");
const RUN: Text = text("Run", "Exécuter");
const TABLES: Text = text("Tables", "Tables");
const ROWS: Text = text("rows", "lignes");
const ANSWER: Text = text("Answer", "Réponse");
const CSV: Text = text("All rows as CSV", "Toutes les lignes en CSV");
const MORE: Text = text("there are more: ask for CSV", "il y en a d’autres : demandez le CSV");
const DRAWN: Text = text("Drawing", "Graphique");

/// The page.
#[must_use]
pub fn show(viewer: &Viewer, query: &Query) -> String {
    let lang = viewer.lang;
    let body = html! {
        p { (lang.say(ABOUT)) }
        @if let Some((version, at)) = query.version {
            p.quiet { (lang.say(PUBLISHED)) " " (version) ", " (time(at)) }
        }
        form.ask method="get" action=(Section::Query.path()) {
            label.wide {
                span { (lang.say(SQL)) }
                textarea name="sql" rows="6" maxlength=(SQL_CHARS_MAX) spellcheck="false" { (query.sql) }
            }
            button type="submit" { (lang.say(RUN)) }
        }
        @match &query.answer {
            None => {},
            Some(Err(why)) => p.notice.bad role="alert" { (state(lang, State::Bad)) " " (why) },
            Some(Ok(answer)) => (answered(lang, &query.sql, answer)),
        }
        (tables(lang, &query.tables))
    };
    frame::page(viewer, Section::Query, body)
}

/// Where a question is asked.
#[must_use]
pub fn query_path(sql: &str) -> String {
    frame::link(Section::Query.path(), &[("sql", sql)])
}

/// Where its answer is, as CSV.
#[must_use]
pub fn csv_path(sql: &str) -> String {
    frame::link(&format!("{}.csv", Section::Query.path()), &[("sql", sql)])
}

fn answered(lang: Lang, sql: &str, answer: &Answer) -> Markup {
    html! {
        h2 #answer { (lang.say(ANSWER)) }
        p {
            (answer.rows.len()) " " (lang.say(ROWS)) ", " (duration(lang, answer.seconds))
            @if answer.is_cut { " (" (lang.say(MORE)) ")" }
            " · " a href=(csv_path(sql)) { (lang.say(CSV)) }
        }
        @if let Some(drawing) = drawing(lang, answer) { (drawing) }
        div.scroll role="region" aria-label=(lang.say(ANSWER)) tabindex="0" {
            table {
                thead { tr { @for column in &answer.columns { th scope="col" class=[class(column)] { (column.name) } } } }
                tbody {
                    @for row in &answer.rows {
                        tr {
                            @for (column, cell) in answer.columns.iter().zip(row) {
                                td class=[class(column)] { (cell.text) }
                            }
                        }
                    }
                    @if answer.rows.is_empty() {
                        tr { td.quiet colspan=(answer.columns.len().max(1)) { (lang.say(NOTHING)) } }
                    }
                }
            }
        }
    }
}

fn class(column: &Column) -> Option<&'static str> {
    (column.kind == Kind::Number).then_some("n")
}

/// A drawing of the columns of numbers over the first column; none where there is nothing to draw.
fn drawing(lang: Lang, answer: &Answer) -> Option<Markup> {
    let (first, others) = answer.columns.split_first()?;
    if answer.rows.len() < 2 {
        return None;
    }
    let drawn = (1..).zip(others).filter(|(_, column)| column.kind == Kind::Number);
    let drawn: Vec<(usize, &Column)> = drawn.take(LINES_MAX).collect();
    let at = |row: &[Cell], place: usize| row.get(place).and_then(|cell| cell.number);
    let (place, column) = *drawn.first()?;
    if answer.rows.len() <= BARS_MAX && drawn.len() == 1 {
        let named = |row: &Vec<Cell>| Some((row.first()?.text.clone(), at(row, place).unwrap_or(0.0)));
        let bars: Vec<(String, f64)> = answer.rows.iter().filter_map(named).collect();
        return Some(chart::bars(lang, &column.name, Unit::Count, &bars));
    }
    let across = match first.kind {
        Kind::Time => Across::Time,
        Kind::Number => Across::Number,
        // Names have no distance.
        Kind::Text => return None,
    };
    let line = |(place, column): (usize, &Column)| {
        let point = |row: &Vec<Cell>| Some((at(row, 0)?, at(row, place).unwrap_or(f64::NAN)));
        let mut points: Vec<(f64, f64)> = answer.rows.iter().filter_map(point).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Series { name: column.name.clone(), points }
    };
    let series: Vec<Series> = drawn.into_iter().map(line).collect();
    let title = format!("{} ({})", lang.say(DRAWN), first.name);
    Some(chart::lines(lang, &Lines { title: &title, across, unit: Unit::Count, series: &series, goal: None }))
}

fn tables(lang: Lang, tables: &[(String, u64)]) -> Markup {
    html! {
        h2 { (lang.say(TABLES)) }
        ul.tables {
            @for (name, rows) in tables {
                li {
                    a href=(query_path(&format!("select * from {name} limit 100"))) { (name) }
                    " " span.quiet { (short(lang, *rows as f64)) " " (lang.say(ROWS)) }
                }
            }
            @if tables.is_empty() { li.quiet { (lang.say(NOTHING)) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kinds: &[Kind], rows: usize) -> Answer {
        let columns = kinds.iter().enumerate();
        let cell = |row: usize, kind: Kind| Cell {
            text: format!("<{row}>"),
            number: (kind != Kind::Text).then_some(row as f64),
        };
        Answer {
            columns: columns.map(|(nth, &kind)| Column { name: format!("c{nth}"), kind }).collect(),
            rows: (0..rows).map(|row| kinds.iter().map(|&kind| cell(row, kind)).collect()).collect(),
            is_cut: false,
            seconds: 0.5,
        }
    }

    fn page(answer: Result<Answer, String>) -> String {
        let sql = "select '<&>' as a".to_owned();
        let tables = vec![("dwh.fact_transactions".to_owned(), 1_500)];
        show(&Viewer::default(), &Query { sql, tables, version: Some((3, 0)), answer: Some(answer) })
    }

    #[test]
    fn an_answer_is_a_table_and_can_be_taken_along() {
        let page = page(Ok(Answer { is_cut: true, ..answer(&[Kind::Text, Kind::Number], 3) }));
        for said in [
            "href=\"/console/query.csv?sql=select%20%27%3C%26%3E%27%20as%20a\"",
            "&lt;&amp;&gt;",
            "<td class=\"n\">&lt;2&gt;</td>",
            "3 rows, 500 ms (there are more",
            "Published version 3",
            "href=\"/console/query?sql=select%20%2A%20from%20dwh.fact_transactions%20limit%20100\"",
            "1.50 k",
        ] {
            assert!(page.contains(said), "{said}: {page}");
        }
    }

    #[test]
    fn an_error_is_told_and_nothing_asked_says_nothing() {
        let page = page(Err("no table <x>".to_owned()));
        assert!(page.contains("role=\"alert\"") && page.contains("no table &lt;x&gt;"), "{page}");
        let page = show(&Viewer::default(), &Query::default());
        assert!(!page.contains("id=\"answer\"") && !page.contains("role=\"alert\""), "{page}");
    }

    #[test]
    fn what_can_be_drawn_is_drawn() {
        use Kind::{Number, Text, Time};
        for (kinds, rows, shape) in [
            (&[Text, Number][..], 3, Some("class=\"bar\"")),
            (&[Time, Number], 3, Some("class=\"bar\"")),
            (&[Time, Number], 100, Some("class=\"series s0\"")),
            (&[Number, Number, Number], 3, Some("class=\"series s1\"")),
            (&[Text, Number], 100, None),
            (&[Text, Text], 3, None),
            (&[Number], 3, None),
            (&[Text, Number], 1, None),
        ] {
            let drawn = drawing(Lang::En, &answer(kinds, rows)).map(Markup::into_string);
            match shape {
                Some(shape) => assert!(drawn.is_some_and(|svg| svg.contains(shape)), "{kinds:?} {rows}"),
                None => assert_eq!(drawn, None, "{kinds:?} {rows}"),
            }
        }
    }
}
