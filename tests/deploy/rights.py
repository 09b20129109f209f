"""IAM's rule of evaluation, as far as the farm's policies go: Allow statements, patterns, three kinds of conditions.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html: an action on several resources
needs leave for each of them, and a condition's key that a resource does not have makes the statement not apply to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from tests.deploy.amazon import ACCOUNT, REGION, Call

EC2 = f"arn:aws:ec2:{REGION}:{ACCOUNT}:"
Need = tuple[str, str, dict[str, str]]  # action, resource, what the request says of it


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def allows(policy: dict[str, Any], need: Need) -> bool:
    """Whether one of the policy's statements lets the action happen to the resource."""
    action, resource, said = need
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        if not any(fnmatchcase(action, pattern) for pattern in listed(statement["Action"])):
            continue
        if not any(fnmatchcase(resource, pattern) for pattern in listed(statement["Resource"])):
            continue
        conditions = statement.get("Condition", {})
        assert set(conditions) <= {"StringEquals", "ArnEquals"}
        if all(said.get(key) in listed(wanted) for some in conditions.values() for key, wanted in some.items()):
            return True
    return False


def s3_needs(call: Call) -> Iterator[Need]:
    """What one S3 request needs leave for.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations.html, "Permissions" of each operation
    """
    _, bucket, *rest = call.path.split("/", 2)
    key = rest[0] if rest else ""
    place = f"arn:aws:s3:::{bucket}" + (f"/{key}" if key else "")
    asked = call.parameters
    if not key:
        if "delete" in asked:
            for name in re.findall(r"<Key>([^<]+)</Key>", call.body.decode()):
                yield "s3:DeleteObject", f"{place}/{name}", {}
            return
        actions = {"uploads": "ListBucketMultipartUploads", "versioning": "GetBucketVersioning"}
        actions |= {"object-lock": "GetBucketObjectLockConfiguration", "location": "GetBucketLocation"}
        special = [action for word, action in actions.items() if word in asked]
        assert call.method in {"GET", "HEAD"}, call
        yield f"s3:{special[0] if special else 'ListBucket'}", place, {}
    elif call.method == "DELETE":
        yield ("s3:AbortMultipartUpload" if "uploadId" in asked else "s3:DeleteObject"), place, {}
    else:
        yield ("s3:GetObject" if call.method in {"GET", "HEAD"} else "s3:PutObject"), place, {}


def values(parameters: dict[str, str], pattern: str) -> list[str]:
    """The parameters whose name fits, in order: EC2 writes lists as Name.1, Name.2."""
    return [value for name, value in parameters.items() if re.fullmatch(pattern, name)]


def needs(call: Call) -> Iterator[Need]:
    """What one EC2 request needs leave for."""
    asked = call.parameters
    action = f"ec2:{asked['Action']}"
    if asked["Action"] == "RunInstances":
        yield from launch(action, asked)
    elif asked["Action"] == "CreateTags":
        for name in values(asked, r"ResourceId\.\d+"):
            yield action, f"{EC2}instance/{name}", {"aws:ResourceTag/ray-cluster-name": "farm"}
    elif asked["Action"] == "TerminateInstances":
        for name in values(asked, r"InstanceId\.\d+"):
            yield action, f"{EC2}instance/{name}", {"aws:ResourceTag/ray-cluster-name": "farm"}
    elif asked["Action"] == "CreateKeyPair":
        yield action, f"{EC2}key-pair/{asked['KeyName']}", {}
    else:
        yield action, "*", {}  # Describe actions know no resources


def launch(action: str, asked: dict[str, str]) -> Iterator[Need]:
    tags = dict(
        zip(
            values(asked, r"TagSpecification\.\d+\.Tag\.\d+\.Key"),
            values(asked, r"TagSpecification\.\d+\.Tag\.\d+\.Value"),
            strict=True,
        )
    )
    profile = asked["IamInstanceProfile.Name"]
    said = {f"aws:RequestTag/{key}": value for key, value in tags.items()} | {
        "ec2:InstanceType": asked["InstanceType"],
        "ec2:MetadataHttpTokens": asked.get("MetadataOptions.HttpTokens", "optional"),
        "ec2:InstanceProfile": f"arn:aws:iam::{ACCOUNT}:instance-profile/{profile}",
    }
    yield action, f"{EC2}instance/i-new", said
    yield action, f"{EC2}volume/vol-new", {}
    yield action, f"{EC2}network-interface/eni-new", {}
    yield action, f"arn:aws:ec2:{REGION}::image/{asked['ImageId']}", {}
    yield action, f"{EC2}subnet/{asked['SubnetId']}", {}
    yield action, f"{EC2}key-pair/{asked['KeyName']}", {}
    yield action, f"{EC2}launch-template/lt-farm", {}
    for group in values(asked, r"SecurityGroupId\.\d+"):
        yield action, f"{EC2}security-group/{group}", {}
    if asked.get("InstanceMarketOptions.MarketType") == "spot":
        yield action, f"{EC2}spot-instances-request/sir-new", {}
    yield "ec2:CreateTags", f"{EC2}instance/i-new", {"ec2:CreateAction": "RunInstances"}
    # The profile has the role of the same name, which the launcher must be allowed to give away.
    yield "iam:PassRole", f"arn:aws:iam::{ACCOUNT}:role/{profile}", {"iam:PassedToService": "ec2.amazonaws.com"}
