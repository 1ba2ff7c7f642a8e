"""Reads so many records with a group and prints them; commits what it printed."""

import sys
import time

from confluent_kafka import Consumer

bootstrap, topic, group, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
announce = len(sys.argv) > 5
consumer = Consumer(
    {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "session.timeout.ms": 10000,
        "reconnect.backoff.max.ms": 500,
    }
)
consumer.subscribe([topic])
deadline = time.monotonic() + 50
seen = 0
while seen < count:
    assert time.monotonic() < deadline, f"only {seen} of {count}"
    message = consumer.poll(0.1)
    if message is None or message.error() is not None:
        continue
    if seen == 0 and announce:
        print("started", flush=True)
    print(message.value().decode())
    seen += 1
consumer.commit(asynchronous=False)
consumer.close()
