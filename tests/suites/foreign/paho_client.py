"""paho-mqtt: every version and transport; retained messages, wills, sessions that resume."""

import queue
import socket

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from rows import PATIENCE, arguments, check, payload, row, unique

HOST, PORTS, CA = arguments()
VERSIONS = {"3.1": paho.MQTTv31, "3.1.1": paho.MQTTv311, "5": paho.MQTTv5}


class Client:
    """A client whose events are waited for."""

    def __init__(self, version, transport="tcp", name=None, clean=True, will=None):
        self.version = VERSIONS[version]
        self.events = {kind: queue.Queue() for kind in
                       ("connect", "message", "subscribe", "publish")}
        options = {} if version == "5" else {"clean_session": clean}
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id=name or unique("paho"),
            protocol=self.version, transport="websockets" if "ws" in transport else "tcp",
            **options)
        if transport in ("tls", "wss"):
            self.client.tls_set(CA)
        if will:
            self.client.will_set(*will)
        self.client.on_connect = lambda c, u, flags, code, p: self.note("connect", (flags, code))
        self.client.on_message = lambda c, u, message: self.note("message", message)
        self.client.on_subscribe = lambda c, u, mid, codes, p: self.note("subscribe", codes)
        self.client.on_publish = lambda c, u, mid, code, p: self.note("publish", code)
        more = {}
        if version == "5":
            more["clean_start"] = clean
            more["properties"] = Properties(PacketTypes.CONNECT)
            more["properties"].SessionExpiryInterval = 0 if clean else 3600
        self.client.connect(HOST, PORTS[transport], keepalive=30, **more)
        self.client.loop_start()
        flags, code = self.wait("connect")
        check(code.is_failure, False, f"CONNACK {code}")
        self.session_present = flags.session_present

    def note(self, kind, event):
        self.events[kind].put(event)

    def wait(self, kind):
        return self.events[kind].get(timeout=PATIENCE)

    def subscribe(self, topic, qos):
        self.client.subscribe(topic, qos)
        check([code.value for code in self.wait("subscribe")], [qos], "SUBACK")

    def publish(self, topic, content, qos, retain=False):
        self.client.publish(topic, content, qos, retain)
        code = self.wait("publish")
        check(code.is_failure, False, f"acknowledgement {code}")

    def receive(self, topic, content, qos, retain=False):
        message = self.wait("message")
        check((message.topic, message.payload, message.qos, message.retain),
              (topic, content, qos, retain), "message")

    def end(self):
        self.client.disconnect()
        self.client.loop_stop()

    def cut(self):
        self.client.on_disconnect = None
        self.client.socket().shutdown(socket.SHUT_RDWR)
        self.client.loop_stop()


def round_trip(version, transport, qos):
    topic, content = unique("paho/topic"), payload()
    subscriber, publisher = Client(version, transport), Client(version, transport)
    subscriber.subscribe(topic, qos)
    publisher.publish(topic, content, qos)
    subscriber.receive(topic, content, qos)
    subscriber.end()
    publisher.end()


def large(version, transport):
    """Larger than one read, one TLS record and one WebSocket frame."""
    topic, content = unique("paho/large"), payload(200_000)
    client = Client(version, transport)
    client.subscribe(topic, 1)
    client.publish(topic, content, 1)
    client.receive(topic, content, 1)
    client.end()


def retained(version):
    topic, content = unique("paho/retained"), payload()
    publisher = Client(version)
    publisher.publish(topic, content, 1, retain=True)
    first = Client(version)
    first.subscribe(topic, 1)
    first.receive(topic, content, 1, retain=True)
    publisher.publish(topic, b"", 1, retain=True)
    first.receive(topic, b"", 1)  # a live message, hence without RETAIN
    second = Client(version)
    second.subscribe(topic, 1)
    publisher.publish(topic, b"live", 0)
    second.receive(topic, b"live", 0)
    for client in (publisher, first, second):
        client.end()


def will(version):
    topic, content = unique("paho/will"), payload()
    witness = Client(version)
    witness.subscribe(topic, 1)
    gone = Client(version, will=(topic, content, 1, False))
    gone.cut()
    witness.receive(topic, content, 1)
    # A DISCONNECT takes the will away [MQTT-3.14.4-3].
    Client(version, will=(topic, b"no", 1, False)).end()
    witness.publish(topic, b"live", 1)
    witness.receive(topic, b"live", 1)
    witness.end()


def resume(version, qos):
    name, topic = unique("paho"), unique("paho/resume")
    subscriber = Client(version, name=name, clean=False)
    check(subscriber.session_present, False, "Session Present of a new session")
    subscriber.subscribe(topic, qos)
    subscriber.end()
    publisher = Client(version)
    for number in range(30):
        publisher.publish(topic, b"%d" % number, qos)
    subscriber = Client(version, name=name, clean=False)
    if version != "3.1":  # 3.1 has no such flag
        check(subscriber.session_present, True, "Session Present")
    for number in range(30):
        subscriber.receive(topic, b"%d" % number, qos)
    subscriber.end()
    Client(version, name=name, clean=True).end()
    publisher.end()


for version in VERSIONS:
    for transport in PORTS:
        for qos in (0, 1, 2):
            row(f"paho-mqtt {version} {transport} QoS {qos}", round_trip, version, transport, qos)
        row(f"paho-mqtt {version} {transport} 200 kB", large, version, transport)
    row(f"paho-mqtt {version} retained", retained, version)
    row(f"paho-mqtt {version} will", will, version)
    for qos in (1, 2):
        row(f"paho-mqtt {version} session resumes, QoS {qos}", resume, version, qos)
