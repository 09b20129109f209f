"""S3 servers that look at keys and rights, each a process of its own on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
Keys = tuple[str, ...]  # id, secret and, where there is one, the token


@dataclass(frozen=True)
class Server:
    """Where a server is, in which region it says it is, and who may do what there, by name."""

    address: str
    region: str
    keys: Mapping[str, Keys]

    def environment(self, who: str) -> dict[str, str]:
        """The variables that tell boto3 of the server, as an operator sets them."""
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_DEFAULT_REGION": self.region,
            **dict(zip(names, self.keys[who], strict=False)),
        }

    def client(self, service: str, who: str) -> Any:
        key, secret, *token = self.keys[who]
        return boto3.session.Session().client(
            service,
            endpoint_url=self.address,
            region_name=self.region,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token[0] if token else None,
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )


@contextmanager
def guarded(rights: Mapping[str, Sequence[str]]) -> Iterator[Server]:
    """Moto's server, which looks at signatures and policies from when `close_gates` is called.

    `rights` are the actions that each user may do on all of S3; "role" has a session's token.
    """
    with _running([sys.executable, "-m", "tests.farm.s3_servers"]) as line:
        address = f"http://127.0.0.1:{int(line)}"
        anybody = Server(address, "us-east-1", {"root": ("root", "root")})
        iam, keys = anybody.client("iam", "root"), {}
        for name, actions in rights.items():
            iam.create_user(UserName=name)
            iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=_policy(actions))
            made = iam.create_access_key(UserName=name)["AccessKey"]
            keys[name] = (made["AccessKeyId"], made["SecretAccessKey"])
        iam.create_role(RoleName="role", AssumeRolePolicyDocument=_policy(["sts:AssumeRole"]))
        iam.put_role_policy(RoleName="role", PolicyName="own", PolicyDocument=_policy(["s3:*"]))
        arn = "arn:aws:iam::123456789012:role/role"
        lent = anybody.client("sts", "root").assume_role(RoleArn=arn, RoleSessionName="lent")["Credentials"]
        keys["role"] = (lent["AccessKeyId"], lent["SecretAccessKey"], lent["SessionToken"])
        yield Server(address, "us-east-1", {**anybody.keys, **keys})


def close_gates(server: Server) -> None:
    """From now on the server lets nobody do what its policies do not say."""
    asked = urllib.request.Request(f"{server.address}/moto-api/reset-auth", data=b"0", method="POST")
    asked.add_header("Content-Type", "text/plain")
    with urllib.request.urlopen(asked) as answer:
        assert answer.status == 200


def _policy(actions: Sequence[str]) -> str:
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@contextmanager
def swift(folder: Path, *, ahead_s: int = 0) -> Iterator[Server]:
    """OpenStack Swift, whose clock is `ahead_s` seconds ahead of ours."""
    from tests.farm.swift_server import ADMIN, GUEST, REGION  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-W", "ignore", "-m", "tests.farm.swift_server", str(folder), str(ahead_s)]
    with _running(command) as line:
        yield Server(f"http://127.0.0.1:{int(line)}", REGION, {"admin": ADMIN, "guest": GUEST})


@contextmanager
def _running(command: Sequence[str]) -> Iterator[str]:
    """The first line that a server prints, which it does when it takes requests; it is ended with the context."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.strip(), f"{command} ended with {process.wait(START_S)}"
        yield line
    finally:
        process.kill()
        process.wait()


def main() -> None:
    """Moto's server on a free port, which is printed; until the process that started it is gone."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415

    running = ThreadedMotoServer(port=0, verbose=False)
    running.start()
    sys.stdout.write(f"{running.get_host_and_port()[1]}\n")
    sys.stdout.flush()
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.5)


if __name__ == "__main__":
    main()
