"""aiomqtt: 3.1.1 and 5 over TCP, TLS and WebSocket."""

import asyncio
import ssl

import aiomqtt

from rows import PATIENCE, arguments, check, payload, row_async, unique

HOST, PORTS, CA = arguments()
VERSIONS = {"3.1.1": aiomqtt.ProtocolVersion.V311, "5": aiomqtt.ProtocolVersion.V5}


def client(version, transport):
    context = ssl.create_default_context(cafile=CA) if transport in ("tls", "wss") else None
    return aiomqtt.Client(
        HOST, PORTS[transport], identifier=unique("aiomqtt"), protocol=VERSIONS[version],
        transport="websockets" if "ws" in transport else "tcp", tls_context=context,
        timeout=PATIENCE)


async def round_trip(version, transport, qos):
    topic, content = unique("aiomqtt/topic"), payload()
    async with client(version, transport) as subscriber, client(version, transport) as publisher:
        await subscriber.subscribe(f"{topic}/+", qos=qos)
        for number in range(10):
            await publisher.publish(f"{topic}/{number}", content, qos=qos)
        async with asyncio.timeout(PATIENCE):
            for number in range(10):
                message = await anext(subscriber.messages)
                check((str(message.topic), message.payload, message.qos),
                      (f"{topic}/{number}", content, qos), "message")


async def main():
    for version in VERSIONS:
        for transport in PORTS:
            for qos in (0, 1, 2):
                await row_async(f"aiomqtt {version} {transport} QoS {qos}",
                                round_trip(version, transport, qos))


asyncio.run(main())
