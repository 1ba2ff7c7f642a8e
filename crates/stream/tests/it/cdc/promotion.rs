//! The server goes and its standby is promoted in its place: the source waits, then stops and says what to do; what is
//! read again then leaves nothing out, and nothing of the old server hides it.
//!
//! Before PostgreSQL 17 a promoted standby has no logical slot of the server that it followed.

use super::rig::{Record, Rig, run};
use affluent_model::{Op, Value};
use affluent_stream::cdc::CdcError;
use affluent_telemetry::health::State;
use affluent_testkit::{Database, Postgres, PostgresOptions, Proxy, Stop};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tokio_postgres::Client;

const TABLE: &str =
    "CREATE TABLE items (id int PRIMARY KEY, note text); INSERT INTO items VALUES (1, 'first')";

/// A server with its standby, and a source that knows them by one address.
struct Pair {
    primary: Postgres,
    standby: Postgres,
    address: Proxy,
    rig: Rig,
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl Pair {
    async fn new() -> Self {
        let primary = Postgres::start(PostgresOptions::default()).expect("PostgreSQL, see `make setup`");
        let standby = primary.standby().expect("a standby");
        let database = primary.fresh_database().await.unwrap();
        let address = Proxy::start(local(primary.port())).await.unwrap();
        let mut rig = Rig::on(database, TABLE).await;
        let port = format!(":{}/", primary.port());
        let proxied = format!(":{}/", address.address().port());
        rig.options.connection = rig.options.connection.replace(&port, &proxied);
        // Who connects to the database on the standby finds it.
        let pair = Pair { primary, standby, address, rig };
        pair.replayed().await;
        pair
    }

    fn on_standby(&self) -> Database {
        self.standby.database(&self.rig.database.name)
    }

    /// Waits until the standby has everything that the primary has now.
    async fn replayed(&self) {
        let end = self.rig.value("SELECT pg_current_wal_lsn()").await;
        let client = self.standby.database("postgres").connect().await.unwrap();
        let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{end}'::pg_lsn");
        self.rig
            .until("the standby follows", async |_| {
                let row = client.query_one(&sql, &[]).await.unwrap();
                row.get::<_, Option<bool>>(0) == Some(true)
            })
            .await;
    }

    /// The primary is gone, and its address leads to the standby.
    fn fail_over(&self) {
        self.primary.stop(Stop::Immediate).unwrap();
        self.address.lead_to(local(self.standby.port()));
    }
}

async fn promote(standby: &Client) {
    let promoted: bool = standby.query_one("SELECT pg_promote()", &[]).await.unwrap().get(0);
    assert!(promoted, "not promoted in time");
}

fn failed_over(error: CdcError) {
    let text = error.to_string();
    assert!(matches!(error, CdcError::Identity(_)), "{text}");
    for part in ["failed over", "timeline 2, saved 1", "no usable slot", "--resnapshot", "--accept-gap"] {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

/// The rows as who applies the records by their positions has them.
fn applied(records: &[Record]) -> BTreeMap<i64, String> {
    let mut changes: Vec<&Record> = records.iter().filter(|record| record.change.is_some()).collect();
    changes.sort_by_key(|record| record.change.as_ref().unwrap().source.position);
    let mut rows = BTreeMap::new();
    for record in changes {
        match record.op() {
            Some(Op::Truncate) => rows.clear(),
            Some(Op::Delete) => drop(rows.remove(&id(record))),
            Some(Op::Read | Op::Create | Op::Update) => {
                let Value::Text(note) = record.column("note") else { panic!("{record:?}") };
                rows.insert(id(record), note.to_string());
            }
            None => {}
        }
    }
    rows
}

fn id(record: &Record) -> i64 {
    let Value::Int(id) = record.column("id") else { panic!("{record:?}") };
    id
}

async fn stored(client: &Client) -> BTreeMap<i64, String> {
    let rows = client.query("SELECT id::bigint, note FROM items", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Waits until the topic says what the database holds.
async fn agree(rig: &Rig, client: &Client) {
    rig.until("topic and database agree", async |rig| {
        applied(&rig.records("items").await) == stored(client).await
    })
    .await;
}

#[test]
fn a_promoted_standby_is_waited_for_then_stops_the_source() {
    run(async {
        let mut pair = Pair::new().await;
        let standby = pair.on_standby().connect().await.unwrap();
        pair.rig.start_ready().await;
        pair.rig.await_rows("items", 1).await;
        pair.rig.sql("INSERT INTO items VALUES (2, 'streamed')").await;
        pair.rig.await_changes("items", 1).await;
        pair.replayed().await;

        // Capture runs all the while. A standby has no slot: that alone is no reason to give up.
        pair.fail_over();
        pair.rig
            .until("it waits", async |rig| {
                let waits = |state: &State| matches!(state, State::Starting(why) if why.contains("standby"));
                rig.health.snapshot().get("cdc").is_some_and(waits)
            })
            .await;
        promote(&standby).await;
        failed_over(pair.rig.failure().await);

        // Nothing of this is lost in silence: the source stands until a person has decided.
        standby.batch_execute("INSERT INTO items VALUES (3, 'while it stands')").await.unwrap();
        pair.rig.start();
        failed_over(pair.rig.failure().await);
        pair.rig.options.resnapshot = true;
        pair.rig.start_ready().await;
        standby.batch_execute("UPDATE items SET note = 'after' WHERE id = 2").await.unwrap();
        agree(&pair.rig, &standby).await;
        pair.rig.stop().await;

        // It is the source now.
        pair.rig.options.resnapshot = false;
        pair.rig.start_ready().await;
        standby.batch_execute("INSERT INTO items VALUES (4, 'goes on')").await.unwrap();
        agree(&pair.rig, &standby).await;
        pair.rig.stop().await;
    });
}
