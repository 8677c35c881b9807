"""Servers that know users, as a broker under load asks them: each starts on a port of its own, has one
user, and ends with the block that it is for."""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from compare import free_port, wait_for

USER = "ann"
LOGIN = ("gate", "hunter2")
SECRET = "a secret of the load test that is long enough"
IS_ROOT = os.geteuid() == 0


def token():
    """A token for the user, which holds for an hour."""
    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
    claims = {"sub": USER, "exp": int(time.time()) + 3600}
    signed = ".".join(part(json.dumps(it).encode()) for it in ({"alg": "HS256"}, claims))
    return f"{signed}.{part(hmac.digest(SECRET.encode(), signed.encode(), hashlib.sha256))}"


@contextlib.contextmanager
def jwt(_password):
    yield f"{{type: jwt, algorithms: [HS256], secret: '{SECRET}', acl-claim: ''}}"


@contextlib.contextmanager
def running(command, port, folder, **options):
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(["taskset", "-c", "1", *command], stdout=log, stderr=log,
                                   **options)
    try:
        wait_for(port, process)
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def folder_of():
    with tempfile.TemporaryDirectory(prefix="gatemq-load-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.contextmanager
def redis(password):
    port = free_port()
    with folder_of() as folder, running(
            ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
             "--dir", folder], port, folder):
        stored = json.dumps({"password": password, "allow": True})
        subprocess.run(["redis-cli", "-p", str(port), "HSET", "comqtt:auth", USER, stored],
                       check=True, stdout=subprocess.DEVNULL)
        yield (f"{{type: redis, addr: ['127.0.0.1:{port}'], auth: {{password-hash: plain}}, "
               "acl: {mode: none}}")


def sql_source(kind, port):
    user, password = LOGIN
    return (f"{{type: {kind}, host: 127.0.0.1, port: {port}, database: comqtt, username: {user}, "
            f"password: {password}, sslmode: disable, auth: {{password-hash: plain}}, "
            "acl: {mode: none}}")


TABLE = ("CREATE TABLE auth (username VARCHAR(255) PRIMARY KEY, password VARCHAR(255) NOT NULL, "
         "allow SMALLINT NOT NULL DEFAULT 1)")


@contextlib.contextmanager
def postgresql(password):
    port = free_port()
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
    # It refuses to be root.
    drop = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if IS_ROOT else []
    with folder_of() as folder:
        (folder / "password").write_text(LOGIN[1])
        if IS_ROOT:
            subprocess.run(["chown", "-R", "postgres", folder], check=True)
        subprocess.run([*drop, programs / "initdb", "-D", folder / "data", "-U", LOGIN[0],
                        "--auth=scram-sha-256", "--no-sync", "--pwfile", folder / "password"],
                       check=True, stdout=subprocess.DEVNULL, cwd=folder)
        with running([*drop, programs / "postgres", "-D", folder / "data", "-h", "127.0.0.1",
                      "-p", str(port), "-k", "", "-c", "fsync=off"], port, folder, cwd=folder):
            def run(database, statement):
                subprocess.run(["psql", "-X", "-q", "-h", "127.0.0.1", "-p", str(port),
                                "-U", LOGIN[0], "-d", database, "-c", statement], check=True,
                               env={**os.environ, "PGPASSWORD": LOGIN[1]})
            run("postgres", "CREATE DATABASE comqtt")
            run("comqtt", f"{TABLE}; INSERT INTO auth VALUES ('{USER}', '{password}', 1)")
            yield sql_source("postgresql", port)


@contextlib.contextmanager
def mysql(password):
    port = free_port()
    with folder_of() as folder:
        root = ["--user=root"] if IS_ROOT else []
        subprocess.run(["mariadb-install-db", "--no-defaults", "--skip-test-db",
                        "--skip-name-resolve", "--auth-root-authentication-method=normal",
                        f"--datadir={folder}/data", *root], check=True,
                       stdout=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(folder)})
        user, login = LOGIN
        (folder / "init.sql").write_text(
            "CREATE DATABASE comqtt;\n"
            f"CREATE USER {user}@'127.0.0.1' IDENTIFIED BY '{login}';\n"
            f"GRANT ALL ON comqtt.* TO {user}@'127.0.0.1';\n"
            f"USE comqtt;\n{TABLE};\nINSERT INTO auth VALUES ('{USER}', '{password}', 1);\n")
        with running([shutil.which("mariadbd") or "/usr/sbin/mariadbd", "--no-defaults",
                      f"--datadir={folder}/data", f"--socket={folder}/s", f"--port={port}",
                      "--bind-address=127.0.0.1", "--skip-networking=0", "--skip-name-resolve",
                      f"--init-file={folder}/init.sql", *root], port, folder):
            yield sql_source("mysql", port)


class Answer(BaseHTTPRequestHandler):
    """Says yes to everybody."""
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b'{"result": "allow"}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def http(_password):
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"{{type: http, auth-url: 'http://127.0.0.1:{server.server_port}/auth', acl-url: ''}}"
        server.shutdown()
