"""The service as an application of Ray Serve on this machine: a Ray with its dashboard, `serve deploy
deploy/serve.yaml` filled in, and the end of all of it.

The Ray is a cluster of its own, with ports, a token and a folder that no other Ray of the machine has.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from core.errors import StorageError

ROOT = Path(__file__).resolve().parents[2]
SERVE_FILE = ROOT / "deploy" / "serve.yaml"
HERE = "127.0.0.1"
UP_S = 300.0
DOWN_S = 60.0
LOOK_S = 0.5
ANSWER_S = 30.0
OBJECT_STORE_BYTES = 100 << 20
# What makes a call of Serve's cheap, as the image has it for all of its nodes (Dockerfile): HAProxy in the place of
# Serve's own proxy, so that calls go to the replicas by HTTP and not through Ray; the replica's loop is the
# application's; what Serve logs goes to its files alone; and who answers does not wait for a core behind everything
# else, as Ray's workers do by themselves (what renders and decodes still does: core/niceness.py).
# docs/benchmarks/service.md has the figures.
CHEAP = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_worker_niceness": "0",
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": "300",  # films under way when the replicas change, as ingress.LONG_S
}
TOKEN = "token"
DOOR = "d"  # short too: below it lies a folder of Serve's whose name has 56 letters, and sockets in that
BUSY = "see what it said above; a machine that is very busy may need a second try"


@dataclass(frozen=True)
class Head:
    """A Ray on this machine. `dashboard` is the address that `serve deploy` speaks to; `folder` holds Ray's logs and
    the token without which nobody speaks to it."""

    process: subprocess.Popen[bytes]
    dashboard: str
    folder: Path

    def applications(self) -> dict[str, Any] | None:
        """What Serve says of its applications; None while nobody answers."""
        token = (self.folder / TOKEN).read_text()
        try:
            url = f"{self.dashboard}/api/serve/applications/"
            answer = httpx.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=ANSWER_S)
        except httpx.TransportError:
            return None
        return dict(answer.json()) if answer.is_success else None

    def family(self) -> list[psutil.Process]:
        """Every process of this Ray."""
        with suppress(psutil.Error):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def actors(self, title: str) -> list[psutil.Process]:
        """The processes whose title begins so: `ray::ServeReplica:farm:Calls`."""
        found = []
        for process in self.family():
            with suppress(psutil.Error):
                if " ".join(process.cmdline()).startswith(title):
                    found.append(process)
        return found

    def doors(self) -> list[psutil.Process]:
        """The HAProxy processes of this Ray, also those that whoever started them has left behind."""
        mine = str(self.folder / DOOR)
        return [one for one in psutil.process_iter() if any(word.startswith(mine) for word in cmdline_of(one))]


def cmdline_of(process: psutil.Process) -> list[str]:
    """Of one that has ended, nothing."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody has now."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind((HERE, 0))
        return [int(one.getsockname()[1]) for one in held]
    finally:
        for one in held:
            one.close()


@contextmanager
def ray_head(cores: int) -> Iterator[Head]:
    """A Ray of `cores` that offers `service`, as deploy/serve.yaml wants of a head. Nothing of it is left afterwards.

    `StorageError` where it does not come up.
    """
    folder = Path(tempfile.mkdtemp(prefix="farm-ray-"))  # short: sockets lie in it, whose paths may have 107 bytes
    gcs, board, agent, agent_rpc, client, env_agent, metrics = free_ports(7)
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--node-ip-address={HERE}",
        f"--port={gcs}", f"--num-cpus={cores}", "--num-gpus=0", '--resources={"service": 100}',
        "--include-dashboard=true", f"--dashboard-host={HERE}", f"--dashboard-port={board}",
        f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={agent_rpc}",
        f"--ray-client-server-port={client}", f"--runtime-env-agent-port={env_agent}",
        f"--metrics-export-port={metrics}", "--min-worker-port=0", "--max-worker-port=0",
        f"--object-store-memory={OBJECT_STORE_BYTES}", f"--temp-dir={folder}", "--disable-usage-stats",
    ]  # fmt: skip
    doors = doors_of(folder)
    (folder / TOKEN).touch(0o600)
    (folder / TOKEN).write_text(secrets.token_hex(32))
    with (folder / "start.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=surroundings(folder) | doors,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    head = Head(process, f"http://{HERE}:{board}", folder)
    try:
        wait_for(lambda: head.applications() is not None, process, folder / "start.log")
        yield head
    finally:
        end(head)
        shutil.rmtree(folder, ignore_errors=True)


def surroundings(folder: Path) -> dict[str, str]:
    """The environment of Ray's processes: the program that runs here, the token, and no report to Ray's makers."""
    paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    ray = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / TOKEN)}
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **ray}


