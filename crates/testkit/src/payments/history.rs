//! The rows that exist before the load begins, and the backlogs that benches drain.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio_postgres::{Client, Error};

use super::PaymentsOptions;
use super::rows::{NewCustomers, NewMerchants, NewPayments};
use super::statements::Statements;

const CHUNK: usize = 1_000;

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
