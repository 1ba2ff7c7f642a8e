//! The configuration: `config/affluent.toml` (compiled in) overlaid by a file and the environment,
//! turned once into the options of every part.
//!
//! Here live loading, the sections and `affluent config`: `init` writes a file to start from, `connect` tries what is configured. What a key means belongs to the part whose
//! options it is.

mod connect;
mod error;
mod init;
mod layers;
mod secrets;
mod show;

#[cfg(test)]
mod tests;

pub(crate) use error::ConfigError;
pub(crate) use show::{Args, run};

use crate::features::FeatureOptions;
use crate::http::HttpOptions;
use crate::observe::TelemetryOptions;
use crate::scoring::ScoringOptions;
use crate::train::LearningOptions;
use affluent_bi::BiOptions;
use affluent_broker::BrokerOptions;
use affluent_bus::BusOptions;
use affluent_bus::registry::{RegistryOptions, RegistryServerOptions};
use affluent_documents::DocumentsOptions;
use affluent_lake::LakeOptions;
use affluent_lake::sql::cluster::{ExecutorOptions, SchedulerOptions};
use affluent_model::names::{TOPIC_DEAD_LETTERS, TOPIC_LABELS};
use affluent_schedule::ScheduleOptions;
use affluent_stream::cdc::CdcOptions;
use affluent_stream::collect::CollectOptions;
use affluent_stream::consume::ConsumeOptions;
use affluent_stream::sinks::events::EventOptions;
use affluent_telemetry::logs::LogFormat;
use affluent_warehouse::batch::BatchOptions;
use affluent_warehouse::staged::StageOptions;
use affluent_watch::AlertOptions;
use layers::Layers;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Every key with its default and its meaning.
pub(crate) const DEFAULTS: &str = include_str!("../../../../config/affluent.toml");
/// Read when `--config` names no file and this one exists.
const DEFAULT_FILE: &str = "affluent.toml";

/// The options of every part.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Under it lies everything that the embedded services keep.
    pub(crate) data_dir: PathBuf,
    pub(crate) cdc: CdcOptions,
    pub(crate) bus: BusOptions,
    pub(crate) broker: BrokerOptions,
    pub(crate) registry: RegistryOptions,
    pub(crate) registry_server: RegistryServerOptions,
    pub(crate) documents: DocumentsOptions,
    pub(crate) lake: LakeOptions,
    pub(crate) sink_documents: ConsumeOptions,
    pub(crate) sink_events: ConsumeOptions,
    pub(crate) sink_lake: ConsumeOptions,
    pub(crate) events: EventOptions,
    pub(crate) stage: StageOptions,
    pub(crate) batch: BatchOptions,
    pub(crate) batch_scheduler: SchedulerOptions,
    pub(crate) batch_executor: ExecutorOptions,
    pub(crate) features: FeatureOptions,
    pub(crate) learning: LearningOptions,
    pub(crate) score: ScoringOptions,
    pub(crate) schedule: ScheduleOptions,
    pub(crate) collect: CollectOptions,
    pub(crate) http: HttpOptions,
    pub(crate) alerts: AlertOptions,
    pub(crate) bi: BiOptions,
    pub(crate) log: LogOptions,
    pub(crate) telemetry: TelemetryOptions,
}

/// Section `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogOptions {
    /// Which lines are written, in the syntax of `RUST_LOG`.
    pub(crate) filter: String,
    pub(crate) format: LogFormat,
}

impl Default for LogOptions {
    fn default() -> Self {
        let filter =
            "info,fjall=warn,lsm_tree=warn,ballista_core=warn,ballista_scheduler=warn,ballista_executor=warn";
        LogOptions { filter: filter.to_owned(), format: LogFormat::Text }
    }
}

