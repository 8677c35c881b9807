#!/usr/bin/env python3
"""Measures a cluster of real processes on this machine and prints Markdown tables.

    python3 tests/load/cluster.py COMMAND [--reps 3] [--secs 3] [--bin-dir DIR] [--controls 1]
                                  [--broker-cpus 0,1] [--json FILE] [--only ROW,...]

A real redis-server (`appendfsync always`), `--controls` nodes of the control plane and the gateways
are started for each run on ports and in a folder of their own, and ended by their pids. Without
--bin-dir the release binaries are built first. Every load ends by itself. Quoted are medians of
--reps runs; CPU is in processor seconds for a million messages, of each process by itself.

cross     Publishers on one gateway, subscribers on another, at QoS 0, 1 and 2 in bursts, at
          2,000 messages a second, and to persistent sessions; the same on one gateway, and over
          the relay (which is no broker, but the floor). All processes but the generator on CPU 0.
suback    Distinct filters over three gateways: one client alone, then --clients of them as fast as
          SUBACKs come with 1, 10 and 100 filters in a packet, and at --offered filters a second:
          rates, SUBACK p50 and p99, the CPU of each tier, fsyncs of the leader (counted by perf,
          where that may be used), and what stops it.
routes    Fills the table with --n filters over two gateways. Memory per route of the control plane
          and of gateways, the start of a third gateway, and what publishing on that one costs,
          against the same with an empty table.
connects  Connects, and takeovers from one gateway to the next, over three gateways; "stored" with
          persistent sessions, "one" with one gateway for comparison.
tracing   What traces of messages cost over two gateways: without a collector, with one at 0, 1 % and
          100 % of the messages. The collector only counts; it is on the generator's CPU.
durable   QoS 1 to persistent sessions through Redis, as fast as it goes and at 2,000 a second, with
          the publishers on the same gateway and on another one.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from urllib.request import urlopen

from nodes import (Cluster, Process, Syncs, free_port, is_listening, prepare_child,
                   raise_file_limit)

ROOT = Path(__file__).resolve().parents[2]
LOAD = ROOT / "tests/load/target/release"
BURSTS = "p2p --pubs 50 --window 16 --payload 64"
SPARSE = "p2p --pubs 100 --rate 2000 --window 100 --payload 64"
CROSS = {
    "q0": BURSTS + " --qos 0",
    "q1": BURSTS + " --qos 1",
    "q2": BURSTS + " --qos 2",
    "rate2k-q1": SPARSE + " --qos 1",
    "persistent-q1": BURSTS + " --qos 1 --persistent",
    "persistent-rate2k-q1": SPARSE + " --qos 1 --persistent",
}
PUBLISH = {
    "nothing matches": "sink --pubs 50 --window 16",
    "nothing matches, each topic new": "sink --pubs 50 --window 16 --fresh",
    "one local subscriber": "p2p --pubs 50 --window 16",
    "one local subscriber, each topic new": "p2p --pubs 50 --window 16 --fresh",
}
CONNECTS = {
    "connects": ("conn --n 10000 --hold 0.5", 3),
    "connects-stored": ("conn --n 10000 --hold 0.5 --persistent", 3),
    "connects-one": ("conn --n 10000 --hold 0.5", 1),
    "takeovers": ("takeover --n 5000 --ids 100", 3),
    "takeovers-stored": ("takeover --n 5000 --ids 100 --persistent", 3),
    "takeovers-one": ("takeover --n 5000 --ids 100", 1),
    "takeovers-one-stored": ("takeover --n 5000 --ids 100 --persistent", 1),
}
TRACING = {
    "q0": BURSTS + " --qos 0",
    "q1": BURSTS + " --qos 1",
    "rate2k-q1": SPARSE + " --qos 1",
}
RATIOS = {"off": None, "0": "0", "1 %": "0.01", "100 %": "1"}
DURABLE = {
    "fast": ("p2p --pubs 100 --window 64 --payload 64 --qos 1 --persistent", 1),
    "fast-cross": ("p2p --pubs 100 --window 64 --payload 64 --qos 1 --persistent", 2),
    "rate2k": (SPARSE + " --qos 1 --persistent", 1),
    "rate2k-cross": (SPARSE + " --qos 1 --persistent", 2),
}


# === one run ===

def load_command(workload, options, processes, *further):
    mode, *arguments = workload.split()
    pinned = ["--cpu", options.generator_cpu] if options.generator_cpu else []
    return [LOAD / "mqload", mode, *pinned, "--warmup", options.warmup,
            "--secs", options.secs, *arguments, "--pid",
            ",".join(str(process.pid) for process in processes), *further,
            *options.extra.split()]


def run_load(workload, options, processes, *further, timeout=240):
    """One run of the generator; `each` of its result is by the processes' names."""
    command = load_command(workload, options, processes, *further)
    command = [str(part) for part in command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout,
                              preexec_fn=prepare_child)
    except subprocess.TimeoutExpired:
        return {"error": f"the generator had not ended after {timeout} s"}
    return read_result(done.stdout, done.stderr, processes, options, workload)


