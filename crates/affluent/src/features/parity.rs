//! `affluent features parity`: vectors that the stream has served, computed once more from the lake.

use super::store::{offline, shared_documents};
use crate::cli::Format;
use crate::config::Config;
use crate::output::{self, Exit};
use crate::status::Address;
use affluent_feature_store::online::log::{COLLECTION, Logged};
use affluent_feature_store::parity::{Parity, Sampler, parity, sample};
use affluent_lake::Lake;
use affluent_model::time::{format_micros, now_micros};
use anyhow::Context as _;
use serde_json::Value as Json;

/// Documents of a page over HTTP.
const PAGE: &str = "1000";

/// Options of `affluent features parity`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ParityArgs {
    /// So many of the logged vectors
    #[arg(long, value_name = "N", default_value_t = 200)]
    sample: usize,
    #[command(flatten)]
    address: Address,
}

/// Compares, and prints what differs by feature.
///
/// # Errors
/// No lake, a platform or store that does not answer.
pub(super) async fn run(args: ParityArgs, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let lake = Lake::open_existing(config.lake.clone()).await.context("open the lake")?;
    let offline = offline(config, &lake)?;
    let salt = now_micros();
    let logged = match shared_documents(config).await? {
        Some(store) => sample(store.as_ref(), args.sample, salt).await?,
        None => over_http(&args, config, salt).await?,
    };
    let found = parity(&lake, offline.history(), &logged).await?;
    match format {
        Format::Json => output::print_json(&found)?,
        Format::Text => output::print(&text(&found)),
    }
    Ok(match (found.mismatches, found.vectors) {
        (1.., _) => Exit::Failed,
        (0, 0) => Exit::NothingToDo,
        (0, _) => Exit::Done,
    })
}

/// A sample of what the running platform has logged: the embedded store belongs to it.
async fn over_http(args: &ParityArgs, config: &Config, salt: i64) -> anyhow::Result<Vec<Logged>> {
    let mut sampler = Sampler::new(args.sample, salt);
    let mut after = String::new();
    loop {
        let mut query = vec![("limit", PAGE)];
        if !after.is_empty() {
            query.push(("after", after.as_str()));
        }
        let response = args.address.get(config, &format!("/v1/documents/{COLLECTION}"), &query).await?;
        if response.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(Vec::new());
        }
        let page: Json = args.address.read(config, response).await?;
        for document in page["documents"].as_array().into_iter().flatten() {
            if let (Some(id), Some(logged)) = (document["_id"].as_str(), Logged::of_json(document)) {
                sampler.offer(id, logged);
            }
        }
        match page["next"].as_str() {
            Some(next) => next.clone_into(&mut after),
            None => return Ok(sampler.chosen()),
        }
    }
}

fn text(found: &Parity) -> String {
    let Parity { vectors, waiting, outdated, values, mismatches, .. } = found;
    let mut text = format!("{vectors} vectors computed again, {mismatches} of {values} values differ\n");
    for (count, what) in
        [(waiting, "whose events are not all in the lake yet"), (outdated, "of older versions")]
    {
        if *count > 0 {
            text += &format!("{count} {what}\n");
        }
    }
    let shown = |value: Option<f64>| value.map_or("-".to_owned(), |value| value.to_string());
    let differing = found.features.iter().filter(|(_, feature)| feature.mismatches > 0);
    let rows: Vec<Vec<String>> = differing
        .flat_map(|(name, feature)| {
            let part = format!("{} of {}", feature.mismatches, feature.values);
            feature.examples.iter().map(move |example| {
                vec![
                    name.clone(),
                    part.clone(),
                    format!("{} {}", example.entity, example.key),
                    format_micros(example.as_of, true),
                    shown(example.served),
                    shown(example.recomputed),
                ]
            })
        })
        .collect();
    if !rows.is_empty() {
        text += &format!(
            "\n{}",
            output::table(&["feature", "differ", "of", "as of", "served", "in the lake"], rows)
        );
    }
    text
}
