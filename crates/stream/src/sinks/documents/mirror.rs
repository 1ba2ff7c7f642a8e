//! From one change to the writes on its table's mirror: pure.
//!
//! Invariant: the id of a row depends on its key alone, and equal keys have equal ids.

use affluent_documents::{Action, Fields, VersionedWrite};
use affluent_model::{ChangeEvent, Op, Position, Reason, Snapshot, Value};

/// What a change does to the mirror.
#[derive(Debug, Clone, PartialEq)]
pub enum Mirrored {
    /// One write; two where the row moved to another key.
    Writes(Vec<VersionedWrite>),
    /// Everything older is gone.
    Truncate(Position),
}

/// Why a change has no place in a mirror.
pub type Unfit = (Reason, String);

/// The writes of `change`, which was read at `partition` and `offset`.
///
/// # Errors
/// [`Reason::MissingKey`] for updates and deletes of a table without a key: nothing says which
/// document is meant. [`Reason::Undecodable`] where the row is missing or has too few columns.
pub fn mirror(change: ChangeEvent, partition: i32, offset: i64) -> Result<Mirrored, Unfit> {
    let version = change.source.position;
    if change.op == Op::Truncate {
        return Ok(Mirrored::Truncate(version));
    }
    let columns = change.schema.columns.len();
    if let Some(row) = [&change.before, &change.after].into_iter().flatten().find(|row| row.len() != columns)
    {
        let problem = format!("{} values for {columns} columns", row.len());
        return Err((Reason::Undecodable, problem));
    }
    if change.schema.key.is_empty() {
        return keyless(change, partition, offset);
    }
    let id = id_of(&change.key());
    if change.op == Op::Delete {
        if change.before.is_none() {
            return Err((Reason::Undecodable, "a delete without the old row's key".to_owned()));
        }
        return Ok(Mirrored::Writes(vec![VersionedWrite { id, version, action: Action::Delete }]));
    }
    if change.after.is_none() {
        return Err((Reason::Undecodable, format!("an event {:?} without a row", change.op.code())));
    }
    let keep: Vec<String> = change.unchanged.iter().map(|&i| change.schema.columns[i].name.clone()).collect();
    let old = change.moved_from().map(|key| id_of(&key)).filter(|old| *old != id);
    let fields = fields(change);
    let write = |id: String, action| VersionedWrite { id, version, action };
    Ok(Mirrored::Writes(match (old, keep.is_empty()) {
        (None, true) => vec![write(id, Action::Put(fields))],
        (None, false) => vec![write(id, Action::Patch { fields, keep, moved_from: None })],
        (Some(old), true) => vec![write(old, Action::Delete), write(id, Action::Put(fields))],
        (Some(old), false) => {
            let depart = Action::Depart { to: id.clone(), keep: keep.clone() };
            let patch = Action::Patch { fields, keep, moved_from: Some(old.clone()) };
            vec![write(old, depart), write(id, patch)]
        }
    }))
}

/// Rows without a key are only ever added. Their position names them; rows of a snapshot share one,
/// so the place in the topic does.
fn keyless(change: ChangeEvent, partition: i32, offset: i64) -> Result<Mirrored, Unfit> {
    let version = change.source.position;
    let id = match (change.op, change.source.snapshot) {
        (Op::Read, _) | (_, Snapshot::True | Snapshot::Incremental) => format!("{partition}/{offset}"),
        (Op::Create, Snapshot::False) => version.to_string(),
        (Op::Update | Op::Delete | Op::Truncate, Snapshot::False) => {
            let table = &change.schema.table;
            return Err((
                Reason::MissingKey,
                format!("{table} has no primary key: give it one, or leave it out of the mirrors"),
            ));
        }
    };
    if change.after.is_none() {
        return Err((Reason::Undecodable, "a new row without its values".to_owned()));
    }
    Ok(Mirrored::Writes(vec![VersionedWrite { id, version, action: Action::Put(fields(change)) }]))
}

/// The columns that the change carries.
fn fields(change: ChangeEvent) -> Fields {
    let row = change.after.unwrap_or_default();
    let columns = change.schema.columns.iter().zip(row).enumerate();
    columns
        .filter(|(i, _)| !change.unchanged.contains(i))
        .map(|(_, (column, value))| (column.name.clone(), value))
        .collect()
}

