//! Statements whose values come later.

use super::{lake, session};
use affluent_lake::sql::Limits;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, StringArray};
use arrow_schema::DataType;
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn parameters_get_types_and_values() {
    let dir = tempfile::tempdir().unwrap();
    let session = session(&lake(dir.path()).await).await;
    let text = "select value + 1 as next from generate_series(1, 9) where value > $1 and 'a' = $2";
    let prepared = session.prepare(text).await.unwrap();
    assert_eq!(prepared.parameters, [DataType::Int64, DataType::Utf8]);
    assert_eq!(prepared.schema.field(0).name(), "next");
    let values: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from(vec![7])), Arc::new(StringArray::from(vec!["a"]))];
    let batches =
        session.query_with(text, &values, Limits::default()).await.unwrap().collect().await.unwrap();
    let found: Vec<i64> = batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
        .collect();
    assert_eq!(found, [9, 10]);
    session.query_with(text, &values[..1], Limits::default()).await.unwrap_err();
    session.query(text, Limits::default()).await.unwrap_err();
}