def doors_of(folder: Path) -> dict[str, str]:
    """What the head's processes are told of HAProxy: how to be cheap, and names and ports of this Ray's own."""
    door = folder / DOOR
    metrics, stats, fallback = free_ports(3)
    return {
        **CHEAP,
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(door / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(door / "a.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(door / "m.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(door),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(door / "state"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(fallback),
    }


def wait_for(true: Any, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until `true()`; `StorageError` where the Ray ends before, or is not there in time."""
    end_s = time.monotonic() + UP_S
    while not true():
        if process.poll() is not None or time.monotonic() > end_s:
            sys.stderr.write(log.read_text(errors="replace")[-4000:])
            told = "ended before it was there" if process.poll() is not None else f"is not there after {UP_S:g} s"
            raise StorageError(f"Ray {told}", hint=BUSY)
        time.sleep(LOOK_S)


def end(head: Head) -> None:
    """End the Ray, politely first, and wait until none of its processes is left."""
    family = head.family()
    head.process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        head.process.wait(DOWN_S)
    family += [one for one in (*head.family(), *head.doors()) if one not in family]
    _, left = psutil.wait_procs(family, timeout=5.0)
    for one in left:
        with suppress(psutil.Error):
            one.kill()
    if head.process.poll() is None:
        head.process.kill()
        head.process.wait()
    psutil.wait_procs(left, timeout=DOWN_S)


def filled_in(args: Mapping[str, object], port: int) -> dict[str, Any]:
    """deploy/serve.yaml with these arguments of the application, at this port of loopback."""
    config: dict[str, Any] = yaml.safe_load(SERVE_FILE.read_text())
    config["http_options"] |= {"host": HERE, "port": port}
    (application,) = config["applications"]
    application["args"] = {**application["args"], **args}
    return config


def deploy(head: Head, config: Mapping[str, Any], file: Path) -> str:
    """`serve deploy` as a person types it; the application's address when it runs. `StorageError` where it fails."""
    file.write_text(yaml.safe_dump(dict(config)))
    serve(head, "deploy", str(file))
    end_s = time.monotonic() + UP_S
    while (told := status_of(head))[0] != "RUNNING":
        if told[0] == "DEPLOY_FAILED" or time.monotonic() > end_s:
            raise StorageError(f"the application is {told[0] or 'not there'}: {told[1]}", where=str(file), hint=BUSY)
        time.sleep(LOOK_S)
    options = config["http_options"]
    return f"http://{options['host']}:{options['port']}"


def serve(head: Head, *words: str) -> str:
    """One command of Serve's; what it printed. `StorageError` where it fails."""
    command = [str(Path(sys.executable).with_name("serve")), *words, "--address", head.dashboard]
    done = subprocess.run(
        command, env=surroundings(head.folder), capture_output=True, text=True, timeout=UP_S, check=False
    )
    if done.returncode != 0:
        sys.stderr.write(done.stdout + done.stderr)
        raise StorageError(f"serve {words[0]} ended with {done.returncode}", hint=BUSY)
    return done.stdout


def status_of(head: Head) -> tuple[str, str]:
    """The state of the application `farm`, and what Serve says of it."""
    found = (head.applications() or {}).get("applications", {}).get("farm", {})
    return str(found.get("status", "")), str(found.get("message", ""))


@contextmanager
def on_serve(folder: Path, cores: int) -> Iterator[tuple[str, str]]:
    """The service on a Ray Serve of this machine, with everything in `folder`: its address and its first key.

    `StorageError` where it does not come up, or something of it is left when it was shut down.
    """
    data = folder / "data"
    args = {"data": str(data), "database": f"sqlite:///{folder}/farm.db", "replicas": 1, "jobs": 2, "max_workers": 2}
    with ray_head(cores) as head:
        url = deploy(head, filled_in(args, free_ports(1)[0]), folder / "serve.yaml")
        yield url, (data / "first-key").read_text().strip()
        serve(head, "shutdown", "--yes")
        wait_for(lambda: not head.actors("ray::Serve"), head.process, head.folder / "start.log")
