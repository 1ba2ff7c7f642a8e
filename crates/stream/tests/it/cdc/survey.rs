//! A real database, looked at by who may nothing, and by its owner.

use affluent_stream::cdc::CdcOptions;
use affluent_stream::cdc::survey::{ReplicaIdentity, Severity, Table, survey};
use affluent_testkit::{Postgres, unique};

#[tokio::test]
async fn a_database_is_told_as_it_is() {
    let database = Postgres::shared().fresh_database().await.unwrap();
    let client = database.connect().await.unwrap();
    let role = unique("reader");
    client
        .batch_execute(&format!(
            "CREATE TABLE orders (id int, line int, note text, PRIMARY KEY (id, line)); \
             INSERT INTO orders SELECT n, 1, 'x' FROM generate_series(1, 1000) n; \
             CREATE TABLE log (text text); \
             CREATE TABLE \"Parts\" (id int PRIMARY KEY, at date) PARTITION BY RANGE (id); \
             CREATE TABLE parts_1 PARTITION OF \"Parts\" FOR VALUES FROM (0) TO (1000); \
             INSERT INTO \"Parts\" SELECT n, '2026-11-22' FROM generate_series(1, 500) n; \
             CREATE TABLE whole (id int); ALTER TABLE whole REPLICA IDENTITY FULL; \
             CREATE UNLOGGED TABLE scratch (id int PRIMARY KEY); \
             CREATE SCHEMA other; CREATE TABLE other.t (id int PRIMARY KEY); \
             ANALYZE; CREATE ROLE {role} LOGIN"
        ))
        .await
        .unwrap();

    let options = CdcOptions { connection: database.url.clone(), ..CdcOptions::default() };
    let seen = survey(&options).await.unwrap();
    let names: Vec<String> = seen.tables.iter().map(|table| table.table.to_string()).collect();
    assert_eq!(names, ["other.t", "public.Parts", "public.log", "public.orders", "public.whole"]);
    let find =
        |name: &str| -> &Table { seen.tables.iter().find(|table| table.table.to_string() == name).unwrap() };
    let orders = find("public.orders");
    assert_eq!((orders.key.as_slice(), orders.rows), (&["id".to_owned(), "line".to_owned()][..], 1000));
    assert!(orders.bytes > 8_192 && orders.readable && orders.owned && orders.is_identified());
    let texts: Vec<(&str, bool)> = orders.columns.iter().map(|c| (c.name.as_str(), c.text)).collect();
    assert_eq!(texts, [("id", false), ("line", false), ("note", true)]);
    let parts = find("public.Parts");
    assert_eq!((parts.partitioned, parts.rows), (true, 500));
    assert!(parts.bytes > 8_192, "{}", parts.bytes);
    assert!(!find("public.log").is_identified());
    assert_eq!(find("public.whole").identity, ReplicaIdentity::Full);
    assert!(seen.user.superuser && seen.user.refused.is_none());
    assert_eq!((seen.server.wal_level.as_str(), seen.server.database.as_str()), ("logical", &*database.name));
    let findings = seen.findings(&options);
    assert!(findings.iter().all(|finding| finding.severity == Severity::Advice), "{findings:?}");

    // Nothing was made.
    let made = "SELECT count(*) FROM pg_publication";
    assert_eq!(client.query_one(made, &[]).await.unwrap().get::<_, i64>(0), 0);

    // Somebody who may only log in: each remedy, run by the owner, takes its finding away.
    let url = database.url.replace("postgres://postgres@", &format!("postgres://{role}@"));
    let plain = CdcOptions { connection: url, ..CdcOptions::default() };
    let lacking = async || -> Vec<String> {
        let findings = survey(&plain).await.unwrap().findings(&plain);
        let missing = findings.into_iter().filter(|finding| finding.severity == Severity::Missing);
        missing.map(|finding| finding.remedy).collect()
    };
    let remedies = lacking().await;
    assert_eq!(remedies.len(), 3, "{remedies:?}");
    for remedy in &remedies {
        let sql = remedy.split(" --").next().unwrap_or_default();
        client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    assert!(lacking().await.is_empty(), "{:?}", lacking().await);
    client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}
