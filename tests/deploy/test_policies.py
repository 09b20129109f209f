"""The roles of deploy/iam and the stack of deploy/aws: one text, no excess, and the linter finds nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from farm.clusterfile.check import read
from farm.clusterfile.findings import OPEN_TO_ALL, leaves
from tests.deploy.amazon import BUCKET, REGION, ROOT, Amazon, filled
from tests.deploy.rights import allows, s3_needs
from tests.faces_assets import astronaut, slow_carphone
from tests.media_clips import make_clip
from tests.system.runs import farm, farm_here

UNFINISHED = "s3:ListBucketMultipartUploads"  # the driver's sweep
ROLES = ("head", "worker", "operator")


def policy(name: str) -> dict[str, Any]:
    """deploy/iam/NAME.json with an operator's names in it."""
    found: dict[str, Any] = json.loads(filled((ROOT / f"deploy/iam/{name}.json").read_text()).replace("REGION", REGION))
    return found


@pytest.mark.parametrize("name", ROLES)
def test_the_stack_makes_the_policies_of_the_folder(raised: Amazon, name: str) -> None:
    iam = raised.client("iam")
    arn = f"arn:aws:iam::123456789012:policy/farm-{name}"
    version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    assert iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"] == policy(name)
    if name != "operator":
        (attached,) = iam.list_attached_role_policies(RoleName=f"farm-{name}")["AttachedPolicies"]
        assert attached["PolicyArn"] == arn
        (role,) = iam.get_instance_profile(InstanceProfileName=f"farm-{name}")["InstanceProfile"]["Roles"]
        assert role["RoleName"] == f"farm-{name}"


@pytest.mark.parametrize("name", ROLES)
def test_no_policy_allows_all_of_a_service_or_of_an_account(name: str) -> None:
    for statement in policy(name)["Statement"]:
        assert statement["Effect"] == "Allow"
        for action in statement["Action"]:
            assert "*" not in action
            # What has no resource to name: descriptions, and the token that a registry's login is made of.
            if statement["Resource"] == "*":
                assert action.startswith("ec2:Describe") or action == "ecr:GetAuthorizationToken", action


def test_a_worker_has_no_business_with_machines_and_writes_to_the_store_alone() -> None:
    worker = policy("worker")["Statement"]
    assert {action.split(":")[0] for part in worker for action in part["Action"]} == {"s3", "ecr"}
    (writes,) = [part["Resource"] for part in worker if "s3:PutObject" in part["Action"]]
    stores = ("state/*", "out/*.farm/*", "films/*.cast/store/*", "casts/*/store/*")
    stores = (*stores, "service/jobs/*/store/*", "engines/*")
    assert writes == [f"arn:aws:s3:::{BUCKET}/{place}" for place in stores]


@pytest.mark.parametrize("file", ["deploy/serve.yaml", "deploy/kuberay/rayservice.yaml"])
def test_what_a_service_keeps_lies_where_nothing_expires(file: str) -> None:
    (data,) = re.findall(r"data: s3://BUCKET/(\S+)", (ROOT / file).read_text())
    expiring = re.findall(r"Prefix: (\S+?), ExpirationInDays", (ROOT / "deploy/aws/foundation.yaml").read_text())
    assert expiring == ["state/"]
    assert not f"{data}/".startswith(tuple(expiring))
    assert f"arn:aws:s3:::{BUCKET}/{data}/*" in json.dumps(policy("head"))


