"""Creates, describes, changes and deletes topics and groups."""

import sys
import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)

bootstrap = sys.argv[1]
admin = AdminClient({"bootstrap.servers": bootstrap})


def done(futures):
    return [future.result(10) for future in futures.values()]


def refused(futures, name):
    for future in futures.values():
        try:
            future.result(10)
        except KafkaException as error:
            assert error.args[0].name() == name, error
            return
    raise AssertionError("not refused: " + name)


# Topics.
done(admin.create_topics([NewTopic("a", 3, 1, config={"cleanup.policy": "compact", "retention.ms": "1000"})]))
refused(admin.create_topics([NewTopic("a", 3, 1)]), "TOPIC_ALREADY_EXISTS")
refused(admin.create_topics([NewTopic("b", 3, 2)]), "INVALID_REPLICATION_FACTOR")
refused(admin.create_topics([NewTopic("b", 0, 1)]), "INVALID_PARTITIONS")
refused(admin.create_topics([NewTopic("b/c", 1, 1)]), "TOPIC_EXCEPTION")
refused(admin.create_topics([NewTopic("b", 1, 1, config={"no.such": "1"})]), "INVALID_CONFIG")
done(admin.create_topics([NewTopic("b", 1, 1)], validate_only=True))
assert "b" not in admin.list_topics(timeout=10).topics
done(admin.create_partitions([NewPartitions("a", 5)]))
assert len(admin.list_topics(timeout=10).topics["a"].partitions) == 5
refused(admin.create_partitions([NewPartitions("a", 4)]), "INVALID_PARTITIONS")

# Configurations.
topic = ConfigResource("topic", "a")
[shown] = done(admin.describe_configs([topic]))
assert shown["cleanup.policy"].value == "compact" and not shown["cleanup.policy"].is_default
assert shown["segment.bytes"].is_default
change = ConfigResource(
    "topic",
    "a",
    incremental_configs=[
        ConfigEntry("cleanup.policy", "delete", incremental_operation=AlterConfigOpType.APPEND),
        ConfigEntry("retention.ms", None, incremental_operation=AlterConfigOpType.DELETE),
        ConfigEntry("segment.bytes", "65536", incremental_operation=AlterConfigOpType.SET),
    ],
)
done(admin.incremental_alter_configs([change]))
[shown] = done(admin.describe_configs([topic]))
assert shown["cleanup.policy"].value == "compact,delete", shown["cleanup.policy"].value
assert shown["retention.ms"].is_default and shown["segment.bytes"].value == "65536"
[shown] = done(admin.describe_configs([ConfigResource("broker", "1")]))
assert shown["num.partitions"].value == "4"

# The cluster.
cluster = admin.describe_cluster().result(10)
assert cluster.controller.id == 1 and len(cluster.nodes) == 1

# Offsets and groups.
producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
for n in range(10):
    producer.produce("read", str(n).encode(), partition=0, timestamp=1_000_000 + n * 1000)
assert producer.flush(10) == 0
[latest] = done(admin.list_offsets({TopicPartition("read", 0): OffsetSpec.latest()}))
[by_time] = done(admin.list_offsets({TopicPartition("read", 0): OffsetSpec.for_timestamp(1_004_500)}))
assert (latest.offset, by_time.offset, by_time.timestamp) == (10, 5, 1_005_000), (latest.offset, by_time.offset)
[newest] = done(admin.list_offsets({TopicPartition("read", 0): OffsetSpec.max_timestamp()}))
assert newest.offset == 9, newest.offset

consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "readers", "auto.offset.reset": "earliest"})
consumer.subscribe(["read"])
deadline = time.monotonic() + 30
while not consumer.assignment():
    assert time.monotonic() < deadline
    consumer.poll(0.1)
consumer.commit(offsets=[TopicPartition("read", 0, 7)], asynchronous=False)
assert "readers" in [g.group_id for g in admin.list_consumer_groups().result(10).valid]
[group] = done(admin.describe_consumer_groups(["readers"]))
assert group.state.name == "STABLE" and len(group.members) == 1, group.state
assert len(group.members[0].assignment.topic_partitions) == 4
refused(admin.delete_consumer_groups(["readers"]), "NON_EMPTY_GROUP")
consumer.close()
[committed] = done(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions("readers")]))
assert {(p.topic, p.partition): p.offset for p in committed.topic_partitions}[("read", 0)] == 7
[gone] = done(admin.delete_records([TopicPartition("read", 0, 4)])) if hasattr(admin, "delete_records") else [None]
[earliest] = done(admin.list_offsets({TopicPartition("read", 0): OffsetSpec.earliest()}))
assert earliest.offset == (4 if gone else 0), earliest.offset
done(admin.delete_consumer_groups(["readers"]))
assert "readers" not in [g.group_id for g in admin.list_consumer_groups().result(10).valid]

done(admin.delete_topics(["a"]))
assert "a" not in admin.list_topics(timeout=10).topics
refused(admin.delete_topics(["a"]), "UNKNOWN_TOPIC_OR_PART")
print("ok")
