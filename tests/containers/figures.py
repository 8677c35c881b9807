#!/usr/bin/env python3
"""Looks at what Prometheus has of a running cluster: every target answers, every rule can be
evaluated, and each metric that a dashboard or a rule names is there.

  figures.py PORT
"""

import json
import pathlib
import sys
import time
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import names

PATIENCE = 60


def ask(path):
    with urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/api/v1/{path}", timeout=10) as answer:
        return json.load(answer)["data"]


def trouble():
    targets = ask("targets")["activeTargets"]
    jobs = {target["labels"]["job"] for target in targets if target["health"] == "up"}
    found = [f"{job} has no target that answers" for job in {"gateway", "control-plane", "bridge", "haproxy"} - jobs]
    rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
    found += [f"{rule['name']}: {rule.get('lastError') or rule['health']}" for rule in rules if rule["health"] != "ok"]
    known = set(ask("label/__name__/values"))
    found += [f"{name} is not measured" for name in sorted(names.wanted() - names.RARE - known)]
    return found, len(targets), len(rules)


def main():
    deadline = time.monotonic() + PATIENCE
    while True:
        found, n_targets, n_rules = trouble()
        if not found:
            break
        if time.monotonic() > deadline:
            sys.exit("\n".join(found))
        time.sleep(2)
    print(f"ok: {n_targets} targets answer, {n_rules} rules hold, all metrics of dashboards and rules are there")


if __name__ == "__main__":
    main()
