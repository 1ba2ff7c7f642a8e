//! `affluent train MODEL`: from a file of history to a judged model in the registry. The pipeline itself is `affluent-learning`; here it is fed,
//! shown and stored.

mod dataset;
mod form;
mod options;

pub(crate) use options::{LearningOptions, RowOptions, Store};

use crate::card_payments::CardPayments;
use crate::cli::Format;
use crate::config::Config;
use crate::output::{self, Exit};
use affluent_features::Definitions;
use affluent_features::definition::parse_duration;
use affluent_learning::DAY;
use affluent_learning::fit::{Imported, Model};
use affluent_learning::registry::write_folder;
use affluent_learning::split::{Period, Protocol};
use affluent_learning::train::{TrainOptions, Trained, train};
use anyhow::Context as _;
use clap::Subcommand;
use std::path::PathBuf;
use std::time::Instant;

const EXAMPLES: &str = "\
Examples:
  affluent train fraud --from payments.parquet --train-from 2018-07-04 --train-to 2018-07-10 \\
      --test-from 2018-07-18 --test-to 2018-07-24 --label-delay 7d --evaluate     judge only: one JSON
  affluent train fraud --from payments.parquet … --report out                     register it, and write its report to out/

The protocol is that of the Fraud Detection Handbook; features come from the one feature engine, with all earlier rows of the
file as their history. See docs/models.md.";

/// Options of `affluent train`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    model: ModelArgs,
}

#[derive(Debug, Clone, Subcommand)]
enum ModelArgs {
    /// The probability that a card payment is fraud
    Fraud(FraudArgs),
}

/// Options of `affluent train fraud`.
#[derive(Debug, Clone, clap::Args)]
struct FraudArgs {
    /// Payments with labels: Parquet with transaction_id, occurred_at, customer_id, terminal_id, amount_minor, fraud
    /// and, where known, fraud_scenario
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// First day of the rows for learning
    #[arg(long, value_name = "DAY")]
    train_from: String,
    /// Last day of the rows for learning
    #[arg(long, value_name = "DAY")]
    train_to: String,
    /// First day on which the model is judged: at least the label delay after the last day for learning
    #[arg(long, value_name = "DAY")]
    test_from: String,
    /// Last day on which the model is judged
    #[arg(long, value_name = "DAY")]
    test_to: String,
    /// How long after a payment its label is known
    #[arg(long, value_name = "DURATION", default_value = "7d")]
    label_delay: String,
    /// Judged periods of the prequential validation, the one above and earlier ones [default: `learning.fraud.folds`]
    #[arg(long, value_name = "N")]
    folds: Option<usize>,
    /// Judge this model of XGBoost (saved as JSON) or LightGBM (saved as text) in place of learning one
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Judge only, and print one JSON; nothing is registered
    #[arg(long)]
    evaluate: bool,
    /// Write model, report (HTML, JSON) and plots to this folder, too
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
}

/// The name under which fraud models are registered.
const FRAUD: &str = "fraud";

/// Runs `affluent train`.
///
/// # Errors
/// A file that cannot be read, rows from which nothing can be learned, a registry that does not answer.
pub(crate) async fn run(args: Args, config: Config, format: Format) -> anyhow::Result<Exit> {
    let ModelArgs::Fraud(args) = args.model;
    let began = Instant::now();
    let protocol = protocol(&args)?;
    let mut options = config.learning.fraud.clone();
    options.folds = args.folds.unwrap_or(options.folds);
    options.check().map_err(|problem| output::usage(format!("learning.fraud.{problem}")))?;
    let definitions =
        Definitions::load(config.features.directory()).map_err(|error| output::usage(error.to_string()))?;
    let registry = config.learning.store(&config.data_dir)?;
    let scratch = tempfile::Builder::new().prefix("affluent-model_").tempdir()?;
    // Without `--evaluate` the model is compared with the one that serves.
    let champion = if args.evaluate { None } else { champion(&registry, scratch.path()).await? };

    let imported = args.model.as_deref().map(import).transpose()?;
    let file = args.from.clone();
    let work = move || fit(&file, &definitions, protocol, &options, champion.as_ref(), imported.as_ref());
    let (trained, mut took) = tokio::task::spawn_blocking(work).await??;
    if let Some(folder) = &args.report {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        write_folder(&trained, folder)?;
        output::note(&format!("the report is {}", folder.join("report.html").display()));
    }
    took.total = began.elapsed().as_secs_f64();
    if args.evaluate {
        output::print_json(&form::json(&trained.report, &took))?;
        return Ok(Exit::Done);
    }
    let registered = register(&registry, &trained, scratch.path()).await;
    let version = registered.map_err(|error| kept(error, scratch))?;
    match format {
        Format::Json => output::print_json(&form::registered_json(&trained.report, &took, version))?,
        Format::Text => output::print(&form::registered_text(&trained.report, version)),
    }
    Ok(if trained.report.failed().next().is_none() { Exit::Done } else { Exit::Failed })
}

