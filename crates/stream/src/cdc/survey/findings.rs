//! What a database lacks for capture, and the SQL or the words that mend it. Pure: facts in, findings out.

use super::super::CdcOptions;
use super::super::catalog::sql_name;
use super::super::connect::{quote_ident, quote_literal};
use super::{Survey, Table};

/// The first version of PostgreSQL that is captured.
const VERSION_MIN: i32 = 140_000;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Capture does not start, or leaves out what was asked for.
    Missing,
    /// It works, and has a price that should be known before.
    Advice,
}

/// Something to be mended, or known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// What is so, without secrets.
    pub what: String,
    /// What to do: SQL where it begins with an SQL keyword, else words.
    pub remedy: String,
}

impl Survey {
    /// Everything that keeps these options from being captured, then what is to be known of it.
    #[must_use]
    pub fn findings(&self, options: &CdcOptions) -> Vec<Finding> {
        let mut findings = self.of_server(options);
        findings.extend(self.of_user());
        let selected: Vec<&Table> = self.selected(options).collect();
        if selected.is_empty() {
            let seen = self.tables.len();
            findings.push(missing(
                format!(
                    "none of the {seen} tables of database {} is selected by cdc.tables",
                    self.server.database
                ),
                "name them as schema.table, or by patterns as public.*".to_owned(),
            ));
        }
        findings.extend(self.of_reading(&selected));
        findings.extend(self.of_publication(options, &selected));
        findings.extend(self.of_slot(options));
        findings.extend(selected.iter().filter_map(|table| of_identity(table)));
        findings.sort_by_key(|finding| finding.severity);
        findings
    }

    fn of_server(&self, options: &CdcOptions) -> Vec<Finding> {
        let server = &self.server;
        let mut findings = Vec::new();
        if server.version < VERSION_MIN {
            findings.push(missing(
                format!("PostgreSQL {} is too old", server.version / 10_000),
                "upgrade the server: 14 is the first version that is captured".to_owned(),
            ));
        }
        if server.in_recovery {
            findings.push(missing(
                "the server is a standby, on which nothing can be published".to_owned(),
                "name the primary in cdc.connection".to_owned(),
            ));
        }
        if server.wal_level != "logical" {
            findings.push(missing(
                format!("wal_level is {}, which lacks what changes of rows are read from", server.wal_level),
                "ALTER SYSTEM SET wal_level = 'logical'; -- as a superuser; then restart the server. On Amazon RDS: the parameter \
                 rds.logical_replication"
                    .to_owned(),
            ));
        }
        // One more while tables without a key are read for the first time.
        if self.slot.is_none() && server.slots_used >= server.slots_max {
            findings.push(missing(
                format!("all {} replication slots are taken", server.slots_max),
                format!(
                    "ALTER SYSTEM SET max_replication_slots = {}; -- then restart the server",
                    server.slots_max + 4
                ),
            ));
        }
        if self.slot.is_none() && server.senders_used >= server.senders_max {
            findings.push(missing(
                format!("all {} WAL senders are taken", server.senders_max),
                format!(
                    "ALTER SYSTEM SET max_wal_senders = {}; -- then restart the server",
                    server.senders_max + 4
                ),
            ));
        }
        if server.slot_keep_mb < 0 {
            findings.push(Finding {
                severity: Severity::Advice,
                what: format!(
                    "while capture stands still, slot {} keeps write-ahead log without limit, until the server's disk is full",
                    options.slot
                ),
                remedy: "watch it (docs/runbook/AffluentSlotRetention.md), or limit it by max_slot_wal_keep_size: a slot that \
                         exceeds that is lost, and the tables are read again (--resnapshot)"
                    .to_owned(),
            });
        }
        findings
    }

    fn of_user(&self) -> Vec<Finding> {
        let user = &self.user;
        if !user.superuser && !user.replication {
            return vec![missing(
                format!("user {} may not replicate", user.name),
                format!(
                    "ALTER ROLE {} REPLICATION; -- on Amazon RDS: GRANT rds_replication TO {}",
                    quote_ident(&user.name),
                    quote_ident(&user.name)
                ),
            )];
        }
        let refused = user.refused.iter().map(|error| {
            missing(
                format!("the server takes no replication connection: {error}"),
                format!(
                    "let user {} in by a line of pg_hba.conf for database {}, and see that no pooler stands between: replication does \
                     not pass through one",
                    user.name, self.server.database
                ),
            )
        });
        refused.collect()
    }

