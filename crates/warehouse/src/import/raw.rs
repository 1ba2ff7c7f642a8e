//! Rows of the raw tables from rows of a file. Which columns there are is asked of the lake and of the models; the rest is pure.
//!
//! An imported row stands where a record of Kafka would: topic of its table, partition below zero (the number of the import), offset
//! its place in the file. Its position is an LSN below any that a database hands out, so that a change that is captured
//! always is the newer one, and of two imports the later.

use super::mapping::{Label, Origin};
use super::{Import, ImportError, cell};
use crate::batch::{CHANGES, Models, Task, of_named};
use affluent_lake::{Lake, LakeError, fits};
use affluent_model::names::{NAMESPACE_RAW, change_topic};
use affluent_model::{Column, ColumnType, Row, TableId, Value};
use std::sync::Arc;

/// The column of arrival.
pub(super) const ARRIVED: &str = "_kafka_ts";
/// When a row was committed at its source; a file may bring it.
const COMMITTED: &str = "_commit_ts";
const DISPUTES: &str = "disputes";
const TRANSACTIONS: &str = "transactions";
/// Reason of a dispute for fraud: code 10.4 of Visa, other fraud without the card present.
const FRAUD: &str = "10.4";
const DAY_US: i64 = 86_400_000_000;

/// Where a row of the file stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) number: i32,
    pub(super) row: i64,
    pub(super) begun_at: i64,
}

/// What is read of the file, and the tables that it goes to: first the one that was asked for.
pub(super) struct Plan {
    pub(super) columns: Vec<String>,
    pub(super) tables: Vec<RawTable>,
}

/// A raw table, and how its rows are made.
#[derive(Debug)]
pub(super) struct RawTable {
    pub(super) name: String,
    pub(super) topic: Arc<str>,
    /// Those that every table of changes has, then the source's.
    pub(super) columns: Vec<Column>,
    cells: Vec<Cell>,
    committed: Option<usize>,
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    /// Every row of the file is one.
    Every,
    /// Rows of payments that are marked become disputes: of the payment's own columns by place.
    Marked { payment: Box<RawTable>, mark: usize, delay_us: i64 },
}

/// Where the value of a column of the source comes from.
#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Null,
    Constant(Value),
    File(usize),
    /// Minor units; the currency is that of the column at this place among the source's.
    Minor(usize, usize),
}

/// Decides which rows become what.
pub(super) async fn plan(
    import: &Import,
    file: &[String],
    lake: &Lake,
    models: &Models,
) -> Result<Plan, ImportError> {
    let name = &import.mapping.table;
    let own = own_columns(name, lake, models).await?;
    let mut columns = Vec::new();
    let table = table(import, name, own, file, &mut columns).map_err(ImportError::Mapping)?;
    let Some(label) = &import.mapping.label else { return Ok(Plan { columns, tables: vec![table] }) };
    let disputes = own_columns(DISPUTES, lake, models).await?;
    let disputes =
        marked(import, label, (&table, disputes), file, &mut columns).map_err(ImportError::Mapping)?;
    Ok(Plan { columns, tables: vec![table, disputes] })
}

/// The source's columns of a raw table: those that it has, and those that the staged model of it reads.
async fn own_columns(name: &str, lake: &Lake, models: &Models) -> Result<Vec<Column>, ImportError> {
    let mut columns = match lake.table(NAMESPACE_RAW, name).await {
        Ok(table) => table.source_columns().await.map_err(ImportError::lake(format!("read raw.{name}")))?,
        Err(LakeError::NotFound(_)) => Vec::new(),
        Err(error) => return Err(ImportError::lake(format!("read raw.{name}"))(error)),
    };
    if !columns.is_empty() && !columns.iter().any(|column| column.name == "_op") {
        return Err(ImportError::Mapping(format!(
            "raw.{name} holds no changes of a table; clicks and log lines are sent to the collector"
        )));
    }
    let mut known = models.of(Task::Clean).filter_map(|model| Some((model.raw()?.to_owned(), model)));
    if let Some((_, model)) = known.find(|(raw, _)| raw == name) {
        let wanted = model.raw_columns().map_err(|error| ImportError::Mapping(error.to_string()))?;
        let missing = |column: &Column| !columns.iter().any(|there| there.name == column.name);
        let missing: Vec<Column> = wanted.into_iter().filter(missing).collect();
        columns.extend(missing);
    }
    if columns.is_empty() {
        let known: Vec<&str> = models.of(Task::Clean).filter_map(|model| model.raw()).collect();
        return Err(ImportError::Mapping(format!(
            "there is no table {name}; there are {}",
            known.join(", ")
        )));
    }
    columns.retain(|column| !CHANGES.iter().any(|(fixed, _)| *fixed == column.name));
    Ok(columns)
}

