//! The pipelines on a cluster of processes, one scheduler and two executors, while payments go on: the tables are those
//! that one process computes, also where a node is killed in the middle.

use crate::batch_trial::{RUN, Trial};
use crate::installation::{START, free_ports};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::process::Child;

/// What an executor logs when it begins with a part of a query.
const WORKS: &str = "Execute task";
const POLL: Duration = Duration::from_millis(20);

/// A process of the cluster.
struct Node {
    process: Child,
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

    async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }
}

/// The cluster; it computes for a trial.
struct Cluster {
    port: u16,
    scheduler: Node,
    executors: [Node; 2],
}

fn scheduler(trial: &Trial, port: u16) -> Node {
    let settings = [("batch_scheduler.listen", format!("127.0.0.1:{port}"))];
    let (process, log) = trial.installation.start_beside("batch-scheduler", &settings, "scheduler.log");
    Node { process, log }
}

fn executor(trial: &Trial, scheduler: u16, number: u16) -> Node {
    let [listen, control] = free_ports();
    let settings = [
        ("batch_executor.scheduler", format!("ballista://127.0.0.1:{scheduler}")),
        ("batch_executor.listen", format!("127.0.0.1:{listen}")),
        ("batch_executor.control_port", control.to_string()),
        ("batch_executor.concurrent_tasks", "2".to_owned()),
        ("log.filter", "info".to_owned()),
    ];
    let log = format!("executor-{number}.log");
    let (process, log) = trial.installation.start_beside("batch-executor", &settings, &log);
    Node { process, log }
}

impl Cluster {
    /// Started in any order; what is run from now on runs on it.
    async fn start(trial: &mut Trial) -> Self {
        let [port] = free_ports();
        let executors = [1, 2].map(|number| executor(trial, port, number));
        let scheduler = scheduler(trial, port);
        for executor in &executors {
            executor.wait("an executor", |node| node.said().contains("the executor waits for work")).await;
        }
        let cluster = Cluster { port, scheduler, executors };
        cluster.computes(trial);
        cluster
    }

    fn computes(&self, trial: &mut Trial) {
        trial.installation.set("batch.engine", Some(&format!("ballista://127.0.0.1:{}", self.port)));
        trial.installation.set("batch.partitions", Some("4"));
    }

    fn parts(&self) -> [usize; 2] {
        [self.executors[0].parts(), self.executors[1].parts()]
    }
}

/// From now on the process that runs a pipeline computes it.
fn embedded(trial: &mut Trial) {
    trial.installation.set("batch.engine", None);
    trial.installation.set("batch.partitions", None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_computes_what_one_process_does() {
    let mut trial = Trial::begin().await;
    let cluster = Cluster::start(&mut trial).await;
    trial.refusable().await;
    let begun = Instant::now();
    trial.complete("raw-to-dwh", true).await;
    assert!(trial.read().await > 0, "nothing is published");
    eprintln!("filled on a cluster in {:?}: {:?} parts", begun.elapsed(), cluster.parts());
    trial.news().await;
    trial.complete("raw-to-dwh", true).await;
    trial.read().await;
    let worked = cluster.parts();
    assert!(worked.iter().all(|&parts| parts > 0), "an executor had nothing to do: {worked:?}");
    // One process computes all of it anew: every day of every table has the same rows.
    embedded(&mut trial);
    trial.rebuild_is_equal().await;
    assert_eq!(cluster.parts(), worked, "the cluster was asked");
    // And an increment of one process is what the cluster computes anew.
    trial.news().await;
    trial.complete("raw-to-dwh", true).await;
    cluster.computes(&mut trial);
    trial.rebuild_is_equal().await;
    trial.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_a_cluster_are_killed_and_the_warehouse_is_whole() {
    let mut trial = Trial::begin().await;
    let mut cluster = Cluster::start(&mut trial).await;
    trial.complete("raw-to-dwh", true).await;
    trial.read().await;

    // An executor in the middle of a run: the run goes on with the other one.
    trial.news().await;
    let before = cluster.executors[0].parts();
    let begun = Instant::now();
    let run = trial.begin_next("rebuild", None);
    cluster.executors[0].wait("a part of the run", |node| node.parts() > before + 5).await;
    cluster.executors[0].kill().await;
    let said = run.end(RUN).await;
    assert!(said.status.success(), "{}\n{}", said.out, said.err);
    eprintln!("rebuilt in {:?} although an executor died", begun.elapsed());
    trial.read().await;

    // The scheduler: the run fails, and says what to do.
    cluster.scheduler.kill().await;
    trial.news().await;
    let said = trial.begin_next("raw-to-dwh", None).end(RUN).await;
    assert_eq!(said.status.code(), Some(1), "{}\n{}", said.out, said.err);
    let told = format!("{}{}", said.out, said.err);
    assert!(told.contains("affluent run batch-scheduler"), "{told}");
    trial.read().await;

    // It comes back, and the executor that is left finds it by itself.
    cluster.scheduler = scheduler(&trial, cluster.port);
    trial.complete("raw-to-dwh", false).await;
    trial.read().await;
    embedded(&mut trial);
    trial.finish().await;
}
