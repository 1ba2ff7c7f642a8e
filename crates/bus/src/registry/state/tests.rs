//! Decisions and records of the registry, without a topic.

use super::*;
use crate::registry::schema::SchemaType;

fn schema(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
}

fn avro(text: &str) -> Candidate {
    Candidate::new(Schema::new(SchemaType::Avro, text), &[], false).unwrap()
}

fn apply(state: &mut State, records: &[Record]) {
    for Record { key, value } in records {
        state.apply(key.as_bytes(), value.as_ref().map(String::as_bytes)).unwrap();
    }
}

fn register_candidate(state: &mut State, subject: &str, candidate: &Candidate) -> Result<u32, Vec<String>> {
    match state.register(subject, candidate) {
        Registration::Known(id) => Ok(id),
        Registration::New(id, record) => {
            apply(state, &[record]);
            Ok(id)
        }
        Registration::Incompatible(violations) => Err(violations),
    }
}

fn register(state: &mut State, subject: &str, schema: &str) -> Result<u32, Vec<String>> {
    register_candidate(state, subject, &avro(schema))
}

#[test]
fn ids_are_of_schemas_and_versions_of_subjects() {
    let mut state = State::default();
    let (empty, one) = (schema(""), schema(r#"{"name":"a","type":"int","default":1}"#));
    assert_eq!(register(&mut state, "s", &empty), Ok(1));
    assert_eq!(register(&mut state, "s", &one), Ok(2));
    assert_eq!(register(&mut state, "s", &empty), Ok(1));
    assert_eq!(register(&mut state, "t", &one), Ok(2));
    assert_eq!(state.versions("s", Show::Live), [1, 2]);
    assert_eq!(state.uses(2, Show::Live), [("s", 2), ("t", 1)]);
    assert_eq!(state.subjects(Show::Live), ["s", "t"]);
    assert_eq!(state.lookup("s", &avro(&one).identity, Show::Live).map(|v| v.version), Some(2));
    assert_eq!(state.version("s", None, Show::Live).map(|v| v.version), Some(2));
}

#[test]
fn an_incompatible_schema_is_refused_until_the_level_allows_it() {
    let mut state = State::default();
    register(&mut state, "s", &schema("")).unwrap();
    let strict = schema(r#"{"name":"a","type":"int"}"#);
    assert!(register(&mut state, "s", &strict).is_err());
    let record = State::set_level(Some("s"), CompatibilityLevel::None);
    apply(&mut state, &[record]);
    assert_eq!(register(&mut state, "s", &strict), Ok(2));
    assert_eq!(state.level_set(None), Some(CompatibilityLevel::Backward));
}

#[test]
fn records_are_confluents() {
    let state = State::default();
    let text = schema("");
    let Registration::New(1, record) = state.register("s", &avro(&text)) else {
        panic!("expected a new schema");
    };
    assert_eq!(record.key, r#"{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}"#);
    assert_eq!(
        record.value.unwrap(),
        r#"{"subject":"s","version":1,"id":1,"schema":"{\"type\":\"record\",\"name\":\"R\",\"fields\":[]}","deleted":false}"#
    );
    let config = State::set_level(None, CompatibilityLevel::FullTransitive);
    assert_eq!(config.key, r#"{"keytype":"CONFIG","subject":null,"magic":0}"#);
    assert_eq!(config.value.unwrap(), r#"{"compatibilityLevel":"FULL_TRANSITIVE"}"#);
}

#[test]
fn foreign_records_are_read() {
    let mut state = State::default();
    for (key, value) in [
        (r#"{"keytype":"NOOP","magic":0}"#, None),
        (r#"{"keytype":"MODE","subject":null,"magic":0}"#, Some(r#"{"mode":"READWRITE"}"#)),
        (
            r#"{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}"#,
            Some(r#"{"subject":"s","version":1,"id":7,"schema":"\"string\"","deleted":false}"#),
        ),
        (
            r#"{"keytype":"SCHEMA","subject":"s","version":2,"magic":1}"#,
            Some(r#"{"subject":"s","version":2,"id":9,"md5":"x","schema":"\"int\"","deleted":false}"#),
        ),
        (r#"{"keytype":"DELETE_SUBJECT","subject":"s","magic":0}"#, Some(r#"{"subject":"s","version":1}"#)),
    ] {
        state.apply(key.as_bytes(), value.map(str::as_bytes)).unwrap();
    }
    assert_eq!(state.versions("s", Show::Live), [2]);
    assert!(state.apply(b"{", None).is_err());
    let level = State::set_level(Some("s"), CompatibilityLevel::None);
    apply(&mut state, &[level]);
    assert_eq!(register(&mut state, "s", "\"long\""), Ok(10));
    assert_eq!(state.versions("s", Show::Live), [2, 3]);
}

fn typed(state: &State, schema_type: SchemaType, text: &str, references: &[(&str, &str, i32)]) -> Candidate {
    let references = references
        .iter()
        .map(|(name, subject, version)| SchemaReference {
            name: (*name).to_owned(),
            subject: (*subject).to_owned(),
            version: *version,
        })
        .collect();
    let schema = Schema { schema_type, references, text: text.into() };
    let named = state.resolve(&schema.references).unwrap();
    Candidate::new(schema, &named, false).unwrap()
}

const MONEY: &str = "syntax = \"proto3\"; package shop; message Money { int64 minor = 1; }";
const ORDER: &str = concat!(
    "syntax = \"proto3\"; package shop; import \"money.proto\";",
    "message Order { Money total = 1; }"
);

#[test]
fn schemas_refer_to_versions() {
    let mut state = State::default();
    let money = typed(&state, SchemaType::Protobuf, MONEY, &[]);
    assert_eq!(register_candidate(&mut state, "money", &money), Ok(1));
    let order = typed(&state, SchemaType::Protobuf, ORDER, &[("money.proto", "money", 1)]);
    assert_eq!(register_candidate(&mut state, "order", &order), Ok(2));
    assert_eq!(register_candidate(&mut state, "order", &order), Ok(2));
    assert_eq!(state.referenced_by("money", 1), [2]);
    assert_eq!(state.delete_version("money", 1, false), Err(Refusal::Referenced("money".to_owned(), 1)));
    assert!(matches!(state.delete_subject("money", false), Err(Refusal::Referenced(..))));
    assert!(state.resolve(&[SchemaReference { name: "x".into(), subject: "x".into(), version: 1 }]).is_err());

    // Compaction may leave the referring record before the one it refers to.
    let mut reordered = State::default();
    let Registration::New(_, order_record) = ({
        let mut fresh = State::default();
        register_candidate(&mut fresh, "money", &money).unwrap();
        fresh.register("order", &order)
    }) else {
        panic!("expected a new schema")
    };
    let Registration::New(_, money_record) = State::default().register("money", &money) else {
        panic!("expected a new schema")
    };
    apply(&mut reordered, &[order_record, money_record]);
    assert_eq!(register_candidate(&mut reordered, "order", &order), Ok(2));
}

#[test]
fn deletion_is_confluents() {
    let mut state = State::default();
    let (empty, one) = (schema(""), schema(r#"{"name":"a","type":"int","default":1}"#));
    register(&mut state, "s", &empty).unwrap();
    register(&mut state, "s", &one).unwrap();
    apply(&mut state, &[State::set_level(Some("s"), CompatibilityLevel::Full)]);
    assert_eq!(state.delete_version("x", 1, false), Err(Refusal::NoSubject));
    assert_eq!(state.delete_version("s", 9, false), Err(Refusal::NoVersion));
    assert_eq!(state.delete_version("s", 1, true), Err(Refusal::VersionNotDeleted(1)));
    assert_eq!(state.delete_subject("s", true), Err(Refusal::SubjectNotDeleted));

    let records = state.delete_version("s", 1, false).unwrap();
    apply(&mut state, &records);
    assert_eq!(state.delete_version("s", 1, false), Err(Refusal::VersionDeleted(1)));
    assert_eq!(state.versions("s", Show::Live), [2]);
    assert_eq!(state.versions("s", Show::All), [1, 2]);
    assert_eq!(state.versions("s", Show::Deleted), [1]);
    assert!(state.schema(1).is_some(), "records written with it stay readable");
    // Registered again it has its id, and a version of its own.
    assert_eq!(register(&mut state, "s", &empty), Ok(1));
    assert_eq!(state.versions("s", Show::Live), [2, 3]);

    let (versions, records) = state.delete_subject("s", false).unwrap();
    assert_eq!(versions, [2, 3]);
    assert_eq!(records[0].key, r#"{"keytype":"DELETE_SUBJECT","subject":"s","magic":0}"#);
    assert_eq!(records[0].value.as_deref(), Some(r#"{"subject":"s","version":3}"#));
    apply(&mut state, &records);
    assert_eq!(state.level_set(Some("s")), None, "the level goes with the subject");
    assert_eq!(state.delete_subject("s", false), Err(Refusal::SubjectDeleted));
    assert_eq!(state.subjects(Show::Live), Vec::<&str>::new());
    assert_eq!(state.subjects(Show::All), ["s"]);
    assert_eq!(state.subjects(Show::Deleted), ["s"]);

    let (versions, records) = state.delete_subject("s", true).unwrap();
    assert_eq!(versions, [1, 2, 3]);
    apply(&mut state, &records);
    assert_eq!(state.subjects(Show::All), Vec::<&str>::new());
    assert!(state.schema(1).is_none());

    // What compaction leaves of all this still knows which ids were given.
    let mut compacted = State::default();
    let kept: Vec<Record> = records.into_iter().filter(|record| record.value.is_some()).collect();
    apply(&mut compacted, &kept);
    assert_eq!(register(&mut compacted, "s", &schema(r#"{"name":"b","type":"int"}"#)), Ok(3));
    assert_eq!(register(&mut state, "s", &schema(r#"{"name":"b","type":"int"}"#)), Ok(3));
}
