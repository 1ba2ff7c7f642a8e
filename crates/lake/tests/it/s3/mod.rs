//! Tables in a bucket: the same promises, over a network that fails.
//!
//! Needs `AFFLUENT_TEST_S3=http://…`, a real server of S3's protocol; `make interop` starts one (`testkit/interop/s3.sh`). Without one there
//! is nothing to test here.

mod proxy;

use crate::python;
use crate::sql::cluster::{executor_of, free_port, scheduler_of, session_on};
use crate::sql::{one, rows, session};
use crate::tables::{
    DAY, MICROS_A_DAY, advance, amounts, column, expected_sums, payment_batch, payment_batch_of, payments,
    payments_table, sums,
};
use affluent_lake::sql::{Engine, EngineOptions, Pins};
use affluent_lake::{
    Commit, Lake, LakeError, LakeOptions, LakeTable, Lookup, Outcome, Overwrite, Partition, Remove, RowBatch,
    S3Options, StoreProblem, Upsert,
};
use affluent_model::{ColumnType, Value};
use affluent_testkit::{Condition, S3Server, unique};
use arrow_array::{ArrayRef, Int64Array};
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use proxy::{Fault, Proxy};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "oltp.public.payments";
/// Requests that are awaited which nobody waits for in the lake.
const PATIENCE: Duration = Duration::from_secs(20);
/// Of the process that a test starts: directory, and the lake's prefix in the bucket.
const CHILD: &str = "AFFLUENT_TEST_CHILD_BUCKET";

/// A lake of its own in the bucket, with its catalog in the directory.
fn options(server: &S3Server, directory: &Path, prefix: &str) -> LakeOptions {
    let mut options = LakeOptions {
        warehouse: format!("s3://{}/{prefix}", server.bucket).into(),
        s3: S3Options {
            directory: directory.to_owned(),
            endpoint: server.url.clone(),
            region: server.region.to_owned(),
            access_key_id: server.access_key_id.clone(),
            secret_access_key: server.secret_access_key.clone(),
            path_style: true,
            allow_http: true,
            ..S3Options::default()
        },
        ..LakeOptions::default()
    };
    options.maintenance.compact_files_min = 4;
    options.maintenance.keep_all_s = 0;
    options.maintenance.keep_age_s = 0;
    options.maintenance.keep_min = 3;
    options.maintenance.grace_s = 0;
    options
}

/// The same through a proxy; requests are given up soon.
async fn through_proxy(server: &S3Server, directory: &Path, prefix: &str) -> (LakeOptions, Proxy) {
    let proxy = Proxy::start(&server.url).await;
    let mut options = options(server, directory, prefix);
    options.s3.endpoint.clone_from(&proxy.url);
    (options.s3.retries, options.s3.retry_s) = (2, 20);
    (options, proxy)
}

/// The keys of all objects below a prefix.
async fn objects(server: &S3Server, prefix: &str) -> Vec<String> {
    let store = AmazonS3Builder::new()
        .with_bucket_name(server.bucket)
        .with_region(server.region)
        .with_endpoint(&server.url)
        .with_allow_http(true)
        .with_access_key_id(&server.access_key_id)
        .with_secret_access_key(&server.secret_access_key)
        .build()
        .unwrap();
    let found: Vec<_> = store.list(Some(&prefix.into())).try_collect().await.unwrap();
    found.into_iter().map(|object| object.location.to_string()).collect()
}

fn parquet(keys: &[String]) -> usize {
    keys.iter().filter(|key| key.ends_with(".parquet")).count()
}

