//! What is staged, when, and how often.

use crate::raw::{Click, HOUR, NOON, append, lake, raw, service, staged, staged_ids};
use affluent_model::Value;
use affluent_warehouse::staged::StageOptions;
use std::collections::BTreeSet;
use tokio_util::sync::CancellationToken;

fn clicks(ids: std::ops::Range<i64>) -> Vec<Click> {
    ids.map(|n| Click::new(format!("{:08x}", n.cast_unsigned().wrapping_mul(2_654_435_761) as u32), NOON + n))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_click_is_staged_parsed_with_its_place_in_kafka() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(dir.path()).await;
    let stop = CancellationToken::new();
    let mut service = service(&lake, StageOptions::default());
    service.round(&stop).await.unwrap();
    append(&lake, 2, &[Click::new("a", NOON)]).await;
    service.round(&stop).await.unwrap();
    let rows = staged(&lake).await;
    assert_eq!(rows.len(), 1);
    for (name, expected) in [
        ("event_id", "a"),
        ("url_host", "shop.example"),
        ("url_path", "/p/1"),
        ("utm_source", "mail"),
        ("device_type", "desktop"),
        ("browser", "Chrome"),
        ("os", "Windows"),
        ("properties", r#"{"price":"9.90"}"#),
        ("_kafka_partition", "2"),
        ("_kafka_offset", "0"),
    ] {
        assert_eq!(rows[0][name].to_text(), expected, "{name}");
    }
    for name in ["user_id", "country", "city", "utm_term", "referrer_host"] {
        assert_eq!(rows[0][name], Value::Null, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_staged_once_a_day_across_batches_partitions_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(dir.path()).await;
    let stop = CancellationToken::new();
    let at = |id: &str, hours: i64| Click::new(id, NOON + hours * HOUR);
    append(&lake, 0, &[at("a", 0), at("b", 0), at("a", 1)]).await;
    append(&lake, 1, &[at("b", 2)]).await;
    let mut first = service(&lake, StageOptions::default());
    first.round(&stop).await.unwrap();
    assert_eq!(staged_ids(&lake).await, [("a".to_owned(), 0), ("b".to_owned(), 0)]);

    append(&lake, 1, &[at("a", 3), at("c", 3)]).await;
    first.round(&stop).await.unwrap();
    // Another process goes on, with nothing but the lake.
    let mut second = service(&lake, StageOptions::default());
    append(&lake, 0, &[at("a", 23), at("b", 24), at("c", 26), at("d", 26)]).await;
    second.round(&stop).await.unwrap();
    second.round(&stop).await.unwrap();
    let expected = [("a", 0), ("b", 0), ("b", 24), ("c", 3), ("d", 26)];
    assert_eq!(staged_ids(&lake).await, expected.map(|(id, hours)| (id.to_owned(), hours * HOUR)));
    // The first knows nothing of it, and changes nothing.
    first.round(&stop).await.unwrap();
    assert_eq!(staged_ids(&lake).await.len(), expected.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_staged_in_parts_beside_merges_of_both_tables() {
    let dir = tempfile::tempdir().unwrap();
    let lake = lake(dir.path()).await;
    let stop = CancellationToken::new();
    // Partition 1 has little: its offsets stay far below the other's.
    for part in 0..6 {
        append(&lake, 0, &clicks(part * 1_000..(part + 1) * 1_000)).await;
    }
    append(&lake, 1, &clicks(6_000..6_003)).await;
    let options = StageOptions { rows_max: 700, ..StageOptions::default() };
    let mut service = service(&lake, options);
    service.round(&stop).await.unwrap();
    let expected = |end: i64| {
        let ids: BTreeSet<String> = clicks(0..end).into_iter().map(|click| click.id).collect();
        ids
    };
    let found = async || {
        let ids = staged_ids(&lake).await;
        let distinct: BTreeSet<String> = ids.iter().map(|(id, _)| id.clone()).collect();
        assert_eq!(ids.len(), distinct.len(), "some are staged twice");
        distinct
    };
    assert_eq!(found().await, expected(6_003));
    let staged = lake.table("staged", "clickstream_events").await.unwrap();
    assert!(staged.snapshots().await.unwrap().len() >= 6_003 / 700);

    // Old rows come back in merged files; a partition that stood still gets a record.
    raw(&lake).await.compact(stop.clone()).await.unwrap();
    staged.compact(stop.clone()).await.unwrap();
    append(&lake, 1, &clicks(6_003..6_004)).await;
    append(&lake, 0, &clicks(0..500)).await;
    service.round(&stop).await.unwrap();
    assert_eq!(found().await, expected(6_004));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_stage_each_event_once() {
    let dir = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    let lakes = [lake(dir.path()).await, lake(dir.path()).await];
    let options = StageOptions { rows_max: 150, ..StageOptions::default() };
    let mut services = [service(&lakes[0], options.clone()), service(&lakes[1], options)];
    for part in 0..8 {
        // The same events in both partitions.
        let events = clicks(part * 100..(part + 1) * 100);
        append(&lakes[0], 0, &events).await;
        append(&lakes[0], 1, &events).await;
        let [one, two] = &mut services;
        let (first, second) = tokio::join!(one.round(&stop), two.round(&stop));
        first.unwrap();
        second.unwrap();
    }
    let ids = staged_ids(&lakes[0]).await;
    let distinct: BTreeSet<&String> = ids.iter().map(|(id, _)| id).collect();
    assert_eq!((ids.len(), distinct.len()), (800, 800));
}
