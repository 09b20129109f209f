"""Steps that several tests of a service in a bucket take: long films, parts that are put, what lies in the bucket."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import httpx

from tests.media_clips import make_clip

BUCKET, ROOT = "films", "s3://films/state/service"


def listed(client: Any) -> list[str]:
    return [entry["Key"] for entry in client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def unfinished(client: Any) -> list[str]:
    return [entry["Key"] for entry in client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])]


def long_film(clips: Path, size: int) -> bytes:
    """A film of `size` bytes: what is too much is in a box that says nothing."""
    film = make_clip("h264_m4v", clips).read_bytes()
    return film + struct.pack(">I4s", size - len(film), b"free") + bytes(size - len(film) - 8)


def announced(http: httpx.Client, size: int, purpose: str = "target", name: str = "film.m4v") -> dict[str, Any]:
    answer = http.post("/v1/uploads", json={"purpose": purpose, "name": name, "size_bytes": size})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def head(http: httpx.Client, row: dict[str, Any], data: bytes) -> httpx.Response:
    """The answer to the file's first bytes, of as many as the announcement asks for."""
    return http.put(row["links"]["head"], content=data[: row["head_bytes"]])


def begun(http: httpx.Client, data: bytes, purpose: str = "target", name: str = "film.m4v") -> dict[str, Any]:
    """An upload of `data` that is announced, and whose first bytes the service has seen."""
    answer = head(http, announced(http, len(data), purpose, name), data)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def put(part: dict[str, Any], data: bytes) -> None:
    """A part, as any program puts it: the bucket is sent no key of ours."""
    first, size = part["first_byte"], part["size_bytes"]
    assert httpx.put(part["url"], content=data[first : first + size], timeout=60).status_code == 200
