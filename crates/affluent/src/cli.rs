//! The command line: what can be asked for, and the help texts. What a command does lives in its
//! own module.

use crate::{
    batch, bench, config, dead_letters, demo, erase, features, import, metrics, models, roles, sql, status,
    train, verify,
};
use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  affluent demo --seconds 60            see it work: a throwaway PostgreSQL, load, every role, the figures
  affluent up                           every role in one process, embedded services, config ./affluent.toml
  affluent up --config shop.toml        the same with your own config
  affluent run cdc sink-lake            some roles only, to spread them over processes
  affluent status                       roles, lag, write-ahead log kept, dead letters
  affluent sql 'select count(*) from raw.transactions'    a question to the lake
  affluent batch status                 the pipelines to the warehouse, and what they have published
  affluent import transactions --from old.parquet         history from a file, each row once
  affluent features list                the features that are defined, with owner, window and freshness
  affluent train fraud --help           train a model on a file of payments, and judge it
  affluent erase --check --customer 42    where is anything of this customer?
  affluent config init --help           a configuration to start from, for a database of your own
  affluent config check --connect       try every connection and permission, and say what to fix
  affluent config show                  what is in force: defaults, file and environment together

Configuration: defaults, then the file of --config (else ./affluent.toml where there is one), then
environment variables: AFFLUENT__CDC__CONNECTION sets `connection` in section [cdc].
Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 99 nothing to do.";

/// A payments data platform in one binary: every change of the payments database in Kafka, in a
/// document store and in a data lake, within seconds and without losing one.
#[derive(Debug, Parser)]
#[command(name = "affluent", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Configuration file [default: ./affluent.toml, where there is one]
    #[arg(long, global = true, value_name = "FILE", env = "AFFLUENT_CONFIG", hide_env_values = true)]
    pub(crate) config: Option<PathBuf>,
    /// Output for people or for machines
    #[arg(long, global = true, value_enum, default_value_t)]
    pub(crate) format: Output,
}

/// The form of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    #[default]
    #[value(alias = "table")]
    Text,
    Json,
    /// Of `affluent sql` only
    Csv,
}

/// Who reads the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run every role in one process, with embedded services for whatever the config leaves out
    Up(roles::UpArgs),
    /// Run some roles only
    Run(roles::RunArgs),
    /// Show roles, lag, the write-ahead log kept on the source, and dead letters
    Status(status::Args),
    /// See it work: a throwaway PostgreSQL under load, every role, the figures and the proof
    Demo(demo::Args),
    /// Compare every row of the source with Kafka, the mirrors and the lake
    Verify(verify::Args),
    /// Write a configuration to start from, check one, or show what is in force
    Config(config::Args),
    /// List, show or replay quarantined records
    DeadLetters(dead_letters::Args),
    /// Erase customers from every store, or search where they still are
    Erase(erase::Args),
    /// Ask the lake in SQL
    Sql(sql::Args),
    /// Run the pipelines to the warehouse, and see or turn back what they made
    Batch(batch::Args),
    /// List, show and check the definitions of features, and get the values of a key
    Features(features::Args),
    /// Load history from a Parquet, CSV or NDJSON file into the lake
    Import(import::Args),
    /// Train a model, and judge it
    Train(train::Args),
    /// List models, and say which of them serves
    Models(models::Args),
    /// List the metrics that a process exports, with their labels and meaning
    Metrics(metrics::Args),
    /// Measure one part against its goals
    Bench(bench::Args),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// The words of a line of a shell, up to a comment, a pipe or a redirection.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None::<char>);
        for c in line.chars() {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (None, '\'' | '"') => {
                    quote = Some(c);
                    word = Some(word.unwrap_or_default());
                }
                (None, '#' | '|' | '>') if word.is_none() => break,
                (None, ' ') => words.extend(word.take()),
                (Some(_) | None, c) => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word);
        words
    }

    #[test]
    fn the_commands_of_the_documentation_are_understood() {
        for (file, text) in [
            ("README.md", include_str!("../../../README.md")),
            ("docs/features.md", include_str!("../../../docs/features.md")),
            ("docs/import.md", include_str!("../../../docs/import.md")),
            ("README.fr.md", include_str!("../../../README.fr.md")),
            ("docs/quick-start.md", include_str!("../../../docs/quick-start.md")),
            ("docs/operations.md", include_str!("../../../docs/operations.md")),
            ("docs/erasure.md", include_str!("../../../docs/erasure.md")),
        ] {
            let text = text.replace("\\\n", " ");
            let shell = text.split("```").filter_map(|part| part.strip_prefix("sh\n"));
            let commands: Vec<&str> =
                shell.flat_map(str::lines).filter(|line| line.starts_with("affluent ")).collect();
            assert!(commands.len() > 4, "{file}: {commands:?}");
            for command in commands {
                if let Err(error) = Cli::try_parse_from(words(command)) {
                    panic!("{file}: {command}: {error}");
                }
            }
        }
    }

    /// Lists of arguments behind `command:` and `args:` of YAML, where they are JSON as ours are, and lines `ExecStart=` of systemd.
    #[test]
    fn the_commands_of_the_deployments_are_understood() {
        for (file, text) in [
            ("compose.yaml", include_str!("../../../deploy/compose/compose.yaml")),
            ("roles.yaml", include_str!("../../../deploy/kubernetes/roles.yaml")),
            ("affluent.service", include_str!("../../../deploy/systemd/affluent.service")),
            ("affluent@.service", include_str!("../../../deploy/systemd/affluent@.service")),
        ] {
            let list = |line: &str| {
                let list = line.trim().strip_prefix("args: ").or(line.trim().strip_prefix("command: "))?;
                serde_json::from_str::<Vec<String>>(list).ok()
            };
            let lists = text.lines().filter_map(list);
            let starts =
                text.lines().filter_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/affluent "));
            let starts = starts.map(|line| words(&line.replace("%i", "cdc")));
            let commands: Vec<Vec<String>> = lists.chain(starts).collect();
            assert!(!commands.is_empty(), "{file}");
            for command in commands {
                let line = std::iter::once("affluent".to_owned()).chain(command.clone());
                if let Err(error) = Cli::try_parse_from(line) {
                    panic!("{file}: {command:?}: {error}");
                }
            }
        }
    }
}
