//! Queries on a cluster of one scheduler and two executors give what they give here, row for row and error for error.

use super::{lake, rows, try_rows};
use crate::python;
use crate::tables::{advance, column, parquet_files, payments, payments_table};
use affluent_lake::sql::cluster::{
    ClusterAddress, ExecutorNode, ExecutorOptions, NodeError, SchedulerNode, SchedulerOptions,
};
use affluent_lake::sql::{Engine, EngineOptions, Pins, RecordSet, Session, SqlError};
use affluent_lake::{Lake, LakeOptions, Partition, RowBatch};
use affluent_model::{ColumnType, Row, Value};
use affluent_telemetry::health::{Health, State};
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

const READY: Duration = Duration::from_secs(30);

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A node at work. It ends with this.
pub(crate) struct Node {
    health: Health,
    work: JoinHandle<Result<(), NodeError>>,
    _stops: DropGuard,
}

impl Node {
    fn start<F>(health: Health, run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = Result<(), NodeError>> + Send + 'static,
    {
        let shutdown = CancellationToken::new();
        let work = tokio::spawn(run(shutdown.clone()));
        Node { health, work, _stops: shutdown.drop_guard() }
    }

    async fn ready(self) -> Self {
        let waiting = async {
            while self.health.snapshot().values().all(|state| *state != State::Ready) {
                assert!(!self.work.is_finished(), "a node has ended");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(READY, waiting).await.expect("a node does not get ready");
        self
    }
}

async fn scheduler(port: u16) -> Node {
    scheduler_of(port, &LakeOptions::default()).await
}

pub(crate) async fn scheduler_of(port: u16, lake: &LakeOptions) -> Node {
    let health = Health::default();
    let options = SchedulerOptions { listen: local(port), ..SchedulerOptions::default() };
    let node = SchedulerNode::new(options, lake, health.clone()).unwrap();
    Node::start(health, |shutdown| node.run(shutdown)).ready().await
}

async fn executor(scheduler: u16, directory: &Path) -> Node {
    executor_of(scheduler, &at(directory)).await
}

/// It works in the lake's directory.
pub(crate) async fn executor_of(scheduler: u16, lake: &LakeOptions) -> Node {
    let health = Health::default();
    let options = ExecutorOptions {
        scheduler: address(scheduler),
        listen: local(free_port()),
        control_port: free_port(),
        work_dir: lake.directory().join("work"),
        concurrent_tasks: 2,
        ..ExecutorOptions::default()
    };
    let node = ExecutorNode::new(options, lake, health.clone()).unwrap();
    Node::start(health, |shutdown| node.run(shutdown)).ready().await
}

/// A lake in this directory.
fn at(directory: &Path) -> LakeOptions {
    LakeOptions { warehouse: directory.to_owned(), ..LakeOptions::default() }
}

fn address(scheduler: u16) -> ClusterAddress {
    format!("ballista://127.0.0.1:{scheduler}").parse().unwrap()
}

/// Whatever the queries read, they go to the cluster, if that can be.
pub(crate) async fn session_on(lake: &Lake, scheduler: Option<u16>) -> Session {
    session_of(lake, scheduler, 0).await
}

async fn session_of(lake: &Lake, scheduler: Option<u16>, cluster_rows_min: u64) -> Session {
    let cluster = scheduler.map(address);
    let options = EngineOptions { partitions: 3, cluster, cluster_rows_min, ..EngineOptions::default() };
    Engine::new(lake.clone(), options).unwrap().session(Pins::default()).await.unwrap()
}

/// What the sessions are given beside the tables.
async fn furnished(lake: &Lake, scheduler: Option<u16>) -> Session {
    let session = session_on(lake, scheduler).await;
    let ids: ArrayRef = Arc::new(Int64Array::from_iter((0..5_000).map(|n| (n % 7 != 0).then_some(n * 3))));
    let batch = RecordBatch::try_from_iter_with_nullable([("id", ids, true)]).unwrap();
    session.register_batches("wanted", batch.schema(), vec![batch]).unwrap();
    let mut records = RecordSet::default();
    let text =
        "select 'eur' as topic, cast(id % 2 as int) as partition, id from raw.payments where id % 5 = 1";
    for batch in session.collect(text).await.unwrap() {
        records.insert(&batch).unwrap();
    }
    session.register_records("is_fifth", records);
    session
}

/// Rows of changing columns: the first file has others than the last.
async fn changing(lake: &Lake, directory: &Path) {
    let old = [column("id", ColumnType::Int32), column("note", ColumnType::Text)];
    let table = lake.ensure_table("raw", "changing", &old, &Partition::None).await.unwrap();
    let row = |n: i64| -> Row { vec![Value::Int(n), Value::Text(format!("note {n}"))] };
    let batch = RowBatch { columns: old.clone().into(), rows: (0..2_000).map(row).collect() };
    table.append(Arc::new(batch), vec![]).await.unwrap();
    python::change(
        directory,
        "raw.changing",
        "with table.update_schema() as update:\n    update.rename_column('note', 'remark')",
    );
    let new = [
        column("id", ColumnType::Int64),
        column("remark", ColumnType::Text),
        column("more", ColumnType::Int64),
    ];
    let row =
        |n: i64| -> Row { vec![Value::Int(n << 33), Value::Text(format!("remark {n}")), Value::Int(n)] };
    let batch = RowBatch { columns: new.into(), rows: (0..2_000).map(row).collect() };
    table.append(Arc::new(batch), vec![]).await.unwrap();
}

/// No order leaves two rows alike: those may come in any.
const QUERIES: &[&str] = &[
    "select count(*), sum(amount), min(at), max(currency) from raw.payments where id % 3 > 0",
    "select currency, count(*), sum(amount), avg(amount), sum(id) from raw.payments group by currency order by 1",
    "select id, amount * 1.19 as gross, at from raw.payments where amount > 100000 order by amount desc, id limit 17",
    "select * from raw.payments where id between 100 and 120 order by id",
    "select p.id, w.id from raw.payments p join wanted w on w.id = p.id where p.id < 300 order by 1",
    "select count(*), count(w.id), sum(p.amount) from raw.payments p left join wanted w on w.id = p.id",
    "select count(*), count(p.id), sum(w.id) from wanted w left join raw.payments p on p.id = w.id and p.id % 2 = 0",
    "select count(*), count(p.id), count(w.id) from raw.payments p full join wanted w on w.id = p.id + 9000",
    "select count(*) from raw.payments p where exists (select 1 from wanted w where w.id = p.id)",
    "select count(*) from wanted w where not exists (select 1 from raw.payments p where w.id = p.id)",
    "select count(*) from raw.payments where id not in (select id from wanted where id is not null)",
    "select count(*) from raw.payments where id not in (select id from wanted)",
    "select count(*), count(p.id) from wanted w left join raw.payments p on p.id < w.id - 14950 and p.id < 40",
    "select count(*) from raw.payments a join raw.payments b on a.id = b.id + 1 and a.currency <> b.currency",
    "select id, rank() over (partition by currency order by amount desc) as nth, lag(id) over (partition by currency order by id) \
     from raw.payments where id < 1000 order by id",
    "select currency, id, sum(amount) over (order by id rows between 2 preceding and current row) \
     from raw.payments where id < 200 order by id",
    "select max(amount) - min(amount), id % 10 as digit from raw.payments group by digit having count(*) > 10 order by digit",
    "select count(*) from raw.payments where amount > (select avg(amount) from raw.payments)",
    "select distinct currency, id % 4 from raw.payments order by 1, 2",
    "select currency, n from (select currency, count(*) as n from raw.payments group by currency union all \
     select 'all', count(*) from raw.payments union all select 'none', 0) order by 1",
    "with once as (select id, currency from raw.payments where id % 100 = 0) \
     select a.id from once a cross join (select max(id) as top from once) t where a.id > t.top - 1000 order by 1",
    "select count(*) from raw.payments where is_fifth('eur', cast(id % 2 as int), id)",
    "select count(*), sum(r['offset']) from (select newest_change(id, 1, currency, cast(0 as int), id) as r \
     from raw.payments group by currency, id % 1000)",
    "select id, remark, more from raw.changing where id < 5 or more > 1997 order by id, remark",
    "select count(*), count(more), max(remark), sum(id) from raw.changing",
    "select p.id, c.remark from raw.payments p join raw.changing c on c.id = p.id where p.id % 500 = 0 order by 1, 2",
    "select id, sha256(currency) as hash, date_trunc('day', at) from raw.payments order by id limit 3",
    "select currency, array_agg(id order by id desc) from raw.payments where id < 12 group by currency order by 1",
    "select cast(sum(id + 1) as varchar), sum(id * 2), sum(-id - 1) from raw.payments",
    "select count(*) from raw.payments where id < 0",
    "select id from (select id from raw.payments order by id desc limit 50) order by id limit 5",
    "select row_number() over (partition by currency order by id) as n, id from \
     (select id, currency from raw.payments order by id limit 500) order by id",
];

const OVERFLOWS: &[&str] = &[
    "select sum(cast(9999999999999999999999999999999999 as decimal(38,0)) * (id + 1)) from raw.payments",
    "select currency, sum(id + 9223372036854700000) from raw.payments group by currency",
    "select id + 9223372036854775807 from raw.payments",
    "select count(*) from raw.payments where id * 9223372036854775807 > 0",
    "select cast(id * 1000000 as int) from raw.payments",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn answers_of_a_cluster_are_those_of_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(dir.path()).await;
    let table = payments_table(&lake).await;
    for part in 0..4_i64 {
        let read = advance((part > 0).then_some(part), part + 1);
        table.append(payments(part * 5_000..(part + 1) * 5_000), read).await.unwrap();
    }
    changing(&lake, dir.path()).await;
    let port = free_port();
    let _scheduler = scheduler(port).await;
    let _executors = [executor(port, dir.path()).await, executor(port, dir.path()).await];
    let (here, there) = (furnished(&lake, None).await, furnished(&lake, Some(port)).await);
    for query in QUERIES {
        assert_eq!(rows(&there, query).await, rows(&here, query).await, "{query}");
    }
    for query in OVERFLOWS {
        let (here, there) =
            (try_rows(&here, query).await.unwrap_err(), try_rows(&there, query).await.unwrap_err());
        assert!(matches!(here, SqlError::Overflow(_)), "{query}: {here:?}");
        assert!(matches!(there, SqlError::Overflow(_)), "{query}: {there:?}");
        // The kernels of decimals and casts tell the value at which they stopped, which need not be the same one.
        let tells_value = query.contains("decimal") || query.contains("as int)");
        assert!(tells_value || here.to_string() == there.to_string(), "{query}: {here} / {there}");
    }
    // The session sees the tables as they were, whatever is committed meanwhile.
    let count = "select count(*) from raw.payments where id >= 0";
    table.append(payments(20_000..20_100), advance(Some(4), 5)).await.unwrap();
    assert_eq!(rows(&there, count).await, ["20000"]);
    assert_eq!(rows(&furnished(&lake, Some(port)).await, count).await, ["20100"]);
    // A file that the executors do not see.
    let files = parquet_files(&dir.path().join("raw/changing"));
    assert_eq!(files.len(), 2);
    files.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    let error = try_rows(&there, "select count(*) from raw.changing where id > 0").await.unwrap_err();
    assert!(error.to_string().contains("under the same path"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cluster_that_is_not_there_is_an_error_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(dir.path()).await;
    let table = payments_table(&lake).await;
    table.append(payments(0..100), advance(None, 1)).await.unwrap();
    let query = "select sum(amount) from raw.payments";
    let port = free_port();
    let session = session_on(&lake, Some(port)).await;
    let told = async |expected: &str| match try_rows(&session, query).await {
        Err(SqlError::Cluster(text)) => assert!(text.contains(expected), "{text}"),
        other => panic!("{other:?}"),
    };
    told("affluent run batch-scheduler").await;
    // What reads fewer rows, or only hands them on, does not need one.
    let few = session_of(&lake, Some(port), 101).await;
    assert_eq!(rows(&few, query).await, rows(&session_of(&lake, None, 0).await, query).await);
    assert_eq!(rows(&session, "select id from raw.payments").await.len(), 100);
    let _scheduler = scheduler(port).await;
    told("affluent run batch-executor").await;
    // What opens no file does not need it.
    assert_eq!(rows(&session, "select count(*), 1 + 1 from (values (1), (2))").await, ["2,2"]);
    let _executor = executor(port, dir.path()).await;
    assert_eq!(rows(&session, query).await.len(), 1);
}

#[tokio::test]
async fn nodes_refuse_what_cannot_work() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = dir.path().join("elsewhere");
    let refused =
        ExecutorNode::new(ExecutorOptions::default(), &at(&elsewhere), Health::default()).unwrap_err();
    assert!(matches!(&refused, NodeError::NoWarehouse(_)) && !refused.is_passing(), "{refused}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = SchedulerOptions { listen: taken.local_addr().unwrap(), ..SchedulerOptions::default() };
    let node = SchedulerNode::new(options, &LakeOptions::default(), Health::default()).unwrap();
    let refused = node.run(CancellationToken::new()).await.unwrap_err();
    assert!(matches!(refused, NodeError::Listen { .. }), "{refused}");
    let options = ExecutorOptions {
        scheduler: address(free_port()),
        listen: local(free_port()),
        control_port: free_port(),
        work_dir: dir.path().join("work"),
        ..ExecutorOptions::default()
    };
    let node = ExecutorNode::new(options, &at(dir.path()), Health::default()).unwrap();
    let refused = node.run(CancellationToken::new()).await.unwrap_err();
    assert!(
        refused.is_passing() && refused.to_string().contains("affluent run batch-scheduler"),
        "{refused}"
    );
}
