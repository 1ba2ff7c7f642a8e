//! What has to change in a table of the lake for a person to be gone from it: pure.
//!
//! Tables that models compute are left out: they are computed anew from what is changed here. Of payments the facts of money stay, amount,
//! currency, times and merchant, with a surrogate in place of the customer.

use super::person::{ID_NAMES, Person};
use affluent_lake::{Edit, RowChange, Sought};
use std::collections::BTreeSet;

/// Old rows as JSON, beside changes that bring them.
const BEFORE: &str = "_before";
/// What of a payment leads to a person, beside the customer.
const OF_PAYMENTS: [&str; 7] =
    ["card_number", "card_token", "card_bin", "terminal_id", "device_id", "ip", BEFORE];

/// A table of the lake, as far as planning looks at it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    pub(super) zone: &'a str,
    pub(super) name: &'a str,
    pub(super) columns: &'a BTreeSet<String>,
    /// Its rows are features of customers, by `key`.
    pub(super) is_of_customers: bool,
}

/// Tables whose customers are numbered by somebody else: the imported history of cards.
const OTHERS: [&str; 1] = ["card_transactions"];

/// Whether ids of customers mean ours in a table of this name.
pub(super) fn knows_customers(table: &str) -> bool {
    !OTHERS.contains(&table)
}

/// The column that is the customer's own key in this table, beside those of [`ID_NAMES`].
pub(super) fn own_key(table: Table<'_>) -> Option<&'static str> {
    match (table.zone, table.name) {
        (_, "customers") if table.columns.contains("id") => Some("id"),
        _ if table.is_of_customers => Some("key"),
        _ => None,
    }
}

/// The changes, in their order. `payments`: ids of the person's payments.
pub(super) fn edits(table: Table<'_>, person: &Person, payments: &BTreeSet<String>) -> Vec<Edit> {
    let has = |column: &str| table.columns.contains(column);
    let remove = |sought: Sought| Edit { sought, change: RowChange::Remove };
    let blank = |columns: &[&str]| -> Vec<(String, Option<i64>)> {
        columns.iter().filter(|column| has(column)).map(|column| ((*column).to_owned(), None)).collect()
    };
    let mut edits = Vec::new();
    if !knows_customers(table.name) {
        return edits;
    }
    if let Some(key) = own_key(table) {
        edits.push(remove(person.in_column(key)));
        edits.extend(has(BEFORE).then(|| remove(person.in_member(BEFORE, key))));
        return edits;
    }
    // Money: the row stays.
    if table.zone == "raw" && has("customer_id") {
        if has(BEFORE) {
            let change = RowChange::Set(blank(&[BEFORE]));
            edits.push(Edit { sought: person.in_member(BEFORE, "customer_id"), change });
        }
        let mut set = blank(&OF_PAYMENTS);
        set.push(("customer_id".to_owned(), Some(person.surrogate)));
        edits.push(Edit { sought: person.in_column("customer_id"), change: RowChange::Set(set) });
        return edits;
    }
    if table.zone == "raw" && has("evidence") && has("transaction_id") && !payments.is_empty() {
        let sought = Sought { column: "transaction_id".to_owned(), member: None, values: payments.clone() };
        edits.push(Edit { sought, change: RowChange::Set(blank(&["evidence", BEFORE])) });
        return edits;
    }
    // Clicks and log lines are no facts of money: they go.
    if ["raw", "staged"].contains(&table.zone) {
        edits.extend(has("user_id").then(|| remove(person.in_column("user_id"))));
        for column in ["attributes", "properties"].into_iter().filter(|column| has(column)) {
            edits.extend(ID_NAMES.iter().map(|member| remove(person.in_member(column, member))));
        }
    }
    edits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(
        zone: &str,
        name: &str,
        columns: &[&str],
        payments: &[&str],
    ) -> Vec<(String, Option<String>, usize)> {
        let person = Person::new("42", "a secret of this installation").unwrap();
        let columns = columns.iter().map(|&column| column.to_owned()).collect();
        let table = Table { zone, name, columns: &columns, is_of_customers: zone == "features" };
        let payments = payments.iter().map(|&id| id.to_owned()).collect();
        let shown = |edit: Edit| {
            let set = match edit.change {
                RowChange::Remove => 0,
                RowChange::Set(columns) => columns.len(),
            };
            (edit.sought.column, edit.sought.member, set)
        };
        edits(table, &person, &payments).into_iter().map(shown).collect()
    }

    #[test]
    fn persons_go_and_payments_stay_without_them() {
        let text = |text: &str| text.to_owned();
        assert_eq!(
            of("raw", "customers", &["id", "email", "_before"], &[]),
            [(text("id"), None, 0), (text("_before"), Some(text("id")), 0)]
        );
        assert_eq!(of("features", "customers", &["key", "as_of"], &[]), [(text("key"), None, 0)]);
        assert_eq!(
            of("raw", "transactions", &["id", "customer_id", "amount", "ip", "_before"], &[]),
            [(text("_before"), Some(text("customer_id")), 1), (text("customer_id"), None, 3)]
        );
        let disputes = ["id", "transaction_id", "evidence"];
        assert_eq!(of("raw", "disputes", &disputes, &["p"]), [(text("transaction_id"), None, 1)]);
        assert!(
            of("raw", "disputes", &disputes, &[]).is_empty()
                && of("raw", "merchants", &["id"], &[]).is_empty()
        );
        assert_eq!(
            of("staged", "clickstream_events", &["user_id", "properties"], &[]).len(),
            1 + ID_NAMES.len()
        );
        assert_eq!(of("raw", "logs", &["message", "attributes"], &[]).len(), ID_NAMES.len());
        assert!(of("raw", "card_transactions", &["customer_id"], &[]).is_empty(), "another customer 42");
        assert!(of("ops", "runs", &["user_id"], &[]).is_empty());
    }
}
