"""The shipped cluster files pass every rule, and each rule finds what it is there for."""

from __future__ import annotations

import copy
import importlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from farm.cli.main import main
from farm.clusterfile.check import findings, read
from farm.clusterfile.findings import Finding, fill_ins, open_places, tag_of
from tests.deploy.amazon import ROOT

SHIPPED = (
    "cluster.yaml",
    "cluster-local.yaml",
    "deploy/gcp/cluster.yaml",
    "deploy/kuberay/access.yaml",
    "deploy/kuberay/metrics.yaml",
    "deploy/kuberay/rayjob.yaml",
    "deploy/kuberay/rayservice.yaml",
)
WORDS = re.compile(
    r"(?<![A-Z_])(?:ACCOUNT|BUCKET|DATABASE|PASSWORD|PROJECT|PUBLIC_KEY|REGISTRY)(?![A-Z_])|192\.0\.2\.\d+"
)
Change = Callable[[dict[str, Any]], object]


def wrong(documents: list[dict[str, Any]]) -> list[Finding]:
    return [one for one in findings(documents) if not one.fill_in]


def changed(name: str, change: Change, number: int = 0) -> list[Finding]:
    documents = copy.deepcopy(read(ROOT / name))
    change(documents[number])
    return wrong(documents)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_file_has_nothing_to_mend_but_names_to_fill_in(name: str) -> None:
    found = findings(read(ROOT / name))
    assert [one for one in found if not one.fill_in] == []
    text = (ROOT / name).read_text()
    assert {one.what.split()[0] for one in found} == set(WORDS.findall(re.sub(r"#.*", "", text)))


