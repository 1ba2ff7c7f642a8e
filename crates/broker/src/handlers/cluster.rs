//! What the broker is: its versions, its one node, its topics' layout; and the answer to requests that
//! it does not have.

use super::{Caller, LEADER_EPOCH, NO_OPERATIONS, NODE_ID, blocking, text};
use crate::topics::{CatalogError, Overrides, Topic};
use crate::wire::{Answer, Malformed, RequestHead, SPOKEN, encode_as, encode_error};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, DescribeClusterRequest, DescribeClusterResponse,
    MetadataRequest, MetadataResponse, TopicName,
};
use std::sync::Arc;

/// The answer to a request or version that is not spoken: the whole list for ApiVersions, as every
/// client expects it in version 0, and the bare error code for all others.
pub(super) fn unsupported(caller: &Caller, head: &RequestHead) -> Result<Answer, Malformed> {
    tracing::debug!(peer = %caller.peer, key = head.api_key, version = head.version, "request is not spoken");
    let error = ResponseError::UnsupportedVersion.code();
    let frame = if head.api_key == ApiKey::ApiVersions as i16 {
        encode_as(head.correlation_id, 0, &versions().with_error_code(error))?
    } else {
        encode_error(head.correlation_id, error)
    };
    Ok(Answer::Now(frame, None))
}

fn versions() -> ApiVersionsResponse {
    let told = SPOKEN.iter().map(|api| {
        ApiVersion::default()
            .with_api_key(api.key as i16)
            .with_min_version(api.told_from)
            .with_max_version(api.to)
    });
    ApiVersionsResponse::default().with_api_keys(told.collect())
}

/// Which requests are spoken.
pub(super) fn api_versions(request: ApiVersionsRequest, version: i16) -> ApiVersionsResponse {
    let nameless = request.client_software_name.is_empty() || request.client_software_version.is_empty();
    if version >= 3 && nameless {
        return ApiVersionsResponse::default().with_error_code(ResponseError::InvalidRequest.code());
    }
    versions()
}

/// Brokers and topics; may create the topics that are asked for.
pub(super) async fn metadata(caller: &Caller, request: MetadataRequest, version: i16) -> MetadataResponse {
    let catalog = &caller.shared.catalog;
    let (host, port) = caller.advertised();
    let may_create =
        caller.shared.options.auto_create_topics && (version < 4 || request.allow_auto_topic_creation);
    // Version 0 says "all topics" with an empty list, later ones with none.
    let asked = request.topics.filter(|topics| version > 0 || !topics.is_empty());
    let mut topics = Vec::new();
    match asked {
        None => topics.extend(catalog.topics().iter().map(|topic| described(topic))),
        Some(asked) => {
            for one in asked {
                topics.push(match one.name {
                    Some(name) => by_name(caller, name, may_create).await,
                    None => match catalog.topic_by_id(one.topic_id) {
                        Some(topic) => described(&topic),
                        None => MetadataResponseTopic::default()
                            .with_topic_id(one.topic_id)
                            .with_name(if version >= 12 { None } else { Some(TopicName::default()) })
                            .with_topic_authorized_operations(NO_OPERATIONS)
                            .with_error_code(ResponseError::UnknownTopicId.code()),
                    },
                });
            }
        }
    }
    let broker =
        MetadataResponseBroker::default().with_node_id(NODE_ID.into()).with_host(host).with_port(port);
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(text(catalog.cluster_id())))
        .with_controller_id(NODE_ID.into())
        .with_cluster_authorized_operations(NO_OPERATIONS)
        .with_topics(topics)
}

async fn by_name(caller: &Caller, name: TopicName, may_create: bool) -> MetadataResponseTopic {
    let catalog = Arc::clone(&caller.shared.catalog);
    if let Some(topic) = catalog.topic(&name) {
        return described(&topic);
    }
    let count = caller.shared.options.default_partitions as usize;
    let (new, creating) = (name.to_string(), Arc::clone(&catalog));
    let created = if may_create {
        blocking(move || creating.create(&new, count, Overrides::new())).await
    } else {
        blocking(move || creating.check_new(&new, 1, &Overrides::new()).and(Err(CatalogError::Unknown))).await
    };
    let error = match created {
        Ok(Ok(topic)) => return described(&topic),
        Ok(Err(CatalogError::Exists)) => match catalog.topic(&name) {
            Some(topic) => return described(&topic),
            None => ResponseError::UnknownTopicOrPartition,
        },
        Ok(Err(error)) => super::topics::catalog_error(&error),
        Err(error) => error,
    };
    MetadataResponseTopic::default()
        .with_error_code(error.code())
        .with_name(Some(name))
        .with_topic_authorized_operations(NO_OPERATIONS)
}

fn described(topic: &Topic) -> MetadataResponseTopic {
    let partition = |index: usize| {
        MetadataResponsePartition::default()
            .with_partition_index(index as i32)
            .with_leader_id(NODE_ID.into())
            .with_leader_epoch(LEADER_EPOCH)
            .with_replica_nodes(vec![NODE_ID.into()])
            .with_isr_nodes(vec![NODE_ID.into()])
    };
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(&topic.name))))
        .with_topic_id(topic.id)
        .with_partitions((0..topic.partition_count()).map(partition).collect())
        .with_topic_authorized_operations(NO_OPERATIONS)
}

/// The cluster as administrators see it.
pub(super) fn describe(caller: &Caller, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let (host, port) = caller.advertised();
    if request.endpoint_type != 1 {
        return DescribeClusterResponse::default()
            .with_error_code(ResponseError::UnsupportedEndpointType.code())
            .with_endpoint_type(request.endpoint_type);
    }
    let broker =
        DescribeClusterBroker::default().with_broker_id(NODE_ID.into()).with_host(host).with_port(port);
    DescribeClusterResponse::default()
        .with_endpoint_type(1)
        .with_cluster_id(text(caller.shared.catalog.cluster_id()))
        .with_controller_id(NODE_ID.into())
        .with_brokers(vec![broker])
        .with_cluster_authorized_operations(NO_OPERATIONS)
}
