"""What is known of objects without reading them: from the answers of S3 that tell it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

SHA256, WRITER = "farm-sha256", "farm-writer"  # the metadata of what the farm puts


@dataclass(frozen=True)
class Head:
    """What is known of an object. `age_s` is by the server's clock alone; `version` is "" in buckets without them."""

    key: str
    size: int
    etag: str
    version: str
    modified: datetime
    age_s: float
    sha256: str
    writer: str


@dataclass(frozen=True)
class Listed:
    key: str
    size: int
    age_s: float = 0.0  # by the server's clock


def md5_of(data: bytes) -> str:
    """What a server compares a body with, as its header wants it."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def age_s(modified: datetime, answer: Mapping[str, Any]) -> float:
    """How old something was when the server answered, by that server's clock."""
    stated = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    now = parsedate_to_datetime(stated) if stated else datetime.now(UTC)
    return max(0.0, (now - modified).total_seconds())


def head_of(key: str, answer: Mapping[str, Any]) -> Head:
    modified: datetime = answer["LastModified"]
    meta = {name.lower(): str(value) for name, value in answer.get("Metadata", {}).items()}  # some servers capitalise
    return Head(
        key=key,
        size=int(answer["ContentLength"]),
        etag=str(answer["ETag"]),
        version=str(answer.get("VersionId") or ""),
        modified=modified,
        age_s=age_s(modified, answer),
        sha256=meta.get(SHA256, ""),
        writer=meta.get(WRITER, ""),
    )
