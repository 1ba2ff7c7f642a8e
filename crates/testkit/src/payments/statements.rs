//! The SQL of the load: every statement works on many rows at once.

use tokio_postgres::{Client, Error, GenericClient, Statement};
use uuid::Uuid;

use super::rows::{Merchant, NewCustomers, NewMerchants, NewPayments, Payment};

const PAY: &str = "
insert into transactions (id, customer_id, merchant_id, amount, currency, status, payment_method,
    card_number, card_token, card_bin, terminal_id, device_id, ip)
select id, customer, merchant, amount::numeric, currency, 'authorized', method, card, token, bin, terminal,
    device, ip::inet
from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[],
    $9::text[], $10::text[], $11::uuid[], $12::text[])
    as new (id, customer, merchant, amount, currency, method, card, token, bin, terminal, device, ip)";

const SET_STATUS: &str = "
update transactions set status = new.status, updated_at = now()
from unnest($1::uuid[], $2::text[]) as new (id, status) where transactions.id = new.id";

const REFUND: &str = "
insert into refunds (id, transaction_id, amount, currency, reason, status)
select id, transaction, amount::numeric, currency, 'requested_by_customer', 'requested'
from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) as new (id, transaction, amount, currency)";

const SET_REFUND_STATUS: &str = "
update refunds set status = new.status, updated_at = now()
from unnest($1::uuid[], $2::text[]) as new (id, status) where refunds.id = new.id";

const PURGE_REFUNDS: &str = "delete from refunds where id = any($1::uuid[])";

const DISPUTE: &str = "
insert into disputes (id, transaction_id, amount, currency, reason_code, status, evidence)
select id, transaction, amount::numeric, currency, '10.4', 'opened', evidence
from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[])
    as new (id, transaction, amount, currency, evidence)";

const SET_DISPUTE_STATUS: &str = "
update disputes set status = new.status, updated_at = now()
from unnest($1::uuid[], $2::text[]) as new (id, status) where disputes.id = new.id";

const SIGN_UP: &str = "
insert into customers (email, full_name, phone, country, birth_date, kyc_level, preferences)
select email, name, phone, country, date '2026-01-01' - age, kyc, preferences::jsonb
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int[], $6::smallint[], $7::text[])
    as new (email, name, phone, country, age, kyc, preferences)
returning id";

const CHANGE_CUSTOMERS: &str = "
update customers set email = new.email, phone = new.phone, preferences = new.preferences::jsonb, updated_at = now()
from unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) as new (id, email, phone, preferences)
where customers.id = new.id";

const FORGET_CUSTOMER: &str =
    "update transactions set customer_id = null, card_number = null, ip = null where customer_id = $1";
const ERASE_CUSTOMER: &str = "delete from customers where id = $1";

const OPEN_SHOPS: &str = "
insert into merchants (name, category_code, country, currency, fee_rate, tags)
select name, code, country, currency, fee::numeric, array[country, code]
from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) as new (name, code, country, currency, fee)
returning id, currency::text";

const CHANGE_MERCHANTS: &str = "
update merchants set fee_rate = new.fee::numeric, tags = array[country, category_code, 'repriced'], updated_at = now()
from unnest($1::bigint[], $2::text[]) as new (id, fee) where merchants.id = new.id";

/// The statements, prepared for one connection.
pub(super) struct Statements {
    pay: Statement,
    set_status: Statement,
    refund: Statement,
    set_refund_status: Statement,
    purge_refunds: Statement,
    dispute: Statement,
    set_dispute_status: Statement,
    sign_up: Statement,
    change_customers: Statement,
    forget_customer: Statement,
    erase_customer: Statement,
    open_shops: Statement,
    change_merchants: Statement,
}

