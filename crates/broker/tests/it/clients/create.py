"""Creates a topic with so many partitions, or changes its configuration when that number is 0."""

import sys

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

bootstrap, topic, partitions = sys.argv[1], sys.argv[2], int(sys.argv[3])
config = dict(pair.split("=") for pair in sys.argv[4:])
admin = AdminClient({"bootstrap.servers": bootstrap})
if partitions:
    futures = admin.create_topics([NewTopic(topic, partitions, 1, config=config)])
else:
    entries = [ConfigEntry(k, v, incremental_operation=AlterConfigOpType.SET) for k, v in config.items()]
    futures = admin.incremental_alter_configs([ConfigResource("topic", topic, incremental_configs=entries)])
for future in futures.values():
    future.result(10)
