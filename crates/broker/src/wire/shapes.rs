//! The shapes of the requests that are spoken, as data, from the message definitions of Apache Kafka.
//! `shape` walks them; a test walks every message that the message library can encode.

use super::shape::Kind::{Array, Blob, Fixed, Text};
use super::shape::{Field, Shape, field};
use kafka_protocol::messages::ApiKey;

const FIXED_4: [Field; 1] = [field(Fixed(4)).bare()];

const TEXT: [Field; 1] = [field(Text).bare()];

const PRODUCE_PARTITION_PRODUCE_DATA: [Field; 2] = [field(Fixed(4)), field(Blob)];

const PRODUCE_TOPIC_PRODUCE_DATA: [Field; 3] =
    [field(Text).until(12), field(Fixed(16)).since(13), field(Array(&PRODUCE_PARTITION_PRODUCE_DATA))];

const PRODUCE: [Field; 4] =
    [field(Text), field(Fixed(2)), field(Fixed(4)), field(Array(&PRODUCE_TOPIC_PRODUCE_DATA))];

const FETCH_FETCH_PARTITION: [Field; 6] = [
    field(Fixed(4)),
    field(Fixed(4)).since(9),
    field(Fixed(8)),
    field(Fixed(4)).since(12),
    field(Fixed(8)).since(5),
    field(Fixed(4)),
];

const FETCH_FETCH_TOPIC: [Field; 3] =
    [field(Text).until(12), field(Fixed(16)).since(13), field(Array(&FETCH_FETCH_PARTITION))];

const FETCH_FORGOTTEN_TOPIC: [Field; 3] =
    [field(Text).within(7, 12), field(Fixed(16)).since(13), field(Array(&FIXED_4)).since(7)];

const FETCH: [Field; 10] = [
    field(Fixed(4)).until(14),
    field(Fixed(4)),
    field(Fixed(4)),
    field(Fixed(4)),
    field(Fixed(1)),
    field(Fixed(4)).since(7),
    field(Fixed(4)).since(7),
    field(Array(&FETCH_FETCH_TOPIC)),
    field(Array(&FETCH_FORGOTTEN_TOPIC)).since(7),
    field(Text).since(11),
];

const LIST_OFFSETS_LIST_OFFSETS_PARTITION: [Field; 3] =
    [field(Fixed(4)), field(Fixed(4)).since(4), field(Fixed(8))];

const LIST_OFFSETS_LIST_OFFSETS_TOPIC: [Field; 2] =
    [field(Text), field(Array(&LIST_OFFSETS_LIST_OFFSETS_PARTITION))];

const LIST_OFFSETS: [Field; 4] = [
    field(Fixed(4)),
    field(Fixed(1)).since(2),
    field(Array(&LIST_OFFSETS_LIST_OFFSETS_TOPIC)),
    field(Fixed(4)).since(10),
];

const METADATA_METADATA_REQUEST_TOPIC: [Field; 2] = [field(Fixed(16)).since(10), field(Text)];

const METADATA: [Field; 4] = [
    field(Array(&METADATA_METADATA_REQUEST_TOPIC)),
    field(Fixed(1)).since(4),
    field(Fixed(1)).within(8, 10),
    field(Fixed(1)).since(8),
];

const OFFSET_COMMIT_OFFSET_COMMIT_REQUEST_PARTITION: [Field; 4] =
    [field(Fixed(4)), field(Fixed(8)), field(Fixed(4)).since(6), field(Text)];

const OFFSET_COMMIT_OFFSET_COMMIT_REQUEST_TOPIC: [Field; 2] =
    [field(Text), field(Array(&OFFSET_COMMIT_OFFSET_COMMIT_REQUEST_PARTITION))];

const OFFSET_COMMIT: [Field; 6] = [
    field(Text),
    field(Fixed(4)),
    field(Text),
    field(Text).since(7),
    field(Fixed(8)).until(4),
    field(Array(&OFFSET_COMMIT_OFFSET_COMMIT_REQUEST_TOPIC)),
];

const OFFSET_FETCH_OFFSET_FETCH_REQUEST_TOPIC: [Field; 2] =
    [field(Text).until(7), field(Array(&FIXED_4)).until(7)];

const OFFSET_FETCH_OFFSET_FETCH_REQUEST_TOPICS: [Field; 2] =
    [field(Text).since(8), field(Array(&FIXED_4)).since(8)];

const OFFSET_FETCH_OFFSET_FETCH_REQUEST_GROUP: [Field; 4] = [
    field(Text).since(8),
    field(Text).since(9),
    field(Fixed(4)).since(9),
    field(Array(&OFFSET_FETCH_OFFSET_FETCH_REQUEST_TOPICS)).since(8),
];

const OFFSET_FETCH: [Field; 4] = [
    field(Text).until(7),
    field(Array(&OFFSET_FETCH_OFFSET_FETCH_REQUEST_TOPIC)).until(7),
    field(Array(&OFFSET_FETCH_OFFSET_FETCH_REQUEST_GROUP)).since(8),
    field(Fixed(1)).since(7),
];

