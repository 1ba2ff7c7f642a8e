//! `affluent dead-letters list|show|replay`: what was refused, why, and on again once mended.

use crate::cli::Format;
use crate::config::Config;
use crate::output::{self, Exit};
use crate::platform::Platform;
use affluent_model::{DeadLetter, Reason, time::format_micros};
use affluent_stream::dead_letters::{DeadLetters, Filter, Listed, id};
use anyhow::Context as _;
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

const EXAMPLES: &str = "\
Examples:
  affluent dead-letters list
  affluent dead-letters list --topic oltp.public.transactions --reason undecodable
  affluent dead-letters show oltp.public.transactions/0/4711
  affluent dead-letters replay --reason unknown_schema      after the cause was mended

Exit code 99: there is none that matches.";

/// Bytes of a key or value that `show` prints as text; all of them with --format json.
const SHOWN_BYTES_MAX: usize = 2_000;

/// All of them.
pub(crate) const REASONS: [Reason; 7] = [
    Reason::Undecodable,
    Reason::UnknownSchema,
    Reason::IncompatibleSchema,
    Reason::ValueOutOfRange,
    Reason::MissingKey,
    Reason::Refused,
    Reason::TooLarge,
];

/// Options of `affluent dead-letters`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// List the records that are waiting, oldest first
    List(Which),
    /// Show one with its original bytes
    Show {
        /// As `list` prints it: topic/partition/offset
        id: String,
    },
    /// Send the original records to their topics again
    Replay(ReplayArgs),
}

/// Which letters; without any, all.
#[derive(Debug, Clone, clap::Args)]
struct Which {
    /// Only of this topic
    #[arg(long)]
    topic: Option<String>,
    /// Only refused by this stage: cdc, sink-documents, sink-lake
    #[arg(long)]
    stage: Option<String>,
    /// Only refused for this reason
    #[arg(long, value_parser = PossibleValuesParser::new(REASONS.map(Reason::code)))]
    reason: Option<String>,
}

#[derive(Debug, Clone, clap::Args)]
struct ReplayArgs {
    /// Ids, as `list` prints them
    ids: Vec<String>,
    #[command(flatten)]
    which: Which,
    /// Replay everything that is waiting
    #[arg(long)]
    all: bool,
}

impl Which {
    fn filter(self) -> Filter {
        let reason = self.reason.and_then(|code| Reason::from_code(&code));
        Filter { topic: self.topic, stage: self.stage, reason, ..Filter::default() }
    }
}

/// Runs `affluent dead-letters`.
///
/// # Errors
/// When the bus cannot be reached.
pub(crate) async fn run(args: Args, config: Config, format: Format) -> anyhow::Result<Exit> {
    let platform = Platform::new(config)?;
    let servers = platform.bus().bootstrap_servers().to_owned();
    let letters = DeadLetters::new(platform.bus().clone())?;
    let reach = || format!("ask the bus at {servers}; is it running, and does [bus] name it?");
    match args.command {
        Command::List(which) => {
            let listed = letters.list(&which.filter()).await.with_context(reach)?;
            print_list(&listed, format)
        }
        Command::Show { id } => {
            let letter = letters.show(&id).await.with_context(reach)?;
            let letter = letter.with_context(|| {
                format!("no dead letter {id:?} is waiting; see `affluent dead-letters list`")
            })?;
            match format {
                Format::Text => output::print(&to_text(&letter)),
                Format::Json => output::print_json(&to_json(&letter, usize::MAX))?,
            }
            Ok(Exit::Done)
        }
        Command::Replay(args) => {
            let ids = args.ids.into_iter().collect();
            let filter = Filter { ids, ..args.which.filter() };
            if filter == Filter::default() && !args.all {
                return Err(output::usage(
                    "replay what? name ids, --topic, --stage or --reason, or --all".to_owned(),
                ));
            }
            let outcome = letters.replay(&filter).await.with_context(reach)?;
            match format {
                Format::Text => {
                    let mut text = format!("replayed {}\n", outcome.replayed);
                    for id in &outcome.not_replayable {
                        text += &format!(
                            "not replayable, for it never reached Kafka: {id}; mend the cause, then `affluent up --resnapshot`\n"
                        );
                    }
                    output::print(&text);
                }
                Format::Json => output::print_json(
                    &json!({"replayed": outcome.replayed, "not_replayable": outcome.not_replayable}),
                )?,
            }
            let nothing = outcome.replayed == 0 && outcome.not_replayable.is_empty();
            Ok(if nothing { Exit::NothingToDo } else { Exit::Done })
        }
    }
}