/// Reads a model of another library.
///
/// # Errors
/// A file that cannot be read, parts that are not supported.
pub(crate) fn import(file: &std::path::Path) -> anyhow::Result<Imported> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    Imported::read(&text).with_context(|| format!("read {}", file.display()))
}

/// The model that serves, where there is one.
async fn champion(registry: &Store, scratch: &std::path::Path) -> anyhow::Result<Option<Model>> {
    if !registry.models().await?.iter().any(|model| model == FRAUD) {
        return Ok(None);
    }
    let Some(version) = registry.aliases(FRAUD).await?.champion else { return Ok(None) };
    let folder = registry.folder(FRAUD, version, &scratch.join("champion")).await?;
    let read = Model::read(&folder.join("data"));
    Ok(Some(read.with_context(|| format!("read version {version} of {FRAUD}, the champion"))?))
}

async fn register(registry: &Store, trained: &Trained, scratch: &std::path::Path) -> anyhow::Result<u64> {
    let folder = scratch.join("model");
    std::fs::create_dir_all(&folder)?;
    write_folder(trained, &folder)?;
    Ok(registry.register(FRAUD, &folder).await?)
}

/// A model that could not be registered is kept where it lies, and said so.
pub(crate) fn kept(error: anyhow::Error, scratch: tempfile::TempDir) -> anyhow::Error {
    let folder = scratch.keep().join("model");
    error.context(format!("the model is not registered; it is kept in {}", folder.display()))
}

fn protocol(args: &FraudArgs) -> anyhow::Result<Protocol> {
    let wrong = |error: &dyn std::fmt::Display| output::usage(error.to_string());
    let train = Period::days(&args.train_from, &args.train_to).map_err(|error| wrong(&error))?;
    let test = Period::days(&args.test_from, &args.test_to).map_err(|error| wrong(&error))?;
    // A number alone is days.
    let delay = match args.label_delay.parse::<i64>() {
        Ok(days) => days.checked_mul(DAY),
        Err(_) => parse_duration(&args.label_delay).ok(),
    };
    let delay = delay.filter(|&delay| delay >= 0 && delay % DAY == 0 && delay <= 1_000 * DAY);
    let message =
        || output::usage(format!("--label-delay {}: write whole days, such as 7d", args.label_delay));
    let protocol = Protocol { train, test, delay: delay.ok_or_else(message)? };
    protocol.check().map_err(|error| wrong(&error))?;
    Ok(protocol)
}

/// Reads, computes features, trains.
fn fit(
    file: &std::path::Path,
    definitions: &Definitions,
    protocol: Protocol,
    options: &TrainOptions,
    champion: Option<&Model>,
    imported: Option<&Imported>,
) -> anyhow::Result<(Trained, form::Took)> {
    let began = Instant::now();
    let seconds = |since: Instant| since.elapsed().as_secs_f64();
    let plan = dataset::FraudFeatures::new(definitions, protocol.delay)?;
    let payments = CardPayments::read_with_pattern(file)?;
    let read = seconds(began);
    let began = Instant::now();
    let span = options.span(protocol);
    let (dataset, manifest) = plan.dataset(&payments, span, &file.display().to_string())?;
    drop(payments);
    let features = seconds(began);
    let began = Instant::now();
    let trained = train(FRAUD, &dataset, manifest, protocol, options, champion, imported)?;
    let took = form::Took { read, features, train: seconds(began), total: 0.0 };
    Ok((trained, took))
}
