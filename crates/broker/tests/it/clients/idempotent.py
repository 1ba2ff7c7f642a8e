"""Produces numbers idempotently and says when it is half way; the broker may restart meanwhile."""

import sys
import time

from confluent_kafka import Producer

bootstrap, topic, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
failed = []
producer = Producer(
    {
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,
        "linger.ms": 1,
        "batch.num.messages": 50,
        "reconnect.backoff.max.ms": 500,
    }
)


def delivered(error, message):
    if error is not None:
        failed.append(str(error))


for n in range(count):
    producer.produce(topic, str(n).encode(), partition=n % 4, on_delivery=delivered)
    if n % 100 == 0:
        producer.poll(0.005)
    if n == count // 2:
        print("half", flush=True)
assert producer.flush(50) == 0, "not everything was delivered"
assert not failed, failed[:3]
