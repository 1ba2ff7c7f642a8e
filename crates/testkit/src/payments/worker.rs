//! One connection of the load: draws what happens next, does it in one transaction, keeps the pace.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio_postgres::{Client, Error};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::fraud::Fraudster;
use super::rows::{Merchant, NewCustomers, NewPayments, Payment, fee, uuid};
use super::statements::Statements;
use super::{Pace, PaymentsError, PaymentsOptions, Progress, catalogue};
use crate::postgres::Database;

/// Rows a connection remembers of each kind; the oldest are left as they are.
const REMEMBERED: usize = 5_000;
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// What may happen next, with its weight.
#[derive(Debug, Clone, Copy)]
enum Event {
    Pay,
    PayAndSettle,
    Settle,
    Refund,
    PayRefunds,
    PurgeRefunds,
    Dispute,
    DecideDisputes,
    SignUp,
    ChangeCustomers,
    ChangeMerchants,
    Erase,
}

const EVENTS: &[(Event, u32)] = &[
    (Event::Pay, 38),
    (Event::PayAndSettle, 10),
    (Event::Settle, 28),
    (Event::Refund, 5),
    (Event::PayRefunds, 4),
    (Event::PurgeRefunds, 1),
    (Event::Dispute, 2),
    (Event::DecideDisputes, 2),
    (Event::SignUp, 3),
    (Event::ChangeCustomers, 4),
    (Event::ChangeMerchants, 2),
    (Event::Erase, 1),
];

/// The rows this connection may change: committed, and nobody else's.
#[derive(Debug, Default)]
struct Owned {
    customers: Vec<i64>,
    merchants: Vec<Merchant>,
    /// Ids of the merchants among them that this connection changes.
    shops: Vec<i64>,
    authorized: VecDeque<Payment>,
    captured: VecDeque<Payment>,
    refunds_requested: VecDeque<Uuid>,
    refunds_failed: VecDeque<Uuid>,
    disputes: VecDeque<Uuid>,
}

struct Session {
    client: Client,
    statements: Statements,
}

pub(super) struct Worker {
    database: Database,
    index: i64,
    connections: i64,
    patience: Duration,
    rng: SmallRng,
    owned: Owned,
    fraudster: Fraudster,
    progress: Arc<Progress>,
}

