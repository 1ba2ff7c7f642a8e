//! What the tables say of the history of `story`, the tests of their headers, and the shipped questions.

use super::files::{folder, models};
use super::story::{self, CLICKS_ALL, id};
use super::{Bench, Tables, answer, collected, lines};
use arrow_array::{Array, StringArray};
use std::collections::BTreeMap;

/// Every table of the whole history.
async fn tables(bench: &Bench) -> Tables {
    let models = models();
    let raw = story::raw(bench, &models, &story::records(), &BTreeMap::new()).await;
    let (mut tables, refused) = story::staged(bench, &models, &raw).await;
    let refused: Vec<(&str, usize)> =
        refused.iter().filter(|(_, rows)| **rows > 0).map(|(rule, rows)| (rule.as_str(), *rows)).collect();
    assert_eq!(refused, [("amount_minor_unit", 1), ("amount_not_positive", 1), ("currency_unknown", 1)]);
    tables.extend(story::clicks(bench, 0, CLICKS_ALL).await);
    for model in models.iter().filter(|model| !model.table.starts_with("staged.")) {
        let rows = bench.evaluate(model, &tables).await;
        tables.insert(model.table.clone(), rows);
    }
    tables
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_is_told_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(dir.path()).await;
    let tables = tables(&bench).await;
    let [first, second, late] = [id(1), id(2), id(4)];
    let check = async |text: &str, expected: &[String]| {
        assert_eq!(answer(&bench, &tables, text).await, expected, "{text}");
    };
    // Statuses, currencies and countries are canonical; the third payment was deleted.
    check(
        "select transaction_id, currency, status, amount from curated.payments",
        &[
            format!("{first},EUR,authorized,100.0000"),
            format!("{second},EUR,authorized,100.0000"),
            format!("{late},KWD,authorized,0.1250"),
        ],
    )
    .await;
    // What an update did not send stays.
    check(
        "select kyc_level, country, preferences from curated.customers",
        &["2,DE,\"{\"\"at\"\":102}\"".to_owned()],
    )
    .await;
    // Versions: in force from the first commit of a value, the first ever since; the erased one has none.
    check(
        "select customer_id, kyc_level, valid_from, valid_to, is_current from dwh.dim_customer",
        &[
            "0,,1970-01-01T00:00:00Z,,true".to_owned(),
            "1,0,1970-01-01T00:00:00Z,2026-11-01T20:00:00Z,false".to_owned(),
            "1,2,2026-11-01T20:00:00Z,,true".to_owned(),
        ],
    )
    .await;
    // Customer and merchant as of the payment; what was refunded and disputed.
    check(
        "select f.transaction_id, c.kyc_level, f.merchant_category, f.refund_state, f.refunded_amount, f.dispute_state \
         from dwh.fact_transactions f join dwh.dim_customer c on c.customer_key = f.customer_key",
        &[
            format!("{first},0,Food,none,0.0000,none"),
            format!("{second},,Food,none,0.0000,lost"),
            format!("{late},,Food,full,40.0000,none"),
        ],
    )
    .await;
    check(
        "select transaction_id, device_id, device_customers, geo_country, geo_source, card_network from curated.transactions",
        &[
            format!("{first},b,1,JP,ip,visa"),
            format!("{second},a,1,JP,ip,visa"),
            format!("{late},a,1,JP,ip,visa"),
        ],
    )
    .await;
    check(
        "select transaction_id, is_fraud, label_source from dwh.fact_fraud where is_fraud",
        &[format!("{second},true,fraud_reason")],
    )
    .await;
    check(
        "select visitor, clicks, funnel_step, outcome, utm_source from dwh.fact_clickstream",
        &[
            "a:a,1,1,browsed,mail".to_owned(),
            "a:a,3,3,converted,mail".to_owned(),
            "a:b,1,0,abandoned,mail".to_owned(),
            "a:b,1,1,browsed,mail".to_owned(),
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn amounts_are_converted_exactly_and_rounded_half_to_even() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::new(dir.path()).await;
    let models = models();
    let mut tables = tables(&bench).await;
    let rates = "select currency, rate from curated.exchange_rates where day = date '2026-11-20'";
    assert_eq!(
        answer(&bench, &tables, rates).await,
        ["EUR,1.000000000000", "JPY,0.005000000000", "KWD,2.000000000000"]
    );
    // A yen is half a cent: halves go to the even side.
    for (amount, currency, expected) in [
        ("1", "JPY", "0.0000"),
        ("3", "JPY", "0.0200"),
        ("5", "JPY", "0.0200"),
        ("7", "JPY", "0.0400"),
        ("0.125", "KWD", "0.2500"),
    ] {
        let payments = "select * from curated.payments limit 1";
        let payments = format!(
            "select p.* replace (cast({amount} as decimal(18, 4)) as amount, '{currency}' as currency) from ({payments}) p"
        );
        let session = bench.session(&tables).await;
        let payments = collected(&session, &payments, "payments").await;
        tables.insert("curated.payments".to_owned(), payments);
        let model = models.iter().find(|model| model.table == "curated.transactions").unwrap();
        let rows = bench.evaluate(model, &tables).await;
        let one = Tables::from([("curated.transactions".to_owned(), rows)]);
        let text = "select amount_reporting from curated.transactions";
        assert_eq!(answer(&bench, &one, text).await, [expected], "{amount} {currency}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tests_of_the_headers_hold_and_the_questions_have_answers() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(dir.path()).await;
    bench.seeds = super::seeds();
    let tables = tables(&bench).await;
    for model in models() {
        let session = bench.session(&tables).await;
        let (schema, rows) = tables[&model.table].clone();
        session.register_batches("this", schema, rows).unwrap();
        let key = model.texts("key").join(", ");
        let mut queries = vec![(
            "unique key".to_owned(),
            format!("select {key} from this group by {key} having count(*) > 1"),
        )];
        let not_null = model.texts("not_null").into_iter().chain(model.texts("key"));
        queries.extend(not_null.map(|column| {
            (format!("not null {column}"), format!("select * from this where {column} is null"))
        }));
        for (column, target) in model.pairs("references") {
            let (table, there) = target.rsplit_once('.').unwrap();
            let text = format!(
                "select * from this l left anti join {table} r on l.{column} = r.{there} where l.{column} is not null"
            );
            queries.push((format!("references {column}"), text));
        }
        let errors: Vec<_> = model
            .list("tests", "severity", "sql")
            .into_iter()
            .filter(|(severity, _)| severity == "error")
            .collect();
        queries.extend(errors);
        let amounts = model.list("balances", "with", "amount").into_iter();
        for ((with, by), (_, amount)) in model.list("balances", "with", "by").into_iter().zip(amounts) {
            let sums = |table: &str| {
                format!("select {by} as c, count(*) as n, sum({amount}) as s from {table} group by {by}")
            };
            let text = format!(
                "select coalesce(l.c, r.c) as c from ({}) l full join ({}) r on l.c = r.c \
                 where (l.n is distinct from r.n) or (l.s is distinct from r.s)",
                sums("this"),
                sums(with.as_str())
            );
            queries.push((format!("balance with {with}"), text));
        }
        // Those that warn must run too.
        for (_, text) in model.list("tests", "severity", "sql") {
            collected(&session, &text, &model.table).await;
        }
        for (name, text) in queries {
            let found = lines(&collected(&session, &text, &format!("{}: {name}", model.table)).await);
            assert_eq!(found, [""; 0], "{}: {name}", model.table);
        }
    }
    for entry in std::fs::read_dir(folder("questions")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!answer(&bench, &tables, &text).await.is_empty(), "{text}");
    }
}

#[test]
fn rules_know_the_codes_of_the_seeds() {
    let seeds = super::seeds();
    let texts = |name: &str, wanted: &dyn Fn(&[Option<String>]) -> bool| {
        let (_, batches) = &seeds[name];
        let columns: Vec<&StringArray> = batches[0]
            .columns()
            .iter()
            .map(|column| column.as_any().downcast_ref::<StringArray>().unwrap())
            .collect();
        let row = |row: usize| -> Vec<Option<String>> {
            columns.iter().map(|column| column.iter().nth(row).flatten().map(str::to_owned)).collect()
        };
        (0..batches[0].num_rows()).map(row).filter(|row| wanted(row)).collect::<Vec<_>>()
    };
    for model in models().iter().filter(|model| model.table.starts_with("staged.")) {
        let entity = model.table.trim_start_matches("staged.");
        for (name, when) in model.list("rules", "name", "when") {
            let codes: Vec<String> = match name.as_str() {
                "currency_unknown" => texts("seed.currencies", &|row| row[2].is_some())
                    .into_iter()
                    .filter_map(|row| row[0].clone())
                    .collect(),
                "country_unknown" => {
                    texts("seed.countries", &|_| true).into_iter().filter_map(|row| row[0].clone()).collect()
                }
                "status_unknown" => texts("seed.statuses", &|row| row[0].as_deref() == Some(entity))
                    .into_iter()
                    .filter_map(|row| row[1].clone())
                    .collect(),
                _ => continue,
            };
            let list = when.rsplit_once("not in (").unwrap().1;
            let known: Vec<&str> = list.split('\'').skip(1).step_by(2).collect();
            assert_eq!(known, codes, "{}: {name}", model.table);
        }
    }
    // Minor units are those that amounts are checked by everywhere else.
    for row in texts("seed.currencies", &|row| row[2].is_some() && row[5].is_none()) {
        let code: affluent_model::Currency = row[0].as_ref().unwrap().parse().unwrap();
        let units = row[2].as_ref().unwrap();
        assert_eq!(code.exponent().to_string(), *units, "{code}");
    }
}
