"""`ray up` and `ray down` on cluster.yaml, and the head's own launches, against moto's EC2 over HTTP.

Only what would go through SSH is stood in for (tests/deploy/remote.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.deploy.amazon import ACCOUNT, BUCKET, REGION, ROOT, Amazon, filled
from tests.deploy.remote import asked, put_tools
from tests.deploy.rights import allows, needs

pytestmark = pytest.mark.heavy  # `make check-clusters` runs it

OPERATOR, HEAD = "AKIAOPERATOR", "AKIAHEAD"
WAIT_S = 60.0


@dataclass(frozen=True)
class Launched:
    """A cluster after `ray up`, and where its remote ends are kept."""

    here: Amazon
    folder: Path
    file: Path
    environment: dict[str, str]

    def ray(self, *words: str) -> str:
        done = subprocess.run(
            [str(Path(sys.executable).with_name("ray")), *words],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def instances(self) -> list[dict[str, Any]]:
        pages = self.here.client("ec2").describe_instances(
            Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}]
        )
        return [one for page in pages["Reservations"] for one in page["Instances"]]


def tags(instance: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in instance["Tags"]}


@pytest.fixture(scope="module")
def launched(raised: Amazon, tmp_path_factory: pytest.TempPathFactory) -> Launched:
    folder = tmp_path_factory.mktemp("up")
    tools = put_tools(folder)
    (folder / ".farm-cluster").mkdir(mode=0o700)
    (folder / ".farm-cluster" / "auth_token").write_text("0" * 64)
    file = folder / "cluster.yaml"
    file.write_text(filled((ROOT / "cluster.yaml").read_text()))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RAY_"))},
        **raised.environment(OPERATOR),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PATH": f"{tools}:{os.environ['PATH']}",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    cluster = Launched(raised, folder, file, environment)
    cluster.ray("up", "--yes", "--no-config-cache", str(file))
    return cluster


def test_the_head_is_launched_as_the_file_says(launched: Launched) -> None:
    (head,) = [one for one in launched.instances() if tags(one)["ray-node-type"] == "head"]
    assert head["InstanceType"] == "m7i.xlarge"
    assert "InstanceLifecycle" not in head  # not on spot
    assert head["IamInstanceProfile"]["Arn"].endswith(f"{ACCOUNT}:instance-profile/farm-head")
    assert head["MetadataOptions"]["HttpTokens"] == "required"
    groups = {group["GroupName"] for group in head["SecurityGroups"]}
    assert groups == {"farm-nodes", "farm-head"}
    assert head["Placement"]["AvailabilityZone"] == "us-west-2a"
    assert tags(head)["ray-node-status"] == "up-to-date"


def test_nothing_is_open_to_the_internet(launched: Launched) -> None:
    groups = launched.here.client("ec2").describe_security_groups()["SecurityGroups"]
    ours = [group for group in groups if group["GroupName"].startswith(("farm", "ray"))]
    assert {group["GroupName"] for group in ours} == {"farm-nodes", "farm-head"}  # Ray made none of its own
    ranges = [entry["CidrIp"] for group in ours for rule in group["IpPermissions"] for entry in rule["IpRanges"]]
    assert ranges == ["203.0.113.7/32"]


def test_the_head_is_set_up_in_the_order_that_works(launched: Launched) -> None:
    commands = [command for tool, command in asked(launched.folder) if tool == "ssh"]
    steps = [
        "sudo install -d -o 1000",
        "usermod -aG docker",
        "docker login",  # before the pull
        "docker image inspect",
        "docker run --rm --name farm",
        "farm doctor --no-ray --folder /tmp",
        "ray start --head",
    ]
    found = [next(number for number, command in enumerate(commands) if step in command) for step in steps]
    assert found == sorted(found)
    run = commands[found[steps.index("docker run --rm --name farm")]]
    registry = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
    assert f"{registry}/face-farm:0.1.0-ray2.60.0-cpu bash" in run
    assert "-e RAY_AUTH_MODE=token" in run
    assert "--net=host" in run
    assert ":/home/farm/.farm-cluster" in run  # the token, where RAY_AUTH_TOKEN_PATH looks for it
    start = commands[found[-1]]
    assert "--dashboard-host=127.0.0.1" in start
    assert "RAY_enable_autoscaler_v2=1" in start.replace('"', "").replace("'", "")


def test_the_heads_autoscaler_launches_and_sets_up_every_kind_of_worker(
    launched: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**launched.here.environment(HEAD), "HOME": str(launched.folder)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", launched.environment["PATH"])
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider  # noqa: PLC0415
    from ray.autoscaler._private.aws.utils import client_cache, resource_cache  # noqa: PLC0415
    from ray.autoscaler.v2.instance_manager.config import FileConfigReader  # noqa: PLC0415
    from ray.autoscaler.v2.instance_manager.node_provider import NodeProviderAdapter  # noqa: PLC0415
    from ray.autoscaler.v2.instance_manager.ray_installer import RayInstaller  # noqa: PLC0415
    from ray.core.generated.instance_manager_pb2 import Instance  # noqa: PLC0415

    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it remembers the credentials of whoever came first
    resource_cache.cache_clear()
    client_cache.cache_clear()
    # What `ray up` brought to the head, read as the head's autoscaler reads it.
    reader = FileConfigReader(str(launched.folder / "ray_bootstrap_config.yaml"), skip_content_hash=True)
    config = reader.get_cached_autoscaling_config()
    provider = AWSNodeProvider(config.get_provider_config(), "farm")
    adapter = NodeProviderAdapter(provider, reader)
    wanted = {"g6-spot": 1, "g5-spot": 1, "g6-ondemand": 1}  # moto launches MinCount machines, which is one
    before = {one["InstanceId"] for one in launched.instances()}
    adapter.launch(wanted, "request-1")
    workers: list[dict[str, Any]] = []
    until = time.monotonic() + WAIT_S
    while len(workers) < sum(wanted.values()) and time.monotonic() < until:
        assert not adapter.poll_errors()
        adapter.get_non_terminated()  # as the autoscaler does in every round: it is what fills the provider's cache
        workers = [one for one in launched.instances() if one["InstanceId"] not in before]
    kinds = sorted((one["InstanceType"], one.get("InstanceLifecycle", "bought")) for one in workers)
    assert kinds == [("g5.2xlarge", "spot"), ("g6.2xlarge", "bought"), ("g6.2xlarge", "spot")]
    for one in workers:
        assert one["IamInstanceProfile"]["Arn"].endswith("instance-profile/farm-worker")
        assert one["MetadataOptions"]["HttpTokens"] == "required"
        assert [group["GroupName"] for group in one["SecurityGroups"]] == ["farm-nodes"]

    first = workers[0]
    since = len(asked(launched.folder))
    key = launched.folder / "ray_bootstrap_key.pem"  # on the head it lies in the home folder
    assert key.exists()
    instance = Instance(instance_id="1", cloud_instance_id=first["InstanceId"], instance_type="g6-spot")
    RayInstaller(provider, config).install_ray(instance, "10.0.0.5")
    calls = asked(launched.folder)[since:]
    commands = [command for tool, command in calls if tool == "ssh"]
    (run,) = [command for command in commands if "docker run" in command]
    assert "face-farm:0.1.0-ray2.60.0-gpu bash" in run
    assert "--runtime=nvidia" in run
    assert "-e NVIDIA_DRIVER_CAPABILITIES=compute,utility,video" in run
    doctor = next(number for number, command in enumerate(commands) if "--need cuda" in command)
    start = next(number for number, command in enumerate(commands) if "--address=" in command)
    assert doctor < start
    assert any("RAY_HEAD_IP=10.0.0.5" in command.replace('"', "").replace("'", "") for command in commands)
    provider.terminate_nodes([one["InstanceId"] for one in workers])
    assert {one["InstanceId"] for one in launched.instances()} == before


def test_ray_down_ends_every_machine(launched: Launched) -> None:
    (launched.folder / "running").touch()
    launched.ray("down", "--yes", str(launched.file))
    assert launched.instances() == []


@pytest.mark.parametrize(("key", "name"), [(OPERATOR, "operator"), (HEAD, "head")])
def test_the_roles_allow_what_was_asked_and_nothing_of_ec2_beyond(launched: Launched, key: str, name: str) -> None:
    """After all the above: every request was covered by the policy, and every EC2 action in it was needed."""
    text = (ROOT / f"deploy/iam/{name}.json").read_text()
    policy = json.loads(filled(text).replace("REGION", REGION))
    wanted = [need for call in launched.here.of(key) if call.service == "ec2" for need in needs(call)]
    assert wanted
    refused = [need for need in wanted if not allows(policy, need)]
    assert not refused, refused
    given = {
        action for part in policy["Statement"] for action in part["Action"] if not action.startswith(("s3", "ecr"))
    }
    assert given == {action for action, _, _ in wanted}
    assert BUCKET in json.dumps(policy)