    /// One finding for all tables that may not be read.
    fn of_reading(&self, selected: &[&Table]) -> Option<Finding> {
        let user = quote_ident(&self.user.name);
        let unread: Vec<&Table> = selected.iter().filter(|table| !table.readable).copied().collect();
        if unread.is_empty() {
            return None;
        }
        let mut schemas: Vec<String> = unread.iter().map(|t| quote_ident(&t.table.schema)).collect();
        schemas.dedup();
        Some(missing(
            format!("user {} may not read {}", self.user.name, names(&unread)),
            format!(
                "GRANT USAGE ON SCHEMA {} TO {user}; GRANT SELECT ON {} TO {user};",
                schemas.join(", "),
                sql_names(&unread)
            ),
        ))
    }

    fn of_publication(&self, options: &CdcOptions, selected: &[&Table]) -> Option<Finding> {
        let name = quote_ident(&options.publication);
        let adds = |tables: &[&Table]| {
            options.manage && (self.user.superuser || tables.iter().all(|table| table.owned))
        };
        let Some(found) = &self.publication else {
            if selected.is_empty() || (adds(selected) && (self.user.creates || self.user.superuser)) {
                return None;
            }
            return Some(missing(
                format!(
                    "publication {} is missing, and {} may not make it",
                    options.publication, self.user.name
                ),
                format!(
                    "CREATE PUBLICATION {name} FOR TABLE {} WITH (publish_via_partition_root = true); -- as who owns the tables",
                    sql_names(selected)
                ),
            ));
        };
        if !found.all_changes {
            return Some(missing(
                format!("publication {} leaves out changes", options.publication),
                format!("ALTER PUBLICATION {name} SET (publish = 'insert, update, delete, truncate');"),
            ));
        }
        if !found.via_root && selected.iter().any(|table| table.partitioned) {
            return Some(missing(
                format!(
                    "publication {} names partitions, not the partitioned tables that are selected",
                    options.publication
                ),
                format!("ALTER PUBLICATION {name} SET (publish_via_partition_root = true);"),
            ));
        }
        if found.all_tables {
            return None;
        }
        let lacking: Vec<&Table> =
            selected.iter().filter(|table| !found.tables.contains(&table.table)).copied().collect();
        if lacking.is_empty() || (adds(&lacking) && (found.owned || self.user.superuser)) {
            return None;
        }
        Some(missing(
            format!(
                "publication {} lacks {}, and {} may not add them",
                options.publication,
                names(&lacking),
                self.user.name
            ),
            format!(
                "ALTER PUBLICATION {name} ADD TABLE {}; -- as who owns publication and tables",
                sql_names(&lacking)
            ),
        ))
    }

    fn of_slot(&self, options: &CdcOptions) -> Option<Finding> {
        let name = &options.slot;
        let Some(slot) = &self.slot else {
            return (!options.manage).then(|| {
                missing(
                    format!("replication slot {name} is missing, and cdc.manage is off"),
                    format!(
                        "SELECT pg_create_logical_replication_slot({}, 'pgoutput');",
                        quote_literal(name)
                    ),
                )
            });
        };
        if slot.plugin != "pgoutput" || slot.database != self.server.database {
            return Some(missing(
                format!("slot {name} is another's: of database {} and plugin {}", slot.database, slot.plugin),
                "choose another cdc.slot".to_owned(),
            ));
        }
        slot.lost.then(|| {
            missing(
                format!("slot {name} is lost: the server dropped write-ahead log that it needed"),
                "start capture once with --resnapshot (read every table again) or --accept-gap (go on without what is missing)"
                    .to_owned(),
            )
        })
    }
}

/// PostgreSQL refuses updates and deletes of a published table whose rows it cannot name.
fn of_identity(table: &Table) -> Option<Finding> {
    if table.is_identified() {
        return None;
    }
    let name = sql_name(&table.table);
    Some(Finding {
        severity: Severity::Advice,
        what: format!(
            "{} has no {}: once it is published, PostgreSQL refuses its updates and deletes to every application",
            table.table,
            if table.key.is_empty() { "primary key" } else { "replica identity" }
        ),
        remedy: if table.key.is_empty() {
            format!(
                "ALTER TABLE {name} REPLICA IDENTITY FULL; -- or give it a primary key, or name it in cdc.exclude"
            )
        } else {
            format!("ALTER TABLE {name} REPLICA IDENTITY DEFAULT;")
        },
    })
}

fn missing(what: String, remedy: String) -> Finding {
    Finding { severity: Severity::Missing, what, remedy }
}

/// For people.
fn names(tables: &[&Table]) -> String {
    tables.iter().map(|table| table.table.to_string()).collect::<Vec<_>>().join(", ")
}

/// For SQL.
fn sql_names(tables: &[&Table]) -> String {
    tables.iter().map(|table| sql_name(&table.table)).collect::<Vec<_>>().join(", ")
}