def kind(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["available_node_types"][name]
    return found


AWS: dict[str, Change] = {
    "not a field": lambda d: d.update(cluster_nam="x"),
    "available_node_types.head.resources": lambda d: kind(d, "head").update(resources={"CPU": 4}),
    "available_node_types.g5-spot.resources": lambda d: kind(d, "g5-spot").update(resources={"CPU": 16, "GPU": 1}),
    "available_node_types.g6-spot.min_workers": lambda d: kind(d, "g6-spot").update(min_workers=1),
    "on demand before spot": lambda d: kind(d, "g6-ondemand").update(priority=99),
    "workers of one priority": lambda d: kind(d, "g5-spot").update(priority=30),
    "idle_timeout_minutes": lambda d: d.update(idle_timeout_minutes=11),
    "metadata.boot_minutes": lambda d: d.pop("metadata"),
    "docker.image": lambda d: d["docker"].update(image="x.example/face-farm:latest"),
    "docker.head_image": lambda d: d["docker"].update(head_image="x.example:5000/face-farm"),
    "no video codecs of the GPU": lambda d: d["docker"].update(worker_run_options=[]),
    "-e RAY_AUTH_MODE=token": lambda d: d["docker"].update(run_options=[]),
    "file_mounts": lambda d: d.update(file_mounts={}),
    "setup_commands": lambda d: d.pop("setup_commands"),
    "nodes join without a check": lambda d: d.update(worker_setup_commands=[]),
    "head_start_ray_commands": lambda d: d.update(head_start_ray_commands=["ray start --head"]),
    "listens on every address": lambda d: d.update(setup_commands=["serve --host 0.0.0.0"]),
    "opens a port to the whole internet": lambda d: d["provider"].update(
        security_group={"GroupName": "x", "IpPermissions": [{"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]}
    ),
    "provider.cache_stopped_nodes": lambda d: d["provider"].pop("cache_stopped_nodes"),
    "provider.availability_zone": lambda d: d["provider"].update(availability_zone="us-west-2a"),
    "a zone of another region": lambda d: d["provider"].update(availability_zone="us-west-2a,us-east-1b"),
    "g6-spot.node_config.IamInstanceProfile": lambda d: kind(d, "g6-spot")["node_config"].pop("IamInstanceProfile"),
    "workers that may launch machines": lambda d: kind(d, "g6-spot")["node_config"].update(
        IamInstanceProfile={"Name": "farm-head"}
    ),
    "head.node_config.MetadataOptions": lambda d: kind(d, "head")["node_config"].pop("MetadataOptions"),
    "port 22": lambda d: kind(d, "g5-spot")["node_config"].pop("LaunchTemplate"),
    "g6-ondemand.node_config.BlockDeviceMappings[0].Ebs": lambda d: kind(d, "g6-ondemand")["node_config"].update(
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 100}}]
    ),
    "workers that outlive a lost head": lambda d: d.update(initialization_commands=[]),
    "keeps its disk": lambda d: kind(d, "g6-ondemand")["node_config"].pop("InstanceInitiatedShutdownBehavior"),
    "nothing to fall back on": lambda d: d["available_node_types"].pop("g6-ondemand"),
    "labels.market": lambda d: kind(d, "g6-spot").update(labels={"market": "on-demand"}),
    "the head on spot": lambda d: kind(d, "head")["node_config"].update(InstanceMarketOptions={"MarketType": "spot"}),
}


@pytest.mark.parametrize("expected", AWS)
def test_a_fault_in_a_file_for_aws_is_found(expected: str) -> None:
    if expected == "not a field":
        assert any("cluster_nam" in str(one) for one in changed("cluster.yaml", AWS[expected]))
    else:
        assert any(expected in str(one) for one in changed("cluster.yaml", AWS[expected]))


GCP: dict[str, Change] = {
    "auth.ssh_private_key": lambda d: d["auth"].pop("ssh_private_key"),
    "provider.availability_zone": lambda d: d["provider"].update(availability_zone="us-west1-a"),
    "g2-spot.node_config.serviceAccounts": lambda d: kind(d, "g2-spot")["node_config"].pop("serviceAccounts"),
    "workers that may launch machines": lambda d: kind(d, "g2-spot")["node_config"].update(
        serviceAccounts=kind(d, "head")["node_config"]["serviceAccounts"]
    ),
    "head.node_config.networkInterfaces": lambda d: kind(d, "head")["node_config"].pop("networkInterfaces"),
    "everybody with a key of the project": lambda d: kind(d, "head")["node_config"].pop("metadata"),
    "as an object and not a list": lambda d: kind(d, "g2-spot")["node_config"].update(
        scheduling=[{"preemptible": True}]
    ),
    "instanceTerminationAction": lambda d: kind(d, "g2-spot")["node_config"]["scheduling"].pop(
        "instanceTerminationAction"
    ),
    "cannot read its token": lambda d: d["initialization_commands"].pop(1),
    "spot alone, or none": lambda d: d["available_node_types"].pop("g2-ondemand"),
}


@pytest.mark.parametrize("expected", GCP)
def test_a_fault_in_a_file_for_google_cloud_is_found(expected: str) -> None:
    assert any(expected in str(one) for one in changed("deploy/gcp/cluster.yaml", GCP[expected]))


def words(document: dict[str, Any], key: str, old: str, new: str) -> None:
    """Write something else into the commands of `key`."""
    assert any(old in command for command in document[key])
    document[key] = [command.replace(old, new) for command in document[key]]


HEAD, OTHERS = "head_start_ray_commands", "worker_start_ray_commands"
LOCAL: dict[str, Change] = {
    "available_node_types: Ray knows one kind": lambda d: d.update(available_node_types={"gpu": {"resources": {}}}),
    "lends machines to whoever asks": lambda d: d.update(
        provider={"type": "local", "coordinator_address": "192.0.2.10:8899"}, max_workers=2
    ),
    "provider.head_ip: not written": lambda d: d["provider"].pop("head_ip"),
    "provider.worker_ips: not written": lambda d: d["provider"].pop("worker_ips"),
    "provider.worker_ips[0]: 3 is no address": lambda d: d["provider"].update(worker_ips=[3]),
    "'192.0.2.11:22' is no address": lambda d: d["provider"].update(worker_ips=["192.0.2.11:22", "10.0.0.1; reboot"]),
    "'10.0.0.1; reboot' is no address": lambda d: d["provider"].update(worker_ips=["10.0.0.1; reboot"]),
    "192.0.2.10 is there twice": lambda d: d["provider"].update(worker_ips=["192.0.2.10"]),
    "another machine on each machine": lambda d: d["provider"].update(head_ip="127.0.0.1"),
    "min_workers: 1, of 2 machines": lambda d: d.update(min_workers=1),
    "max_workers: 8, of 2 machines": lambda d: d.update(max_workers=8),
    "rest for 5 minutes": lambda d: d.pop("idle_timeout_minutes"),
    "rest for 12 minutes": lambda d: d.update(idle_timeout_minutes=12),
    "cluster_name: 'my farm'": lambda d: d.update(cluster_name="my farm"),
    "auth.ssh_user: '$USER'": lambda d: d["auth"].update(ssh_user="$USER"),
    "a program that may do everything": lambda d: d["auth"].update(ssh_user="root"),
    "auth.ssh_private_key: not written": lambda d: d["auth"].pop("ssh_private_key"),
    "the public half": lambda d: d["auth"].update(ssh_private_key="~/.ssh/id_ed25519.pub"),
    "'~/my keys/id' would be taken apart": lambda d: d["auth"].update(ssh_private_key="~/my keys/id"),
    "'~/$TOKEN' would be taken apart": lambda d: d["file_mounts"].update({"~/token": "~/$TOKEN"}),
    "head_start_ray_commands: no Ray is started": lambda d: d.pop(HEAD),
    "worker_start_ray_commands: no Ray is started": lambda d: d.update({OTHERS: []}),
    "meets the Ray of the first one": lambda d: d[HEAD].pop(0),
    "port 6380, and the head's is 6379": lambda d: words(d, OTHERS, "6379", "6380"),
    "port 6379, and the head's is not written": lambda d: words(d, HEAD, "--port=6379", ""),
    "look for their head elsewhere": lambda d: words(d, OTHERS, "$RAY_HEAD_IP", "192.0.2.99"),
    "--num-gpus is said for all machines": lambda d: words(d, OTHERS, "ray start", "ray start --num-gpus=1"),
    "a dashboard for everybody": lambda d: words(d, HEAD, "--dashboard-host=127.0.0.1", ""),
    "listens on every address": lambda d: words(d, HEAD, "--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0"),
    "nobody starts Ray on the others": lambda d: words(d, HEAD, "--autoscaling-config=", "--x="),
    "takes the head of such a cluster for lost": lambda d: words(d, HEAD, "RAY_enable_autoscaler_v2=0", "A=0"),
    "a Ray that obeys everybody": lambda d: words(d, "setup_commands", "RAY_AUTH_MODE=token", "A=0"),
    "setup_commands: no token": lambda d: words(d, "setup_commands", "RAY_AUTH_TOKEN_PATH=", "A="),
    "nothing brings ~/.farm-cluster/auth_token": lambda d: d.update(file_mounts={}),
    "not a field": AWS["not a field"],
}


@pytest.mark.parametrize("expected", LOCAL)
def test_a_fault_in_a_file_of_ones_own_machines_is_found(expected: str) -> None:
    found = changed("cluster-local.yaml", LOCAL[expected])
    assert any(("cluster_nam" if expected == "not a field" else expected) in str(one) for one in found)


def test_one_machine_of_ones_own_is_a_farm() -> None:
    def alone(document: dict[str, Any]) -> None:
        document["provider"].update(head_ip="127.0.0.1", worker_ips=[])
        document.pop(OTHERS)

    assert changed("cluster-local.yaml", alone) == []


def test_every_word_of_one_character_less_is_told_in_kuberays_fields() -> None:
    """A misspelt name at any place of the manifest, down to the containers, is no field."""
    (document,) = read(ROOT / "deploy/kuberay/rayjob.yaml")
    free = {"labels", "rayStartParams", "nodeSelector", "limits", "requests"}  # the operator's own names
    places: list[list[str | int]] = []

    def walk(node: object, trail: list[str | int]) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                if not (trail and trail[-1] in free):
                    places.append([*trail, key])
                    walk(value, [*trail, key])
        elif isinstance(node, list):
            for number, value in enumerate(node):
                walk(value, [*trail, number])

    walk(document["spec"], [])
    assert len(places) > 150
    for trail in places:
        broken = json.loads(json.dumps(document))  # aliases of YAML become copies
        node: Any = broken["spec"]
        for step in trail[:-1]:
            node = node[step]
        node[f"{trail[-1]}s"] = node.pop(trail[-1])
        assert any("no such field" in one.what for one in wrong([broken])), trail


KUBERAY: dict[str, Change] = {
    "rayVersion": lambda d: d["spec"]["rayClusterSpec"].update(rayVersion="2.52.0"),
    "authOptions": lambda d: d["spec"]["rayClusterSpec"].pop("authOptions"),
    "no autoscaler v2": lambda d: d["spec"]["rayClusterSpec"]["autoscalerOptions"].update(version="v1"),
    "'v3' is not known": lambda d: d["spec"]["rayClusterSpec"]["autoscalerOptions"].update(version="v3"),
    "renderers may land on the head": lambda d: d["spec"]["rayClusterSpec"]["headGroupSpec"].update(rayStartParams={}),
    "'600' is no integer": lambda d: d["spec"].update(ttlSecondsAfterFinished="600"),
    "shutdownAfterJobFinishes": lambda d: d["spec"].pop("shutdownAfterJobFinishes"),
    "a port to the outside": lambda d: d["spec"]["rayClusterSpec"]["headGroupSpec"].update(serviceType="LoadBalancer"),
    "groups of one priority": lambda d: d["spec"]["rayClusterSpec"]["workerGroupSpecs"][1].update(priority=20),
    "minReplicas": lambda d: d["spec"]["rayClusterSpec"]["workerGroupSpecs"][0].update(minReplicas=1),
    "nobody would render": lambda d: d["spec"]["rayClusterSpec"].update(workerGroupSpecs=[]),
    "restartPolicy": lambda d: d["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"].pop("restartPolicy"),
    "a node with a small disk": lambda d: d["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"][
        "containers"
    ][0]["resources"]["requests"].pop("ephemeral-storage"),
    "may run as root": lambda d: d["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"].pop(
        "securityContext"
    ),
}


@pytest.mark.parametrize("expected", KUBERAY)
def test_a_fault_in_a_kuberay_manifest_is_found(expected: str) -> None:
    assert any(expected in str(one) for one in changed("deploy/kuberay/rayjob.yaml", KUBERAY[expected]))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("10.0.0.0/16", 0),
        ("110.0.0.0/8 and 10.0.0.0.", 0),
        ("0.0.0.0/0", 1),
        ("cidr=0.0.0.0/0,10.0.0.0/16", 1),
        ("::/0", 1),
        ("fd00::/08", 0),
        ("serve --host 0.0.0.0:8000", 1),
        ("listens on 0.0.0.0.", 1),
        ("-e BUCKET=mine -e PROJECT=$PROJECT", 0),
        ("-e PASSWORD --env DATABASE --env=REGISTRY", 0),
        ("-e BUCKET=BUCKET", 1),
        ("-e STORE=s3://BUCKET/state -e PROJECT=PROJECT", 2),
        ("REGISTRY=us.example; docker pull ${REGISTRY}/face-farm", 0),
        ("arn:aws:iam::ACCOUNT:role/farm", 1),
        ("MY_BUCKET and BUCKETS", 0),
    ],
)
def test_a_networks_address_and_a_variables_name_are_no_findings(text: str, told: int) -> None:
    document = {"docker": {"run_options": [text]}}
    assert len([*open_places(document), *fill_ins(document)]) == told