/// The table that was asked for.
fn table(
    import: &Import,
    name: &str,
    own: Vec<Column>,
    file: &[String],
    read: &mut Vec<String>,
) -> Result<RawTable, String> {
    let mapping = &import.mapping;
    for column in mapping.map.keys().chain(mapping.set.keys()) {
        if column != COMMITTED && !own.iter().any(|known| known.name == *column) {
            let known: Vec<&str> = own.iter().map(|column| column.name.as_str()).collect();
            return Err(format!("{name} has no column {column}; it has {}", known.join(", ")));
        }
    }
    let place_of = |name: &str| own.iter().position(|column| column.name == name);
    let mut cells = Vec::new();
    for column in &own {
        cells.push(match mapping.origin(&column.name, file)? {
            Origin::Nothing => Cell::Null,
            Origin::Constant(text) => {
                let value = cell::convert(&Value::Text(text), &column.column_type)
                    .map_err(|error| format!("--set {}: {error}", column.name))?;
                Cell::Constant(value)
            }
            Origin::File { column: from, minor: false } => Cell::File(place(read, &from)),
            Origin::File { column: from, minor: true } => {
                let currency = place_of("currency").ok_or_else(|| {
                    format!("{name} has no column currency, so that minor units say nothing: map {} without :minor", column.name)
                })?;
                Cell::Minor(place(read, &from), currency)
            }
        });
    }
    // A row that was never changed was changed last when it was made.
    if let (Some(updated), Some(created)) = (place_of("updated_at"), place_of("created_at"))
        && cells[updated] == Cell::Null
    {
        cells[updated] = cells[created].clone();
    }
    if let Some(id) = place_of("id")
        && cells[id] == Cell::Null
    {
        return Err(format!(
            "nothing of the file becomes the column id: give --map id=…, one of {}",
            file.join(", ")
        ));
    }
    let committed = match mapping.origin(COMMITTED, file)? {
        Origin::File { column, .. } if mapping.map.contains_key(COMMITTED) => Some(place(read, &column)),
        Origin::File { .. } | Origin::Constant(_) | Origin::Nothing => None,
    };
    let topic = change_topic(&import.source, &TableId::new("public", name)).into();
    let columns = fixed_columns().into_iter().chain(own).collect();
    Ok(RawTable { name: name.to_owned(), topic, columns, cells, committed, rule: Rule::Every })
}

/// The disputes of marked payments.
fn marked(
    import: &Import,
    label: &Label,
    (payments, own): (&RawTable, Vec<Column>),
    file: &[String],
    read: &mut Vec<String>,
) -> Result<RawTable, String> {
    if payments.name != TRANSACTIONS {
        return Err(format!("a label says which payments were fraud; {} are none", payments.name));
    }
    if !file.contains(&label.column) {
        return Err(format!("the label is in {}, but the file has only {}", label.column, file.join(", ")));
    }
    let payment = RawTable {
        name: payments.name.clone(),
        topic: Arc::clone(&payments.topic),
        columns: payments.columns.clone(),
        cells: payments.cells.clone(),
        committed: payments.committed,
        rule: Rule::Every,
    };
    let rule = Rule::Marked {
        payment: Box::new(payment),
        mark: place(read, &label.column),
        delay_us: i64::from(label.delay_days) * DAY_US,
    };
    let topic = change_topic(&import.source, &TableId::new("public", DISPUTES)).into();
    let cells = vec![Cell::Null; own.len()];
    let columns = fixed_columns().into_iter().chain(own).collect();
    Ok(RawTable { name: DISPUTES.to_owned(), topic, columns, cells, committed: None, rule })
}

