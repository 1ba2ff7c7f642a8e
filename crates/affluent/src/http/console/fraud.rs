//! What the fraud desk shows, and what is done there: alerts as they come, a payment with its past, a label by the way that
//! `POST /v1/labels` goes.

use super::recent;
use super::warehouse::quoted;
use super::{Done, Posted, Route, Visitor, page};
use crate::http::options::Access;
use crate::http::{Problem, Shared, documents, labels};
use affluent_console::fraud::{self as pages, Alert, Change, Judged, Label, Moment, Payment, What};
use affluent_console::lang::Lang;
use affluent_documents::{Document, DocumentError, DocumentStore};
use affluent_model::Value;
use affluent_model::names::COLLECTION_LABELS;
use affluent_model::time::{format_micros, now_micros};
use affluent_scoring::record::COLLECTION;
use affluent_scoring::{Decision, Record};
use anyhow::Context as _;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Alerts on the desk, and reasons of one.
const SHOWN: usize = 30;
const REASONS: usize = 3;
/// Tables whose rows tell of a payment, and the column that names it.
const TABLES: [(&str, &str); 3] =
    [("transactions", "id"), ("refunds", "transaction_id"), ("disputes", "transaction_id")];
/// Moments of one table.
const MOMENTS: usize = 100;
/// Nothing of a payment was committed earlier than this before it occurred, however clocks differ: a day, microseconds.
const AHEAD_US: i64 = 24 * 3_600 * 1_000_000;

/// A payment that is looked for.
#[derive(Debug, Deserialize)]
struct Sought {
    id: Option<String>,
}

/// The form that labels.
#[derive(Debug, Deserialize)]
struct Labelling {
    label: labels::Label,
}

pub(super) fn routes() -> Vec<Route> {
    let (reading, labelling): (&[Access], &[Access]) = (&[Access::Read], &[Access::Label]);
    vec![
        Route { path: "/console/fraud", roles: reading, handler: get(desk) },
        Route { path: "/console/fraud/{id}", roles: reading, handler: get(payment) },
        Route { path: "/console/fraud/{id}/label", roles: labelling, handler: post(label) },
    ]
}

/// The desk; with an id the way to that payment.
async fn desk(
    State(shared): State<Shared>,
    sought: Result<Query<Sought>, QueryRejection>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let Query(sought) = sought.map_err(|error| Problem::bad_request(error.body_text()))?;
    if let Some(id) = sought.id.as_deref().map(str::trim).filter(|id| !id.is_empty()) {
        return Ok(Redirect::to(&pages::payment_path(&id.to_lowercase())).into_response());
    }
    Ok(page(pages::desk(&visitor.viewer, &alerts(&shared).await?)))
}

/// The part of the desk that renews itself: its id, and its content.
pub(super) async fn part(shared: &Shared, lang: Lang) -> Result<(&'static str, String), Problem> {
    Ok((pages::ALERTS, pages::list(lang, &alerts(shared).await?).into_string()))
}

/// The newest alerts, the newest first.
async fn alerts(shared: &Shared) -> Result<Vec<Alert>, Problem> {
    let (store, now) = (documents::store(shared).await?, now_micros());
    let mut records = Vec::new();
    for decision in Decision::ALL.into_iter().filter(|decision| *decision != Decision::Approve) {
        records.extend(recent::records(store.as_ref(), Some(decision), now, SHOWN).await?);
    }
    records.sort_by_key(|record| std::cmp::Reverse(record.scored_at));
    records.truncate(SHOWN);
    let ids: Vec<String> = records.iter().map(|record| record.transaction_id.clone()).collect();
    let labels = labelled(store.as_ref(), &ids).await?;
    Ok(records.iter().map(|record| alert(record, labels.get(&record.transaction_id).copied())).collect())
}

fn alert(record: &Record, label: Option<Label>) -> Alert {
    let fact = |name: &str| record.facts.get(name).map_or("", String::as_str);
    let rules = record.hits.iter().map(|hit| hit.words.to_string());
    let reasons = record.reasons.iter().map(|reason| reason.words.clone());
    Alert {
        id: record.transaction_id.clone(),
        scored_at: record.scored_at,
        decision: record.decision,
        score: record.score,
        amount: format!("{} {}", fact("amount"), fact("currency")).trim().to_owned(),
        reasons: rules.chain(reasons).take(REASONS).collect(),
        label,
    }
}

