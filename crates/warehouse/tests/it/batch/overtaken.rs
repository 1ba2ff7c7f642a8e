//! A run that is paused between being allowed to commit and committing, for so long that another run takes its
//! place: whichever of its commits that is, the tables are as if it had never gone on.

use super::world::{Change, NOON, World};
use affluent_lake::{Partition, RowBatch};
use affluent_model::{Column, ColumnType, Value};
use affluent_warehouse::batch::{BatchError, Fence, RawToDwh, TASKS, Task, Unfenced, versions};
use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Commits of one run that are tried; no run here has more.
const COMMITS_MAX: usize = 60;

/// The right of run number 2, which nobody contests.
struct Second;

#[async_trait]
impl Fence for Second {
    async fn check(&self) -> Result<(), BatchError> {
        Ok(())
    }

    fn token(&self) -> Option<i64> {
        Some(2)
    }
}

/// The right of run number 1: right after it was confirmed for the `at`th time, run number 2 does everything,
/// with news. From then on it is lost.
struct Overtaken<'a> {
    world: &'a World,
    news: &'a [Change],
    asked: AtomicUsize,
    at: usize,
}

#[async_trait]
impl Fence for Overtaken<'_> {
    async fn check(&self) -> Result<(), BatchError> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        if asked > self.at {
            return Err(BatchError::Stopped { message: "lost".to_owned(), retryable: false });
        }
        if asked == self.at {
            self.world.append(self.news).await;
            self.world.run(&Second).await?;
        }
        Ok(())
    }

    fn token(&self) -> Option<i64> {
        Some(1)
    }
}

fn history() -> (Vec<Change>, Vec<Change>) {
    let before: Vec<Change> = (1..9)
        .flat_map(|id| {
            [Change::merchant("u", id % 3, 10 * id), Change::payment("c", id, 10 * id + 1, id * 10_000)]
        })
        .chain([Change::payment("c", 90, 95, -1)])
        .collect();
    let news = vec![
        Change::payment("u", 2, 201, 77_000),
        Change::merchant("u", 2, 202),
        Change::payment("d", 4, 203, 1),
        Change::payment("c", 91, 204, -1),
        Change::payment("c", 40, 205, 5_000),
    ];
    (before, news)
}

/// A row in the facts that no change has made.
async fn tamper(world: &World) {
    let column = |name: &str, column_type| Column { name: name.to_owned(), column_type, nullable: true };
    let columns = [
        column("payment", ColumnType::Int64),
        column("currency", ColumnType::Text),
        column("created_at", ColumnType::TimestampTz),
    ];
    let day = Partition::Day("created_at".to_owned());
    let table = world.lake.ensure_table("dwh", "fact_payments", &columns, &day).await.unwrap();
    let rows = vec![vec![Value::Int(999), Value::Text("EUR".to_owned()), Value::TimestampTz(NOON)]];
    table.append(Arc::new(RowBatch { columns: columns.into(), rows }), Vec::new()).await.unwrap();
}

/// Plays it for every commit of a run: of the first one or a later one, or of a rebuild.
async fn check(full: bool, first_run_done: bool) {
    let (before, news) = history();
    let once = World::new(8).await;
    once.append(&before).await;
    once.append(&news).await;
    once.run_whole().await;
    let (expected, published) =
        (once.tables().await, once.rows("select count(*) from dwh.fact_payments").await);
    for at in 0..COMMITS_MAX {
        let world = World::new(8).await;
        world.append(&before).await;
        if first_run_done {
            world.run_whole().await;
            world.append(&[Change::payment("c", 3, 150, 30_000)]).await;
        }
        if full {
            tamper(&world).await;
        }
        let work = match full {
            true => RawToDwh::rebuild(world.batch.clone()),
            false => RawToDwh::increments(world.batch.clone()),
        };
        let fence = Overtaken { world: &world, news: &news, asked: AtomicUsize::new(0), at };
        let mut end = Ok(());
        for task in TASKS {
            if let Err(error) = work.task(task, 1, &fence).await {
                end = Err(error);
                break;
            }
        }
        if fence.asked.load(Ordering::SeqCst) <= at {
            assert!(at > 5, "only {at} commits");
            return;
        }
        // It may have had its last say with that commit; else it notices.
        if let Err(error) = &end {
            assert!(matches!(error, BatchError::Stopped { .. } | BatchError::Lake { .. }), "{at}: {error}");
        }
        // Whatever it has left undone or done too late, a reader sees one version, and nothing is wrong in the tables
        // but what was wrong before.
        let tables: Vec<_> = world.tables().await;
        if !full {
            let own: Vec<&str> =
                tables.iter().zip(&expected).filter(|(a, b)| a != b).map(|(a, _)| a.0.as_str()).collect();
            assert_eq!(own, [""; 0], "overtaken at commit {at}: {end:?}");
        }
        let newest = versions(&world.lake).await.unwrap().into_iter().next().unwrap();
        let seen =
            world.rows_at("select count(*) from dwh.fact_payments where payment <> 999", newest.pins()).await;
        assert_eq!(
            seen, published,
            "overtaken at commit {at}: version {} of run {}",
            newest.version, newest.run
        );
        for task in [Task::Clean, Task::Deduplicate, Task::Enrich, Task::Load] {
            let (_, differences) = world.batch.rebuild(task, &Unfenced).await.unwrap();
            let tampered = |table: &str| full && ["dwh.fact_payments", "dwh.totals"].contains(&table);
            let left: Vec<_> = differences.iter().filter(|difference| !tampered(&difference.table)).collect();
            assert!(left.is_empty(), "overtaken at commit {at}: {left:?}");
        }
        assert_eq!(world.tables().await, expected, "overtaken at commit {at}, rebuilt");
    }
    panic!("more than {COMMITS_MAX} commits");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_run_is_overtaken_at_any_commit() {
    check(false, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_run_is_overtaken_at_any_commit() {
    check(false, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_is_overtaken_at_any_commit() {
    check(true, true).await;
}
