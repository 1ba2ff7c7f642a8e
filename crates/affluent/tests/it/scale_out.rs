//! More processes of a role: three of a sink share its partitions by consumer group, two that score have one leader. One of
//! each is killed under load; the others take over, and nothing is lost or twice.
//!
//! The embedded document store belongs to one process, so that only the lake's sink can be many beside it. Where
//! `AFFLUENT_TEST_MONGODB` names a server (`interop/ferretdb.sh run`), the mirrors' sink and the scores are, too.

use crate::installation::{Installation, turn};
use crate::load::Load;
use crate::score_kill::{RULES, are_scored_once};
use affluent_testkit::{Database, Postgres, unique};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(100);
const SINKS: usize = 3;
const SCORERS: usize = 2;
/// Payments that are scored while one of the scorers is dead.
const GOES_ON: i64 = 40;

/// Processes of one role.
struct Group {
    role: &'static str,
    members: Vec<Installation>,
}

impl Group {
    /// Starts so many; each has a name in the group, and what is its own.
    fn start(installation: &Installation, role: &'static str, section: &str, count: usize) -> Self {
        let member = |index: usize| {
            let mut member = installation.beside_with_http();
            let name = format!("{role}-{index}");
            if section == "score" {
                let own = installation.data().join(&name);
                member.set("score.directory", Some(&own.display().to_string()));
            } else {
                member.set(&format!("{section}.instance_id"), Some(&name));
            }
            member.start_roles(&[role, "api"]);
            member
        };
        Group { role, members: (0..count).map(member).collect() }
    }

    async fn wait_ready(&mut self) {
        for member in &mut self.members {
            member.wait_ready().await;
        }
    }

    /// Waits until every process has stored some records since it started.
    async fn all_work(&self, stage: &str) {
        let stage = format!("stage=\"{stage}\"");
        let stores = |line: &str| {
            let count = line.rsplit_once(' ').and_then(|(_, count)| count.parse::<f64>().ok());
            line.starts_with("affluent_records_total{")
                && line.contains(&stage)
                && line.contains("outcome=\"ok\"")
                && count.is_some_and(|count| count > 0.0)
        };
        for member in &self.members {
            let works = |_: u16, page: &str| page.lines().any(stores);
            member.wait_page("/metrics", PATIENCE, works).await;
        }
        eprintln!("each of {} {} has a part of the work", self.members.len(), self.role);
    }
}

async fn scored(database: &Database) -> i64 {
    let client = database.connect().await.unwrap();
    let sql = "select count(*) from transactions where risk_scored_at is not null";
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// Waits until so many more payments are scored.
async fn scores_go_on(database: &Database, installation: &Installation) {
    let (target, deadline) = (scored(database).await + GOES_ON, Instant::now() + PATIENCE);
    while scored(database).await < target {
        assert!(Instant::now() < deadline, "nothing is scored any more\n{}", installation.tail());
        tokio::time::sleep(POLL).await;
    }
}

/// One after another is killed; what the others do without it is exact, and it has its part again when it is back.
async fn kill_each(installation: &Installation, group: &mut Group, stage: &str) {
    for index in 0..group.members.len() {
        group.members[index].kill().await;
        let verified = installation.verify().await;
        eprintln!("{}-{index} is dead: verified in {verified:?}", group.role);
        group.members[index].start_roles(&[group.role, "api"]);
        group.members[index].wait_ready().await;
        group.all_work(stage).await;
    }
    installation.verify().await;
}

/// The base of the installation: everything but what is many.
fn roles(installation: &Installation, others: &[&'static str]) -> Vec<&'static str> {
    let broker = installation.kafka().is_none().then_some("broker");
    let base = ["registry", "cdc", "api", "collect", "sink-events", "features"];
    broker.into_iter().chain(base).chain(others.iter().copied()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_share_the_work_one_is_killed_and_nothing_is_lost_or_doubled() {
    let _turn = turn().await;
    let database = Postgres::shared().fresh_database().await.unwrap();
    let rules = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(rules.path(), RULES).unwrap();
    let sections = format!("[score.serving]\nrules = {:?}\n", rules.path());
    let mut installation = Installation::with_sections(&database, &sections);
    // Named, so that processes do not all get the name that a single one has on the embedded broker.
    let bootstrap = installation.bootstrap();
    installation.set("bus.bootstrap_servers", Some(&bootstrap));
    let server = std::env::var("AFFLUENT_TEST_MONGODB").ok().filter(|uri| !uri.is_empty());
    let rate = if server.is_some() { 60 } else { 150 };
    let load = Load::start(&database, rate, 23).await;

    if let Some(uri) = &server {
        installation.set("documents.backend", Some("mongodb"));
        installation.set("documents.mongodb.uri", Some(uri));
        installation.set("documents.mongodb.database", Some(&unique("scale")));
        installation.start_roles(&roles(&installation, &[]));
    } else {
        eprintln!(
            "left out: several sinks of documents, and several scorers: AFFLUENT_TEST_MONGODB names no server, and the \
             embedded store belongs to one process"
        );
        installation.start_roles(&roles(&installation, &["sink-documents", "score"]));
    }
    let mut lake = Group::start(&installation, "sink-lake", "sink_lake", SINKS);
    let mut of_documents = Vec::new();
    if server.is_some() {
        of_documents.push(Group::start(&installation, "sink-documents", "sink_documents", SINKS));
        of_documents.push(Group::start(&installation, "score", "score", SCORERS));
    }
    installation.wait_ready().await;
    lake.wait_ready().await;
    lake.all_work("lake").await;
    for group in &mut of_documents {
        group.wait_ready().await;
    }
    if let [mirrors, scorers] = &mut of_documents[..] {
        mirrors.all_work("mirrors").await;
        kill_each(&installation, mirrors, "mirrors").await;
        // One of them is the leader.
        for index in 0..SCORERS {
            scorers.members[index].kill().await;
            scores_go_on(&database, &installation).await;
            scorers.members[index].start_roles(&["score", "api"]);
            scorers.members[index].wait_ready().await;
        }
    }
    kill_each(&installation, &mut lake, "lake").await;
    scores_go_on(&database, &installation).await;
    load.stop().await;
    installation.verify().await;
    are_scored_once(&installation, &database).await;
}
