#!/usr/bin/env python3
"""Measures brokers side by side on this machine and prints a Markdown table.

    python3 tests/load/compare.py [--peers relay,gatemq,mosquitto] [--only p2p-q0,...] [--reps 3]
                                  [--storage-way memory] [--secs 2.5] [--broker-cpus 0]

One broker at a time, pinned to `--broker-cpus`, the load generator to CPU 1; a fresh broker for
each workload. Quoted are medians; a multiple of the relay's CPU is what travels between machines.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOAD = ROOT / "tests/load/target/release"
WORKLOADS = {
    "p2p-q0": "p2p --pubs 50 --window 16 --qos 0 --payload 64",
    "p2p-q1": "p2p --pubs 50 --window 16 --qos 1 --payload 64",
    "p2p-q2": "p2p --pubs 50 --window 16 --qos 2 --payload 64",
    "p2p-q0-1k": "p2p --pubs 50 --window 16 --qos 0 --payload 1024",
    "p2p-q1-1k": "p2p --pubs 50 --window 16 --qos 1 --payload 1024",
    "p2p-q2-1k": "p2p --pubs 50 --window 16 --qos 2 --payload 1024",
    "unbatched-q0": "p2p --pubs 500 --window 1 --qos 0 --payload 64",
    "unbatched-q1": "p2p --pubs 500 --window 1 --qos 1 --payload 64",
    "rate10k-q0": "p2p --pubs 100 --rate 10000 --qos 0 --payload 64",
    "rate10k-q1": "p2p --pubs 100 --rate 10000 --window 100 --qos 1 --payload 64",
    "fanout500-q0": "fanout --subs 500 --window 8 --qos 0 --payload 64",
    "fanout500-q1": "fanout --subs 500 --window 8 --qos 1 --payload 64",
    "fanin500-q0": "fanin --pubs 500 --window 4 --qos 0 --payload 64",
    "fanin500-q1": "fanin --pubs 500 --window 4 --qos 1 --payload 64",
    "shared-q0": "shared --pubs 100 --subs 10 --window 8 --qos 0 --payload 64",
    "shared-q1": "shared --pubs 100 --subs 10 --window 8 --qos 1 --payload 64",
    "persistent-q1": "p2p --pubs 100 --window 64 --qos 1 --payload 64 --persistent",
    "conn10k": "conn --n 10000 --limit 64 --hold 2",
    "conn10k-sub": "conn --n 10000 --limit 64 --hold 2 --subscribe",
    "retained100k": "retained --n 100000",
    "subs100k": "subs --n 100000 --batch 100 --warmup 0.5 --secs 1.5",
    "takeover": "takeover --n 5000 --ids 100",
    "takeover-stored": "takeover --n 5000 --ids 100 --persistent",
}
WITHOUT_RELAY = ("retained", "subs", "takeover")
FIGURES = {
    "conn": ["kib_per_conn", "connects_per_s", "broker_cpu_ms_per_1k_connects", "closed"],
    "retained": ["bytes_per_retained", "store_per_s", "replay_per_s", "one_of_n_cpu_ms"],
    "subs": ["subs_per_s", "bytes_per_sub", "empty_broker_cpu_s_per_M", "full_broker_cpu_s_per_M"],
    "takeover": ["connects_per_s", "broker_cpu_ms_per_1k", "live_at_end"],
}


def command(peer, port, folder, options):
    if peer == "relay":
        return [LOAD / "mqrelay", str(port)]
    if peer == "gatemq":
        return [options.gatemq, "--tcp", f"127.0.0.1:{port}", "--ws", "", "--http", "",
                "--data-dir", folder / "data", "--storage-way", options.storage_way,
                "--level", "warn"]
    if peer == "mosquitto":
        conf = folder / "mosquitto.conf"
        conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
                        "max_queued_messages 0\nmax_inflight_messages 1024\nlog_type error\n")
        return [shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", conf]
    raise SystemExit(f"unknown peer {peer}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, process):
    for _ in range(400):
        if process.poll() is not None:
            raise SystemExit(f"a broker ended with status {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
            return
        except OSError:
            time.sleep(0.03)
    raise SystemExit("a broker did not start")


def measure(peer, workload, options):
    mode, *arguments = WORKLOADS[workload].split()
    with tempfile.TemporaryDirectory(prefix="gatemq-load-") as name:
        folder, port = Path(name), free_port()
        with open(folder / "log", "wb") as log:
            broker = subprocess.Popen(
                ["taskset", "-c", options.broker_cpus, *command(peer, port, folder, options)],
                stdout=log, stderr=log)
        try:
            wait_for(port, broker)
            time.sleep(0.4)
            done = subprocess.run(
                [LOAD / "mqload", mode, "--warmup", "0.7", "--secs", options.secs, "--cpu", "1",
                 *arguments, "--addr", f"127.0.0.1:{port}", "--pid", str(broker.pid),
                 *options.extra.split()], capture_output=True, text=True, timeout=180)
            lines = done.stdout.strip().splitlines()
            return json.loads(lines[-1]) if lines else {"error": done.stderr[-200:]}
        finally:
            broker.terminate()
            try:
                broker.wait(15)
            except subprocess.TimeoutExpired:
                broker.kill()
                broker.wait()


def median(results, key):
    values = [result[key] for result in results if result.get(key) is not None]
    return statistics.median(values) if values else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", default="relay,gatemq,mosquitto")
    parser.add_argument("--only", default="")
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--secs", default="2.5")
    parser.add_argument("--storage-way", default="memory")
    parser.add_argument("--broker-cpus", default="0")
    parser.add_argument("--extra", default="", help="further arguments of the load generator")
    parser.add_argument("--gatemq", default=ROOT / "target/release/gatemq")
    parser.add_argument("--no-build", action="store_true")
    parser.add_argument("--json", help="append every result to this file")
    options = parser.parse_args()
    if not options.no_build:
        subprocess.run(["cargo", "build", "--release", "--manifest-path",
                        ROOT / "tests/load/Cargo.toml"], check=True)
        subprocess.run(["cargo", "build", "--release"], cwd=ROOT, check=True)
    peers = options.peers.split(",")
    names = options.only.split(",") if options.only else list(WORKLOADS)
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.1f} before; broker on CPU {options.broker_cpus}, "
          f"generator on CPU 1; medians of {options.reps}; storage {options.storage_way}\n")
    for name in names:
        mode = WORKLOADS[name].split()[0]
        row, floor = [], None
        for peer in peers:
            if peer == "relay" and mode in WITHOUT_RELAY:
                continue
            results = [measure(peer, name, options) for _ in range(options.reps)]
            if options.json:
                with open(options.json, "a") as out:
                    for result in results:
                        out.write(json.dumps({"peer": peer, "workload": name, **result}) + "\n")
            errors = [result["error"] for result in results if "error" in result]
            if errors:
                row.append(f"{peer}: {errors[0][:80]}")
            elif mode in FIGURES:
                figures = [f"{key} {median(results, key):,.6g}" for key in FIGURES[mode]
                           if median(results, key) is not None]
                row.append(f"{peer}: " + ", ".join(figures))
            else:
                cpu = median(results, "broker_cpu_s_per_M")
                floor = cpu if peer == "relay" else floor
                times = f" ({cpu / floor:.2f}x)" if floor else ""
                lost = median(results, "missing")
                row.append(f"{peer}: {cpu:.2f} s/1M{times}, {median(results, 'recv_per_s'):,.0f}/s"
                           + (f", {lost:.0f} MISSING" if lost else ""))
        print(f"| {name} | " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