impl Worker {
    pub(super) fn new(
        database: Database,
        options: &PaymentsOptions,
        index: u32,
        progress: Arc<Progress>,
    ) -> Self {
        // Golden-ratio steps keep the streams of neighbouring seeds apart (SplitMix64).
        let seed = options.seed.wrapping_add(u64::from(index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Worker {
            database,
            index: i64::from(index),
            connections: i64::from(options.connections.max(1)),
            patience: options.patience,
            rng: SmallRng::seed_from_u64(seed),
            owned: Owned::default(),
            fraudster: Fraudster::new(seed, options.fraud_share),
            progress,
        }
    }

    pub(super) async fn run(
        mut self,
        mut pace: Pace,
        shutdown: CancellationToken,
    ) -> Result<(), PaymentsError> {
        let batch = pace.batch();
        let mut session = None;
        let mut succeeded = Instant::now();
        while !shutdown.is_cancelled() {
            let pause = match self.step(&mut session, batch).await {
                Ok(changes) => {
                    succeeded = Instant::now();
                    self.progress.committed(changes);
                    pace.after(changes, succeeded)
                }
                Err(error) if succeeded.elapsed() > self.patience => {
                    return Err(PaymentsError::OutOfPatience(self.patience, error));
                }
                Err(error) => {
                    tracing::debug!(%error, "payments transaction failed");
                    self.progress.failed();
                    session = None;
                    RECONNECT_PAUSE
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => {}
            }
        }
        Ok(())
    }

    async fn step(&mut self, session: &mut Option<Session>, batch: usize) -> Result<u64, Error> {
        if session.is_none() {
            let client = self.database.connect().await?;
            self.adopt(&client).await?;
            let statements = Statements::prepare(&client).await?;
            *session = Some(Session { client, statements });
        }
        let Some(session) = session else { return Ok(0) };
        let event = self.draw_event();
        // Half to full batches, so that transactions differ in size.
        let count = self.rng.random_range(batch.div_ceil(2)..=batch);
        self.play(session, event, count).await
    }

    /// Learns the rows that existed before; after a reconnect there is nothing new to learn.
    async fn adopt(&mut self, client: &Client) -> Result<(), Error> {
        if !self.owned.merchants.is_empty() {
            return Ok(());
        }
        let merchants = client.query("select id, currency::text from merchants order by id", &[]).await?;
        self.owned.merchants =
            merchants.iter().map(|row| Merchant { id: row.get(0), currency: row.get(1) }).collect();
        let mine = |id: &i64| id.rem_euclid(self.connections) == self.index;
        self.owned.shops = self.owned.merchants.iter().map(|m| m.id).filter(mine).collect();
        let customers = client
            .query(
                "select id from customers where mod(id, $1) = $2 order by id",
                &[&self.connections, &self.index],
            )
            .await?;
        self.owned.customers = customers.iter().map(|row| row.get(0)).collect();
        Ok(())
    }

    fn draw_event(&mut self) -> Event {
        let mut drawn = self.rng.random_range(0..EVENTS.iter().map(|e| e.1).sum::<u32>());
        for &(event, weight) in EVENTS {
            if drawn < weight {
                return if self.possible(event) { event } else { self.fallback() };
            }
            drawn -= weight;
        }
        self.fallback()
    }

    fn possible(&self, event: Event) -> bool {
        let owned = &self.owned;
        let can_pay = !owned.customers.is_empty() && !owned.merchants.is_empty();
        match event {
            Event::Pay | Event::PayAndSettle => can_pay,
            Event::Settle => !owned.authorized.is_empty(),
            Event::Refund | Event::Dispute => !owned.captured.is_empty(),
            Event::PayRefunds => !owned.refunds_requested.is_empty(),
            Event::PurgeRefunds => !owned.refunds_failed.is_empty(),
            Event::DecideDisputes => !owned.disputes.is_empty(),
            Event::SignUp => true,
            Event::ChangeCustomers => !owned.customers.is_empty(),
            Event::ChangeMerchants => !owned.shops.is_empty(),
            Event::Erase => owned.customers.len() > 1,
        }
    }

    fn fallback(&self) -> Event {
        if self.possible(Event::Pay) { Event::Pay } else { Event::SignUp }
    }

    /// Does one event in one transaction; the number of rows changed. What it takes from the owned rows
    /// it gives back only after the commit.
    async fn play(&mut self, session: &mut Session, event: Event, count: usize) -> Result<u64, Error> {
        let Session { client, statements } = session;
        let (rng, owned, fraudster) = (&mut self.rng, &mut self.owned, &mut self.fraudster);
        match event {
            Event::Pay => {
                let mut new = NewPayments::draw(rng, count, &owned.customers, &owned.merchants);
                let planted = fraudster.plant(&mut new);
                let changes = statements.pay(client, &new).await?;
                self.progress.plant(planted);
                remember(&mut owned.authorized, new.payments());
                Ok(changes)
            }
            Event::PayAndSettle => {
                let mut new = NewPayments::draw(rng, count, &owned.customers, &owned.merchants);
                let planted = fraudster.plant(&mut new);
                let statuses = settle(rng, new.ids.len());
                let transaction = client.transaction().await?;
                let mut changes = statements.pay(&transaction, &new).await?;
                changes += statements.set_status(&transaction, &new.ids, &statuses).await?;
                transaction.commit().await?;
                self.progress.plant(planted);
                remember(&mut owned.captured, with_status(new.payments(), &statuses, "captured"));
                Ok(changes)
            }
            Event::Settle => {
                let payments = take(&mut owned.authorized, count);
                let statuses = settle(rng, payments.len());
                let ids: Vec<Uuid> = payments.iter().map(|p| p.id).collect();
                let changes = statements.set_status(client, &ids, &statuses).await?;
                remember(&mut owned.captured, with_status(payments.into_iter(), &statuses, "captured"));
                Ok(changes)
            }
            Event::Refund => {
                let payments = take(&mut owned.captured, count.div_ceil(2));
                let refunds: Vec<Uuid> = payments.iter().map(|_| uuid(rng)).collect();
                let ids: Vec<Uuid> = payments.iter().map(|p| p.id).collect();
                let transaction = client.transaction().await?;
                let mut changes = statements.refund(&transaction, &refunds, &payments).await?;
                changes += statements.set_status(&transaction, &ids, &vec!["refunded"; ids.len()]).await?;
                transaction.commit().await?;
                remember(&mut owned.refunds_requested, refunds);
                Ok(changes)
            }
            Event::PayRefunds => {
                let refunds = take(&mut owned.refunds_requested, count);
                let statuses: Vec<&str> = refunds
                    .iter()
                    .map(|_| catalogue::one_of(rng, &["paid", "paid", "paid", "failed"]))
                    .collect();
                let changes = statements.set_refund_status(client, &refunds, &statuses).await?;
                remember(&mut owned.refunds_failed, with_status(refunds.into_iter(), &statuses, "failed"));
                Ok(changes)
            }
            Event::PurgeRefunds => {
                let refunds = take(&mut owned.refunds_failed, count);
                statements.purge_refunds(client, &refunds).await
            }
            Event::Dispute => {
                let payments = take(&mut owned.captured, count.div_ceil(8));
                let disputes: Vec<Uuid> = payments.iter().map(|_| uuid(rng)).collect();
                let evidence: Vec<String> = payments
                    .iter()
                    .map(|_| {
                        let length = rng.random_range(100..6_000);
                        catalogue::long_text(rng, length)
                    })
                    .collect();
                let changes = statements.dispute(client, &disputes, &payments, &evidence).await?;
                remember(&mut owned.disputes, disputes);
                Ok(changes)
            }
            Event::DecideDisputes => {
                let disputes = take(&mut owned.disputes, count.div_ceil(8));
                let statuses: Vec<&str> =
                    disputes.iter().map(|_| catalogue::one_of(rng, &["evidence", "won", "lost"])).collect();
                let changes = statements.set_dispute_status(client, &disputes, &statuses).await?;
                remember(&mut owned.disputes, with_status(disputes.into_iter(), &statuses, "evidence"));
                Ok(changes)
            }
            Event::SignUp => {
                let new = NewCustomers::draw(rng, count.div_ceil(4));
                let ids = statements.sign_up(client, &new).await?;
                owned.customers.extend(&ids);
                Ok(ids.len() as u64)
            }
            Event::ChangeCustomers => {
                let ids = some_of(rng, &owned.customers, count.div_ceil(2));
                let new = NewCustomers::draw(rng, ids.len());
                statements.change_customers(client, &ids, &new).await
            }
            Event::ChangeMerchants => {
                let ids = some_of(rng, &owned.shops, count.div_ceil(4));
                let fees: Vec<String> = ids.iter().map(|_| fee(rng)).collect();
                statements.change_merchants(client, &ids, &fees).await
            }
            Event::Erase => {
                let index = rng.random_range(0..owned.customers.len());
                let customer = owned.customers.swap_remove(index);
                let transaction = client.transaction().await?;
                let changes = statements.erase(&transaction, customer).await?;
                transaction.commit().await?;
                Ok(changes)
            }
        }
    }
}

fn settle(rng: &mut SmallRng, count: usize) -> Vec<&'static str> {
    let outcomes = ["captured", "captured", "captured", "captured", "captured", "declined", "voided"];
    (0..count).map(|_| catalogue::one_of(rng, &outcomes)).collect()
}

fn with_status<T>(
    items: impl Iterator<Item = T>,
    statuses: &[&str],
    wanted: &str,
) -> impl Iterator<Item = T> {
    items.zip(statuses).filter(move |(_, status)| **status == wanted).map(|(item, _)| item)
}

fn take<T>(from: &mut VecDeque<T>, count: usize) -> Vec<T> {
    from.drain(..count.min(from.len())).collect()
}

fn remember<T>(into: &mut VecDeque<T>, items: impl IntoIterator<Item = T>) {
    into.extend(items);
    let excess = into.len().saturating_sub(REMEMBERED);
    into.drain(..excess);
}

/// Up to `count` different items, from a random place on.
fn some_of(rng: &mut SmallRng, items: &[i64], count: usize) -> Vec<i64> {
    let start = rng.random_range(0..items.len());
    items.iter().cycle().skip(start).take(count.min(items.len())).copied().collect()
}