const FIND_COORDINATOR: [Field; 3] =
    [field(Text).until(3), field(Fixed(1)).since(1), field(Array(&TEXT)).since(4)];

const JOIN_GROUP_JOIN_GROUP_REQUEST_PROTOCOL: [Field; 2] = [field(Text), field(Blob)];

const JOIN_GROUP: [Field; 8] = [
    field(Text),
    field(Fixed(4)),
    field(Fixed(4)).since(1),
    field(Text),
    field(Text).since(5),
    field(Text),
    field(Array(&JOIN_GROUP_JOIN_GROUP_REQUEST_PROTOCOL)),
    field(Text).since(8),
];

const HEARTBEAT: [Field; 4] = [field(Text), field(Fixed(4)), field(Text), field(Text).since(3)];

const LEAVE_GROUP_MEMBER_IDENTITY: [Field; 3] =
    [field(Text).since(3), field(Text).since(3), field(Text).since(5)];

const LEAVE_GROUP: [Field; 3] =
    [field(Text), field(Text).until(2), field(Array(&LEAVE_GROUP_MEMBER_IDENTITY)).since(3)];

const SYNC_GROUP_SYNC_GROUP_REQUEST_ASSIGNMENT: [Field; 2] = [field(Text), field(Blob)];

const SYNC_GROUP: [Field; 7] = [
    field(Text),
    field(Fixed(4)),
    field(Text),
    field(Text).since(3),
    field(Text).since(5),
    field(Text).since(5),
    field(Array(&SYNC_GROUP_SYNC_GROUP_REQUEST_ASSIGNMENT)),
];

const DESCRIBE_GROUPS: [Field; 2] = [field(Array(&TEXT)), field(Fixed(1)).since(3)];

const LIST_GROUPS: [Field; 2] = [field(Array(&TEXT)).since(4), field(Array(&TEXT)).since(5)];

const API_VERSIONS: [Field; 2] = [field(Text).since(3), field(Text).since(3)];

const CREATE_TOPICS_CREATABLE_REPLICA_ASSIGNMENT: [Field; 2] = [field(Fixed(4)), field(Array(&FIXED_4))];

const CREATE_TOPICS_CREATABLE_TOPIC_CONFIG: [Field; 2] = [field(Text), field(Text)];

const CREATE_TOPICS_CREATABLE_TOPIC: [Field; 5] = [
    field(Text),
    field(Fixed(4)),
    field(Fixed(2)),
    field(Array(&CREATE_TOPICS_CREATABLE_REPLICA_ASSIGNMENT)),
    field(Array(&CREATE_TOPICS_CREATABLE_TOPIC_CONFIG)),
];

const CREATE_TOPICS: [Field; 3] =
    [field(Array(&CREATE_TOPICS_CREATABLE_TOPIC)), field(Fixed(4)), field(Fixed(1))];

const DELETE_TOPICS_DELETE_TOPIC_STATE: [Field; 2] = [field(Text).since(6), field(Fixed(16)).since(6)];

const DELETE_TOPICS: [Field; 3] =
    [field(Array(&DELETE_TOPICS_DELETE_TOPIC_STATE)).since(6), field(Array(&TEXT)).until(5), field(Fixed(4))];

const DELETE_RECORDS_DELETE_RECORDS_PARTITION: [Field; 2] = [field(Fixed(4)), field(Fixed(8))];

const DELETE_RECORDS_DELETE_RECORDS_TOPIC: [Field; 2] =
    [field(Text), field(Array(&DELETE_RECORDS_DELETE_RECORDS_PARTITION))];

const DELETE_RECORDS: [Field; 2] = [field(Array(&DELETE_RECORDS_DELETE_RECORDS_TOPIC)), field(Fixed(4))];

const INIT_PRODUCER_ID: [Field; 4] =
    [field(Text), field(Fixed(4)), field(Fixed(8)).since(3), field(Fixed(2)).since(3)];

const OFFSET_FOR_LEADER_EPOCH_OFFSET_FOR_LEADER_PARTITION: [Field; 3] =
    [field(Fixed(4)), field(Fixed(4)), field(Fixed(4))];

const OFFSET_FOR_LEADER_EPOCH_OFFSET_FOR_LEADER_TOPIC: [Field; 2] =
    [field(Text), field(Array(&OFFSET_FOR_LEADER_EPOCH_OFFSET_FOR_LEADER_PARTITION))];

const OFFSET_FOR_LEADER_EPOCH: [Field; 2] =
    [field(Fixed(4)).since(3), field(Array(&OFFSET_FOR_LEADER_EPOCH_OFFSET_FOR_LEADER_TOPIC))];

const DESCRIBE_CONFIGS_DESCRIBE_CONFIGS_RESOURCE: [Field; 3] =
    [field(Fixed(1)), field(Text), field(Array(&TEXT))];

const DESCRIBE_CONFIGS: [Field; 3] =
    [field(Array(&DESCRIBE_CONFIGS_DESCRIBE_CONFIGS_RESOURCE)), field(Fixed(1)), field(Fixed(1)).since(3)];

