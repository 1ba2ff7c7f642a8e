//! The engine: memory, spill directory and caches, shared by its sessions.

use super::build_side::{self, BuildSide};
use super::catalog::{CATALOG, DEFAULT_SCHEMA, Names};
use super::cluster::{Cluster, DividedOuterJoins};
use super::files::ManifestCache;
use super::looked_up::LookedUp;
use super::pins::{Pinned, Pins};
use super::{EngineOptions, Session, SqlError, checked, functions};
use crate::{Lake, LakeError, StoreError, StoreProblem};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::future::BoxFuture;
use iceberg::TableIdent;
use iceberg::table::Table;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Readings of the catalog before metadata files that vanish meanwhile are an error.
const ATTEMPTS: u32 = 10;
/// Consumers that are named when memory runs out.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::MIN;
/// Bytes read at once from the end of a data file: most footers fit.
const FOOTER_HINT: usize = 64 << 10;
/// Bytes that a sort sets aside for merging, where memory allows.
const SORT_RESERVE: u64 = 10 << 20;

/// Runs SQL over a lake. Sessions share its memory limit and its caches.
#[derive(Debug)]
pub struct Engine {
    lake: Lake,
    options: EngineOptions,
    runtime: Arc<RuntimeEnv>,
    /// Where queries run, if not here.
    cluster: Option<Arc<Cluster>>,
    manifests: Arc<ManifestCache>,
    looked_up: Arc<LookedUp>,
    /// Tables by where they stood when they were last read.
    known: Mutex<HashMap<TableIdent, Table>>,
}

impl Engine {
    /// An engine over `lake`. Reads nothing yet.
    ///
    /// # Errors
    /// [`SqlError::Options`]; a spill directory that cannot be created.
    pub fn new(lake: Lake, options: EngineOptions) -> Result<Self, SqlError> {
        options.check()?;
        let memory = usize::try_from(options.memory_bytes).unwrap_or(usize::MAX);
        let pool = TrackConsumersPool::new(FairSpillPool::new(memory), CONSUMERS_NAMED);
        let mode = match &options.spill_directory {
            Some(directory) => {
                crate::files::create_dirs(directory)?;
                DiskManagerMode::Directories(vec![directory.clone()])
            }
            None => DiskManagerMode::OsTmpDirectory,
        };
        let disk = DiskManagerBuilder::default()
            .with_mode(mode)
            .with_max_temp_directory_size(options.spill_bytes_max);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(disk)
            .with_metadata_cache_limit(usize::try_from(options.footer_bytes_max).unwrap_or(usize::MAX))
            .build_arc()?;
        if let Some(store) = lake.catalog().store() {
            store.register(&runtime)?;
        }
        let manifests = Arc::new(ManifestCache::new(options.manifest_entries_max));
        let cluster = options.cluster.clone();
        let cluster = cluster.map(|address| Arc::new(Cluster::new(address, options.cluster_rows_min)));
        let (looked_up, known) = (Arc::default(), Mutex::default());
        Ok(Engine { lake, options, runtime, cluster, manifests, looked_up, known })
    }