def read_result(text, errors, processes, options, workload):
    lines = text.strip().splitlines()
    result = json.loads(lines[-1]) if lines else {"error": errors[-200:] or "no result"}
    each = result.get("each", [])
    result["each"] = {process.name: one for process, one in zip(processes, each)}
    if options.json:
        with open(options.json, "a") as out:
            out.write(json.dumps({"command": options.command, "workload": workload, **result})
                      + "\n")
    return result


def addresses(gateways):
    return ",".join(gateway.addresses["tcp"] for gateway in gateways)


def new_cluster(options, n_gateways, cpus):
    return Cluster(options.bin_dir, n_gateways, options.controls, options.broker_cpus or cpus,
                   options.flags.split(), options.keep_logs)


def control_names(options):
    return [f"c{number}" for number in range(1, options.controls + 1)]


# === figures ===

def median(results, figure):
    values = [value for value in map(figure, results) if value is not None]
    return statistics.median(values) if values else None


def spread(results, figure):
    values = [value for value in map(figure, results) if value is not None]
    middle = statistics.median(values) if values else 0
    return max(abs(value - middle) for value in values) / middle if middle else None


def key(name, part=None):
    def figure(result):
        value = result.get(name)
        return value.get(part) if part and value is not None else value
    return figure


def cpu_per_million(*names, of="recv_per_s"):
    """CPU seconds of some processes for a million of what `of` counts."""
    def figure(result):
        count = result.get(of, 0) * result.get("secs", 0)
        known = [result["each"][name]["cpu_s"] for name in names if name in result["each"]]
        return sum(known) / count * 1e6 if count and known else None
    return figure


def cpu_percent(*names):
    def figure(result):
        known = [result["each"][name]["cpu_pct"] for name in names if name in result["each"]]
        return sum(known) if known else None
    return figure


def show(value, form=",.2f", unit=""):
    return "-" if value is None else f"{value:{form}}{unit}"


def micros(results, name, part):
    value = median(results, key(name, part))
    return "-" if value is None else f"{value / 1000:.2f}"


def latencies(results):
    """From PUBLISH to delivery, and to PUBACK or PUBCOMP: medians and 99 of 100, in ms."""
    return [micros(results, name, part) for name in ("lat_us", "ack_us") for part in ("p50", "p99")]


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def table(*titles):
    print()
    row(*titles)
    print("|" + "|".join(["---"] + ["--:"] * (len(titles) - 1)) + "|", flush=True)


def trouble(results):
    """What went wrong in some runs, to stand in the row; empty if nothing did."""
    found = []
    for result in results:
        if "error" in result:
            found.append(result["error"][:90])
        for name in ("missing", "stalls", "nacks", "refused", "closed", "reorders", "unanswered"):
            if result.get(name, 0) > 0:
                found.append(f"{result[name]} {name.upper()}")
    return "; ".join(dict.fromkeys(found))


def tell_warnings(seen):
    """Warnings of the processes' logs: figures of an unhealthy cluster are to be known as such."""
    if not seen:
        print("\nNo process logged a warning.", flush=True)
        return
    print("\nWarnings and errors in the logs:\n", flush=True)
    for line, count in Counter(seen).most_common(12):
        print(f"    {count} x {line[:200]}", flush=True)


