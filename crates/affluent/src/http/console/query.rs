//! SQL over the lake, for people: a page with the first rows, and all of them as CSV.
//!
//! It is `affluent sql` in a page: the same session, the same text, the same bound on rows that are shown. Invariant: a question only
//! reads, a few run at once, and each ends in time.

use super::warehouse::{ASIDE, Warehouse};
use super::{Route, Visitor, page};
use crate::http::options::Access;
use crate::http::{Problem, Shared};
use crate::sql::TABLE_ROWS;
use affluent_console::query::{self as pages, Answer, Cell, Column, Kind, SQL_CHARS_MAX};
use affluent_lake::sql::{Limits, Renderer, Rows, Session, SqlError, TextFormat};
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
use serde_json::{Map, Value as Json};
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;

/// A question on the page has this long, and one whose rows are taken along.
const SHOWN_WITHIN: Duration = Duration::from_secs(30);
const TAKEN_WITHIN: Duration = Duration::from_secs(600);

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
    Ok((headers, Body::from_stream(lines(rows, turn))).into_response())
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
    let warehouse: &Warehouse = &shared.warehouse;
    let opening = tokio::time::timeout(ASIDE, warehouse.session(&shared.platform));
    match Box::pin(opening).await {
        Ok(Ok((session, version))) => Ok((session, version.map(|v| (v.version, v.published_at)))),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(_) => Err(format!("the lake does not open within {} s", ASIDE.as_secs())),
    }
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
    let mut renderer = Renderer::new(TextFormat::Json, schema);
    let mut answer = Answer { columns, ..Answer::default() };
    while let Some(batch) = rows.next_batch().await {
        for line in renderer.batch(&batch?)?.lines() {
            answer.rows.push(cells(&answer.columns, line));
        }
    }
    answer.is_cut = rows.truncated();
    answer.seconds = begun.elapsed().as_secs_f64();
    Ok(answer)
}

/// The cells of a row that stands as JSON in `line`.
fn cells(columns: &[Column], line: &str) -> Vec<Cell> {
    let row: Map<String, Json> = serde_json::from_str(line).unwrap_or_default();
    columns.iter().map(|column| cell(column.kind, row.get(&column.name))).collect()
}

fn cell(kind: Kind, value: Option<&Json>) -> Cell {
    let text = match value {
        None | Some(Json::Null) => return Cell::default(),
        Some(Json::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
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

/// The rows as CSV; `turn` is kept while they come. A row that cannot be read breaks the answer off, so that nobody takes it for whole.
fn lines(
    rows: Rows,
    turn: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Bytes, SqlError>> + Send + 'static {
    let renderer = Renderer::new(TextFormat::Csv, rows.schema());
    stream::unfold(Some((rows, renderer, turn)), |writing| async move {
        let (mut rows, mut renderer, turn) = writing?;
        let (text, is_done) = match rows.next_batch().await {
            Some(Ok(batch)) => (renderer.batch(&batch), false),
            Some(Err(error)) => (Err(error), true),
            None => (renderer.finish(), true),
        };
        let next = (!is_done).then_some((rows, renderer, turn));
        Some((text.map(Bytes::from), next))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: Kind) -> Column {
        Column { name: name.to_owned(), kind }
    }

    #[test]
    fn cells_keep_their_text_and_can_be_drawn() {
        let columns = [
            column("day", Kind::Time),
            column("amount", Kind::Number),
            column("name", Kind::Text),
            column("none", Kind::Number),
        ];
        let line = r#"{"day": "1970-01-02", "amount": "12.3400", "name": "7", "none": null}"#;
        let found = cells(&columns, line);
        assert_eq!(found[0].number, Some(86_400e6));
        assert_eq!((found[1].text.as_str(), found[1].number), ("12.3400", Some(12.34)));
        assert_eq!((found[2].text.as_str(), found[2].number), ("7", None));
        assert_eq!(found[3], Cell::default());
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
