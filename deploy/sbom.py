#!/usr/bin/env python3
"""Writes down what GateMQ is built of, as CycloneDX 1.5 JSON, to standard output.

    deploy/sbom.py > gatemq.cdx.json

Every crate that ends up in the binaries is in it, by its package URL, with its licence, the SHA-256
that Cargo.lock holds it to, and what it depends on itself, macros included; what only build scripts
or tests use is not.
It is made of Cargo.lock and what cargo says of it alone, so the same sources give the same document.
Python 3.11 or newer.
"""

import json
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
APPLICATION = "gatemq-bridge-process"
# What the binaries are built for.
PLATFORM = "x86_64-unknown-linux-gnu"
# Of uuid5: the document's number follows from what is in it.
NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")


def metadata():
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    command += ["--filter-platform", PLATFORM]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def checksums():
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    return {(it["name"], it["version"]): it.get("checksum") for it in lock["package"]}


def normal_dependencies(node):
    """Those that are linked or expanded into it: not what its build script or its tests use."""
    for dependency in node["deps"]:
        if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
            yield dependency["pkg"]


def linked():
    """Names and versions of what is linked. `cargo metadata` knows only what any member of the
    workspace, and its tests, would turn on."""
    command = ["cargo", "tree", "--locked", "--package", APPLICATION, "--edges", "normal"]
    command += ["--target", PLATFORM, "--prefix", "none", "--format", "{p}"]
    told = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = (line.split() for line in told.splitlines() if line)
    return {(words[0], words[1].removeprefix("v")) for words in lines}


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, checksum):
    is_ours = package["source"] is None
    shown = {
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
    }
    if package["description"]:
        shown["description"] = " ".join(package["description"].split())
    if package["license"]:
        # An old way to write it has a slash.
        shown["licenses"] = [{"expression": " OR ".join(map(str.strip, package["license"].split("/")))}]
    elif package["license_file"]:
        shown["licenses"] = [{"license": {"name": package["license_file"]}}]
    if checksum:
        shown["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    elif not is_ours:
        raise SystemExit(f"{purl(package)} has no checksum in Cargo.lock")
    if package["repository"]:
        shown["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return shown


def document():
    told, sums = metadata(), checksums()
    packages = {it["id"]: it for it in told["packages"]}
    nodes = {it["id"]: it for it in told["resolve"]["nodes"]}
    application = next(it for it in told["packages"] if it["name"] == APPLICATION)
    names = linked()
    within = {it for it in nodes if (packages[it]["name"], packages[it]["version"]) in names}
    order = sorted(within, key=lambda it: (packages[it]["name"], packages[it]["version"]))
    components = {}
    for it in order:
        package = packages[it]
        checksum = sums[(package["name"], package["version"])]
        components[it] = component(package, checksum)
    of_application = components.pop(application["id"]) | {"type": "application"}
    edges = []
    for it in order:
        needed = {purl(packages[other]) for other in normal_dependencies(nodes[it]) if other in within}
        edges.append({"ref": purl(packages[it]), "dependsOn": sorted(needed)})
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "deploy/sbom.py"}]},
            "component": of_application,
        },
        "components": list(components.values()),
        "dependencies": edges,
    }
    number = uuid.uuid5(NAMESPACE, json.dumps(bill, sort_keys=True))
    return {"bomFormat": "CycloneDX", "specVersion": "1.5", "serialNumber": number.urn} | bill


if __name__ == "__main__":
    json.dump(document(), sys.stdout, indent=1)
    print()
