//! `affluent train MODEL`: from rows of the lake, or a file of history, to a judged model in the registry. The pipeline itself is `affluent-learning`; here it is fed,
//! shown and stored.

mod again;
mod dataset;
mod form;
mod job;
mod kind;
mod lake;
mod options;
mod periods;
mod state;

pub(crate) use job::pipelines;
pub(crate) use options::{LearningOptions, RowOptions, Store};

use crate::card_payments::CardPayments;
use crate::cli::Format;
use crate::config::Config;
use crate::features::{UntilStopped, offline};
use crate::output::{self, Exit};
use affluent_feature_store::offline::Offline;
use affluent_features::Definitions;
use affluent_lake::Lake;
use affluent_learning::dataset::{Dataset, Manifest, checksum};
use affluent_learning::fit::{Imported, Model};
use affluent_learning::split::Protocol;
use affluent_learning::train::{TrainOptions, train, train_value};
use anyhow::Context as _;
use clap::Subcommand;
use kind::{Kind, Outcome};
use lake::{Asked, Planned};
use periods::PeriodArgs;
use std::path::{Path, PathBuf};
use std::time::Instant;

const EXAMPLES: &str = "\
Examples:
  affluent train fraud                       from the lake: the newest payments whose labels are known are judged
  affluent train churn --evaluate            judge only: one JSON
  affluent train score --as-of 2026-11-22T00:00:00Z --report out      register it, and write its report to out/
  affluent train fraud --again 3             learn version 3 once more from its rows, or file: does it say the same?
  affluent train fraud --from payments.parquet --train-from 2018-07-04 --train-to 2018-07-10 \\
      --test-from 2018-07-18 --test-to 2018-07-24 --label-delay 7d --evaluate     from a file, judge only

Rows come from the lake as they were known then, or from a file. The protocol is that of the Fraud Detection Handbook; features
come from the one feature engine. See docs/models.md.";

/// Options of `affluent train`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    model: ModelArgs,
}

#[derive(Debug, Clone, Subcommand)]
enum ModelArgs {
    /// The probability that a payment is fraud
    Fraud(FraudArgs),
    /// The probability that a customer does not come back
    Churn(CustomerArgs),
    /// What a customer will bring: payments less refunds, in the reporting currency
    Score(CustomerArgs),
}

/// Options that all models have.
#[derive(Debug, Clone, clap::Args)]
struct CommonArgs {
    /// What had come by then is known, 2026-11-22T00:00:00Z [default: up to where the warehouse knows]
    #[arg(long, value_name = "TIME", value_parser = crate::batch::time)]
    as_of: Option<i64>,
    #[command(flatten)]
    periods: PeriodArgs,
    /// Judged periods of the prequential validation, the newest and earlier ones [default: `learning.MODEL.folds`]
    #[arg(long, value_name = "N")]
    folds: Option<usize>,
    /// Judge only, and print one JSON; nothing is registered
    #[arg(long)]
    evaluate: bool,
    /// Write model, report (HTML, JSON) and plots to this folder, too
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
    /// Learn this version once more, from the rows that its manifest names, and see whether it says the same; nothing is registered
    #[arg(long, value_name = "VERSION", conflicts_with_all = ["as_of", "train_from", "folds", "evaluate", "report"])]
    again: Option<u64>,
}

/// Options of `affluent train fraud`.
#[derive(Debug, Clone, clap::Args)]
struct FraudArgs {
    /// Learn from this file in place of the lake; Parquet with transaction_id, occurred_at, customer_id, terminal_id,
    /// amount_minor, fraud and, where known, fraud_scenario. Needs the four days below, but with --again, where it says where the file is by now
    #[arg(long, value_name = "FILE", conflicts_with = "as_of")]
    from: Option<PathBuf>,
    /// How long after a payment its label is known [default: 7d of a file, `learning.rows.fraud_label_delay_s` of the lake]
    #[arg(long, value_name = "DURATION")]
    label_delay: Option<String>,
    /// Judge this model of XGBoost (saved as JSON) or LightGBM (saved as text) in place of learning one
    #[arg(long, value_name = "FILE", requires = "from", conflicts_with = "again")]
    model: Option<PathBuf>,
    #[command(flatten)]
    common: CommonArgs,
}

/// Options of `affluent train churn` and `affluent train score`.
#[derive(Debug, Clone, clap::Args)]
struct CustomerArgs {
    /// How far ahead is looked [default: `learning.rows.churn_horizon_s`, `learning.rows.score_horizon_s`]
    #[arg(long, value_name = "DURATION")]
    horizon: Option<String>,
    #[command(flatten)]
    common: CommonArgs,
}

/// Labels of a file are known so long after their payments, where nothing else is said.
const FILE_DELAY: &str = "7d";