/// The labels of these payments.
async fn labelled(store: &dyn DocumentStore, ids: &[String]) -> Result<BTreeMap<String, Label>, Problem> {
    let found = match store.get(COLLECTION_LABELS, ids).await {
        Ok(found) => found,
        // Nothing was ever labelled.
        Err(DocumentError::UnknownCollection(_)) => Vec::new(),
        Err(error) => return Err(documents::problem(error)),
    };
    Ok(found.iter().filter_map(|document| Some((document.id.clone(), label_of(document)?))).collect())
}

fn label_of(document: &Document) -> Option<Label> {
    let Some(Value::Text(name)) = document.field("label") else { return None };
    Label::ALL.into_iter().find(|label| label.name() == name)
}

/// A payment with its past.
async fn payment(
    State(shared): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    visitor: Visitor,
) -> Result<Response, Problem> {
    let Path(id) = path.map_err(|error| Problem::bad_request(error.body_text()))?;
    let id = id.trim().to_lowercase();
    let store = documents::store(&shared).await?;
    let score = labels::one(store.as_ref(), COLLECTION, &id).await?;
    let record = score.as_ref().and_then(Record::of);
    let row = labels::one(store.as_ref(), labels::PAYMENTS, &id).await?;
    if record.is_none() && row.is_none() {
        return Err(Problem::not_found(format!("no payment {id:?} is known")));
    }
    let label = labels::one(store.as_ref(), COLLECTION_LABELS, &id).await?;
    let mut moments = known_moments(record.as_ref(), label.as_ref());
    let problem = match changes(&shared, &id, begun(record.as_ref(), row.as_ref())).await {
        Ok(changes) => {
            moments.extend(changes);
            None
        }
        Err(error) => Some(format!("{error:#}")),
    };
    moments.sort_by_key(|moment| moment.at);
    let payment = Payment {
        label: label.as_ref().and_then(label_of),
        moments,
        problem,
        facts: facts(record.as_ref(), row.as_ref()),
        judged: record.as_ref().map(judged),
        id,
    };
    Ok(page(pages::payment(&visitor.viewer, &payment)))
}

/// What the record and the label tell.
fn known_moments(record: Option<&Record>, label: Option<&Document>) -> Vec<Moment> {
    let mut moments = Vec::new();
    if let Some(record) = record {
        moments.push(Moment { at: record.occurred_at, what: What::Occurred });
        moments.push(Moment { at: record.scored_at, what: What::Scored(record.decision) });
    }
    if let Some(label) = label
        && let Some(Value::TimestampTz(at)) = label.field("labelled_at")
        && let Some(said) = label_of(label)
    {
        moments.push(Moment { at: *at, what: What::Labelled(said) });
    }
    moments
}

/// When it came into the world, microseconds UTC; none where that is not known.
fn begun(record: Option<&Record>, row: Option<&Document>) -> Option<i64> {
    let created = row.and_then(|row| match row.field("created_at") {
        Some(Value::TimestampTz(at)) => Some(*at),
        Some(_) | None => None,
    });
    record.map(|record| record.occurred_at).into_iter().chain(created).min()
}

/// What the lake has of it: every change of its row, and of its refunds and disputes. What was committed before it had `begun` is not read.
async fn changes(shared: &Shared, id: &str, begun: Option<i64>) -> anyhow::Result<Vec<Moment>> {
    let _turn = shared.warehouse.turn().ok().context("the lake is busy with other questions")?;
    let (session, _) = shared.warehouse.session(&shared.platform).await?;
    let since = begun.map_or_else(String::new, |at| {
        format!("_commit_ts >= {} and", quoted(&format_micros(at.saturating_sub(AHEAD_US), true)))
    });
    let mut moments = Vec::new();
    for (table, column) in TABLES {
        let name = format!("raw.{table}");
        if !session.tables().iter().any(|known| known.name == name) {
            continue;
        }
        let text = format!(
            "select cast(cast(_commit_ts as bigint) as varchar) as moment, _op as op, cast(status as varchar) as status from {name} \
             where {since} cast({column} as varchar) = {} order by _commit_ts limit {MOMENTS}",
            quoted(id)
        );
        let rows = shared.warehouse.aside(&session, &text).await?;
        moments.extend(rows.iter().filter_map(|row| moment(table, row)));
    }
    Ok(moments)
}

