#!/usr/bin/env python3
"""Stands for a Kubernetes in which the chart is installed, as far as the chart asks for what is there:
the StatefulSet of the control plane. It runs a command with KUBECONFIG set, and ends with it.

  cluster.py REPLICAS COMMAND...
"""

import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading

RESOURCE = {"name": "statefulsets", "namespaced": True, "kind": "StatefulSet", "verbs": ["get", "list"]}
ANSWERS = {
    "/apis/apps/v1": {"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": [RESOURCE]},
    "/apis/apps/v1/namespaces/iot/statefulsets/gatemq-control": {
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "gatemq-control", "namespace": "iot"},
        "spec": {"replicas": int(sys.argv[1])},
    },
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answer = ANSWERS.get(self.path.partition("?")[0])
        body = json.dumps(answer or {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404})
        self.send_response(200 if answer else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
    json.dump({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": ""}}],
    }, file)
    file.flush()
    ended = subprocess.run(sys.argv[2:], env={**os.environ, "KUBECONFIG": file.name})
sys.exit(ended.returncode)