/// Runs `affluent train`.
///
/// # Errors
/// Rows that cannot be read or from which nothing can be learned, a registry that does not answer.
pub(crate) async fn run(args: Args, config: Config, format: Format) -> anyhow::Result<Exit> {
    match args.model {
        ModelArgs::Fraud(FraudArgs { from, common: CommonArgs { again: Some(version), .. }, .. }) => {
            Box::pin(again::run(Kind::Fraud, version, from, config, format)).await
        }
        ModelArgs::Churn(CustomerArgs { common: CommonArgs { again: Some(version), .. }, .. }) => {
            Box::pin(again::run(Kind::Churn, version, None, config, format)).await
        }
        ModelArgs::Score(CustomerArgs { common: CommonArgs { again: Some(version), .. }, .. }) => {
            Box::pin(again::run(Kind::Score, version, None, config, format)).await
        }
        ModelArgs::Fraud(FraudArgs { from: Some(file), label_delay, model, common }) => {
            Box::pin(from_file(&file, label_delay, model, common, config, format)).await
        }
        ModelArgs::Fraud(FraudArgs { from: None, label_delay, model: _, common }) => {
            let delay = label_delay.map(|text| periods::duration("label-delay", &text)).transpose()?;
            Box::pin(from_lake(Kind::Fraud, delay, common, config, format)).await
        }
        ModelArgs::Churn(CustomerArgs { horizon, common }) => {
            let delay = horizon.map(|text| periods::duration("horizon", &text)).transpose()?;
            Box::pin(from_lake(Kind::Churn, delay, common, config, format)).await
        }
        ModelArgs::Score(CustomerArgs { horizon, common }) => {
            let delay = horizon.map(|text| periods::duration("horizon", &text)).transpose()?;
            Box::pin(from_lake(Kind::Score, delay, common, config, format)).await
        }
    }
}

/// The options of a model with what the command line says of them.
fn trained_by(kind: Kind, config: &Config, common: &CommonArgs) -> anyhow::Result<TrainOptions> {
    let mut options = kind.options(&config.learning).clone();
    options.folds = common.folds.unwrap_or(options.folds);
    let wrong = |problem| output::usage(format!("learning.{}.{problem}", kind.name()));
    options.check().map_err(wrong)?;
    Ok(options)
}

async fn from_lake(
    kind: Kind,
    delay: Option<i64>,
    common: CommonArgs,
    config: Config,
    format: Format,
) -> anyhow::Result<Exit> {
    let began = Instant::now();
    let options = trained_by(kind, &config, &common)?;
    let protocol = common.periods.protocol(delay.unwrap_or_else(|| lake::delay(kind, &config.learning)))?;
    let offline = open_offline(&config).await?;
    let registry = config.learning.store(&config.data_dir)?;
    let scratch = tempfile::Builder::new().prefix("affluent-model_").tempdir()?;
    let champion = if common.evaluate { None } else { champion(&registry, kind, scratch.path()).await? };
    let asked = Asked { as_of: common.as_of, protocol, delay, folds: common.folds };
    let writer = UntilStopped(crate::batch::stopped_by_signals()?);
    let (planned, dataset) = lake::prepare(&offline, kind, &config.learning, asked, &writer).await?;
    let features = began.elapsed().as_secs_f64();
    let work = move || {
        let began = Instant::now();
        let Planned { protocol, manifest, notes } = planned;
        let mut outcome = learned(kind, &dataset, manifest, protocol, &options, champion.as_ref(), None)?;
        outcome.note(&notes);
        let took = form::Took { read: 0.0, features, train: began.elapsed().as_secs_f64(), total: 0.0 };
        Ok::<_, anyhow::Error>((outcome, took))
    };
    let (outcome, mut took) = tokio::task::spawn_blocking(work).await??;
    took.total = began.elapsed().as_secs_f64();
    finish(kind, &outcome, took, &common, (&registry, scratch), format).await
}

/// The store of features over the lake, which has to be there.
async fn open_offline(config: &Config) -> anyhow::Result<Offline> {
    let remedy = "does `[lake]` name the right directory, and did `affluent up` or `affluent import` ever write to it?";
    let opened = Lake::open_existing(config.lake.clone()).await;
    offline(config, &opened.with_context(|| format!("open the lake; {remedy}"))?)
}

async fn from_file(
    file: &Path,
    label_delay: Option<String>,
    model: Option<PathBuf>,
    common: CommonArgs,
    config: Config,
    format: Format,
) -> anyhow::Result<Exit> {
    let (began, kind) = (Instant::now(), Kind::Fraud);
    let delay = periods::whole_days("label-delay", label_delay.as_deref().unwrap_or(FILE_DELAY))?;
    let protocol = common.periods.protocol(delay)?.ok_or_else(|| {
        output::usage("--from needs --train-from, --train-to, --test-from and --test-to".to_owned())
    })?;
    let options = trained_by(kind, &config, &common)?;
    let definitions =
        Definitions::load(config.features.directory()).map_err(|error| output::usage(error.to_string()))?;
    let registry = config.learning.store(&config.data_dir)?;
    let scratch = tempfile::Builder::new().prefix("affluent-model_").tempdir()?;
    // Without `--evaluate` the model is compared with the one that serves.
    let champion = if common.evaluate { None } else { champion(&registry, kind, scratch.path()).await? };
    let imported = model.as_deref().map(import).transpose()?;
    let file = file.to_owned();
    let work =
        move || fit_file(&file, &definitions, protocol, &options, champion.as_ref(), imported.as_ref());
    let (outcome, mut took) = tokio::task::spawn_blocking(work).await??;
    took.total = began.elapsed().as_secs_f64();
    finish(kind, &outcome, took, &common, (&registry, scratch), format).await
}