async fn await_that(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Files that nobody refers to are seen once, and gone the second time.
async fn clean_all(table: &LakeTable) {
    for _ in 0..2 {
        table.clean().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_in_a_bucket_are_written_read_and_kept_up() {
    let Some(server) = S3Server::named() else { return };
    let (dir, prefix) = (tempfile::tempdir().unwrap(), unique("life"));
    let options = options(&server, dir.path(), &prefix);
    Lake::try_out(&options).await.unwrap();
    let lake = Lake::open(options).await.unwrap();
    let table = payments_table(&lake).await;
    table.keep_filter("currency").await.unwrap();
    let mut next = None;
    for from in (0..500).step_by(100) {
        table.append(payments(from..from + 100), advance(next, from + 100)).await.unwrap();
        next = Some(from + 100);
    }
    let refused = table.append(payments(0..100), advance(Some(0), 100)).await.unwrap_err();
    assert!(matches!(refused, LakeError::OffsetConflict(_)), "{refused}");
    let old = table.snapshots().await.unwrap()[1].id;
    assert_eq!(sums(&table, Some(old)).await, expected_sums(0..200));

    let merged = table.compact(CancellationToken::new()).await.unwrap();
    assert_eq!((merged.files_before, merged.files_after, merged.rows), (5, 1, 500));
    let upsert = Upsert {
        rows: vec![payment_batch_of(490..510, |_| 7)],
        key: vec!["id".to_owned()],
        ..Upsert::default()
    };
    let Outcome::Committed(done) = table.upsert(Commit::named("u"), upsert).await.unwrap() else { panic!() };
    assert_eq!((done.rows_updated, done.rows_inserted), (10, 10));
    let day = i32::try_from(DAY / MICROS_A_DAY).unwrap();
    let overwrite = Overwrite { remove: Remove::Days([day].into()), rows: vec![payment_batch(0..300)] };
    table.overwrite(Commit::named("o"), overwrite).await.unwrap();
    assert_eq!(sums(&table, None).await, expected_sums(0..300));
    let lookup = Lookup {
        column: "currency".to_owned(),
        keys: Arc::new(["JPY".to_owned()].into()),
        range: None,
        columns: vec!["id".to_owned()],
    };
    assert_eq!(table.find(lookup).await.unwrap().len(), 100);

    // Another process, and another engine, see the same.
    let again = Lake::open_existing(lake.options().clone()).await.unwrap();
    assert_eq!(sums(&again.table("raw", "payments").await.unwrap(), None).await, expected_sums(0..300));
    let properties = json!({
        "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO",
        "s3.endpoint": server.url, "s3.region": server.region,
        "s3.access-key-id": server.access_key_id, "s3.secret-access-key": server.secret_access_key,
    });
    let ask = json!({"table": "raw.payments", "sum": ["currency", "amount"]});
    let seen = python::ask_bucket(dir.path(), properties, ask);
    assert_eq!((&seen["rows"], &seen["sums"]), (&json!(300), &json!(expected_sums(0..300).1)));

    // What no kept snapshot needs goes, and nothing else.
    let before = objects(&server, &prefix).await.len();
    table.expire().await.unwrap();
    clean_all(&table).await;
    assert!(objects(&server, &prefix).await.len() < before);
    assert_eq!(sums(&table, None).await, expected_sums(0..300));
    for snapshot in table.snapshots().await.unwrap() {
        sums(&table, Some(snapshot.id)).await;
    }
    lake.purge_table("raw", "payments").await.unwrap();
    assert_eq!(objects(&server, &prefix).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn queries_read_the_bucket_here_and_on_a_cluster() {
    let Some(server) = S3Server::named() else { return };
    let (dir, prefix) = (tempfile::tempdir().unwrap(), unique("sql"));
    let options = options(&server, dir.path(), &prefix);
    let lake = Lake::open(options.clone()).await.unwrap();
    let table = payments_table(&lake).await;
    for part in 0..3_i64 {
        let read = advance((part > 0).then_some(part), part + 1);
        table.append(payments(part * 1_000..(part + 1) * 1_000), read).await.unwrap();
    }
    let port = free_port();
    let _scheduler = scheduler_of(port, &options).await;
    let _executor = executor_of(port, &options).await;
    let (here, there) = (session(&lake).await, session_on(&lake, Some(port)).await);
    for query in [
        "select count(*), sum(amount) from raw.payments",
        "select currency, count(*), sum(amount) from raw.payments where id >= 100 group by currency order by 1",
        "select a.id, b.currency from raw.payments a join raw.payments b on a.id = b.id + 1 where a.id % 500 = 0 order by 1",
    ] {
        let expected = rows(&here, query).await;
        assert!(!expected.is_empty());
        assert_eq!(rows(&there, query).await, expected, "{query}");
    }
    assert_eq!(one(&here, "select count(*) from raw.payments").await, "3000");
    // Rows by their keys, for which footers, filters and the keys' column are read beside the engine.
    let engine = Engine::new(lake, EngineOptions::default()).unwrap();
    let session = engine.session(Pins::default()).await.unwrap();
    let keys: ArrayRef = Arc::new(Int64Array::from(vec![5, 7]));
    assert!(session.register_sought("few", "raw.payments", "id", &[keys]).await.unwrap());
    assert_eq!(rows(&session, "select id from few where id in (5, 7) order by id").await, ["5", "7"]);
}

/// Rows that do not get smaller: about a kilobyte each.
fn bulky(rows: std::ops::Range<i64>) -> Arc<RowBatch> {
    let columns = [column("id", ColumnType::Int64), column("load", ColumnType::Text)];
    let load = || (0..32).map(|_| uuid::Uuid::new_v4().simple().to_string()).collect::<String>();
    let rows = rows.map(|n| vec![Value::Int(n), Value::Text(load())]).collect();
    Arc::new(RowBatch { columns: columns.into(), rows })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_goes_up_in_parts_or_is_taken_back() {
    let Some(server) = S3Server::named() else { return };
    let (dir, prefix) = (tempfile::tempdir().unwrap(), unique("parts"));
    let (mut options, proxy) = through_proxy(&server, dir.path(), &prefix).await;
    options.s3.part_bytes = 5 << 20;
    let lake = Lake::open(options).await.unwrap();
    let rows = bulky(0..20_000);
    let table = lake.ensure_table("raw", "bulky", &rows.columns, &Partition::None).await.unwrap();
    let (begun, completed, aborted) =
        (["POST ", "uploads"], ["POST ", "uploadId="], ["DELETE ", "uploadId="]);
    // A part that is refused for good, and a last word that is: the file is not there, and neither are its parts.
    for (times, refused) in [(1, &["PUT ", "partNumber=2"][..]), (1, &["POST ", "uploadId="])] {
        let before = (proxy.count(&begun), proxy.count(&aborted));
        proxy.plan(times, Fault::Refused("AccessDenied"), refused);
        let error = table.append(Arc::clone(&rows), advance(None, 1)).await.unwrap_err();
        let is_told = |error: &LakeError| matches!(error, LakeError::Store(error) if error.problem() == StoreProblem::Rights);
        assert!(is_told(&error) && error.is_passing(), "{error}");
        assert_eq!(proxy.count(&begun), before.0 + 1);
        await_that("the parts are not taken back", async || proxy.count(&aborted) == before.1 + 1).await;
        assert_eq!(parquet(&objects(&server, &prefix).await), 0);
        assert_eq!(table.offsets().await.unwrap().get(TOPIC, 0), None);
    }
    proxy.clear();
    let before = (proxy.count(&begun), proxy.count(&completed));
    // Parts get lost on their way: they are sent again.
    proxy.plan(2, Fault::RequestLost, &["PUT ", "partNumber="]);
    table.append(Arc::clone(&rows), advance(None, 1)).await.unwrap();
    assert_eq!(proxy.clear(), 0);
    assert!(proxy.count(&["PUT ", "partNumber=2"]) > 0 && proxy.count(&completed) > before.1);
    assert_eq!((proxy.count(&begun), parquet(&objects(&server, &prefix).await)), (before.0 + 1, 1));
    let session = session(&lake).await;
    let counted = one(&session, "select count(*), sum(id), min(length(load)) from raw.bulky").await;
    assert_eq!(counted, format!("20000,{},1024", 19_999_i64 * 10_000));
}

/// The files of a commit, in the order in which they are written.
const FILES: [&[&str]; 4] =
    [&["PUT ", ".parquet"], &["PUT ", "-m0.avro"], &["PUT ", "snap-"], &["PUT ", ".metadata.json"]];
const FAULTS: [Fault; 6] = [
    Fault::RequestLost,
    Fault::AnswerLost,
    Fault::Unavailable,
    Fault::DoneButUnavailable,
    Fault::Late,
    Fault::Refused("AccessDenied"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_whole_or_did_not_happen() {
    let Some(server) = S3Server::named() else { return };
    let (dir, prefix) = (tempfile::tempdir().unwrap(), unique("torn"));
    let (faulty, proxy) = through_proxy(&server, dir.path(), &prefix).await;
    let table = payments_table(&Lake::open(faulty).await.unwrap()).await;
    let direct = options(&server, dir.path(), &prefix);
    let mut next = None;
    for (file, fault) in FILES.iter().flat_map(|file| FAULTS.map(|fault| (*file, fault))) {
        let from = next.unwrap_or(0);
        // It does not stop: the commit fails, and others see nothing of it.
        proxy.plan(usize::MAX, fault, file);
        let error = table.append(payments(from..from + 10), advance(next, from + 10)).await.unwrap_err();
        assert!(matches!(error, LakeError::Store(_)) && error.is_passing(), "{file:?} {fault:?}: {error}");
        proxy.clear();
        let others = Lake::open_existing(direct.clone()).await.unwrap();
        let others = others.table("raw", "payments").await.unwrap();
        assert_eq!(others.offsets().await.unwrap().get(TOPIC, 0), next, "{file:?} {fault:?}");
        assert_eq!(sums(&others, None).await, expected_sums(0..from), "{file:?} {fault:?}");
        // It passes, within the repeats of a request (a refusal is not repeated): the commit is stored, once.
        if !matches!(fault, Fault::Refused(_)) {
            proxy.plan(2, fault, file);
        }
        table.append(payments(from..from + 10), advance(next, from + 10)).await.unwrap();
        assert_eq!(proxy.clear(), 0, "{file:?} {fault:?}: the fault did not happen");
        next = Some(from + 10);
        assert_eq!(others.offsets().await.unwrap().get(TOPIC, 0), next, "{file:?} {fault:?}");
        assert_eq!(sums(&others, None).await, expected_sums(0..from + 10), "{file:?} {fault:?}");
    }
    // Reading goes on where an answer is lost or torn.
    for fault in [Fault::RequestLost, Fault::AnswerLost, Fault::AnswerTorn, Fault::Unavailable] {
        proxy.plan(1, fault, &["GET ", ".parquet"]);
        assert_eq!(sums(&table, None).await, expected_sums(0..next.unwrap()), "{fault:?}");
        assert_eq!(proxy.clear(), 0, "{fault:?}: the fault did not happen");
    }
    // What failed attempts have left, also what came late, is found and goes.
    clean_all(&table).await;
    let live = parquet(&objects(&server, &prefix).await);
    let snapshots = table.snapshots().await.unwrap();
    assert_eq!(u64::try_from(live).unwrap(), snapshots.last().unwrap().files);
    assert_eq!(sums(&table, None).await, expected_sums(0..next.unwrap()));
}

/// Rows by key touch many files: read, written anew, and left behind where it fails.
#[tokio::test(flavor = "multi_thread")]
async fn an_upsert_happens_once_whatever_fails() {
    let Some(server) = S3Server::named() else { return };
    let (dir, prefix) = (tempfile::tempdir().unwrap(), unique("upsert"));
    let (faulty, proxy) = through_proxy(&server, dir.path(), &prefix).await;
    let table = payments_table(&Lake::open(faulty).await.unwrap()).await;
    table.append(payments(0..50), advance(None, 50)).await.unwrap();
    let mut expected: BTreeMap<i64, i128> = amounts(&table).await;
    for (round, (file, fault)) in FILES
        .iter()
        .flat_map(|file| [Fault::AnswerLost, Fault::Unavailable].map(|fault| (*file, fault)))
        .enumerate()
    {
        let round = i64::try_from(round).unwrap();
        let ids = round * 5..round * 5 + 10;
        let upsert = Upsert {
            rows: vec![payment_batch_of(ids.clone(), |_| round)],
            key: vec!["id".to_owned()],
            ..Upsert::default()
        };
        let commit = Commit::named(format!("round {round}"));
        proxy.plan(usize::MAX, fault, file);
        let error = table.upsert(commit.clone(), upsert.clone()).await.unwrap_err();
        assert!(error.is_passing(), "{file:?} {fault:?}: {error}");
        proxy.clear();
        assert_eq!(amounts(&table).await, expected, "{file:?} {fault:?}");
        let done = table.upsert(commit.clone(), upsert.clone()).await.unwrap();
        assert!(matches!(done, Outcome::Committed(_)), "{file:?} {fault:?}: {done:?}");
        let again = table.upsert(commit, upsert).await.unwrap();
        assert!(matches!(again, Outcome::AlreadyCommitted(_)), "{again:?}");
        expected.extend(ids.map(|id| (id, i128::from(round))));
        assert_eq!(amounts(&table).await, expected, "{file:?} {fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_with_what_to_do() {
    let Some(server) = S3Server::named() else { return };
    let (dir, prefix) = (tempfile::tempdir().unwrap(), unique("wrong"));
    let right = options(&server, dir.path(), &prefix);
    let told = async |options: LakeOptions| match Lake::open(options).await.unwrap_err() {
        LakeError::Store(error) => (error.problem(), error.to_string()),
        other => panic!("{other}"),
    };
    let with = |change: &dyn Fn(&mut S3Options)| {
        let mut options = right.clone();
        (options.s3.retries, options.s3.timeout_s) = (1, 2);
        change(&mut options.s3);
        options
    };
    let secret = with(&|s3| s3.secret_access_key = "t0p".to_owned());
    let key = with(&|s3| s3.access_key_id = "AKIANOBODY".to_owned());
    let bucket = LakeOptions { warehouse: "s3://affluent-nowhere/x".into(), ..right.clone() };
    let nobody = with(&|s3| s3.endpoint = format!("http://127.0.0.1:{}", free_port()));
    for (options, problem, words) in [
        (secret, StoreProblem::Key, "secret_access_key"),
        (key, StoreProblem::Key, "access_key_id"),
        (bucket, StoreProblem::NoBucket, "create the bucket"),
        (nobody, StoreProblem::Unreachable, "lake.s3.endpoint"),
    ] {
        let (found, text) = told(options).await;
        assert_eq!(found, problem, "{text}");
        assert!(text.contains(words) && !text.contains("t0p"), "{text}");
    }
    let (mut late, proxy) = through_proxy(&server, dir.path(), &prefix).await;
    proxy.plan(1, Fault::Refused("RequestTimeTooSkewed"), &["GET "]);
    let (found, text) = told(late.clone()).await;
    assert!(found == StoreProblem::Clock && text.contains("NTP"), "{text}");
    // A server that takes connections and says nothing is not waited for.
    let held = affluent_testkit::Proxy::start(server.url.strip_prefix("http://").unwrap().parse().unwrap());
    let held = held.await.unwrap();
    held.set(Condition::Held);
    late.s3.endpoint = format!("http://{}", held.address());
    (late.s3.retries, late.s3.timeout_s) = (1, 1);
    let begun = Instant::now();
    let (found, text) = told(late).await;
    assert_eq!(found, StoreProblem::Unreachable, "{text}");
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

/// Not a test by itself: the process that [`every_row_is_there_once_wherever_the_writer_dies`] starts and that its
/// failpoint ends.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_appends_until_it_dies() {
    let Ok(place) = std::env::var(CHILD) else { return };
    let (directory, prefix) = place.split_once('\n').unwrap();
    affluent_telemetry::arm_failpoints();
    let options = options(&S3Server::named().unwrap(), Path::new(directory), prefix);
    let table = payments_table(&Lake::open(options).await.unwrap()).await;
    let mut next = table.offsets().await.unwrap().get(TOPIC, 0);
    while next.unwrap_or(0) < 200 {
        let from = next.unwrap_or(0);
        table.append(payments(from..from + 10), advance(next, from + 10)).await.unwrap();
        next = Some(from + 10);
        table.compact(CancellationToken::new()).await.unwrap();
        table.expire().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_there_once_wherever_the_writer_dies() {
    let Some(server) = S3Server::named() else { return };
    let (dir, prefix) = (tempfile::tempdir().unwrap(), unique("dies"));
    let child = |failpoints: &str| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "s3::child_that_appends_until_it_dies", "--nocapture"])
            .env(CHILD, format!("{}\n{prefix}", dir.path().display()))
            .env("FAILPOINTS", failpoints)
            .output()
            .unwrap()
    };
    for (point, passes) in [
        ("lake::after_data_files", 2),
        ("lake::before_swap", 3),
        ("lake::after_swap", 2),
        ("lake::after_merge_files", 0),
    ] {
        let output = child(&format!("{point}={passes}*off->return"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && !stderr.contains("panicked"), "{point}: {stderr}");
    }
    let output = child("");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = payments_table(&Lake::open(options(&server, dir.path(), &prefix)).await.unwrap()).await;
    assert_eq!(sums(&table, None).await, expected_sums(0..200));
    let before = objects(&server, &prefix).await.len();
    clean_all(&table).await;
    assert!(objects(&server, &prefix).await.len() < before, "the dead ones left files");
    assert_eq!(sums(&table, None).await, expected_sums(0..200));
}
