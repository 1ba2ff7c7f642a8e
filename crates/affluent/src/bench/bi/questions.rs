//! What is asked: the queries of the dashboards in `deploy/bi` that are of payments, and whether one version was seen.

use affluent_testkit::Database;
use anyhow::{Context as _, bail};
use std::time::Instant;
use tokio_postgres::{Client, SimpleQueryMessage};

/// Name and text.
pub(super) const QUESTIONS: &[(&str, &str)] = &[
    ("payments/revenue_by_month", include_str!("../../../../../deploy/bi/payments/revenue_by_month.sql")),
    ("payments/by_day", include_str!("../../../../../deploy/bi/payments/by_day.sql")),
    ("payments/by_status", include_str!("../../../../../deploy/bi/payments/by_status.sql")),
    ("payments/net_by_currency", include_str!("../../../../../deploy/bi/payments/net_by_currency.sql")),
    ("payments/top_merchants", include_str!("../../../../../deploy/bi/payments/top_merchants.sql")),
    ("payments/by_category", include_str!("../../../../../deploy/bi/payments/by_category.sql")),
    ("payments/by_country", include_str!("../../../../../deploy/bi/payments/by_country.sql")),
    ("payments/refunds_by_month", include_str!("../../../../../deploy/bi/payments/refunds_by_month.sql")),
    ("fraud/by_category", include_str!("../../../../../deploy/bi/fraud/by_category.sql")),
    ("fraud/decisions", include_str!("../../../../../deploy/bi/fraud/decisions.sql")),
    ("fraud/disputes_by_reason", include_str!("../../../../../deploy/bi/fraud/disputes_by_reason.sql")),
    ("fraud/disputed_by_kyc", include_str!("../../../../../deploy/bi/fraud/disputed_by_kyc.sql")),
];

/// `t` where payments and refunds are of one version: what was refunded is the same in both.
pub(super) const IS_WHOLE: &str = "select t.amount = r.amount as is_whole \
    from (select coalesce(sum(refunded_amount), 0) as amount from dwh.fact_transactions) t \
    cross join (select coalesce(sum(amount), 0) as amount from dwh.fact_refunds \
        where status = 'paid' and is_payment_known) r";

/// The seconds that answers took, and the answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answered {
    pub(super) seconds: Vec<f64>,
    pub(super) rows: Vec<String>,
}

impl Answered {
    /// By the nearest rank.
    pub(super) fn p95(&self) -> f64 {
        p95(self.seconds.clone())
    }
}

/// The 95th percentile by the nearest rank; 0 of none.
pub(super) fn p95(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    let rank = (seconds.len() * 95).div_ceil(100);
    seconds.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// Asks every question `repeats` times, and once before, in this order on one connection.
///
/// # Errors
/// A question that fails.
pub(super) async fn ask_all(database: &Database, repeats: usize) -> anyhow::Result<Vec<Answered>> {
    let client = database.connect().await.with_context(|| format!("connect to {}", database.url))?;
    let mut answered = Vec::with_capacity(QUESTIONS.len());
    for (name, text) in QUESTIONS {
        let rows = rows(&client, text).await.with_context(|| format!("ask {name} first"))?;
        let mut seconds = Vec::with_capacity(repeats);
        for _ in 0..repeats {
            let begun = Instant::now();
            let again = self::rows(&client, text).await.with_context(|| format!("ask {name}"))?;
            seconds.push(begun.elapsed().as_secs_f64());
            if again != rows {
                bail!("{name} is answered otherwise the second time");
            }
        }
        answered.push(Answered { seconds, rows });
    }
    Ok(answered)
}

/// The rows of a query as text, columns between tabs; null is `\N`.
///
/// # Errors
/// What the server answers.
pub(super) async fn rows(client: &Client, text: &str) -> Result<Vec<String>, tokio_postgres::Error> {
    let row = |message: SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            let cells = (0..row.len()).map(|place| row.get(place).unwrap_or("\\N"));
            Some(cells.collect::<Vec<_>>().join("\t"))
        }
        // Descriptions and ends.
        _ => None,
    };
    Ok(client.simple_query(text).await?.into_iter().filter_map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_95th_percentile_is_a_value_that_was_measured() {
        assert_eq!(p95((1..=20).map(f64::from).collect()), 19.0);
        assert_eq!(p95(vec![3.0, 1.0]), 3.0);
        assert_eq!(p95(Vec::new()), 0.0);
        assert_eq!(QUESTIONS.len(), 12);
    }
}