fn print_list(listed: &[Listed], format: Format) -> anyhow::Result<Exit> {
    match format {
        Format::Json => {
            let letters: Vec<Value> = listed.iter().map(|listed| to_json(&listed.letter, 0)).collect();
            output::print_json(&letters)?;
        }
        Format::Text if listed.is_empty() => output::print("no dead letters"),
        Format::Text => {
            let rows = listed.iter().map(|Listed { id, letter }| {
                let since = format_micros(letter.first_seen, true);
                vec![id.clone(), letter.stage.clone(), letter.reason.to_string(), since, letter.error.clone()]
            });
            output::print(&output::table(&["id", "stage", "reason", "first seen", "error"], rows));
        }
    }
    Ok(if listed.is_empty() { Exit::NothingToDo } else { Exit::Done })
}

fn to_text(letter: &DeadLetter) -> String {
    let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or("none".to_owned(), |bytes| printable(bytes));
    let mut text = format!(
        "id          {}\nstage       {}\nreason      {}\nerror       {}\nfirst seen  {}\nkey         {}\nvalue       {}\n",
        id(letter),
        letter.stage,
        letter.reason,
        letter.error,
        format_micros(letter.first_seen, true),
        bytes(&letter.key),
        bytes(&letter.value)
    );
    for (name, value) in &letter.headers {
        text += &format!("header      {name} = {}\n", printable(value));
    }
    text
}

/// Text as it is, anything else in hexadecimal; long ones cut, with their length.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
    let text = match std::str::from_utf8(shown) {
        Ok(text) if !text.chars().any(|c| c.is_control() && !c.is_whitespace()) => text.to_owned(),
        Ok(_) | Err(_) => hex(shown),
    };
    if shown.len() < bytes.len() {
        format!("{text}… ({} bytes; all with --format json)", bytes.len())
    } else {
        text
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A letter with at most `limit` bytes of key, value and each header, in hexadecimal.
fn to_json(letter: &DeadLetter, limit: usize) -> Value {
    let bytes = |bytes: &Vec<u8>| hex(&bytes[..bytes.len().min(limit)]);
    let mut object = json!({
        "id": id(letter),
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "stage": letter.stage,
        "reason": letter.reason.code(),
        "error": letter.error,
        "first_seen": format_micros(letter.first_seen, true),
    });
    if limit > 0 {
        object["key_hex"] = letter.key.as_ref().map(bytes).into();
        object["value_hex"] = letter.value.as_ref().map(bytes).into();
        let headers =
            letter.headers.iter().map(|(name, value)| json!({"name": name, "value_hex": bytes(value)}));
        object["headers"] = headers.collect();
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_can_be_asked_for() {
        for reason in REASONS {
            assert_eq!(Reason::from_code(reason.code()), Some(reason));
        }
    }

    #[test]
    fn bytes_are_shown_as_text_where_they_are_text() {
        assert_eq!(printable(b"{\"a\": 1}"), "{\"a\": 1}");
        assert_eq!(printable(&[0, 1, 255]), "0001ff");
        assert!(printable(&[b'x'; SHOWN_BYTES_MAX + 1]).ends_with("(2001 bytes; all with --format json)"));
    }
}
