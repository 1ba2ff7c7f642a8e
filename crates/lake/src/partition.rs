//! How a table is divided, and into which part a row goes.

use crate::table::RowBatch;
use crate::types::MICROS_A_DAY;
use crate::{LakeError, schema};
use affluent_model::{Column, Row, Value};
use iceberg::TableCreation;
use iceberg::spec::{Literal, PartitionKey, Struct, Transform, UnboundPartitionField, UnboundPartitionSpec};
use iceberg::table::Table;
use std::collections::BTreeMap;

/// How a new table is divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Partition {
    None,
    /// By UTC day of this `Timestamp` or `TimestampTz` column.
    Day(String),
}

pub(crate) fn creation(
    namespace: &str,
    name: &str,
    columns: &[Column],
    partition: &Partition,
) -> Result<TableCreation, LakeError> {
    let table = format!("{namespace}.{name}");
    let schema = schema::create(&table, columns)?;
    let mut spec = UnboundPartitionSpec::builder();
    if let Partition::Day(column) = partition {
        let fields = schema.as_struct().fields();
        let field = schema::find(fields, column).map(|index| &fields[index]);
        let field = field.ok_or_else(|| LakeError::NoColumn { table, column: column.clone() })?;
        spec = spec.add_partition_fields([UnboundPartitionField {
            source_id: field.id,
            field_id: None,
            name: format!("{}_day", field.name),
            transform: Transform::Day,
        }])?;
    }
    let properties = [
        ("write.metadata.previous-versions-max", "10"),
        ("write.metadata.delete-after-commit.enabled", "true"),
        ("write.parquet.compression-codec", "zstd"),
        // Expiry and clean-up belong to this process alone: it knows the grace periods.
        ("gc.enabled", "false"),
    ];
    Ok(TableCreation::builder()
        .name(name.to_owned())
        .schema(schema)
        .partition_spec(spec.build())
        .properties(properties.map(|(key, value)| (key.to_owned(), value.to_owned())))
        .build())
}

/// The rows of each partition.
pub(crate) type Partitions<'a> = Vec<(Option<PartitionKey>, Vec<&'a Row>)>;

pub(crate) fn partitions<'a>(table: &Table, batch: &'a RowBatch) -> Result<Partitions<'a>, LakeError> {
    let metadata = table.metadata();
    let (spec, stored) = (metadata.default_partition_spec(), metadata.current_schema());
    let [field] = spec.fields() else {
        if spec.is_unpartitioned() {
            return Ok(vec![(None, batch.rows.iter().collect())]);
        }
        return Err(unsupported_spec(table));
    };
    if field.transform != Transform::Day {
        return Err(unsupported_spec(table));
    }
    let source = stored.field_by_id(field.source_id).map(|field| schema::source_name(field));
    let index = batch.columns.iter().position(|column| Some(column.name.as_str()) == source);
    let mut days: BTreeMap<Option<i32>, Vec<&Row>> = BTreeMap::new();
    for row in &batch.rows {
        let day = match index.and_then(|index| row.get(index)) {
            Some(Value::TimestampTz(micros) | Value::Timestamp(micros)) => {
                i32::try_from(micros.div_euclid(MICROS_A_DAY)).ok()
            }
            _ => None,
        };
        days.entry(day).or_default().push(row);
    }
    let key = |day: Option<i32>| {
        let value = Struct::from_iter([day.map(Literal::date)]);
        Some(PartitionKey::new(spec.as_ref().clone(), stored.clone(), value))
    };
    Ok(days.into_iter().map(|(day, rows)| (key(day), rows)).collect())
}

fn unsupported_spec(table: &Table) -> LakeError {
    LakeError::Malformed {
        what: format!("partition spec of {}", table.identifier()),
        error: "only unpartitioned tables and one day() are written here".to_owned(),
    }
}