@pytest.mark.parametrize(
    "store",
    [
        pytest.param([], id="beside", marks=pytest.mark.heavy),
        pytest.param(["--store", f"s3://{BUCKET}/state"], id="state"),
    ],
)
def test_a_render_asks_nothing_of_s3_that_the_roles_refuse(
    raised: Amazon, store: list[str], clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver's requests by the head's policy; those on film and store, which are the renderers' too, by both."""
    key = f"AKIA{'STATE' if store else 'BESIDE'}"
    for name, value in raised.environment(key).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    raised.client("s3").upload_file(str(make_clip("h264_m4v", clips)), BUCKET, "films/film.m4v")
    out = f"s3://{BUCKET}/out/{key}.m4v"
    ran = farm_here("render", f"s3://{BUCKET}/films/film.m4v", "-o", out, "--swapper", "none", "--local", *store)
    assert ran.code == 0, ran.err
    wanted = asked_for(raised, key)
    assert ("s3:PutObject", f"arn:aws:s3:::{BUCKET}/out/{key}.m4v") in wanted
    assert refused("head", wanted) == []
    shared = [need for need in wanted if f"{key}.m4v" not in need[1].rpartition("/")[2] and need[0] != UNFINISHED]
    assert any(action == "s3:PutObject" for action, _ in shared)
    assert refused("worker", set(shared)) == []


def asked_for(here: Amazon, key: str) -> set[tuple[str, str]]:
    """The rights that all requests signed with `key` needed, as (action, resource)."""
    return {need[:2] for call in here.of(key) if call.service == "s3" for need in s3_needs(call)}


def refused(name: str, wanted: set[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted(need for need in wanted if not allows(policy(name), (*need, {})))


PUBLISHED = re.compile(r"/store/analysis/[0-9a-f]{64}/(\d+-[0-9a-f]{8}\.(shots\.)?parquet|DONE\.json)$")


@pytest.mark.parametrize(
    "named",
    [
        pytest.param([], id="beside", marks=pytest.mark.heavy),
        pytest.param(["-o", f"s3://{BUCKET}/casts/people"], id="casts", marks=pytest.mark.heavy),
    ],
)
def test_a_cast_asks_nothing_of_s3_that_the_roles_refuse(
    raised: Amazon, named: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All by the head's policy; what the renderers of its analysis publish by theirs. `named`: where the cast goes."""
    key = f"AKIACAST{len(named)}"
    for name, value in raised.environment(key).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    film = slow_carphone(tmp_path / "people.mp4", seconds=2, rate=1)
    raised.client("s3").upload_file(str(film), BUCKET, f"films/{key}.mp4")
    ran = farm_here("cast", f"s3://{BUCKET}/films/{key}.mp4", *named, "--local")
    assert ran.code == 0, ran.err
    wanted = asked_for(raised, key)
    cast = f"arn:aws:s3:::{BUCKET}/{'casts/people' if named else f'films/{key}.cast'}"
    assert ("s3:PutObject", f"{cast}/cast.toml") in wanted
    assert refused("head", wanted) == []
    published = {need for need in wanted if PUBLISHED.search(need[1])}
    assert {action for action, _ in published} >= {"s3:PutObject", "s3:GetObject"}
    assert refused("worker", published) == []
    assert refused("worker", {("s3:PutObject", f"{cast}/cast.toml")}) != []


@pytest.mark.heavy
def test_renderers_on_ray_with_keys_of_their_own_ask_nothing_that_their_role_refuses(
    raised: Amazon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nodes of a cluster have one key and the driver has another: what each asked for, by its own policy."""
    from tests.chaos.cluster import SETTINGS, RayCluster  # noqa: PLC0415 - needs psutil

    film = slow_carphone(tmp_path / "people.mp4", seconds=6, rate=1)
    Image.fromarray(astronaut()).save(tmp_path / "face.png")
    files = raised.client("s3")
    files.upload_file(str(film), BUCKET, "films/crew.mp4")
    files.upload_file(str(tmp_path / "face.png"), BUCKET, "films/face.png")
    for name, value in (raised.environment("AKIANODES") | SETTINGS).items():
        monkeypatch.setenv(name, value)
    cluster = RayCluster(1)
    try:
        for name, value in raised.environment("AKIADRIVER").items():
            monkeypatch.setenv(name, value)
        here = ["--address", cluster.address, "--segment-seconds", "2"]
        target, face = f"s3://{BUCKET}/films/crew.mp4", f"s3://{BUCKET}/films/face.png"
        assert farm("cast", target, *here[:2]).code == 0
        assert farm("cast", target, "-o", f"s3://{BUCKET}/casts/crew", *here[:2]).code == 0
        for number, more in enumerate(([], ["--store", f"s3://{BUCKET}/state/people"], ["--quality"])):
            out = f"s3://{BUCKET}/out/people-{number}.mp4"
            ran = farm("render", target, "--source", face, "-o", out, *here, *more)
            assert ran.code == 0, ran.err
    finally:
        cluster.end()
    nodes, driver = asked_for(raised, "AKIANODES"), asked_for(raised, "AKIADRIVER")
    written = {resource for action, resource in nodes if action == "s3:PutObject"}
    for place in ("films/crew.cast/store/analysis", "casts/crew/store/analysis", "out/people-0.mp4.farm/segments"):
        assert any(f"/{place}/" in resource for resource in written), place
    assert refused("worker", nodes) == []
    assert refused("head", driver) == []


def test_the_head_launches_the_types_of_the_cluster_and_no_other() -> None:
    (cluster,) = read(ROOT / "cluster.yaml")
    types = {name: kind["node_config"]["InstanceType"] for name, kind in cluster["available_node_types"].items()}
    for name, machines in (("head", {types[kind] for kind in types if kind != "head"}), ("operator", {types["head"]})):
        (launch,) = [part for part in policy(name)["Statement"] if part["Sid"] == "LaunchNodes"]
        said = launch["Condition"]["StringEquals"]
        assert set(said["ec2:InstanceType"]) == machines
        assert said["aws:RequestTag/ray-cluster-name"] == cluster["cluster_name"]
        assert said["ec2:MetadataHttpTokens"] == "required"


@pytest.mark.heavy
def test_the_linter_of_cloudformation_finds_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("cfn-lint")), "--regions", REGION, "--", "deploy/aws/foundation.yaml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_stack_opens_ssh_to_the_administrator_alone() -> None:
    stack = yaml.safe_load((ROOT / "deploy/aws/foundation.yaml").read_text())
    assert not [where for where, value in leaves(stack) if isinstance(value, str) and value in OPEN_TO_ALL]
    groups = [one for one in stack["Resources"].values() if one["Type"] == "AWS::EC2::SecurityGroup"]
    rules = [rule for group in groups for rule in group["Properties"].get("SecurityGroupIngress", ())]
    assert [(rule["FromPort"], rule["ToPort"], rule["CidrIp"]) for rule in rules] == [(22, 22, {"Ref": "AdminCidr"})]
    (bucket,) = [one["Properties"] for one in stack["Resources"].values() if one["Type"] == "AWS::S3::Bucket"]
    assert all(bucket["PublicAccessBlockConfiguration"].values())
