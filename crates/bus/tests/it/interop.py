"""Reads a topic of changes with Confluent's Avro deserializer and prints one JSON line a record.

Arguments: bootstrap servers, registry URL, topic, number of records.
"""

import json
import sys

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

bootstrap, registry, topic, count = sys.argv[1:]
client = SchemaRegistryClient({"url": registry})
value_of, key_of = AvroDeserializer(client), AvroDeserializer(client)
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "interop", "enable.auto.commit": False})
consumer.assign([TopicPartition(topic, 0, 0)])
for _ in range(int(count)):
    message = consumer.poll(30)
    assert message is not None, "no record"
    assert message.error() is None, message.error()
    key = key_of(message.key(), SerializationContext(topic, MessageField.KEY))
    value = value_of(message.value(), SerializationContext(topic, MessageField.VALUE))
    print(json.dumps({"key": key, "value": value}, default=str, sort_keys=True))
latest = client.get_latest_version(f"{topic}-value")
assert client.test_compatibility(f"{topic}-value", latest.schema)
assert client.lookup_schema(f"{topic}-value", latest.schema).schema_id == latest.schema_id
assert client.register_schema(f"{topic}-value", latest.schema) == latest.schema_id
consumer.close()
