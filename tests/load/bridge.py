#!/usr/bin/env python3
"""Measures the way of messages to Kafka on this machine and prints a Markdown table.

    python3 tests/load/bridge.py [--reps 3] [--secs 5] [--bin-dir DIR] [--rate 20000] [--only ROW,...]

Publishers send QoS 1 of 256 bytes to two gateways. A message is acknowledged when Kafka has it
("kafka"), when the bridge's disk has it ("spool"), or, for comparison, when nobody wants it
("nobody"), and when a subscriber on the other gateway has been sent it ("subscriber"). Each row as
fast as it goes, and at --rate messages a second. A real redis-server, a node of the control plane,
two gateways, one or two bridges and a real Kafka (tests/kafka: KRaft, one node, four partitions)
are started for each run on ports and in a folder of their own, and ended by their pids. All
processes share all cores. Quoted are medians of --reps runs; CPU is in processor seconds for a
million messages.
"""

import argparse
import signal
import subprocess
import sys

from cluster import (ROOT, addresses, build, chosen, cpu_per_million, cpu_percent, key, median,
                     micros, row, run_load, show, spread, table, tell_warnings, trouble)
from nodes import Cluster, Process, free_port, is_listening, raise_file_limit

SINK = "sink --pubs 64 --window 100 --payload 256 --qos 1 --v5 --base load"
PAIRS = "p2p --pubs 64 --window 100 --payload 256 --qos 1 --v5 --base load"
ROWS = {
    "nobody": (SINK, 0, None),
    "subscriber": (PAIRS, 0, None),
    "kafka": (SINK, 1, "kafka"),
    "kafka, two bridges": (SINK, 2, "kafka"),
    "spool": (SINK, 1, "spool"),
}
PARTITIONS = 4
JAVA = ["java", "-Dorg.slf4j.simpleLogger.logFile=System.out"]


class Bridged(Cluster):
    """A cluster with Kafka and bridges."""

    def __init__(self, bin_dir, n_bridges, ack, cpus):
        super().__init__(bin_dir, 2, 1, cpus)
        self.n_bridges, self.ack = n_bridges, ack

    def start(self):
        super().start()
        if self.n_bridges:
            self.start_kafka()
        self.bridges = [self.start_bridge(f"b{n}") for n in range(1, self.n_bridges + 1)]

    def start_kafka(self):
        jars = subprocess.run([ROOT / "tests/kafka"], check=True, capture_output=True, text=True)
        java = [*JAVA, "-cp", f"{jars.stdout.strip()}/*"]
        folder = self.folder / "kafka"
        folder.mkdir()
        port, controller = free_port(), free_port()
        properties = folder / "server.properties"
        properties.write_text(
            "process.roles=broker,controller\nnode.id=1\n"
            f"controller.quorum.voters=1@127.0.0.1:{controller}\n"
            f"listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n"
            "controller.listener.names=CONTROLLER\nauto.create.topics.enable=false\n"
            f"offsets.topic.replication.factor=1\nlog.dirs={folder}/data\n")
        run = dict(check=True, capture_output=True, cwd=folder)
        subprocess.run([*java, "kafka.tools.StorageTool", "format", "--cluster-id",
                        "Z2F0ZW1xLXRlc3RzLTAwMA", "--config", properties], **run)
        self.kafka = self.add(Process("kafka", [
            *java[:1], "-Xmx512m", "-XX:+UseSerialGC", *java[1:], "kafka.Kafka", properties],
            folder, self.cpus))
        self.kafka.wait_for(lambda: is_listening(port))
        self.brokers = f"127.0.0.1:{port}"
        subprocess.run([*java, "org.apache.kafka.tools.TopicCommand", "--bootstrap-server",
                        self.brokers, "--create", "--topic", "load", "--partitions",
                        str(PARTITIONS)], **run)

    def start_bridge(self, name):
        folder = self.folder / name
        folder.mkdir()
        config = folder / "bridge.yml"
        config.write_text(
            f"node-name: {name}\ndata-dir: {folder}/data\nhttp: 127.0.0.1:0\n"
            "log: {level: warn}\n"
            f"cluster: {{members: ['{self.controls[0].addresses['gossip']}'], gossip-port: 0, "
            "grpc-port: 0}\n"
            f"bridge:\n  kafka: [{{brokers: ['{self.brokers}']}}]\n  rules: [{{name: load, "
            f"filters: ['load/#'], topic: load, ack: {self.ack}}}]\n"
            f"  spool: {{path: {folder}/spool, size: 4GiB}}\n")
        bridge = self.add(Process(name, [self.bin_dir / "gatemq-bridge", "--conf", config],
                                  folder, self.cpus))
        bridge.wait_until_ready()
        return bridge


def measure(workload, n_bridges, ack, options, warnings):
    with Bridged(options.bin_dir, n_bridges, ack, "0,1") as cluster:
        one, two = (gateway.addresses["tcp"] for gateway in cluster.gateways)
        where = ["--pub-addr", one, "--sub-addr", two]
        if workload.startswith("sink"):
            where = ["--addr", addresses(cluster.gateways)]
        result = run_load(workload, options, cluster.processes, "--settle-ms", "500", *where)
        warnings += cluster.warnings()
        return result


def what_is_busy(results):
    """The processor time of each process, in per cent of a core, the busiest first."""
    names = {name for result in results for name in result["each"]}
    spent = {name: median(results, cpu_percent(name)) for name in names}
    spent["generator"] = median(results, key("client_cpu_pct"))
    spent["others"] = median(results, key("foreign_cpu_pct"))
    busiest = sorted(spent.items(), key=lambda one: -one[1])
    return ", ".join(f"{name} {percent:.0f}" for name, percent in busiest if percent >= 3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--secs", default="5")
    parser.add_argument("--warmup", default="2")
    parser.add_argument("--bin-dir", help="where the four programs are")
    parser.add_argument("--rate", type=int, default=20_000, help="messages a second; 0: fast only")
    parser.add_argument("--only", default="", help="rows, separated by commas")
    parser.add_argument("--extra", default="", help="further arguments of the load generator")
    parser.add_argument("--json", help="append every result to this file")
    options = parser.parse_args()
    options.command, options.generator_cpu = "bridge", None
    raise_file_limit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all is ended in order
    build(options, "gatemq-bridge-process")
    table("acknowledged by", "offered/s", "msg/s", "CPU gateways", "bridges", "Kafka", "spread",
          "msg/s per core of bridge", "PUBACK p50 ms", "p99 ms", "CPU % of a core", "trouble")
    warnings = []
    for name, (workload, n_bridges, ack) in chosen(ROWS, options).items():
        for rate in (None, options.rate or None):
            offered = f" --rate {rate}" if rate else ""
            if rate is None or options.rate:
                results = [measure(workload + offered, n_bridges, ack, options, warnings)
                           for _ in range(options.reps)]
                tell(name, rate, results)
    tell_warnings(warnings)


def tell(name, rate, results):
    def cpu(*names):
        return cpu_per_million(*names, of="sent_per_s")
    bridges = median(results, cpu("b1", "b2"))
    row(name, show(rate, ",.0f"), show(median(results, key("sent_per_s")), ",.0f"),
        show(median(results, cpu("g1", "g2"))), show(bridges),
        show(median(results, cpu("kafka"))), show(spread(results, key("sent_per_s")), ".0%"),
        show(bridges and 1e6 / bridges, ",.0f"), micros(results, "ack_us", "p50"),
        micros(results, "ack_us", "p99"), what_is_busy(results), trouble(results))


if __name__ == "__main__":
    sys.exit(main())
