//! Group membership and its administration.

use super::{Caller, NO_OPERATIONS, NODE_ID, code, text};
use crate::groups::{CommitTarget, Description, JoinRequest, SyncRequest};
use crate::wire::RequestHead;
use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    FindCoordinatorRequest, FindCoordinatorResponse, GroupId, HeartbeatRequest, HeartbeatResponse,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest,
    ListGroupsResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// The key type of groups; the other is transactions, which are not offered.
const GROUP_KEY: i8 = 0;

/// Names the one broker as the coordinator of every group.
pub(super) fn find(
    caller: &Caller,
    request: FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    let (host, port) = caller.advertised();
    let refused = request.key_type != GROUP_KEY;
    let error = if refused { ResponseError::InvalidRequest.code() } else { 0 };
    let words = refused.then(|| text("this broker has no transactions"));
    let (node, host, port) = if refused { (-1, StrBytes::default(), -1) } else { (NODE_ID, host, port) };
    if version < 4 {
        return FindCoordinatorResponse::default()
            .with_error_code(error)
            .with_error_message(words)
            .with_node_id(node.into())
            .with_host(host)
            .with_port(port);
    }
    let coordinator = |key: StrBytes| {
        Coordinator::default()
            .with_key(key)
            .with_error_code(error)
            .with_error_message(words.clone())
            .with_node_id(node.into())
            .with_host(host.clone())
            .with_port(port)
    };
    FindCoordinatorResponse::default()
        .with_coordinators(request.coordinator_keys.into_iter().map(coordinator).collect())
}

/// Joins a group and waits for the rebalance.
pub(super) async fn join(
    caller: &Caller,
    head: &RequestHead,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    let client_id = head.client_id.clone().unwrap_or_default();
    let positive = |ms: i32| u64::try_from(ms).unwrap_or(0);
    let session_timeout_ms = positive(request.session_timeout_ms);
    let prefix = request.group_instance_id.as_ref().map_or(client_id.as_str(), |id| id.as_str());
    let join = JoinRequest {
        member_id: request.member_id.to_string(),
        fresh_id: format!("{prefix}-{}", Uuid::new_v4()),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
        client_id,
        client_host: format!("/{}", caller.peer.ip()),
        session_timeout_ms,
        // Version 0 knows one timeout for both.
        rebalance_timeout_ms: match request.rebalance_timeout_ms {
            -1 => session_timeout_ms,
            ms => positive(ms),
        },
        protocol_type: request.protocol_type.to_string(),
        protocols: request.protocols.iter().map(|p| (p.name.to_string(), p.metadata.to_vec())).collect(),
        id_required: head.version >= 4,
        may_skip_assignment: head.version >= 9,
    };
    let reply = caller.shared.groups.join(&request.group_id, join).await;
    let none = |value: Option<String>| match value {
        Some(value) => Some(text(value)),
        None if head.version >= 7 => None,
        None => Some(StrBytes::default()),
    };
    let members = reply.members.into_iter().map(|(id, instance, metadata)| {
        JoinGroupResponseMember::default()
            .with_member_id(text(id))
            .with_group_instance_id(instance.map(text))
            .with_metadata(metadata)
    });
    JoinGroupResponse::default()
        .with_error_code(reply.error.map_or(0, |error| error.code()))
        .with_generation_id(reply.generation)
        .with_protocol_type(none(reply.protocol_type))
        .with_protocol_name(none(reply.protocol))
        .with_leader(text(reply.leader))
        .with_skip_assignment(reply.skip_assignment)
        .with_member_id(text(reply.member_id))
        .with_members(members.collect())
}

/// Brings or fetches an assignment.
pub(super) async fn sync(caller: &Caller, request: SyncGroupRequest) -> SyncGroupResponse {
    let sync = SyncRequest {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
        generation: request.generation_id,
        protocol_type: request.protocol_type.map(|name| name.to_string()),
        protocol: request.protocol_name.map(|name| name.to_string()),
        assignments: request
            .assignments
            .into_iter()
            .map(|a| (a.member_id.to_string(), a.assignment.to_vec()))
            .collect(),
    };
    let reply = caller.shared.groups.sync(&request.group_id, sync).await;
    SyncGroupResponse::default()
        .with_error_code(reply.error.map_or(0, |error| error.code()))
        .with_protocol_type(reply.protocol_type.map(text))
        .with_protocol_name(reply.protocol.map(text))
        .with_assignment(reply.assignment)
}

