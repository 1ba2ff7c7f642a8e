//! What travels of a plan beyond DataFusion's and Ballista's own nodes: scans of our tables, sets of records.
//!
//! The same on every node, so all nodes run the same version of the binary. Functions travel by name: `nodes` gives
//! every node those of the engine.

use super::super::columns::ByFieldId;
use super::super::records::IsIn;
use super::scan::TravellingScan;
use crate::store::Store;
use ballista_core::serde::BallistaPhysicalExtensionCodec;
use datafusion::common::internal_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{AsExecutionPlan, PhysicalExtensionCodec};
use datafusion_proto::protobuf::PhysicalPlanNode;
use std::sync::Arc;

/// The first byte of a message tells whose it is.
const BALLISTA: u8 = 0;
const SCAN: u8 = 1;
/// Bytes of the length of what stands first in the message of a scan.
const LENGTH: usize = size_of::<u32>();

/// Messages from plans, and back.
#[derive(Debug, Default)]
pub(super) struct PlanCodec {
    ballista: BallistaPhysicalExtensionCodec,
    /// Where the tables lie, if that is no file system: scans come back with the way to their files.
    store: Option<Store>,
}

impl PlanCodec {
    /// Of a node that is given plans.
    pub(super) fn with_store(store: Option<Store>) -> Self {
        PlanCodec { store, ..PlanCodec::default() }
    }

    fn encode_scan(&self, scan: &TravellingScan, message: &mut Vec<u8>) -> Result<()> {
        let (files, by_field_id) = scan.halves();
        let ids = serde_json::to_vec(by_field_id).map_err(malformed)?;
        let length = u32::try_from(ids.len()).map_err(malformed)?;
        message.push(SCAN);
        message.extend(length.to_le_bytes());
        message.extend(ids);
        PhysicalPlanNode::try_from_physical_plan(Arc::clone(files), self)?.try_encode(message)
    }

    fn decode_scan(&self, message: &[u8], context: &TaskContext) -> Result<TravellingScan> {
        let Some((length, rest)) = message.split_first_chunk::<LENGTH>() else {
            return internal_err!("the message of a scan ends early");
        };
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(malformed)?;
        let Some((ids, files)) = rest.split_at_checked(length) else {
            return internal_err!("the message of a scan ends early");
        };
        let by_field_id: ByFieldId = serde_json::from_slice(ids).map_err(malformed)?;
        if let Some(store) = &self.store {
            store.register(&context.runtime_env())?;
        }
        let files = PhysicalPlanNode::try_decode(files)?.try_into_physical_plan(context, self)?;
        TravellingScan::arrived(files.as_ref(), by_field_id, self.store.clone())
    }
}

impl PhysicalExtensionCodec for PlanCodec {
    fn try_decode(
        &self,
        message: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match message.split_first() {
            Some((&BALLISTA, message)) => self.ballista.try_decode(message, inputs, context),
            Some((&SCAN, message)) => Ok(Arc::new(self.decode_scan(message, context)?)),
            Some((other, _)) => {
                internal_err!("a plan with a part of kind {other}, which this version does not know")
            }
            None => internal_err!("a plan with an empty part"),
        }
    }

    fn try_encode(&self, node: Arc<dyn ExecutionPlan>, message: &mut Vec<u8>) -> Result<()> {
        if let Some(scan) = node.downcast_ref::<TravellingScan>() {
            return self.encode_scan(scan, message);
        }
        message.push(BALLISTA);
        self.ballista.try_encode(node, message)
    }

    fn try_encode_udf(&self, function: &ScalarUDF, message: &mut Vec<u8>) -> Result<()> {
        match function.inner().downcast_ref::<IsIn>() {
            Some(set) => set.write(message),
            None => Ok(()),
        }
    }

    fn try_decode_udf(&self, name: &str, message: &[u8]) -> Result<Arc<ScalarUDF>> {
        if message.is_empty() {
            return internal_err!("no function {name} on this node: run the same version everywhere");
        }
        Ok(Arc::new(ScalarUDF::from(IsIn::read(name, message)?)))
    }
}

fn malformed(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