def chosen(all_rows, options):
    wanted = options.only.split(",") if options.only else list(all_rows)
    unknown = [name for name in wanted if name not in all_rows]
    if unknown:
        raise SystemExit(f"no row {unknown[0]!r}; there are: {', '.join(all_rows)}")
    return {name: all_rows[name] for name in wanted}


# === cross ===

def relay_run(workload, options):
    with tempfile.TemporaryDirectory(prefix="gatemq-relay-") as name:
        port = free_port()
        relay = Process("relay", [LOAD / "mqrelay", port], Path(name), options.broker_cpus or "0")
        try:
            relay.wait_for(lambda: is_listening(port))
            return run_load(workload, options, [relay], "--addr", f"127.0.0.1:{port}")
        finally:
            relay.stop()


def cross(options):
    table("workload", "where", "msg/s", "CPU publishers' gateway", "CPU subscribers' gateway",
          "both", "spread", "x one gateway", "x relay", "control plane", "Redis", "delivery p50 ms",
          "p99 ms", "PUBACK p50 ms", "p99 ms", "trouble")
    warnings = []
    for name, workload in chosen(CROSS, options).items():
        cpu = cpu_per_million
        floor = None
        if "--persistent" not in workload:
            results = [relay_run(workload, options) for _ in range(options.reps)]
            floor = median(results, cpu("relay"))
            row(name, "relay", show(median(results, key("recv_per_s")), ",.0f"), "", "",
                show(floor), show(spread(results, cpu("relay")), ".0%"), "", "1.0x", "", "",
                *latencies(results), trouble(results))
        alone = None
        for where, subscribers in (("one gateway", 0), ("two gateways", 1)):
            results = []
            for _ in range(options.reps):
                with new_cluster(options, 2, "0") as cluster:
                    results.append(run_load(
                        workload, options, cluster.processes, "--settle-ms", options.settle_ms,
                        "--pub-addr", cluster.gateways[0].addresses["tcp"],
                        "--sub-addr", cluster.gateways[subscribers].addresses["tcp"]))
                    warnings += cluster.warnings()
            both = median(results, cpu("g1", "g2"))
            alone = alone or both
            row(name, where, show(median(results, key("recv_per_s")), ",.0f"),
                show(median(results, cpu("g1"))), show(median(results, cpu("g2"))),
                show(both), show(spread(results, cpu("g1", "g2")), ".0%"),
                show(both and both / alone, ".1f", "x"),
                show(both and floor and both / floor, ".1f", "x"),
                show(median(results, cpu(*control_names(options)))),
                show(median(results, cpu("redis"))),
                *latencies(results), trouble(results))
    tell_warnings(warnings)


# === suback ===

def suback(options):
    many = f"suback --clients {options.clients} --sub-window {options.sub_window} --batch"
    rows = {"1-alone": "suback --clients 1 --batch 1"}
    rows |= {f"{n}": f"{many} {n}" for n in (1, 10, 100)}
    rows |= {f"{n}-offered": f"{many} {n} --rate {options.offered}" for n in (1, 10, 100)}
    table("filters a packet", "offered/s", "subscribes/s", "SUBACK p50 ms", "p99 ms",
          "leader CPU %", "gateways CPU %", "Redis CPU %", "generator CPU %", "others CPU %",
          "leader's fsyncs/s", "filters a fsync", "what stops it", "trouble")
    warnings = []
    for name, workload in chosen(rows, options).items():
        results = []
        for _ in range(options.reps):
            with new_cluster(options, 3, "0,1") as cluster:
                syncs = {control.name: Syncs(control) for control in cluster.controls}
                result = run_load(workload, options, cluster.processes, "--limit", "128",
                                  "--addr", addresses(cluster.gateways))
                leader = cluster.leader().name
                between = result.get("between_s", (0, 0))
                syncs = {name: one.per_second(between) for name, one in syncs.items()}
                result["syncs"] = syncs[leader]
                result["leader_pct"] = cpu_percent(leader)(result)
                result["limit"] = what_stops(result, leader)
                results.append(result)
                warnings += cluster.warnings()
        syncs, rate = median(results, key("syncs")), median(results, key("filters_per_s"))
        offered = results[0].get("rate") or None
        row(name, show(offered, ",.0f"), show(rate, ",.0f"), micros(results, "suback_us", "p50"),
            micros(results, "suback_us", "p99"), show(median(results, key("leader_pct")), ".0f"),
            show(median(results, cpu_percent("g1", "g2", "g3")), ".0f"),
            show(median(results, cpu_percent("redis")), ".0f"),
            show(median(results, key("client_cpu_pct")), ".0f"),
            show(median(results, key("foreign_cpu_pct")), ".0f"),
            show(syncs, ",.0f"), show(rate and syncs and rate / syncs, ",.0f"),
            results[-1]["limit"], trouble(results))
    tell_warnings(warnings)