const ALTER_CONFIGS_ALTERABLE_CONFIG: [Field; 2] = [field(Text), field(Text)];

const ALTER_CONFIGS_ALTER_CONFIGS_RESOURCE: [Field; 3] =
    [field(Fixed(1)), field(Text), field(Array(&ALTER_CONFIGS_ALTERABLE_CONFIG))];

const ALTER_CONFIGS: [Field; 2] = [field(Array(&ALTER_CONFIGS_ALTER_CONFIGS_RESOURCE)), field(Fixed(1))];

const CREATE_PARTITIONS_CREATE_PARTITIONS_ASSIGNMENT: [Field; 1] = [field(Array(&FIXED_4))];

const CREATE_PARTITIONS_CREATE_PARTITIONS_TOPIC: [Field; 3] =
    [field(Text), field(Fixed(4)), field(Array(&CREATE_PARTITIONS_CREATE_PARTITIONS_ASSIGNMENT))];

const CREATE_PARTITIONS: [Field; 3] =
    [field(Array(&CREATE_PARTITIONS_CREATE_PARTITIONS_TOPIC)), field(Fixed(4)), field(Fixed(1))];

const DELETE_GROUPS: [Field; 1] = [field(Array(&TEXT))];

const INCREMENTAL_ALTER_CONFIGS_ALTERABLE_CONFIG: [Field; 3] = [field(Text), field(Fixed(1)), field(Text)];

const INCREMENTAL_ALTER_CONFIGS_ALTER_CONFIGS_RESOURCE: [Field; 3] =
    [field(Fixed(1)), field(Text), field(Array(&INCREMENTAL_ALTER_CONFIGS_ALTERABLE_CONFIG))];

const INCREMENTAL_ALTER_CONFIGS: [Field; 2] =
    [field(Array(&INCREMENTAL_ALTER_CONFIGS_ALTER_CONFIGS_RESOURCE)), field(Fixed(1))];

const DESCRIBE_CLUSTER: [Field; 3] = [field(Fixed(1)), field(Fixed(1)).since(1), field(Fixed(1)).since(2)];

pub(super) const SHAPES: &[Shape] = &[
    Shape { key: ApiKey::Produce, flexible_from: 9, fields: &PRODUCE },
    Shape { key: ApiKey::Fetch, flexible_from: 12, fields: &FETCH },
    Shape { key: ApiKey::ListOffsets, flexible_from: 6, fields: &LIST_OFFSETS },
    Shape { key: ApiKey::Metadata, flexible_from: 9, fields: &METADATA },
    Shape { key: ApiKey::OffsetCommit, flexible_from: 8, fields: &OFFSET_COMMIT },
    Shape { key: ApiKey::OffsetFetch, flexible_from: 6, fields: &OFFSET_FETCH },
    Shape { key: ApiKey::FindCoordinator, flexible_from: 3, fields: &FIND_COORDINATOR },
    Shape { key: ApiKey::JoinGroup, flexible_from: 6, fields: &JOIN_GROUP },
    Shape { key: ApiKey::Heartbeat, flexible_from: 4, fields: &HEARTBEAT },
    Shape { key: ApiKey::LeaveGroup, flexible_from: 4, fields: &LEAVE_GROUP },
    Shape { key: ApiKey::SyncGroup, flexible_from: 4, fields: &SYNC_GROUP },
    Shape { key: ApiKey::DescribeGroups, flexible_from: 5, fields: &DESCRIBE_GROUPS },
    Shape { key: ApiKey::ListGroups, flexible_from: 3, fields: &LIST_GROUPS },
    Shape { key: ApiKey::ApiVersions, flexible_from: 3, fields: &API_VERSIONS },
    Shape { key: ApiKey::CreateTopics, flexible_from: 5, fields: &CREATE_TOPICS },
    Shape { key: ApiKey::DeleteTopics, flexible_from: 4, fields: &DELETE_TOPICS },
    Shape { key: ApiKey::DeleteRecords, flexible_from: 2, fields: &DELETE_RECORDS },
    Shape { key: ApiKey::InitProducerId, flexible_from: 2, fields: &INIT_PRODUCER_ID },
    Shape { key: ApiKey::OffsetForLeaderEpoch, flexible_from: 4, fields: &OFFSET_FOR_LEADER_EPOCH },
    Shape { key: ApiKey::DescribeConfigs, flexible_from: 4, fields: &DESCRIBE_CONFIGS },
    Shape { key: ApiKey::AlterConfigs, flexible_from: 2, fields: &ALTER_CONFIGS },
    Shape { key: ApiKey::CreatePartitions, flexible_from: 2, fields: &CREATE_PARTITIONS },
    Shape { key: ApiKey::DeleteGroups, flexible_from: 2, fields: &DELETE_GROUPS },
    Shape { key: ApiKey::IncrementalAlterConfigs, flexible_from: 1, fields: &INCREMENTAL_ALTER_CONFIGS },
    Shape { key: ApiKey::DescribeCluster, flexible_from: 0, fields: &DESCRIBE_CLUSTER },
];
