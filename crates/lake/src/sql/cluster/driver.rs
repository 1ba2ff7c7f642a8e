//! The way of a finished plan to the cluster, and of its rows back.
//!
//! Invariant: a query that is no longer waited for is ended there, and what it left is removed; by the scheduler,
//! after a day, where the process that asked has died.

use super::super::SqlError;
use super::ClusterAddress;
use super::codec::PlanCodec;
use super::failure;
use super::wire::{self, message_bytes_max};
use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use ballista_core::client::BallistaClient;
use ballista_core::config::{
    BALLISTA_BROADCAST_JOIN_THRESHOLD_BYTES, BALLISTA_CLIENT_GRPC_MAX_MESSAGE_SIZE,
    BALLISTA_SHUFFLE_SORT_BASED_MEMORY_LIMIT_PER_TASK_BYTES, BallistaConfig,
};
use ballista_core::extension::{BallistaConfigGrpcEndpoint, SessionConfigHelperExt};
use ballista_core::serde::protobuf::execute_query_params::Query;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_core::serde::protobuf::{
    CancelJobParams, CleanJobDataParams, ExecuteQueryParams, GetJobStatusParams, PartitionLocation,
    execute_query_result, job_status,
};
use ballista_core::utils::create_grpc_client_endpoint;
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::SessionConfig;
use datafusion_proto::physical_plan::AsExecutionPlan;
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::{StreamExt, TryStreamExt, stream};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::transport::Channel;
use uuid::Uuid;

/// Pauses between two questions how far a query is; they double.
const ASK_FIRST: Duration = Duration::from_millis(4);
const ASK_MAX: Duration = Duration::from_millis(100);
/// The scheduler knows of a query this long after it has taken it.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);
/// Rows that a step holds in memory before it writes them for the next one, in bytes.
const SHUFFLE_BYTES: usize = 64 << 20;
const FETCH_ATTEMPTS: u8 = 1;

type Scheduler = SchedulerGrpcClient<Channel>;

/// A cluster, as a process sees it that gives it queries.
#[derive(Debug)]
pub(crate) struct Cluster {
    address: ClusterAddress,
    rows_min: u64,
    /// Executors keep the footers of files that they have read by this name.
    session: String,
    codec: PlanCodec,
}

impl Cluster {
    /// For queries that read at least `rows_min` rows. Connects to nothing yet.
    pub(crate) fn new(address: ClusterAddress, rows_min: u64) -> Self {
        Cluster { address, rows_min, session: Uuid::new_v4().to_string(), codec: PlanCodec::default() }
    }

    /// Queries that read fewer rows run in the process that asks.
    pub(crate) fn rows_min(&self) -> u64 {
        self.rows_min
    }

    /// The settings of plans that several processes run: nothing in them is shared in memory.
    pub(crate) fn configured(config: SessionConfig) -> SessionConfig {
        config
            .with_option_extension(BallistaConfig::default())
            .with_round_robin_repartition(false)
            .set_bool("datafusion.optimizer.enable_dynamic_filter_pushdown", false)
            .set_bool("datafusion.optimizer.enable_physical_uncorrelated_scalar_subquery", false)
            .set_bool("datafusion.execution.enable_file_stream_work_stealing", false)
            // Which side is held is settled by the rows of the tables; it is not to be settled again by guesses.
            .set_usize(BALLISTA_BROADCAST_JOIN_THRESHOLD_BYTES, 0)
            .set_usize(BALLISTA_CLIENT_GRPC_MAX_MESSAGE_SIZE, message_bytes_max())
            .set_usize(BALLISTA_SHUFFLE_SORT_BASED_MEMORY_LIMIT_PER_TASK_BYTES, SHUFFLE_BYTES)
    }

    /// Has the plan run; the rows, once there are all of them.
    ///
    /// # Errors
    /// [`SqlError::Cluster`] where a node is missing or goes; what went wrong in the query as it would here.
    pub(crate) async fn run(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &SessionConfig,
    ) -> Result<SendableRecordBatchStream, SqlError> {
        let schema = plan.schema();
        let mut message = Vec::new();
        PhysicalPlanNode::try_from_physical_plan(plan, &self.codec)?.try_encode(&mut message)?;
        if message.len() > message_bytes_max() {
            let (bytes, most) = (message.len(), message_bytes_max());
            return Err(SqlError::Plan(format!(
                "the plan takes {bytes} bytes, more than the {most} that go to a cluster: let the query read fewer files or \
                 hold fewer rows (batch.rows_max)"
            )));
        }
        let mut scheduler = self.connect().await?;
        let asked = scheduler.execute_query(ExecuteQueryParams {
            session_id: self.session.clone(),
            settings: config.to_key_value_pairs(),
            operation_id: Uuid::new_v4().to_string(),
            query: Some(Query::PhysicalPlan(message)),
        });
        let answer = asked.await.map_err(|status| self.lost(&status))?.into_inner();
        let id = match answer.result {
            Some(execute_query_result::Result::Success(taken)) => taken.job_id,
            refused => {
                return Err(SqlError::Execution(format!("the scheduler refuses the plan: {refused:?}")));
            }
        };
        tracing::debug!(job = id, "query given to the cluster");
        let mut job = Job { scheduler, id, is_done: false };
        let places = self.finished(&mut job).await?;
        job.is_done = true;
        Ok(rows(job, places, schema))
    }

