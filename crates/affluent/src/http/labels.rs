//! `POST /v1/labels`: people say which payments were fraud.
//!
//! A label becomes a dispute of its payment: the one form in which the platform knows fraud, so that the warehouse (`fact_fraud`), the
//! features and training have it without a way of their own. It goes as a change into a topic of the label's own, from where the lake
//! takes it into the raw table of the disputes. `affluent import --label` makes the same of the labels of a file.
//!
//! Invariant: what was answered is durable in the bus. Sent again it changes nothing, also not since when the fraud is known.

use super::{Problem, Shared, body, documents};
use crate::platform::Platform;
use affluent_bus::codec::{ChangeEncoder, Format};
use affluent_bus::registry::RegistryClient;
use affluent_bus::{Bus, BusError, Outgoing, Producer, ProducerOptions, TopicSpec};
use affluent_documents::{Action, CollectionSpec, Document, DocumentError, DocumentStore, VersionedWrite};
use affluent_model::names::{
    COLLECTION_LABELS, HEADER_EVENT_TYPE, HEADER_POSITION, TOPIC_LABELS, event_type,
};
use affluent_model::time::{format_micros, now_micros};
use affluent_model::{
    ChangeEvent, Column, ColumnType, Op, Position, Snapshot, Source, TableId, TableSchema, Value,
};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// Where the payments are by id.
pub(super) const PAYMENTS: &str = "mirrors.transactions";
const TABLE: &str = "disputes";
const SOURCE: &str = "labels";
/// The bus has this long.
const PATIENCE: Duration = Duration::from_secs(10);
const ID_MAX: usize = 256;

/// The body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    transaction_id: String,
    label: Label,
    /// Since when it is known, RFC 3339; now, if absent.
    labelled_at: Option<String>,
}

/// What is said of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Label {
    /// It was fraud.
    Confirmed,
    /// It was not: takes an earlier label back.
    Cleared,
}

impl Label {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Label::Confirmed => "confirmed",
            Label::Cleared => "cleared",
        }
    }

    /// The dispute's status: fraud is a dispute for this reason that is not won.
    fn status(self) -> &'static str {
        match self {
            Label::Confirmed => "lost",
            Label::Cleared => "won",
        }
    }
}

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Labelled {
    transaction_id: String,
    label: Label,
    labelled_at: String,
    /// False where the payment had this label already: since then it has it.
    is_new: bool,
}

/// Labels a payment that the platform knows.
pub(super) async fn post(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Labelled>), Problem> {
    let now = now_micros();
    let bytes = body::read(&shared.platform.config().http, &headers, body).await?;
    let asked: Asked = body::json(&headers, &bytes)?;
    let labelled_at = known_since(asked.labelled_at.as_deref(), now).map_err(Problem::unprocessable)?;
    let labelled = give(&shared, &asked.transaction_id, asked.label, labelled_at).await?;
    Ok((StatusCode::ACCEPTED, Json(labelled)))
}

/// Gives a payment a label, known since `labelled_at` (microseconds UTC). Both ways of people lead through here.
///
/// # Errors
/// 404 for a payment that is not known, 422 for one without an amount, 503 where store or bus do not answer.
pub(super) async fn give(
    shared: &Shared,
    transaction_id: &str,
    label: Label,
    labelled_at: i64,
) -> Result<Labelled, Problem> {
    let id = transaction_id.trim().to_lowercase();
    if id.is_empty() || id.len() > ID_MAX {
        return Err(Problem::unprocessable(format!("transaction_id: must have 1 to {ID_MAX} bytes")));
    }
    let store = documents::store(shared).await?;
    let answer = |labelled_at: i64, is_new: bool| {
        let labelled_at = format_micros(labelled_at, true);
        Labelled { transaction_id: id.clone(), label, labelled_at, is_new }
    };
    if let Some(since) = labelled(store.as_ref(), &id, label).await? {
        return Ok(answer(since, false));
    }
    let payment = one(store.as_ref(), PAYMENTS, &id).await?;
    let payment = payment.ok_or_else(|| Problem::not_found(format!("no payment {id:?} is known")))?;
    let (Some(Value::Decimal(amount)), Some(Value::Text(currency))) =
        (payment.field("amount"), payment.field("currency"))
    else {
        return Err(Problem::unprocessable("the payment has no amount and currency"));
    };
    let dispute = Dispute { id: &id, amount: Value::Decimal(amount.clone()), currency, label, labelled_at };
    let version = shared.labels.send(&dispute).await?;
    let fields = vec![
        ("label".to_owned(), Value::Text(label.as_str().to_owned())),
        ("labelled_at".to_owned(), Value::TimestampTz(labelled_at)),
    ];
    let write = VersionedWrite { id: id.clone(), version, action: Action::Put(fields) };
    store.ensure(&CollectionSpec::new(COLLECTION_LABELS)).await.map_err(documents::problem)?;
    store.apply(COLLECTION_LABELS, vec![write]).await.map_err(documents::problem)?;
    Ok(answer(labelled_at, true))
}

