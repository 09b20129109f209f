"""boto3's clients for S3, with keys that are waited for where a machine gets them from its surroundings.

botocore asks the metadata service of a machine once, waits one second, and takes no answer for no keys. A service that
hiccups must not look like a machine without a role. So where a role is expected the service is asked with patience, and
a client without keys is made only when it stayed silent. Elsewhere what is missing is told at once.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import CredentialRetrievalError
from botocore.session import Session

from actors.node import VENDOR

# What containers of ECS and EKS and their pods are given, and where a metadata service is named by hand:
# https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html
ROLE_VARIABLES = (
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
)
EC2 = "Amazon EC2"
ATTEMPTS, TIMEOUT_S = 5, 5  # of the metadata service, where AWS_METADATA_SERVICE_NUM_ATTEMPTS and _TIMEOUT say nothing
# name of a setting -> its name in files, its variable, its default, its type (botocore.session.Session)
PATIENT: Mapping[str, tuple[str, str, int, type]] = {
    "metadata_service_num_attempts": (
        "metadata_service_num_attempts",
        "AWS_METADATA_SERVICE_NUM_ATTEMPTS",
        ATTEMPTS,
        int,
    ),
    "metadata_service_timeout": ("metadata_service_timeout", "AWS_METADATA_SERVICE_TIMEOUT", TIMEOUT_S, int),
}
KEY_PAUSES_S = (1.0, 2.0, 4.0, 8.0)


def expects_role(vendor: Path = VENDOR) -> bool:
    """Whether this machine, container or pod is one that is given keys without anybody setting them."""
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return any(os.environ.get(name) for name in ROLE_VARIABLES[:-1])
    if any(os.environ.get(name) for name in ROLE_VARIABLES):
        return True
    try:
        return vendor.read_text().strip().startswith(EC2)
    except OSError:
        return False


def make_client(config: Config, endpoint: str = "") -> Any:
    """A client of a session of its own, because boto3's shared one is not made for threads.

    `endpoint` is the server, "" where boto3's own settings say it. Raises botocore's errors.
    """
    if not expects_role():
        return boto3.session.Session().client("s3", config=config, endpoint_url=endpoint or None)
    for pause_s in (*KEY_PAUSES_S, None):
        session = boto3.session.Session(botocore_session=Session(session_vars=dict(PATIENT)))
        try:
            found = session.get_credentials() is not None
        except CredentialRetrievalError:
            found = False
        if found or pause_s is None:
            break
        time.sleep(pause_s)
    return session.client("s3", config=config, endpoint_url=endpoint or None)


class Clients:
    """A process's clients for buckets, by how long they wait to connect and to read, and those that sign addresses."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[tuple[float, float], Any] = {}
        self._signers: dict[str, Any] = {}

    def waiting(self, connect_s: float, read_s: float) -> Any:
        waits = connect_s, read_s
        with self._lock:
            if waits not in self._made:
                config = Config(
                    connect_timeout=connect_s,
                    read_timeout=read_s,
                    retries={"total_max_attempts": 1},  # ours are counted, and go on where a body broke
                    max_pool_connections=32,
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                )
                self._made[waits] = make_client(config)
            return self._made[waits]

    def signer(self, endpoint: str) -> Any:
        """One that signs addresses of the server at `endpoint`, "" for ours."""
        with self._lock:
            if endpoint not in self._signers:
                self._signers[endpoint] = make_client(Config(signature_version="s3v4"), endpoint)
            return self._signers[endpoint]

    def forget(self, client: Any) -> None:
        """Make another one next time: this one has no keys, and would never look for them again."""
        with self._lock:
            for waits in [waits for waits, made in self._made.items() if made is client]:
                del self._made[waits]
