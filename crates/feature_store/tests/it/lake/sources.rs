//! The queries of the shipped sources, over a warehouse that has rows of each.

use super::world::{Dying, END, World, payments};
use affluent_features::definition::{Definitions, REQUEST};
use affluent_features::event::{DAY, HOUR};
use affluent_model::Value;

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// Payments with cards and devices, refunds, a dispute, clicks: as the sink writes them.
async fn live(world: &World) {
    let at = |hours: i64| Value::TimestampTz(END - hours * HOUR);
    let committed = |hours: i64| END - hours * HOUR;
    for number in 0..4 {
        let id = format!("10000000-0000-4000-8000-{number:012}");
        let hours = 40 - 8 * number;
        let cells = [
            ("id", text(&id)),
            ("customer_id", Value::Int(3)),
            ("merchant_id", Value::Int(77)),
            ("amount", Value::Decimal("12.50".parse().unwrap())),
            ("currency", text("EUR")),
            ("status", text("authorised")),
            ("payment_method", text("card")),
            ("card_token", text("20000000-0000-4000-8000-000000000001")),
            ("card_bin", text("424242")),
            ("terminal_id", text("T-1")),
            ("device_id", text("30000000-0000-4000-8000-000000000001")),
            ("ip", text("203.0.113.9")),
            ("created_at", at(hours)),
            ("updated_at", at(hours)),
        ];
        world.append("transactions", "c", 20_000_000 + number, committed(hours), &cells).await;
    }
    for (table, number, reason) in [("refunds", 1, "reason"), ("disputes", 2, "reason_code")] {
        let status = if table == "refunds" { "paid" } else { "lost" };
        let cells = [
            ("id", text(&format!("40000000-0000-4000-8000-{number:012}"))),
            ("transaction_id", text("10000000-0000-4000-8000-000000000000")),
            ("amount", Value::Decimal("12.50".parse().unwrap())),
            ("currency", text("EUR")),
            ("status", text(status)),
            (reason, text("10.4")),
            ("created_at", at(5)),
            ("updated_at", at(5)),
        ];
        world.append(table, "c", 20_000_100 + number, committed(5), &cells).await;
    }
    // Made more than the lateness before a snapshot of the table read it.
    let cells = [
        ("id", text("40000000-0000-4000-8000-000000000003")),
        ("transaction_id", text("10000000-0000-4000-8000-000000000001")),
        ("amount", Value::Decimal("12.50".parse().unwrap())),
        ("currency", text("EUR")),
        ("status", text("paid")),
        ("reason", text("goods")),
        ("created_at", at(31)),
        ("updated_at", at(31)),
    ];
    world.append("refunds", "r", 20_000_103, committed(5), &cells).await;
    for (number, kind) in (0..).zip(["page_view", "conversion", "cart_abandoned"]) {
        world.click(number, END - 3 * HOUR + number, "42", kind).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_view_can_be_materialised() {
    let world = World::empty(256 << 20).await;
    world.import(&payments()).await;
    live(&world).await;
    world.run().await;
    let definitions = Definitions::load(None).unwrap();
    for (name, view) in definitions.views.iter().filter(|(_, view)| view.entity != REQUEST) {
        let plan = world.view(name);
        let missing = world.offline.missing(&plan).await.unwrap();
        // Of a source for imported files alone there is no history.
        if definitions.sources[&view.source].query.is_none() {
            assert_eq!(missing, Some(format!("source {} has no query", view.source)), "{name}");
            continue;
        }
        assert_eq!(missing, None, "{name}");
        let done = world.offline.materialise(&plan, &[END], &Dying::never(), |_, _| {}).await.unwrap();
        assert_eq!((done.read.refused, &done.read.first_refused, done.inexact), (0, &None, 0), "{name}");
        assert!(done.rows > 0 && done.instants == 1, "{name}: {done:?}");
    }
    // A payment of the file and one of the source count alike.
    let customer = "select customer_payments_7d, customer_fraud_30d from features.customers c \
                    join features.customer_labels l on l.key = c.key where c.key = '3'";
    let count = payments().iter().filter(|p| p.customer == 3 && p.time > END - 7 * DAY).count();
    let fraud = payments()
        .iter()
        .filter(|p| p.customer == 3 && p.fraud && p.time > END - 30 * DAY && p.time + 7 * DAY <= END)
        .count();
    assert_eq!(world.rows(customer).await, [format!("{}.0,{}.0", count + 4, fraud + 1)]);
    // Whoever paid has a row: a rate of refunds looks at payments, too.
    let refunds =
        "select key, customer_refunds_7d from features.customer_refunds where customer_refunds_7d > 0";
    assert_eq!(world.rows(refunds).await, ["3,2.0"], "one as it came, one of before the snapshot");
    let clicks = "select user_clicks_1d, user_conversions_7d from features.users where key = '42'";
    assert_eq!(world.rows(clicks).await, ["3.0,1.0"]);
    let cards = "select card_payments_1d from features.cards";
    assert_eq!(world.rows(cards).await.len(), 1);
}