def test_a_pods_variables_may_have_any_name() -> None:
    named = {"name": "BUCKET", "valueFrom": {"secretKeyRef": {"name": "farm", "key": "PASSWORD"}}}
    assert list(fill_ins({"env": [named]})) == []
    assert len(list(fill_ins({"env": [{"name": "BUCKET", "value": "BUCKET"}]}))) == 1


def test_the_rayservice_holds_the_application_of_serve_yaml() -> None:
    """The same, but that in a pod the port is for other pods, which the NetworkPolicy chooses."""
    from farm.api.ingress import Args, app  # noqa: PLC0415 - loads Ray Serve

    alone = read(ROOT / "deploy/serve.yaml")[0]
    (service,) = read(ROOT / "deploy/kuberay/rayservice.yaml")
    inside = yaml.safe_load(service["spec"]["serveConfigV2"])
    assert inside["http_options"].pop("host") == "0.0.0.0"
    assert alone["http_options"].pop("host") == "127.0.0.1"
    assert inside == alone
    (application,) = alone["applications"]
    module, _, name = application["import_path"].partition(":")
    assert getattr(importlib.import_module(module), name) is app
    args = Args(**application["args"])
    assert args.replicas == 4
    with pytest.raises(InputError, match="SQLite serves one machine"):
        app(args.model_copy(update={"database": "sqlite:////data/farm.db"}))