/// When it was known, microseconds UTC.
fn known_since(given: Option<&str>, now: i64) -> Result<i64, String> {
    let Some(text) = given else { return Ok(now) };
    let time = DateTime::parse_from_rfc3339(text.trim());
    let time = time.map_err(|_| "labelled_at: expected a time such as 2026-10-01T12:00:00Z".to_owned())?;
    let micros = time.timestamp_micros();
    if micros > now { Err("labelled_at: lies in the future".to_owned()) } else { Ok(micros) }
}

/// Since when the payment has this label; none where it has it not.
async fn labelled(store: &dyn DocumentStore, id: &str, label: Label) -> Result<Option<i64>, Problem> {
    let Some(known) = one(store, COLLECTION_LABELS, id).await? else { return Ok(None) };
    let is_same = known.field("label") == Some(&Value::Text(label.as_str().to_owned()));
    Ok(match known.field("labelled_at") {
        Some(Value::TimestampTz(since)) if is_same => Some(*since),
        _ => None,
    })
}

/// A document; none where there is none, or no such collection yet.
pub(super) async fn one(
    store: &dyn DocumentStore,
    collection: &str,
    id: &str,
) -> Result<Option<Document>, Problem> {
    match store.get(collection, &[id.to_owned()]).await {
        Ok(found) => Ok(found.into_iter().next()),
        Err(DocumentError::UnknownCollection(_)) => Ok(None),
        Err(error) => Err(documents::problem(error)),
    }
}

/// A label as a dispute.
struct Dispute<'a> {
    id: &'a str,
    amount: Value,
    currency: &'a str,
    label: Label,
    labelled_at: i64,
}

/// The way into the bus, opened by the first label.
pub(super) struct Labels {
    bus: Bus,
    registry: RegistryClient,
    open: Mutex<Option<Open>>,
}

struct Open {
    producer: Producer,
    encoder: ChangeEncoder,
    schema: Arc<TableSchema>,
    /// Position of the last label: the time of its sending, microseconds UTC.
    last: i64,
}

impl Labels {
    pub(super) fn new(platform: &Platform) -> Self {
        let (bus, registry) = (platform.bus().clone(), platform.registry().clone());
        Labels { bus, registry, open: Mutex::new(None) }
    }

    /// Sends a label and waits until it is durable; its position. A later label of the payment has a greater one.
    async fn send(&self, dispute: &Dispute<'_>) -> Result<Position, Problem> {
        let unavailable =
            |error: &dyn std::fmt::Display| Problem::unavailable(format!("the bus takes no labels: {error}"));
        let sending = async {
            let mut guard = self.open.lock().await;
            let open = match guard.take() {
                Some(open) => open,
                None => self.open().await.map_err(|error| unavailable(&error))?,
            };
            // Put back only where it works: else the next label opens it again.
            let open = guard.insert(open);
            let at = now_micros().max(open.last + 1);
            open.last = at;
            let change = change(dispute, &open.schema, at);
            let encoded = open.encoder.encode(TOPIC_LABELS, &change).await;
            let encoded = encoded.map_err(|error| match error.reason() {
                Some(_) => Problem::unprocessable(error.to_string()),
                None => unavailable(&error),
            })?;
            let position = change.source.position;
            let record = Outgoing {
                topic: TOPIC_LABELS.into(),
                partition: None,
                key: encoded.key,
                value: Some(encoded.value),
                headers: vec![
                    (HEADER_POSITION.to_owned(), Bytes::from(position.to_string())),
                    (HEADER_EVENT_TYPE.to_owned(), Bytes::from(event_type(TABLE, Op::Create))),
                ],
                timestamp_ms: None,
            };
            let producer = open.producer.clone();
            let sequence = match producer.send(record).await {
                Ok(sequence) => sequence,
                Err(error) => {
                    *guard = None;
                    return Err(unavailable(&error));
                }
            };
            // Others may send meanwhile.
            drop(guard);
            producer.wait_acked(sequence).await.map_err(|error| unavailable(&error))?;
            Ok(position)
        };
        match tokio::time::timeout(PATIENCE, sending).await {
            Ok(sent) => sent,
            Err(_) => Err(Problem::unavailable("the bus does not answer; send the label again")),
        }
    }

