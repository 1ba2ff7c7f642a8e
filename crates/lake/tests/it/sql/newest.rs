//! The newest change of each row: what a window over whole rows gives, in any order, from memory or disk.

use super::{lake, one, rows, session};
use affluent_lake::sql::{Engine, EngineOptions, Pins, RecordSet, Session};
use std::path::Path;

/// Changes of so many rows: a row has some, positions are without order, and a few records come twice.
fn changes(rows: u64) -> String {
    let change = |n: u64| {
        format!(
            "select value % {rows} as id, cast((value * 7919 + {n}) % 101 as bigint) as _lsn, value % 3 as _ordinal, \
             concat('t', value % 2) as _kafka_topic, cast(value % 5 as int) as _kafka_partition, \
             value * 3 + {n} as _kafka_offset, md5(cast(value + {n} as varchar)) as payload \
             from generate_series(1, {})",
            rows * 2
        )
    };
    // The same change at another place in Kafka.
    let again = "select id, _lsn, _ordinal, _kafka_topic, _kafka_partition, _kafka_offset + 1000000000, payload \
                 from once where id % 10 = 0";
    format!(
        "with once as ({} union all {}) select * from once union all {again} union all \
         select id, null, _ordinal, _kafka_topic, _kafka_partition, _kafka_offset + 2000000000, payload from once",
        change(0),
        change(1)
    )
}

const WINDOW: &str = "select id, _kafka_topic, _kafka_partition, _kafka_offset, payload from (select *, row_number() over (\
     partition by id order by _lsn desc, _ordinal desc, _kafka_partition, _kafka_offset, _kafka_topic) as nth \
     from raw.changes where _lsn is not null) as n where nth = 1 order by id";

const RECORDS: &str = "select r['topic'], r['partition'], r['offset'] from (\
     select newest_change(_lsn, _ordinal, _kafka_topic, _kafka_partition, _kafka_offset) as r \
     from raw.changes group by id) as n";

async fn with_changes(session: &Session, rows: u64) {
    session.register_view("raw.changes", &changes(rows)).await.unwrap();
}

async fn newest(session: &Session) -> Vec<String> {
    let mut records = RecordSet::default();
    for batch in session.collect(RECORDS).await.unwrap() {
        records.insert(&batch).unwrap();
    }
    session.register_records("is_newest", records);
    let text = "select id, _kafka_topic, _kafka_partition, _kafka_offset, payload from raw.changes \
                where is_newest(_kafka_topic, _kafka_partition, _kafka_offset) and _lsn is not null order by id";
    rows(session, text).await
}

#[tokio::test(flavor = "multi_thread")]
async fn newest_changes_are_those_of_a_window() {
    let dir = tempfile::tempdir().unwrap();
    let session = session(&lake(dir.path()).await).await;
    with_changes(&session, 5_000).await;
    let expected = rows(&session, WINDOW).await;
    assert_eq!(expected.len(), 5_000);
    assert_eq!(newest(&session).await, expected);
}

/// An engine with so little memory that groups go to disk.
async fn small(directory: &Path) -> Session {
    let spill_directory = Some(directory.join("spill"));
    let options =
        EngineOptions { memory_bytes: 24 << 20, spill_directory, partitions: 2, ..EngineOptions::default() };
    Engine::new(lake(directory).await, options).unwrap().session(Pins::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_that_do_not_fit_into_memory_go_to_disk() {
    let dir = tempfile::tempdir().unwrap();
    let text = "select count(*), sum(r['offset']) from (\
         select newest_change(value, 0, 't', cast(0 as int), value) as r from \
         (select value, md5(cast(value % 400000 as varchar)) as id from generate_series(1, 800000)) \
         group by id) as n";
    // Of each id the later value.
    let expected = format!("400000,{}", (400_001..=800_000_u64).sum::<u64>());
    assert_eq!(one(&session(&lake(dir.path()).await).await, text).await, expected);
    let session = small(dir.path()).await;
    let plan = session.explain(text, true).await.unwrap();
    let spilled = plan.split("spill_count=").skip(1).any(|rest| !rest.starts_with('0'));
    assert!(spilled, "nothing was spilled: {plan}");
    assert_eq!(one(&session, text).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_groups_filtered_and_of_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let session = session(&lake(dir.path()).await).await;
    let of = |filter: &str| {
        format!(
            "select r['topic'], r['offset'] from (select newest_change(v, 0, 't', cast(0 as int), v) {filter} as r \
             from (values (3), (9), (4)) as t(v)) as n"
        )
    };
    assert_eq!(one(&session, &of("")).await, "t,9");
    assert_eq!(one(&session, &of("filter (where v < 9)")).await, "t,4");
    assert_eq!(one(&session, &of("filter (where v < 0)")).await, ",");
    let grouped = "select k, r['offset'] from (select v % 2 as k, newest_change(v, 0, 't', cast(0 as int), v) filter (where v < 9) as r \
                   from (values (3), (9), (4)) as t(v) group by v % 2) as n order by k";
    assert_eq!(rows(&session, grouped).await, ["0,4", "1,3"]);
}
