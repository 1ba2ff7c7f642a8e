//! Statements whose values come later.

use super::{lake, session};
use affluent_lake::sql::Limits;
use affluent_lake::sql::sqlparser::{dialect::PostgreSqlDialect, parser::Parser};
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
    let statement = Parser::parse_sql(&PostgreSqlDialect {}, text).unwrap().remove(0);
    let prepared = session.prepare(&statement, &[]).await.unwrap();
    assert_eq!(prepared.parameters, [DataType::Int64, DataType::Utf8]);
    assert_eq!(prepared.schema.field(0).name(), "next");
    let values: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from(vec![7])), Arc::new(StringArray::from(vec!["a"]))];
    let batches =
        session.query_with(&statement, &values, Limits::default()).await.unwrap().collect().await.unwrap();
    let found: Vec<i64> = batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
        .collect();
    assert_eq!(found, [9, 10]);
    session.query_with(&statement, &values[..1], Limits::default()).await.unwrap_err();
    session.query(text, Limits::default()).await.unwrap_err();
}

/// A parameter that nothing tells the type of has the one that the client will send.
#[tokio::test(flavor = "multi_thread")]
async fn given_types_go_before_those_that_are_guessed() {
    let dir = tempfile::tempdir().unwrap();
    let session = session(&lake(dir.path()).await).await;
    let parse = |text| Parser::parse_sql(&PostgreSqlDialect {}, text).unwrap().remove(0);
    let cast =
        session.prepare(&parse("select $1::bigint / 2 where $2::date is not null"), &[]).await.unwrap();
    assert_eq!(cast.parameters, [DataType::Int64, DataType::Date32]);
    let statement = parse("select $1 as v");
    for (given, expected) in [(None, DataType::Utf8), (Some(DataType::Int32), DataType::Int32)] {
        let prepared = session.prepare(&statement, &[given]).await.unwrap();
        assert_eq!(prepared.parameters, std::slice::from_ref(&expected));
        assert_eq!(*prepared.schema.field(0).data_type(), expected);
    }
}
