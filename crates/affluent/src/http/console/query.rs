//! SQL over the lake, for people: a page with the first rows, and all of them as CSV.
//!
//! It is `affluent sql` in a page: the same session, the same text, the same bound on rows that are shown. Invariant: a question only
//! reads, a few run at once, each ends in time, and what a page shows is bounded.

use super::{Route, Visitor, page};
use crate::http::options::Access;
use crate::http::{Problem, Shared};
use crate::sql::TABLE_ROWS;
use affluent_console::query::{self as pages, Answer, Cell, Column, Kind, SQL_CHARS_MAX};
use affluent_lake::sql::{Limits, Renderer, Rows, Session, SqlError, TextFormat, json_value};
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, NaiveDateTime};
use futures::{Stream, stream};
use serde::Deserialize;
use serde_json::Value as Json;
use std::io;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

/// A question on the page has this long, and one whose rows are taken along.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);
const TAKEN_WITHIN: Duration = Duration::from_secs(600);
/// Bytes of text on a page, and characters of one cell; CSV has all of them.
const SHOWN_BYTES_MAX: usize = 4 << 20;
const CELL_CHARS_MAX: usize = 2_000;
/// Batches of CSV that wait for their reader.
const WAITING_MAX: usize = 2;

/// A question.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    sql: Option<String>,
}

pub(super) fn routes() -> Vec<Route> {
    let reading: &[Access] = &[Access::Read];
    vec![
        Route { path: "/console/query", roles: reading, handler: get(show) },
        Route { path: "/console/query.csv", roles: reading, handler: get(csv) },
    ]
}

/// The page, with the answer where something was asked.
async fn show(
    State(shared): State<Shared>,
    asked: Result<Query<Asked>, QueryRejection>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let sql = statement(asked)?;
    let _turn = shared.warehouse.turn()?;
    let begun = Instant::now();
    let mut query = pages::Query { sql, ..pages::Query::default() };
    match opened(&shared).await {
        Ok((session, version)) => {
            let tables = session.tables().iter();
            query.tables = tables.map(|table| (table.name.clone(), table.rows)).collect();
            query.version = version;
            if !query.sql.is_empty() {
                let answer = answered(&session, &query.sql, begun).await;
                query.answer = Some(answer.map_err(|error| error.to_string()));
            }
        }
        Err(why) => query.answer = Some(Err(why)),
    }
    Ok(page(pages::show(&visitor.viewer, &query)))
}

/// Every row, as it comes: an answer may be larger than memory.
async fn csv(
    State(shared): State<Shared>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    let sql = statement(asked)?;
    let turn = shared.warehouse.turn()?;
    let (session, _) = opened(&shared).await.map_err(Problem::unavailable)?;
    let limits = Limits { timeout: Some(TAKEN_WITHIN), rows: None };
    let rows = session.query(&sql, limits).await.map_err(|error| Problem::bad_request(error.to_string()))?;
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"affluent.csv\""),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, Body::from_stream(lines(rows, turn, shared.console.shutdown.clone()))).into_response())
}

/// The text of the question; empty where nothing was asked.
fn statement(asked: Result<Query<Asked>, QueryRejection>) -> Result<String, Problem> {
    let Query(asked) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    let sql = asked.sql.unwrap_or_default().trim().to_owned();
    if sql.chars().count() > SQL_CHARS_MAX {
        return Err(Problem::bad_request(format!("a question has at most {SQL_CHARS_MAX} characters")));
    }
    Ok(sql)
}

/// A session, and number and time of the published version; or why there is none.
async fn opened(shared: &Shared) -> Result<(Session, Option<(i64, i64)>), String> {
    let opened = shared.warehouse.session(&shared.platform).await;
    let (session, version) = opened.map_err(|error| format!("{error:#}"))?;
    Ok((session, version.map(|version| (version.version, version.published_at))))
}

/// The first rows.
async fn answered(session: &Session, sql: &str, begun: Instant) -> Result<Answer, SqlError> {
    let limits = Limits { timeout: Some(SHOWN_WITHIN), rows: Some(TABLE_ROWS) };
    let mut rows = session.query(sql, limits).await?;
    let schema = rows.schema();
    let column = |name: &str, is_number: bool, is_time: bool| {
        let kind = match (is_number, is_time) {
            (true, _) => Kind::Number,
            (false, true) => Kind::Time,
            (false, false) => Kind::Text,
        };
        Column { name: name.to_owned(), kind }
    };
    let fields = schema.fields().iter();
    let columns: Vec<Column> = fields
        .map(|field| column(field.name(), field.data_type().is_numeric(), field.data_type().is_temporal()))
        .collect();
    let mut answer = Answer { columns, ..Answer::default() };
    let mut bytes = 0;
    while let Some(batch) = rows.next_batch().await {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            if bytes > SHOWN_BYTES_MAX {
                answer.is_cut = true;
                break;
            }
            // By place: columns of a join may share a name.
            let values = answer.columns.iter().zip(batch.columns());
            let values =
                values.map(|(column, array)| Ok(cell(column.kind, json_value(array.as_ref(), row)?)));
            let cells = values.collect::<Result<Vec<Cell>, SqlError>>()?;
            bytes += cells.iter().map(|cell| cell.text.len()).sum::<usize>();
            answer.rows.push(cells);
        }
    }
    answer.is_cut |= rows.truncated();
    answer.seconds = begun.elapsed().as_secs_f64();
    Ok(answer)
}

