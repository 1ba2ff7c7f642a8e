//! One function per request: from a decoded message to its response. Errors of a request are codes in
//! its response; only a request that cannot be understood is an error here.

mod cluster;
mod commits;
mod configs;
mod fetch;
mod groups;
mod offsets;
mod produce;
mod topics;

use crate::broker::Shared;
use crate::wire::{Answer, Malformed, RequestHead, decode, encode, spoken};
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{self as m, ApiKey};
use kafka_protocol::protocol::StrBytes;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The id of the one broker there is.
pub(crate) const NODE_ID: i32 = 1;
/// The one leader epoch of every partition.
pub(crate) const LEADER_EPOCH: i32 = 0;
/// "Not asked for", for sets of operations that somebody may do.
const NO_OPERATIONS: i32 = i32::MIN;

/// Who asks.
pub(crate) struct Caller {
    pub(crate) shared: Arc<Shared>,
    pub(crate) peer: SocketAddr,
    /// The address the client connected to.
    pub(crate) local: SocketAddr,
    pub(crate) stop: CancellationToken,
}

impl Caller {
    /// Host and port that clients shall use.
    fn advertised(&self) -> (StrBytes, i32) {
        let configured = self.shared.options.advertised.as_deref().and_then(crate::options::split_host_port);
        let (host, port) = configured.unwrap_or_else(|| (self.local.ip().to_string(), self.local.port()));
        (StrBytes::from_string(host), i32::from(port))
    }
}

/// Answers one request.
///
/// # Errors
/// When the request cannot be understood.
pub(crate) async fn answer(caller: &Caller, head: RequestHead, body: Bytes) -> Result<Answer, Malformed> {
    let known = ApiKey::try_from(head.api_key).ok().and_then(spoken);
    let Some(api) = known.filter(|api| api.speaks(head.version)) else {
        return cluster::unsupported(caller, &head);
    };
    tracing::trace!(key = ?api.key, head.version, head.correlation_id, "request");
    let frame = match api.key {
        ApiKey::Produce => return produce::produce(caller, &head, decode(&head, body)?).await,
        ApiKey::Fetch => return fetch::fetch(caller, &head, decode(&head, body)?).await,
        ApiKey::ApiVersions => encode(&head, &cluster::api_versions(decode(&head, body)?, head.version)),
        ApiKey::Metadata => {
            encode(&head, &cluster::metadata(caller, decode(&head, body)?, head.version).await)
        }
        ApiKey::DescribeCluster => encode(&head, &cluster::describe(caller, decode(&head, body)?)),
        ApiKey::CreateTopics => encode(&head, &topics::create(caller, decode(&head, body)?).await),
        ApiKey::DeleteTopics => encode(&head, &topics::delete(caller, decode(&head, body)?).await),
        ApiKey::CreatePartitions => encode(&head, &topics::grow(caller, decode(&head, body)?).await),
        ApiKey::DescribeConfigs => encode(&head, &configs::describe(caller, decode(&head, body)?)),
        ApiKey::AlterConfigs => encode(&head, &configs::alter(caller, decode(&head, body)?).await),
        ApiKey::IncrementalAlterConfigs => {
            encode(&head, &configs::alter_incrementally(caller, decode(&head, body)?).await)
        }
        ApiKey::ListOffsets => {
            encode(&head, &offsets::list(caller, decode(&head, body)?, head.version).await)
        }
        ApiKey::OffsetForLeaderEpoch => {
            encode(&head, &offsets::for_leader_epoch(caller, decode(&head, body)?))
        }
        ApiKey::DeleteRecords => encode(&head, &offsets::delete_records(caller, decode(&head, body)?).await),
        ApiKey::InitProducerId => {
            encode(&head, &produce::init_producer_id(caller, decode(&head, body)?).await)
        }
        ApiKey::FindCoordinator => encode(&head, &groups::find(caller, decode(&head, body)?, head.version)),
        ApiKey::JoinGroup => encode(&head, &groups::join(caller, &head, decode(&head, body)?).await),
        ApiKey::SyncGroup => encode(&head, &groups::sync(caller, decode(&head, body)?).await),
        ApiKey::Heartbeat => encode(&head, &groups::heartbeat(caller, decode(&head, body)?)),
        ApiKey::LeaveGroup => encode(&head, &groups::leave(caller, decode(&head, body)?, head.version)),
        ApiKey::ListGroups => encode(&head, &groups::list(caller, decode(&head, body)?)),
        ApiKey::DescribeGroups => {
            encode(&head, &groups::describe(caller, decode(&head, body)?, head.version))
        }
        ApiKey::DeleteGroups => encode(&head, &groups::delete(caller, decode(&head, body)?)),
        ApiKey::OffsetCommit => encode(&head, &commits::commit(caller, decode(&head, body)?).await),
        ApiKey::OffsetFetch => encode(&head, &commits::fetch(caller, decode(&head, body)?, head.version)),
        _ => return cluster::unsupported(caller, &head),
    };
    Ok(Answer::Now(frame?, None))
}

