"""Writes clicks with Confluent's own serializers and prints what the registry says.

Arguments: bootstrap servers, registry URL, then one topic each for Avro, Protobuf and JSON.
Each topic gets two clicks; the last line printed is the refusal of an incompatible schema.
"""

import json
import sys

from confluent_kafka import Producer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2

bootstrap, registry, avro_topic, protobuf_topic, json_topic = sys.argv[1:]
client = SchemaRegistryClient({"url": registry})
producer = Producer({"bootstrap.servers": bootstrap})


def send(topic, values, serializer):
    context = SerializationContext(topic, MessageField.VALUE)
    for value in values:
        data = serializer(value, context)
        producer.produce(topic, data, partition=0)
    return data, context


# Avro: an id and a time of ours, a field that only this producer has.
avro = {
    "type": "record",
    "name": "Click",
    "namespace": "shop",
    "fields": [
        {"name": "event_id", "type": ["null", {"type": "string", "logicalType": "uuid"}]},
        {"name": "event_type", "type": "string"},
        {"name": "occurred_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "user_id", "type": ["null", "string"]},
        {"name": "cart", "type": {"type": "map", "values": "double"}},
    ],
}
click = {"event_type": "page_view", "occurred_at": 1714557600001, "user_id": "u1", "cart": {"sku": 1.5}}
send(
    avro_topic,
    [dict(click, event_id="01900000-0000-7000-8000-000000000001"), dict(click, event_id=None, user_id=None)],
    AvroSerializer(client, json.dumps(avro)),
)

# Protobuf: the click is the second message of its file and imports another.
field = descriptor_pb2.FieldDescriptorProto
money = descriptor_pb2.FileDescriptorProto(name="money.proto", package="shop", syntax="proto3")
money_message = money.message_type.add(name="Money")
money_message.field.add(name="minor", number=1, type=field.TYPE_INT64, label=field.LABEL_OPTIONAL)
file = descriptor_pb2.FileDescriptorProto(name="click.proto", package="shop", syntax="proto3")
file.dependency.extend(["money.proto", "google/protobuf/timestamp.proto"])
file.message_type.add(name="Unused")
message = file.message_type.add(name="Click")
for number, (name, kind, type_name) in enumerate(
    [
        ("event_type", field.TYPE_STRING, None),
        ("user_id", field.TYPE_STRING, None),
        ("occurred_at", field.TYPE_MESSAGE, ".google.protobuf.Timestamp"),
        ("total", field.TYPE_MESSAGE, ".shop.Money"),
    ],
    start=1,
):
    message.field.add(name=name, number=number, type=kind, type_name=type_name, label=field.LABEL_OPTIONAL)
pool = descriptor_pool.DescriptorPool()
pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
pool.Add(money)
pool.Add(file)
Click = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Click"))


def protobuf_click(user):
    value = Click(event_type="buy", user_id=user)
    value.occurred_at.seconds, value.occurred_at.nanos = 1714557600, 1000
    value.total.minor = 1234
    return value


data, context = send(protobuf_topic, [protobuf_click("u1"), protobuf_click("")], ProtobufSerializer(Click, client))
back = ProtobufDeserializer(Click, {"use.deprecated.format": False}, client)(data, context)
assert back.total.minor == 1234, back

# JSON Schema.
schema = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "title": "Click",
    "type": "object",
    "properties": {"event_type": {"type": "string"}, "user_id": {"type": "string"}, "tags": {"type": "array"}},
    "required": ["event_type"],
    "additionalProperties": False,
}
send(
    json_topic,
    [{"event_type": "view", "user_id": "u1", "tags": ["a"]}, {"event_type": "view"}],
    JSONSerializer(json.dumps(schema), client),
)
assert producer.flush(30) == 0

# What the registry says of all that.
assert sorted(client.get_schema_types()) == ["AVRO", "JSON", "PROTOBUF"]
latest = client.get_latest_version(f"{protobuf_topic}-value")
assert latest.schema.schema_type == "PROTOBUF" and "message Click" in latest.schema.schema_str, latest
assert [reference.name for reference in latest.schema.references] == ["money.proto"]
assert client.get_referenced_by("money.proto", 1) == [latest.schema_id]
assert client.get_version(f"{json_topic}-value", 1).schema.schema_type == "JSON"

for topic, schema_type, changed in [
    (avro_topic, "AVRO", json.dumps({**avro, "fields": avro["fields"] + [{"name": "new", "type": "int"}]})),
    (protobuf_topic, "PROTOBUF", 'syntax = "proto3"; package shop; message Unused {} message Click { int32 event_type = 1; }'),
    (json_topic, "JSON", json.dumps({**schema, "required": ["event_type", "user_id"]})),
]:
    changed = Schema(changed, schema_type)
    assert not client.test_compatibility(f"{topic}-value", changed)
    try:
        client.register_schema(f"{topic}-value", changed)
    except SchemaRegistryError as error:
        print(json.dumps({"status": error.http_status_code, "code": error.error_code, "message": error.error_message}))
    else:
        raise AssertionError(f"{topic}: an incompatible schema was taken")

# Deleting and coming back.
subject, schema = f"{avro_topic}-other", Schema('"bytes"', "AVRO")
schema_id = client.register_schema(subject, schema)
assert client.delete_version(subject, 1) == 1
assert subject not in client.get_subjects() and subject in client.get_subjects(deleted=True)
again = SchemaRegistryClient({"url": registry})
assert again.get_schema(schema_id).schema_str == '"bytes"'
assert again.register_schema(subject, schema) == schema_id
assert again.get_latest_version(subject).version == 2
assert again.delete_subject(subject) == [2]
assert again.delete_subject(subject, permanent=True) == [1, 2]
assert subject not in again.get_subjects(deleted=True)
try:
    SchemaRegistryClient({"url": registry}).get_schema(schema_id)
except SchemaRegistryError as error:
    assert error.error_code == 40403, error
else:
    raise AssertionError("a schema that was deleted for good is still there")