impl RawTable {
    /// The row that a row of the file becomes; none where it becomes none.
    ///
    /// # Errors
    /// What is wrong with it, by column and without its values.
    pub(super) fn row(&self, values: &Row, place: &Place) -> Result<Option<Row>, String> {
        match &self.rule {
            Rule::Every => {
                let own = self.own(values)?;
                let time = |name: &str| match self.get(&own, name) {
                    Some(Value::TimestampTz(micros) | Value::Timestamp(micros)) => Some(*micros),
                    Some(_) | None => None,
                };
                let committed = match self.committed {
                    Some(from) => match cell::convert(&values[from], &ColumnType::TimestampTz) {
                        Ok(Value::TimestampTz(micros)) => micros,
                        Ok(_) => return Err(format!("{COMMITTED}: null")),
                        Err(error) => return Err(format!("{COMMITTED}: {error}")),
                    },
                    None => time("updated_at").or_else(|| time("created_at")).unwrap_or(place.begun_at),
                };
                Ok(Some(self.whole(own, place, committed)))
            }
            Rule::Marked { payment, mark, delay_us } => {
                if !cell::marked(&values[*mark]).map_err(|error| format!("label: {error}"))? {
                    return Ok(None);
                }
                let paid = payment.own(values)?;
                let Some(Value::TimestampTz(created)) = payment.get(&paid, "created_at") else {
                    return Err("created_at: null, so that nobody knows when the fraud was known".to_owned());
                };
                let known = created.saturating_add(*delay_us);
                let of = |name: &str| payment.get(&paid, name).cloned().unwrap_or(Value::Null);
                let own = self.columns[CHANGES.len()..].iter().map(|column| match column.name.as_str() {
                    "id" => Value::Text(format!("fraud-{}", of("id").to_text())),
                    "transaction_id" => of("id"),
                    "amount" => of("amount"),
                    "currency" => of("currency"),
                    "reason_code" => Value::Text(FRAUD.to_owned()),
                    "status" => Value::Text("lost".to_owned()),
                    "created_at" | "updated_at" => Value::TimestampTz(known),
                    _ => Value::Null,
                });
                Ok(Some(self.whole(own.collect(), place, known)))
            }
        }
    }

    /// The source's part of a row.
    fn own(&self, values: &Row) -> Result<Row, String> {
        let columns = &self.columns[CHANGES.len()..];
        let mut row = vec![Value::Null; columns.len()];
        // The currency stands before the amount that needs it.
        let minor_last = |cell: &Cell| matches!(cell, Cell::Minor(..));
        let (late, early): (Vec<usize>, Vec<usize>) =
            (0..columns.len()).partition(|&at| minor_last(&self.cells[at]));
        for at in early.into_iter().chain(late) {
            let column = &columns[at];
            let made = match &self.cells[at] {
                Cell::Null => Ok(Value::Null),
                Cell::Constant(value) => Ok(value.clone()),
                Cell::File(from) => cell::convert(&values[*from], &column.column_type),
                Cell::Minor(from, currency) => cell::of_minor(&values[*from], &row[*currency]),
            };
            let value = made.map_err(|error| format!("{}: {error}", column.name))?;
            fits(&value, &column.column_type).map_err(|error| format!("{}: {error}", column.name))?;
            row[at] = value;
        }
        match self.get(&row, "id") {
            Some(Value::Null) => Err("id: null".to_owned()),
            Some(_) | None => Ok(row),
        }
    }

    /// The source's part behind what every table of changes has.
    fn whole(&self, own: Row, place: &Place, committed: i64) -> Row {
        let fixed = |name: &str| match name {
            "_op" => Value::Text("c".to_owned()),
            "_lsn" => Value::Int(place.number.into()),
            "_ordinal" | "_kafka_offset" => Value::Int(place.row),
            "_snapshot" => Value::Bool(false),
            "_kafka_topic" => Value::Text(self.topic.to_string()),
            "_kafka_partition" => Value::Int((-place.number).into()),
            COMMITTED | ARRIVED => Value::TimestampTz(committed),
            _ => Value::Null,
        };
        CHANGES.iter().map(|(name, _)| fixed(name)).chain(own).collect()
    }

    /// The value of a column of the source.
    fn get<'a>(&self, own: &'a Row, name: &str) -> Option<&'a Value> {
        let at = self.columns[CHANGES.len()..].iter().position(|column| column.name == name)?;
        own.get(at)
    }
}

/// The place of a column among those that are read, which it joins.
fn place(read: &mut Vec<String>, column: &str) -> usize {
    read.iter().position(|known| known == column).unwrap_or_else(|| {
        read.push(column.to_owned());
        read.len() - 1
    })
}