/// The id of a key: its values as text, joined by `|`. In a value, `|` is `\|`, `\` is `\\`, and an
/// empty one is `\0`; a decimal has no trailing zeros (PostgreSQL holds 1.0 and 1.00 for one key).
#[must_use]
pub fn id_of(key: &[Value]) -> String {
    let mut id = String::new();
    for (i, value) in key.iter().enumerate() {
        if i > 0 {
            id.push('|');
        }
        let text = match value {
            Value::Decimal(decimal) => decimal.normalized().to_plain_string(),
            value => value.to_text(),
        };
        if text.is_empty() {
            id.push_str("\\0");
        }
        for c in text.chars() {
            if matches!(c, '|' | '\\') {
                id.push('\\');
            }
            id.push(c);
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_model::{Column, ColumnType, Source, TableId, TableSchema};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn change(key: Vec<usize>, op: Op, before: Option<[&str; 2]>, after: Option<[&str; 2]>) -> ChangeEvent {
        let column =
            |name: &str| Column { name: name.to_owned(), column_type: ColumnType::Text, nullable: true };
        let row = |row: [&str; 2]| row.iter().map(|&text| Value::Text(text.to_owned())).collect();
        ChangeEvent {
            schema: Arc::new(TableSchema {
                table: TableId::new("public", "t"),
                columns: vec![column("k"), column("v")],
                key,
            }),
            op,
            before: before.map(row),
            after: after.map(row),
            unchanged: Vec::new(),
            source: Source {
                name: "oltp".into(),
                database: "d".into(),
                position: Position::new(7, 2),
                lsn: 7,
                tx_id: None,
                ts_us: 0,
                snapshot: Snapshot::False,
            },
            ts_us: 0,
            transaction: None,
        }
    }

    fn actions(change: ChangeEvent) -> Vec<(String, &'static str)> {
        let Ok(Mirrored::Writes(writes)) = mirror(change, 3, 41) else { panic!("writes expected") };
        let name = |action: &Action| match action {
            Action::Put(_) => "put",
            Action::Patch { .. } => "patch",
            Action::Delete => "delete",
            Action::Depart { .. } => "depart",
        };
        writes.iter().map(|write| (write.id.clone(), name(&write.action))).collect()
    }

    #[test]
    fn each_kind_of_change_has_its_writes() {
        let (old, new) = (Some(["a", "x"]), Some(["b", "y"]));
        let of = |id: &str, action| (id.to_owned(), action);
        assert_eq!(actions(change(vec![0], Op::Create, None, new)), [of("b", "put")]);
        assert_eq!(actions(change(vec![0], Op::Read, None, new)), [of("b", "put")]);
        assert_eq!(actions(change(vec![0], Op::Update, None, new)), [of("b", "put")]);
        assert_eq!(actions(change(vec![0], Op::Delete, old, None)), [of("a", "delete")]);
        assert_eq!(actions(change(vec![0], Op::Update, old, new)), [of("a", "delete"), of("b", "put")]);
        assert_eq!(actions(change(vec![], Op::Create, None, new)), [of("0/7+2", "put")]);
        assert_eq!(actions(change(vec![], Op::Read, None, new)), [of("3/41", "put")]);
        let unchanged =
            |before| ChangeEvent { unchanged: vec![1], ..change(vec![0], Op::Update, before, new) };
        assert_eq!(actions(unchanged(None)), [of("b", "patch")]);
        assert_eq!(actions(unchanged(old)), [of("a", "depart"), of("b", "patch")]);
        let truncate = mirror(change(vec![0], Op::Truncate, None, None), 0, 0);
        assert_eq!(truncate, Ok(Mirrored::Truncate(Position::new(7, 2))));
    }

    #[test]
    fn changes_that_name_no_document_are_refused() {
        for (key, op, before, after, reason) in [
            (vec![], Op::Update, None, Some(["a", "x"]), Reason::MissingKey),
            (vec![], Op::Delete, Some(["a", "x"]), None, Reason::MissingKey),
            (vec![0], Op::Delete, None, None, Reason::Undecodable),
            (vec![0], Op::Update, None, None, Reason::Undecodable),
        ] {
            let refused = mirror(change(key, op, before, after), 0, 0);
            assert_eq!(refused.map_err(|(reason, _)| reason), Err(reason), "{op:?}");
        }
    }

    proptest! {
        #[test]
        fn different_keys_have_different_ids(a in vec("[ab|\\\\0]{0,3}", 2), b in vec("[ab|\\\\0]{0,3}", 2)) {
            let id = |key: &[String]| id_of(&key.iter().cloned().map(Value::Text).collect::<Vec<_>>());
            prop_assert_eq!(a == b, id(&a) == id(&b));
        }
    }
}