def what_stops(result, leader_name):
    """What kept the rate from being higher, as far as processor time and fsyncs tell."""
    if "error" in result:
        return "-"
    if result["rate"] and result["filters_per_s"] > 0.97 * result["rate"]:
        return "nothing: all that was offered"
    cores = os.cpu_count()
    spent = {name: one["cpu_pct"] for name, one in result["each"].items()}
    spent["generator"] = result["client_cpu_pct"]
    busy = sum(spent.values()) + max(result["foreign_cpu_pct"], 0)
    if result["foreign_cpu_pct"] > 25:
        return f"other work on the machine ({result['foreign_cpu_pct']:.0f} %): measure again"
    first = max(spent, key=spent.get)
    if busy > 92 * cores:
        return f"the machine: all {cores} cores; most of it {first} ({spent[first]:.0f} %)"
    if spent["generator"] > 92:
        return "the generator's core"
    if spent[leader_name] > 92:
        return "the leader's core"
    syncs = result.get("syncs")
    waiting = f", {1000 / syncs:.2f} ms from one fsync to the next" if syncs else ""
    return f"waiting: {busy / cores:.0f} % of the machine busy{waiting}"


# === routes ===

def routes(options):
    base = "tab/cluster"
    with new_cluster(options, 2, "0,1") as cluster:
        third_empty = start_thirds(cluster, options, "empty")
        empty = {process.name: process.settled_rss_kib() for process in cluster.processes}
        cost_empty = publish_costs(cluster, options, base, "e")

        wait_until_forgotten(cluster)
        command = load_command(
            "suback", options, cluster.processes, "--n", str(options.n), "--base", base,
            "--clients", "200", "--batch", "100", "--sub-window", "2", "--addr",
            addresses(cluster.gateways), "--timeout", str(options.fill_limit), "--drain", "30",
            "--hold", "3600")
        with tempfile.TemporaryFile("w+") as errors:
            filler = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=errors, text=True,
                                      preexec_fn=prepare_child)
            try:
                filled = read_result(filler.stdout.readline(), "the fill ended", cluster.processes,
                                     options, "fill")
                if "error" in filled:
                    raise SystemExit(f"fill: {filled['error']}")
                full = {process.name: process.settled_rss_kib() for process in cluster.processes}
                peak = {process.name: process.status_kib("VmHWM") for process in cluster.processes}
                third_full = start_thirds(cluster, options, "full")
                cost_full = publish_costs(cluster, options, base, "f")
                warnings = cluster.warnings()
                disk = sum(path.stat().st_size for path in
                           (cluster.controls[0].folder / "data").rglob("*") if path.is_file())
            finally:
                filler.stdin.close()
                try:
                    rest = filler.stdout.read()
                    filler.wait(30)
                except subprocess.TimeoutExpired:
                    filler.kill()
                    filler.wait()
        held = json.loads(rest.strip().splitlines()[-1]) if rest.strip() else {}

    n = filled["total_filters"]
    print(f"\n{n:,} of {options.n:,} filters taken, at {filled['filters_per_s']:,.0f} a second, "
          f"SUBACK p50 {micros([filled], 'suback_us', 'p50')} ms, p99 "
          f"{micros([filled], 'suback_us', 'p99')} ms; {trouble([filled]) or 'none refused'}; "
          f"{held.get('closed', '?')} connections lost later. The control plane's folder: "
          f"{disk / 2**20:,.0f} MiB.")
    table("process", "MiB empty", "MiB full", "bytes a route", "peak MiB")
    for process in cluster.processes:
        if process.name != "redis":
            what = " (with half of the subscribers)" if process in cluster.gateways else ""
            memory_row(process.name + what, empty[process.name], full[process.name], n,
                       peak[process.name])
    memory_row("third gateway (without subscribers)", middle(third_empty, "rss_kib"),
               middle(third_full, "rss_kib"), n, middle(third_full, "peak_kib"))
    table("third gateway", "empty table", "full table")
    row("start to `ready`, ms", show(middle(third_empty, "start_ms"), ",.0f"),
        show(middle(third_full, "start_ms"), ",.0f"))
    row("start to all filters in its table, ms", show(middle(third_empty, "current_ms"), ",.0f"),
        show(middle(third_full, "current_ms"), ",.0f"))
    row("its CPU until then, ms", show(middle(third_empty, "cpu_ms"), ",.0f"),
        show(middle(third_full, "cpu_ms"), ",.0f"))
    row("filters in its table", show(middle(third_empty, "filters"), ",.0f"),
        show(middle(third_full, "filters"), ",.0f"))
    table("publishing on it: CPU s for 1M", "QoS", "empty table", "full table", "dearer", "spread",
          "trouble")
    for name, qos in cost_full:
        figure = cpu_per_million("third", of="sent_per_s")
        before, after = cost_empty[name, qos], cost_full[name, qos]
        small, big = median(before, figure), median(after, figure)
        row(name, qos, show(small), show(big), show(small and big and big / small - 1, "+.0%"),
            show(spread(after, figure), ".0%"), trouble(before + after))
    tell_warnings(warnings)


