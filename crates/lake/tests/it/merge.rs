//! Any sequence of upserts, deletions, overwrites, merges and returns leaves what a map of the same
//! changes holds.

use crate::tables::{amounts, options, payment_batch_of, payments_table};
use affluent_lake::{Commit, Lake, Overwrite, Remove, Upsert};
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Rows are a third of a day apart, so that 20 of them are in seven days.
const SPREAD: i64 = 28_800;

#[derive(Debug, Clone)]
enum Step {
    Upsert(BTreeSet<i64>, BTreeSet<i64>),
    Append(BTreeSet<i64>),
    ReplaceDays(BTreeSet<i64>),
    RemoveDay(i64),
    ReplaceTable(BTreeSet<i64>),
    Merge,
    Back,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ids = || btree_set(0_i64..20, 0..6);
    let step = prop_oneof![
        5 => (ids(), ids()).prop_map(|(rows, deleted)| {
            let deleted = deleted.difference(&rows).copied().collect();
            Step::Upsert(rows, deleted)
        }),
        2 => ids().prop_map(Step::Append),
        2 => ids().prop_map(Step::ReplaceDays),
        1 => (0_i64..8).prop_map(Step::RemoveDay),
        1 => ids().prop_map(Step::ReplaceTable),
        2 => Just(Step::Merge),
        1 => Just(Step::Back),
    ];
    vec(step, 1..12)
}

fn day(id: i64) -> i64 {
    id * SPREAD / 86_400
}

fn batch(ids: &BTreeSet<i64>, version: i64) -> RecordBatch {
    payment_batch_of(ids.iter().map(|id| id * SPREAD), |id| id * 100 + version)
}

fn keys(ids: &BTreeSet<i64>) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| id * SPREAD)));
    RecordBatch::try_from_iter([("id", ids)]).unwrap()
}

async fn check(steps: Vec<Step>) {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.maintenance.compact_files_min = 2;
    options.manifests_max = 3;
    let lake = Lake::open(options).await.unwrap();
    let table = payments_table(&lake).await;
    let mut model: BTreeMap<i64, i128> = BTreeMap::new();
    let mut before = Vec::new();
    for (version, step) in (0_i64..).zip(steps) {
        let current = table.snapshots().await.unwrap();
        let tags = table.tags().await.unwrap();
        let at = tags.get("main").copied().filter(|_| !current.is_empty());
        let past = model.clone();
        let put = |model: &mut BTreeMap<i64, i128>, ids: &BTreeSet<i64>| {
            for id in ids {
                model.insert(id * SPREAD, i128::from(id * SPREAD * 100 + version));
            }
        };
        let overwrite = |remove, rows| table.overwrite(Commit::default(), Overwrite { remove, rows });
        match step {
            Step::Upsert(rows, deleted) => {
                put(&mut model, &rows);
                let known = |id: &&i64| past.contains_key(&(**id * SPREAD));
                let updated = rows.iter().filter(known).count();
                let gone = deleted.iter().filter(known).count();
                model.retain(|id, _| !deleted.contains(&(id / SPREAD)));
                let upsert = Upsert {
                    rows: vec![batch(&rows, version)],
                    delete: vec![keys(&deleted)],
                    key: vec!["id".to_owned()],
                    ..Upsert::default()
                };
                let done = table.upsert(Commit::default(), upsert).await.unwrap().committed().unwrap();
                let counts = (done.rows_inserted, done.rows_updated, done.rows_deleted);
                let expected = (rows.len() - updated, updated, gone);
                assert_eq!(counts, (expected.0 as u64, expected.1 as u64, expected.2 as u64));
            }
            Step::Append(rows) => {
                let rows = rows.into_iter().filter(|id| !model.contains_key(&(id * SPREAD))).collect();
                put(&mut model, &rows);
                overwrite(Remove::Nothing, vec![batch(&rows, version)]).await.unwrap();
            }
            Step::ReplaceDays(rows) => {
                let days: BTreeSet<i64> = rows.iter().map(|&id| day(id)).collect();
                model.retain(|id, _| !days.contains(&(id / 86_400)));
                put(&mut model, &rows);
                overwrite(Remove::PartitionsOfRows, vec![batch(&rows, version)]).await.unwrap();
            }
            Step::RemoveDay(day) => {
                model.retain(|id, _| id / 86_400 != day);
                let first = i32::try_from(crate::tables::DAY / crate::tables::MICROS_A_DAY).unwrap();
                let days = [first + i32::try_from(day).unwrap()].into();
                overwrite(Remove::Days(days), vec![]).await.unwrap();
            }
            Step::ReplaceTable(rows) => {
                model.clear();
                put(&mut model, &rows);
                overwrite(Remove::Table, vec![batch(&rows, version)]).await.unwrap();
            }
            Step::Merge => {
                table.compact(CancellationToken::new()).await.unwrap();
            }
            Step::Back => {
                if let Some((snapshot, rows)) = before.pop() {
                    table.rollback_to(snapshot).await.unwrap();
                    model = rows;
                }
            }
        }
        if let Some(at) = at {
            before.push((at, past));
        }
        assert_eq!(amounts(&table).await, model);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn tables_are_what_was_done_to_them(steps in steps()) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(check(steps));
    }
}
