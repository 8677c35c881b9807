#!/usr/bin/env python3
"""Memory of idle TLS connections: python3 tests/load/tls_connections.py [N] [GATEMQ]

Starts the broker with a certificate of its own (openssl makes it), opens N connections (2000) that
each connect as an MQTT 3.1.1 client, and prints the broker's resident memory for each of them.
"""

import asyncio
import ssl
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def resident_kib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise SystemExit("the broker is gone")


def connect_packet(number):
    name = f"tls{number}".encode()
    body = b"\0\x04MQTT\x04\x02\0\0" + len(name).to_bytes(2, "big") + name
    return bytes([0x10, len(body)]) + body


async def open_all(port, count):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    limit = asyncio.Semaphore(32)

    async def one(number):
        async with limit:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            writer.write(connect_packet(number))
            assert await reader.readexactly(4) == b"\x20\x02\0\0", "refused"
            return reader, writer

    return await asyncio.gather(*(one(number) for number in range(count)))


async def measure(broker, port, count):
    await open_all(port, 50)  # what the first ones cost the process once
    before = resident_kib(broker.pid)
    connections = await open_all(port, count)
    await asyncio.sleep(2)
    after = resident_kib(broker.pid)
    print(f"{len(connections)} idle TLS connections: {(after - before) / count:.1f} KiB each")


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    gatemq = sys.argv[2] if len(sys.argv) > 2 else ROOT / "target/release/gatemq"
    with tempfile.TemporaryDirectory(prefix="gatemq-load-") as name:
        key, certificate = Path(name) / "server.key", Path(name) / "server.crt"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
             "-keyout", key, "-out", certificate], check=True, capture_output=True)
        key.chmod(0o600)
        broker = subprocess.Popen(
            [gatemq, "--tls", "127.0.0.1:0", "--tls-cert", certificate, "--tls-key", key,
             "--tcp", "", "--ws", "", "--http", "", "--storage-way", "memory",
             "--data-dir", Path(name) / "data"], stdout=subprocess.PIPE, text=True)
        try:
            line = broker.stdout.readline()
            asyncio.run(measure(broker, int(line.rsplit(":", 1)[1]), count))
        finally:
            broker.terminate()
            broker.wait(15)


if __name__ == "__main__":
    main()
