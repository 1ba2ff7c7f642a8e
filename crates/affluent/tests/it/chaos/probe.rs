//! When the promises hold again: payments and clicks are sent after a fault, one after the other, until each stop has one
//! within its time.

use super::world::World;
use affluent_model::names::COLLECTION_CLICKS;
use affluent_testkit::Database;
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use uuid::Uuid;

/// The promise that is held the soak to: within a minute of the last fault.
pub(super) const RECOVERY: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// A probe is given up so long after it was sent, and the next one is.
const PATIENCE: Duration = Duration::from_secs(4);

/// What `affluent/src/promises.rs` promises of a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stop {
    Mirror,
    Lake,
    Click,
    Score,
    WrittenBack,
}

impl Stop {
    pub(super) const ALL: [Stop; 5] = [Stop::Mirror, Stop::Lake, Stop::Click, Stop::Score, Stop::WrittenBack];

    pub(super) fn name(self) -> &'static str {
        match self {
            Stop::Mirror => "mirror",
            Stop::Lake => "lake",
            Stop::Click => "click",
            Stop::Score => "score",
            Stop::WrittenBack => "written back",
        }
    }

    fn goal(self) -> Duration {
        match self {
            Stop::Mirror | Stop::Lake | Stop::Click => Duration::from_secs(3),
            Stop::Score | Stop::WrittenBack => Duration::from_secs(1),
        }
    }
}

/// Time from the end of a fault to the first probe that each stop had within its goal, in the order of [`Stop::ALL`], and to
/// every process being ready as well.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recovered {
    pub(super) stops: [Duration; Stop::ALL.len()],
    pub(super) all: Duration,
}

/// Sends probes; keeps what the collector has acknowledged.
pub(super) struct Prober {
    database: Database,
    /// Away while the database is.
    client: Option<Client>,
    pub(super) clicks: Vec<String>,
}

/// A payment that was committed, and a click.
struct Probe {
    payment: Uuid,
    click: Uuid,
    is_acknowledged: bool,
    sent: Instant,
}

const SETUP: &str = "
    create table probes (id text primary key);
    insert into customers (id, email, full_name, country) values (8000000000, 'probe@example.com', 'Probe', 'FR');
    insert into merchants (id, name, category_code, country, currency)
        values (8000000000, 'Probe', '5411', 'FR', 'EUR')";

impl Prober {
    /// Makes what payments refer to; the reference schema is there.
    pub(super) async fn new(database: &Database) -> Self {
        let client = database.connect().await.unwrap();
        client.batch_execute(SETUP).await.unwrap();
        Prober { database: database.clone(), client: Some(client), clicks: Vec::new() }
    }

    /// Waits until every promise holds again.
    pub(super) async fn recovered(&mut self, world: &mut World, healed: Instant) -> Recovered {
        let mut stops: [Option<Duration>; Stop::ALL.len()] = [None; Stop::ALL.len()];
        loop {
            world.keep_up();
            let is_missing = stops.iter().any(Option::is_none);
            let probe = if is_missing { self.send(world).await } else { None };
            match probe {
                Some(probe) => self.watch(world, &probe, healed, &mut stops).await,
                None => tokio::time::sleep(POLL).await,
            }
            if stops.iter().all(Option::is_some) && world.is_ready().await {
                return Recovered { stops: stops.map(Option::unwrap_or_default), all: healed.elapsed() };
            }
            let missing: Vec<&str> =
                Stop::ALL.iter().zip(&stops).filter(|(_, at)| at.is_none()).map(|(s, _)| s.name()).collect();
            assert!(
                healed.elapsed() < RECOVERY,
                "not as promised {RECOVERY:?} after the fault: {missing:?}\n{}",
                world.stores.tail()
            );
        }
    }

    /// Commits a payment, and sends a click; none where the database does not take it.
    async fn send(&mut self, world: &World) -> Option<Probe> {
        let (payment, click) = (Uuid::new_v4(), Uuid::now_v7());
        if self.client.as_ref().is_none_or(Client::is_closed) {
            self.client = self.database.connect().await.ok();
        }
        let sql = format!(
            "insert into probes values ('{payment}');
             insert into transactions (id, customer_id, merchant_id, amount, currency, status, payment_method)
                 values ('{payment}', 8000000000, 8000000000, 12.5, 'EUR', 'authorized', 'card')"
        );
        self.client.as_ref()?.batch_execute(&sql).await.ok()?;
        let sent = Instant::now();
        let is_acknowledged = world.stores.click(&click.to_string()).await;
        if is_acknowledged {
            self.clicks.push(click.to_string());
        }
        Some(Probe { payment, click, is_acknowledged, sent })
    }

    /// Looks for the probe at every stop that has not recovered yet.
    async fn watch(
        &self,
        world: &World,
        probe: &Probe,
        healed: Instant,
        stops: &mut [Option<Duration>; Stop::ALL.len()],
    ) {
        let mut late = [false; Stop::ALL.len()];
        while probe.sent.elapsed() < PATIENCE {
            for (index, stop) in Stop::ALL.into_iter().enumerate() {
                if stops[index].is_some() || late[index] || !self.is_at(world, probe, stop).await {
                    continue;
                }
                late[index] = probe.sent.elapsed() > stop.goal();
                stops[index] = (!late[index]).then(|| healed.elapsed());
            }
            if stops.iter().zip(late).all(|(at, late)| at.is_some() || late) {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn is_at(&self, world: &World, probe: &Probe, stop: Stop) -> bool {
        let stores = &world.stores;
        let is_there = async |path: String| stores.get(&path).await.is_some_and(|(status, _)| status == 200);
        let payment = probe.payment.to_string();
        match stop {
            Stop::Mirror => is_there(format!("/v1/documents/mirrors.probes/{payment}")).await,
            Stop::Lake => stores.texts_in_lake("raw", "probes", "id").await.contains(&payment),
            Stop::Click if !probe.is_acknowledged => false,
            Stop::Click => is_there(format!("/v1/documents/{COLLECTION_CLICKS}/{}", probe.click)).await,
            Stop::Score => is_there(format!("/v1/scores/{payment}")).await,
            Stop::WrittenBack => {
                let Some(client) = &self.client else { return false };
                let sql = "select risk_scored_at is not null from transactions where id = $1";
                let found = client.query_opt(sql, &[&probe.payment]).await;
                found.is_ok_and(|row| row.is_some_and(|row| row.get(0)))
            }
        }
    }
}
