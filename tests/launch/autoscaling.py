"""A Ray head without workers and Ray's own autoscaler (v2), which brings up nodes on this machine with logical GPUs.

The provider is Ray's FakeMultiNodeProvider: its nodes are raylets of this machine that say they have GPUs. All that is
between a demand and a node is what runs in a cloud, but for the call that rents a machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from ray.util import get_node_ip_address

from tests.launch.sshd import MARK, ROOT, SLOW, end, free_ports, short_folder, started_with

HEAD_ID = "f" * 51 + "00000"  # as the provider wants the head's; its workers count on from it
HEAD_TYPE = "ray.head.default"  # the provider's own word for it
START_S = 120.0
LISTS = (
    "initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
    "head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter",
)  # fmt: skip


@dataclass(frozen=True)
class Growing:
    """`address` is the head's; `environment` what a process needs to be let in."""

    address: str
    folder: Path
    environment: Mapping[str, str]

    def processes(self) -> list[psutil.Process]:
        """Everything that runs for it on this machine."""
        return started_with(self.folder)


def cluster_file(address: str, types: Mapping[str, Mapping[str, Any]], idle_minutes: float) -> dict[str, Any]:
    """A cluster file: a head without CPUs at `address`, and worker `types` by name."""
    head: dict[str, Any] = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    return {
        "cluster_name": "growing",
        "max_workers": sum(kind["max_workers"] for kind in types.values()),
        "idle_timeout_minutes": idle_minutes,
        "upscaling_speed": 10,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "head_node_id": HEAD_ID,
            "gcs_address": address,
            "launch_multiple": True,
            "disable_node_updaters": True,
        },
        "auth": {"ssh_user": "root"},
        "available_node_types": {HEAD_TYPE: head, **types},
        "head_node_type": HEAD_TYPE,
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        **{name: [] for name in LISTS},  # Ray 2.60 reads all of them
    }


@contextmanager
def growing(types: Mapping[str, Mapping[str, Any]], *, idle_s: float) -> Iterator[Growing]:
    """The head with its autoscaler; all of its processes end with the context."""
    with short_folder() as folder:
        file = folder / "cluster.yaml"
        gcs, client = free_ports(2)
        address = f"{get_node_ip_address()}:{gcs}"  # type: ignore[no-untyped-call]
        file.write_text(yaml.safe_dump(cluster_file(address, types, idle_s / 60)))
        dropped = {"RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"}
        environment = {
            **{name: value for name, value in os.environ.items() if name not in dropped},
            MARK: str(folder),
            "RAY_TMPDIR": str(folder),
            "PYTHONPATH": str(ROOT),
            **SLOW,
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        autoscaler = {
            "RAY_FAKE_CLUSTER": "1",
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        }
        try:
            words = [
                f"--port={gcs}", f"--ray-client-server-port={client}", "--dashboard-agent-listen-port=0",
                "--include-dashboard=false", "--num-cpus=0", "--num-gpus=0", "--object-store-memory=104857600",
                f"--autoscaling-config={file}",
            ]  # fmt: skip
            started = subprocess.run(
                [Path(sys.executable).with_name("ray"), "start", "--head", *words],
                check=False,
                env=environment | autoscaler,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=START_S,
            )
            assert started.returncode == 0, started.stdout
            yield Growing(address, folder, environment)
        finally:
            end(started_with(folder))
