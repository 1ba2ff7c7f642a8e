//! Histories of one table as change events, and the rows that they leave.

use affluent_model::{
    ChangeEvent, Column, ColumnType, Op, Position, Snapshot, Source, TableId, TableSchema, Value,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Rows by key: amount and note.
pub(crate) type Rows = BTreeMap<i64, (Value, Value)>;

#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) changes: Vec<ChangeEvent>,
    pub(crate) rows: Rows,
}

#[derive(Debug, Clone)]
enum Step {
    /// Inserts, or updates; `unchanged`: the source does not send the note.
    Write {
        id: i64,
        unchanged: bool,
    },
    Delete {
        id: i64,
    },
    Move {
        from: i64,
        to: i64,
        unchanged: bool,
    },
    Truncate,
}

/// A random history of a table with few keys.
pub(crate) fn history() -> impl Strategy<Value = History> {
    let step = prop_oneof![
        6 => (0..5i64, any::<bool>()).prop_map(|(id, unchanged)| Step::Write { id, unchanged }),
        2 => (0..5i64).prop_map(|id| Step::Delete { id }),
        2 => (0..5i64, 0..5i64, any::<bool>()).prop_map(|(from, to, unchanged)| Step::Move { from, to, unchanged }),
        1 => Just(Step::Truncate),
    ];
    vec(step, 1..40).prop_map(|steps| play(&steps))
}

/// The table `public.notes`.
pub(crate) fn schema() -> Arc<TableSchema> {
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type, nullable: true };
    let columns = vec![
        column("id", ColumnType::Int64),
        column("amount", ColumnType::Decimal { precision: 18, scale: 4 }),
        column("note", ColumnType::Text),
    ];
    Arc::new(TableSchema { table: TableId::new("public", "notes"), columns, key: vec![0] })
}

/// One change of `schema` at `position`.
pub(crate) fn change(
    schema: &Arc<TableSchema>,
    op: Op,
    position: Position,
    before: Option<Vec<Value>>,
    after: Option<Vec<Value>>,
) -> ChangeEvent {
    ChangeEvent {
        schema: Arc::clone(schema),
        op,
        before,
        after,
        unchanged: Vec::new(),
        source: Source {
            name: "oltp".into(),
            database: "shop".into(),
            position,
            lsn: position.lsn.0,
            tx_id: Some(7),
            ts_us: affluent_model::time::now_micros(),
            snapshot: Snapshot::False,
        },
        ts_us: affluent_model::time::now_micros(),
        transaction: None,
    }
}

/// An amount with four decimals.
pub(crate) fn amount(n: i64) -> Value {
    Value::Decimal(bigdecimal::BigDecimal::new((n * 10_001).into(), 4))
}

fn play(steps: &[Step]) -> History {
    let schema = schema();
    let (mut changes, mut rows) = (Vec::new(), Rows::new());
    // Keys that a row left with an unchanged note are not used again: see `convergence::Departed`.
    let mut left = BTreeSet::new();
    for (i, step) in (1..).zip(steps) {
        let position = Position::new(1_000 + i / 3, 1 + i % 3);
        let (money, note) = (amount(i as i64), Value::Text(format!("note {i}")));
        let row = |id: i64, note: &Value| vec![Value::Int(id), money.clone(), note.clone()];
        let key = |id: i64| vec![Value::Int(id), Value::Null, Value::Null];
        let mut add = |op, before, after, unchanged: bool| {
            let mut change = change(&schema, op, position, before, after);
            if unchanged {
                change.unchanged = vec![2];
            }
            changes.push(change);
        };
        match *step {
            Step::Write { id, unchanged } if !left.contains(&id) => {
                let old = rows.get(&id).map(|(_, note): &(Value, Value)| note.clone());
                match (old, unchanged) {
                    (Some(old), true) => {
                        add(Op::Update, None, Some(row(id, &Value::Null)), true);
                        rows.insert(id, (money, old));
                    }
                    (old, _) => {
                        let op = if old.is_some() { Op::Update } else { Op::Create };
                        add(op, None, Some(row(id, &note)), false);
                        rows.insert(id, (money, note));
                    }
                }
            }
            Step::Delete { id } if rows.remove(&id).is_some() => add(Op::Delete, Some(key(id)), None, false),
            Step::Move { from, to, unchanged }
                if from != to
                    && !rows.contains_key(&to)
                    && !left.contains(&to)
                    && rows.contains_key(&from) =>
            {
                let old = rows.remove(&from).map(|(_, note)| note).unwrap_or(Value::Null);
                if unchanged {
                    left.insert(from);
                    add(Op::Update, Some(key(from)), Some(row(to, &Value::Null)), true);
                    rows.insert(to, (money, old));
                } else {
                    add(Op::Update, Some(key(from)), Some(row(to, &note)), false);
                    rows.insert(to, (money, note));
                }
            }
            Step::Truncate => {
                add(Op::Truncate, None, None, false);
                rows.clear();
            }
            Step::Write { .. } | Step::Delete { .. } | Step::Move { .. } => {}
        }
    }
    History { changes, rows }
}
