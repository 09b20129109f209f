"""boto3's clients for S3, with keys that are waited for where a machine gets them from its surroundings.

botocore asks the metadata service of a machine once, waits one second, and takes no answer for no keys. A service that
hiccups must not look like a machine without a role. So where a role is expected the service is asked with patience,
`KEYS_S` at most for all that this process does; when it stayed silent no client is made, and whoever comes later asks
once, without patience, until there are keys. Elsewhere what is missing is told at once.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import CredentialRetrievalError, NoCredentialsError
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
ATTEMPTS, TIMEOUT_S = 5, 3  # of the metadata service, where AWS_METADATA_SERVICE_NUM_ATTEMPTS and _TIMEOUT say nothing
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
KEYS_S = 30.0  # one round of asking a service that says nothing takes as long: a token, then a role
KEY_PAUSES_S = (1.0, 2.0, 4.0, 8.0)
ONCE_S = 10.0  # whoever comes so soon after a search in vain is told what it found


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

    `endpoint` is the server, "" where boto3's own settings say it. Raises botocore's errors:
    `NoCredentialsError` where a role is expected and nobody gives its keys.
    """
    session = _keys().session() if expects_role() else boto3.session.Session()
    return session.client("s3", config=config, endpoint_url=endpoint or None)


class Keys:
    """Finds the keys of a role. A search takes `patience_s`, and as long as one round of asking at most, once."""

    def __init__(self, patience_s: float = KEYS_S) -> None:
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._vain_s: float | None = None  # when the last search ended, where it found nothing

    def session(self) -> boto3.session.Session:
        """A session that has keys. `NoCredentialsError` where there are none."""
        with self._lock:
            begun_s = time.monotonic()
            if self._vain_s is not None and begun_s - self._vain_s < ONCE_S:
                raise NoCredentialsError
            patient = self._vain_s is None
            for pause_s in (*KEY_PAUSES_S, None):
                session = boto3.session.Session(
                    botocore_session=Session(session_vars=dict(PATIENT) if patient else None)
                )
                with suppress(CredentialRetrievalError):
                    if session.get_credentials() is not None:
                        self._vain_s = None
                        return session
                waited_s = time.monotonic() - begun_s
                if not patient or pause_s is None or waited_s + pause_s >= self._patience_s:
                    break
                time.sleep(pause_s)
            self._vain_s = time.monotonic()
            raise NoCredentialsError


@cache
def _keys() -> Keys:
    """This process's."""
    return Keys()


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
            self._made = {waits: made for waits, made in self._made.items() if made is not client}
            self._signers = {endpoint: made for endpoint, made in self._signers.items() if made is not client}
