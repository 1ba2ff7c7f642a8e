//! `affluent features get`: asks the running platform over HTTP.

use crate::cli::Format;
use crate::config::Config;
use crate::http::{KeyValue, KeyValues};
use crate::output::{self, Exit};
use crate::status::Address;

/// Options of `affluent features get`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct GetArgs {
    /// customer, merchant, terminal, device, card, ip, user, visitor, or an entity of your own
    entity: String,
    /// As the source has it: 42, T-7, 203.0.113.9
    key: String,
    #[command(flatten)]
    address: Address,
}

/// Prints the newest values of the key.
///
/// # Errors
/// When nothing answers. A key that is not known is an answer: it ends with 1.
pub(super) async fn run(args: GetArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let query = [("entity", args.entity.as_str()), ("key", args.key.as_str())];
    let response = args.address.get(config, "/v1/features", &query).await?;
    if response.status() == reqwest::StatusCode::NOT_FOUND {
        output::note(&format!("no features of {} {:?} are stored", args.entity, args.key));
        return Ok(Exit::Failed);
    }
    let answer: KeyValues = args.address.read(config, response).await?;
    match format {
        Format::Json => output::print_json(&answer)?,
        Format::Text => output::print(&to_text(&answer)),
    }
    Ok(Exit::Done)
}

fn to_text(answer: &KeyValues) -> String {
    let row = |(name, value): (&String, &KeyValue)| {
        let KeyValue { value, freshness, as_of, is_exact, .. } = value;
        let shown = value.map_or("-".to_owned(), |value| value.to_string());
        let note = if *is_exact { "" } else { "older events are missing" };
        vec![name.clone(), shown, freshness.clone(), as_of.clone(), note.to_owned()]
    };
    output::table(&["feature", "value", "freshness", "as of", ""], answer.features.iter().map(row))
}
