#!/usr/bin/env python3
"""The names of metrics in dashboards and rules, each of which has to be one that a program has.

  names.py   says which names no source has, and which queries cannot be parsed (with promtool)
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
NAME = re.compile(r"\b(?:control|gateway|peer|bridge|node|process|tracing|haproxy)_[a-z0-9_]+\b")
# There only after something has happened that need not happen in a test.
RARE = {"gateway_connections_refused_total", "gateway_auth_answers_total", "gateway_auth_answer_seconds_bucket"}


def queries():
    """Each with where it is from."""
    for path in sorted((DEPLOY / "grafana/dashboards").glob("*.json")):
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            for target in panel["targets"]:
                yield f"{path.name}: {panel['title']}", target["expr"]
    rules = (DEPLOY / "prometheus/rules.yml").read_text()
    for expression in re.findall(r"^ *expr: (.*)$", rules, re.MULTILINE):
        yield "rules.yml", expression


def wanted():
    return {name for _, query in queries() for name in NAME.findall(query)}


def sources():
    folders = ["node/src", "gateway/src", "router/src", "bridge/src", "control-plane/src"]
    return "\n".join(path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.rs"))


def is_in(text, name):
    """Whether some source has the name as it is, or without its prefixes and what the encoder adds."""
    endings = ["", "_total", "_bucket", "_count", "_sum", "_bytes", "_seconds", "_seconds_bucket", "_seconds_total"]
    for ending in endings:
        if not name.endswith(ending):
            continue
        words = name.removesuffix(ending).split("_")
        if any(f'"{"_".join(words[at:])}"' in text for at in range(min(3, len(words)))):
            return True
    return False


def unparsable():
    """What promtool says of queries, as if each were a rule."""
    rules = [{"record": f"query_{number}", "expr": query.replace("$__rate_interval", "1m").replace("$instance", ".*")}
             for number, (_, query) in enumerate(queries())]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"groups": [{"name": "queries", "rules": rules}]}, file)
        file.flush()
        checked = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True)
    return [] if checked.returncode == 0 else [checked.stderr.strip()]


def main():
    text = sources()
    found = [f"{name}: no program has this metric" for name in sorted(wanted())
             if not name.startswith("haproxy_") and not is_in(text, name)]
    if shutil.which("promtool"):
        found += unparsable()
    if found:
        sys.exit("\n".join(found))
    print(f"ok: {len(list(queries()))} queries, {len(wanted())} metrics")


if __name__ == "__main__":
    main()
