"""A whole cluster on loopback for cluster.py: Redis, control plane and gateways.

Whatever is started here ends with the `with` block, by its pid, and if this process is killed.
"""

import ctypes
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

START_LIMIT = 60.0
STOP_LIMIT = 15.0
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
LEVEL = re.compile(r"\b(WARN|ERROR)\b")
FIELD = re.compile(r"\s\w+=(\"[^\"]*\"|\S+)")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def prepare_child():
    ctypes.CDLL(None).prctl(DIE_WITH_PARENT, signal.SIGKILL)


class Process:
    """One process, pinned to some CPUs, with its output in files of its folder."""

    def __init__(self, name, command, folder, cpus):
        self.name, self.folder = name, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.out, self.log = folder / "stdout", folder / "log"
        self.began = time.monotonic()
        with open(self.out, "wb") as out, open(self.log, "wb") as log:
            self.child = subprocess.Popen(
                ["taskset", "-c", cpus, *map(str, command)], stdin=subprocess.DEVNULL, stdout=out,
                stderr=log, cwd=folder, preexec_fn=prepare_child)
        self.pid, self.addresses, self.start_s = self.child.pid, {}, None

    def wait_for(self, is_ready):
        while not is_ready():
            if self.child.poll() is not None:
                raise SystemExit(f"{self.name} ended with status {self.child.returncode}:\n"
                                 + self.log.read_text(errors="replace")[-2000:])
            if time.monotonic() - self.began > START_LIMIT:
                raise SystemExit(f"{self.name} is not ready within {START_LIMIT:.0f} s:\n"
                                 + self.log.read_text(errors="replace")[-2000:])
            time.sleep(0.002)
        self.start_s = time.monotonic() - self.began

    def wait_until_ready(self):
        """For a process of ours: waits for `ready`, and learns where it listens."""
        self.wait_for(lambda: self.out.read_bytes().endswith(b"ready\n"))
        for line in self.out.read_text().splitlines():
            if line.startswith("listening: "):
                _, name, address = line.split()
                self.addresses[name] = address

    def status_kib(self, field):
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
        raise SystemExit(f"{self.name} is gone")

    def cpu_s(self):
        """Its CPU seconds so far, from its CPU clock as clock_getcpuclockid(3) makes it."""
        return time.clock_gettime((~self.pid << 3) | 2)

    def rss_kib(self):
        return self.status_kib("VmRSS")

    def settled_rss_kib(self, limit_s=30.0):
        """Resident memory once it no longer moves."""
        end, last = time.monotonic() + limit_s, self.rss_kib()
        while time.monotonic() < end:
            time.sleep(1.5)
            now = self.rss_kib()
            if abs(now - last) <= max(256, last // 200):
                return now
            last = now
        return last

    def pin(self, cpus):
        subprocess.run(["taskset", "-acp", cpus, str(self.pid)], check=True, capture_output=True)

    def stop(self):
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()

    def warnings(self):
        """What it logged at WARN and ERROR, without what differs from one time to the next."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            place = LEVEL.search(line)
            if place:
                found.append(FIELD.sub("", line[place.start():]).strip())
        return found


class Cluster:
    """Redis, `n_controls` nodes of the control plane, `n_gateways` gateways."""

    def __init__(self, bin_dir, n_gateways, n_controls=1, cpus="0", flags=(), keeps_logs=False):
        self.bin_dir, self.cpus, self.flags = Path(bin_dir), cpus, list(flags)
        self.keeps_logs = keeps_logs
        self.n_gateways, self.n_controls = n_gateways, n_controls
        self.processes, self.gateways, self.controls = [], [], []

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="gatemq-cluster-"))
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind, *_):
        self.stop()
        if kind is None and not self.keeps_logs:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            print(f"logs of all processes: {self.folder}", flush=True)

    def start(self):
        self.redis_port = free_port()
        self.redis = self.add(Process("redis", [
            "redis-server", "--port", self.redis_port, "--bind", "127.0.0.1", "--save", "",
            "--appendonly", "yes", "--appendfsync", "always", "--dir", "."],
            self.folder / "redis", self.cpus))
        self.redis.wait_for(self.redis_answers)
        for number in range(1, self.n_controls + 1):
            control = self.node("gatemq-control-plane", f"c{number}")
            control.wait_until_ready()
            self.controls.append(control)
        started = [self.node("gatemq-gateway", f"g{number}")
                   for number in range(1, self.n_gateways + 1)]
        for gateway in started:
            gateway.wait_until_ready()
        self.gateways = started

    def add(self, process):
        self.processes.append(process)
        return process

    def node(self, binary, name):
        """Starts a node; it is part of the cluster once it is ready."""
        if self.controls:
            entry = ["--members", self.controls[0].addresses["gossip"]]
        else:
            entry = ["--raft-bootstrap"]
        folder = self.folder / name
        listeners = [] if binary == "gatemq-control-plane" else ["--tcp", "127.0.0.1:0"]
        return self.add(Process(name, [
            self.bin_dir / binary, "--node-name", name, "--data-dir", folder / "data",
            "--storage-way", "redis", "--redis", f"127.0.0.1:{self.redis_port}",
            "--gossip-port", "0", "--raft-port", "0", "--grpc-port", "0", "--ws", "",
            *listeners, "--http", "127.0.0.1:0", "--control-size", self.n_controls,
            "--level", "warn", *entry, *self.flags], folder, self.cpus))

    def one_more_gateway(self, name):
        """A further gateway, ready; not one of `gateways`."""
        gateway = self.node("gatemq-gateway", name)
        gateway.wait_until_ready()
        return gateway

    def leader(self):
        """The busiest node of the control plane: over HTTP none says who leads."""
        return max(self.controls, key=Process.cpu_s)

    def redis_answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.redis_port), 0.5) as link:
                link.sendall(b"PING\r\n")
                return link.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def remove(self, process):
        process.stop()
        self.processes.remove(process)

    def warnings(self):
        return [line for process in self.processes for line in process.warnings()]

    def stop(self):
        for process in reversed(self.processes):
            process.stop()


class Syncs:
    """Counts a process's fsync and fdatasync calls with perf, where that may be used."""

    EVENTS = "syscalls:sys_enter_fsync,syscalls:sys_enter_fdatasync"
    INTERVAL_MS = 200

    def __init__(self, process):
        self.folder = tempfile.TemporaryDirectory(prefix="gatemq-perf-")
        self.out = Path(self.folder.name) / "stat"
        self.began, self.child = time.monotonic(), None
        if shutil.which("perf"):
            self.child = subprocess.Popen(
                ["perf", "stat", "-x,", "-I", str(self.INTERVAL_MS), "-e", self.EVENTS,
                 "-o", self.out, "-p", str(process.pid)],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=prepare_child)

    def per_second(self, between):
        """Calls a second between two instants of the monotonic clock; None where unknown."""
        if self.child is None:
            return None
        self.child.send_signal(signal.SIGINT)
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        counts = {}
        lines = self.out.read_text().splitlines() if self.out.exists() else []
        for line in lines:
            fields = line.strip().split(",")
            if len(fields) < 4 or "not supported" in fields[1]:
                continue
            count = int(fields[1]) if fields[1].isdigit() else 0  # "not counted": it slept
            at = self.began + float(fields[0])
            if between[0] + self.INTERVAL_MS / 1000 <= at <= between[1]:
                counts[fields[0]] = counts.get(fields[0], 0) + count
        self.folder.cleanup()
        if not counts:
            return None
        return sum(counts.values()) / (len(counts) * self.INTERVAL_MS / 1000)


def raise_file_limit():
    """As many open files as may be had, for what is started here."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def is_listening(port):
    """Whether something takes connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
        return True
    except OSError:
        return False