    /// A session that sees the tables as `pins` ask for. All of them are of one moment where the catalog is
    /// SQLite, which is read once; a REST catalog tells of one table after the other.
    ///
    /// # Errors
    /// [`LakeError::NotFound`] and [`LakeError::NoSnapshot`] for named tables; disk and catalog.
    pub fn session(&self, pins: Pins) -> BoxFuture<'_, Result<Session, SqlError>> {
        Box::pin(self.begin(pins))
    }

    async fn begin(&self, pins: Pins) -> Result<Session, SqlError> {
        let tables = self.tables().await?;
        for name in pins.snapshots.keys() {
            if !tables.iter().any(|table| table.identifier().to_string() == *name) {
                return Err(LakeError::NotFound(name.clone()).into());
            }
        }
        let pinned = tables.into_iter().map(|table| Pinned::new(table, &pins));
        let pinned = pinned.collect::<Result<Vec<_>, _>>()?;
        let seen = pinned.iter().filter(|pinned| pinned.too_early.is_none());
        let states = seen.map(Pinned::state).collect();
        let names = Arc::new(Names::new(pinned, &self.manifests));
        let context = self.context();
        context.register_catalog(CATALOG, Arc::clone(&names) as _);
        let looked_up = Arc::clone(&self.looked_up);
        Ok(Session::new(context, self.cluster.clone(), names, states, looked_up))
    }

    /// Every table as it stands at one moment.
    async fn tables(&self) -> Result<Vec<Table>, LakeError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.read_tables().await {
                // A metadata file was replaced between looking and reading: look again.
                Err(error) if attempt < ATTEMPTS && may_be_replaced(&error) => {
                    tracing::debug!(%error, attempt, "tables moved while they were read");
                    crate::table::pause(attempt).await;
                }
                other => return other,
            }
        }
    }

    async fn read_tables(&self) -> Result<Vec<Table>, LakeError> {
        let known = self.known.lock().clone();
        let tables = self.lake.catalog().load_all(&known).await?;
        let known = tables.iter().map(|table| (table.identifier().clone(), table.clone())).collect();
        *self.known.lock() = known;
        Ok(tables)
    }

    /// A fresh context: functions, rules and settings, no tables.
    fn context(&self) -> SessionContext {
        let state = SessionStateBuilder::new()
            .with_config(self.config())
            .with_runtime_env(Arc::clone(&self.runtime))
            .with_default_features()
            .with_analyzer_rule(Arc::new(checked::Arithmetic))
            .with_physical_optimizer_rules(rules(self.cluster.is_some()))
            .build();
        let context = SessionContext::new_with_state(state);
        functions::register(&context);
        context
    }

    fn config(&self) -> SessionConfig {
        let mut config = SessionConfig::new()
            .with_target_partitions(self.options.partitions())
            .with_batch_size(self.options.batch_rows)
            .with_information_schema(true)
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(CATALOG, DEFAULT_SCHEMA);
        let options = config.options_mut();
        options.execution.time_zone = Some("+00:00".to_owned());
        // 0.1 is a tenth, not a float near it: amounts are multiplied by such literals.
        options.sql_parser.parse_float_as_decimal = true;
        // What is held in memory is told by `build_side`, or by the query: the left side.
        options.optimizer.join_reordering = false;
        // Of views a sorted or joined row would hold whole pages of the file it came from.
        options.sql_parser.map_string_types_to_utf8view = false;
        options.execution.parquet.metadata_size_hint = Some(FOOTER_HINT);
        options.execution.parquet.enable_page_index = true;
        options.execution.parquet.bloom_filter_on_read = true;
        let share = self.options.memory_bytes / (8 * self.options.partitions() as u64).max(1);
        let reserve = usize::try_from(share.min(SORT_RESERVE)).unwrap_or(usize::MAX);
        options.execution.sort_spill_reservation_bytes = reserve;
        if self.cluster.is_some() { Cluster::configured(config) } else { config }
    }
}

/// Whether a metadata file that was looked for may have made room for newer ones.
fn may_be_replaced(error: &LakeError) -> bool {
    let is_gone = |error: &StoreError| error.problem() == StoreProblem::NoObject;
    matches!(error, LakeError::Iceberg(_)) || matches!(error, LakeError::Store(error) if is_gone(error))
}

/// The engine's own rules for physical plans, and ours among them.
fn rules(on_cluster: bool) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let place = rules.iter().position(|rule| rule.name() == build_side::AFTER).map_or(0, |place| place + 1);
    rules.insert(place, Arc::new(BuildSide));
    if on_cluster {
        rules.insert(place + 1, Arc::new(DividedOuterJoins));
    }
    rules
}
