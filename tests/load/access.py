#!/usr/bin/env python3
"""What users and rules cost: connects with passwords, and publishes under rules.

    python3 tests/load/access.py [connects] [publishes] [idle] [--reps 3] [--secs 3]
                                 [--connects 2000] [--rules 0,10,1000,100000] [--gatemq FILE]
                                 [--peers gatemq,mosquitto] [--no-build]

connects   Connects a second, and the broker's CPU for each: without users, with a plain password in
           a file, in Redis, in PostgreSQL and in MariaDB, with a token (HS256), with a server that
           is asked over HTTP, and with argon2id at the cost that `gatemq passwd` writes. That is
           meant to be high: the figure says how long a fleet takes to come back. Beside it
           mosquitto, without users and with its password file (PBKDF2). The servers that are asked
           run on CPU 1, beside the generator; the HTTP server is Python's, and what is measured
           there is the broker's CPU.
publishes  The broker's CPU seconds per million messages from 50 publishers to 50 subscribers, each
           on a topic of its own, without rules and with 10, 1,000 and 100,000 of them, of which the
           last one allows; and the same where each message has a new topic. Anonymous clients, so
           that nothing else differs. `start` is the start with that file, `RSS` the memory then.
           Beside it mosquitto with the same rules, as far as it has such.
idle       KiB for an idle connection without rules, and with ten, two of which name the client.

One broker at a time on CPU 0, the generator on CPU 1; medians of --reps runs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import directories
from compare import LOAD, ROOT, free_port, median, wait_for

PASSWORD = "correct-horse"
IS_ROOT = os.geteuid() == 0
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


def rules_of_mosquitto(count):
    """The same rules in its words, as far as they are there: what speaks of a user is a pattern."""
    lines = []
    for n in range(count - 1):
        if n % 4 == 3:
            lines.append(f"pattern {'deny' if n % 3 else 'readwrite'} users/%u/{n}/#")
            continue
        topic = ["site/{n}/+/state", "site/{n}/#", "site/+/{n}/secret"][n % 4].format(n=n)
        lines.append(f"topic {'deny' if n % 3 else 'readwrite'} {topic}")
    return "\n".join([*lines, "topic readwrite #"]) + "\n"


def user_file(binary, kind):
    if kind == "plain":
        return ("password-hash: plain\nunrestricted: true\n"
                f"users: [{{username: ann, password: {PASSWORD}}}]\n")
    made = subprocess.run([binary, "passwd"], input=PASSWORD, capture_output=True, text=True,
                          check=True)
    return f"unrestricted: true\nusers: [{{username: ann, password: '{made.stdout.strip()}'}}]\n"


def rss_kib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise SystemExit("the broker is gone")


def gatemq(options, folder, port, users, source, anonymous):
    """The command that starts it with this file of users, or this source; `None` is none."""
    sources = [source] if source else []
    if users is not None:
        (folder / "users.yml").write_text(users)
        sources.append(f"{{type: file, path: '{folder}/users.yml'}}")
    config = f"allow-anonymous: {str(anonymous).lower()}\n"
    if sources:
        config += f"auth: {{sources: [{', '.join(sources)}]}}\n"
    (folder / "gatemq.yml").write_text(config)
    return [options.gatemq, "--conf", folder / "gatemq.yml", "--tcp", f"127.0.0.1:{port}", "--ws",
            "", "--http", "", "--data-dir", folder / "data", "--storage-way", "memory", "--level",
            "warn"]


def mosquitto(folder, port, rules, has_users):
    config = (f"listener {port} 127.0.0.1\npersistence false\nmax_queued_messages 0\n"
              f"max_inflight_messages 1024\nlog_type error\nallow_anonymous {str(not has_users).lower()}\n")
    if IS_ROOT:
        config += "user root\n"
    if has_users:
        subprocess.run(["mosquitto_passwd", "-b", "-c", folder / "passwd", directories.USER,
                        PASSWORD], check=True, stderr=subprocess.DEVNULL)
        config += f"password_file {folder}/passwd\n"
    if rules is not None:
        (folder / "acl").write_text(rules)
        config += f"acl_file {folder}/acl\n"
    (folder / "mosquitto.conf").write_text(config)
    return ["/usr/sbin/mosquitto", "-c", folder / "mosquitto.conf"]


def measure(options, broker, workload):
    """One run of the generator against a broker; `broker` makes its command of a folder and port."""
    with tempfile.TemporaryDirectory(prefix="gatemq-load-") as name:
        folder, port = Path(name), free_port()
        command = broker(folder, port)
        began = time.monotonic()
        with open(folder / "log", "wb") as log:
            broker = subprocess.Popen(["taskset", "-c", "0", *command], stdout=log, stderr=log)
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
            return {**result, "start_s": start_s, "rss_mib": rss / 1024}
        except SystemExit as error:  # it takes too long to start
            return {"error": str(error)}
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
    row("connects", "a second", "broker CPU ms per 1,000", "")
    row("---", "--:", "--:", "---")

    def line(name, broker, password="", limit=64, count=options.connects):
        login = f"--username {directories.USER} --password {password}" if password else ""
        workload = f"conn --n {count} --limit {limit} --hold 0.2 --timeout 120 {login}"
        results = repeat(options, broker, workload)
        row(name, show(results, "connects_per_s", ",.0f"),
            show(results, "broker_cpu_ms_per_1k_connects", ",.0f"), trouble(results))

    if "gatemq" in options.peers:
        def broker(users=None, source=None, anonymous=False):
            return lambda folder, port: gatemq(options, folder, port, users, source, anonymous)
        line("no users", broker(anonymous=True))
        line("file, plain", broker(user_file(options.gatemq, "plain")), PASSWORD)
        for name in ("redis", "postgresql", "mysql", "http", "jwt"):
            with getattr(directories, name)(PASSWORD) as source:
                password = directories.token() if name == "jwt" else PASSWORD
                line(name, broker(source=source), password)
        # As many as there are seats for comparisons: more at once would be refused.
        line("file, argon2id", broker(user_file(options.gatemq, "argon2id")), PASSWORD, 8,
             max(options.connects // 10, 20))
    if "mosquitto" in options.peers:
        line("mosquitto, no users", lambda folder, port: mosquitto(folder, port, None, False))
        line("mosquitto, password file", lambda folder, port: mosquitto(folder, port, None, True),
             PASSWORD, 8, max(options.connects // 10, 20))


def publishes(options):
    row("rules", "CPU s per M", "each topic new", "start s", "RSS MiB", "")
    row("---", "--:", "--:", "--:", "--:", "---")

    def line(name, broker):
        known = repeat(options, broker, TRAFFIC)
        fresh = repeat(options, broker, TRAFFIC + " --fresh")
        row(name, show(known, "broker_cpu_s_per_M"), show(fresh, "broker_cpu_s_per_M"),
            show(known, "start_s"), show(known, "rss_mib", ",.1f"), trouble(known + fresh))

    for count in map(int, options.rules.split(",")):
        if "gatemq" in options.peers:
            users = rules_of(count) if count else None
            line(f"{count:,}",
                 lambda folder, port: gatemq(options, folder, port, users, None, True))
        if "mosquitto" in options.peers:
            rules = rules_of_mosquitto(count) if count else None
            line(f"mosquitto, {count:,}", lambda folder, port: mosquitto(folder, port, rules, False))


def idle(options):
    row("rules", "KiB per connection", "")
    row("---", "--:", "---")
    own = "rules:\n" + "".join(f"- {{allow: all, topics: ['{topic}']}}\n" for topic in (
        "dev/%c/#", "site/+/%c", *(f"public/{n}/#" for n in range(8))))
    for name, users in (("none", None), ("ten, two of which name the client", own)):
        results = repeat(options, lambda folder, port: gatemq(
            options, folder, port, users, None, True), "conn --n 10000 --limit 64 --hold 2")
        row(name, show(results, "kib_per_conn"), trouble(results))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["connects", "publishes"])
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--secs", default="3")
    parser.add_argument("--connects", type=int, default=2000)
    parser.add_argument("--rules", default="0,10,1000,100000")
    parser.add_argument("--gatemq", default=ROOT / "target/release/gatemq")
    parser.add_argument("--peers", default="gatemq,mosquitto")
    parser.add_argument("--no-build", action="store_true")
    options = parser.parse_args()
    if not options.no_build:
        subprocess.run(["cargo", "build", "--release", "--manifest-path",
                        ROOT / "tests/load/Cargo.toml"], check=True)
        subprocess.run(["cargo", "build", "--release"], cwd=ROOT, check=True)
    for name in options.what:
        {"connects": connects, "publishes": publishes, "idle": idle}[name](options)
        print()


if __name__ == "__main__":
    sys.exit(main())