fn fixed_columns() -> Vec<Column> {
    CHANGES.iter().filter_map(|(name, data_type)| of_named(name, data_type)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::{FileKind, Mapping};

    fn own() -> Vec<Column> {
        let column = |name: &str, column_type| Column { name: name.to_owned(), column_type, nullable: true };
        vec![
            column("id", ColumnType::Text),
            column("amount", ColumnType::Decimal { precision: 18, scale: 4 }),
            column("currency", ColumnType::Text),
            column("created_at", ColumnType::TimestampTz),
            column("updated_at", ColumnType::TimestampTz),
        ]
    }

    fn import(mapping: &str) -> Import {
        let mapping = Mapping::parse("m", mapping).unwrap();
        Import { file: "f.csv".into(), kind: FileKind::Csv, mapping, source: "oltp".to_owned() }
    }

    const MAPPING: &str = "table = 'transactions'\nmap = { amount = 'cents:minor', created_at = 'at' }\nset = { currency = 'EUR' }";

    #[test]
    fn a_row_of_a_file_stands_where_a_record_of_kafka_would() {
        let file = ["id", "cents", "at", "fraud"].map(str::to_owned);
        let import = import(MAPPING);
        let mut read = Vec::new();
        let payments = table(&import, "transactions", own(), &file, &mut read).unwrap();
        let label = Label { column: "fraud".to_owned(), delay_days: 7 };
        let mut disputes = own();
        disputes.push(Column {
            name: "transaction_id".to_owned(),
            column_type: ColumnType::Text,
            nullable: true,
        });
        let disputes = marked(&import, &label, (&payments, disputes), &file, &mut read).unwrap();
        assert_eq!(read, ["id", "cents", "at", "fraud"]);
        let values = |fraud: i64| {
            vec![
                Value::Int(9),
                Value::Int(1234),
                Value::Text("2018-04-01T00:00:31Z".to_owned()),
                Value::Int(fraud),
            ]
        };
        let place = Place { number: 3, row: 17, begun_at: 0 };
        let row = payments.row(&values(0), &place).unwrap().unwrap();
        let text = |row: &Row, table: &RawTable, name: &str| {
            row[table.columns.iter().position(|column| column.name == name).unwrap()].to_text()
        };
        for (name, expected) in [
            ("_op", "c"),
            ("_lsn", "3"),
            ("_ordinal", "17"),
            ("_kafka_topic", "oltp.public.transactions"),
            ("_kafka_partition", "-3"),
            ("_kafka_offset", "17"),
            ("_kafka_ts", "2018-04-01T00:00:31.000000Z"),
            ("_commit_ts", "2018-04-01T00:00:31.000000Z"),
            ("id", "9"),
            ("amount", "12.34"),
            ("updated_at", "2018-04-01T00:00:31.000000Z"),
        ] {
            assert_eq!(text(&row, &payments, name), expected, "{name}");
        }
        assert_eq!(disputes.row(&values(0), &place), Ok(None));
        let dispute = disputes.row(&values(1), &place).unwrap().unwrap();
        assert_eq!(text(&dispute, &disputes, "transaction_id"), "9");
        assert_eq!(text(&dispute, &disputes, "id"), "fraud-9");
        assert_eq!(text(&dispute, &disputes, "_commit_ts"), "2018-04-08T00:00:31.000000Z");
    }

    #[test]
    fn what_does_not_fit_is_told_by_column() {
        let file = ["id", "cents", "at"].map(str::to_owned);
        let payments = table(&import(MAPPING), "transactions", own(), &file, &mut Vec::new()).unwrap();
        let place = Place { number: 1, row: 0, begun_at: 0 };
        let row = |id: Value, cents: &str, at: &str| {
            payments.row(&vec![id, Value::Text(cents.to_owned()), Value::Text(at.to_owned())], &place)
        };
        assert!(row(Value::Int(1), "1.5", "2018-04-01").unwrap_err().starts_with("amount:"));
        assert!(row(Value::Int(1), "1", "soon").unwrap_err().starts_with("created_at:"));
        assert!(row(Value::Null, "1", "2018-04-01").unwrap_err().starts_with("id:"));
        let wrong = |mapping: &str| {
            table(&import(mapping), "transactions", own(), &file, &mut Vec::new()).unwrap_err()
        };
        assert!(
            wrong("table = 't'\nmap = { amout = 'cents' }").contains("no column amout; it has id, amount")
        );
        assert!(wrong("table = 't'\nset = { amount = 'many' }").contains("--set amount"));
        assert!(wrong("table = 't'\nmap = { id = '' }").contains("--map id="));
    }
}
