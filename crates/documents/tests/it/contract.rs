//! What every document store promises, as cases that run against each implementation.

use crate::history::{Event, Visible, arrival};
use affluent_documents::{
    Action, ApplyOutcome, CollectionSpec, Document, DocumentError, DocumentStore, Fields, IndexSpec,
    InsertOutcome, Inserts, Range, Scan, Ttl, VersionedWrite,
};
use affluent_model::value::NumericSpecial;
use affluent_model::{Position, Value, time::now_micros};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use std::sync::Arc;

type Store = Arc<dyn DocumentStore>;

/// Runs every case on `store`; collections are named after `run`, so that a server can be reused.
/// `histories` is how many random histories are replayed.
pub(crate) async fn check(store: Store, run: &str, histories: u32) {
    values_come_back_as_written(&store, &format!("{run}.values")).await;
    insertion_keeps_what_is_there(&store, &format!("{run}.insert")).await;
    time_ordered_ids_are_inserted_once(&store, &format!("{run}.events")).await;
    only_newer_versions_apply(&store, &format!("{run}.versions")).await;
    unchanged_columns_are_filled_by_older_rows(&store, &format!("{run}.unchanged")).await;
    a_moved_row_takes_its_unchanged_columns_along(&store, &format!("{run}.moved")).await;
    truncation_removes_the_past(&store, &format!("{run}.truncated")).await;
    scans_page_in_order(&store, &format!("{run}.scans")).await;
    an_added_index_covers_old_documents(&store, &format!("{run}.indexes")).await;
    what_cannot_be_done_is_named(&store, &format!("{run}.errors")).await;
    histories_converge(&store, &format!("{run}.history"), histories).await;
}

