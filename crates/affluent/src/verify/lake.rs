//! The lake's side: every row of a raw table as the change event it was, folded.

use super::canonical::Kind;
use super::digest::{KEY_SEPARATOR, Measures, TableShape};
use super::fold::{Event, Fold};
use super::kafka::Watermarks;
use super::keyless::Keyless;
use affluent_lake::{Lake, LakeError, LakeTable, RowStream, Scan};
use affluent_model::names::{NAMESPACE_RAW, table_of_topic};
use affluent_model::{Op, Position, Row, Value};
use anyhow::{Context as _, anyhow};
use serde_json::Value as Json;
use std::borrow::Cow;
use std::collections::HashSet;

/// The columns beside the source's, in the order in which they are read here.
const OWN: [&str; 9] = [
    "_op",
    "_lsn",
    "_ordinal",
    "_kafka_partition",
    "_kafka_offset",
    "_unchanged",
    "_before",
    "_special",
    "_kafka_topic",
];

/// What the raw table of a topic says.
#[derive(Default)]
pub(super) struct LakeRows {
    pub(super) fold: Fold,
    pub(super) keyless: Keyless,
    /// Rows whose record lies between the given offsets.
    pub(super) records: u64,
    /// Records that are in the table more than once, as `partition/offset`.
    pub(super) duplicates: Vec<String>,
}

/// The raw table of a topic; `None` while it has none.
pub(super) async fn raw_table(lake: &Lake, topic: &str) -> anyhow::Result<Option<LakeTable>> {
    match lake.table(NAMESPACE_RAW, &table_of_topic(topic)).await {
        Ok(table) => Ok(Some(table)),
        Err(LakeError::NotFound(_)) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("open the raw table of {topic}")),
    }
}

/// Reads the rows whose records lie in `range`, without those of `later`.
pub(super) async fn read(
    table: &LakeTable,
    shape: &TableShape,
    measures: &Measures,
    range: &Watermarks,
    later: &HashSet<(i32, i64)>,
) -> anyhow::Result<LakeRows> {
    let mut rows = LakeRows::default();
    let topic = Value::Text(shape.topic.to_string());
    let (mut stream, places) = scan(table, shape).await?;
    let reader = Reader { shape, measures, places };
    let mut seen = HashSet::new();
    while let Some(batch) = stream.next().await {
        for row in batch.with_context(|| format!("read {}", table.name()))? {
            // A raw table may hold records of another topic, too: labels lie among the disputes.
            if row[8] != topic {
                continue;
            }
            let place = reader.record(&row).with_context(|| format!("read {}", table.name()))?;
            let (partition, offset) = place;
            if range.get(&partition).is_none_or(|&(_, next)| offset >= next) {
                continue;
            }
            if !seen.insert(place) {
                rows.duplicates.push(format!("record {partition}/{offset}"));
                continue;
            }
            if range.get(&partition).is_some_and(|&(first, _)| offset >= first) {
                rows.records += 1;
            }
            if later.contains(&place) {
                continue;
            }
            let event = reader.event(&row).with_context(|| format!("record {partition}/{offset}"))?;
            if shape.key.is_empty() {
                rows.keyless.apply(event);
            } else {
                rows.fold.apply(measures, event);
            }
        }
    }
    Ok(rows)
}

/// Opens the scan of what the table has of the wanted columns, and where each column of the source is.
async fn scan(table: &LakeTable, shape: &TableShape) -> anyhow::Result<(RowStream, Vec<Option<usize>>)> {
    let wanted: Vec<String> = shape.columns.iter().map(|column| stored_name(&column.name)).collect();
    let mut missing: Vec<String> = Vec::new();
    loop {
        let mut columns: Vec<String> = OWN.iter().map(|&name| name.to_owned()).collect();
        let places = wanted.iter().map(|name| {
            (!missing.contains(name)).then(|| {
                columns.push(name.clone());
                columns.len() - 1
            })
        });
        let places: Vec<Option<usize>> = places.collect();
        match table.scan(Scan { columns, ..Scan::default() }).await {
            Ok(stream) => return Ok((stream, places)),
            Err(LakeError::NoColumn { column, .. }) if wanted.contains(&column) => missing.push(column),
            Err(error) => return Err(error).with_context(|| format!("read {}", table.name())),
        }
    }
}

