#!/usr/bin/env python3
"""Clients of MQTT 3.1.1 that publish with QoS 1 and subscribe through a load balancer while gateways
come, go and are killed; and the judge: each message that was acknowledged has come to each
subscriber, and, where it is for Kafka, is in Kafka.

  traffic.py PORT PASSWORD OUTPUT   publishes until SIGTERM, then waits for what is under way

OUTPUT gets what was acknowledged of the topics for Kafka, a line each. Every client reconnects by
itself, and sends again what was not acknowledged.
"""

import collections
import random
import select
import signal
import socket
import struct
import sys
import threading
import time

PUBLISHERS = 6
SUBSCRIBERS = 2
WINDOW = 8
PAUSE = 0.02
# How long a message may take to be there after the last one was acknowledged.
PATIENCE = 60
# How long a connection lasts, so that gateways that are new have clients soon, and sessions move.
LIFE = {"publisher": 4, "subscriber": 9}
# Without anything for as long, a connection is given up.
SILENCE = 15

stop = threading.Event()
over = threading.Event()
acknowledged = [set() for _ in range(PUBLISHERS)]
received = [collections.Counter() for _ in range(SUBSCRIBERS)]
reconnects = collections.Counter()
changes = collections.Counter()


def text(value):
    value = value.encode()
    return struct.pack(">H", len(value)) + value


def topic_of(publisher):
    """Half of them are for Kafka."""
    return f"site/{publisher}/telemetry/t" if publisher % 2 else f"plain/{publisher}"


class Over(Exception):
    """A connection has lasted long enough."""


class Connection:
    def __init__(self, client_id):
        life = LIFE[client_id.split("-")[0]]
        self.end = time.monotonic() + life * random.uniform(0.7, 1.3)
        self.stream = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=SILENCE)
        self.buffer = b""
        head = text("MQTT") + bytes([4, 0b1100_0000]) + struct.pack(">H", 30)
        self.send(0x10, head + text(client_id) + text("device") + text(sys.argv[2]))
        kind, body = self.receive()
        if kind != 0x20 or body[1] != 0:
            raise OSError(f"refused: {body.hex()}")

    def send(self, kind, body):
        assert len(body) < 128
        self.stream.sendall(bytes([kind, len(body)]) + body)

    def exactly(self, n_bytes):
        while len(self.buffer) < n_bytes:
            more = self.stream.recv(65536)
            if not more:
                raise OSError("closed")
            self.buffer += more
        taken, self.buffer = self.buffer[:n_bytes], self.buffer[n_bytes:]
        return taken

    def is_readable(self, patience):
        if time.monotonic() > self.end:
            self.stream.close()
            raise Over
        return bool(self.buffer) or bool(select.select([self.stream], [], [], patience)[0])

    def receive(self):
        kind, size = self.exactly(2)
        assert size < 128, "no test message is as long"
        return kind, self.exactly(size)


def again(client_id, serve):
    """Serves connection after connection until that returns."""
    while not over.is_set():
        try:
            serve(Connection(client_id))
            return
        except Over:
            changes[client_id] += 1
        except (OSError, TimeoutError) as error:
            reconnects[client_id] += 1
            print(f"{time.strftime('%T')} {client_id}: {error}", flush=True)
            time.sleep(0.2)


def publish(number):
    topic = topic_of(number)
    waiting = {}  # what was not acknowledged, by its identifier
    count = 0

    def send(connection, identifier, is_again):
        payload = f"{number}:{waiting[identifier]}".encode()
        head = 0x3A if is_again else 0x32
        connection.send(head, text(topic) + struct.pack(">H", identifier) + payload)

    def serve(connection):
        nonlocal count
        last = time.monotonic()
        for identifier in list(waiting):
            send(connection, identifier, True)
        while waiting or not stop.is_set():
            if over.is_set():
                return
            if len(waiting) < WINDOW and not stop.is_set():
                count += 1
                identifier = count % 60000 + 1
                waiting[identifier] = count
                send(connection, identifier, False)
            if connection.is_readable(PAUSE if len(waiting) < WINDOW else 1):
                kind, body = connection.receive()
                last = time.monotonic()
                if kind == 0x40:
                    identifier = struct.unpack(">H", body)[0]
                    if identifier in waiting:
                        acknowledged[number].add(waiting.pop(identifier))
            elif waiting and time.monotonic() - last > SILENCE:
                raise OSError("no acknowledgement")

    again(f"publisher-{number}", serve)


def subscribe(number, is_ready):
    def serve(connection):
        connection.send(0x82, struct.pack(">H", 1) + text("site/+/telemetry/#") + b"\1" + text("plain/#") + b"\1")
        asked = time.monotonic()
        while not over.is_set():
            if not connection.is_readable(1):
                if time.monotonic() - asked > 5:
                    connection.send(0xC0, b"")
                    asked = time.monotonic()
                continue
            kind, body = connection.receive()
            if kind == 0x90:
                if 0x80 in body[2:]:
                    raise OSError("SUBSCRIBE was refused")
                is_ready.set()
            elif kind >> 4 == 3:
                size = struct.unpack(">H", body[:2])[0]
                identifier, payload = body[2 + size : 4 + size], body[4 + size :]
                received[number][payload.decode()] += 1
                connection.send(0x40, identifier)

    again(f"subscriber-{number}", serve)


def missing():
    lost = []
    for number, numbers in enumerate(acknowledged):
        for count in numbers:
            payload = f"{number}:{count}"
            lost += [f"{payload} at subscriber-{i}" for i, got in enumerate(received) if not got[payload]]
    return lost


def main():
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    ready = [threading.Event() for _ in range(SUBSCRIBERS)]
    subscribers = [threading.Thread(target=subscribe, args=it) for it in enumerate(ready)]
    for thread in subscribers:
        thread.start()
    if not all(event.wait(PATIENCE) for event in ready):
        over.set()
        sys.exit("no subscriber was let in")
    publishers = [threading.Thread(target=publish, args=(i,)) for i in range(PUBLISHERS)]
    for thread in publishers:
        thread.start()
    print("traffic flows", flush=True)
    while not stop.wait(1):
        print(f"{time.strftime('%T')} {sum(map(len, acknowledged))} acknowledged", flush=True)
    deadline = time.monotonic() + PATIENCE
    for thread in publishers:
        thread.join(max(0, deadline - time.monotonic()))
    while missing() and time.monotonic() < deadline:
        time.sleep(0.5)
    over.set()
    for thread in publishers + subscribers:
        thread.join(SILENCE + 5)
    lost = missing()
    n_acknowledged = sum(map(len, acknowledged))
    n_repeated = sum(n - 1 for got in received for n in got.values())
    print(f"{n_acknowledged} acknowledged, {len(lost)} lost, {n_repeated} came again, "
          f"{sum(reconnects.values())} connections were lost, {sum(changes.values())} changed", flush=True)
    with open(sys.argv[3], "w", encoding="utf-8") as output:
        for number in range(1, PUBLISHERS, 2):
            output.writelines(f"{number}:{count}\n" for count in acknowledged[number])
    if lost or not n_acknowledged:
        sys.exit("lost: " + ", ".join(lost[:20]))


if __name__ == "__main__":
    main()
