"""Two members of one group read a topic together; then one leaves and the other takes over."""

import sys
import time

from confluent_kafka import Consumer, KafkaException, Producer

bootstrap, topic, count, strategy = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]


def member():
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "pair-" + strategy,
            "partition.assignment.strategy": strategy,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 200,
        }
    )
    consumer.subscribe([topic])
    return consumer


def poll(consumer, seen):
    message = consumer.poll(0.05)
    if message is not None:
        assert message.error() is None, message.error()
        seen.append((message.partition(), message.offset()))
        try:
            consumer.commit(message=message, asynchronous=False)
        except KafkaException as error:
            # The group may have moved on meanwhile; the record is read again then.
            assert error.args[0].name() in ("ILLEGAL_GENERATION", "REBALANCE_IN_PROGRESS", "_STATE"), error


def until(condition, what):
    deadline = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < deadline, what
        for consumer, seen in members:
            poll(consumer, seen)


members = [(member(), [])]
until(lambda: len(members[0][0].assignment()) == 4, "the first member gets everything")
members.append((member(), []))
until(lambda: [len(c.assignment()) for c, _ in members] == [2, 2], "two members share")
print("shared 2+2")

leaving, seen_by_leaving = members.pop()
leaving.close()
until(lambda: len(members[0][0].assignment()) == 4, "the first member takes over")
print("took over", len(members[0][0].assignment()))

producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
for partition in range(4):
    producer.produce(topic, b"more", partition=partition)
producer.flush(10)
distinct = lambda: len(set(members[0][1]) | set(seen_by_leaving))
until(lambda: distinct() == count + 4, "everything is read")
members[0][0].close()
