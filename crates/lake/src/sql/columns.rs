//! A table's columns as the engine sees them, and how those of a file become them.
//!
//! Iceberg's columns are their field ids: a renamed column keeps its id, a dropped and added one has
//! another. The engine matches by name. So each file's columns are given the names that their ids have
//! in the table, the engine's own adapter does the rest (nulls for what a file lacks, casts for what was
//! widened), and then the file's names are put back for reading. Inner fields of structs, which this
//! platform never writes, go by their names.

use crate::LakeError;
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::error::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr_adapter::{
    DefaultPhysicalExprAdapter, PhysicalExprAdapter, PhysicalExprAdapterFactory,
};
use datafusion::physical_plan::PhysicalExpr;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{DEFAULT_SCHEMA_NAME_MAPPING, NameMapping, Schema as IcebergSchema};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;

/// The table's columns as Arrow has them, ids left out. Texts and bytes are no views: rows that were sorted or joined would
/// hold every page of the files that they came from, 2.6 KB where a row has 350 bytes.
pub(crate) fn arrow_schema(schema: &IcebergSchema) -> Result<SchemaRef, LakeError> {
    let stored = schema_to_arrow_schema(schema)?;
    let field = |field: &FieldRef| {
        let data_type = match field.data_type() {
            DataType::LargeUtf8 => DataType::Utf8,
            DataType::LargeBinary => DataType::Binary,
            other => other.clone(),
        };
        Field::new(field.name(), data_type, field.is_nullable())
    };
    Ok(Arc::new(Schema::new(stored.fields().iter().map(field).collect::<Vec<_>>())))
}

/// Finds the columns of files by field id.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ByFieldId {
    /// Id of each column of the table.
    ids: HashMap<i32, String>,
    /// Ids of the columns of files that have none of their own.
    by_name: HashMap<String, i32>,
}

impl ByFieldId {
    /// For a table with these columns; `properties` may tell the ids of files that lack them.
    pub(crate) fn new(
        schema: &IcebergSchema,
        properties: &HashMap<String, String>,
    ) -> Result<Self, LakeError> {
        let fields = schema.as_struct().fields();
        let ids: HashMap<i32, String> = fields.iter().map(|field| (field.id, field.name.clone())).collect();
        let by_name = match properties.get(DEFAULT_SCHEMA_NAME_MAPPING) {
            None => ids.iter().map(|(id, name)| (name.clone(), *id)).collect(),
            Some(text) => {
                let mapping: NameMapping =
                    serde_json::from_str(text).map_err(|error| LakeError::Malformed {
                        what: DEFAULT_SCHEMA_NAME_MAPPING.to_owned(),
                        error: error.to_string(),
                    })?;
                let named =
                    mapping.fields().iter().filter_map(|field| Some((field.names(), field.field_id()?)));
                named.flat_map(|(names, id)| names.iter().map(move |name| (name.clone(), id))).collect()
            }
        };
        Ok(ByFieldId { ids, by_name })
    }

    /// The file's columns under the names they have in the table. What the table does not have gets a name
    /// that no column has.
    fn renamed(&self, table: &Schema, file: &Schema) -> Schema {
        let own_id = |field: &Field| field.metadata().get(PARQUET_FIELD_ID_META_KEY)?.parse::<i32>().ok();
        let has_ids = file.fields().iter().any(|field| own_id(field).is_some());
        let field = |(place, field): (usize, &FieldRef)| {
            let id = if has_ids { own_id(field) } else { self.by_name.get(field.name()).copied() };
            let wanted =
                id.and_then(|id| self.ids.get(&id)).and_then(|name| table.field_with_name(name).ok());
            match wanted {
                Some(wanted) => Field::new(wanted.name(), field.data_type().clone(), wanted.is_nullable()),
                None => Field::new(format!("\u{0}{place}"), field.data_type().clone(), true),
            }
        };
        Schema::new(file.fields().iter().enumerate().map(field).collect::<Vec<_>>())
    }
}

impl PhysicalExprAdapterFactory for ByFieldId {
    fn create(&self, table: SchemaRef, file: SchemaRef) -> Result<Arc<dyn PhysicalExprAdapter>> {
        let renamed = Arc::new(self.renamed(&table, &file));
        Ok(Arc::new(Adapter { inner: DefaultPhysicalExprAdapter::new(table, renamed), file }))
    }
}

/// Expressions over the table's columns to such over one file's.
#[derive(Debug)]
struct Adapter {
    inner: DefaultPhysicalExprAdapter,
    file: SchemaRef,
}

impl PhysicalExprAdapter for Adapter {
    fn rewrite(&self, expr: Arc<dyn PhysicalExpr>) -> Result<Arc<dyn PhysicalExpr>> {
        let adapted = self.inner.rewrite(expr)?;
        let named = adapted.transform(|expr| {
            let Some(column) = expr.downcast_ref::<Column>() else { return Ok(Transformed::no(expr)) };
            let name = self.file.field(column.index()).name();
            if name == column.name() {
                return Ok(Transformed::no(expr));
            }
            Ok(Transformed::yes(Arc::new(Column::new(name, column.index()))))
        });
        named.data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::physical_expr::expressions::{CastExpr, Literal};
    use iceberg::spec::{NestedField, PrimitiveType, Type};

    fn table() -> IcebergSchema {
        let field =
            |id, name: &str, primitive| Arc::new(NestedField::optional(id, name, Type::Primitive(primitive)));
        let fields = [
            field(1, "id", PrimitiveType::Long),
            field(4, "note", PrimitiveType::String),
            field(3, "amount", PrimitiveType::Int),
            field(5, "added", PrimitiveType::Date),
        ];
        IcebergSchema::builder().with_fields(fields).build().unwrap()
    }

    fn with_id(name: &str, data_type: DataType, id: i32) -> Field {
        let metadata = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
        Field::new(name, data_type, true).with_metadata(metadata)
    }

    fn rewritten(file: Schema, column: &str) -> Arc<dyn PhysicalExpr> {
        let schema = arrow_schema(&table()).unwrap();
        let factory = ByFieldId::new(&table(), &HashMap::new()).unwrap();
        let adapter = factory.create(Arc::clone(&schema), Arc::new(file)).unwrap();
        let column = Column::new_with_schema(column, &schema).unwrap();
        adapter.rewrite(Arc::new(column)).unwrap()
    }

    #[test]
    fn columns_are_found_by_their_ids() {
        // `total` became `amount`, a dropped `note` (2) is not today's (4), `id` was an int.
        let file = || {
            Schema::new(vec![
                with_id("total", DataType::Int32, 3),
                with_id("id", DataType::Int32, 1),
                with_id("note", DataType::Utf8, 2),
            ])
        };
        let amount = rewritten(file(), "amount");
        assert_eq!(amount.downcast_ref::<Column>(), Some(&Column::new("total", 0)));
        let id = rewritten(file(), "id");
        let cast = id.downcast_ref::<CastExpr>().unwrap();
        assert_eq!(cast.expr().downcast_ref::<Column>(), Some(&Column::new("id", 1)));
        for missing in ["note", "added"] {
            assert!(rewritten(file(), missing).downcast_ref::<Literal>().unwrap().value().is_null());
        }
    }

    #[test]
    fn files_without_ids_go_by_name() {
        let file = Schema::new(vec![
            Field::new("amount", DataType::Int32, true),
            Field::new("note", DataType::Utf8, true),
        ]);
        assert_eq!(rewritten(file, "note").downcast_ref::<Column>(), Some(&Column::new("note", 1)));
    }
}