impl Config {
    /// The configuration in force: defaults, `file` (else `./affluent.toml`), environment.
    ///
    /// # Errors
    /// Whatever is wrong with it, by key, place and remedy.
    pub(crate) fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::from_layers(&read_layers(file)?, &|name| std::env::var(name).ok())
    }

    /// As [`Config::load`], with `settings` (TOML) over all the rest; `origin` names them in errors.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn load_with(file: Option<&Path>, settings: &str, origin: &str) -> Result<Self, ConfigError> {
        let mut layers = read_layers(file)?;
        layers.add_file(settings, origin)?;
        Self::from_layers(&layers, &|name| std::env::var(name).ok())
    }

    fn from_layers(layers: &Layers, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut sections = Sections { values: layers.resolved(env)?, layers };
        // Absent from here on means the embedded broker; the bus itself has another default.
        let bootstrap_servers = layers_text(&sections.values, "bus", "bootstrap_servers");
        let mut config = Config {
            data_dir: sections.take("data_dir")?,
            cdc: sections.take("cdc")?,
            bus: BusOptions { bootstrap_servers, ..sections.take("bus")? },
            broker: sections.take("broker")?,
            registry: sections.take("registry")?,
            registry_server: sections.take("registry_server")?,
            documents: sections.take("documents")?,
            lake: sections.take("lake")?,
            sink_documents: sections.take("sink_documents")?,
            sink_events: sections.take("sink_events")?,
            sink_lake: sections.take("sink_lake")?,
            events: sections.take("events")?,
            stage: sections.take("stage")?,
            batch: sections.take("batch")?,
            batch_scheduler: sections.take("batch_scheduler")?,
            batch_executor: sections.take("batch_executor")?,
            features: sections.take("features")?,
            learning: sections.take("learning")?,
            score: sections.take("score")?,
            schedule: sections.take("schedule")?,
            collect: sections.take("collect")?,
            http: sections.take("http")?,
            alerts: sections.take("alerts")?,
            bi: sections.take("bi")?,
            log: sections.take("log")?,
            telemetry: sections.take("telemetry")?,
        };
        config.fill_sinks();
        config.check()?;
        Ok(config)
    }

    /// The built-in defaults alone.
    #[cfg(test)]
    pub(crate) fn builtin() -> Result<Self, ConfigError> {
        Self::from_layers(&Layers::new(DEFAULTS)?, &|_| None)
    }

    /// The sinks read what the source writes, where they are not told otherwise. On the embedded broker
    /// there is one process: it may take its own partitions over without waiting.
    fn fill_sinks(&mut self) {
        if self.bus.bootstrap_servers.is_empty() {
            let features = &mut self.features.consume;
            for options in [&mut self.sink_documents, &mut self.sink_events, &mut self.sink_lake, features] {
                if options.instance_id.is_empty() {
                    options.instance_id.clone_from(&options.group);
                }
            }
        }
        // `source.schema.table`: neither the source's own topics, nor another source's whose name begins alike.
        let changes = format!("^{}\\.[^.]+\\.[^.]+$", self.cdc.source.replace('.', "\\."));
        if self.sink_documents.topics.is_empty() {
            self.sink_documents.topics = vec![changes.clone()];
        }
        if self.sink_lake.topics.is_empty() {
            let labels = format!("^{}$", TOPIC_LABELS.replace('.', "\\."));
            self.sink_lake.topics = vec![changes, labels, format!("^{TOPIC_DEAD_LETTERS}$")];
            self.sink_lake.topics.extend(self.events.topics());
        }
        if self.sink_events.topics.is_empty() {
            self.sink_events.topics = self.events.topics();
        }
    }

    /// What no section can know alone.
    fn check(&self) -> Result<(), ConfigError> {
        self.http.check().map_err(|message| ConfigError::Invalid { message })?;
        self.telemetry
            .check()
            .map_err(|problem| ConfigError::Invalid { message: format!("telemetry.{problem}") })?;
        self.alerts
            .check()
            .map_err(|problem| ConfigError::Invalid { message: format!("alerts.{problem}") })?;
        self.bi.check().map_err(|message| ConfigError::Invalid { message })?;
        if !self.cdc.connection.is_empty() {
            let mut cdc = self.cdc.clone();
            cdc.protect_key.get_or_insert_with(|| "is made at the first start".to_owned());
            cdc.check().map_err(|error| ConfigError::Invalid { message: error.to_string() })?;
        }
        self.collect.check().map_err(|message| ConfigError::Invalid { message })?;
        if !self.http.listen.ip().is_loopback() && self.collect.tokens.is_empty() {
            let message = format!(
                "`http.listen` = \"{}\" is reachable from other machines, and `collect.tokens` is empty: anyone could \
                 send events; listen on 127.0.0.1, or add [[collect.tokens]] with name, token and items_per_s",
                self.http.listen
            );
            return Err(ConfigError::Invalid { message });
        }
        self.stage.check().map_err(|error| ConfigError::Invalid { message: error.to_string() })?;
        self.batch.check().map_err(|error| ConfigError::Invalid { message: error.to_string() })?;
        self.learning
            .check()
            .map_err(|problem| ConfigError::Invalid { message: format!("learning.{problem}") })?;
        self.score.check().map_err(|problem| ConfigError::Invalid { message: format!("score.{problem}") })?;
        for (section, checked) in [
            ("batch_scheduler", self.batch_scheduler.check()),
            ("batch_executor", self.batch_executor.check()),
        ] {
            checked.map_err(|problem| ConfigError::Invalid { message: format!("{section}.{problem}") })?;
        }
        self.schedule
            .check()
            .map_err(|problem| ConfigError::Invalid { message: format!("schedule.{problem}") })?;
        self.features
            .stream
            .check()
            .map_err(|problem| ConfigError::Invalid { message: format!("features.stream.{problem}") })?;
        self.lake.check().map_err(|error| ConfigError::Invalid { message: format!("[lake] {error}") })?;
        for (section, options) in [
            ("sink_documents", &self.sink_documents),
            ("sink_events", &self.sink_events),
            ("sink_lake", &self.sink_lake),
        ] {
            options
                .check()
                .map_err(|problem| ConfigError::Invalid { message: format!("{section}.{problem}") })?;
        }
        Ok(())
    }
}

