//! The rows that exist before the load begins, and the backlogs that benches drain.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio_postgres::{Client, Error};

use super::PaymentsOptions;
use super::rows::{NewCustomers, NewMerchants, NewPayments};
use super::statements::Statements;

const CHUNK: usize = 1_000;

/// Customers and merchants were there before the first payment.
const AGE_CUSTOMERS: &str = "update customers set created_at = now() - ($1::float8 + 1) * interval '1 day'";
const AGE_MERCHANTS: &str = "update merchants set created_at = now() - ($1::float8 + 1) * interval '1 day'";

/// Each payment at a time of its own, and settled since. What is drawn follows from the id, and so from the seed.
const AGE_PAYMENTS: &str = "
update transactions set updated_at = now(),
    created_at = now() - $1::float8 * interval '1 day'
        * (('x' || substr(md5(id::text), 1, 8))::bit(32)::bigint / 4294967296.0)::float8,
    status = case when ('x' || substr(md5(id::text), 9, 4))::bit(16)::int < 4600 then 'declined' else 'captured' end";

/// One in thirty of them was disputed as fraud two days later.
const DISPUTE_PAYMENTS: &str = "
insert into disputes (id, transaction_id, amount, currency, reason_code, status, created_at, updated_at)
select md5('dispute ' || id::text)::uuid, id, amount, currency, '10.4', 'opened',
    least(created_at + interval '2 days', now()), now()
from transactions
where status = 'captured' and ('x' || substr(md5(id::text), 13, 4))::bit(16)::int < 2200";

/// Inserts merchants, customers and payments, unless the database has merchants already.
pub(super) async fn insert(client: &Client, options: &PaymentsOptions) -> Result<(), Error> {
    let filled: bool = client.query_one("select exists (select from merchants)", &[]).await?.get(0);
    if filled {
        return Ok(());
    }
    let statements = Statements::prepare(client).await?;
    let mut rng = SmallRng::seed_from_u64(options.seed);
    let mut merchants = Vec::new();
    for count in chunks(options.merchants.max(1)) {
        merchants.extend(statements.open_shops(client, &NewMerchants::draw(&mut rng, count)).await?);
    }
    let mut customers = Vec::new();
    // Every connection needs a customer of its own.
    for count in chunks(options.customers.max(options.connections).max(1)) {
        customers.extend(statements.sign_up(client, &NewCustomers::draw(&mut rng, count)).await?);
    }
    for count in chunks(options.history) {
        let new = NewPayments::draw(&mut rng, count, &customers, &merchants);
        statements.pay(client, &new).await?;
    }
    if options.history_days > 0 {
        let days = f64::from(options.history_days);
        for statement in [AGE_CUSTOMERS, AGE_MERCHANTS, AGE_PAYMENTS] {
            client.execute(statement, &[&days]).await?;
        }
        client.execute(DISPUTE_PAYMENTS, &[]).await?;
    }
    Ok(())
}

fn chunks(total: u32) -> impl Iterator<Item = usize> {
    let total = total as usize;
    (0..total).step_by(CHUNK).map(move |done| CHUNK.min(total - done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_the_total() {
        for total in [0, 1, 999, 1_000, 1_001, 2_500] {
            assert_eq!(chunks(total).sum::<usize>(), total as usize);
            assert!(chunks(total).all(|c| c <= CHUNK && c > 0));
        }
    }
}