/// Writes, prints and registers what was trained.
async fn finish(
    kind: Kind,
    outcome: &Outcome,
    took: form::Took,
    common: &CommonArgs,
    (registry, scratch): (&Store, tempfile::TempDir),
    format: Format,
) -> anyhow::Result<Exit> {
    if let Some(folder) = &common.report {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        outcome.write(folder)?;
        output::note(&format!("the report is {}", folder.join("report.html").display()));
    }
    if common.evaluate {
        output::print_json(&outcome.json(&took, None))?;
        return Ok(Exit::Done);
    }
    let registered = register(registry, kind, outcome, scratch.path()).await;
    let version = registered.map_err(|error| kept(error, scratch))?;
    match format {
        Format::Json => output::print_json(&outcome.json(&took, Some(version)))?,
        Format::Text => output::print(&outcome.text(version)),
    }
    Ok(if outcome.gates().iter().all(|gate| gate.passed) { Exit::Done } else { Exit::Failed })
}

/// Reads a model of another library.
///
/// # Errors
/// A file that cannot be read, parts that are not supported.
pub(crate) fn import(file: &Path) -> anyhow::Result<Imported> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    Imported::read(&text).with_context(|| format!("read {}", file.display()))
}

/// The model that serves, where there is one.
async fn champion(registry: &Store, kind: Kind, scratch: &Path) -> anyhow::Result<Option<Model>> {
    let name = kind.name();
    if !registry.models().await?.iter().any(|model| model == name) {
        return Ok(None);
    }
    let Some(version) = registry.aliases(name).await?.champion else { return Ok(None) };
    let folder = registry.folder(name, version, &scratch.join("champion")).await?;
    let read = Model::read(&folder.join("data"));
    Ok(Some(read.with_context(|| format!("read version {version} of {name}, the champion"))?))
}

async fn register(registry: &Store, kind: Kind, outcome: &Outcome, scratch: &Path) -> anyhow::Result<u64> {
    let folder = scratch.join("model");
    std::fs::create_dir_all(&folder)?;
    outcome.write(&folder)?;
    Ok(registry.register(kind.name(), &folder).await?)
}

/// A model that could not be registered is kept where it lies, and said so.
pub(crate) fn kept(error: anyhow::Error, scratch: tempfile::TempDir) -> anyhow::Error {
    let folder = scratch.keep().join("model");
    error.context(format!("the model is not registered; it is kept in {}", folder.display()))
}

/// Trains and judges.
fn learned(
    kind: Kind,
    dataset: &Dataset,
    manifest: Manifest,
    protocol: Protocol,
    options: &TrainOptions,
    champion: Option<&Model>,
    imported: Option<&Imported>,
) -> anyhow::Result<Outcome> {
    let name = kind.name();
    Ok(match kind {
        Kind::Fraud | Kind::Churn => {
            Outcome::Class(Box::new(train(name, dataset, manifest, protocol, options, champion, imported)?))
        }
        Kind::Score => {
            let trained = train_value(name, dataset, manifest, protocol, options, champion)?;
            Outcome::Value(Box::new(trained))
        }
    })
}

/// The rows of a file with their features, and how many seconds reading and computing took.
struct FileRows {
    dataset: Dataset,
    manifest: Manifest,
    read: f64,
    features: f64,
}

impl FileRows {
    fn read(
        file: &Path,
        definitions: &Definitions,
        protocol: Protocol,
        options: &TrainOptions,
    ) -> anyhow::Result<Self> {
        let began = Instant::now();
        let plan = dataset::FraudFeatures::new(definitions, protocol.delay)?;
        let payments = CardPayments::read_with_pattern(file)?;
        let checksum = file_checksum(file)?;
        let read = began.elapsed().as_secs_f64();
        let began = Instant::now();
        let span = options.span(protocol);
        let (dataset, manifest) = plan.dataset(&payments, span, &file.display().to_string())?;
        let manifest = Manifest { file_sha256: Some(checksum), ..manifest };
        Ok(FileRows { dataset, manifest, read, features: began.elapsed().as_secs_f64() })
    }
}

fn file_checksum(file: &Path) -> anyhow::Result<String> {
    let found = std::fs::File::open(file).and_then(checksum);
    found.with_context(|| format!("read {}", file.display()))
}

/// Reads a file, computes features, trains.
fn fit_file(
    file: &Path,
    definitions: &Definitions,
    protocol: Protocol,
    options: &TrainOptions,
    champion: Option<&Model>,
    imported: Option<&Imported>,
) -> anyhow::Result<(Outcome, form::Took)> {
    let FileRows { dataset, manifest, read, features } =
        FileRows::read(file, definitions, protocol, options)?;
    let began = Instant::now();
    let outcome = learned(Kind::Fraud, &dataset, manifest, protocol, options, champion, imported)?;
    let took = form::Took { read, features, train: began.elapsed().as_secs_f64(), total: 0.0 };
    Ok((outcome, took))
}