def test_the_image_makes_calls_as_cheap_as_the_service_that_is_brought_up_here() -> None:
    from farm.demo.onserve import CHEAP  # noqa: PLC0415 - nothing else here needs it

    (told,) = re.findall(
        r"^ENV (.+(?:(?<=\\)\n.+)*)", (ROOT / "Dockerfile").read_text().split("AS farm")[1], re.MULTILINE
    )
    words = dict(word.split("=", 1) for word in told.replace("\\\n", " ").split())
    assert {name: value for name, value in words.items() if name.startswith(("RAY_SERVE_", "RAY_worker"))} == CHEAP


def test_the_images_of_all_files_are_those_of_the_locked_ray() -> None:
    (locked,) = re.findall(r"^ray==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert locked == ray.__version__
    (version,) = re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    for name in (*SHIPPED, "Dockerfile"):
        for image in re.findall(r"\S*face-farm:\S+", (ROOT / name).read_text()):
            assert re.fullmatch(rf"{re.escape(version)}-ray{re.escape(locked)}-(cpu|gpu)", tag_of(image)), (name, image)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "describes no cluster"),
        ("- 1", "describes no cluster"),
        ("a: [", "is no YAML, line"),
        ("provider: {type: azure}", "no rules for provider 'azure'"),
        ("provider: 3", "describes no cluster"),
    ],
)
def test_what_is_no_clusters_file_is_one_line(text: str, said: str, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "some.yaml"
    file.write_text(text)
    assert main(["cluster", "check", str(file)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert str(file) in lines[0]


def spots(node: object, trail: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place of a document, but its root."""
    below = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [spot for key, value in below for spot in ((*trail, key), *spots(value, (*trail, key)))]


ODD = [None, 3, -1.5, [], {}, "x", True, [{}], ["x", 3], {"x": {}}]
TEXTS = {name: json.dumps(read(ROOT / name)) for name in SHIPPED}


@settings(max_examples=100)
@given(data=st.data())
def test_a_half_written_file_is_findings_or_one_line_and_no_fault_of_ours(data: st.DataObject) -> None:
    """At any place something else may stand, or nothing."""
    documents = json.loads(TEXTS[data.draw(st.sampled_from(SHIPPED))])
    for spot in data.draw(st.lists(st.sampled_from(spots(documents)), min_size=1, max_size=3)):
        node: Any = documents
        try:
            for step in spot[:-1]:
                node = node[step]
            if data.draw(st.booleans()) and isinstance(node, dict):
                node.pop(spot[-1])
            else:
                node[spot[-1]] = data.draw(
                    st.sampled_from([None, 3, -1.5, [], {}, "x", True, [{}], ["x", 3], {"x": {}}])
                )
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took that place away
    try:
        if not all(isinstance(document, dict) for document in documents):
            return  # `read` refuses it
        findings(documents)
    except InputError:
        pass


def test_the_command_tells_findings_on_stdout_and_by_its_code(capsys: Any) -> None:
    files = [str(ROOT / name) for name in SHIPPED]
    assert main(["cluster", "check", "--as-shipped", *files]) == 0
    assert capsys.readouterr().out.count("nothing to mend") == len(files)
    assert main(["cluster", "check", "--json", files[0]]) == 2
    told = json.loads(capsys.readouterr().out)
    assert not told["ok"]
    assert all(one["fill_in"] for one in told["findings"][files[0]])
