//! Everything at once, or up to any record and then the rest as an increment: the same tables.

use super::files::{Model, models};
use super::story::{self, CLICKS, CLICKS_ALL, Record};
use super::{Bench, Table, Tables, collected, lines, name_newest};
use std::collections::BTreeMap;

/// Every table above the staged zone, computed whole.
async fn whole(bench: &Bench, models: &[Model], staged: Tables) -> Tables {
    let mut tables = staged;
    for model in models.iter().filter(|model| !model.table.starts_with("staged.")) {
        let table = bench.evaluate(model, &tables).await;
        tables.insert(model.table.clone(), table);
    }
    tables
}

/// The staged tables of these records and clicks.
async fn staged(
    bench: &Bench,
    models: &[Model],
    records: &[Record],
    first: &BTreeMap<&str, usize>,
    clicks: (usize, usize),
) -> Tables {
    let raw = story::raw(bench, models, records, first).await;
    let (mut tables, _) = story::staged(bench, models, &raw).await;
    tables.extend(story::clicks(bench, clicks.0, clicks.1).await);
    tables
}

fn joined((schema, first): &Table, (_, second): &Table) -> Table {
    (schema.clone(), first.iter().chain(second).cloned().collect())
}

/// `l.a = r.b and …`
fn same(pairs: &[(String, String)]) -> String {
    let one = |(left, right): &(String, String)| format!("l.{left} = r.{right}");
    pairs.iter().map(one).collect::<Vec<_>>().join(" and ")
}

/// One model brought from its old rows to the new state by its changed units.
async fn increment(bench: &Bench, model: &Model, tables: &Tables, delta: &Tables) -> Table {
    let (Some(from), Some(old)) = (model.text("from"), tables.get(&model.table)) else {
        return bench.evaluate(model, tables).await;
    };
    let mut seen = tables.clone();
    seen.extend(delta.clone());
    let session = bench.session(&seen).await;
    let unit = model.unit();
    let names: Vec<&str> = unit.iter().map(|(name, _)| name.as_str()).collect();
    // The unit of clicks is the event, under the same name everywhere.
    let of_delta = format!("select {} from {}", names.join(", "), from.replace("staged.", "delta."));
    let changes = model.text("changes").unwrap_or(&of_delta);
    // By its definition: every row of what changed.
    for name in delta.keys().filter_map(|table| table.strip_prefix("delta.")) {
        if changes.contains(&format!("versions.{name}")) {
            let text = format!("select * from staged.{name} where id in (select id from delta.{name})");
            session.register_view(&format!("versions.{name}"), &text).await.unwrap();
        }
    }
    let units = format!("select distinct {} from ({changes})", names.join(", "));
    let units = collected(&session, &units, &format!("changes of {}", model.table)).await;
    if lines(&units).is_empty() {
        return old.clone();
    }
    session.register_batches("test.units", units.0.clone(), units.1.clone()).unwrap();
    let by_from: Vec<_> = unit.iter().map(|(name, _)| (name.clone(), name.clone())).collect();
    let narrowed = format!("select l.* from {from} l left semi join test.units r on {}", same(&by_from));
    let narrowed = collected(&session, &narrowed, from).await;
    session.register_batches(from, narrowed.0, narrowed.1).unwrap();
    for (column, target) in model.pairs("lookups") {
        let (table, there) = target.rsplit_once('.').unwrap();
        let text = format!("select * from {table} where {there} in (select {column} from {from})");
        let looked_up = collected(&session, &text, table).await;
        session.register_batches(table, looked_up.0, looked_up.1).unwrap();
    }
    name_newest(&session, model).await;
    let rows = collected(&session, &model.body, &model.table).await;
    let by_result: Vec<_> = unit.iter().map(|(name, result)| (result.clone(), name.clone())).collect();
    session.register_batches("test.rows", rows.0.clone(), rows.1.clone()).unwrap();
    let foreign = format!("select * from test.rows l left anti join test.units r on {}", same(&by_result));
    let foreign = collected(&session, &foreign, &model.table).await;
    assert_eq!(lines(&foreign), [""; 0], "{}: rows of units that did not change", model.table);
    let kept =
        format!("select l.* from {} l left anti join test.units r on {}", model.table, same(&by_result));
    let kept = collected(&session, &kept, &model.table).await;
    joined(&(old.0.clone(), kept.1), &rows)
}

async fn check(cut: usize) {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(dir.path()).await;
    let models = models();
    let records = story::records();
    let (before, after) = records.split_at(cut.min(records.len()));
    let clicks = CLICKS_ALL * cut / records.len().max(1);
    let none = BTreeMap::new();
    let expected =
        whole(&bench, &models, staged(&bench, &models, &records, &none, (0, CLICKS_ALL)).await).await;

    let mut tables = whole(&bench, &models, staged(&bench, &models, before, &none, (0, clicks)).await).await;
    let new = staged(&bench, &models, after, &story::counts(before), (clicks, CLICKS_ALL)).await;
    let mut delta = Tables::new();
    for (name, rows) in new {
        tables.insert(name.clone(), joined(&tables[&name], &rows));
        delta.insert(name.replace("staged.", "delta."), rows);
    }
    for model in models.iter().filter(|model| !model.table.starts_with("staged.")) {
        let rows = increment(&bench, model, &tables, &delta).await;
        tables.insert(model.table.clone(), rows);
    }
    assert_eq!(lines(&tables[CLICKS]), lines(&expected[CLICKS]));
    for (name, rows) in &expected {
        assert_eq!(lines(&tables[name]), lines(rows), "{name}, cut at {cut}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn increments_give_what_everything_at_once_gives() {
    for cut in (0..=story::records().len()).step_by(5) {
        check(cut).await;
    }
}
