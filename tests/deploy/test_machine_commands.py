"""What a machine is told to do before its container, as the shipped files write it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from ray.autoscaler.sdk import get_docker_host_mount_location

from farm.clusterfile.check import read
from tests.deploy.amazon import ROOT

FILES = ("cluster.yaml", "deploy/gcp/cluster.yaml")

# The machine's programs, as far as they tell a first time from a second one. `$HERE` is the test's folder.
PROGRAMS = {
    "sudo": 'exec "$@"',
    "sleep": ":",
    "systemd-run": '[ -e "$HERE/$2.timer" ] && { echo "Unit $2.timer was already loaded" >&2; exit 1; }\n'
    'touch "$HERE/$2.timer"; echo run >> "$HERE/runs"',
    "systemctl": '[ "$1 $2" = "is-active -q" ] && [ -e "$HERE/$3" ]',
    "id": '[ -e "$HERE/docker" ] && echo farm docker || echo farm',
    "usermod": '[ -e "$HERE/docker" ] && exit 1; touch "$HERE/docker"',
    "install": "shift; mkdir -p $HERE/disk",
    "docker": "cat > /dev/null",
    "aws": "echo password",
    "gcloud": ":",
}


def machine(folder: Path, programs: Mapping[str, str]) -> dict[str, str]:
    """Programs of the test's own before all others, and the environment to run commands in."""
    for name, body in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    return {"HERE": str(folder), "USER": "farm", "PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.parametrize("file", FILES)
def test_a_machines_commands_may_run_again_after_a_set_up_that_broke_off(file: str, tmp_path: Path) -> None:
    """Ray's installer of workers tries a node three times, all commands from the first one on."""
    (document,) = read(ROOT / file)
    mounts = tmp_path / "mounts"
    (mounts / "farm/~/.farm-cluster").mkdir(parents=True)
    (tmp_path / "nvidia0").touch()
    environment = machine(tmp_path, PROGRAMS)
    for _ in range(2):
        for command in document["initialization_commands"]:
            here = command.replace("/dev/nvidia0", f"{tmp_path}/nvidia0").replace("/tmp/ray_tmp_mount", str(mounts))
            done = subprocess.run(["bash", "-c", here], env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (command, done.stderr)
    assert (tmp_path / "runs").read_text() == "run\n"


def test_a_container_of_another_number_reads_what_was_brought_to_a_machine_of_google(tmp_path: Path) -> None:
    """Ray copies `file_mounts` with their modes, as SSH's user, below a folder that it mounts into the container."""
    (document,) = read(ROOT / "deploy/gcp/cluster.yaml")
    (target,) = document["file_mounts"]
    place = get_docker_host_mount_location(document["cluster_name"])
    mounted = tmp_path / place.lstrip("/") / target
    mounted.mkdir(mode=0o700, parents=True)
    for name in ("auth_token", "aws"):
        (mounted / name).touch(mode=0o600)
    (command,) = [text for text in document["initialization_commands"] if "chmod" in text]
    subprocess.run(["bash", "-c", command.replace("/tmp/", f"{tmp_path}/tmp/")], check=True)
    assert mounted.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in mounted.iterdir()} == {0o644}


def test_a_worker_without_ray_shuts_itself_down_at_the_second_look(tmp_path: Path) -> None:
    """The timer's command as it is written, with `pgrep` and `shutdown` of the test's own and /run in a folder."""
    (command,) = [text for text in read(ROOT / "cluster.yaml")[0]["initialization_commands"] if "raylet" in text]
    (script,) = re.findall(r"/bin/sh -c\s+'(.*)'", command, re.DOTALL)
    environment = machine(tmp_path, {"pgrep": 'test -e "$HERE/raylet"', "shutdown": 'touch "$HERE/off"'})

    def look() -> bool:
        words = ["/bin/sh", "-c", script.replace("/run/", f"{tmp_path}/run-")]
        subprocess.run(words, env=environment, check=True)
        return (tmp_path / "off").exists()

    (tmp_path / "raylet").touch()
    assert not look()
    assert not look()
    (tmp_path / "raylet").unlink()
    assert not look()  # `ray up` restarts Ray: one look without is none
    (tmp_path / "raylet").touch()
    assert not look()
    (tmp_path / "raylet").unlink()
    assert not look()
    assert look()
