//! A node that computes parts of queries, and hands out their rows.
//!
//! It reads the warehouse and writes nothing to it. Rows between the steps of a query are in its work directory,
//! and go when the query is done.

use super::codec::PlanCodec;
use super::nodes::{self, NodeError};
use super::options::ExecutorOptions;
use super::wire;
use crate::store::Store;
use crate::{LakeError, LakeOptions};
use affluent_telemetry::health::{Health, State};
use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::extension::SessionConfigExt;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_executor::executor_server::TERMINATING;
use datafusion::prelude::SessionConfig;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The name of the role in the health of the process.
const ROLE: &str = "batch-executor";
/// Pause between two signs of life.
const HEARTBEAT_S: u64 = 2;
/// Rows of queries that nobody has asked to be removed go at this age.
const LEFT_OVER_S: u64 = 24 * 60 * 60;
const LEFT_OVER_LOOKED_AT_S: u64 = 600;
/// It says good-bye to the scheduler within this time.
const LEAVE: Duration = Duration::from_secs(2);

/// The node.
#[derive(Debug)]
pub struct ExecutorNode {
    options: ExecutorOptions,
    /// Where the tables lie, if that is no file system, and below which location.
    store: Option<(Store, String)>,
    health: Health,
}

impl ExecutorNode {
    /// A node that reads the lake of these options.
    ///
    /// # Errors
    /// [`NodeError::Options`], [`NodeError::NoWarehouse`].
    pub fn new(options: ExecutorOptions, lake: &LakeOptions, health: Health) -> Result<Self, NodeError> {
        options.check().map_err(NodeError::Options)?;
        let store = nodes::store(lake)?;
        if store.is_none() && !lake.warehouse.is_dir() {
            return Err(NodeError::NoWarehouse(lake.warehouse.clone()));
        }
        Ok(ExecutorNode { options, store, health })
    }

    /// Works until `shutdown`.
    ///
    /// # Errors
    /// [`NodeError::Listen`], [`NodeError::WorkDir`]; [`NodeError::Failed`] where the scheduler is not there, or takes this
    /// node for dead, and where the object store is not to be read.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), NodeError> {
        let ExecutorOptions { listen, scheduler, .. } = &self.options;
        nodes::check_free(*listen)?;
        nodes::check_free(SocketAddr::new(listen.ip(), self.options.control_port))?;
        if let Some((store, location)) = &self.store {
            let failed = |error: LakeError| NodeError::Failed {
                what: "reach the tables".to_owned(),
                error: error.to_string(),
            };
            store.reach(location).await.map_err(failed)?;
        }
        let path = self.directory()?;
        let emptied = match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => std::fs::create_dir_all(&path),
        };
        emptied.map_err(|source| NodeError::WorkDir { path: path.clone(), source })?;
        // Ballista keeps for the whole process that an executor of it is leaving; this one comes.
        TERMINATING.store(false, Ordering::Release);
        let mut process = Box::pin(start_executor_process(Arc::new(self.config(&path)?)));
        let ready = async {
            // Rows are handed out once the scheduler has taken it on.
            nodes::listening(*listen).await;
            self.health.set(ROLE, State::Ready);
            tracing::info!(%scheduler, %listen, "the executor waits for work");
            std::future::pending::<()>().await;
        };
        let what = format!(
            "work for {scheduler}; is a scheduler there (`affluent run batch-scheduler`), and batch_executor.scheduler \
             its address?"
        );
        tokio::select! {
            ended = &mut process => match ended {
                Ok(()) if !shutdown.is_cancelled() => Err(NodeError::Failed {
                    what: format!("work for {scheduler}"),
                    error: "it was told to stop: the scheduler had not heard of it for too long".to_owned(),
                }),
                ended => ended.map_err(NodeError::failed(what)),
            },
            () = ready => Ok(()),
            () = shutdown.cancelled() => {
                // The signal that stops the process reaches it too. Whatever stops it otherwise, others see it go.
                let _ = tokio::time::timeout(LEAVE, process).await;
                Ok(())
            }
        }
    }

    /// A directory of its own: it is emptied at the start, for what a process that died has left, and at the end.
    fn directory(&self) -> Result<PathBuf, NodeError> {
        let host = self.options.host().map_err(NodeError::Options)?;
        Ok(self.options.work_dir.join(format!("{}-{}", host.replace(':', "_"), self.options.listen.port())))
    }

    fn config(&self, directory: &Path) -> Result<ExecutorProcessConfig, NodeError> {
        let options = &self.options;
        let runtime = nodes::idle_runtime().map_err(|error| NodeError::Options(error.to_string()))?;
        let functions = BallistaFunctionRegistry::from(&nodes::state(SessionConfig::new(), runtime));
        let work_dir = directory.to_str().map(str::to_owned);
        let store = self.store.as_ref().map(|(store, _)| store.clone());
        let work_dir = work_dir.ok_or_else(|| NodeError::Options("work_dir is not Unicode".to_owned()))?;
        Ok(ExecutorProcessConfig {
            bind_host: options.listen.ip().to_string(),
            external_host: Some(options.host().map_err(NodeError::Options)?),
            port: options.listen.port(),
            grpc_port: options.control_port,
            scheduler_host: options.scheduler.host.clone(),
            scheduler_port: options.scheduler.port,
            concurrent_tasks: options.concurrent_tasks,
            task_scheduling_policy: TaskSchedulingPolicy::PushStaged,
            work_dir: Some(work_dir),
            job_data_ttl_seconds: LEFT_OVER_S,
            job_data_clean_up_interval_seconds: LEFT_OVER_LOOKED_AT_S,
            grpc_max_decoding_message_size: wire::MESSAGE_BYTES_MAX,
            grpc_max_encoding_message_size: wire::MESSAGE_BYTES_MAX,
            executor_heartbeat_interval_seconds: HEARTBEAT_S,
            memory_pool_size: Some(options.memory_bytes),
            override_config_producer: Some(Arc::new(|| {
                SessionConfig::new_with_ballista()
                    .with_ballista_override_create_grpc_client_endpoint(wire::endpoints())
            })),
            override_function_registry: Some(Arc::new(functions)),
            override_create_grpc_client_endpoint: Some(wire::endpoints()),
            override_physical_codec: Some(Arc::new(PlanCodec::with_store(store))),
            ..ExecutorProcessConfig::default()
        })
    }
}