/// Of a row with time, operation and status.
fn moment(table: &str, row: &[String]) -> Option<Moment> {
    let [at, op, status] = row else { return None };
    let change = match op.as_str() {
        "c" => Change::Created,
        "u" => Change::Updated,
        "d" => Change::Deleted,
        "r" => Change::Read,
        // The whole table was emptied.
        _ => return None,
    };
    let what = What::Changed { table: table.to_owned(), change, status: status.clone() };
    Some(Moment { at: at.parse().ok()?, what })
}

/// Its row as it is now; where it is gone, what the record keeps of it.
fn facts(record: Option<&Record>, row: Option<&Document>) -> Vec<(String, String)> {
    let Some(row) = row else {
        let facts = record.into_iter().flat_map(|record| &record.facts);
        return facts.map(|(name, value)| (name.clone(), value.clone())).collect();
    };
    let known = row.fields.iter().filter(|(_, value)| *value != Value::Null);
    known.map(|(name, value)| (name.clone(), said(&value.to_json()))).collect()
}

fn said(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn judged(record: &Record) -> Judged {
    let values = record.feature_names.split(' ').map(str::to_owned).zip(record.features.iter().copied());
    Judged {
        decision: record.decision,
        score: record.score,
        model: record.model.as_ref().map(|model| (model.name.to_string(), model.version)),
        degraded: record.degraded,
        took: (record.scored_at - record.begun_at).max(0) as f64 / 1e6,
        rules: record.hits.iter().map(|hit| hit.words.to_string()).collect(),
        reasons: record.reasons.iter().map(|reason| (reason.words.clone(), reason.contribution)).collect(),
        features: values.collect(),
    }
}

/// Says of a payment whether it was fraud.
async fn label(
    State(shared): State<Shared>,
    path: Result<Path<String>, PathRejection>,
    Posted(form, visitor): Posted<Labelling>,
) -> Result<Response, Problem> {
    let Path(id) = path.map_err(|error| Problem::bad_request(error.body_text()))?;
    let back = pages::payment_path(&id.trim().to_lowercase());
    let outcome = match labels::give(&shared, &id, form.label, now_micros()).await {
        Ok(_) => Ok(form.label.as_str().to_owned()),
        Err(problem) => Err(problem.detail().to_owned()),
    };
    let done = Done { action: "fraud.label", subject: &id, outcome, back: &back };
    Ok(done.tell(&shared, &visitor).await)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(parts: [&str; 3]) -> Vec<String> {
        parts.map(str::to_owned).into()
    }

    #[test]
    fn a_row_of_the_lake_is_a_moment() {
        let found = moment("refunds", &row(["7", "u", "paid"])).unwrap();
        let what =
            What::Changed { table: "refunds".to_owned(), change: Change::Updated, status: "paid".to_owned() };
        assert_eq!(found, Moment { at: 7, what });
        for wrong in [["7", "t", ""], ["", "c", ""]] {
            assert_eq!(moment("refunds", &row(wrong)), None);
        }
    }

    #[test]
    fn a_label_is_read_as_it_was_written() {
        let document = |name: &str| {
            let fields = vec![
                ("label".to_owned(), Value::Text(name.to_owned())),
                ("labelled_at".to_owned(), Value::TimestampTz(3)),
            ];
            Document::new("p-1", fields)
        };
        assert_eq!(label_of(&document("cleared")), Some(Label::Cleared));
        assert_eq!(label_of(&document("perhaps")), None);
        let created = Document::new("p-1", vec![("created_at".to_owned(), Value::TimestampTz(7))]);
        assert_eq!((begun(None, Some(&created)), begun(None, Some(&document("cleared")))), (Some(7), None));
        let moments = known_moments(None, Some(&document("confirmed")));
        assert_eq!(moments, [Moment { at: 3, what: What::Labelled(Label::Confirmed) }]);
    }

    #[test]
    fn a_payment_tells_its_row_without_what_is_empty() {
        let fields = vec![
            ("currency".to_owned(), Value::Text("EUR".to_owned())),
            ("customer_id".to_owned(), Value::Int(7)),
            ("ip".to_owned(), Value::Null),
        ];
        let told = facts(None, Some(&Document::new("p-1", fields)));
        assert_eq!(
            told,
            [("currency".to_owned(), "EUR".to_owned()), ("customer_id".to_owned(), "7".to_owned())]
        );
        assert!(facts(None, None).is_empty());
    }
}
