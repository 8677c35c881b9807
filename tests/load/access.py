#!/usr/bin/env python3
"""What users and rules cost: connects with passwords, and publishes under rules.

    python3 tests/load/access.py [connects] [publishes] [--reps 3] [--secs 3] [--connects 2000]
                                 [--rules 0,10,1000,100000] [--gatemq FILE] [--no-build]

connects   Connects a second, and the broker's CPU for each: without users, with a plain password in
           a file, and with argon2id at the cost that `gatemq passwd` writes. That is meant to be
           high: the figure says how long a fleet takes to come back.
publishes  The broker's CPU seconds per million messages from 50 publishers to 50 subscribers, each
           on a topic of its own, without rules and with 10, 1,000 and 100,000 of them, of which the
           last one allows; and the same where each message has a new topic. Anonymous clients, so
           that nothing else differs. `start` is the start with that file, `RSS` the memory then.

One broker at a time on CPU 0, the generator on CPU 1; medians of --reps runs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from compare import LOAD, ROOT, free_port, median, wait_for

PASSWORD = "correct-horse"
TRAFFIC = "p2p --pubs 50 --window 16 --payload 64 --base fleet"


def rules_of(count):
    """That many rules, most of which speak of something else."""
    kinds = ["site/{n}/+/state", "site/{n}/#", "site/+/{n}/secret", "users/%u/{n}/#"]
    lines = []
    for n in range(count - 1):
        topic = kinds[n % len(kinds)].format(n=n)
        lines.append(f"- {{{'deny' if n % 3 else 'allow'}: all, topics: ['{topic}']}}")
    lines.append("- {allow: all, topics: ['#']}")
    return "rules:\n" + "\n".join(lines) + "\n"


def user_file(gatemq, kind):
    if kind == "plain":
        return ("password-hash: plain\nunrestricted: true\n"
                f"users: [{{username: ann, password: {PASSWORD}}}]\n")
    made = subprocess.run([gatemq, "passwd"], input=PASSWORD, capture_output=True, text=True,
                          check=True)
    return f"unrestricted: true\nusers: [{{username: ann, password: '{made.stdout.strip()}'}}]\n"


def rss_kib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise SystemExit("the broker is gone")


def measure(options, users, anonymous, workload):
    """One run of the generator against a broker with this file of users; `None` is no file."""
    with tempfile.TemporaryDirectory(prefix="gatemq-load-") as name:
        folder, port = Path(name), free_port()
        config = f"allow-anonymous: {str(anonymous).lower()}\n"
        if users is not None:
            (folder / "users.yml").write_text(users)
            config += f"auth: {{sources: [{{type: file, path: '{folder}/users.yml'}}]}}\n"
        (folder / "gatemq.yml").write_text(config)
        began = time.monotonic()
        with open(folder / "log", "wb") as log:
            broker = subprocess.Popen(
                ["taskset", "-c", "0", options.gatemq, "--conf", folder / "gatemq.yml", "--tcp",
                 f"127.0.0.1:{port}", "--ws", "", "--http", "", "--data-dir", folder / "data",
                 "--storage-way", "memory", "--level", "warn"], stdout=log, stderr=log)
        try:
            wait_for(port, broker)
            start_s, rss = time.monotonic() - began, rss_kib(broker.pid)
            mode, *arguments = workload.split()
            done = subprocess.run(
                [LOAD / "mqload", mode, "--cpu", "1", "--warmup", "0.7", "--secs", options.secs,
                 *arguments, "--addr", f"127.0.0.1:{port}", "--pid", str(broker.pid)],
                capture_output=True, text=True, timeout=300)
            lines = done.stdout.strip().splitlines()
            result = json.loads(lines[-1]) if lines else {"error": done.stderr[-200:]}
            return {**result, "start_s": start_s, "rss_kib": rss}
        finally:
            broker.terminate()
            try:
                broker.wait(15)
            except subprocess.TimeoutExpired:
                broker.kill()
                broker.wait()


def repeat(options, *arguments):
    return [measure(options, *arguments) for _ in range(options.reps)]


def trouble(results):
    errors = [result["error"] for result in results if "error" in result]
    lost = sum(result.get("missing", 0) for result in results)
    return (errors[0][:80] if errors else "") + (f"{lost} MISSING" if lost else "")


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def show(results, key, form=",.2f"):
    value = median(results, key)
    return "-" if value is None else f"{value:{form}}"


def connects(options):
    login = f"--username ann --password {PASSWORD}"
    kinds = {
        "no users": (None, True, ""),
        "plain password": ("plain", False, login),
        "argon2id": ("argon2id", False, login),
    }
    row("connects", "a second", "broker CPU ms per 1,000", "")
    row("---", "--:", "--:", "---")
    for name, (kind, anonymous, flags) in kinds.items():
        users = user_file(options.gatemq, kind) if kind else None
        # As many as there are seats for comparisons: more at once would be refused.
        limit = 64 if kind != "argon2id" else 8
        count = options.connects if kind != "argon2id" else max(options.connects // 10, 20)
        workload = f"conn --n {count} --limit {limit} --hold 0.2 --timeout 120 {flags}"
        results = repeat(options, users, anonymous, workload)
        row(name, show(results, "connects_per_s", ",.0f"),
            show(results, "broker_cpu_ms_per_1k_connects", ",.0f"), trouble(results))


def publishes(options):
    row("rules", "CPU s per M", "each topic new", "start s", "RSS MiB", "")
    row("---", "--:", "--:", "--:", "--:", "---")
    for count in map(int, options.rules.split(",")):
        users = rules_of(count) if count else None
        known = repeat(options, users, True, TRAFFIC)
        fresh = repeat(options, users, True, TRAFFIC + " --fresh")
        rss = median(known, "rss_kib") / 1024
        row(f"{count:,}", show(known, "broker_cpu_s_per_M"), show(fresh, "broker_cpu_s_per_M"),
            show(known, "start_s"), f"{rss:,.1f}", trouble(known + fresh))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["connects", "publishes"])
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--secs", default="3")
    parser.add_argument("--connects", type=int, default=2000)
    parser.add_argument("--rules", default="0,10,1000,100000")
    parser.add_argument("--gatemq", default=ROOT / "target/release/gatemq")
    parser.add_argument("--no-build", action="store_true")
    options = parser.parse_args()
    if not options.no_build:
        subprocess.run(["cargo", "build", "--release", "--manifest-path",
                        ROOT / "tests/load/Cargo.toml"], check=True)
        subprocess.run(["cargo", "build", "--release"], cwd=ROOT, check=True)
    for name in options.what:
        {"connects": connects, "publishes": publishes}[name](options)
        print()


if __name__ == "__main__":
    sys.exit(main())
