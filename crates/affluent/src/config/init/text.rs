//! The file that `affluent config init` writes: what was found as comments, what differs from the defaults as keys. Pure.

use super::personal;
use crate::output;
use affluent_stream::cdc::survey::{Finding, Severity, Survey, Table};
use affluent_stream::cdc::{CdcOptions, Protection};
use toml::Value;

/// Rows that a first reading takes in a second where database and platform share two cores, see docs/performance.md.
const READ_ROWS_S: i64 = 100_000;
/// Columns of the reference schema into which scores are written.
const SCORED: [&str; 3] = ["risk_score", "risk_decision", "risk_scored_at"];

/// A configuration for the tables that `options` select; `connection` as it is to be written.
pub(super) fn starting_file(
    seen: &Survey,
    options: &CdcOptions,
    findings: &[Finding],
    connection: &str,
) -> String {
    let selected: Vec<&Table> = seen.selected(options).collect();
    let server = &seen.server;
    let head = format!(
        "Affluent for the database {} (PostgreSQL {}.{}), after a look at it. Keys that are not here have their defaults:\n\
         `affluent config defaults` prints and explains them. `affluent config check --connect` tries what is here.",
        server.database,
        server.version / 10_000,
        server.version % 10_000
    );
    [
        comment(&head),
        of_findings(findings),
        "\n# Everything that the embedded services keep.\ndata_dir = \"data\"\n".to_owned(),
        of_source(options, connection),
        of_tables(&selected),
        format!("tables = {}\nexclude = {}\n", list(&options.tables), list(&options.exclude)),
        of_protection(&selected),
        of_scores(&selected),
        SERVICES.to_owned(),
    ]
    .concat()
}

/// Where the rest of the platform is: all of it embedded, to begin with.
const SERVICES: &str = r#"
[bus]
# Your Kafka, as "kafka-1:9092,kafka-2:9092"; empty: the embedded broker, on this machine. How it is spoken to: [bus.properties].
bootstrap_servers = ""

[documents]
# Where mirrors, clicks, features and scores are read: embedded, or mongodb with [documents.mongodb] uri.
backend = "embedded"

[http]
# Metrics, console, scores and the collector of clicks. Beyond this machine only with [[http.tokens]] and [[collect.tokens]].
listen = "127.0.0.1:8080"
"#;

fn of_findings(findings: &[Finding]) -> String {
    let part = |severity: Severity, title: &str| {
        let these: Vec<&Finding> = findings.iter().filter(|f| f.severity == severity).collect();
        if these.is_empty() {
            return String::new();
        }
        let lines = these.iter().map(|finding| format!("- {}\n    {}\n", finding.what, finding.remedy));
        format!("#\n{}", comment(&(format!("{title}\n") + &lines.collect::<String>())))
    };
    part(Severity::Missing, "What has to be done before capture starts:")
        + &part(Severity::Advice, "What is to be known:")
}

fn of_source(options: &CdcOptions, connection: &str) -> String {
    let secret = if connection.contains("${env:PGPASSWORD}") {
        "# The password comes from the environment variable PGPASSWORD (percent-encoded, in a URL); a file does as well: ${file:PATH}.\n"
    } else {
        ""
    };
    let text = |text: &str| Value::from(text).to_string();
    format!(
        "\n[cdc]\n{secret}connection = {}\n# Names of the replication slot and of the publication, and of the source: its topics are \
         <source>.<schema>.<table>.\nslot = {}\npublication = {}\nsource = {}\n",
        text(connection),
        text(&options.slot),
        text(&options.publication),
        text(&options.source)
    )
}

/// The tables that are captured, the largest first, and what reading them takes.
fn of_tables(selected: &[&Table]) -> String {
    let mut tables = selected.to_vec();
    tables.sort_by_key(|table| std::cmp::Reverse(table.bytes));
    let rows = tables.iter().map(|found| {
        let key = if found.key.is_empty() { "none".to_owned() } else { found.key.join(", ") };
        vec![found.table.to_string(), found.rows.to_string(), size(found.bytes), key]
    });
    let list = output::table(&["table", "rows, about", "on disk", "primary key"], rows);
    let (count, bytes): (i64, i64) =
        tables.iter().fold((0, 0), |(rows, bytes), found| (rows + found.rows, bytes + found.bytes));
    let reading = format!(
        "Tables that are captured. They are read once before their changes: about {count} rows, {}, some {} s.",
        size(bytes),
        count / READ_ROWS_S + 1
    );
    format!("\n{}", comment(&format!("{reading}\n{list}")))
}

fn of_protection(selected: &[&Table]) -> String {
    let mut text = comment(
        "Columns that are changed before anything leaves the source: token (equal values stay equal), hash, mask, drop. Proposed by \
         their names alone:\nread through the list, for names do not say everything. Taken back by \"\".",
    );
    text = format!("\n[cdc.protect]\n{text}");
    for found in selected {
        for column in found.columns.iter().filter(|column| !found.key.contains(&column.name)) {
            let Some(proposed) = personal::proposed(&column.name) else { continue };
            if [&found.table.schema, &found.table.name, &column.name].iter().any(|name| !is_plain(name)) {
                continue;
            }
            let key = Value::from(format!("{}.{}", found.table, column.name)).to_string();
            let line = format!("{key} = \"{}\"", name(proposed));
            // Other types than texts become one: who computes with them has to know.
            let line = if column.text { line } else { comment(&line).trim_end().to_owned() };
            text += &format!("{line}\n");
        }
    }
    text
}