/// Keeps a session alive.
pub(super) fn heartbeat(caller: &Caller, request: HeartbeatRequest) -> HeartbeatResponse {
    let alive = caller.shared.groups.heartbeat(CommitTarget {
        group: &request.group_id,
        member_id: &request.member_id,
        instance_id: request.group_instance_id.as_deref(),
        generation: request.generation_id,
    });
    HeartbeatResponse::default().with_error_code(code(&alive))
}

/// Lets members go: one, or from version 3 on several.
pub(super) fn leave(caller: &Caller, request: LeaveGroupRequest, version: i16) -> LeaveGroupResponse {
    let groups = &caller.shared.groups;
    if version < 3 {
        let left = groups.leave(&request.group_id, &request.member_id, None);
        return LeaveGroupResponse::default().with_error_code(code(&left));
    }
    let members = request.members.into_iter().map(|member| {
        let left = groups.leave(&request.group_id, &member.member_id, member.group_instance_id.as_deref());
        MemberResponse::default()
            .with_member_id(member.member_id)
            .with_group_instance_id(member.group_instance_id)
            .with_error_code(code(&left))
    });
    LeaveGroupResponse::default().with_members(members.collect())
}

/// Names every group.
pub(super) fn list(caller: &Caller, request: ListGroupsRequest) -> ListGroupsResponse {
    let matches = |filter: &[StrBytes], name: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
    };
    let groups = caller.shared.groups.list().into_iter();
    let wanted = groups.filter(|(_, _, state)| {
        matches(&request.states_filter, state.name()) && matches(&request.types_filter, "classic")
    });
    let line = |(id, protocol_type, state): (String, String, crate::groups::State)| {
        ListedGroup::default()
            .with_group_id(GroupId(text(id)))
            .with_protocol_type(text(protocol_type))
            .with_group_state(text(state.name()))
            .with_group_type(text("classic"))
    };
    ListGroupsResponse::default().with_groups(wanted.map(line).collect())
}

/// Shows groups with their members.
pub(super) fn describe(
    caller: &Caller,
    request: DescribeGroupsRequest,
    version: i16,
) -> DescribeGroupsResponse {
    let described = request.groups.into_iter().map(|id| match caller.shared.groups.describe(&id) {
        Some(description) => shown(&description),
        None => {
            let unknown = DescribedGroup::default()
                .with_group_id(id.clone())
                .with_group_state(text("Dead"))
                .with_authorized_operations(NO_OPERATIONS);
            if version < 6 {
                return unknown;
            }
            let words = format!("group {} not found", id.as_str());
            unknown
                .with_error_code(ResponseError::GroupIdNotFound.code())
                .with_error_message(Some(text(words)))
        }
    });
    DescribeGroupsResponse::default().with_groups(described.collect())
}

fn shown(description: &Description) -> DescribedGroup {
    let group = &description.machine;
    let protocol = group.protocol.clone().unwrap_or_default();
    let members = group.members.iter().map(|(id, member)| {
        DescribedGroupMember::default()
            .with_member_id(text(id))
            .with_group_instance_id(member.instance_id.clone().map(text))
            .with_client_id(text(&member.client_id))
            .with_client_host(text(&member.client_host))
            .with_member_metadata(member.metadata(&protocol))
            .with_member_assignment(Bytes::copy_from_slice(&member.assignment))
    });
    DescribedGroup::default()
        .with_group_id(GroupId(text(&description.group)))
        .with_group_state(text(group.state.name()))
        .with_protocol_type(text(group.protocol_type.clone().unwrap_or_default()))
        .with_protocol_data(text(&protocol))
        .with_members(members.collect())
        .with_authorized_operations(NO_OPERATIONS)
}

/// Deletes groups that have no members.
pub(super) fn delete(caller: &Caller, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let results = request.groups_names.into_iter().map(|id| {
        let deleted = caller.shared.groups.delete(&id);
        DeletableGroupResult::default().with_group_id(id).with_error_code(code(&deleted))
    });
    DeleteGroupsResponse::default().with_results(results.collect())
}