fn fields(fields: &[(&str, Value)]) -> Fields {
    fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn write(id: &str, version: u64, action: Action) -> VersionedWrite {
    VersionedWrite { id: id.to_owned(), version: Position::new(version, 1), action }
}

async fn insert(store: &Store, collection: &str, documents: Vec<Document>) -> InsertOutcome {
    // Each in a batch of its own: how they are grouped means nothing.
    let documents: Vec<Arc<Inserts>> =
        documents.into_iter().map(|d| Arc::new([d].into_iter().collect())).collect();
    store.insert_if_absent(collection, &documents).await.unwrap()
}

async fn one(store: &Store, collection: &str, id: &str) -> Option<Document> {
    store.get(collection, &[id.to_owned()]).await.unwrap().pop()
}

async fn visible(store: &Store, collection: &str) -> Visible {
    let (mut visible, mut scan) = (Visible::new(), Scan::all(3));
    loop {
        let page = store.scan(collection, &scan).await.unwrap();
        visible.extend(page.documents.into_iter().map(|d| (d.id, d.fields.into_iter().collect())));
        scan.after = page.next;
        if scan.after.is_none() {
            return visible;
        }
    }
}

async fn values_come_back_as_written(store: &Store, collection: &str) {
    store.ensure(&CollectionSpec::new(collection)).await.unwrap();
    let decimal = |text: &str| Value::Decimal(text.parse().unwrap());
    let values = fields(&[
        ("null", Value::Null),
        ("bool", Value::Bool(true)),
        ("int", Value::Int(i64::MIN)),
        ("float", Value::Float(0.1)),
        ("money", decimal("12345678901234.5600")),
        ("digits34", decimal("-9999999999999999999999999999999.999")),
        ("digits60", decimal("123456789012345678901234567890123456789012345678901234567890.123")),
        ("tiny", decimal("1e-7000")),
        ("nan", Value::NumericSpecial(NumericSpecial::NaN)),
        ("infinite", Value::NumericSpecial(NumericSpecial::NegativeInfinity)),
        ("text", text("žluťoučký kůň \u{1F40E} \0")),
        ("bytes", Value::Bytes(vec![0, 1, 255])),
        ("date", Value::Date(-719_162)),
        ("date_infinite", Value::Date(i32::MAX)),
        ("time", Value::Time(86_399_999_999)),
        ("midnight", Value::Time(86_400_000_000)),
        ("timestamp", Value::Timestamp(1_700_000_000_123_456)),
        ("instant", Value::TimestampTz(1_700_000_000_123_456)),
        ("before_epoch", Value::TimestampTz(-1)),
        ("infinity", Value::TimestampTz(i64::MAX)),
        ("minus_infinity", Value::Timestamp(i64::MIN)),
        ("uuid", Value::Uuid(uuid::Uuid::from_u128(0x0123_4567_89AB_CDEF))),
        ("json", Value::Json(r#"{"b": 1.10, "a": [null]}"#.to_owned())),
        ("texts", Value::Array(vec![text("a"), Value::Null, text("b")])),
        ("instants", Value::Array(vec![Value::TimestampTz(1), Value::Null])),
        ("decimals", Value::Array(vec![decimal("1.10"), Value::Array(vec![decimal("2")])])),
        ("empty", Value::Array(Vec::new())),
        ("_id", text("a name of ours")),
        ("_v", Value::Int(1)),
        ("dotted.name", Value::Int(2)),
        ("$dollar", Value::Int(3)),
        ("50%25", Value::Int(4)),
        ("a space", Value::Int(5)),
    ]);
    let put = VersionedWrite {
        id: "a|b.c$d".to_owned(),
        version: Position::new(0x16_B374_D848, u64::from(u32::MAX) + 7),
        action: Action::Put(values.clone()),
    };
    store.admit(&put).unwrap();
    let version = put.version;
    store.apply(collection, vec![put]).await.unwrap();
    let document = one(store, collection, "a|b.c$d").await.expect("the document");
    assert_eq!(document.version, version);
    for (name, value) in &values {
        assert_eq!(document.field(name), Some(value), "{name}");
    }
    assert_eq!(document.fields.len(), values.len());
}

async fn insertion_keeps_what_is_there(store: &Store, collection: &str) {
    store.ensure(&CollectionSpec::new(collection)).await.unwrap();
    let document = |id: &str, n| Document::new(id, fields(&[("n", Value::Int(n))]));
    let outcome = insert(store, collection, vec![document("a", 1), document("b", 1), document("a", 2)]).await;
    assert_eq!(outcome, InsertOutcome { inserted: 2, duplicates: 1 });
    let outcome = insert(store, collection, vec![document("b", 3), document("c", 3)]).await;
    assert_eq!(outcome, InsertOutcome { inserted: 1, duplicates: 1 });
    for (id, n) in [("a", 1), ("b", 1), ("c", 3)] {
        assert_eq!(one(store, collection, id).await.unwrap().field("n"), Some(&Value::Int(n)), "{id}");
    }
    assert_eq!(store.count(collection).await.unwrap(), 3);
}

/// Ids that begin with the time, as events have them: in several batches, again, deleted, and found by
/// index, after whatever the store remembers of them.
async fn time_ordered_ids_are_inserted_once(store: &Store, collection: &str) {
    let spec =
        CollectionSpec { indexes: vec![IndexSpec::on(&["user", "n"])], ..CollectionSpec::new(collection) };
    store.ensure(&spec).await.unwrap();
    let id = |n: u64| {
        let millis = 1_700_000_000_000 + n * 700;
        uuid::Uuid::from_u64_pair(millis << 16 | 0x7000, n | 1 << 63).to_string()
    };
    let document = |n: u64| {
        let user = if n.is_multiple_of(2) { text("even") } else { Value::Null };
        Document::new(id(n), fields(&[("n", Value::Int(n as i64)), ("user", user)]))
    };
    let batch = |range: std::ops::Range<u64>| range.map(document).collect::<Vec<_>>();
    assert_eq!(insert(store, collection, batch(10..30)).await.inserted, 20);
    let outcome = insert(store, collection, batch(0..40)).await;
    assert_eq!(outcome, InsertOutcome { inserted: 20, duplicates: 20 });
    let deleted = vec![write(&id(7), 9, Action::Delete), write(&id(99), 9, Action::Put(Vec::new()))];
    store.apply(collection, deleted).await.unwrap();
    let outcome = insert(store, collection, vec![document(7), document(99), document(100)]).await;
    assert_eq!(outcome, InsertOutcome { inserted: 1, duplicates: 2 }, "a tombstone is there too");
    assert_eq!(store.count(collection).await.unwrap(), 41);
    let range = Range::Index {
        index: "user_n".to_owned(),
        equal: vec![text("even")],
        from: Some(Value::Int(4)),
        to: Some(Value::Int(100)),
    };
    let found = store.scan(collection, &Scan { range, limit: 100, after: None }).await.unwrap();
    let expected: Vec<String> = (2..20).map(|n| id(2 * n)).collect();
    assert_eq!(found.documents.into_iter().map(|d| d.id).collect::<Vec<_>>(), expected);
}

async fn only_newer_versions_apply(store: &Store, collection: &str) {
    store.ensure(&CollectionSpec::new(collection)).await.unwrap();
    let put = |id: &str, version, n| write(id, version, Action::Put(fields(&[("n", Value::Int(n))])));
    let apply = |writes| store.apply(collection, writes);
    let outcome = apply(vec![put("a", 5, 5), put("a", 4, 4), put("b", 1, 1)]).await.unwrap();
    assert_eq!(outcome, ApplyOutcome { applied: 2, stale: 1 });
    let outcome = apply(vec![put("a", 5, 5), put("a", 3, 3)]).await.unwrap();
    assert_eq!(outcome, ApplyOutcome { applied: 0, stale: 2 });
    assert_eq!(one(store, collection, "a").await.unwrap().field("n"), Some(&Value::Int(5)));
    let outcome = apply(vec![write("a", 7, Action::Delete), put("a", 6, 6)]).await.unwrap();
    assert_eq!(outcome, ApplyOutcome { applied: 1, stale: 1 });
    assert_eq!(apply(vec![put("a", 6, 6)]).await.unwrap().stale, 1);
    assert_eq!(one(store, collection, "a").await, None);
    assert_eq!(store.count(collection).await.unwrap(), 1);
    apply(vec![put("a", 8, 8)]).await.unwrap();
    assert_eq!(one(store, collection, "a").await.unwrap().field("n"), Some(&Value::Int(8)));
    assert_eq!(store.count(collection).await.unwrap(), 2);
    // A tombstone of something never seen holds off what is older too.
    apply(vec![write("c", 9, Action::Delete)]).await.unwrap();
    assert_eq!(apply(vec![put("c", 8, 8)]).await.unwrap(), ApplyOutcome { applied: 0, stale: 1 });
    assert_eq!(store.count(collection).await.unwrap(), 2);
}

async fn unchanged_columns_are_filled_by_older_rows(store: &Store, collection: &str) {
    store.ensure(&CollectionSpec::new(collection)).await.unwrap();
    let row = |n| fields(&[("n", Value::Int(n)), ("big", text(&format!("big {n}")))]);
    let patch = |n| Action::Patch {
        fields: fields(&[("n", Value::Int(n))]),
        keep: vec!["big".to_owned()],
        moved_from: None,
    };
    for (order, case) in [[1, 2, 4], [4, 2, 1], [4, 1, 2], [2, 4, 1]].iter().enumerate() {
        let id = format!("row{order}");
        for &version in case {
            let action = if version == 4 { patch(4) } else { Action::Put(row(version)) };
            store.apply(collection, vec![write(&id, version as u64, action)]).await.unwrap();
        }
        let document = one(store, collection, &id).await.unwrap();
        assert_eq!(document.field("n"), Some(&Value::Int(4)), "{case:?}");
        assert_eq!(document.field("big"), Some(&text("big 2")), "{case:?}");
    }
}

async fn a_moved_row_takes_its_unchanged_columns_along(store: &Store, collection: &str) {
    store.ensure(&CollectionSpec::new(collection)).await.unwrap();
    for (order, case) in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]].iter().enumerate() {
        let (old, new) = (format!("old{order}"), format!("new{order}"));
        let keep = vec!["big".to_owned()];
        let row = fields(&[("n", Value::Int(1)), ("big", text("big"))]);
        let patched = fields(&[("n", Value::Int(2))]);
        let writes = [
            write(&old, 1, Action::Put(row)),
            write(&old, 2, Action::Depart { to: new.clone(), keep: keep.clone() }),
            write(&new, 2, Action::Patch { fields: patched, keep, moved_from: Some(old.clone()) }),
        ];
        for &i in case {
            store.apply(collection, vec![writes[i].clone()]).await.unwrap();
        }
        assert_eq!(one(store, collection, &old).await, None, "{case:?}");
        let document = one(store, collection, &new).await.unwrap();
        assert_eq!(document.field("big"), Some(&text("big")), "{case:?}");
        assert_eq!(document.field("n"), Some(&Value::Int(2)), "{case:?}");
    }
}

async fn truncation_removes_the_past(store: &Store, collection: &str) {
    store.ensure(&CollectionSpec::new(collection)).await.unwrap();
    let put = |id: &str, version| write(id, version, Action::Put(fields(&[("n", Value::Int(1))])));
    store.apply(collection, vec![put("old", 1), put("new", 6)]).await.unwrap();
    store.truncate(collection, Position::new(5, 1)).await.unwrap();
    assert_eq!(store.apply(collection, vec![put("late", 4), put("old", 1)]).await.unwrap().stale, 2);
    store.truncate(collection, Position::new(3, 1)).await.unwrap();
    assert_eq!(visible(store, collection).await.into_keys().collect::<Vec<_>>(), ["new"]);
    assert_eq!(store.count(collection).await.unwrap(), 1);
    store.apply(collection, vec![put("old", 7)]).await.unwrap();
    assert_eq!(store.count(collection).await.unwrap(), 2);
}

async fn scans_page_in_order(store: &Store, collection: &str) {
    let index = IndexSpec::on(&["user", "at"]);
    let spec = CollectionSpec { indexes: vec![index.clone()], ..CollectionSpec::new(collection) };
    store.ensure(&spec).await.unwrap();
    let put = |id: String, user: &str, at| {
        let action = Action::Put(fields(&[("user", text(user)), ("at", Value::TimestampTz(at))]));
        VersionedWrite { id, version: Position::new(1, 1), action }
    };
    // Ids run against the order of time.
    let writes = (0..20).map(|i| put(format!("id{:02}", 20 - i), ["ann", "bob"][i % 2], i as i64 * 1_000));
    store.apply(collection, writes.collect()).await.unwrap();
    let page = async |range: Range| {
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let scan = Scan { range: range.clone(), limit: 2, after };
            let page = store.scan(collection, &scan).await.unwrap();
            assert!(page.documents.len() <= 2);
            ids.extend(page.documents.into_iter().map(|document| document.id));
            after = page.next;
            if after.is_none() {
                return ids;
            }
        }
    };
    let name = index.name.clone();
    let by_user = |user: &str, from: Option<i64>, to: Option<i64>| Range::Index {
        index: name.clone(),
        equal: vec![text(user)],
        from: from.map(Value::TimestampTz),
        to: to.map(Value::TimestampTz),
    };
    let ids = |numbers: &[i32]| numbers.iter().map(|n| format!("id{n:02}")).collect::<Vec<_>>();
    let all_of_ann = ids(&[20, 18, 16, 14, 12, 10, 8, 6, 4, 2]);
    assert_eq!(page(by_user("ann", None, None)).await, all_of_ann);
    assert_eq!(page(by_user("ann", Some(4_000), Some(10_000))).await, ids(&[16, 14, 12]));
    assert_eq!(page(by_user("zoe", None, None)).await, Vec::<String>::new());
    let everyone = Range::Index { index: name.clone(), equal: Vec::new(), from: None, to: None };
    assert_eq!(page(everyone).await.len(), 20);
    let some = Range::Ids { from: Some("id03".to_owned()), to: Some("id06".to_owned()) };
    assert_eq!(page(some).await, ids(&[3, 4, 5]));
    // Changed and deleted documents leave their old place in the index.
    let moved = put("id20".to_owned(), "bob", 0);
    let moved = VersionedWrite { version: Position::new(2, 1), ..moved };
    store.apply(collection, vec![moved, write("id18", 2, Action::Delete)]).await.unwrap();
    assert_eq!(page(by_user("ann", None, None)).await, all_of_ann[2..].to_vec());
    assert_eq!(page(by_user("bob", None, Some(2_000))).await, ids(&[20, 19]));
}