    async fn open(&self) -> Result<Open, BusError> {
        self.bus.admin()?.ensure_topic(TOPIC_LABELS, &TopicSpec::new(1)).await?;
        let producer = self.bus.producer(ProducerOptions::default())?;
        let encoder = ChangeEncoder::new(Format::default(), Some(self.registry.clone()));
        Ok(Open { producer, encoder, schema: Arc::new(schema()), last: 0 })
    }
}

/// The columns of the disputes of the reference schema. Ids are texts, as in the lake: those of labels are no UUIDs.
fn schema() -> TableSchema {
    let column =
        |name: &str, column_type| Column { name: name.to_owned(), column_type, nullable: name != "id" };
    TableSchema {
        table: TableId::new("public", TABLE),
        columns: vec![
            column("id", ColumnType::Text),
            column("transaction_id", ColumnType::Text),
            column("amount", ColumnType::Decimal { precision: 18, scale: 4 }),
            column("currency", ColumnType::Text),
            column("reason_code", ColumnType::Text),
            column("status", ColumnType::Text),
            column("created_at", ColumnType::TimestampTz),
            column("updated_at", ColumnType::TimestampTz),
        ],
        key: vec![0],
    }
}

fn change(dispute: &Dispute<'_>, schema: &Arc<TableSchema>, at: i64) -> ChangeEvent {
    let text = |text: &str| Value::Text(text.to_owned());
    let position = Position::new(at.cast_unsigned(), 0);
    ChangeEvent {
        schema: Arc::clone(schema),
        op: Op::Create,
        before: None,
        after: Some(vec![
            Value::Text(format!("fraud-{}", dispute.id)),
            text(dispute.id),
            dispute.amount.clone(),
            text(dispute.currency),
            text("fraud"),
            text(dispute.label.status()),
            Value::TimestampTz(dispute.labelled_at),
            Value::TimestampTz(dispute.labelled_at),
        ]),
        unchanged: Vec::new(),
        source: Source {
            name: SOURCE.into(),
            database: SOURCE.into(),
            position,
            lsn: position.lsn.0,
            tx_id: None,
            ts_us: at,
            snapshot: Snapshot::False,
        },
        ts_us: at,
        transaction: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_a_dispute_that_counts_as_fraud_until_it_is_cleared() {
        let schema = Arc::new(schema());
        let dispute = |label| Dispute {
            id: "p-1",
            amount: Value::Decimal("12.34".parse().unwrap()),
            currency: "EUR",
            label,
            labelled_at: 3,
        };
        let of = |change: &ChangeEvent, name: &str| {
            change.after.as_ref().unwrap()[change.schema.index_of(name).unwrap()].clone()
        };
        let (first, then) =
            (change(&dispute(Label::Confirmed), &schema, 7), change(&dispute(Label::Cleared), &schema, 8));
        assert_eq!(first.key(), [Value::Text("fraud-p-1".to_owned())]);
        assert_eq!(of(&first, "status"), Value::Text("lost".to_owned()));
        assert_eq!(of(&then, "status"), Value::Text("won".to_owned()));
        assert_eq!(
            (of(&first, "reason_code"), of(&first, "created_at")),
            (Value::Text("fraud".to_owned()), Value::TimestampTz(3))
        );
        assert!(first.key() == then.key() && first.source.position < then.source.position);
        assert_eq!(affluent_model::names::table_of_topic(TOPIC_LABELS), TABLE, "it goes where disputes are");
    }

    #[test]
    fn a_label_is_not_of_the_future() {
        assert_eq!(known_since(None, 9), Ok(9));
        assert_eq!(known_since(Some("1970-01-01T00:00:00Z"), 9), Ok(0));
        assert!(known_since(Some("2999-01-01T00:00:00Z"), 9).is_err());
        assert!(known_since(Some("soon"), 9).is_err());
    }
}