    async fn connect(&self) -> Result<Scheduler, SqlError> {
        let nobody = |error: String| {
            SqlError::Cluster(format!(
                "no scheduler answers at {} ({error}): start one there with `affluent run batch-scheduler`, or set \
                 batch.engine to its address or to \"embedded\"",
                self.address
            ))
        };
        let endpoint = create_grpc_client_endpoint(self.address.url(), Some(&wire::client_config()));
        let endpoint = endpoint.map_err(|error| nobody(error.to_string()))?;
        let channel = endpoint.connect().await.map_err(|error| nobody(failure::chain(&error)))?;
        Ok(SchedulerGrpcClient::new(channel)
            .max_encoding_message_size(message_bytes_max())
            .max_decoding_message_size(message_bytes_max()))
    }

    /// Waits for the end of the query; where its rows are.
    async fn finished(&self, job: &mut Job) -> Result<Vec<PartitionLocation>, SqlError> {
        let begun = Instant::now();
        let (mut pause, mut was_known) = (ASK_FIRST, false);
        loop {
            let asked = job.scheduler.get_job_status(GetJobStatusParams { job_id: job.id.clone() });
            let answer = asked.await.map_err(|status| self.lost(&status))?.into_inner();
            match answer.status.and_then(|status| status.status) {
                Some(job_status::Status::Successful(done)) => return Ok(done.partition_location),
                Some(job_status::Status::Failed(failed)) => return Err(failure::of_job(&failed.error)),
                Some(job_status::Status::Queued(_) | job_status::Status::Running(_)) => was_known = true,
                None if was_known || begun.elapsed() > KNOWN_WITHIN => {
                    let message = format!(
                        "the scheduler at {} was started anew while it worked on a query",
                        self.address
                    );
                    return Err(SqlError::Cluster(message));
                }
                None => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(ASK_MAX);
        }
    }

    fn lost(&self, status: &tonic::Status) -> SqlError {
        let (code, message) = (status.code(), status.message());
        SqlError::Cluster(format!(
            "the scheduler at {} failed while it worked on a query: {code}: {message}",
            self.address
        ))
    }
}

/// A query that the scheduler has taken. Dropping it ends it there.
struct Job {
    scheduler: Scheduler,
    id: String,
    is_done: bool,
}

impl Drop for Job {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (mut scheduler, job_id, is_done) = (self.scheduler.clone(), self.id.clone(), self.is_done);
        runtime.spawn(async move {
            let ended = match is_done {
                true => {
                    // No step named: all of them.
                    let all = CleanJobDataParams { job_id, remove_stage_ids: Vec::new() };
                    scheduler.clean_job_data(all).await.map(drop)
                }
                false => scheduler.cancel_job(CancelJobParams { job_id }).await.map(drop),
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "the scheduler was not told that a query is over");
            }
        });
    }
}

/// The rows, part by part.
fn rows(job: Job, places: Vec<PartitionLocation>, schema: SchemaRef) -> SendableRecordBatchStream {
    let columns = Arc::clone(&schema);
    let batches = stream::iter(places).then(part).try_flatten().map(move |batch| {
        // It is over when the last row has been read, or nobody wants more.
        let _kept = &job;
        conform(&batch?, &columns)
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

/// Fetches one part from the executor that has it.
async fn part(place: PartitionLocation) -> Result<SendableRecordBatchStream> {
    let (Some(executor), Some(part)) = (place.executor_meta, place.partition_id) else {
        return exec_err!("the scheduler does not tell where the rows are");
    };
    let port = u16::try_from(executor.port).unwrap_or_default();
    let address = format!("{}:{port}", executor.host);
    let failed = |error: &dyn std::error::Error| failure::of_rows(&address, error).external();
    let endpoints = Arc::new(BallistaConfigGrpcEndpoint::new(wire::endpoints()));
    let (host, most) = (&executor.host, message_bytes_max());
    let client = BallistaClient::try_new(host, port, most, false, Some(endpoints), FETCH_ATTEMPTS, 0, 0, 0);
    let mut client = client.await.map_err(|error| failed(&error))?;
    let part = part.into();
    let rows = client.fetch_partition(&executor.id, &part, place.file_id, place.is_sort_shuffle, true);
    let rows = rows.await.map_err(|error| failed(&error))?;
    let schema = rows.schema();
    let rows = rows.map_err(move |error| failure::of_rows(&address, &error).external());
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

/// The batch with the very columns that were announced; what travelled may differ in what is known to be there.
fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), batch.columns().to_vec(), &options)?)
}
