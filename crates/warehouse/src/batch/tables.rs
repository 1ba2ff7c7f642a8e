//! The batch engine's tables: opened, made with the columns of a query, and how far each is computed.

use super::frontier::Frontier;
use super::model::{Model, Models};
use super::row_versions::KnownVersions;
use super::rows::Collected;
use super::seeds::Seeds;
use super::units::KnownUnits;
use super::{BatchError, BatchOptions, columns, sql};
use affluent_lake::sql::{Engine, Pins, Session};
use affluent_lake::{Lake, LakeError, LakeTable, Offsets, Overwrite, Partition, Remove};
use arrow_array::RecordBatch;
use arrow_schema::Schema;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Computes, checks and publishes the models over one lake. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Batch {
    pub(crate) lake: Lake,
    pub(crate) engine: Arc<Engine>,
    pub(crate) models: Arc<Models>,
    pub(crate) seeds: Arc<Seeds>,
    pub(crate) options: Arc<BatchOptions>,
    pub(crate) known_units: Arc<KnownUnits>,
    pub(crate) known_versions: Arc<KnownVersions>,
}

/// What was done, for the history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    pub rows_in: u64,
    pub rows_out: u64,
    /// Raw rows that a rule refused.
    pub rejected: u64,
    /// Tables that were changed.
    pub tables: u64,
}

impl std::ops::AddAssign for Done {
    fn add_assign(&mut self, other: Done) {
        self.rows_in += other.rows_in;
        self.rows_out += other.rows_out;
        self.rejected += other.rejected;
        self.tables += other.tables;
    }
}

impl Batch {
    /// The shipped models and those of the options, over `lake`.
    ///
    /// # Errors
    /// [`BatchError::Options`], [`BatchError::Model`], [`BatchError::Seed`], [`BatchError::Io`].
    pub fn new(lake: Lake, options: BatchOptions) -> Result<Self, BatchError> {
        let models = Models::load(options.models())?;
        Self::with_models(lake, options, models)
    }

    /// The same with these models alone.
    ///
    /// # Errors
    /// As [`Batch::new`].
    pub fn with_models(lake: Lake, options: BatchOptions, models: Models) -> Result<Self, BatchError> {
        options.check()?;
        let seeds = Arc::new(Seeds::load(&options)?);
        let engine = Engine::new(lake.clone(), options.engine()?).map_err(BatchError::sql("SQL engine"))?;
        let (engine, models, options) = (Arc::new(engine), Arc::new(models), Arc::new(options));
        let (known_units, known_versions) = (Arc::default(), Arc::default());
        Ok(Batch { lake, engine, models, seeds, options, known_units, known_versions })
    }

    #[must_use]
    pub fn lake(&self) -> &Lake {
        &self.lake
    }

    #[must_use]
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// A session over the newest state, with the seeds that `model` reads.
    pub(crate) async fn session(&self, model: &Model) -> Result<Session, BatchError> {
        let session = self.any_session().await?;
        self.seeds.register(&session, &model.reads)?;
        Ok(session)
    }

    pub(crate) async fn any_session(&self) -> Result<Session, BatchError> {
        self.engine.session(Pins::default()).await.map_err(BatchError::sql("open a session"))
    }

    /// The table `namespace.name`, if it is there.
    pub(crate) async fn find(&self, table: &str) -> Result<Option<LakeTable>, BatchError> {
        let (namespace, name) = table.split_once('.').unwrap_or(("", table));
        match self.lake.table(namespace, name).await {
            Ok(found) => Ok(Some(found)),
            Err(LakeError::NotFound(_)) => Ok(None),
            Err(error) => Err(BatchError::lake(format!("open {table}"))(error)),
        }
    }

    /// How far a table is computed; nothing where it is not there.
    pub(crate) async fn offsets(&self, table: &str) -> Result<Offsets, BatchError> {
        match self.find(table).await? {
            Some(found) => found.offsets().await.map_err(BatchError::lake(format!("read {table}"))),
            None => Ok(Offsets::default()),
        }
    }