async fn an_added_index_covers_old_documents(store: &Store, collection: &str) {
    store.ensure(&CollectionSpec::new(collection)).await.unwrap();
    let put = |id: &str, n| write(id, 1, Action::Put(fields(&[("n", Value::Int(n))])));
    store.apply(collection, vec![put("a", 2), put("b", 1)]).await.unwrap();
    let spec = CollectionSpec { indexes: vec![IndexSpec::on(&["n"])], ..CollectionSpec::new(collection) };
    store.ensure(&spec).await.unwrap();
    store.ensure(&spec).await.unwrap();
    let range =
        Range::Index { index: "n".to_owned(), equal: Vec::new(), from: Some(Value::Int(1)), to: None };
    let page = store.scan(collection, &Scan { range, limit: 10, after: None }).await.unwrap();
    assert_eq!(page.documents.iter().map(|d| d.id.as_str()).collect::<Vec<_>>(), ["b", "a"]);
}

async fn what_cannot_be_done_is_named(store: &Store, collection: &str) {
    let missing = store.count(&format!("{collection}.none")).await;
    assert!(matches!(missing, Err(DocumentError::UnknownCollection(_))), "{missing:?}");
    store.ensure(&CollectionSpec::new(collection)).await.unwrap();
    let range = Range::Index { index: "none".to_owned(), equal: Vec::new(), from: None, to: None };
    let unknown = store.scan(collection, &Scan { range, limit: 1, after: None }).await;
    assert!(matches!(unknown, Err(DocumentError::UnknownIndex { .. })), "{unknown:?}");
    let huge = write("huge", 1, Action::Put(fields(&[("x", Value::Bytes(vec![0; 17 * 1024 * 1024]))])));
    assert!(matches!(store.admit(&huge), Err(DocumentError::Refused { .. })));
    let nameless = write("", 1, Action::Delete);
    assert!(matches!(store.admit(&nameless), Err(DocumentError::Refused { .. })));
}

