//! psql: what its backslash commands show.

use super::{printed, served};
use crate::endpoint::Endpoint;
use std::process::Command;

async fn psql(endpoint: &Endpoint, text: &str) -> String {
    let mut command = Command::new("psql");
    command.env("PGCONNECT_TIMEOUT", "60").env("PGSSLMODE", "prefer");
    command.args(["--no-psqlrc", "--no-align", "--tuples-only", "--quiet", "--set", "ON_ERROR_STOP=1"]);
    command.args(["--dbname", &endpoint.parameters("user=affluent"), "--command", text]);
    printed(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn backslash_commands_show_what_there_is() {
    let (_warehouse, endpoint) = served().await;
    for (text, expected) in [
        (
            r"\d dwh.fact_payments",
            &["amount|numeric(18,4)|", "created_at|timestamp with time zone|", "payment|bigint|"][..],
        ),
        (r"\dt dwh.*", &["dwh|currencies|table|affluent", "dwh|fact_payments|table|affluent"]),
        (r"\dt+ dwh.*", &["dwh|fact_payments|table|affluent|permanent|heap|"]),
        (r"\d+ dwh.currencies", &["digits|integer|"]),
        (r"\d", &["dwh|fact_payments|table|affluent"]),
        (r"\dn", &["dwh|affluent", "curated|affluent"]),
        (r"\l", &["affluent|affluent|UTF8|"]),
        (r"\du", &["affluent|"]),
        (r"\dg+", &["affluent|"]),
        (r"\df", &[]),
        (r"\dv", &[]),
        (r"\di", &[]),
        (r"\dT", &[]),
        (r"\dp dwh.*", &["dwh|fact_payments|table|"]),
        ("select version()", &["PostgreSQL 15.0 (Affluent)\n"]),
        ("discard all", &[]),
        (
            "select memo, sum(amount) from fact_payments group by memo order by memo",
            &["a|12.3400\n|2.5000\n"],
        ),
        ("select to_char(created_at, 'YYYY') like '20__' from dwh.fact_payments limit 1", &["t\n"]),
    ] {
        let shown = psql(&endpoint, text).await;
        for part in expected {
            assert!(shown.contains(part), "{text}: {part:?} is not in\n{shown}");
        }
    }
    endpoint.end().await.unwrap();
}