/// Nothing is written into a database of another schema than the one that the statement is for.
fn of_scores(selected: &[&Table]) -> String {
    let takes_scores = selected.iter().any(|found| {
        let has = |name: &&str| found.columns.iter().any(|column| column.name == **name);
        found.table.name == "transactions" && SCORED.iter().all(has)
    });
    if takes_scores {
        return String::new();
    }
    "\n[score.stream.write_back]\n# Nothing is written into this database: no table has the columns for scores. See docs/scoring.md.\n\
     statement = \"\"\n"
        .to_owned()
}

/// A name of which a key `schema.table.column` can be made.
fn is_plain(name: &str) -> bool {
    !name.contains(|c: char| c == '.' || c.is_control())
}

fn name(protection: Protection) -> &'static str {
    match protection {
        Protection::Token => "token",
        Protection::Hash => "hash",
        Protection::Mask => "mask",
        Protection::Drop => "drop",
    }
}

fn list(texts: &[String]) -> String {
    Value::Array(texts.iter().map(|text| Value::from(text.as_str())).collect()).to_string()
}

/// A size on disk for people.
fn size(bytes: i64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Lines of a comment. Names of tables may hold anything, but none of it ends the comment.
fn comment(text: &str) -> String {
    let plain = |line: &str| line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    text.lines().map(|line| format!("# {}", plain(line)).trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::layers::Layers;
    use super::super::super::{Config, DEFAULTS};
    use super::*;
    use affluent_model::TableId;
    use affluent_stream::cdc::survey::{Column, ReplicaIdentity, Server, User};

    fn table(name: &str, columns: &[(&str, bool)]) -> Table {
        let columns = columns.iter().map(|&(name, text)| Column { name: name.to_owned(), text });
        Table {
            table: TableId::new("shop", name),
            partitioned: false,
            key: vec!["id".to_owned()],
            identity: ReplicaIdentity::Default,
            rows: 250_000,
            bytes: 40_000_000,
            readable: true,
            owned: true,
            columns: columns.collect(),
        }
    }

    fn seen(tables: Vec<Table>) -> Survey {
        let server = Server {
            version: 150_004,
            database: "shop".to_owned(),
            wal_level: "replica".to_owned(),
            slots_max: 10,
            slots_used: 0,
            senders_max: 10,
            senders_used: 0,
            in_recovery: false,
            slot_keep_mb: -1,
        };
        let user =
            User { name: "me".into(), superuser: true, replication: true, creates: true, refused: None };
        Survey { server, user, slot: None, publication: None, tables }
    }

    /// The file, and what it configures.
    fn written(seen: &Survey) -> (String, Config) {
        let options =
            CdcOptions { tables: vec!["shop.*".into()], slot: "shop_cdc".into(), ..CdcOptions::default() };
        let findings = seen.findings(&options);
        let text = starting_file(seen, &options, &findings, "postgresql://me:${env:PGPASSWORD}@db/shop");
        let mut layers = Layers::new(DEFAULTS).unwrap();
        layers.add_file(&text, "init.toml").unwrap_or_else(|error| panic!("{error}\n{text}"));
        let env = |name: &str| (name == "PGPASSWORD").then(|| "s3cret".to_owned());
        let config = Config::from_layers(&layers, &env).unwrap_or_else(|error| panic!("{error}\n{text}"));
        (text, config)
    }

    #[test]
    fn it_is_a_configuration_of_what_was_found() {
        let columns = [("id", false), ("email", true), ("birth_date", false), ("note", true)];
        let (text, config) =
            written(&seen(vec![table("customers", &columns), table("odd\n[cdc]\nslot", &[("email", true)])]));
        assert_eq!(config.cdc.connection, "postgresql://me:s3cret@db/shop");
        assert_eq!(
            (config.cdc.slot.as_str(), &config.cdc.tables[..]),
            ("shop_cdc", &["shop.*".to_owned()][..])
        );
        assert_eq!(config.cdc.protect["shop.customers.email"], Protection::Token);
        assert!(!config.cdc.protect.contains_key("shop.customers.birth_date"));
        for part in [
            "PostgreSQL 15.4",
            "# - wal_level is replica",
            "#     ALTER SYSTEM SET wal_level",
            "40.0 MB  id",
            "about 500000 rows, 80.0 MB, some 6 s",
            "# \"shop.customers.birth_date\" = \"drop\"",
            "PGPASSWORD (percent-encoded",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
        assert_eq!(config.score.stream.write_back.statement, "");
    }

    #[test]
    fn scores_go_where_there_are_columns_for_them() {
        let columns = SCORED.map(|name| (name, false));
        let (text, config) = written(&seen(vec![table("transactions", &columns)]));
        assert!(!config.score.stream.write_back.statement.is_empty(), "{text}");
    }
}