/// A source's column that is named as one of the lake's own has `_col` behind it.
fn stored_name(name: &str) -> String {
    let own = ["_tx_id", "_commit_ts", "_snapshot", "_kafka_ts"];
    let taken = OWN.iter().chain(&own).any(|taken| name.eq_ignore_ascii_case(taken));
    if taken { format!("{name}_col") } else { name.to_owned() }
}

struct Reader<'a> {
    shape: &'a TableShape,
    measures: &'a Measures,
    places: Vec<Option<usize>>,
}

impl Reader<'_> {
    /// Partition and offset of the row's record.
    fn record(&self, row: &Row) -> anyhow::Result<(i32, i64)> {
        let (partition, offset) = (int(&row[3], OWN[3])?, int(&row[4], OWN[4])?);
        Ok((i32::try_from(partition).context("_kafka_partition")?, offset))
    }

    fn event(&self, row: &Row) -> anyhow::Result<Event> {
        let Value::Text(op) = &row[0] else { return Err(anyhow!("no _op")) };
        let op = Op::from_code(op).with_context(|| format!("_op {op:?} is no operation"))?;
        let lsn = u64::try_from(int(&row[1], OWN[1])?).context("_lsn")?;
        let ordinal = u64::try_from(int(&row[2], OWN[2])?).context("_ordinal")?;
        let unsent = names(&row[5]);
        let (before, special) = (json(&row[6]), json(&row[7]));
        let columns = &self.shape.columns;
        let unchanged: Vec<usize> =
            (0..columns.len()).filter(|&i| unsent.contains(&columns[i].name)).collect();
        let cell = |index: usize| -> Option<Option<Cow<'_, str>>> {
            let column = &columns[index];
            let value = &row[self.places[index]?];
            let text = match special.as_ref().and_then(|special| special.get(&column.name)) {
                Some(text) => column.kind.of_json(text),
                None => column.kind.of_value(value),
            };
            (!unchanged.contains(&index)).then_some(text)
        };
        let image = self.shape.digest(self.measures, |index, _| cell(index));
        let old = before.as_ref().map(|before| {
            self.shape
                .digest(self.measures, |_, column| before.get(&column.name).map(|v| column.kind.of_json(v)))
        });
        let key_of = |cell: &dyn Fn(usize) -> Option<String>| {
            let texts: Vec<String> = self.shape.key.iter().map(|&i| cell(i).unwrap_or_default()).collect();
            texts.join(&KEY_SEPARATOR.to_string())
        };
        let key = key_of(&|index| cell(index).flatten().map(Cow::into_owned));
        let old_key = before.as_ref().map(|before| {
            key_of(&|index| {
                let kind: &Kind = &columns[index].kind;
                before.get(&columns[index].name).and_then(|v| kind.of_json(v)).map(Cow::into_owned)
            })
        });
        let moved_from = old_key.filter(|old| op == Op::Update && !self.shape.key.is_empty() && *old != key);
        let gone = matches!(op, Op::Delete | Op::Truncate);
        Ok(Event {
            key,
            moved_from,
            op,
            position: Position::new(lsn, ordinal),
            before: if op == Op::Delete { Some(image.clone()) } else { old },
            after: (!gone).then_some(image),
            unchanged,
        })
    }
}

fn int(value: &Value, name: &str) -> anyhow::Result<i64> {
    match value {
        Value::Int(value) => Ok(*value),
        _ => Err(anyhow!("no {name}")),
    }
}

fn json(value: &Value) -> Option<Json> {
    match value {
        Value::Json(text) | Value::Text(text) => serde_json::from_str(text).ok(),
        _ => None,
    }
}

fn names(value: &Value) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    };
    match value {
        Value::Array(items) => items.iter().filter_map(text).collect(),
        _ => Vec::new(),
    }
}
