//! How a new table is divided, and what it says of itself.

use crate::LakeError;
use crate::values::schema;
use affluent_model::Column;
use iceberg::TableCreation;
use iceberg::spec::{Transform, UnboundPartitionField, UnboundPartitionSpec};

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
