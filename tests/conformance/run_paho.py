#!/usr/bin/env python3
r"""Runs Eclipse Paho's interoperability tests (client_test.py, client_test5.py) on a broker.

The suite is the repository eclipse-paho/paho.mqtt.testing; it is no part of this tree. With a
checkout of it at SUITE, from the top of this tree:

    cargo build --release
    python3 tests/conformance/run_paho.py --suite SUITE --broker-cmd "$PWD/target/release/gatemq \
        --tcp 127.0.0.1:{port} --ws '' --http '' --data-dir {datadir}"

A fresh broker is started for each test; `--port PORT` takes one that runs already. The last line
counts. Of the 38 tests, these assume settings:

    client_test5 test_server_keep_alive   a server keep alive of 60 s
                                          (GATEMQ_LIMITS_SERVER_KEEP_ALIVE=60s)
    test_subscribe_failure (both)         that test/nosubscribe may not be subscribed to; and for
                                          5.0 that this is refused with 0x80, where the standard
                                          has 0x87, Not authorized, for it (section 3.9.3)

client_test5's test_subscribe_options and test_request_response wait for one client's SUBACK twice,
and never for the other's, before they publish: on a busy machine the publish may overtake the
subscription, and the standard promises nothing about that. Run them again (--only).

The suite's own command line is unusable: its options reach unittest, which refuses them, and
some tests wait for ever.  Here every test runs alone in a process with a time limit.
"""

import argparse
import concurrent.futures
import importlib
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from broker import Broker, free_port, wait_for_port

MODULES = {"3.1.1": "client_test", "5": "client_test5"}
TOPICS = ["TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA"]
FILTERS = ["TopicA/+", "+/C", "#", "/#", "/+", "+/+", "TopicA/#"]
# A test method whose name unittest does not collect.
UNCOLLECTED = {"client_test": ["will_message_test"]}


def load(suite, module_name, host, port, keepalive=0):
    """The suite's module with the globals that its __main__ block would set."""
    sys.path.insert(0, str(suite / "interoperability"))
    sys.dont_write_bytecode = True
    module = importlib.import_module(module_name)
    prefix = "client_test5/" if module_name == "client_test5" else ""
    module.host, module.port, module.topic_prefix = host, port, prefix
    module.topics = [prefix + topic for topic in TOPICS]
    module.wildtopics = [prefix + topic for topic in FILTERS]
    module.nosubscribe_topics = ("test/nosubscribe",)
    if module_name == "client_test5":
        module.setData = lambda: None  # it would take the prefix away again
    if keepalive:
        plain = module.mqtt_client.Client.connect
        module.mqtt_client.Client.connect = lambda *words, **options: plain(
            *words, **dict(options, keepalive=options.get("keepalive") or keepalive))
    return module


def run_alone(options):
    module = load(options.suite, options.module, options.host, options.port, options.keepalive)
    case = module.Test(options.test)
    result = unittest.TextTestRunner(verbosity=2, stream=sys.stdout).run(
        unittest.TestSuite([case]))
    sys.stdout.flush()
    os._exit(0 if result.wasSuccessful() else 1)  # reader threads may still wait


def telling_line(output):
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines
              if re.match(r"(\w+\.)*\w*(Error|Exception|timeout|Interrupt)\b", line)
              and "False != True" not in line]
    return (errors or lines or ["no output"])[-1][:220]


def run_test(module, test, options, ports):
    slot = ports.get()
    work = Path(tempfile.mkdtemp(prefix="mqpaho-"))
    process, port = None, options.port
    try:
        if options.broker_cmd:
            port = free_port(slot)
            process = Broker(options.broker_cmd, port, work)
            if not wait_for_port(port, process):
                return "FAIL", f"the broker did not start: {process.log()[-300:]}", 0.0
        command = [sys.executable, __file__, "--suite", str(options.suite), "--port", str(port),
                   "--host", options.host, "--module", module, "--test", test,
                   "--keepalive", str(options.keepalive)]
        began = time.monotonic()
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=options.timeout)
            output, ok = done.stdout.decode(errors="replace"), done.returncode == 0
            reason = "" if ok else telling_line(output)
        except subprocess.TimeoutExpired as expired:
            output = (expired.stdout or b"").decode(errors="replace")
            ok, reason = False, f"not done in {options.timeout:.0f} s; {telling_line(output)}"
        if process and process.poll() is not None:
            ok, reason = False, f"the broker ended, status {process.returncode}"
        if options.log_dir:
            log = process.log() if process else ""
            (options.log_dir / f"{module}.{test}.log").write_text(output + "\n---\n" + log)
        return ("PASS" if ok else "FAIL"), reason, time.monotonic() - began
    finally:
        if process:
            process.end()
        shutil.rmtree(work, ignore_errors=True)
        ports.put(slot)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", type=Path, required=True, help="a paho.mqtt.testing checkout")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int)
    parser.add_argument("--broker-cmd", default=os.environ.get("BROKER_CMD"))
    parser.add_argument("--version", choices=[*MODULES, "all"], default="all")
    parser.add_argument("--only", help="only tests that match this regular expression")
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--keepalive", type=int, default=0,
                        help="in place of the suite's 0, for a broker that refuses 0")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--base-port", type=int, default=25000)
    parser.add_argument("--log-dir", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--module", help=argparse.SUPPRESS)
    parser.add_argument("--test", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.test:
        run_alone(options)
    if options.port:
        options.broker_cmd, options.jobs = None, 1
    elif not options.broker_cmd:
        parser.error("give --port or --broker-cmd")
    if options.log_dir:
        options.log_dir.mkdir(parents=True, exist_ok=True)
    tests = []
    for version, name in MODULES.items():
        if options.version in (version, "all"):
            module = load(options.suite, name, options.host, options.port or 0)
            names = unittest.TestLoader().getTestCaseNames(module.Test)
            tests += [(name, test) for test in names + UNCOLLECTED.get(name, [])
                      if not options.only or re.search(options.only, test)]
    ports = queue.Queue()
    for job in range(options.jobs):
        ports.put(options.base_port + 100 * job)
    outcomes = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        futures = [pool.submit(run_test, *test, options, ports) for test in tests]
        for (module, test), future in zip(tests, futures):
            result, reason, seconds = future.result()
            outcomes.append({"module": module, "test": test, "result": result, "reason": reason,
                             "seconds": round(seconds, 1)})
            print(f"{result}  {seconds:5.1f}s  {module + '.' + test:46} {reason}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(outcomes, indent=1))
    failed = sum(outcome["result"] == "FAIL" for outcome in outcomes)
    print(f"{len(outcomes) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
