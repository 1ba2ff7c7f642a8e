//! The node that divides queries into parts, gives these to the executors and knows where their rows are.
//!
//! It keeps nothing: a query that it worked on when it ended is asked for again by the task whose query it was.

use super::codec::PlanCodec;
use super::nodes::{self, NodeError};
use super::options::SchedulerOptions;
use super::watch::{Seen, Watch};
use super::{failure, wire};
use crate::LakeOptions;
use crate::store::Store;
use affluent_telemetry::health::{Health, State};
use ballista_core::JobId;
use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::serde::protobuf::job_status;
use ballista_scheduler::cluster::{BallistaCluster, ClusterState};
use ballista_scheduler::config::{SchedulerConfig, TaskDistributionPolicy};
use ballista_scheduler::scheduler_process::{create_scheduler, start_grpc_service};
use ballista_scheduler::scheduler_server::SchedulerServer;
use datafusion::prelude::SessionConfig;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The name of the role in the health of the process.
const ROLE: &str = "batch-scheduler";
/// An executor that has been silent for so long is taken for dead: it misses five signs of life. With the pauses between
/// looks, it is noticed within 15 s.
const EXECUTOR_TIMEOUT_S: u64 = 12;
const EXECUTORS_LOOKED_AT_S: u64 = 1;
/// Rows of a finished query are kept so long if the process that asked has died; else until it has read them.
const RESULTS_KEPT_S: u64 = 24 * 60 * 60;
const STATES_KEPT_S: u64 = 300;
/// Pause between two looks at executors and queries. Whoever asked reads within it why a query was ended.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

type Server = SchedulerServer<LogicalPlanNode, PhysicalPlanNode>;

/// The node.
#[derive(Debug)]
pub struct SchedulerNode {
    options: SchedulerOptions,
    /// Where the tables lie, if that is no file system.
    store: Option<Store>,
    health: Health,
}

impl SchedulerNode {
    /// For queries over the lake of these options.
    ///
    /// # Errors
    /// [`NodeError::Options`].
    pub fn new(options: SchedulerOptions, lake: &LakeOptions, health: Health) -> Result<Self, NodeError> {
        options.check().map_err(NodeError::Options)?;
        Ok(SchedulerNode { options, store: nodes::store(lake)?.map(|(store, _)| store), health })
    }

    /// Serves until `shutdown`.
    ///
    /// # Errors
    /// [`NodeError::Listen`], [`NodeError::Failed`].
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), NodeError> {
        let listen = self.options.listen;
        nodes::check_free(listen)?;
        let config = Arc::new(self.config()?);
        let failed = || NodeError::failed("start the scheduler");
        let cluster = BallistaCluster::new_from_config(&config).await.map_err(failed())?;
        let executors = cluster.cluster_state();
        let server: Server = create_scheduler(cluster, config).await.map_err(failed())?;
        let ready = async {
            nodes::listening(listen).await;
            self.health.set(ROLE, State::Ready);
            tracing::info!(%listen, "the scheduler waits for executors and queries");
            watched(executors, server.clone()).await
        };
        tokio::select! {
            ended = start_grpc_service(listen, server.clone()) => ended.map_err(NodeError::failed("serve the cluster")),
            never = ready => never,
            () = shutdown.cancelled() => Ok(()),
        }
    }

    fn config(&self) -> Result<SchedulerConfig, NodeError> {
        let runtime = nodes::idle_runtime();
        let runtime = runtime.map_err(|error| NodeError::Options(error.to_string()))?;
        let listen = self.options.listen;
        Ok(SchedulerConfig {
            external_host: self.options.host().map_err(NodeError::Options)?,
            bind_host: listen.ip().to_string(),
            bind_port: listen.port(),
            scheduling_policy: TaskSchedulingPolicy::PushStaged,
            task_distribution: TaskDistributionPolicy::RoundRobin,
            finished_job_data_clean_up_interval_seconds: RESULTS_KEPT_S,
            finished_job_state_clean_up_interval_seconds: STATES_KEPT_S,
            executor_timeout_seconds: EXECUTOR_TIMEOUT_S,
            expire_dead_executor_interval_seconds: EXECUTORS_LOOKED_AT_S,
            grpc_server_max_decoding_message_size: wire::MESSAGE_BYTES_MAX,
            grpc_server_max_encoding_message_size: wire::MESSAGE_BYTES_MAX,
            override_session_builder: Some(Arc::new(move |config: SessionConfig| {
                Ok(nodes::state(config, Arc::clone(&runtime)))
            })),
            override_create_grpc_client_endpoint: Some(wire::endpoints()),
            override_physical_codec: Some(Arc::new(PlanCodec::with_store(self.store.clone()))),
            ..SchedulerConfig::default()
        })
    }
}

/// Ends queries that would wait for ever. Whoever asked asks again.
async fn watched<T>(executors: Arc<dyn ClusterState>, server: Server) -> T {
    let mut watch = Watch::default();
    loop {
        tokio::time::sleep(LOOK_PAUSE).await;
        let (seen, told) = look(executors.as_ref(), &server).await;
        for job in told {
            if let Err(error) = server.cancel_job(job.clone()).await {
                tracing::warn!(%job, %error, "query could not be ended");
            }
        }
        if let Some(reason) = watch.look(seen, LOOK_PAUSE) {
            end_all(&server, &reason).await;
        }
    }
}

/// What there is; and the queries that were ended at the look before, and are still there: their owner has died, or is
/// about to say so itself.
async fn look(executors: &dyn ClusterState, server: &Server) -> (Seen, Vec<JobId>) {
    let (mut seen, mut told) = (Seen::default(), Vec::new());
    for executor in executors.registered_executor_metadata().await {
        seen.executors.insert(executor.id, format!("{}:{}", executor.host, executor.port));
    }
    for (job, query) in server.state.task_manager.get_running_job_cache().iter() {
        let graph = query.execution_graph.read().await;
        if matches!(graph.status().status, Some(job_status::Status::Failed(_))) {
            told.push(job.clone());
        } else {
            seen.queries.insert(job.to_string());
            seen.parts += graph.running_tasks().len();
        }
    }
    (seen, told)
}

/// Tells the owners of all queries that they have failed. What they have at work is stopped by these, or at the next look:
/// Ballista has no word for a reason when it is told to stop a query.
async fn end_all(server: &Server, reason: &str) {
    for (job, query) in server.state.task_manager.get_running_job_cache().iter() {
        tracing::warn!(%job, reason, "query ended");
        query.execution_graph.write().await.fail_job(failure::ended(reason));
    }
}