    /// The table of a model, with the columns of its result.
    pub(crate) async fn ensure(&self, model: &Model, schema: &Schema) -> Result<LakeTable, BatchError> {
        let refuse = |message| BatchError::Model { file: model.file.clone(), message };
        let columns = columns::of_result(schema).map_err(refuse)?;
        for column in model.header.key.iter().chain(model.unit_columns()) {
            if !columns.iter().any(|found| found.name == *column) {
                return Err(refuse(format!(
                    "its result has no column {column}, which `key` or `unit` names"
                )));
            }
        }
        let partition = match &model.header.partition {
            Some(column) => Partition::Day(column.clone()),
            None => Partition::None,
        };
        let sort: Vec<&str> = model.header.sort.iter().map(String::as_str).collect();
        let ensured = async {
            let table =
                self.lake.ensure_sorted_table(&model.zone, &model.name, &columns, &partition, &sort).await?;
            for column in self.sought_columns(model) {
                table.keep_filter(column).await?;
            }
            Ok::<_, LakeError>(table)
        };
        ensured.await.map_err(BatchError::lake(format!("make {}", model.table())))
    }

    /// The columns by which rows of the model's table are looked for: its key's first, or the first of the units of the
    /// models that a staged table drives.
    fn sought_columns<'a>(&'a self, model: &'a Model) -> BTreeSet<&'a str> {
        if model.is_by_unit() {
            return model.header.key.first().map(String::as_str).into_iter().collect();
        }
        let table = model.table();
        let driven = self.models.iter().filter(|other| other.header.from.as_ref() == Some(&table));
        driven.filter_map(|other| other.unit.keys().next()).map(String::as_str).collect()
    }

    /// The first table that `model` reads and that is not there yet.
    pub(crate) async fn missing(&self, model: &Model) -> Result<Option<String>, BatchError> {
        for table in
            model.reads.iter().filter(|table| !table.starts_with("seed.") && !table.starts_with("raw."))
        {
            if self.find(table).await?.is_none() {
                return Ok(Some(table.clone()));
            }
        }
        Ok(None)
    }

    /// Refuses a table of which something that it reads is not computed up to the frontier.
    pub(crate) async fn check_upstream(&self, model: &Model, frontier: &Frontier) -> Result<(), BatchError> {
        for upstream in model.reads.iter().filter_map(|table| self.models.get(table)) {
            if upstream.zone == "staged" {
                continue;
            }
            let table = upstream.table();
            let end = frontier.behind(&self.models.staged_behind(&table));
            if !super::window::reached(&self.offsets(&table).await?, &end) {
                let task = upstream.header.task.as_str();
                return Err(BatchError::Behind { table: model.table(), upstream: table, task });
            }
        }
        Ok(())
    }

    /// A query's rows; what fails names the model.
    pub(crate) async fn collect(
        &self,
        session: &Session,
        model: &Model,
        text: &str,
    ) -> Result<Collected, BatchError> {
        Collected::of(session, text).await.map_err(BatchError::sql(model.file.clone()))
    }

    /// The rows of the model's body, with times as the lake has them.
    pub(crate) async fn result(&self, session: &Session, model: &Model) -> Result<Collected, BatchError> {
        let refuse = |message| BatchError::Model { file: model.file.clone(), message };
        self.collect(session, model, &model.body).await?.plain().map_err(refuse)
    }

    /// Gives a query a name in a session.
    pub(crate) async fn view(&self, session: &Session, name: &str, text: &str) -> Result<(), BatchError> {
        session.register_view(name, text).await.map_err(BatchError::sql(name.to_owned()))
    }
}

/// The write that adds these rows and removes none.
pub(crate) fn added(rows: Vec<RecordBatch>) -> Overwrite {
    Overwrite { remove: Remove::Nothing, rows }
}

impl Model {
    /// The columns of the result that hold the unit.
    pub(crate) fn unit_columns(&self) -> impl Iterator<Item = &String> {
        self.unit.values().filter(|_| self.is_by_unit())
    }

    /// Its table, in quotes.
    pub(crate) fn quoted(&self) -> String {
        sql::table(&self.table())
    }
}
