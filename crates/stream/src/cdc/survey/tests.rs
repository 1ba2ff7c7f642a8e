//! Findings as a table of cases: one fact is spoiled, and it is told with its remedy.

use super::*;

fn table(name: &str) -> Table {
    Table {
        table: TableId::new("public", name),
        partitioned: false,
        key: vec!["id".to_owned()],
        identity: ReplicaIdentity::Default,
        rows: 10,
        bytes: 8_192,
        readable: true,
        owned: true,
        columns: vec![Column { name: "id".to_owned(), text: false }],
    }
}

/// A database that lacks nothing, and whose slots are limited.
fn sound() -> Survey {
    Survey {
        server: Server {
            version: 170_002,
            database: "shop".to_owned(),
            wal_level: "logical".to_owned(),
            slots_max: 10,
            slots_used: 1,
            senders_max: 10,
            senders_used: 1,
            in_recovery: false,
            slot_keep_mb: 1024,
        },
        user: User {
            name: "affluent".to_owned(),
            superuser: false,
            replication: true,
            creates: true,
            refused: None,
        },
        slot: None,
        publication: None,
        tables: vec![table("orders"), table("customers")],
    }
}

fn published(tables: &[&str]) -> Publication {
    Publication {
        all_tables: false,
        all_changes: true,
        via_root: true,
        owned: true,
        tables: tables.iter().map(|name| TableId::new("public", *name)).collect(),
    }
}

#[test]
fn a_sound_database_lacks_nothing() {
    let options = CdcOptions::default();
    assert!(sound().findings(&options).is_empty(), "{:?}", sound().findings(&options));
    let mut made = sound();
    made.user.creates = false;
    made.tables.iter_mut().for_each(|table| table.owned = false);
    made.publication = Some(published(&["orders", "customers"]));
    made.slot = Some(Slot { database: "shop".into(), plugin: "pgoutput".into(), lost: false });
    // Full slots are nothing to one that has its own.
    made.server.slots_used = 10;
    let findings = made.findings(&CdcOptions { manage: false, ..options });
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn what_is_missing_is_told_with_its_remedy() {
    type Spoil = fn(&mut Survey);
    let cases: &[(Spoil, &[&str])] = &[
        (|s| s.server.version = 130_010, &["PostgreSQL 13", "14"]),
        (|s| s.server.in_recovery = true, &["standby", "primary"]),
        (
            |s| s.server.wal_level = "replica".into(),
            &["wal_level is replica", "ALTER SYSTEM SET wal_level", "restart"],
        ),
        (|s| s.server.slots_used = 10, &["all 10 replication slots", "max_replication_slots = 14"]),
        (|s| s.server.senders_used = 10, &["all 10 WAL senders", "max_wal_senders = 14"]),
        (|s| s.user.replication = false, &["may not replicate", "ALTER ROLE \"affluent\" REPLICATION"]),
        (
            |s| s.user.refused = Some("no pg_hba.conf entry".into()),
            &["no pg_hba.conf entry", "a line of pg_hba.conf"],
        ),
        (|s| s.tables.clear(), &["none of the 0 tables of database shop", "public.*"]),
        (
            |s| s.tables[1].readable = false,
            &["may not read public.customers", "GRANT SELECT ON \"public\".\"customers\" TO \"affluent\""],
        ),
        (
            |s| s.user.creates = false,
            &[
                "publication affluent is missing",
                "FOR TABLE \"public\".\"orders\", \"public\".\"customers\" WITH",
            ],
        ),
        (|s| s.tables[0].owned = false, &["publication affluent is missing", "as who owns the tables"]),
        (
            |s| s.publication = Some(Publication { owned: false, ..published(&["orders"]) }),
            &["lacks public.customers", "ALTER PUBLICATION \"affluent\" ADD TABLE \"public\".\"customers\""],
        ),
        (
            |s| {
                s.publication =
                    Some(Publication { all_changes: false, ..published(&["orders", "customers"]) });
            },
            &["leaves out changes", "SET (publish ="],
        ),
        (
            |s| {
                s.tables[0].partitioned = true;
                s.publication = Some(Publication { via_root: false, ..published(&["orders", "customers"]) });
            },
            &["names partitions", "publish_via_partition_root"],
        ),
        (
            |s| s.slot = Some(Slot { database: "shop".into(), plugin: "wal2json".into(), lost: false }),
            &["another's", "wal2json", "cdc.slot"],
        ),
        (
            |s| s.slot = Some(Slot { database: "shop".into(), plugin: "pgoutput".into(), lost: true }),
            &["is lost", "--resnapshot"],
        ),
    ];
    for (spoil, parts) in cases {
        let mut survey = sound();
        spoil(&mut survey);
        let findings = survey.findings(&CdcOptions::default());
        assert_eq!(findings.len(), 1, "{parts:?}: {findings:?}");
        assert_eq!(findings[0].severity, Severity::Missing);
        let told = format!("{} {}", findings[0].what, findings[0].remedy);
        for part in *parts {
            assert!(told.contains(part), "{part} is not in: {told}");
        }
    }
}

#[test]
fn slots_are_made_by_hand_where_nothing_is_managed() {
    let mut survey = sound();
    survey.publication = Some(published(&["orders", "customers"]));
    let findings = survey.findings(&CdcOptions { manage: false, ..CdcOptions::default() });
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].remedy.contains("pg_create_logical_replication_slot('affluent', 'pgoutput')"));
}

#[test]
fn a_price_is_advice_and_comes_last() {
    let mut survey = sound();
    survey.server.slot_keep_mb = -1;
    survey.server.wal_level = "minimal".into();
    survey.tables[0].key.clear();
    survey.tables[1].identity = ReplicaIdentity::Nothing;
    let findings = survey.findings(&CdcOptions::default());
    let severities: Vec<Severity> = findings.iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Missing, Severity::Advice, Severity::Advice, Severity::Advice]);
    assert!(findings[1].remedy.contains("max_slot_wal_keep_size"), "{findings:?}");
    assert!(
        findings[2].what.contains("public.orders has no primary key")
            && findings[2].remedy.contains("REPLICA IDENTITY FULL")
    );
    assert!(findings[3].remedy.contains("REPLICA IDENTITY DEFAULT"), "{findings:?}");
    // A table that is not captured is nobody's business.
    let options = CdcOptions { exclude: vec!["public.orders".to_owned()], ..CdcOptions::default() };
    assert!(survey.findings(&options).iter().all(|finding| !finding.what.contains("orders")));
}
