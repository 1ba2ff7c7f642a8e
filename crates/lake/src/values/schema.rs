//! How a table's schema follows the columns of its source: pure decisions, no I/O.
//!
//! Columns are only ever added or promoted. A column that its source dropped stays and is null
//! from then on; a renamed column is a new one. Names that differ by case alone, or that Iceberg
//! reserves, get a suffix in the lake and keep the source's name in their documentation.

use crate::LakeError;
use crate::values::types::{self, Fit};
use affluent_model::Column;
use iceberg::spec::{NestedField, NestedFieldRef, Schema, Type};
use std::sync::Arc;

/// Marks the source's name in the documentation of a column that had to be renamed.
const SOURCE_NAME: &str = "source column: ";

/// Names that Iceberg's readers take for their own metadata columns.
const RESERVED: &[&str] = &[
    "_file",
    "_pos",
    "_deleted",
    "_spec_id",
    "_partition",
    "_change_type",
    "_change_ordinal",
    "_commit_snapshot_id",
    "_row_id",
    "_last_updated_sequence_number",
];

/// The schema of a new table.
pub(crate) fn create(table: &str, columns: &[Column]) -> Result<Schema, LakeError> {
    let mut ids = Ids(0);
    let mut fields: Vec<NestedFieldRef> = Vec::with_capacity(columns.len());
    for column in columns {
        if find(&fields, &column.name).is_some() {
            return Err(twice(table, column));
        }
        let field = new_field(&fields, column, !column.nullable, &mut ids);
        fields.push(field);
    }
    Ok(Schema::builder().with_fields(fields).build()?)
}

/// The schema that `columns` ask for, or `None` where the table has all of them already.
///
/// # Errors
/// [`LakeError::Incompatible`] for a type that Iceberg cannot promote.
pub(crate) fn evolve(
    table: &str,
    current: &Schema,
    last_column_id: i32,
    columns: &[Column],
) -> Result<Option<Schema>, LakeError> {
    let mut ids = Ids(last_column_id);
    let mut fields: Vec<NestedFieldRef> = current.as_struct().fields().to_vec();
    let mut changed = false;
    for column in columns {
        let Some(index) = find(&fields, &column.name) else {
            let field = new_field(&fields, column, false, &mut ids);
            fields.push(field);
            changed = true;
            continue;
        };
        let stored = &fields[index];
        let wanted = types::iceberg_type(&column.column_type, &mut || 0);
        match types::fit(&stored.field_type, &wanted) {
            Fit::AsIs => {}
            Fit::Promote => {
                let mut field = (**stored).clone();
                field.field_type = Box::new(types::promoted(&field.field_type, &wanted));
                fields[index] = Arc::new(field);
                changed = true;
            }
            Fit::Never => return Err(incompatible(table, column, &stored.field_type, &wanted)),
        }
    }
    if !changed {
        return Ok(None);
    }
    let schema = Schema::builder()
        .with_schema_id(current.schema_id() + 1)
        .with_fields(fields)
        .with_identifier_field_ids(current.identifier_field_ids())
        .build()?;
    Ok(Some(schema))
}

/// The index of the field that holds the source's column `name`.
pub(crate) fn find(fields: &[NestedFieldRef], name: &str) -> Option<usize> {
    fields.iter().position(|field| source_name(field) == name)
}

/// The field with this source's name, else with this lake name.
pub(crate) fn named<'a>(fields: &'a [NestedFieldRef], name: &str) -> Option<&'a NestedFieldRef> {
    let index = find(fields, name).or_else(|| fields.iter().position(|field| field.name == name));
    index.map(|index| &fields[index])
}

/// The source's name of a field.
pub(crate) fn source_name(field: &NestedField) -> &str {
    field.doc.as_deref().and_then(|doc| doc.strip_prefix(SOURCE_NAME)).unwrap_or(&field.name)
}

fn new_field(fields: &[NestedFieldRef], column: &Column, required: bool, ids: &mut Ids) -> NestedFieldRef {
    let name = free_name(fields, &column.name);
    let id = ids.next();
    let field_type = types::iceberg_type(&column.column_type, &mut || ids.next());
    let renamed = name != column.name;
    let field = NestedField::new(id, &name, field_type, required);
    if renamed { field.with_doc(format!("{SOURCE_NAME}{}", column.name)).into() } else { field.into() }
}

/// `name`, or `name_2`, `name_3`, … where it is taken in another case or reserved.
fn free_name(fields: &[NestedFieldRef], name: &str) -> String {
    let taken = |candidate: &str| {
        RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(candidate))
            || fields.iter().any(|field| field.name.to_lowercase() == candidate.to_lowercase())
    };
    let base = if name.is_empty() { "column" } else { name };
    if !taken(base) {
        return base.to_owned();
    }
    (2_u32..).map(|n| format!("{base}_{n}")).find(|candidate| !taken(candidate)).unwrap_or_default()
}

fn twice(table: &str, column: &Column) -> LakeError {
    LakeError::Malformed {
        what: format!("columns of {table}"),
        error: format!("{} appears twice", column.name),
    }
}

fn incompatible(table: &str, column: &Column, stored: &Type, wanted: &Type) -> LakeError {
    LakeError::Incompatible {
        table: table.to_owned(),
        column: column.name.clone(),
        stored: stored.to_string(),
        wanted: wanted.to_string(),
    }
}

struct Ids(i32);

impl Ids {
    fn next(&mut self) -> i32 {
        self.0 += 1;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use affluent_model::ColumnType;

    fn column(name: &str, column_type: ColumnType) -> Column {
        Column { name: name.to_owned(), column_type, nullable: true }
    }

    fn names(schema: &Schema) -> Vec<&str> {
        schema.as_struct().fields().iter().map(|field| field.name.as_str()).collect()
    }

    #[test]
    fn names_that_collide_get_a_suffix_and_are_found_by_their_source_name() {
        let columns =
            ["id", "ID", "_partition", "_Row_Id", "", "id_2"].map(|name| column(name, ColumnType::Int32));
        let schema = create("t", &columns).unwrap();
        assert_eq!(names(&schema), ["id", "ID_2", "_partition_2", "_Row_Id_2", "column", "id_2_2"]);
        for (index, column) in columns.iter().enumerate() {
            assert_eq!(find(schema.as_struct().fields(), &column.name), Some(index), "{}", column.name);
        }
        assert!(evolve("t", &schema, 6, &columns).unwrap().is_none());
        assert!(create("t", &[columns[0].clone(), columns[0].clone()]).is_err());
    }

    #[test]
    fn columns_are_added_and_promoted_and_never_dropped() {
        let list = |element| ColumnType::Array(Box::new(element));
        let schema =
            create("t", &[column("a", ColumnType::Int32), column("b", list(ColumnType::Int32))]).unwrap();
        assert_eq!(schema.highest_field_id(), 3);
        let wanted = [column("b", list(ColumnType::Int64)), column("c", ColumnType::Text)];
        let evolved = evolve("t", &schema, 3, &wanted).unwrap().unwrap();
        assert_eq!(names(&evolved), ["a", "b", "c"]);
        assert_eq!(evolved.field_id_by_name("b"), Some(2));
        assert_eq!(evolved.field_id_by_name("b.element"), Some(3));
        assert_eq!(evolved.field_id_by_name("c"), Some(4));
        let refused = evolve("t", &evolved, 4, &[column("c", ColumnType::Int32)]).unwrap_err();
        assert_eq!(refused.reason(), Some(affluent_model::Reason::IncompatibleSchema));
    }
}
