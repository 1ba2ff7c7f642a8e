//! The shipped models over small histories: what they answer, and that an increment, a narrowed driving
//! table, gives what computing everything gives.

mod answers;
mod files;
mod increments;
mod story;

use affluent_lake::Lake;
use affluent_lake::sql::{Engine, EngineOptions, Pins, Renderer, Session, TextFormat};
use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema, SchemaRef};
use files::{Model, seeds};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Rows with their columns.
type Table = (SchemaRef, Vec<RecordBatch>);
/// Tables by name.
type Tables = BTreeMap<String, Table>;

/// Few rates, so that they are quick to compute with: a yen is half a cent, a dinar two euros.
const RATES: &str = "select '2026-11-01' as date, 'KWD' as currency, '0.5' as rate \
                     union all select '2026-11-01', 'JPY', '200'";

/// Sessions over an empty lake: every table is given by the test.
struct Bench {
    engine: Engine,
    seeds: Tables,
}

impl Bench {
    /// With the shipped seeds, but for [`RATES`].
    async fn new(directory: &Path) -> Self {
        let lake = Lake::open(crate::lake_options(directory)).await.unwrap();
        let engine = Engine::new(lake, EngineOptions { partitions: 1, ..EngineOptions::default() }).unwrap();
        let mut bench = Bench { engine, seeds: seeds() };
        let session = bench.session(&Tables::new()).await;
        let rates = collected(&session, RATES, "rates").await;
        bench.seeds.insert("seed.fx_rates".to_owned(), rates);
        bench
    }

    /// A session that has these tables, and the seeds.
    async fn session(&self, tables: &Tables) -> Session {
        let session = self.engine.session(Pins::default()).await.unwrap();
        for (name, (schema, batches)) in self.seeds.iter().chain(tables) {
            session.register_batches(name, Arc::clone(schema), batches.clone()).unwrap();
        }
        session
    }

    /// The rows of a model's body over these tables.
    async fn evaluate(&self, model: &Model, tables: &Tables) -> Table {
        let session = self.session(tables).await;
        name_newest(&session, model).await;
        collected(&session, &model.body, &model.table).await
    }
}

/// Gives the newest changes that a body reads their name, by their definition.
async fn name_newest(session: &Session, model: &Model) {
    let Some(name) = model.text("from").and_then(|from| from.strip_prefix("staged.")) else { return };
    if !model.body.contains(&format!("newest.{name}")) {
        return;
    }
    let text = format!(
        "select * from (select *, row_number() over (partition by id \
         order by _lsn desc, _ordinal desc, _kafka_partition, _kafka_offset) as nth \
         from staged.{name} where id is not null and _lsn is not null) as n where nth = 1"
    );
    session.register_view(&format!("newest.{name}"), &text).await.unwrap();
}

/// The rows of a query; every column may be null, as in the lake.
async fn collected(session: &Session, text: &str, what: &str) -> Table {
    let rows = session.sql(text).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let fields = rows.schema();
    let fields =
        fields.fields().iter().map(|field| Field::new(field.name(), field.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let batches = rows.collect().await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let nullable = |batch: RecordBatch| {
        RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec())
            .unwrap_or_else(|error| panic!("{what}: {error}"))
    };
    let batches = batches.into_iter().map(nullable).collect();
    (schema, batches)
}

/// Rows as lines of CSV, sorted.
fn lines((schema, batches): &Table) -> Vec<String> {
    let mut renderer = Renderer::new(TextFormat::Csv, Arc::clone(schema));
    let mut text = String::new();
    for batch in batches {
        text += &renderer.batch(batch).unwrap();
    }
    text += &renderer.finish().unwrap();
    let mut lines: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The answer to a query over these tables, as lines of CSV.
async fn answer(bench: &Bench, tables: &Tables, text: &str) -> Vec<String> {
    lines(&collected(&bench.session(tables).await, text, text).await)
}
