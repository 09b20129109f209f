"""An Amazon of this machine: moto's server behind a recorder of who asked for what, and the farm's stack in it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

ROOT = Path(__file__).resolve().parents[2]
REGION, ACCOUNT, BUCKET = "us-west-2", "123456789012", "films-of-ours"
ADMIN = "203.0.113.7/32"
FILLED = {"ACCOUNT": ACCOUNT, "BUCKET": BUCKET}


@dataclass(frozen=True)
class Call:
    """One request: the access key it was signed with, the service, its parameters (EC2's out of the body, S3's out of
    the query), and its body where it names objects to delete."""

    key: str
    service: str
    method: str
    path: str
    parameters: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Amazon:
    url: str
    calls: list[Call]

    def client(self, service: str, key: str = "test") -> Any:
        return boto3.client(
            service, region_name=REGION, endpoint_url=self.url, aws_access_key_id=key, aws_secret_access_key="secret"
        )

    def environment(self, key: str) -> dict[str, str]:
        """How a process is told of this Amazon, by boto3's own variables."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def of(self, key: str) -> list[Call]:
        return [call for call in self.calls if call.key == key]


class Quiet(MotoRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        """Say nothing of every request."""


class Recorder:
    """A WSGI application in front of another."""

    def __init__(self, below: Any, calls: list[Call]) -> None:
        self._below = below
        self._calls = calls

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        scope = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].partition(",")[0].split("/")
        if len(scope) == 5:
            asked, body = environ.get("QUERY_STRING", ""), b""
            if scope[3] == "ec2" or "delete" in asked:
                body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                environ["wsgi.input"] = io.BytesIO(body)
            parameters = dict(parse_qsl(body.decode() if scope[3] == "ec2" else asked, keep_blank_values=True))
            method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "/")
            self._calls.append(Call(scope[0], scope[3], method, path, parameters, body))
        return self._below(environ, start_response)


@contextmanager
def amazon() -> Iterator[Amazon]:
    """The server, on a free port."""
    calls: list[Call] = []
    below = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, Recorder(below, calls), threaded=True, request_handler=Quiet)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Amazon(f"http://127.0.0.1:{server.server_port}", calls)
    finally:
        server.shutdown()
        thread.join()


def raise_stack(here: Amazon) -> None:
    """Put deploy/aws/foundation.yaml there."""
    ec2 = here.client("ec2")
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    here.client("ssm").put_parameter(Name="/farm/image", Value=image, Type="String")
    given = {"Bucket": BUCKET, "Vpc": vpc, "AdminCidr": ADMIN, "Image": "/farm/image"}
    # moto looks a default up even where a value is given, and does not know Amazon's own parameters
    text = (ROOT / "deploy/aws/foundation.yaml").read_text()
    template = "".join(line for line in text.splitlines(keepends=True) if "Default: /aws/service/" not in line)
    formation = here.client("cloudformation")
    formation.create_stack(
        StackName="farm",
        TemplateBody=template,
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    stack = formation.describe_stacks(StackName="farm")["Stacks"][0]
    assert stack["StackStatus"] == "CREATE_COMPLETE"


def filled(text: str) -> str:
    """A shipped file with an operator's names in it."""
    for word, name in FILLED.items():
        text = text.replace(word, name)
    return text
