"""gmqtt: 3.1.1 and 5 over TCP and TLS; it has no WebSocket. It brings its own codec."""

import asyncio
import ssl

import gmqtt
from gmqtt.mqtt.constants import MQTTv50, MQTTv311

from rows import PATIENCE, arguments, check, payload, row_async, unique

HOST, PORTS, CA = arguments()
VERSIONS = {"3.1.1": MQTTv311, "5": MQTTv50}


class Client:
    """A client whose events are waited for."""

    def __init__(self):
        self.messages, self.granted = asyncio.Queue(), asyncio.Queue()
        self.client = gmqtt.Client(unique("gmqtt"))
        self.client.on_message = self.on_message
        self.client.on_subscribe = lambda client, mid, qos, properties: \
            self.granted.put_nowait(qos)

    async def on_message(self, client, topic, content, qos, properties):
        self.messages.put_nowait((topic, content, qos, properties))
        return 0

    async def connect(self, version, transport):
        context = ssl.create_default_context(cafile=CA) if transport == "tls" else False
        await self.client.connect(HOST, PORTS[transport], ssl=context, version=VERSIONS[version],
                                  keepalive=30)
        return self


async def round_trip(version, transport, qos):
    topic, content = unique("gmqtt/topic"), payload()
    subscriber = await Client().connect(version, transport)
    publisher = await Client().connect(version, transport)
    subscriber.client.subscribe(topic, qos=qos)
    await asyncio.wait_for(subscriber.granted.get(), PATIENCE)
    more = {"user_property": [("name", "value"), ("name", "again")],
            "content_type": "text/x"} if version == "5" else {}
    publisher.client.publish(topic, content, qos=qos, **more)
    found = await asyncio.wait_for(subscriber.messages.get(), PATIENCE)
    check((found[0], bytes(found[1]), found[2]), (topic, content, qos), "message")
    if version == "5":
        check([tuple(pair) for pair in found[3].get("user_property", [])],
              more["user_property"], "user properties")
        check(found[3].get("content_type"), ["text/x"], "content type")
    for client in (publisher, subscriber):
        try:
            await client.client.disconnect()
        except ssl.SSLError:
            pass  # asyncio's, for an acknowledgement that came after its own close_notify


async def main():
    for version in VERSIONS:
        for transport in PORTS:
            if transport in ("tcp", "tls"):
                for qos in (0, 1, 2):
                    await row_async(f"gmqtt {version} {transport} QoS {qos}",
                                    round_trip(version, transport, qos))


asyncio.run(main())
