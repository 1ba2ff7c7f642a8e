//! A session: statements over one state of the lake.

use super::catalog::{DEFAULT_SCHEMA, Names};
use super::cluster::{Cluster, Placement};
use super::looked_up::LookedUp;
use super::records::IsIn;
use super::table::SnapshotTable;
use super::{
    DescribedTable, Limits, Prepared, RecordSet, Rows, SqlError, TableState, parameters, references,
};
use arrow_array::{ArrayRef, RecordBatch, new_null_array};
use arrow_schema::{DataType, SchemaRef};
use datafusion::common::TableReference;
use datafusion::datasource::{MemTable, ViewTable};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::{LogicalPlan, ScalarUDF};
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::{DataFrame, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use futures::future::BoxFuture;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The schema of tables about the tables.
const INFORMATION_SCHEMA: &str = "information_schema";

/// Statements over the tables as they stood when the session began.
///
/// Statements read: queries, `EXPLAIN`, `SHOW` and `DESCRIBE`. Whatever would write, or read a file by its
/// name, is refused.
#[derive(Clone)]
pub struct Session {
    context: SessionContext,
    cluster: Option<Arc<Cluster>>,
    names: Arc<Names>,
    states: Arc<[TableState]>,
    looked_up: Arc<LookedUp>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("tables", &self.states.len()).finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn new(
        context: SessionContext,
        cluster: Option<Arc<Cluster>>,
        names: Arc<Names>,
        states: Vec<TableState>,
        looked_up: Arc<LookedUp>,
    ) -> Self {
        Session { context, cluster, names, states: states.into(), looked_up }
    }

    /// The lake's tables as the session sees them, by name. A later session given these snapshots by
    /// [`super::Pins`] sees the same rows.
    #[must_use]
    pub fn tables(&self) -> &[TableState] {
        &self.states
    }

    /// Runs a query without limits.
    ///
    /// # Errors
    /// As [`Session::query`].
    pub async fn sql(&self, text: &str) -> Result<Rows, SqlError> {
        self.query(text, Limits::default()).await
    }

    /// Plans a query and starts it. Its rows come batch by batch; dropping them ends it.
    ///
    /// # Errors
    /// [`SqlError::Syntax`], [`SqlError::UnknownTable`], [`SqlError::Plan`] for what the text lacks,
    /// [`SqlError::Timeout`]; disk and catalog. What goes wrong while rows are made comes with them.
    pub fn query<'a>(&'a self, text: &'a str, limits: Limits) -> BoxFuture<'a, Result<Rows, SqlError>> {
        Box::pin(async move {
            let statement = references::parse(text)?;
            Box::pin(self.start(statement, &[], limits)).await
        })
    }

    async fn start(
        &self,
        statement: Statement,
        values: &[ArrayRef],
        limits: Limits,
    ) -> Result<Rows, SqlError> {
        let deadline = limits.timeout.map(|timeout| (Instant::now() + timeout, timeout));
        let started = async {
            let plan = parameters::filled(self.planned(statement).await?, values)?;
            let mut frame = self.context.execute_logical_plan(plan).await?;
            let explains = matches!(frame.logical_plan(), LogicalPlan::Explain(_) | LogicalPlan::Analyze(_));
            if let Some(rows) = limits.rows.filter(|_| !explains) {
                // One more than wanted tells whether there are more.
                let rows = usize::try_from(rows).unwrap_or(usize::MAX).saturating_add(1);
                frame = frame.limit(0, Some(rows))?;
            }
            let stream = self.execute(frame).await?;
            Ok(Rows::new(stream, deadline, limits.rows))
        };
        within(deadline, started).await
    }

    /// On the cluster where there is one and the plan is for it.
    async fn execute(&self, frame: DataFrame) -> Result<SendableRecordBatchStream, SqlError> {
        let Some(cluster) = &self.cluster else { return Ok(frame.execute_stream().await?) };
        let context = Arc::new(frame.task_ctx());
        let plan = frame.create_physical_plan().await?;
        match Placement::of(&plan, cluster.rows_min())? {
            Placement::Cluster(plan) => cluster.run(plan, context.session_config()).await,
            Placement::Here(reason) => {
                tracing::debug!(reason, "query not given to the cluster");
                Ok(execute_stream(plan, context)?)
            }
        }
    }

    /// What a query asks for and what it answers, without running it. The statement comes as it was read: its text, written
    /// again, need not mean the same. `given` are the types that `$1`, `$2`, … will have, where they are known.
    ///
    /// # Errors
    /// As [`Session::query`]; parameters that are not `$1`, `$2`, ….
    pub fn prepare<'a>(
        &'a self,
        statement: &'a SqlStatement,
        given: &'a [Option<DataType>],
    ) -> BoxFuture<'a, Result<Prepared, SqlError>> {
        Box::pin(async move {
            let plan = self.planned(Statement::Statement(Box::new(statement.clone()))).await?;
            let mut parameters = parameters::types(&plan)?;
            for (wanted, given) in parameters.iter_mut().zip(given) {
                if let Some(given) = given {
                    wanted.clone_from(given);
                }
            }
            // Types settle where the plan is coerced, which needs some value of each.
            let nulls: Vec<ArrayRef> = parameters.iter().map(|wanted| new_null_array(wanted, 1)).collect();
            let settled = self.context.state().optimize(&parameters::filled(plan, &nulls)?)?;
            Ok(Prepared { parameters, schema: Arc::clone(settled.schema().inner()) })
        })
    }

    /// As [`Session::query`], of a statement as it was read, with one value each for `$1`, `$2`, …: arrays of one row.
    ///
    /// # Errors
    /// As [`Session::query`]; values that are missing.
    pub fn query_with<'a>(
        &'a self,
        statement: &'a SqlStatement,
        values: &'a [ArrayRef],
        limits: Limits,
    ) -> BoxFuture<'a, Result<Rows, SqlError>> {
        let statement = Statement::Statement(Box::new(statement.clone()));
        Box::pin(self.start(statement, values, limits))
    }

    /// The columns of every table that the session sees, by namespace and name.
    ///
    /// # Errors
    /// Metadata that is not whole.
    pub fn describe_tables(&self) -> Result<Vec<DescribedTable>, SqlError> {
        self.names.describe()
    }

    /// Every row of a query, in memory.
    ///
    /// # Errors
    /// As [`Session::query`], and what goes wrong while rows are made.
    pub async fn collect(&self, text: &str) -> Result<Vec<RecordBatch>, SqlError> {
        self.sql(text).await?.collect().await
    }

    /// The plan of a query as text; with `analyze` it is run, and the plan carries what was measured:
    /// files, row groups and pages left out, rows, times.
    ///
    /// # Errors
    /// As [`Session::query`].
    pub async fn explain(&self, text: &str, analyze: bool) -> Result<String, SqlError> {
        let plan = self.plan(text).await?;
        let frame = self.context.execute_logical_plan(plan).await?.explain(false, analyze)?;
        let mut rows = Rows::new(frame.execute_stream().await?, None, None);
        let mut text = String::new();
        while let Some(batch) = rows.next_batch().await {
            let batch = batch?;
            // Kind of plan, plan.
            for row in 0..batch.num_rows() {
                let cell =
                    |place: usize| arrow_cast::display::array_value_to_string(batch.column(place), row);
                text += &format!("{}:\n{}\n", cell(0)?, cell(1)?.trim_end());
            }
        }
        Ok(text)
    }

    /// Columns of the result of a query, without running it.
    ///
    /// # Errors
    /// As [`Session::query`].
    pub fn schema<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Result<SchemaRef, SqlError>> {
        Box::pin(self.describe(text))
    }

    async fn describe(&self, text: &str) -> Result<SchemaRef, SqlError> {
        let plan = self.plan(text).await?;
        let plan = self.context.state().optimize(&plan)?;
        Ok(Arc::clone(plan.schema().inner()))
    }

    /// Gives rows a name: `name`, or `namespace.name`, which hides a table of the lake of that name in this
    /// session.
    ///
    /// # Errors
    /// Batches of other columns than `schema`.
    pub fn register_batches(
        &self,
        name: &str,
        schema: SchemaRef,
        batches: Vec<RecordBatch>,
    ) -> Result<(), SqlError> {
        let (namespace, name) = split(name);
        self.names.register(namespace, name, Arc::new(MemTable::try_new(schema, vec![batches])?));
        Ok(())
    }

    /// Gives a set of Kafka records a name: `name(topic, partition, offset)` tells whether a record is in it.
    pub fn register_records(&self, name: &str, records: RecordSet) {
        self.context.register_udf(ScalarUDF::from(IsIn::new(name, records)));
    }

    /// The table of the lake that a name stands for, where nothing of the session's own hides it.
    pub(crate) fn stored(&self, name: &str) -> Result<Option<SnapshotTable>, SqlError> {
        let (namespace, name) = split(name);
        self.names.stored(namespace, name)
    }

    /// What sessions of this engine have looked up.
    pub(crate) fn looked_up(&self) -> &LookedUp {
        &self.looked_up
    }

    pub(crate) fn register_part(&self, name: &str, part: SnapshotTable) {
        let (namespace, name) = split(name);
        self.names.register(namespace, name, Arc::new(part));
    }

    /// Gives a query a name; it runs where the name is used.
    ///
    /// # Errors
    /// As [`Session::query`].
    pub async fn register_view(&self, name: &str, text: &str) -> Result<(), SqlError> {
        let plan = self.plan(text).await?;
        let (namespace, name) = split(name);
        self.names.register(namespace, name, Arc::new(ViewTable::new(plan, Some(text.to_owned()))));
        Ok(())
    }

    /// The plan of a statement that only reads.
    async fn plan(&self, text: &str) -> Result<LogicalPlan, SqlError> {
        self.planned(references::parse(text)?).await
    }

    async fn planned(&self, statement: Statement) -> Result<LogicalPlan, SqlError> {
        let tables = references::references(&statement)?;
        let plan = match self.context.state().statement_to_plan(statement).await {
            Ok(plan) => plan,
            // What is missing may be a table: then that is what to tell.
            Err(error) => return self.check_tables(&tables).and(Err(error.into())),
        };
        let only_reads =
            SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        only_reads.verify_plan(&plan).map_err(|error| {
            let reason = SqlError::from(error);
            SqlError::Plan(format!("only queries can be run here: {reason}"))
        })?;
        Ok(plan)
    }

    /// Refuses unknown tables with what may have been meant.
    fn check_tables(&self, tables: &[TableReference]) -> Result<(), SqlError> {
        for table in tables {
            let namespace = table.schema().unwrap_or(DEFAULT_SCHEMA);
            if namespace != INFORMATION_SCHEMA && !self.names.knows(namespace, table.table())? {
                let name = references::full_name(table);
                let nearest = references::nearest(&name, &self.names.all());
                return Err(SqlError::UnknownTable { name, nearest });
            }
        }
        Ok(())
    }
}

/// Namespace and name.
fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('.').unwrap_or((DEFAULT_SCHEMA, name))
}

/// What `work` yields, unless the deadline comes first.
pub(crate) async fn within<T>(
    deadline: Option<(Instant, Duration)>,
    work: impl Future<Output = Result<T, SqlError>>,
) -> Result<T, SqlError> {
    match deadline {
        None => work.await,
        Some((at, timeout)) => {
            tokio::time::timeout_at(at, work).await.unwrap_or(Err(SqlError::Timeout(timeout)))
        }
    }
}
