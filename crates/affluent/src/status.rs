//! `affluent status`: asks the running platform over HTTP.

use crate::cli::Format;
use crate::config::Config;
use crate::http::Status;
use crate::output::{self, Exit};
use anyhow::Context as _;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Examples:
  affluent status
  affluent status --url http://10.0.0.5:8080 --token-env METRICS_TOKEN
  affluent status --format json | jq .lag

Exit codes: 0 every role is ready, 1 not so or no answer.";

/// Options of `affluent status`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    address: Address,
}

/// Where a running platform is asked, and as whom.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Address {
    /// Where the platform answers [default: `http.listen` of the configuration]
    #[arg(long)]
    url: Option<String>,
    /// Environment variable that holds the bearer token [default: the first of `http.tokens` that may read]
    #[arg(long, value_name = "NAME")]
    token_env: Option<String>,
}

impl Address {
    fn url(&self, config: &Config) -> String {
        let url = self.url.clone().unwrap_or_else(|| config.http.url());
        url.trim_end_matches('/').to_owned()
    }

    /// What the platform answers to `GET path?query`, a failure too.
    ///
    /// # Errors
    /// When nothing answers.
    pub(crate) async fn get(
        &self,
        config: &Config,
        path: &str,
        query: &[(&str, &str)],
    ) -> anyhow::Result<reqwest::Response> {
        let url = self.url(config);
        let token = match &self.token_env {
            Some(name) => Some(std::env::var(name).with_context(|| format!("read the token from ${name}"))?),
            None => config.http.reader().map(str::to_owned),
        };
        let client = config.http.client()?.timeout(TIMEOUT).build()?;
        let mut request = client.get(format!("{url}{path}")).query(query);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.with_context(|| {
            format!("nothing answers at {url}; start it with `affluent up`, or name another address by --url")
        })
    }

    /// The answer, where it is none of a failure.
    ///
    /// # Errors
    /// What it says it failed with, or that it is not of this form.
    pub(crate) async fn read<T: serde::de::DeserializeOwned>(
        &self,
        config: &Config,
        response: reqwest::Response,
    ) -> anyhow::Result<T> {
        let url = self.url(config);
        anyhow::ensure!(
            response.status().is_success(),
            "{url} answers {}: {}",
            response.status(),
            response.text().await.unwrap_or_default()
        );
        response.json().await.with_context(|| format!("read the answer of {url}"))
    }
}

/// Asks, and prints what comes back.
///
/// # Errors
/// When nothing answers, or not as Affluent does.
pub(crate) async fn run(args: Args, config: &Config, format: Format) -> anyhow::Result<Exit> {
    let response = args.address.get(config, "/v1/status", &[]).await?;
    let status: Status = args.address.read(config, response).await?;
    match format {
        Format::Text => output::print(&to_text(&status)),
        Format::Json => output::print_json(&status)?,
    }
    Ok(if status.ready { Exit::Done } else { Exit::Failed })
}

fn to_text(status: &Status) -> String {
    let roles = status
        .roles
        .iter()
        .map(|(name, role)| vec![name.clone(), role.state.clone(), role.detail.clone().unwrap_or_default()]);
    let mut text = format!(
        "affluent {}, up {} s, {:.0} MB resident, {}\n\n{}",
        status.version,
        status.uptime_s,
        status.resident_bytes as f64 / 1e6,
        if status.ready { "ready" } else { "NOT READY" },
        output::table(&["role", "state", ""], roles)
    );
    if !status.lag.is_empty() {
        let rows =
            status.lag.iter().map(|lag| vec![lag.group.clone(), lag.topic.clone(), lag.records.to_string()]);
        text += &format!("\n{}", output::table(&["consumer group", "topic", "records behind"], rows));
    }
    if !status.slots.is_empty() {
        let rows = status.slots.iter().map(|slot| vec![slot.slot.clone(), slot.retained_bytes.to_string()]);
        text += &format!("\n{}", output::table(&["replication slot", "write-ahead log kept, bytes"], rows));
    }
    let letters =
        status.dead_letters.map_or("unknown, the bus does not answer".to_owned(), |n| n.to_string());
    text + &format!("\ndead letters: {letters}\n")
}
