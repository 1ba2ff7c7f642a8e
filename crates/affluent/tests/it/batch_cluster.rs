//! The pipelines on a cluster of processes, one scheduler and two executors: tables and checks are those of one process,
//! also where a node dies in the middle of a query.
//!
//! The payments stand still while the warehouse is computed: two processors are enough for its processes.

use crate::batch_trial::{RUN, Trial, assert_equal};
use crate::installation::START;
use affluent_testkit::free_ports;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::process::Child;

/// What an executor logs when it begins with a part of a query.
const WORKS: &str = "Execute task";
const POLL: Duration = Duration::from_millis(20);
/// Payments, of which there are 2,000, go to the cluster; customers and merchants, of which there are hundreds, do not.
const CLUSTER_ROWS_MIN: &str = "1000";
/// The executor dies in the first part of a query that it begins with.
const DIES: &str = "cluster::before_scan=return";
/// The results of the newest checks, but for volumes, which are of increments alone.
const CHECKS: &str = "
    select \"table\", \"check\", severity, failures, measured from ops.checks
    where run = (select max(run) from ops.checks) and \"check\" <> 'volume' order by 1, 2";

/// A process of the cluster.
struct Node {
    process: Child,
    address: String,
    log: PathBuf,
}

impl Node {
    fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// Parts of queries that it has begun with.
    fn parts(&self) -> usize {
        self.said().matches(WORKS).count()
    }

    async fn wait(&self, what: &str, there: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + START;
        while !there(self) {
            assert!(Instant::now() < deadline, "{what} does not come:\n{}", self.said());
            tokio::time::sleep(POLL).await;
        }
    }
}

/// The cluster; it computes for a trial.
struct Cluster {
    port: u16,
    scheduler: Node,
    executors: [Node; 2],
}

fn scheduler(trial: &Trial, port: u16) -> Node {
    let address = format!("127.0.0.1:{port}");
    let settings = [("batch_scheduler.listen", address.clone())];
    let (process, log) = trial.installation.start_beside("batch-scheduler", &settings, "scheduler.log", None);
    Node { process, address, log }
}

fn executor(trial: &Trial, scheduler: u16, tasks: u8, failpoints: Option<&str>) -> Node {
    let [listen, control] = free_ports();
    let address = format!("127.0.0.1:{listen}");
    let settings = [
        ("batch_executor.scheduler", format!("ballista://127.0.0.1:{scheduler}")),
        ("batch_executor.listen", address.clone()),
        ("batch_executor.control_port", control.to_string()),
        ("batch_executor.concurrent_tasks", tasks.to_string()),
        ("log.filter", "info".to_owned()),
    ];
    let log = format!("executor-{listen}.log");
    let (process, log) = trial.installation.start_beside("batch-executor", &settings, &log, failpoints);
    Node { process, address, log }
}

impl Cluster {
    /// Started in any order; the first executor with failpoints armed where given. It takes one part at a time, so none is
    /// given to it once it is dead: that it is dead shows by its silence alone.
    async fn start(trial: &Trial, failpoints: Option<&str>) -> Self {
        let [port] = free_ports();
        let executors = [executor(trial, port, 1, failpoints), executor(trial, port, 2, None)];
        let scheduler = scheduler(trial, port);
        for executor in &executors {
            executor.wait("an executor", |node| node.said().contains("the executor waits for work")).await;
        }
        Cluster { port, scheduler, executors }
    }

    /// What is run from now on runs on it.
    fn computes(&self, trial: &mut Trial) {
        let engine = format!("ballista://127.0.0.1:{}", self.port);
        trial.installation.set("batch.engine", Some(&engine));
        trial.installation.set("batch.cluster_rows_min", Some(CLUSTER_ROWS_MIN));
        trial.installation.set("batch.partitions", Some("2"));
    }

    fn parts(&self) -> [usize; 2] {
        [self.executors[0].parts(), self.executors[1].parts()]
    }
}

/// From now on the process that runs a pipeline computes it.
fn embedded(trial: &mut Trial) {
    for key in ["batch.engine", "batch.cluster_rows_min", "batch.partitions"] {
        trial.installation.set(key, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_computes_what_one_process_does() {
    let mut trial = Trial::begin().await;
    trial.refusable().await;
    trial.calm().await;
    let cluster = Cluster::start(&trial, None).await;
    cluster.computes(&mut trial);
    let begun = Instant::now();
    trial.complete("raw-to-dwh", true).await;
    assert!(trial.read().await > 0, "nothing is published");
    let worked = cluster.parts();
    eprintln!("filled on a cluster in {:?}: {worked:?} parts", begun.elapsed());
    assert!(worked.iter().all(|&parts| parts > 0), "an executor had nothing to do: {worked:?}");
    let checked = trial.rows(CHECKS).await;
    assert!(!checked.is_empty());
    // One process computes all of it anew: every day of every table has the same rows, every check finds the same.
    embedded(&mut trial);
    trial.rebuild_is_equal().await;
    assert_eq!(trial.rows(CHECKS).await, checked);
    assert_eq!(cluster.parts(), worked, "the cluster was asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_a_cluster_die_and_the_warehouse_is_whole() {
    let mut trial = Trial::begin().await;
    trial.calm().await;
    trial.complete("raw-to-dwh", true).await;
    let version = trial.read().await;
    let mut cluster = Cluster::start(&trial, Some(DIES)).await;
    cluster.computes(&mut trial);

    // An executor in the middle of a query: it is named, and the run goes on with the other one.
    let begun = Instant::now();
    let said = trial.begin_next("rebuild", None).end(RUN).await;
    assert!(said.status.success(), "{}\n{}", said.out, said.err);
    eprintln!("rebuilt in {:?} although an executor died", begun.elapsed());
    let died = &mut cluster.executors[0];
    assert!(died.process.try_wait().unwrap().is_some(), "the executor lives:\n{}", died.said());
    let gone = format!("the executor at {} has gone", died.address);
    assert!(said.err.contains(&gone), "{}\n{}", said.err, cluster.scheduler.said());
    assert_equal(&serde_json::from_str(&said.out).unwrap());
    assert!(trial.read().await >= version);

    // The scheduler: the run fails, and says what to do.
    cluster.scheduler.process.kill().await.unwrap();
    let said = trial.begin_next("rebuild", None).end(RUN).await;
    assert_eq!(said.status.code(), Some(1), "{}\n{}", said.out, said.err);
    let told = format!("{}{}", said.out, said.err);
    assert!(told.contains("affluent run batch-scheduler"), "{told}");
    trial.read().await;

    // It comes back, and the executor that is left finds it by itself.
    cluster.scheduler = scheduler(&trial, cluster.port);
    let before = cluster.executors[1].parts();
    assert_equal(&trial.complete("rebuild", true).await);
    assert!(cluster.executors[1].parts() > before, "the executor had nothing to do");
    trial.read().await;
}