/// The file that holds the user's configuration, if there is one.
pub(crate) fn file_in_force(file: Option<&Path>) -> Option<PathBuf> {
    match file {
        Some(file) => Some(file.to_owned()),
        None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.is_file()),
    }
}

fn read_layers(file: Option<&Path>) -> Result<Layers, ConfigError> {
    let mut layers = Layers::new(DEFAULTS)?;
    if let Some(path) = file_in_force(file) {
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ConfigError::Read { path: path.clone(), source })?;
        layers.add_file(&text, &path.display().to_string())?;
    }
    let env = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    layers.add_env(env)?;
    Ok(layers)
}

/// Hands out section by section.
struct Sections<'a> {
    values: Table,
    layers: &'a Layers,
}

impl Sections<'_> {
    fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, ConfigError> {
        let value = self.values.remove(name).unwrap_or_else(|| Value::Table(Table::new()));
        serde_path_to_error::deserialize(value.clone()).map_err(|error| {
            let inner = error.path().to_string();
            let key = if inner == "." { name.to_owned() } else { format!("{name}.{inner}") };
            let written = find(&value, error.path());
            ConfigError::Refused {
                value: written.map_or_else(|| "?".to_owned(), |value| secrets::shown(&key, value)),
                origin: self.layers.origin(&key),
                message: error.inner().message().to_owned(),
                key,
            }
        })
    }
}

/// The text at `section.key`; empty where it is not set.
fn layers_text(values: &Table, section: &str, key: &str) -> String {
    let text = values.get(section).and_then(|section| section.get(key)).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

/// The value at a path of the deserialiser.
fn find<'a>(value: &'a Value, path: &serde_path_to_error::Path) -> Option<&'a Value> {
    use serde_path_to_error::Segment;
    path.iter().try_fold(value, |value, segment| match segment {
        Segment::Map { key } => value.get(key),
        Segment::Seq { index } => value.get(index),
        Segment::Enum { .. } | Segment::Unknown => Some(value),
    })
}