impl Statements {
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        Ok(Statements {
            pay: client.prepare(PAY).await?,
            set_status: client.prepare(SET_STATUS).await?,
            refund: client.prepare(REFUND).await?,
            set_refund_status: client.prepare(SET_REFUND_STATUS).await?,
            purge_refunds: client.prepare(PURGE_REFUNDS).await?,
            dispute: client.prepare(DISPUTE).await?,
            set_dispute_status: client.prepare(SET_DISPUTE_STATUS).await?,
            sign_up: client.prepare(SIGN_UP).await?,
            change_customers: client.prepare(CHANGE_CUSTOMERS).await?,
            forget_customer: client.prepare(FORGET_CUSTOMER).await?,
            erase_customer: client.prepare(ERASE_CUSTOMER).await?,
            open_shops: client.prepare(OPEN_SHOPS).await?,
            change_merchants: client.prepare(CHANGE_MERCHANTS).await?,
        })
    }

    /// Inserts authorised payments.
    pub(super) async fn pay(&self, sql: &impl GenericClient, new: &NewPayments) -> Result<u64, Error> {
        sql.execute(
            &self.pay,
            &[
                &new.ids,
                &new.customers,
                &new.merchants,
                &new.amounts,
                &new.currencies,
                &new.methods,
                &new.card_numbers,
                &new.card_tokens,
                &new.card_bins,
                &new.terminals,
                &new.devices,
                &new.ips,
            ],
        )
        .await
    }

    /// Gives each payment its new status.
    pub(super) async fn set_status(
        &self,
        sql: &impl GenericClient,
        ids: &[Uuid],
        statuses: &[&str],
    ) -> Result<u64, Error> {
        sql.execute(&self.set_status, &[&ids, &statuses]).await
    }

    /// Requests a refund of each payment; `ids` are the refunds'.
    pub(super) async fn refund(
        &self,
        sql: &impl GenericClient,
        ids: &[Uuid],
        of: &[Payment],
    ) -> Result<u64, Error> {
        let (transactions, amounts, currencies) = columns(of);
        sql.execute(&self.refund, &[&ids, &transactions, &amounts, &currencies]).await
    }

    pub(super) async fn set_refund_status(
        &self,
        sql: &impl GenericClient,
        ids: &[Uuid],
        statuses: &[&str],
    ) -> Result<u64, Error> {
        sql.execute(&self.set_refund_status, &[&ids, &statuses]).await
    }

    pub(super) async fn purge_refunds(&self, sql: &impl GenericClient, ids: &[Uuid]) -> Result<u64, Error> {
        sql.execute(&self.purge_refunds, &[&ids]).await
    }

    /// Opens a dispute of each payment; `ids` are the disputes'.
    pub(super) async fn dispute(
        &self,
        sql: &impl GenericClient,
        ids: &[Uuid],
        of: &[Payment],
        evidence: &[String],
    ) -> Result<u64, Error> {
        let (transactions, amounts, currencies) = columns(of);
        sql.execute(&self.dispute, &[&ids, &transactions, &amounts, &currencies, &evidence]).await
    }

    pub(super) async fn set_dispute_status(
        &self,
        sql: &impl GenericClient,
        ids: &[Uuid],
        statuses: &[&str],
    ) -> Result<u64, Error> {
        sql.execute(&self.set_dispute_status, &[&ids, &statuses]).await
    }

    /// Inserts customers; answers with their ids.
    pub(super) async fn sign_up(
        &self,
        sql: &impl GenericClient,
        new: &NewCustomers,
    ) -> Result<Vec<i64>, Error> {
        let rows = sql
            .query(
                &self.sign_up,
                &[
                    &new.emails,
                    &new.names,
                    &new.phones,
                    &new.countries,
                    &new.ages_days,
                    &new.kyc_levels,
                    &new.preferences,
                ],
            )
            .await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    pub(super) async fn change_customers(
        &self,
        sql: &impl GenericClient,
        ids: &[i64],
        new: &NewCustomers,
    ) -> Result<u64, Error> {
        sql.execute(&self.change_customers, &[&ids, &new.emails, &new.phones, &new.preferences]).await
    }

    /// Removes a customer and what payments tell of the person; the number of rows changed.
    pub(super) async fn erase(&self, sql: &impl GenericClient, customer: i64) -> Result<u64, Error> {
        let forgotten = sql.execute(&self.forget_customer, &[&customer]).await?;
        Ok(forgotten + sql.execute(&self.erase_customer, &[&customer]).await?)
    }

    /// Inserts merchants; answers with their ids and currencies.
    pub(super) async fn open_shops(
        &self,
        sql: &impl GenericClient,
        new: &NewMerchants,
    ) -> Result<Vec<Merchant>, Error> {
        let rows = sql
            .query(&self.open_shops, &[&new.names, &new.codes, &new.countries, &new.currencies, &new.fees])
            .await?;
        Ok(rows.iter().map(|row| Merchant { id: row.get(0), currency: row.get(1) }).collect())
    }

    pub(super) async fn change_merchants(
        &self,
        sql: &impl GenericClient,
        ids: &[i64],
        fees: &[String],
    ) -> Result<u64, Error> {
        sql.execute(&self.change_merchants, &[&ids, &fees]).await
    }
}

fn columns(payments: &[Payment]) -> (Vec<Uuid>, Vec<&str>, Vec<&str>) {
    let ids = payments.iter().map(|p| p.id).collect();
    let amounts = payments.iter().map(|p| p.amount.as_str()).collect();
    (ids, amounts, payments.iter().map(|p| p.currency.as_str()).collect())
}