def middle(rows, name):
    return statistics.median(one[name] for one in rows)


def memory_row(name, before, after, n, peak):
    row(name, f"{before / 1024:,.1f}", f"{after / 1024:,.1f}",
        f"{(after - before) * 1024 / n:,.0f}" if n else "-", f"{peak / 1024:,.1f}")


def start_thirds(cluster, options, tag):
    """Starts a third gateway, waits until it has the table, ends it, and again."""
    measured = []
    for number in range(options.reps):
        third = cluster.one_more_gateway(f"third-{tag}-{number}")
        filters = gauge(third, "gateway_filters")
        wanted = gauge(cluster.gateways[0], "gateway_filters")
        end = time.monotonic() + 60
        while filters < wanted and time.monotonic() < end:
            time.sleep(0.005)
            filters = gauge(third, "gateway_filters")
        current_s = time.monotonic() - third.began
        measured.append({
            "start_ms": third.start_s * 1000, "current_ms": current_s * 1000, "filters": filters,
            "cpu_ms": third.cpu_s() * 1000, "rss_kib": third.settled_rss_kib(),
            "peak_kib": third.status_kib("VmHWM")})
        cluster.remove(third)
    return measured


def wait_until_forgotten(cluster):
    """Waits until gateways that were ended are gone for the others: SUBACKs wait for that too."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if gauge(cluster.gateways[0], "gateway_cluster_nodes") <= len(cluster.gateways):
            break
        time.sleep(0.05)
    time.sleep(2)


def gauge(process, name):
    with urlopen(f"http://{process.addresses['http']}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
    raise SystemExit(f"{process.name} has no gauge {name}")


def publish_costs(cluster, options, base, tag):
    """What publishing on a third gateway costs, on one CPU as in compare.py."""
    third = cluster.one_more_gateway(f"third-{tag}-publish")
    third.name = "third"
    for process in cluster.processes:
        process.pin("0")
    costs = {}
    for name, workload in PUBLISH.items():
        for qos in (0, 1):
            costs[name, qos] = [
                run_load(workload, options, cluster.processes, "--qos", str(qos), "--payload", "64",
                         "--base", base, "--addr", third.addresses["tcp"], "--settle-ms",
                         options.settle_ms)
                for _ in range(options.reps)]
    cluster.remove(third)
    for process in cluster.processes:
        process.pin(cluster.cpus)
    return costs


# === connects ===

def connects(options):
    table("what", "gateways", "a second", "p50 ms", "p99 ms", "gateways CPU ms for 1,000",
          "Redis CPU ms", "control plane CPU ms", "old one closed first", "else p99 ms", "trouble")
    warnings = []
    for name, (workload, n_gateways) in chosen(CONNECTS, options).items():
        results = []
        for _ in range(options.reps):
            with new_cluster(options, 3, "0,1") as cluster:
                result = run_load(workload, options, cluster.processes, "--limit",
                                  str(options.limit), "--addr",
                                  addresses(cluster.gateways[:n_gateways]))
                count = result.get("n") or result.get("connects") or 0
                result |= {"count_per_s": count, "secs": 1}
                if result.get("refused_codes"):
                    result["error"] = f"CONNACK {result['refused_codes']}"
                elif "ids" in result and result["live_at_end"] != result["ids"]:
                    result["error"] = f"{result['live_at_end']} live instead of {result['ids']}"
                results.append(result)
                warnings += cluster.warnings()

        def thousand(*names):
            return show(median(results, cpu_per_million(*names, of="count_per_s")), ",.1f")
        row(name, n_gateways, show(median(results, key("connects_per_s")), ",.0f"),
            micros(results, "connect_us", "p50"), micros(results, "connect_us", "p99"),
            thousand("g1", "g2", "g3"), thousand("redis"), thousand(*control_names(options)),
            show(median(results, closed_first), ".0%"),
            micros(results, "old_closed_after_us", "p99"), trouble(results))
    tell_warnings(warnings)


def closed_first(result):
    """The share of takeovers whose old connection ended before the new one was let in."""
    if not result.get("ids"):
        return None
    return result["old_closed_before"] / max(result["connects"] - result["ids"], 1)


# === durable ===

def durable(options):
    table("QoS 1 to persistent sessions", "msg/s", "delivery p50 ms", "p99 ms", "PUBACK p50 ms",
          "p99 ms", "gateways CPU", "Redis CPU", "Redis CPU %", "Redis fsyncs/s", "trouble")
    warnings = []
    for name, (workload, n_gateways) in chosen(DURABLE, options).items():
        results = []
        for _ in range(options.reps):
            with new_cluster(options, n_gateways, "0") as cluster:
                syncs = Syncs(cluster.redis)
                result = run_load(workload, options, cluster.processes, "--settle-ms",
                                  options.settle_ms,
                                  "--pub-addr", cluster.gateways[-1].addresses["tcp"],
                                  "--sub-addr", cluster.gateways[0].addresses["tcp"])
                result["syncs"] = syncs.per_second(result.get("between_s", (0, 0)))
                results.append(result)
                warnings += cluster.warnings()
        row(name, show(median(results, key("recv_per_s")), ",.0f"),
            *latencies(results), show(median(results, cpu_per_million("g1", "g2"))),
            show(median(results, cpu_per_million("redis"))),
            show(median(results, cpu_percent("redis")), ".0f"),
            show(median(results, key("syncs")), ",.0f"), trouble(results))
    tell_warnings(warnings)


# === tracing ===

def traced_run(workload, options, ratio):
    """One run, with the spans that a collector got."""
    collector = None
    if ratio is not None:
        binary = options.bin_dir / "examples/collector"
        collector = subprocess.Popen(["taskset", "-c", options.generator_cpu, binary], text=True,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        os.environ["GATEMQ_TRACING_ENDPOINT"] = collector.stdout.readline().strip()
        os.environ["GATEMQ_TRACING_RATIO"] = ratio
    try:
        with new_cluster(options, 2, "0") as cluster:
            result = run_load(workload, options, cluster.processes, "--settle-ms",
                              options.settle_ms,
                              "--pub-addr", cluster.gateways[0].addresses["tcp"],
                              "--sub-addr", cluster.gateways[1].addresses["tcp"])
            dropped = [gauge(gateway, "tracing_spans_dropped_total")
                       for gateway in cluster.gateways if ratio is not None]
            return {**result, "dropped": sum(dropped)}, cluster.warnings()
    finally:
        for name in ("ENDPOINT", "RATIO"):
            os.environ.pop(f"GATEMQ_TRACING_{name}", None)
        if collector:
            spans, _ = collector.communicate()
            print(f"    {spans.strip()} spans collected", file=sys.stderr)


def tracing(options):
    if not options.bin_dir.joinpath("examples/collector").exists():
        raise SystemExit("first: cargo build --release -p gatemq-tests --example collector, and copy "
                         "target/release/examples/collector below --bin-dir if that is given")
    table("workload", "traced", "msg/s", "CPU publishers' gateway", "CPU subscribers' gateway",
          "both", "spread", "x off", "spans dropped", "delivery p50 ms", "p99 ms",
          "PUBACK p50 ms", "p99 ms", "trouble")
    warnings = []
    for name, workload in chosen(TRACING, options).items():
        off = None
        for traced, ratio in RATIOS.items():
            results = []
            for _ in range(options.reps):
                result, warned = traced_run(workload, options, ratio)
                results.append(result)
                warnings += warned
            cpu = cpu_per_million
            both = median(results, cpu("g1", "g2"))
            off = off or both
            row(name, traced, show(median(results, key("recv_per_s")), ",.0f"),
                show(median(results, cpu("g1"))), show(median(results, cpu("g2"))),
                show(both), show(spread(results, cpu("g1", "g2")), ".0%"),
                show(both and off and both / off, ".2f", "x"),
                show(median(results, key("dropped")), ",.0f"),
                *latencies(results), trouble(results))
    tell_warnings(warnings)


COMMANDS = {"cross": cross, "suback": suback, "routes": routes, "connects": connects,
            "durable": durable, "tracing": tracing}


def build(options, *further):
    """The generator, and unless they are there already the programs of these packages, too."""
    load = ["cargo", "build", "--release", "--manifest-path", ROOT / "tests/load/Cargo.toml",
            "--target-dir", ROOT / "tests/load/target"]
    subprocess.run(load, check=True)
    if not options.bin_dir:
        packages = [f"--package={name}" for name in ("gatemq-standalone", *further)]
        subprocess.run(["cargo", "build", "--release", "--locked", *packages, "--bins"],
                       cwd=ROOT, check=True)
        target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
        options.bin_dir = ROOT / target / "release"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--secs", default="3")
    parser.add_argument("--warmup", default="1")
    parser.add_argument("--bin-dir", help="where gatemq-control-plane and gatemq-gateway are")
    parser.add_argument("--controls", type=int, default=1, help="nodes of the control plane")
    parser.add_argument("--only", default="", help="rows, separated by commas")
    parser.add_argument("--broker-cpus", help="CPUs of all processes but the generator")
    parser.add_argument("--generator-cpu", default="1")
    parser.add_argument("--settle-ms", default="500", help="between SUBACKs and messages")
    parser.add_argument("--offered", type=int, default=50_000, help="suback: filters a second")
    parser.add_argument("--clients", type=int, default=600, help="suback: connections")
    parser.add_argument("--sub-window", type=int, default=1, help="suback: packets under way each")
    parser.add_argument("--n", type=int, default=1_000_000, help="routes: filters")
    parser.add_argument("--fill-limit", type=int, default=900, help="routes: seconds to fill")
    parser.add_argument("--limit", type=int, default=64, help="connects: handshakes under way")
    parser.add_argument("--extra", default="", help="further arguments of the load generator")
    parser.add_argument("--flags", default="", help="of the nodes, as --flags=--level=info")
    parser.add_argument("--keep-logs", action="store_true", help="of every run, and say where")
    parser.add_argument("--json", help="append every result to this file")
    options = parser.parse_args()
    if options.bin_dir:
        options.bin_dir = Path(options.bin_dir).resolve()
    raise_file_limit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all is ended in order
    build(options)
    load = os.getloadavg()[0]
    print(f"`cluster.py {' '.join(sys.argv[1:])}`: {os.cpu_count()} cores, load {load:.1f} before, "
          f"generator on CPU {options.generator_cpu}, {options.controls} of the control plane, "
          f"medians of {options.reps} runs of {options.secs} s")
    COMMANDS[options.command](options)


if __name__ == "__main__":
    sys.exit(main())