async fn histories_converge(store: &Store, collection: &str, histories: u32) {
    let mut runner = TestRunner::deterministic();
    for round in 0..histories {
        let collection = format!("{collection}{round}");
        store.ensure(&CollectionSpec::new(&collection)).await.unwrap();
        let (history, order) = arrival().new_tree(&mut runner).unwrap().current();
        let mut batch = Vec::new();
        for (i, event) in order.iter().enumerate() {
            match event {
                Event::Write(write) => batch.push(write.clone()),
                Event::Truncate(position) => store.truncate(&collection, *position).await.unwrap(),
            }
            if i % 5 == 4 {
                store.apply(&collection, std::mem::take(&mut batch)).await.unwrap();
            }
        }
        store.apply(&collection, batch).await.unwrap();
        assert_eq!(visible(store, &collection).await, history.expected, "{history:#?}\n{order:#?}");
        assert_eq!(store.count(&collection).await.unwrap(), history.expected.len() as u64);
    }
}

/// Documents past their time are not there any more, or go at the next expiry.
#[allow(dead_code, reason = "servers expire at their own pace")]
pub(crate) async fn check_expiry(store: Store, collection: &str, tombstone_ttl_s: u64) {
    let ttl = Ttl { seconds: 60, field: Some("at".to_owned()) };
    let spec = CollectionSpec { ttl: Some(ttl), ..CollectionSpec::new(collection) };
    store.ensure(&spec).await.unwrap();
    let now = now_micros();
    let document = |id: &str, at| Document::new(id, fields(&[("at", Value::TimestampTz(at))]));
    let documents = vec![document("old", now - 120_000_000), document("new", now)];
    insert(&store, collection, documents).await;
    assert_eq!(store.expire(now).await.unwrap(), 1);
    assert_eq!(visible(&store, collection).await.into_keys().collect::<Vec<_>>(), ["new"]);
    assert_eq!(store.count(collection).await.unwrap(), 1);
    store.apply(collection, vec![write("gone", 5, Action::Delete)]).await.unwrap();
    let put = || vec![write("gone", 4, Action::Put(fields(&[("at", Value::TimestampTz(i64::MAX))])))];
    assert_eq!(store.apply(collection, put()).await.unwrap().stale, 1);
    let later = now + (tombstone_ttl_s as i64 + 120) * 1_000_000;
    assert_eq!(store.expire(later).await.unwrap(), 2, "the document and the tombstone");
    assert_eq!(store.count(collection).await.unwrap(), 0);
    assert_eq!(store.apply(collection, put()).await.unwrap().applied, 1, "the tombstone's time is over");
    assert_eq!(store.expire(later).await.unwrap(), 0);

    // Inserted together, over at different times, one of them changed since.
    let documents = (0..1_000).map(|n| document(&format!("{n:03}"), now + n * 1_000_000)).collect();
    insert(&store, collection, documents).await;
    let moved = fields(&[("at", Value::TimestampTz(now + 5_000_000_000))]);
    store.apply(collection, vec![write("005", 5, Action::Put(moved))]).await.unwrap();
    store.apply(collection, vec![write("006", 5, Action::Delete)]).await.unwrap();
    for (seconds, expired) in [(59, 0), (69, 8), (69, 0), (70, 1), (2_000, 989)] {
        assert_eq!(store.expire(now + seconds * 1_000_000).await.unwrap(), expired, "{seconds}");
    }
    assert_eq!(visible(&store, collection).await.into_keys().collect::<Vec<_>>(), ["005", "gone"]);
    assert_eq!(store.expire(later).await.unwrap(), 1, "the tombstone");
    assert_eq!(store.expire(now + 5_060_000_000).await.unwrap(), 1);
    assert_eq!(store.count(collection).await.unwrap(), 1);
}
