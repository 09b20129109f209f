"""`ray up` and `ray submit` as a person types them, with the cluster file of the repository."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.launch.sshd import ROOT, Host, free_ports

UP_S = 240.0
HEAD = "--node-ip-address=127.0.0.1 --num-cpus=2 --include-dashboard=false --dashboard-agent-listen-port=0"


@dataclass(frozen=True)
class Cluster:
    """A cluster file, and who uses it: from this machine, or by the command `within` from another network."""

    host: Host
    file: Path
    within: tuple[str | Path, ...] = ()

    def ray(self, *words: str | Path) -> subprocess.Popen[str]:
        """One command of Ray's launcher; stdout and stderr of the far side are both on stdout."""
        return subprocess.Popen(
            [*self.within, Path(sys.executable).with_name("ray"), *map(str, words)],
            env=self.host.client(),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def up(self) -> str:
        return done(self.ray("up", "--yes", "--no-config-cache", self.file))

    def down(self) -> str:
        return done(self.ray("down", "--yes", self.file))

    def submit(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return self.ray("submit", "--no-config-cache", self.file, ROOT / "render.py", "--", *arguments)

    def rsync_up(self, source: Path, target: str) -> str:
        return done(self.ray("rsync-up", self.file, source, target))


def done(process: subprocess.Popen[str]) -> str:
    """What a command printed; fails where it did."""
    out, _ = process.communicate(timeout=UP_S)
    assert process.returncode == 0, out
    return out


def config_file(host: Host, head: str, workers: Sequence[str], changes: Mapping[str, Any]) -> Path:
    """The repository's cluster file, filled in as its head says, and with `changes`."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "cluster-local.yaml").read_text())
    token = host.folder / "token"
    token.mkdir()
    (token / "auth_token").write_text(secrets.token_hex(32))
    config |= {
        "cluster_name": host.folder.name,
        "provider": {"type": "local", "head_ip": head, "worker_ips": list(workers)},
        "auth": {"ssh_user": host.user, "ssh_private_key": str(host.key)},
        "file_mounts": {"~/.farm-cluster": str(token)},
    }
    file = host.folder / "cluster-local.yaml"
    file.write_text(yaml.safe_dump({**config, **changes}))
    return file


def alone(host: Host) -> Cluster:
    """A cluster of `host` that does not meet any other Ray of this machine.

    `ray stop` would end all of them, and they have the usual ports: it is left out, and the ports are others.
    """
    stop, start = yaml.safe_load((ROOT / "cluster-local.yaml").read_text())["head_start_ray_commands"]
    assert stop == "ray stop"
    assert "--port=6379 " in start
    gcs, client = free_ports(2)
    start = start.replace("--port=6379 ", f"--port={gcs} --ray-client-server-port={client} {HEAD} ")
    changes = {"head_start_ray_commands": [start], "worker_start_ray_commands": []}
    return Cluster(host, config_file(host, "127.0.0.1", [], changes))