/// Decodes a body as [`answer`] would and drops it.
///
/// # Errors
/// When the body cannot be understood.
pub(crate) fn decode_only(key: ApiKey, head: &RequestHead, body: Bytes) -> Result<(), Malformed> {
    match key {
        ApiKey::Produce => decode::<m::ProduceRequest>(head, body).map(drop),
        ApiKey::Fetch => decode::<m::FetchRequest>(head, body).map(drop),
        ApiKey::ApiVersions => decode::<m::ApiVersionsRequest>(head, body).map(drop),
        ApiKey::Metadata => decode::<m::MetadataRequest>(head, body).map(drop),
        ApiKey::DescribeCluster => decode::<m::DescribeClusterRequest>(head, body).map(drop),
        ApiKey::CreateTopics => decode::<m::CreateTopicsRequest>(head, body).map(drop),
        ApiKey::DeleteTopics => decode::<m::DeleteTopicsRequest>(head, body).map(drop),
        ApiKey::CreatePartitions => decode::<m::CreatePartitionsRequest>(head, body).map(drop),
        ApiKey::DescribeConfigs => decode::<m::DescribeConfigsRequest>(head, body).map(drop),
        ApiKey::AlterConfigs => decode::<m::AlterConfigsRequest>(head, body).map(drop),
        ApiKey::IncrementalAlterConfigs => decode::<m::IncrementalAlterConfigsRequest>(head, body).map(drop),
        ApiKey::ListOffsets => decode::<m::ListOffsetsRequest>(head, body).map(drop),
        ApiKey::OffsetForLeaderEpoch => decode::<m::OffsetForLeaderEpochRequest>(head, body).map(drop),
        ApiKey::DeleteRecords => decode::<m::DeleteRecordsRequest>(head, body).map(drop),
        ApiKey::InitProducerId => decode::<m::InitProducerIdRequest>(head, body).map(drop),
        ApiKey::FindCoordinator => decode::<m::FindCoordinatorRequest>(head, body).map(drop),
        ApiKey::JoinGroup => decode::<m::JoinGroupRequest>(head, body).map(drop),
        ApiKey::SyncGroup => decode::<m::SyncGroupRequest>(head, body).map(drop),
        ApiKey::Heartbeat => decode::<m::HeartbeatRequest>(head, body).map(drop),
        ApiKey::LeaveGroup => decode::<m::LeaveGroupRequest>(head, body).map(drop),
        ApiKey::ListGroups => decode::<m::ListGroupsRequest>(head, body).map(drop),
        ApiKey::DescribeGroups => decode::<m::DescribeGroupsRequest>(head, body).map(drop),
        ApiKey::DeleteGroups => decode::<m::DeleteGroupsRequest>(head, body).map(drop),
        ApiKey::OffsetCommit => decode::<m::OffsetCommitRequest>(head, body).map(drop),
        ApiKey::OffsetFetch => decode::<m::OffsetFetchRequest>(head, body).map(drop),
        _ => Err(Malformed::Header),
    }
}

/// Runs what blocks on the disk away from the threads that serve connections.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ResponseError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "request failed");
        ResponseError::UnknownServerError
    })
}

/// The protocol's code for an outcome.
fn code<T>(outcome: &Result<T, ResponseError>) -> i16 {
    outcome.as_ref().err().map_or(0, ResponseError::code)
}

fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}