/// A value as it is shown; its end is left out where it is very long.
fn cell(kind: Kind, value: Json) -> Cell {
    let mut text = match value {
        Json::Null => return Cell::default(),
        Json::String(text) => text,
        value @ (Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => value.to_string(),
    };
    if let Some((end, _)) = text.char_indices().nth(CELL_CHARS_MAX) {
        text = format!("{}…", &text[..end]);
    }
    let number = match kind {
        Kind::Number => text.parse().ok().filter(|number: &f64| number.is_finite()),
        Kind::Time => micros(&text).map(|micros| micros as f64),
        Kind::Text => None,
    };
    Cell { text, number }
}

/// Microseconds UTC of a time as the lake writes it; none of a time of day.
fn micros(text: &str) -> Option<i64> {
    let zoned = DateTime::parse_from_rfc3339(text).map(|time| time.timestamp_micros());
    let plain = || {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f")
            .map(|time| time.and_utc().timestamp_micros())
    };
    let day = || {
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0)?;
        Some(day.and_utc().timestamp_micros())
    };
    zoned.or_else(|_| plain()).ok().or_else(day)
}

/// A part of the CSV; none is its end.
type Part = Result<Option<Bytes>, SqlError>;

/// The rows as CSV, made by a task of its own: `turn` is given back in time, also where the reader stops reading.
fn lines(
    rows: Rows,
    turn: OwnedSemaphorePermit,
    shutdown: CancellationToken,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (into, parts) = mpsc::channel(WAITING_MAX);
    tokio::spawn(async move {
        let _turn = turn;
        let writing = tokio::time::timeout(TAKEN_WITHIN, write(rows, &into));
        // Where it comes to no end, the reader finds none.
        let _ = shutdown.run_until_cancelled(writing).await;
    });
    until_end(parts)
}

/// Writes everything, unless nobody reads any more or a row cannot be read.
async fn write(mut rows: Rows, into: &mpsc::Sender<Part>) {
    let mut renderer = Renderer::new(TextFormat::Csv, rows.schema());
    while let Some(batch) = rows.next_batch().await {
        let text = batch.and_then(|batch| renderer.batch(&batch));
        let is_last = text.is_err();
        let sent = into.send(text.map(|text| Some(Bytes::from(text)))).await;
        if is_last || sent.is_err() {
            return;
        }
    }
    let rest = renderer.finish().map(|text| Some(Bytes::from(text)));
    for part in [rest, Ok(None)] {
        // Nobody reads any more.
        let _ = into.send(part).await;
    }
}

/// What comes before the end; without one it is broken off, so that nobody takes it for whole.
fn until_end(parts: mpsc::Receiver<Part>) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::unfold(Some(parts), |reading| async move {
        let mut parts = reading?;
        match parts.recv().await {
            Some(Ok(Some(text))) => Some((Ok(text), Some(parts))),
            Some(Ok(None)) => None,
            Some(Err(error)) => Some((Err(io::Error::other(error)), None)),
            None => Some((Err(io::Error::other("the rows did not come in time")), None)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt as _;

    #[test]
    fn cells_keep_their_text_and_can_be_drawn() {
        assert_eq!(cell(Kind::Time, "1970-01-02".into()).number, Some(86_400e6));
        for (kind, value, text, number) in [
            (Kind::Number, Json::from("12.3400"), "12.3400", Some(12.34)),
            (Kind::Number, 7.into(), "7", Some(7.0)),
            (Kind::Text, "7".into(), "7", None),
            (Kind::Text, true.into(), "true", None),
        ] {
            assert_eq!(cell(kind, value), Cell { text: text.to_owned(), number });
        }
        assert_eq!(cell(Kind::Number, Json::Null), Cell::default());
        let long = cell(Kind::Text, "é".repeat(CELL_CHARS_MAX + 1).into()).text;
        assert!(long.chars().count() == CELL_CHARS_MAX + 1 && long.ends_with('…'));
    }

    #[tokio::test]
    async fn an_answer_without_its_end_is_broken_off() {
        for (end, is_whole) in [(Some(Ok(None)), true), (None, false)] {
            let (into, parts) = mpsc::channel(WAITING_MAX);
            into.send(Ok(Some(Bytes::from_static(b"a\n")))).await.unwrap();
            if let Some(end) = end {
                into.send(end).await.unwrap();
            }
            drop(into);
            let read: Vec<io::Result<Bytes>> = until_end(parts).collect().await;
            assert_eq!(read[0].as_ref().unwrap(), "a\n");
            assert_eq!(read.iter().all(Result::is_ok), is_whole, "{read:?}");
        }
    }

    #[test]
    fn times_are_read_as_the_lake_writes_them() {
        for (text, expected) in [
            ("1970-01-01T00:00:01.5Z", Some(1_500_000)),
            ("1970-01-01T00:00:01", Some(1_000_000)),
            ("1970-01-02", Some(86_400_000_000)),
            ("12:00:00", None),
        ] {
            assert_eq!(micros(text), expected, "{text}");
        }
    }

    #[test]
    fn a_question_is_bounded() {
        let asked = |sql: Option<String>| statement(Ok(Query(Asked { sql })));
        assert_eq!(asked(None).unwrap(), "");
        assert_eq!(asked(Some(" select 1 ".to_owned())).unwrap(), "select 1");
        assert_eq!(asked(Some("x".repeat(SQL_CHARS_MAX + 1))).unwrap_err().status().as_u16(), 400);
    }
}
